package config

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
)

// withDownlink is the sample with a downlink at the top and at its CSE.
func withDownlink(top, ofCSE string) string {
	text := Sample(SampleValues{CSEURL: "https://localhost:8443"})
	if top != "" {
		text = strings.Replace(text, "\ncses:\n", "\ndownlink: "+top+"\ncses:\n", 1)
	}
	if ofCSE != "" {
		text = strings.Replace(text, "    cseID: /id-in\n", "    cseID: /id-in\n    downlink: "+ofCSE+"\n", 1)
	}
	return text
}

func TestDownlink(t *testing.T) {
	t.Parallel()
	const top = `{listen: ["[::]:8443"], url: "https://localhost:8443"}`
	fingerprint := strings.Repeat("AB:", 31) + "AB"
	cases := []struct {
		name, top, cse string
		want           CSEDownlink
	}{
		{"off", "", "", CSEDownlink{Mode: DownlinkOff}},
		{"off by name", top, "{mode: off}", CSEDownlink{Mode: DownlinkOff}},
		{"listen", top, `{certificates: ["dns:CSE.example.org", "uri:urn:example:CSE", "sha256:` + fingerprint + `"]}`, CSEDownlink{
			Mode: DownlinkListen, Certificates: []CertificateName{"dns:cse.example.org", "uri:urn:example:CSE", CertificateName("sha256:" + strings.Repeat("ab", 32))},
		}},
		{"poll", "", "{mode: poll, maxPolls: 8, pollTimeout: 20s}", CSEDownlink{Mode: DownlinkPoll, MaxPolls: 8, PollTimeout: 20 * time.Second}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, file, _ := setUp(t)
			require.NoError(t, os.WriteFile(file, []byte(withDownlink(c.top, c.cse)), 0o600))
			got, err := Load(file, now())
			require.NoError(t, err)
			c.want.CA = got.CSEs[0].CA
			if c.want.MaxPolls == 0 {
				c.want.MaxPolls, c.want.PollTimeout = 64, time.Minute
			}
			require.Equal(t, c.want, got.CSEs[0].Downlink)
			if c.name == "off by name" {
				require.ErrorContains(t, got.Warnings, "downlink: is used by no CSE")
			} else {
				require.Empty(t, got.Warnings)
			}
		})
	}
	require.Equal(t, bridge.DownlinkListen, DownlinkListen.Bridge())
	require.Equal(t, bridge.DownlinkPoll, DownlinkPoll.Bridge())
	require.Equal(t, bridge.DownlinkOff, DownlinkOff.Bridge())
}

func TestDownlinkFaults(t *testing.T) {
	t.Parallel()
	const top = `{listen: ["[::]:8443"], url: "https://localhost:8443"}`
	const named = `{certificates: ["dns:cse"]}`
	cases := []struct{ name, top, cse, problem, warning string }{
		{"no url", `{listen: ["[::]:8443"]}`, named, "downlink.url: is missing; write how CSEs reach the bridge", ""},
		{"in clear", `{listen: ["[::]:8443"], url: "http://localhost:8443"}`, named, "downlink.url: \"http://localhost:8443\" would not be encrypted", ""},
		{"path", `{listen: ["[::]:8443"], url: "https://localhost:8443/x"}`, named, "downlink.url: has a path or query", ""},
		{"no port", `{listen: ["localhost"], url: "https://localhost:8443"}`, named, "downlink.listen[0]: \"localhost\" is no address", ""},
		{"twice", `{listen: ["[::]:8443", "[::]:8443"], url: "https://localhost:8443"}`, named, "downlink.listen[1]: \"[::]:8443\" stands there twice", ""},
		{"no listen", `{url: "https://localhost:8443"}`, "", "downlink.listen: is missing", ""},
		{"half a certificate", `{listen: ["[::]:8443"], url: "https://localhost:8443", certificate: {chain: bridge.crt}}`, named, "downlink.certificate.key: is missing", ""},
		{"client's certificate", `{listen: ["[::]:8443"], url: "https://localhost:8443", certificate: {chain: cse-client.crt, key: cse-client.key}}`, named, "its extended key usage lacks serverAuth", "is no name in the certificate"},
		{"other name", `{listen: ["[::]:8443"], url: "https://gateway.example.org"}`, named, "", `downlink.url: "gateway.example.org" is no name in the certificate that CSEs see`},
		{"no certificates", top, "", "cses[0].downlink.certificates: is missing: any certificate of the CA would be this CSE", ""},
		{"nobody listens", "", `{mode: listen, certificates: ["dns:cse"]}`, "cses[0].downlink.mode: listen can't be: the bridge listens nowhere", ""},
		{"unknown mode", top, "{mode: push}", `cses[0].downlink.mode: "push" is none that is known; write listen, poll or off`, "is used by no CSE"},
		{"wildcard", top, `{certificates: ["dns:*.example.org"]}`, "cses[0].downlink.certificates[0]: is no name of a certificate", ""},
		{"address", top, `{certificates: ["ip:192.0.2.1"]}`, "cses[0].downlink.certificates[0]: is no name of a certificate", ""},
		{"digest", top, `{certificates: ["sha256:00"]}`, "cses[0].downlink.certificates[0]: is no SHA-256", ""},
		{"no CA", top, `{certificates: ["dns:cse"], ca: bridge.crt}`, "cses[0].downlink.ca: ", "is no CA and is left out"},
		{"polls", "", "{mode: poll, maxPolls: -1}", "cses[0].downlink.maxPolls: -1 can't be", ""},
		{"wait", "", "{mode: poll, pollTimeout: 1h}", "cses[0].downlink.pollTimeout: 1h0m0s can't be", ""},
		{"a CSE polls", "", "{mode: poll}\n    identity: mnCSE\n    bridgeID: /mn-1", "cses[0].downlink.mode: poll can't be with identity: mnCSE: a polling channel is an AE's", ""},
		{"unknown field", "{port: 1}", "", "downlink.port: unknown field", ""},
		{"of no use", "", `{mode: off, certificates: ["dns:cse"]}`, "", "cses[0].downlink.certificates: is of no use without mode: listen"},
		{"of no use either", top, `{certificates: ["dns:cse"], maxPolls: 1}`, "", "cses[0].downlink.maxPolls: is of no use without mode: poll"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, file, _ := setUp(t)
			require.NoError(t, os.WriteFile(file, []byte(withDownlink(c.top, c.cse)), 0o600))
			got, err := Load(file, now())
			if c.problem == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.problem)
				require.Regexp(t, `^\S+/coap-bridge.yaml:[0-9]+: [^\n]*; [^\n]+$`, err.Error(), "one fault, with file, line and remedy")
			}
			if c.warning == "" {
				require.Empty(t, got.Warnings)
			} else {
				require.ErrorContains(t, got.Warnings, c.warning)
				require.Len(t, got.Warnings, 1)
			}
		})
	}
}

// TestS9OneCSEACertificate: a certificate that were two CSEs' would let each read what the other is sent.
func TestS9OneCSEACertificate(t *testing.T) {
	t.Parallel()
	_, file, _ := setUp(t)
	text := withDownlink(`{listen: ["[::]:8443"], url: "https://localhost:8443"}`, `{certificates: ["dns:cse.example.org", "dns:CSE.example.org"]}`) + `
`
	second := "  - {name: second, url: \"https://b\", ca: cse-ca.crt, certificate: cse-client.crt, key: cse-client.key, cseID: /id-b, cseBase: b, downlink: {certificates: [\"uri:x:y\", \"dns:Cse.Example.org\"]}}\n"
	text = strings.Replace(text, "\n# A Unix socket", "\n"+second+"\n# A Unix socket", 1)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	_, err := Load(file, now())
	require.ErrorContains(t, err, "cses[1].downlink.certificates[1]: is cses[0]'s already, and a certificate can't be two CSEs")
	require.NotContains(t, err.Error(), "\n")
}

// TestDialledWithoutCertificate: what no dial could succeed at is said at once.
func TestDialledWithoutCertificate(t *testing.T) {
	t.Parallel()
	dir, file, _ := setUp(t)
	put(t, dir, "devices.yaml", `version: 1
devices:
  - name: pump
    certificate: {san: "uri:urn:example:pump"}
    address: "192.0.2.9:5684"
  - name: lamp
    psk: {identity: lamp, up: "hex:000102030405060708090a0b0c0d0e0f", down: "hex:f00102030405060708090a0b0c0d0e0f"}
    address: "192.0.2.7:5684"
`)
	c, err := Load(file, now())
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	text := withDownlink("", "")
	text = strings.Replace(text, "certificate:\n  chain: bridge.crt\n  key: bridge.key\n", "", 1)
	text = strings.Replace(text, "clientCA: ca.crt\n", "", 1)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	c, err = Load(file, now())
	require.NoError(t, err)
	require.Len(t, c.Warnings, 1)
	require.ErrorContains(t, c.Warnings, "devices.yaml: 1 with an address can be dialled with certificates alone")
}
