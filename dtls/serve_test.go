package dtls

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An endpoint one of whose sockets died says so: Serve returns, whatever its other sockets do, and Shutdown still tells the
// peers.
func TestServeReturnsWhenASocketDies(t *testing.T) {
	t.Parallel()
	var socks []net.PacketConn
	for range 2 {
		sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		socks = append(socks, sock)
	}
	seen := newRecorder(false)
	ep, err := New(&Config{PSK: testPSK, Handler: seen}, socks...)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- ep.Serve() }()
	client, _ := start(t, &Config{PSK: testPSK, Handler: newRecorder(false)})
	_, err = client.Dial(limited(t), socks[1].LocalAddr().(*net.UDPAddr).AddrPort(), PeerID{Kind: KindPSK, ID: testIdentity})
	require.NoError(t, err)
	seen.wait(t, func() bool { return len(seen.conns) == 1 })
	require.NoError(t, socks[0].Close())
	select {
	case err := <-served:
		require.ErrorIs(t, err, net.ErrClosed)
	case <-time.After(5 * time.Second):
		require.FailNow(t, "Serve still runs, and one socket is deaf")
	}
	require.ErrorIs(t, ep.Shutdown(limited(t)), net.ErrClosed) // of the socket that was closed already
	seen.wait(t, func() bool { return len(seen.closed) == 1 })
	require.Zero(t, ep.Stats().Sessions)
}
