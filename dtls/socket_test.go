package dtls

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	"github.com/stretchr/testify/require"
)

// A socket without an address of its own answers from the address to which the peer wrote: a connected socket, such as most
// clients have, takes answers from no other. 127.0.0.2 stands for the second address of a host.
func TestAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ network, listen, dial string }{
		{"udp4", "0.0.0.0:0", "127.0.0.2"},
		{"udp4", "0.0.0.0:0", "127.0.0.1"},
		{"udp", "[::]:0", "127.0.0.2"},
		{"udp", "[::]:0", "127.0.0.1"},
		{"udp", "[::]:0", "::1"},
		{"udp4", "127.0.0.2:0", "127.0.0.2"},
	} {
		t.Run(tt.listen+" "+tt.dial, func(t *testing.T) {
			t.Parallel()
			sock, err := net.ListenPacket(tt.network, tt.listen)
			require.NoError(t, err)
			seen := newRecorder(true)
			_, addr := startOn(t, &Config{PSK: testPSK, Handler: seen}, sock)
			to := netip.AddrPortFrom(netip.MustParseAddr(tt.dial), addr.Port())
			client, err := net.Dial("udp", to.String())
			require.NoError(t, err)
			conn, err := pion.ClientWithOptions(dtlsnet.PacketConnFromConn(client), client.RemoteAddr(), pionPSK(testIdentity, testKey)...)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			require.NoError(t, conn.HandshakeContext(ctx))
			_, err = conn.Write([]byte("hello"))
			require.NoError(t, err)
			echo := make([]byte, 10)
			n, err := conn.Read(echo)
			require.NoError(t, err)
			require.Equal(t, "hello", string(echo[:n]))
		})
	}
}

// A dialled session on such a socket works too, in either family: the kernel chooses its source.
func TestDialsFromAnyAddress(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
		sock, err := net.ListenPacket("udp", listen)
		require.NoError(t, err)
		ep, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, sock)
		_, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
		_, err = ep.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
		require.NoError(t, err)
	}
}
