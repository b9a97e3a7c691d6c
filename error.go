package entropy

import (
	"errors"
	"fmt"
)

// Code classifies an [Error] for machines. It is stable across releases.
type Code string

// The codes, each with the HTTP status and the exit code it becomes.
const (
	CodeInvalid      Code = "invalid"       // 400, exit 2: the request can never succeed as it is
	CodeUnauthorized Code = "unauthorized"  // 401, exit 4: no valid credential
	CodeForbidden    Code = "forbidden"     // 403, exit 4: a valid credential of the wrong role
	CodeNotFound     Code = "not_found"     // 404, exit 3
	CodeConflict     Code = "conflict"      // 409, exit 5: it contradicts what is already recorded
	CodeSuperseded   Code = "superseded"    // 409, exit 5: a later assignment has taken over
	CodeTooLarge     Code = "too_large"     // 413, exit 2
	CodeOverloaded   Code = "overloaded"    // 429, exit 6: try again later
	CodeInternal     Code = "internal"      // 500, exit 1: a bug
	CodeUnavailable  Code = "unavailable"   // 503, exit 6: not now; nothing was done
	CodeUnknown      Code = "unknown"       // 503 with outcome unknown, exit 6: it may or may not have happened
	CodeDiskFull     Code = "disk_full"     // 507, exit 6: nothing was done
	CodeStale        Code = "stale_session" // 409, exit 5: the worker must register again
)

// Error is an error that crosses a process border: a code for machines, a
// message for people, and a hint that names the next thing to do.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Error returns the message, followed by the hint when there is one.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// Errorf returns an [Error] with a formatted message and no hint.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy of e whose hint is formatted from format.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// ErrorCode returns the code of the first [Error] in err's chain: "" for nil
// and [CodeInternal] for an error that carries none.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// AsError returns the first [Error] in err's chain, or wraps err as internal.
// It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}
