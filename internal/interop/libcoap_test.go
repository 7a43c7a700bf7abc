//go:build interop

package interop

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// libcoapOpenSSL is libcoap's client and server over OpenSSL.
func libcoapOpenSSL() *peer {
	return libcoap("openssl", &peer{
		name:  "libcoap, OpenSSL",
		named: func(s suite) bool { return s.openssl != "" },
		lacks: map[string]string{
			noChoice: "it sets OpenSSL's cipher list itself, so that no other suite can be had alone",
			noCID:    "no Connection ID",
		},
	}, func(*testing.T, *attempt) string { return "OPENSSL_CONF=" })
}

// libcoapGnuTLS is libcoap's client and server over GnuTLS.
func libcoapGnuTLS() *peer {
	return libcoap("gnutls", &peer{
		name:  "libcoap, GnuTLS",
		named: func(s suite) bool { return s.gnutls != "" && s.id != 0xc0a9 },
		lacks: map[string]string{
			"TLS_ECDHE_PSK_WITH_AES_128_CCM_8": "its GnuTLS has no ECDHE_PSK suite with AES-CCM",
			"TLS_PSK_WITH_AES_256_CCM_8":       "its priority string leaves AES-256-CCM-8 out",
			noCID:                              "no Connection ID",
		},
	}, gnutlsConf)
}

// libcoap completes a peer. Its programs have no choice of suite, but the TLS library's system-wide configuration may have. conf writes
// that and returns the variable of the environment that names it.
func libcoap(flavour string, p *peer, conf func(t *testing.T, a *attempt) string) *peer {
	p.how = "`coap-client-" + flavour + "`, `coap-server-" + flavour + "`"
	p.version = asks(`coap-client\S* v(\S+)`, "coap-client-"+flavour, "-h")
	p.dialect = speaksCoAP
	p.client = func(t *testing.T, a *attempt) *running {
		argv := []string{"coap-client-" + flavour, "-B", "20", "-m", "put", "-e", strings.ReplaceAll(greeting, "\n", "%0a")}
		if a.psk {
			argv = append(argv, "-u", identity, "-k", key)
		} else {
			argv = append(argv, "-C", a.creds.path("ca.crt"), "-c", a.creds.path("client.crt"), "-j", a.creds.path("client.key"))
		}
		return start(t, []string{conf(t, a)}, append(argv, "coaps://"+a.at.String()+"/x")...)
	}
	p.server = func(t *testing.T, a *attempt) *running {
		// DTLS is one port above.
		argv := []string{"coap-server-" + flavour, "-A", a.at.Addr().String(), "-p", fmt.Sprint(a.at.Port() - 1)}
		if a.psk {
			argv = append(argv, "-h", "", "-k", key)
		} else {
			argv = append(argv, "-C", a.creds.path("ca.crt"), "-c", a.creds.path("server.crt"), "-j", a.creds.path("server.key"))
		}
		return start(t, []string{conf(t, a)}, argv...)
	}
	return p
}

// gnutlsConf disables what the attempt's suites don't need: there is no way to allow.
func gnutlsConf(t *testing.T, a *attempt) string {
	t.Helper()
	wanted := map[string]bool{}
	for _, s := range a.suites {
		for part := range strings.SplitSeq(s.gnutls, ":") {
			wanted[part] = true
		}
	}
	text := "[overrides]\n"
	for _, s := range suites() {
		if exchange, cipher, ok := strings.Cut(s.gnutls, ":"); ok {
			if !wanted[cipher] {
				text += "tls-disabled-cipher = " + strings.ToLower(cipher[1:]) + "\n"
			}
			if !wanted[exchange] {
				text += "tls-disabled-kx = " + strings.ToLower(exchange[1:]) + "\n"
			}
		}
	}
	name := t.TempDir() + "/gnutls.conf"
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return "GNUTLS_SYSTEM_PRIORITY_FILE=" + name
}
