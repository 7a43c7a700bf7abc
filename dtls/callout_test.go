package dtls

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the caller gave may call the endpoint: none of it runs under a lock of the endpoint's.
func TestCallOutsMayCallTheEndpoint(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	seen := newRecorder(true)
	_, addr := start(t, &Config{Certificate: present(certs.server), Verify: trust(certs.ca), Handler: seen})
	sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	var ep *Endpoint
	ep, err = New(&Config{
		Certificate: present(certs.client), Verify: trust(certs.ca), Handler: newRecorder(false),
		ClockOK: func() bool { return ep.Stats().Sessions == 0 },
		Policy: func(PeerID) Policy {
			_ = ep.Stats()
			return Policy{}
		},
	}, sock)
	require.NoError(t, err)
	serve(t, ep)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := ep.DialCertificate(limited(t), addr, "bridge.test"); err == nil {
			ep.CloseWhere(func(*Peer) bool { return ep.Stats().Sessions == 1 }, ReasonLocal)
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		require.FailNow(t, "deadlock")
	}
	require.Eventually(t, func() bool { return ep.Stats().Closed[ReasonLocal] == 1 }, 5*time.Second, time.Millisecond)
}
