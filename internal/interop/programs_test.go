//go:build interop

package interop

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// compile makes a program of one of the files in C.
func compile(t *testing.T, dir, name string, libraries ...string) string {
	t.Helper()
	binary := dir + "/" + name
	argv := append([]string{"-O1", "-Wall", "-o", binary, "peers/" + name + ".c"}, libraries...)
	out, err := exec.Command("cc", argv...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// starter returns how one of our own programs is started; they all take the role, the port, what args adds, and the credential.
func starter(argv []string, args func(a *attempt) []string) func(t *testing.T, a *attempt) *running {
	return func(t *testing.T, a *attempt) *running {
		all := append(append([]string(nil), argv...), roleName(a.role), fmt.Sprint(a.at.Port()))
		all = append(all, args(a)...)
		if a.psk {
			all = append(all, "psk", identity, key)
		} else {
			all = append(all, "certificate", a.creds.dir, bridgeName)
		}
		return start(t, nil, all...)
	}
}

// numbers is the attempt's suites as numbers.
func numbers(a *attempt) string {
	return join(a.suites, ",", func(s suite) string { return fmt.Sprintf("%04x", s.id) })
}

// cidLength is the length of the peers' own Connection IDs, for it must not matter that ours have another.
func cidLength(a *attempt) string {
	if a.cid {
		return "6"
	}
	return "0"
}

// mbedTLS is a program of ours on Debian's Mbed TLS.
func mbedTLS(t *testing.T) *peer {
	t.Helper()
	program := compile(t, t.TempDir(), "mbedtls", "-lmbedtls", "-lmbedx509", "-lmbedcrypto")
	run := starter([]string{program}, func(a *attempt) []string { return []string{numbers(a), cidLength(a)} })
	return &peer{
		name: "Mbed TLS", how: "[a program](../internal/interop/peers/mbedtls.c)", version: asks(`(\S+)`, program, "version"), dialect: echoes,
		named: func(suite) bool { return true },
		lacks: map[string]string{
			"TLS_ECDHE_PSK_WITH_AES_128_CCM_8": "no ECDHE_PSK suite with AES-CCM",
			noCID:                              "built without MBEDTLS_SSL_DTLS_CONNECTION_ID",
		},
		client: run, server: run,
	}
}

// wolfSSL is a program of ours on Debian's wolfSSL.
func wolfSSL(t *testing.T) *peer {
	t.Helper()
	program := compile(t, t.TempDir(), "wolfssl", "-lwolfssl")
	run := starter([]string{program}, func(a *attempt) []string {
		return []string{join(a.suites, ":", func(s suite) string { return s.name })}
	})
	return &peer{
		name: "wolfSSL", how: "[a program](../internal/interop/peers/wolfssl.c)", version: asks(`(\S+)`, program, "version"), dialect: echoes,
		named: func(suite) bool { return true },
		lacks: map[string]string{
			"TLS_PSK_":                         "built without WOLFSSL_STATIC_PSK",
			"TLS_ECDHE_PSK_WITH_AES_128_CCM_8": "no ECDHE_PSK suite with AES-CCM",
			noCID:                              "Connection IDs in DTLS 1.3 only, and this build has neither",
		},
		client: run, server: run,
	}
}
