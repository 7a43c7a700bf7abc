package cse_test

import (
	"crypto/x509"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse"
)

// TestB05OpenSSL: a foreign TLS stack as the CSE, in both versions. With the certificate of a CSE its request is answered, that
// of tinyIoT's form too; with another or none the handshake fails and nothing is read.
func TestB05OpenSSL(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := startDownlink(t, p, l, nil)
	dir := t.TempDir()
	listed := p.ca.Issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"cse.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	listedCert, listedKey := listed.Write(t, dir, "listed")
	otherCert, otherKey := p.client.Write(t, dir, "other")
	ca := p.ca.WriteCert(t, dir, "ca.crt")
	ask := func(request string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), "openssl", append([]string{
			"s_client", "-connect", l.Addr().String(), "-CAfile", ca, "-verify_return_error", "-quiet", "-ign_eof",
		}, args...)...)
		cmd.Stdin = strings.NewReader(request)
		out, _ := cmd.Output() // it fails where the handshake does
		return string(out)
	}
	closing := strings.Replace(notification(token+"/tt/c", "r"), "X-M2M-RVI", "Connection: close\r\nX-M2M-RVI", 1)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		answer := ask(closing, version, "-cert", listedCert, "-key", listedKey)
		require.Contains(t, answer, "HTTP/1.1 200 OK\r\n")
		require.Contains(t, answer, "X-M2M-RSC: 2000\r\n")
		require.Contains(t, answer, "X-M2M-RI: r\r\n")
		n := len(d.device.requests())
		require.Empty(t, ask(closing, version))
		require.Empty(t, ask(closing, version, "-cert", otherCert, "-key", otherKey))
		require.Len(t, d.device.requests(), n)
	}
	require.Equal(t, 2, d.refused(cse.DownlinkHandshake))
	require.Equal(t, 2, d.refused(cse.DownlinkUnlisted))
}
