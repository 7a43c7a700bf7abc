package dtls

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// talk runs a command-line client, writes one line, and returns when the echo of it comes back.
func talk(t *testing.T, line string, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "the test needs %s", name)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	var log strings.Builder
	echoed := false
	lines := bufio.NewScanner(out)
	sent := false
	for !echoed && lines.Scan() {
		fmt.Fprintln(&log, lines.Text())
		echoed = sent && lines.Text() == line
		if !sent && (strings.Contains(lines.Text(), "Extended master secret: yes") || strings.Contains(lines.Text(), "Simple Client Mode")) {
			sent = true
			_, err := io.WriteString(in, line+"\n")
			require.NoError(t, err)
		}
	}
	_ = in.Close()
	cancel()
	_ = cmd.Wait()
	require.True(t, echoed, "%s said:\n%s", name, log.String())
}

// refusedBy runs a command-line client that must fail.
func refusedBy(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "the test needs %s", name)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	require.Error(t, err, "%s", out)
	return string(out)
}

func TestOpenSSLAndGnuTLSWithPSK(t *testing.T) {
	t.Parallel()
	ep, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
	key := hex.EncodeToString([]byte(testKey))
	for _, cipher := range []string{"PSK-AES128-CCM8", "PSK-AES128-CCM", "PSK-AES128-GCM-SHA256", "PSK-AES256-CCM8", "DEFAULT:PSK"} {
		t.Run(cipher, func(t *testing.T) {
			talk(t, "hello "+cipher, "openssl", "s_client", "-dtls1_2", "-connect", addr.String(), "-cipher", cipher+":@SECLEVEL=0",
				"-psk_identity", testIdentity, "-psk", key)
		})
	}
	t.Run("gnutls-cli", func(t *testing.T) {
		talk(t, "hello gnutls", "gnutls-cli", "--udp", "-p", fmt.Sprint(addr.Port()), "--pskusername", testIdentity, "--pskkey", key,
			"--priority", "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+PSK", "127.0.0.1")
	})
	for name, args := range map[string][]string{
		"wrong key":        {"-psk_identity", testIdentity, "-psk", "00112233"},
		"unknown identity": {"-psk_identity", "nobody", "-psk", key},
	} {
		t.Run(name, func(t *testing.T) {
			before := ep.Stats().Handshakes[OutcomePSKFailed]
			out := refusedBy(t, "openssl", append([]string{"s_client", "-dtls1_2", "-connect", addr.String(), "-cipher", "PSK-AES128-CCM8:@SECLEVEL=0"}, args...)...)
			require.Contains(t, out, "decrypt error")
			require.Equal(t, before+1, settledCount(t, ep, OutcomePSKFailed))
		})
	}
}

func TestOpenSSLAndGnuTLSWithCertificates(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	dir := t.TempDir()
	caFile := certs.ca.WriteCert(t, dir, "ca.pem")
	certFile, keyFile := certs.client.Write(t, dir, "client")
	ep, addr := start(t, &Config{Certificate: present(certs.server), Verify: trust(certs.ca), Handler: newRecorder(true)})
	for _, cipher := range []string{
		"ECDHE-ECDSA-AES128-CCM8", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305",
	} {
		t.Run(cipher, func(t *testing.T) {
			talk(t, "hello "+cipher, "openssl", "s_client", "-dtls1_2", "-connect", addr.String(), "-cipher", cipher+":@SECLEVEL=0",
				"-CAfile", caFile, "-verify_return_error", "-verify_hostname", "bridge.test", "-cert", certFile, "-key", keyFile)
		})
	}
	t.Run("gnutls-cli", func(t *testing.T) {
		talk(t, "hello gnutls", "gnutls-cli", "--udp", "-p", fmt.Sprint(addr.Port()), "--x509cafile", caFile, "--x509certfile", certFile,
			"--x509keyfile", keyFile, "--priority", "NORMAL:-VERS-ALL:+VERS-DTLS1.2", "127.0.0.1")
	})
	t.Run("no certificate", func(t *testing.T) {
		refusedBy(t, "openssl", "s_client", "-dtls1_2", "-connect", addr.String(), "-CAfile", caFile)
		require.EqualValues(t, 1, settledCount(t, ep, OutcomeNoCertificate))
	})
}

// Our client against openssl's server, which must ask for our certificate.
func TestDialsOpenSSL(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	dir := t.TempDir()
	caFile := certs.ca.WriteCert(t, dir, "ca.pem")
	certFile, keyFile := certs.server.Write(t, dir, "server")
	for _, tt := range []struct {
		name    string
		args    []string
		psk     bool
		refused bool
	}{
		{name: "PSK", psk: true, args: []string{"-nocert", "-psk_identity", testIdentity, "-psk", hex.EncodeToString([]byte(testKey)), "-cipher", "PSK-AES128-CCM8:@SECLEVEL=0"}},
		{name: "certificate", args: []string{"-cert", certFile, "-key", keyFile, "-CAfile", caFile, "-Verify", "2", "-verify_return_error"}},
		{name: "server that asks for none", args: []string{"-cert", certFile, "-key", keyFile}, refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, err := exec.LookPath("openssl")
			require.NoError(t, err)
			addr := freePort(t)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, append([]string{"s_server", "-dtls1_2", "-accept", addr.String(), "-quiet", "-no_ticket"}, tt.args...)...)
			in, err := cmd.StdinPipe() // held open: s_server ends with it
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				_ = in.Close()
			}()
			client := newRecorder(false)
			ep, _ := start(t, &Config{PSK: testPSK, Certificate: present(certs.client), Verify: trust(certs.ca), Handler: client})
			var conn *Conn
			if tt.psk {
				conn, err = ep.Dial(ctx, addr, PeerID{Kind: KindPSK, ID: testIdentity})
			} else {
				conn, err = ep.DialCertificate(ctx, addr, "bridge.test")
			}
			if tt.refused { // R1: authentication is mutual
				var failed *HandshakeError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, OutcomeProtocolError, failed.Outcome)
				require.Empty(t, client.conns)
				return
			}
			require.NoError(t, err)
			_, err = io.WriteString(in, "hello\n")
			require.NoError(t, err)
			client.wait(t, func() bool { return len(client.records) == 1 })
			require.Equal(t, "hello\n", client.all()[0])
			require.NoError(t, conn.Send([]byte("bye")))
		})
	}
}

// freePort finds a UDP port that is free now. It is below those that the system gives to sockets without one
// (net.ipv4.ip_local_port_range), so that none of these has it meanwhile.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(10_000+rand.IntN(20_000)))
		sock, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		if err == nil {
			_ = sock.Close()
			return addr
		}
	}
	require.FailNow(t, "no free port")
	return netip.AddrPort{}
}
