// Package fault tells the user's mistakes from failures, so that every command exits with the same codes and
// prints an error as one line.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Exit codes of every command.
const (
	ExitOK          = 0
	ExitFailure     = 1   // something failed that the user did not cause: a full disk, a lost connection
	ExitUsage       = 2   // the user's mistake: an unknown key, a missing file, a batch larger than the data set
	ExitInterrupted = 130 // what shells report for a program that SIGINT ended
)

// userError marks an error as the user's mistake.
type userError struct{ err error }

func (e *userError) Error() string { return e.err.Error() }
func (e *userError) Unwrap() error { return e.err }

// User marks err as the user's mistake (exit code 2). A nil err stays nil.
func User(err error) error {
	if err == nil {
		return nil
	}
	return &userError{err}
}

// Userf is fmt.Errorf for the user's mistakes: say what was wrong and where (file, row, key), then what to do.
func Userf(format string, args ...any) error {
	return &userError{fmt.Errorf(format, args...)}
}

// IsUser reports whether err, or an error it wraps, was marked by User or Userf.
func IsUser(err error) bool {
	var u *userError
	return errors.As(err, &u)
}

// Code returns the exit code that err deserves.
func Code(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case IsUser(err):
		return ExitUsage
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	default:
		return ExitFailure
	}
}

// Report prints err on w as one line headed by the command's name, or with everything it knows (stack traces of
// GoMLX's errors, for example) when verbose, and returns the exit code. A cancelled context is the user's interruption.
func Report(w io.Writer, command string, err error, verbose bool) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s: interrupted\n", command)
	case verbose:
		fmt.Fprintf(w, "%s: %+v\n", command, unwrapUser(err))
	default:
		fmt.Fprintf(w, "%s: %s\n", command, OneLine(err))
	}
	return Code(err)
}

// unwrapUser takes the outermost mark away, so that %+v reaches an error that knows its stack.
func unwrapUser(err error) error {
	if u, ok := err.(*userError); ok {
		return u.err
	}
	return err
}

// OneLine returns err's message with line breaks folded to spaces.
func OneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
