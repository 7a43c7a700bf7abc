package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"coapbridge/bridge/devices"
)

// newDeviceImportCommand returns "device import".
func newDeviceImportCommand(where *deviceFile) *cobra.Command {
	var policy policyFlags
	var skip bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Let in the devices of a libcoap PSK file",
		Long: `Let in the devices of a libcoap PSK file (coap-server -i): lines of "hint,identity,key". A line that begins with "#" is a
comment. The hint is not used. The key is the text after the second comma, or, after 0x, bytes in hex. "-" reads the
standard input.

A device's name is its identity where that can be a name, else "device-" and 12 digits of its SHA-256. The flags about
what a device may do hold for all of them.

A line is refused when its key has less than 16 bytes, or its identity or name is there already; each is printed with its
number and the reason. Then nothing is imported, unless --skip-refused leaves such lines out. What is imported is written
in one step. These devices have one key for both directions, and are reported as one-key.

Exit codes: 0 all lines were imported; 1 a line was refused, or nothing could be done; 2 the command line is wrong.`,
		Example: `  coap-bridge device import psk.txt
  coap-bridge device import --skip-refused --profile plain --tenant plant psk.txt`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			template, err := policy.entry()
			if err != nil {
				return err
			}
			file, cses, err := where.find()
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if given[0] != "-" {
				f, err := os.Open(given[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			done, err := devices.Import(cmd.Context(), file, cses, in, template, skip)
			return writeImported(cmd.OutOrStdout(), cmd.ErrOrStderr(), given[0], file, done, err)
		},
	}
	policy.register(cmd)
	cmd.Flags().BoolVar(&skip, "skip-refused", false, "import the other lines when some are refused")
	return cmd
}

func writeImported(stdout, stderr io.Writer, from, file string, done devices.Imported, err error) error {
	for _, w := range done.Warnings {
		fmt.Fprintf(stderr, "warning: %s:%d: %s\n", from, w.Line, w.Reason)
	}
	for _, r := range done.Refused {
		fmt.Fprintf(stderr, "%s:%d: %s\n", from, r.Line, r.Reason)
	}
	switch {
	case errors.Is(err, devices.ErrRefused):
		return fmt.Errorf("%s refused, nothing imported; correct them, or leave them out with --skip-refused", count(len(done.Refused), "line"))
	case err != nil:
		return err
	}
	if _, err := fmt.Fprintf(stdout, "imported %s into %s\n", count(len(done.Added), "device"), file); err != nil {
		return err
	}
	if len(done.Refused) > 0 {
		return fmt.Errorf("%s refused", count(len(done.Refused), "line"))
	}
	return nil
}
