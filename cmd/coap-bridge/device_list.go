package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"coapbridge/bridge/devices"
	"coapbridge/cmd/coap-bridge/logging"
)

// newDeviceListCommand returns "device list".
func newDeviceListCommand(where *deviceFile) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the devices, without their keys",
		Long: `List the devices in the file's order: name, kind of credential, what it is known by, profile, CSE, address and Originators; and what the
log calls it, where the configuration's log key is there and the entry says which credential comes. Keys are never shown. "one-key"
marks a device with one pre-shared key for both directions. Warnings about the file go to the standard error.

Exit codes: 0 done; 1 the file can't be used, and every fault of it was printed; 2 the command line is wrong.`,
		Example: `  coap-bridge device list
  coap-bridge device list | grep 978f3721    # who that is in the log
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
			listed := listedDevices(list, where.logNames())
			printProblems(cmd.ErrOrStderr(), "warning: ", warnings)
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				return out.Encode(listed)
			}
			return writeDevices(cmd.OutOrStdout(), listed)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// listed is a device, and what the log calls it: "" where nobody can tell.
type listed struct {
	devices.Summary
	LoggedAs string `json:"loggedAs,omitempty"`
}

func listedDevices(list []devices.Summary, names *logging.Pseudonymizer) []listed {
	all := make([]listed, len(list))
	for i, s := range list {
		all[i].Summary = s
		if names != nil && s.ID.ID != "" {
			all[i].LoggedAs = names.Device(s.ID)
		}
	}
	return all
}

func writeDevices(w io.Writer, list []listed) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tCREDENTIAL\tKNOWN BY\tPROFILE\tCSE\tADDRESS\tLOGGED AS\tORIGINATORS")
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
		fmt.Fprintln(t, strings.Join([]string{s.Name, credential, strings.Join(known, " "), profileOf(s), dash(s.CSE), dash(s.Address),
			dash(s.LoggedAs), dash(strings.Join(s.Originators, " "))}, "\t"))
	}
	return t.Flush()
}

// profileOf is the device's profile, and what else is special about it.
func profileOf(s listed) string {
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
	if len(s.Observe) > 0 {
		profile += ", observed"
	}
	return profile
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
