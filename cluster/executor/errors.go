package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The kinds of failures that the SDK itself reports. A handler may use any word;
// docs/PROTOCOL.md lists those of the built-in executors.
const (
	KindError       = "error"         // an error that says nothing else
	KindTimeout     = "timeout"       // the attempt's time was over
	KindPanic       = "panic"         // the handler panicked
	KindLost        = "executor_lost" // the executor ended while it ran; the effect may have happened
	KindStopped     = "executor_stopped"
	KindExpired     = "expired"     // it could not be started within its TTL
	KindUnsupported = "unsupported" // the handler has no dry run
	KindInvalid     = "invalid"     // the arguments can never be carried out
	KindBadResult   = "bad_result"  // what the handler returned is not JSON, or too large
)

// Failure is a failed attempt as it is reported.
type Failure struct {
	Err   error
	Kind  string        // a word for the taxonomy
	Final bool          // no other attempt would help
	After time.Duration // the next attempt not sooner than that; 0: as the retry policy says
}

// Error returns the text of the cause.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Retryable says that another attempt may help, and not before after has passed.
func Retryable(err error, after time.Duration) error {
	f := FailureOf(err)
	return &Failure{Err: err, Kind: f.Kind, After: after}
}

// Final says that no other attempt would help. The kind is a word for the
// taxonomy of errors, as in not_found.
func Final(err error, kind string) error {
	return &Failure{Err: err, Kind: kind, Final: true}
}

// OfKind gives an error a kind and leaves the rest to the retry policy.
func OfKind(err error, kind string) error {
	return &Failure{Err: err, Kind: kind}
}

// Invalidf is the final failure of arguments that can never be carried out.
func Invalidf(format string, args ...any) error {
	return Final(fmt.Errorf(format, args...), KindInvalid)
}

// finalCodes are those of an [entropy.Error] that a repeat would meet again.
var finalCodes = map[entropy.Code]bool{entropy.CodeInvalid: true, entropy.CodeUnauthorized: true, entropy.CodeForbidden: true,
	entropy.CodeNotFound: true, entropy.CodeConflict: true, entropy.CodeTooLarge: true}

// FailureOf reads what an error says about another attempt.
func FailureOf(err error) Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		g := *f
		g.Err = err
		return g
	}
	if e, ok := errors.AsType[*entropy.Error](err); ok {
		return Failure{Err: err, Kind: string(e.Code), Final: finalCodes[e.Code]}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Failure{Err: err, Kind: KindTimeout}
	}
	return Failure{Err: err, Kind: KindError}
}

// The causes for which a handler's context ends.
var (
	errCanceled   = errors.New("the action was canceled")
	errSuperseded = errors.New("another attempt has taken over")
	errTimeout    = errors.New("the attempt's time is over")
	errStopped    = errors.New("the executor is stopping")
)
