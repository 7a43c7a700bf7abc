package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/cmd/coap-bridge/daemon"
	"coapbridge/cmd/coap-bridge/pki"
)

// demoGrace is how long the demonstration waits for requests in progress when it ends.
const demoGrace = 3 * time.Second

func newDemoCommand() *cobra.Command {
	var dir string
	var port uint16
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a bridge with a CSE in memory, and print requests to paste",
		Long: `Start everything that a first request needs, without any set-up, on this machine's loopback addresses alone.

On the first start a folder (mode 0700) is filled with a private CA, certificates for the bridge, the CSE and a device, and
a random pre-shared key; a later start uses them again. The CSE is an in-memory test double behind mutual TLS: what is
stored there is gone when the demonstration ends, and it is not meant for anything else.

The lines that are printed can be pasted into another shell.`,
		Example: "  coap-bridge demo\n  coap-bridge demo --dir /tmp/try --port 15684",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				dir = demoFolder()
			}
			return runDemo(cmd.Context(), dir, port, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder for keys and devices (default "+demoFolder()+")")
	cmd.Flags().Uint16Var(&port, "port", 5684, "UDP port; 0 chooses a free one")
	return cmd
}

// demoFolder is where the demonstration keeps its keys.
func demoFolder() string {
	base := os.Getenv("XDG_DATA_HOME")
	if home, err := os.UserHomeDir(); base == "" && err == nil {
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "coap-bridge", "demo")
}

// runDemo serves until a signal or ctx ends it.
func runDemo(ctx context.Context, dir string, port uint16, stdout, stderr io.Writer) error {
	made, err := pki.EnsureDemo(ctx, dir, time.Now())
	if err != nil {
		return err
	}
	service, url, err := startDemoCSE(made.Paths)
	if err != nil {
		return err
	}
	defer service.Close()
	c := demoConfig(made.Paths, url)
	o, err := daemonOptions(c, stderr)
	if err != nil {
		return err
	}
	d, err := startDemoBridge(o, port)
	if err != nil {
		return err
	}
	if err := printDemo(stdout, made, url, d.Addresses()); err != nil {
		return errors.Join(err, d.Shutdown(ctx))
	}
	return serve(ctx, d, demoGrace, o.Log)
}

// startDemoCSE starts the CSE in memory on a free port of loopback.
func startDemoCSE(p pki.Paths) (*csetest.CSE, string, error) {
	own, err := config.LoadKeyPair(p.CSEServer)
	if err != nil {
		return nil, "", err
	}
	clients, _, err := config.LoadPool(p.CSECA.Chain)
	if err != nil {
		return nil, "", err
	}
	caller, err := config.LoadKeyPair(p.CSECaller)
	if err != nil {
		return nil, "", err
	}
	bridges, _, err := config.LoadPool(p.DeviceCA.Chain)
	if err != nil {
		return nil, "", err
	}
	service := csetest.New(csetest.Config{
		Certificate: tls.Certificate{Certificate: own.Chain, PrivateKey: own.Key, Leaf: own.Leaf},
		ClientCAs:   clients,
		// It calls the bridge as a CSE elsewhere would.
		NotifyCertificate: tls.Certificate{Certificate: caller.Chain, PrivateKey: caller.Key, Leaf: caller.Leaf},
		NotifyCAs:         bridges,
		Record:            -1,
	})
	url, err := service.Start("127.0.0.1:0")
	if err != nil {
		service.Close()
		return nil, "", err
	}
	return service, url, nil
}

// demoConfig is the configuration that the folder and the CSE make.
func demoConfig(p pki.Paths, url string) *config.Config {
	at := func(name string) string { return filepath.Join(p.Dir, name) }
	return &config.Config{
		Version:     1,
		Certificate: p.Bridge,
		ClientCA:    p.DeviceCA.Chain,
		Devices:     p.Devices,
		Bindings:    p.Bindings,
		CSEs: []config.CSE{{
			Name: "demo", URL: url, Default: true, CA: p.CSECA.Chain, Certificate: p.CSEClient.Chain, Key: p.CSEClient.Key,
			CSEID: "/id-in", CSEBase: "cse-in", SP: "sp.example",
			Downlink: config.CSEDownlink{
				Mode: config.DownlinkListen, CA: p.CSECA.Chain, Certificates: []config.CertificateName{"uri:" + pki.CallerURI},
			},
		}},
		Downlink: config.Downlink{Listen: []string{"127.0.0.1:0"}, URL: "https://localhost:0"},
		Admin:    config.Admin{Socket: at("admin.sock")},
		Log:      config.Log{KeyFile: at("log.key")},
	}
}

// startDemoBridge listens on both loopback addresses, and on IPv4 alone where there is no IPv6.
func startDemoBridge(o daemon.Options, port uint16) (*daemon.Daemon, error) {
	v4 := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String()
	v6 := netip.AddrPortFrom(netip.IPv6Loopback(), port).String()
	o.Config.Listen = []string{v4, v6}
	if port == 0 { // one free port for both is more than the kernel promises
		o.Config.Listen = []string{v4}
	}
	d, err := daemon.Start(o)
	if withoutIPv6(err) {
		o.Config.Listen = []string{v4}
		d, err = daemon.Start(o)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w; or start the demonstration with --port", err)
	}
	return d, err
}

// withoutIPv6 reports whether err says that this machine has no IPv6: no such address, where it was turned off for the
// interfaces, or no such address family, where the kernel was started without it.
func withoutIPv6(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// demoLines are what printDemo fills in.
type demoLines struct {
	Client, Bridge, URI, OneM2M, CSE, Dir string
	Identity, Key                         string
	Device                                config.KeyPair
	CA, Socket                            string
}

const demoText = `
The bridge is at {{.URI}}, and behind it a CSE in memory at {{.CSE}}.
Its keys and devices are in {{.Dir}}. Ctrl-C ends it.

A device with a pre-shared key sends a value, and reads it back:
{{if .Key}}
  {{.Client}} -m post -u {{.Identity}} -k {{.Key}} -t 0 -e 21.5 {{.URI}}/room/temperature
  {{.Client}} -m get -u {{.Identity}} -k {{.Key}} {{.URI}}/room/temperature

The other way: for 30 seconds this one is told of each new value (RFC 7641); send some with the line above, in another shell.

  {{.Client}} -m get -s 30 -u {{.Identity}} -k {{.Key}} {{.URI}}/room/temperature
{{else}}
  (the device psk-device was removed from {{.Dir}}/devices.yaml; "coap-bridge device add" makes another)
{{end}}
The same with a certificate:

  {{.Client}} -m post -c {{.Device.Chain}} -j {{.Device.Key}} -C {{.CA}} -t 0 -e on {{.URI}}/door
  {{.Client}} -m get -c {{.Device.Chain}} -j {{.Device.Key}} -C {{.CA}} {{.URI}}/door

What the CSE holds, as oneM2M:
{{if .Key}}
  {{.Bridge}} request retrieve {{.OneM2M}}/psk-device/room/temperature/la --from C{{.Identity}} -u {{.Identity}} -k {{.Key}}
  {{.Bridge}} request retrieve {{.OneM2M}} --from C{{.Identity}} -q fu=1 -q ty=3 -u {{.Identity}} -k {{.Key}}
{{end}}
Counters: curl --unix-socket {{.Socket}} http://localhost/metrics

`

// printDemo prints the lines to paste.
func printDemo(w io.Writer, made *pki.Result, url string, addresses []netip.AddrPort) error {
	p := made.Paths
	uri := "coaps://" + net.JoinHostPort("localhost", strconv.Itoa(int(addresses[0].Port())))
	lines := demoLines{
		Client: coapClient(), Bridge: shellQuote(self()), URI: uri, OneM2M: uri + "/cse-in", CSE: url, Dir: p.Dir,
		Identity: made.Identity, Device: quotePair(p.Device), CA: shellQuote(p.DeviceCA.Chain), Socket: shellQuote(filepath.Join(p.Dir, "admin.sock")),
	}
	if made.Identity != "" {
		lines.Key = string(made.Key.Reveal()) // a demonstration's own key, made to be pasted
	}
	return template.Must(template.New("demo").Parse(demoText)).Execute(w, &lines)
}

func quotePair(k config.KeyPair) config.KeyPair {
	return config.KeyPair{Chain: shellQuote(k.Chain), Key: shellQuote(k.Key)}
}

// coapClient is what libcoap's client is called on this machine; Debian installs one for each TLS library.
func coapClient() string {
	names := []string{"coap-client", "coap-client-openssl", "coap-client-gnutls"}
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			return name
		}
	}
	return names[0]
}

// self is how this command was called.
func self() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return "coap-bridge"
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
