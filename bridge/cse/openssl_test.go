package cse_test

import (
	"bufio"
	"io"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/internal/testpki"
)

// startOpenSSL starts s_server with -www, which answers every GET with a page and demands a client certificate of p's CA.
func startOpenSSL(t *testing.T, p pki, args ...string) (url string) {
	t.Helper()
	dir := t.TempDir()
	cert, key := p.server.Write(t, dir, "server")
	ca := p.ca.WriteCert(t, dir, "ca.crt")
	cmd := exec.CommandContext(t.Context(), "openssl", append([]string{
		"s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key", key, "-CAfile", ca, "-Verify", "2", "-verify_return_error", "-www",
	}, args...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), "openssl must be installed")
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	listening := regexp.MustCompile(`^ACCEPT (127\.0\.0\.1:\d+)`)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }() // so that it never blocks; ends with the process
			return "https://" + m[1]
		}
	}
	require.FailNow(t, "openssl s_server didn't say where it listens")
	return ""
}

// TestR1OpenSSL: mutual authentication with a foreign TLS stack in both versions, and its refusals.
func TestR1OpenSSL(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	foreign := testpki.NewCA(t, "foreign CA")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			url := startOpenSSL(t, p, version)
			c := newClient(t, p, url, nil)
			_, err := do(t, c, retrieve("r")) // the handshake succeeds; its page has a 200 and no X-M2M-RSC
			requireFailure(t, err, bridge.ErrBadAnswer, cse.ReasonPrimitive)

			c = newClient(t, p, url, func(conf *cse.CSE) { conf.Certificate = cse.Static(foreign.Client(t).TLS()) })
			_, err = do(t, c, retrieve("r"))
			requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonTLS)
			c = newClient(t, p, url, func(conf *cse.CSE) { conf.CA = foreign.Pool() })
			_, err = do(t, c, retrieve("r"))
			requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonTLS)
		})
	}
	url := startOpenSSL(t, p, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")
	_, err := do(t, newClient(t, p, url, nil), retrieve("r"))
	requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonTLS)
}
