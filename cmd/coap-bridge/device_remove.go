package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"coapbridge/bridge/devices"
)

// newDeviceRemoveCommand returns "device remove".
func newDeviceRemoveCommand(where *deviceFile) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME...",
		Aliases: []string{"rm"},
		Short:   "Take devices out",
		Long: `Take devices out: all that are named, or, when one is not there, none. A running bridge ends their sessions within a
second and does not let them in again. The AE-IDs that the CSE gave them stay reserved: a device that comes back under the
same name has them again, with whatever credential, and no other device gets them. docs/operations.md says how to free one.

Exit codes: 0 done; 1 not done, and the file is as it was; 2 the command line is wrong.`,
		Example:           `  coap-bridge device remove kitchen meter-7`,
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: where.completeDevices,
		RunE: func(cmd *cobra.Command, names []string) error {
			file, _, err := where.find()
			if err != nil {
				return err
			}
			if err := devices.Remove(cmd.Context(), file, names...); err != nil {
				return err
			}
			for _, name := range names {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "removed %s from %s\n", name, file); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
