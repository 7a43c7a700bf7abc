package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"coapbridge/bridge/cse"
	"coapbridge/cmd/coap-bridge/config"
)

// newCheckCommand returns "check".
func newCheckCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration and every file that it names",
		Long: `Check a configuration and every file that it names, the devices file and the bindings file included, without starting
anything. Every fault is printed at once, one a line: file, line, field, what is wrong, and what to write instead.
Warnings don't stop a start.

` + limitsHelp() + `
` + quirksHelp() + `
` + environmentHelp() + `
Exit codes: 0 a start would succeed as far as files are concerned; 1 it would not.`,
		Example: `  coap-bridge check --config /etc/coap-bridge/coap-bridge.yaml
  COAPBRIDGE_LISTEN=127.0.0.1:5684 coap-bridge check -c coap-bridge.yaml`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(cmd.OutOrStdout(), cmd.ErrOrStderr(), configPath(path))
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

func runCheck(stdout, stderr io.Writer, path string) error {
	c, err := loadConfig(path)
	if c != nil {
		printProblems(stderr, "warning: ", c.Warnings)
	}
	var problems config.Problems
	if errors.As(err, &problems) {
		printProblems(stderr, "", problems)
		return fmt.Errorf("%s: %s", path, count(len(problems), "fault"))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: ok\n%s", path, downlinkSummary(c))
	return err
}

// downlinkSummary says which CSEs reach devices, and how; nothing when none does.
func downlinkSummary(c *config.Config) string {
	var b strings.Builder
	for i := range c.CSEs {
		s := &c.CSEs[i]
		switch s.Downlink.Mode {
		case config.DownlinkListen:
			fmt.Fprintf(&b, "  CSE %s calls %s, with %s\n", s.Name, c.Downlink.URL, count(len(s.Downlink.Certificates), "certificate name"))
		case config.DownlinkPoll:
			fmt.Fprintf(&b, "  CSE %s is polled, with up to %s at once\n", s.Name, count(s.Downlink.MaxPolls, "poll"))
		}
	}
	return b.String()
}

// printProblems prints one line for each problem.
func printProblems(w io.Writer, before string, problems config.Problems) {
	for _, p := range problems {
		fmt.Fprintln(w, before+p.Error())
	}
}

// count says how many there are, in English.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// limitsHelp lists the fields of limits.
func limitsHelp() string {
	var b strings.Builder
	b.WriteString("Fields of limits: (default in brackets)\n")
	for _, l := range config.LimitFields() {
		fmt.Fprintf(&b, "  %-18s %s\n", l.Name, l.Help)
	}
	return b.String()
}

// quirksHelp lists the quirks of CSEs.
func quirksHelp() string {
	var b strings.Builder
	b.WriteString("Quirks of a CSE:\n")
	for _, q := range cse.Quirks() {
		fmt.Fprintf(&b, "  %s\n      %s\n", q.Name, q.Observation)
	}
	return b.String()
}

// environmentHelp lists the environment variables.
func environmentHelp() string {
	var b strings.Builder
	b.WriteString("Environment variables override fields; they name values and files, never secrets. <NAME> is a CSE's name in capitals.\n")
	for _, v := range config.Variables() {
		fmt.Fprintf(&b, "  %-34s %s\n", v.Name, v.Field)
	}
	return b.String()
}
