//go:build interop

package request

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/cmd/coap-bridge/secret"
)

// freePorts returns a UDP port that is free together with the next one, on which libcoap's server listens for coaps. Both are
// below those that the system gives to sockets without one (net.ipv4.ip_local_port_range), so that none of these has them meanwhile.
func freePorts(t *testing.T, host string) uint16 {
	t.Helper()
	for range 100 {
		first, err := net.ListenPacket("udp", net.JoinHostPort(host, fmt.Sprint(10_000+rand.IntN(20_000))))
		if err != nil {
			continue
		}
		at := first.LocalAddr().(*net.UDPAddr).AddrPort()
		second, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.Addr(), at.Port()+1)))
		require.NoError(t, first.Close())
		if err == nil {
			require.NoError(t, second.Close())
			return at.Port()
		}
	}
	t.Fatal("no two free ports in a row")
	return 0
}

// startLibcoap starts libcoap's example server with testKey and returns its URI.
func startLibcoap(t *testing.T, program, host string) Target {
	t.Helper()
	path, err := exec.LookPath(program)
	require.NoError(t, err, "install Debian's libcoap3-bin")
	port := freePorts(t, host)
	target := Target{Host: host, Addr: netip.MustParseAddr(host), Port: port + 1}
	_, number, err := net.SplitHostPort(netip.AddrPortFrom(target.Addr, port).String())
	require.NoError(t, err)
	cmd := exec.Command(path, "-A", host, "-p", number, "-k", testKey, "-h", "hint")
	cmd.Dir, cmd.Env = t.TempDir(), os.Environ()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return target
}

// at returns a plain request to path on a libcoap server.
func at(t *testing.T, target Target, op onem2m.Operation, path string) *Job {
	t.Helper()
	parsed, err := ParseTarget(target.String() + path)
	require.NoError(t, err)
	return &Job{
		Spec:       Spec{Operation: op, Plain: true, Target: parsed},
		Credential: Credential{Identity: testIdentity, Key: secret.New([]byte(testKey))},
		Timeout:    20 * time.Second,
	}
}

// TestInteropLibcoap: get, block-wise put and get, a refusal and a wrong key against libcoap's servers, over both families.
func TestInteropLibcoap(t *testing.T) {
	t.Parallel()
	for _, peer := range []struct{ program, host string }{{"coap-server-openssl", "127.0.0.1"}, {"coap-server-gnutls", "::1"}} {
		t.Run(peer.program, func(t *testing.T) {
			t.Parallel()
			target := startLibcoap(t, peer.program, peer.host)
			require.Eventually(t, func() bool { // until the server listens
				a, err := at(t, target, onem2m.Retrieve, "/").Run(t.Context())
				return err == nil && strings.Contains(string(a.Content), "libcoap")
			}, 20*time.Second, 50*time.Millisecond)

			put := at(t, target, onem2m.Update, "/example_data")
			put.Spec.Data, put.Spec.ContentFormat = bytes.Repeat([]byte("0123456789"), 400), "text"
			put.BlockSize = 64
			_, err := put.Run(t.Context())
			require.NoError(t, err)
			get := at(t, target, onem2m.Retrieve, "/example_data")
			get.BlockSize = 128
			a, err := get.Run(t.Context())
			require.NoError(t, err)
			require.True(t, bytes.Equal(put.Spec.Data, a.Content), "byte for byte")

			_, err = at(t, target, onem2m.Retrieve, "/nothing").Run(t.Context())
			require.ErrorAs(t, err, new(*RefusedError))
			wrong := at(t, target, onem2m.Retrieve, "/")
			wrong.Credential.Key = secret.New([]byte("another key, as long"))
			wrong.Timeout = 8 * time.Second
			_, err = wrong.Run(t.Context())
			require.ErrorAs(t, err, new(*ConnectError))
			require.ErrorContains(t, err, "identity")
		})
	}
}
