package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// The exit codes that scripts rely on.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNotAllowed  = 4
	exitConflict    = 5
	exitUnreachable = 6 // or the outcome is unknown
	exitJobFailed   = 7
	exitTimedOut    = 8
)

// exitCodes is the one place where an error's code becomes an exit code.
var exitCodes = map[entropy.Code]int{
	entropy.CodeInvalid:      exitUsage,
	entropy.CodeTooLarge:     exitUsage,
	entropy.CodeUnauthorized: exitNotAllowed,
	entropy.CodeForbidden:    exitNotAllowed,
	entropy.CodeNotFound:     exitNotFound,
	entropy.CodeConflict:     exitConflict,
	entropy.CodeSuperseded:   exitConflict,
	entropy.CodeStale:        exitConflict,
	entropy.CodeOverloaded:   exitUnreachable,
	entropy.CodeUnavailable:  exitUnreachable,
	entropy.CodeUnknown:      exitUnreachable,
	entropy.CodeDiskFull:     exitUnreachable,
	entropy.CodeInternal:     exitError,
}

// outcome ends the program with a code that is an answer, not a breakdown.
type outcome struct {
	code    int
	message string // for stderr; "" says nothing
}

func (o outcome) Error() string { return o.message }

// usageError is a command line that cannot be carried out.
type usageError struct {
	err     error
	command *cobra.Command // the one that refused, for the hint
}

func (e usageError) Error() string { return e.err.Error() }

func (e usageError) Unwrap() error { return e.err }

// usagef returns an error for a command line that cannot be carried out.
func usagef(format string, args ...any) *entropy.Error {
	return entropy.Errorf(entropy.CodeInvalid, format, args...)
}

// fail reports err on stderr, as what happened and what to do next, and returns
// the exit code. It never prints a stack.
func (a *app) fail(ctx context.Context, err error) int {
	if cause, ok := errors.AsType[signaled](context.Cause(ctx)); ok && (errors.Is(err, context.Canceled) || errors.Is(err, cause)) {
		return cause.exitCode()
	}
	if o, ok := errors.AsType[outcome](err); ok {
		if o.message != "" {
			a.notef("%s", printable(o.message))
		}
		return o.code
	}
	message, hint := describe(err)
	a.notef("%s", message)
	if hint != "" {
		fmt.Fprintf(a.stderr, "  next: %s\n", hint)
	}
	if u, ok := errors.AsType[usageError](err); ok && entropy.ErrorCode(u.err) == entropy.CodeInternal {
		return exitUsage
	}
	if code, ok := exitCodes[entropy.ErrorCode(err)]; ok {
		return code
	}
	return exitError
}

// describe splits err into what happened and what to do next. The text around
// an [entropy.Error] is kept, its hint is moved to the end.
func describe(err error) (message, hint string) {
	message = err.Error()
	if e, ok := errors.AsType[*entropy.Error](err); ok && e.Hint != "" {
		message = strings.Replace(message, "; "+e.Hint, "", 1)
		hint = e.Hint
	} else if u, ok := errors.AsType[usageError](err); ok && u.command != nil {
		hint = u.command.CommandPath() + " --help"
	}
	return printableLines(message), printableLines(hint)
}
