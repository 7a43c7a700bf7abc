package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"coapbridge/cmd/coap-load/credentials"
	"coapbridge/cmd/coap-load/load"
	"coapbridge/cmd/coap-load/measure"
	"coapbridge/cmd/coap-load/report"
	"coapbridge/cmd/coap-load/session"
)

// targetFlags are the flags of every mode: against what, as whom, and how it is shown.
type targetFlags struct {
	target, identity, key             string
	cert, certKey, issuer, issuerKey  string
	issuerURI, ca, serverName, metric string
	suites                            []string
	cid, json, quiet                  bool
	devices, pid                      int
	timeout                           time.Duration
}

func (f *targetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.target, "target", "127.0.0.1:5684", "the server: host:port or a coaps URI; IPv4")
	flags.StringVarP(&f.identity, "identity", "u", "", `PSK identity; "%d" in it becomes the device's number`)
	flags.StringVarP(&f.key, "key", "k", "", "pre-shared key of all identities, as text")
	flags.StringVarP(&f.cert, "cert", "c", "", "certificate of all devices (PEM)")
	flags.StringVarP(&f.certKey, "cert-key", "j", "", "its key (PEM)")
	flags.StringVar(&f.issuer, "issuer", "", "CA that issues each device a certificate of its own (PEM)")
	flags.StringVar(&f.issuerKey, "issuer-key", "", "its key (PEM)")
	flags.StringVar(&f.issuerURI, "issuer-uri", "urn:coap-load:%d", `subjectAltName of these certificates; "%d" is the device's number`)
	flags.StringVarP(&f.ca, "ca", "C", "", "CA of the server's certificate (PEM)")
	flags.StringVar(&f.serverName, "server-name", "", "name in the server's certificate (default: the target's host)")
	flags.StringSliceVar(&f.suites, "suite", nil, "cipher suites to offer, by number (default 0xc0a8 with a key, 0xc02b with a certificate)")
	flags.BoolVar(&f.cid, "cid", false, "offer a Connection ID (RFC 9146)")
	flags.IntVar(&f.devices, "devices", 0, "different credentials; devices share them in turn (default: each its own)")
	flags.DurationVar(&f.timeout, "handshake-timeout", 30*time.Second, "when a handshake has failed")
	flags.IntVar(&f.pid, "pid", 0, "the server's process, to be measured")
	flags.StringVar(&f.metric, "metrics", "", `where the server's Prometheus metrics are: a URL, or "unix:" and a socket's path`)
	flags.BoolVar(&f.json, "json", false, "print all that was measured as JSON")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
}

// open makes a Load for so many devices.
func (f *targetFlags) open(cmd *cobra.Command, devices int) (*load.Load, error) {
	target, host, err := f.resolve(cmd.Context())
	if err != nil {
		return nil, err
	}
	conf := load.Config{Target: target, Clients: devices, Devices: f.devices, Session: session.Config{
		ServerName: f.serverName, ConnectionID: f.cid, Timeout: f.timeout,
	}}
	if conf.Session.ServerName == "" {
		conf.Session.ServerName = host
	}
	if f.devices > 0 {
		devices = min(devices, f.devices)
	}
	for _, text := range f.suites {
		id, err := strconv.ParseUint(text, 0, 16)
		if err != nil {
			return nil, usageError{fmt.Errorf("--suite %s: a number such as 0xc0a8", text)}
		}
		conf.Session.Suites = append(conf.Session.Suites, uint16(id))
	}
	if err := f.credential(&conf.Session, devices); err != nil {
		return nil, err
	}
	if f.pid != 0 {
		if conf.Server, err = measure.Open(f.pid, f.metric); err != nil {
			return nil, err
		}
	}
	if !f.quiet {
		conf.Progress = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
	}
	return load.New(conf)
}

func (f *targetFlags) credential(conf *session.Config, devices int) (err error) {
	switch {
	case f.identity != "" && f.key != "" && f.cert == "" && f.issuer == "":
		conf.Credential = credentials.PSK(f.identity, []byte(f.key))
		return nil
	case f.identity == "" && f.issuer != "" && f.issuerKey != "" && f.ca != "":
		issuer, err := credentials.NewIssuer(f.issuer, f.issuerKey, f.issuerURI)
		if err != nil {
			return err
		}
		if err := issuer.Prepare(min(devices, maxPrepared)); err != nil {
			return err
		}
		conf.Credential = issuer.Credential
	case f.identity == "" && f.cert != "" && f.certKey != "" && f.ca != "":
		if conf.Credential, err = credentials.One(f.cert, f.certKey); err != nil {
			return err
		}
	default:
		return usageError{errors.New("a credential is needed: -u and -k; or -c, -j and -C; or --issuer, --issuer-key and -C")}
	}
	conf.Roots, err = credentials.Roots(f.ca)
	return err
}

// maxPrepared is how many certificates are issued before the measurement; 100,000 take some 10 s and 300 MB.
const maxPrepared = 200_000

// resolve returns the server's address, and its host as it was named.
func (f *targetFlags) resolve(ctx context.Context) (netip.AddrPort, string, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(f.target, "coaps://"), "/")
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, "5684" // RFC 7252, Section 12.8
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, "", usageError{fmt.Errorf("--target %s: host:port", f.target)}
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), host, nil
}

// print shows a result.
func (f *targetFlags) print(w io.Writer, r *load.Result) error {
	if f.json {
		return report.JSON(w, r)
	}
	t := r.Table()
	return t.Markdown(w)
}
