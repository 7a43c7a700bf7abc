package dtls

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/simnet"
)

// A device that begins again at its old address replaces its own session there, and closes none at another address, though
// it has as many as it may have.
func TestReplacedSessionIsNoSurplus(t *testing.T) {
	t.Parallel()
	n := &simnet.Net{}
	seen := newRecorder(false)
	server, addr := startOn(t, &Config{PSK: testPSK, Handler: seen, Limits: Limits{SessionsPerPeer: 2}}, n.Listen(serverAddr))
	dial := func(from string) *simnet.Socket {
		sock := n.Listen(from)
		client, err := New(&Config{PSK: testPSK, Handler: newRecorder(false)}, sock)
		require.NoError(t, err)
		served := make(chan struct{})
		go func() {
			_ = client.Serve() // ends with its socket, where the device loses power
			close(served)
		}()
		t.Cleanup(func() {
			_ = client.Shutdown(limited(t))
			<-served
		})
		_, err = client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
		require.NoError(t, err)
		return sock
	}
	open := func(count int) {
		t.Helper()
		require.Eventually(t, func() bool { return server.Stats().Sessions == count }, 5*time.Second, time.Millisecond)
	}
	dial("198.51.100.7:1")
	open(1)
	second := dial("198.51.100.7:2")
	open(2)
	require.NoError(t, second.Close())
	dial("198.51.100.7:2")
	seen.wait(t, func() bool { return len(seen.conns) == 3 && len(seen.closed) == 1 })
	seen.mu.Lock()
	bystander, replaced := seen.conns[0], seen.conns[1]
	seen.mu.Unlock()
	require.True(t, bystander.isOpen())
	require.False(t, replaced.isOpen())
	open(2)
}
