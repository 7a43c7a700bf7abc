package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"coapbridge/cmd/coap-load/bench"
	"coapbridge/cmd/coap-load/report"
)

func newBenchCommand() *cobra.Command {
	conf, quick := bench.Standard(), false
	var file string
	var toStdout, quiet bool
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure coap-bridge and its peers side by side", Args: cobra.NoArgs,
		Long: `Start coap-bridge, the shortest server of pion and go-coap, and libcoap's coap-server with OpenSSL and with GnuTLS, one at a
time and each as its own process on loopback; put the same load on each; print one table with all figures and their ratios
to the first server. A CSE in memory, another process, answers what is carried on.

"make bench" builds what it needs. It expects the programs in --bin, and libcoap's in the PATH. What can't be measured is
named below the table. A quiet machine with two cores or more is needed for figures that mean something.`,
		Example: "  coap-load bench --quick\n  coap-load bench --sessions 100000 --rounds 5 --server coap-bridge --server pion+go-coap",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick {
				conf = withQuick(cmd, conf)
			}
			if conf.Bin == "" {
				own, err := os.Executable()
				if err != nil {
					return err
				}
				conf.Bin = filepath.Dir(own)
			}
			if !quiet {
				began := time.Now()
				conf.Progress = func(line string) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%6.0f s  %s\n", time.Since(began).Seconds(), line)
				}
			}
			r, err := bench.Run(cmd.Context(), conf)
			if r == nil {
				return err
			}
			return errors.Join(err, writeBench(cmd.OutOrStdout(), r, toStdout, file))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&quick, "quick", false, "less of everything: below five minutes")
	flags.StringArrayVar(&conf.Servers, "server", nil, "only this server; repeat it (pion+go-coap, coap-bridge, libcoap OpenSSL, libcoap GnuTLS)")
	flags.IntVar(&conf.Rounds, "rounds", conf.Rounds, "rounds; every figure is the median")
	flags.IntVar(&conf.Sessions, "sessions", conf.Sessions, "idle sessions with pre-shared keys")
	flags.IntVar(&conf.CertSessions, "cert-sessions", conf.CertSessions, "idle sessions, and handshakes, with certificates")
	flags.DurationVar(&conf.Stretch, "stretch", conf.Stretch, "how long each load lasts")
	flags.IntVar(&conf.Requesters, "requesters", conf.Requesters, "sessions on which requests are sent")
	flags.Float64Var(&conf.FloodRate, "flood-rate", conf.FloodRate, "spoofed ClientHellos a second")
	flags.DurationVar(&conf.FloodFor, "flood-for", conf.FloodFor, "how long they come")
	flags.IntVar(&conf.FloodDevices, "flood-devices", conf.FloodDevices, "devices that connect meanwhile")
	flags.StringVar(&conf.Bin, "bin", "", "folder with coap-bridge, coap-load and bench/baseline (default: where this program is)")
	flags.BoolVar(&toStdout, "json", false, "print all that was measured as JSON instead of the table")
	flags.StringVar(&file, "json-file", "", "write it to this file as well")
	flags.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

// withQuick takes what was not set from the quick configuration.
func withQuick(cmd *cobra.Command, set bench.Config) bench.Config {
	q := bench.Quick()
	q.Servers, q.Bin = set.Servers, set.Bin
	given := cmd.Flags().Changed
	keep(given("rounds"), &q.Rounds, set.Rounds)
	keep(given("sessions"), &q.Sessions, set.Sessions)
	keep(given("cert-sessions"), &q.CertSessions, set.CertSessions)
	keep(given("stretch"), &q.Stretch, set.Stretch)
	keep(given("requesters"), &q.Requesters, set.Requesters)
	keep(given("flood-rate"), &q.FloodRate, set.FloodRate)
	keep(given("flood-for"), &q.FloodFor, set.FloodFor)
	keep(given("flood-devices"), &q.FloodDevices, set.FloodDevices)
	return q
}

func keep[T any](given bool, to *T, v T) {
	if given {
		*to = v
	}
}

func writeBench(w io.Writer, r *bench.Report, asJSON bool, file string) error {
	if asJSON {
		return report.JSON(w, r)
	}
	if err := r.Table().Markdown(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s", r.Text()); err != nil || file == "" {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(report.JSON(f, r), f.Close())
}
