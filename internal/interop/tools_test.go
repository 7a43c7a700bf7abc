//go:build interop

package interop

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// asks returns a function that runs a command and finds the version in what it prints.
func asks(pattern string, argv ...string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		out, _ := exec.Command(argv[0], argv[1:]...).CombinedOutput() // coap-client says it and fails
		m := regexp.MustCompile(pattern).FindSubmatch(out)
		require.NotNil(t, m, "%v says no version: %s", argv, out)
		return string(m[1])
	}
}

func hexKey() string { return hex.EncodeToString([]byte(key)) }

// openSSL is OpenSSL's own tools.
func openSSL() *peer {
	ciphers := func(a *attempt) string { // level 0 allows tags of 8 bytes
		return join(a.suites, ":", func(s suite) string { return s.openssl }) + ":@SECLEVEL=0"
	}
	return &peer{
		name: "OpenSSL", how: "`openssl s_client`, `s_server`", version: asks(`OpenSSL (\S+)`, "openssl", "version"), dialect: lines,
		named: func(s suite) bool { return s.openssl != "" },
		lacks: map[string]string{
			"TLS_ECDHE_PSK_WITH_AES_128_CCM_8": "no ECDHE_PSK suite with AES-CCM",
			noCID:                              "no Connection ID in DTLS",
		},
		client: func(t *testing.T, a *attempt) *running {
			argv := []string{"openssl", "s_client", "-dtls1_2", "-connect", a.at.String(), "-cipher", ciphers(a)}
			if a.psk {
				argv = append(argv, "-psk_identity", identity, "-psk", hexKey())
			} else {
				argv = append(argv, "-CAfile", a.creds.path("ca.crt"), "-verify_return_error", "-verify_hostname", bridgeName,
					"-servername", bridgeName, "-cert", a.creds.path("client.crt"), "-key", a.creds.path("client.key"))
			}
			return start(t, nil, argv...)
		},
		server: func(t *testing.T, a *attempt) *running {
			argv := []string{"openssl", "s_server", "-dtls1_2", "-accept", a.at.String(), "-quiet", "-no_ticket", "-cipher", ciphers(a)}
			if a.psk {
				argv = append(argv, "-nocert", "-psk_identity", identity, "-psk", hexKey())
			} else {
				argv = append(argv, "-cert", a.creds.path("server.crt"), "-key", a.creds.path("server.key"),
					"-CAfile", a.creds.path("ca.crt"), "-Verify", "2", "-verify_return_error")
			}
			return start(t, nil, argv...)
		},
	}
}

// gnuTLS is GnuTLS's own tools. Its server knows no address to bind to: it listens on all of them.
func gnuTLS() *peer {
	priority := func(a *attempt) string {
		return "NONE:+VERS-DTLS1.2:+AEAD:+COMP-NULL:+GROUP-ALL:+SIGN-ALL:+CTYPE-X509:" + join(a.suites, ":", func(s suite) string { return s.gnutls })
	}
	return &peer{
		name: "GnuTLS", how: "`gnutls-cli`, `gnutls-serv`", version: asks(`gnutls-cli (\S+)`, "gnutls-cli", "--version"), dialect: echoes,
		named: func(s suite) bool { return s.gnutls != "" },
		lacks: map[string]string{
			"TLS_ECDHE_PSK_WITH_AES_128_CCM_8": "no ECDHE_PSK suite with AES-CCM",
			noCID:                              "no Connection ID",
		},
		clientLacks: map[string]string{
			"TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305": "gnutls-cli ends with a segmentation fault after a whole ECDHE_PSK handshake, with gnutls-serv too",
		},
		client: func(t *testing.T, a *attempt) *running {
			argv := []string{"gnutls-cli", "--udp", "-p", fmt.Sprint(a.at.Port()), "--priority", priority(a)}
			if a.psk {
				argv = append(argv, "--pskusername", identity, "--pskkey", hexKey())
			} else {
				argv = append(argv, "--x509cafile", a.creds.path("ca.crt"), "--x509certfile", a.creds.path("client.crt"),
					"--x509keyfile", a.creds.path("client.key"), "--sni-hostname", bridgeName, "--verify-hostname", bridgeName)
			}
			return start(t, nil, append(argv, a.at.Addr().String())...)
		},
		server: func(t *testing.T, a *attempt) *running {
			argv := []string{"gnutls-serv", "--udp", "--echo", "--noticket", "-p", fmt.Sprint(a.at.Port()), "--priority", priority(a)}
			if a.psk {
				keys := t.TempDir() + "/keys"
				require.NoError(t, os.WriteFile(keys, []byte(identity+":"+hexKey()+"\n"), 0o600))
				argv = append(argv, "--pskpasswd", keys)
			} else {
				argv = append(argv, "--x509cafile", a.creds.path("ca.crt"), "--x509certfile", a.creds.path("server.crt"),
					"--x509keyfile", a.creds.path("server.key"), "--require-client-cert", "--verify-client-cert")
			}
			return start(t, nil, argv...)
		},
	}
}
