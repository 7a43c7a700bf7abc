package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// rootContext is the context of every command. Signals are the daemon's own affair (run, demo): the other commands end at
// once on SIGINT, as the operating system does it.
func rootContext() context.Context { return context.Background() }

// newRootCommand returns the command with all its sub-commands; every call returns a new one.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "coap-bridge",
		Short: "A secure gateway between CoAP devices and a oneM2M Service Layer",
		Long: `coap-bridge lets constrained devices that speak CoAP over DTLS use a oneM2M Service Layer (a CSE).

Every device is authenticated by a pre-shared key or a certificate; what it may do stands in the devices file. Its
requests go to the CSE over TLS with a client certificate, and the answers come back the same way.

Try it without any set-up:       coap-bridge demo
Set it up for real use:          coap-bridge init --dir /etc/coap-bridge --host gateway.example.org
Check a configuration:           coap-bridge check --config /etc/coap-bridge/coap-bridge.yaml
Run it:                          coap-bridge run --config /etc/coap-bridge/coap-bridge.yaml

Exit codes: 0 success; 1 the work could not be done (each error names its file, line, field and remedy); 2 the command
line is wrong.`,
		Args:              rootArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		// Edits between what was typed and what is suggested; 2 covers two swapped letters.
		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newDemoCommand(),
		newRequestCommand(),
		newRunCommand(),
		newCheckCommand(),
		newDeviceCommand(),
		newInitCommand(),
		newVersionCommand(),
	)
	return root
}

// rootArgs refuses what is no sub-command, and says which one may have been meant.
func rootArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{fmt.Errorf("%s", message)}
}

// args wraps one of cobra's checks of positional arguments, so that its errors count as errors of the command line.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
		}
		return nil
	}
}
