package main

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"coapbridge/cmd/coap-bridge/pki"
)

// initFlags are the flags of "init".
type initFlags struct {
	dir   string
	hosts []string
	cse   string
	force bool
}

// newInitCommand returns "init".
func newInitCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make credentials and a commented configuration for real use",
		Long: `Make a folder (mode 0700) with what a bridge needs to start:

  coap-bridge.yaml               commented configuration
  devices.yaml                   one device with a random pre-shared key, one with a certificate
  bridge.crt, bridge.key         the bridge's certificate, as devices see it, for the names of --host
  ca.crt, ca.key                 private CA of the bridge's and the devices' certificates
  cert-device.crt, .key          a device's certificate
  cse-client.crt, .key           the bridge's certificate, as the CSE sees it
  cse-server.crt, .key           a certificate for a CSE that has none of its own
  cse-caller.crt, .key           and one with which such a CSE calls the bridge
  cse-ca.crt, cse-ca.key         private CA of these two

Two CAs, so that a device's certificate opens no door to the CSE. All keys are ECDSA on P-256. Keep ca.key and cse-ca.key
somewhere else: the bridge does not need them.

When one of the files is there already, nothing is done, unless --force is given: then what is missing is made,
certificates that end within 30 days or lack a name are issued again, and everything else stays. No key is ever
overwritten.

Exit codes: 0 made; 1 something is there already, or could not be made; 2 the command line is wrong.`,
		Example: `  coap-bridge init --dir /etc/coap-bridge --host gateway.example.org --host 192.0.2.1 --cse https://cse.example.org:8443
  coap-bridge init --dir /etc/coap-bridge --host gateway.example.org --force   # renew certificates`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runInit(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", ".", "folder to fill; made when it is missing")
	flags.StringArrayVar(&f.hosts, "host", nil, "DNS name or IP address of the bridge; repeat it (default localhost, 127.0.0.1, ::1 and the host's name)")
	flags.StringVar(&f.cse, "cse", "https://localhost:8443", "address of the CSE")
	flags.BoolVar(&f.force, "force", false, "make what is missing beside files that are there; never overwrites a key")
	cobra.CheckErr(cmd.MarkFlagDirname("dir"))
	return cmd
}

func runInit(cmd *cobra.Command, f initFlags) error {
	u, err := url.Parse(f.cse)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return usageError{fmt.Errorf("--cse %q: write https://host:port", f.cse)}
	}
	hosts := f.hosts
	if len(hosts) == 0 {
		hosts = pki.DefaultHosts()
	}
	for _, h := range hosts {
		if message := pki.CheckHost(h); message != "" {
			return usageError{fmt.Errorf("--host %q: %s", h, message)}
		}
	}
	paths, err := pki.NewPaths(f.dir)
	if err != nil {
		return err
	}
	if there := paths.Existing(); len(there) > 0 && !f.force {
		return fmt.Errorf("%s: %s there already: %s; nothing was done. --force makes what is missing and keeps these",
			paths.Dir, count(len(there), "file"), strings.Join(bases(there), ", "))
	}
	cseHosts := []string{u.Hostname()}
	if slices.Contains(pki.LoopbackHosts(), u.Hostname()) {
		cseHosts = pki.LoopbackHosts()
	}
	result, err := pki.Ensure(cmd.Context(), f.dir, pki.Options{Hosts: hosts, CSEHosts: cseHosts, CSEURL: f.cse, Now: time.Now()})
	if err != nil {
		return err
	}
	return writeInit(cmd.OutOrStdout(), result, hosts)
}

func writeInit(w io.Writer, r *pki.Result, hosts []string) error {
	_, err := fmt.Fprintf(w, `%s
  made: %s
  kept: %s
Next:
  coap-bridge check --config %s
  coap-bridge device add NAME --config %s    # one for each device
  coap-bridge run --config %s
Move ca.key and cse-ca.key to a safe place. Devices reach the bridge at coaps://%s; its CA is ca.crt.
`, r.Paths.Dir, list(bases(r.Made)), list(bases(r.Kept)), r.Paths.Config, r.Paths.Config, r.Paths.Config, hosts[0])
	return err
}

func bases(paths []string) []string {
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	return names
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
