package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"coapbridge/bridge/devices"
)

// newDeviceListCommand returns "device list".
func newDeviceListCommand(where *deviceFile) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the devices, without their keys",
		Long: `List the devices in the file's order: name, kind of credential, what it is known by, profile, CSE, address and Originators. Keys are
never shown. "one-key" marks a device with one pre-shared key for both directions. Warnings about the file go to the
standard error.

Exit codes: 0 done; 1 the file can't be used, and every fault of it was printed; 2 the command line is wrong.`,
		Example: `  coap-bridge device list
  coap-bridge device list --json | jq -r '.[] | select(.oneKey) | .name'`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, _, err := where.find()
			if err != nil {
				return err
			}
			list, warnings, err := devices.List(file)
			if err != nil {
				return err
			}
			printProblems(cmd.ErrOrStderr(), "warning: ", warnings)
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				return out.Encode(list)
			}
			return writeDevices(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func writeDevices(w io.Writer, list []devices.Summary) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tCREDENTIAL\tKNOWN BY\tPROFILE\tCSE\tADDRESS\tORIGINATORS")
	for _, s := range list {
		credential, known := strings.Join(s.Credentials, "+"), make([]string, 0, 4)
		if s.OneKey {
			credential += " (one-key)"
		}
		for _, id := range []string{s.Identity, short(s.Fingerprint), s.SAN, short(s.RawKey)} {
			if id != "" {
				known = append(known, id)
			}
		}
		profile := s.Profile
		if s.Entity {
			profile += ", entity"
		}
		if s.Actuator {
			profile += ", actuator"
		}
		if s.Timing != "" {
			profile += ", " + s.Timing
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, credential, strings.Join(known, " "), profile, dash(s.CSE), dash(s.Address), dash(strings.Join(s.Originators, " ")))
	}
	return t.Flush()
}

// short cuts a digest to what tells devices apart on a screen.
func short(digest string) string {
	if len(digest) > 16 {
		return digest[:16] + "..."
	}
	return digest
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
