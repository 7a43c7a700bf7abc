package daemon

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
	"coapbridge/internal/testpki"
)

// client is one of our own devices: a DTLS session and, on it, a coap.Endpoint. Its raw side shows every record.
type client struct {
	t    *testing.T
	dtls *dtls.Endpoint
	coap *coap.Endpoint
	conn *dtls.Conn
	peer *coap.Peer
	addr netip.AddrPort
	end  func() // closes everything; the test's end does so too

	asked chan *onem2m.Request // what was asked of it, which it answers with 2000
	hold  chan struct{}        // closed when it may; nil: at once

	mu     sync.Mutex // guards the following fields
	seen   [][]byte
	closed chan dtls.Reason
	ready  *coap.Peer
}

// HandleConn implements dtls.Handler.
func (c *client) HandleConn(conn *dtls.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = c.coap.NewPeer(conn, coap.Profile{})
}

// HandleRecord implements dtls.Handler.
func (c *client) HandleRecord(_ *dtls.Conn, b []byte) {
	c.mu.Lock()
	c.seen = append(c.seen, slices.Clone(b))
	p := c.ready
	c.mu.Unlock()
	c.coap.Receive(p, b)
}

// HandleClosed implements dtls.Handler.
func (c *client) HandleClosed(_ *dtls.Conn, why dtls.Reason) { c.closed <- why }

// records returns the records that came so far.
func (c *client) records() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// connect dials to as a PSK device.
func connect(t *testing.T, to netip.AddrPort, identity, key string) *client {
	t.Helper()
	c, err := tryConnect(t, to, identity, key, 10*time.Second)
	require.NoError(t, err)
	return c
}

func tryConnect(t *testing.T, to netip.AddrPort, identity, key string, patience time.Duration) (*client, error) {
	t.Helper()
	return dial(t, to, dtls.PeerID{Kind: dtls.KindPSK, ID: identity}, patience, dtls.Config{
		PSK: func(context.Context, dtls.PSKQuery) ([]byte, error) { return []byte(key), nil },
	})
}

// connectAs dials to with a certificate.
func connectAs(t *testing.T, to netip.AddrPort, leaf *testpki.Leaf) *client {
	t.Helper()
	c, err := dial(t, to, dtls.PeerID{Kind: dtls.KindCertificate}, 10*time.Second, dtls.Config{
		Certificate: func(string) (dtls.Certificate, error) {
			return dtls.Certificate{Chain: [][]byte{leaf.Cert.Raw}, Key: leaf.Key}, nil
		},
		Verify: func(dtls.PeerChain) (*x509.Certificate, error) { return nil, nil }, ClockOK: func() bool { return true },
	})
	require.NoError(t, err)
	return c
}

func dial(t *testing.T, to netip.AddrPort, as dtls.PeerID, patience time.Duration, conf dtls.Config) (*client, error) {
	t.Helper()
	c, err := listenAs(t, conf)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.conn, err = c.dtls.Dial(ctx, to, as)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer = c.ready
	return c, nil
}

// listenAs is a device that waits for sessions.
func listenAs(t *testing.T, conf dtls.Config) (*client, error) {
	t.Helper()
	c := &client{t: t, closed: make(chan dtls.Reason, 4), asked: make(chan *onem2m.Request, 64)}
	c.coap = coap.New(&coap.Config{Handler: c, Understands: func(_ *coap.Peer, id coap.OptionID) bool {
		return onem2m.IsOption(id, onem2m.CoAPProfile{})
	}})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	conf.Handler = c
	c.dtls, err = dtls.New(&conf, socket)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { _ = c.dtls.Serve() })
	running.Go(func() { _ = c.coap.Serve() })
	c.end = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.dtls.Shutdown(ctx)
		_ = c.coap.Shutdown(ctx)
		running.Wait()
	})
	t.Cleanup(c.end)
	c.addr = socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return c, nil
}

// ServeCoAP implements coap.Handler.
func (c *client) ServeCoAP(x *coap.Exchange) {
	x.Detach()
	r, err := onem2m.RequestFromCoAP(x.Request(), onem2m.CoAPProfile{})
	if err != nil {
		_ = x.Respond(&coap.Message{Code: coap.BadRequest})
		return
	}
	c.asked <- r
	if c.hold != nil {
		go func() {
			<-c.hold
			c.answer(x, r)
		}()
		return
	}
	c.answer(x, r)
}

func (c *client) answer(x *coap.Exchange, r *onem2m.Request) {
	m, err := (&onem2m.Response{Status: onem2m.StatusOK, RequestID: r.RequestID, ReleaseVersion: r.ReleaseVersion}).CoAP(r, onem2m.CoAPProfile{})
	if err != nil {
		m = &coap.Message{Code: coap.InternalServerError}
	}
	_ = x.Respond(m)
}

// do sends r and returns the answer, read back.
func (c *client) do(r *onem2m.Request) (*coap.Message, *onem2m.Response) {
	c.t.Helper()
	if r.RequestID == "" {
		r.RequestID = "rqi" + time.Now().Format("150405.000000000")
	}
	r.ReleaseVersion = "3"
	m, err := r.CoAP(onem2m.CoAPProfile{})
	require.NoError(c.t, err)
	answer := c.exchange(m)
	resp, err := onem2m.ResponseFromCoAP(answer, r, onem2m.CoAPProfile{})
	require.NoError(c.t, err)
	return answer, resp
}

// exchange sends m and returns the answer.
func (c *client) exchange(m *coap.Message) *coap.Message {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	answer, err := c.coap.Do(ctx, c.peer, m)
	require.NoError(c.t, err)
	return answer
}

// wire is a relay between a client and the bridge that keeps what it saw and can send it again.
type wire struct {
	t      *testing.T
	front  net.PacketConn
	bridge net.Addr

	mu   sync.Mutex // guards the following fields
	up   [][]byte
	back net.PacketConn // the client's side towards the bridge
	from net.Addr
}

// tap starts a relay for one client.
func tap(t *testing.T, bridge netip.AddrPort) *wire {
	t.Helper()
	w := &wire{t: t, bridge: net.UDPAddrFromAddrPort(bridge)}
	var err error
	w.front, err = net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	w.back, err = net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { w.relay(w.front, true) })
	running.Go(func() { w.relay(w.back, false) })
	t.Cleanup(func() {
		_ = w.front.Close()
		_ = w.back.Close()
		running.Wait()
	})
	return w
}

func (w *wire) relay(in net.PacketConn, up bool) {
	b := make([]byte, 2048)
	for {
		n, from, err := in.ReadFrom(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		if up {
			w.from = from
			w.up = append(w.up, slices.Clone(b[:n]))
			_, _ = w.back.WriteTo(b[:n], w.bridge)
		} else {
			_, _ = w.front.WriteTo(b[:n], w.from)
		}
		w.mu.Unlock()
	}
}

// addr is where a client reaches the relay.
func (w *wire) addr() netip.AddrPort { return w.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// last returns the newest datagram that went up and begins an epoch 1 application record.
func (w *wire) last() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range slices.Backward(w.up) {
		if len(d) > 13 && d[0] == 23 && d[4] == 1 {
			return d
		}
	}
	return nil
}

// again sends d to the bridge from the client's own address.
func (w *wire) again(d []byte) {
	_, err := w.back.WriteTo(d, w.bridge)
	require.NoError(w.t, err)
}
