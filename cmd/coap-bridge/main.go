// Command coap-bridge carries oneM2M requests of constrained devices, which speak CoAP over DTLS, to a Service Layer over
// mutually authenticated TLS, and requests of the Service Layer back down.
//
// This package holds the command's flags, its wiring and its signals. What is read from files is checked in the packages
// below it: config (the configuration) and pki (the credentials that init and demo make). Nothing here is safe for
// concurrent use but what says so.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	root := newRootCommand()
	os.Exit(exitCode(root.ExecuteContext(rootContext()), root.ErrOrStderr()))
}

// The exit codes, as the help of the root command lists them.
const (
	exitOK     = 0
	exitFailed = 1 // the work could not be done: a bad file, an occupied port, a refusal
	exitUsage  = 2 // the command line is wrong
)

// usageError marks an error of the command line itself, as opposed to one of the work that it asked for.
type usageError struct{ err error }

// Error implements error.
func (e usageError) Error() string { return e.err.Error() }

// Unwrap returns the error underneath.
func (e usageError) Unwrap() error { return e.err }

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e exitError) Error() string { return e.err.Error() }

// Unwrap returns the error underneath.
func (e exitError) Unwrap() error { return e.err }

// exitCode prints err, when there is one, and returns the exit code that stands for it.
func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	var other exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &other):
		fmt.Fprintf(stderr, "coap-bridge: %v\n", err)
		return other.code
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "coap-bridge: %v\nTry 'coap-bridge --help'.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "coap-bridge: %v\n", err)
		return exitFailed
	}
}
