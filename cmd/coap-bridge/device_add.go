package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"coapbridge/bridge/devices"
	"coapbridge/cmd/coap-bridge/config"
)

// policyFlags are what a device may do, for "device add" and "device import".
type policyFlags struct {
	tenant, cse, client             string
	profile, appID                  string
	originators, operations, target []string
	maxPayload                      int
	entity, allowDelete, legacy     bool
	strict, actuator                bool
	timing                          string
	observe                         []string
}

func (p *policyFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&p.originators, "originator", nil, `AE-ID that the device may speak as: in full, or with "*" and "?", which cover no other device's; repeat it (default: what the CSE gives it)`)
	f.StringSliceVar(&p.operations, "operation", nil, "allowed operation: create, retrieve, update, delete, notify; repeat it (default: all)")
	f.StringArrayVar(&p.target, "target", nil, "allowed prefix of To; repeat it (default: all)")
	f.StringVar(&p.profile, "profile", "", "auto, onem2m or plain (default auto: per request)")
	f.StringVar(&p.cse, "cse", "", "name of the CSE in the configuration (default: the default CSE)")
	f.StringVar(&p.client, "client", "", "which of the CSE's clients its requests go up as (default: the bridge's own certificate)")
	f.StringVar(&p.tenant, "tenant", "", "whose device it is")
	f.StringVar(&p.appID, "app-id", "", "App-ID of a plain device's AE")
	f.IntVar(&p.maxPayload, "max-payload", 0, "bytes of one request's content (default: as configured)")
	f.BoolVar(&p.entity, "entity", false, "a network entity: no AE of its own is made for it")
	f.BoolVar(&p.allowDelete, "allow-delete", false, "a plain device may DELETE a container")
	f.BoolVar(&p.legacy, "legacy-options", false, "the device speaks the option numbers from before TS-0008 V3.7.0")
	f.BoolVar(&p.actuator, "actuator", false, "the device moves something: what it is told must be fresh")
	f.StringVar(&p.timing, "timing", "", "how long answers may take: default, lan, nbiot or satellite")
	f.StringArrayVar(&p.observe, "observe", nil, "PATH or PATH=CONTAINER: a resource of a plain device that the bridge observes; repeat it")
	f.BoolVar(&p.strict, "strict-timestamps", false, "the device takes timestamps of 15 bytes alone: their fractions are cut")
	complete := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("profile", complete("auto", "onem2m", "plain")))
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("timing", complete("default", "lan", "nbiot", "satellite")))
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("operation", complete("create", "retrieve", "update", "delete", "notify")))
}

// entry returns the entry that the flags describe, without name and credential.
func (p *policyFlags) entry() (devices.Entry, error) {
	e := devices.Entry{
		Tenant: p.tenant, CSE: p.cse, Client: p.client, AppID: p.appID, Originators: p.originators, Targets: p.target, MaxPayload: p.maxPayload,
		Entity: p.entity, AllowDelete: p.allowDelete, LegacyOptions: p.legacy, StrictTimestamps: p.strict, Actuator: p.actuator,
	}
	if p.profile != "" {
		if err := parseFlag("profile", p.profile, &e.Profile); err != nil {
			return e, err
		}
	}
	if p.timing != "" {
		if err := parseFlag("timing", p.timing, &e.Timing); err != nil {
			return e, err
		}
	}
	for _, o := range p.observe {
		path, container, _ := strings.Cut(o, "=")
		e.Observe = append(e.Observe, devices.Observed{Path: path, Container: container})
	}
	for _, name := range p.operations {
		var op devices.Operation
		if err := parseFlag("operation", name, &op); err != nil {
			return e, err
		}
		e.Operations = append(e.Operations, op)
	}
	return e, nil
}

func parseFlag(name, value string, into encoding.TextUnmarshaler) error {
	if err := into.UnmarshalText([]byte(value)); err != nil {
		return usageError{fmt.Errorf("--%s: %w", name, err)}
	}
	return nil
}

// credentialFlags are how a device proves who it is.
type credentialFlags struct {
	identity, certificate, fingerprint, san, rawKey string
	oneKey                                          bool
}

// newDeviceAddCommand returns "device add".
func newDeviceAddCommand(where *deviceFile) *cobra.Command {
	var policy policyFlags
	var credential credentialFlags
	var address string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Let a device in",
		Long: `Let a device in. Without a flag that names a certificate or raw public key it gets a random pre-shared key, which is
shown now and never again. The key is the characters themselves, as coap-client's -k takes it.

Two keys are made: "up" for the device when it dials the bridge, and "down" for a device that the bridge dials. One key
for both directions (--one-key) lets a recorded handshake be mirrored; the bridge has to refuse more and reports the
device as one-key.

The identity of a pre-shared key travels in clear: choose an opaque one, no serial or subscriber number.

NAME is also the resource name of a plain device's AE. Without --originator the device may speak as the AE-ID that the CSE
gives it, and as no other.

With --address the bridge dials the device when the Service Layer has something for it and no session of it is there.

Exit codes: 0 done; 1 not done, and the file is as it was; 2 the command line is wrong.`,
		Example: `  coap-bridge device add kitchen
  coap-bridge device add meter-7 --certificate meter-7.crt --originator Cmeter-7 --operation create,retrieve
  coap-bridge device add pump --san uri:urn:example:pump --cse plant --target cse-in/pump
  coap-bridge device add lamp --address 192.0.2.7:5684 --actuator
  coap-bridge device add heating --profile plain --observe /room/temp --timing nbiot
  coap-bridge device add gateway-2 --entity --originator '*' --identity gw2`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, given []string) error {
			e, err := policy.entry()
			if err != nil {
				return err
			}
			e.Name = given[0]
			if address != "" {
				if err := parseFlag("address", address, &e.Address); err != nil {
					return err
				}
			}
			if err := credential.fill(&e); err != nil {
				return err
			}
			file, cses, err := where.find()
			if err != nil {
				return err
			}
			if err := devices.Add(cmd.Context(), file, cses, e); err != nil {
				return err
			}
			return writeAdded(cmd.OutOrStdout(), file, &e, asJSON)
		},
	}
	policy.register(cmd)
	f := cmd.Flags()
	f.StringVar(&credential.identity, "identity", "", "PSK identity (default: NAME)")
	f.BoolVar(&credential.oneKey, "one-key", false, "make one key for both directions")
	f.StringVar(&credential.certificate, "certificate", "", "the device's certificate (PEM): its SHA-256 is taken")
	f.StringVar(&credential.fingerprint, "fingerprint", "", "SHA-256 of the device's certificate, in hex")
	f.StringVar(&credential.san, "san", "", "a subjectAltName of the device's certificate: uri:, dns:, ip: or other:OID=value")
	f.StringVar(&credential.rawKey, "raw-public-key", "", "SHA-256 of the device's SubjectPublicKeyInfo, in hex")
	f.StringVar(&address, "address", "", "where the bridge dials the device: IP address and port, never a name")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("certificate", "fingerprint")
	cobra.CheckErr(cmd.MarkFlagFilename("certificate", "crt", "pem"))
	return cmd
}

// fill adds the credentials to an entry. A PSK is made when none other is named, or an identity is.
func (c *credentialFlags) fill(e *devices.Entry) error {
	var named devices.Certificate
	switch {
	case c.certificate != "":
		certs, err := config.LoadCertificates(c.certificate)
		if err != nil {
			return err
		}
		named.Fingerprint = fingerprint(certs[0])
	case c.fingerprint != "":
		if err := parseFlag("fingerprint", c.fingerprint, &named.Fingerprint); err != nil {
			return err
		}
	}
	if c.san != "" {
		if err := parseFlag("san", c.san, &named.SAN); err != nil {
			return err
		}
	}
	if named != (devices.Certificate{}) {
		e.Certificate = &named
	}
	if c.rawKey != "" {
		if err := parseFlag("raw-public-key", c.rawKey, &e.RawPublicKey); err != nil {
			return err
		}
	}
	if c.identity != "" || e.Certificate == nil && e.RawPublicKey == "" {
		e.PSK = &devices.PSK{Identity: c.identity, Up: devices.RandomKey()}
		if c.identity == "" {
			e.PSK.Identity = e.Name
		}
		if !c.oneKey {
			e.PSK.Down = devices.RandomKey()
		}
	}
	return nil
}

func fingerprint(cert *x509.Certificate) devices.Fingerprint {
	sum := sha256.Sum256(cert.Raw)
	return devices.Fingerprint(hex.EncodeToString(sum[:]))
}

// writeAdded shows the new device, and its keys this once.
func writeAdded(w io.Writer, file string, e *devices.Entry, asJSON bool) error {
	if asJSON {
		out := map[string]string{"name": e.Name}
		if e.PSK != nil {
			out["identity"], out["up"] = e.PSK.Identity, string(e.PSK.Up.Reveal())
			if !e.PSK.Down.IsZero() {
				out["down"] = string(e.PSK.Down.Reveal())
			}
		}
		return json.NewEncoder(w).Encode(out)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "added %s to %s\n", e.Name, file)
	if e.PSK != nil {
		fmt.Fprintf(&b, "  identity  %s\n  up key    %s   (the device dials the bridge: coap-client -u and -k)\n", e.PSK.Identity, e.PSK.Up.Reveal())
		if !e.PSK.Down.IsZero() {
			fmt.Fprintf(&b, "  down key  %s   (the bridge dials the device)\n", e.PSK.Down.Reveal())
		}
		fmt.Fprintf(&b, "This is the only time that the keys are shown.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
