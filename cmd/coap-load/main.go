// Command coap-load puts load on any CoAP server over DTLS 1.2 and says what that cost the server's process: coap-bridge
// and its peers are measured by the same tool.
//
// This package holds the commands and their flags. What they do stands in the packages below: fleet (sockets), session
// (DTLS), load (what is measured), measure (processes), latency, report, and bench, which compares servers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	root := newRootCommand()
	code := exitCode(root.ExecuteContext(ctx), root.ErrOrStderr())
	stop()
	os.Exit(code)
}

// The exit codes, as the help of the root command lists them.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError marks an error of the command line itself.
type usageError struct{ err error }

// Error implements error.
func (e usageError) Error() string { return e.err.Error() }

// Unwrap returns the error underneath.
func (e usageError) Unwrap() error { return e.err }

func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "coap-load: %v\nTry 'coap-load --help'.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "coap-load: %v\n", err)
		return exitFailed
	}
}
