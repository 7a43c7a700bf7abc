//go:build interop

package interop

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// plugSide is our side of a plugtest: CoAP on DTLS with a pre-shared key, all of whose messages are kept.
type plugSide struct {
	dtls    *dtls.Endpoint
	coap    *coap.Endpoint
	addr    netip.AddrPort
	trace   *trace
	client  bool
	profile coap.Profile
}

// startPlugSide starts a server with the handler, or a client with nil.
func startPlugSide(t *testing.T, h coap.Handler, profile coap.Profile) *plugSide {
	t.Helper()
	s := &plugSide{trace: newTrace(), client: h == nil, profile: profile}
	s.coap = coap.New(&coap.Config{
		Handler: h, Limits: coap.Limits{AckDelay: ackDelay},
		Understands: func(_ *coap.Peer, id coap.OptionID) bool { return id == coap.IfMatch || id == coap.IfNoneMatch },
	})
	sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	s.dtls, err = dtls.New(&dtls.Config{PSK: func(context.Context, dtls.PSKQuery) ([]byte, error) { return []byte(key), nil }, Handler: s}, sock)
	require.NoError(t, err)
	s.addr = sock.LocalAddr().(*net.UDPAddr).AddrPort()
	var loops sync.WaitGroup
	loops.Go(func() { _ = s.dtls.Serve() })
	loops.Go(func() { _ = s.coap.Serve() })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.dtls.Shutdown(ctx)
		_ = s.coap.Shutdown(ctx)
		loops.Wait()
	})
	return s
}

// HandleConn implements dtls.Handler.
func (s *plugSide) HandleConn(c *dtls.Conn) {
	c.SetOwner(s.coap.NewPeer(tapped{c, s.trace, s.client}, s.profile))
}

// HandleRecord implements dtls.Handler.
func (s *plugSide) HandleRecord(c *dtls.Conn, plaintext []byte) {
	s.trace.add(!s.client, plaintext)
	s.coap.Receive(c.Owner().(*coap.Peer), plaintext)
}

// HandleClosed implements dtls.Handler.
func (s *plugSide) HandleClosed(c *dtls.Conn, _ dtls.Reason) {
	s.coap.ClosePeer(c.Owner().(*coap.Peer))
}
