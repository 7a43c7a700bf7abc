package dtls

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The credentials of the tests.
const (
	testIdentity = "device-1"
	testKey      = "0123456789abcdef"
)

func testPSK(_ context.Context, q PSKQuery) ([]byte, error) {
	if q.Peer != (PeerID{Kind: KindPSK, ID: testIdentity}) {
		return nil, ErrUnknownIdentity
	}
	return []byte(testKey), nil
}

// recorder is a Handler that remembers, and echoes when told to.
type recorder struct {
	echo bool

	mu      sync.Mutex // guards the following fields
	conns   []*Conn
	records []string
	closed  map[*Conn]Reason
	changed chan struct{} // closed and replaced at every event
}

func newRecorder(echo bool) *recorder {
	return &recorder{echo: echo, closed: map[*Conn]Reason{}, changed: make(chan struct{})}
}

func (r *recorder) event(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) HandleConn(c *Conn) { r.event(func() { r.conns = append(r.conns, c) }) }

func (r *recorder) HandleRecord(c *Conn, b []byte) {
	r.event(func() { r.records = append(r.records, string(b)) })
	if r.echo {
		_ = c.Send(b)
	}
}

func (r *recorder) HandleClosed(c *Conn, why Reason) { r.event(func() { r.closed[c] = why }) }

// wait returns when ok, which runs under the recorder's lock, is true.
func (r *recorder) wait(t testing.TB, ok func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		done, changed := ok(), r.changed
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit:
			require.FailNow(t, "it did not happen")
		}
	}
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.records...)
}

// start runs an endpoint on a loopback socket until the end of the test.
func start(t testing.TB, c *Config) (*Endpoint, netip.AddrPort) {
	t.Helper()
	sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	return startOn(t, c, sock)
}

func startOn(t testing.TB, c *Config, sock net.PacketConn) (*Endpoint, netip.AddrPort) {
	t.Helper()
	ep, err := New(c, sock)
	require.NoError(t, err)
	return ep, serve(t, ep)
}

func serve(t testing.TB, ep *Endpoint) netip.AddrPort {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- ep.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, ep.Shutdown(ctx))
		require.NoError(t, <-served)
	})
	addr, err := addrPort(ep.Addrs()[0])
	require.NoError(t, err)
	return addr
}

// testCerts is a CA with a server and a client certificate.
type testCerts struct {
	ca             *testpki.CA
	server, client *testpki.Leaf
}

func newTestCerts(t testing.TB) *testCerts {
	ca := testpki.NewCA(t, "test CA")
	return &testCerts{ca: ca, server: ca.Server(t, "bridge.test", "127.0.0.1"), client: ca.Client(t, "//in.test/C1")}
}

func present(l *testpki.Leaf) func(string) (Certificate, error) {
	return func(string) (Certificate, error) { return Certificate{Chain: l.Chain, Key: l.Key}, nil }
}

func trust(ca *testpki.CA) func(PeerChain) (*x509.Certificate, error) {
	return (&Trust{Roots: ca.Pool()}).Verify
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestPSKSessionEchoes(t *testing.T) {
	t.Parallel()
	server := newRecorder(true)
	ep, addr := start(t, &Config{PSK: testPSK, Handler: server})
	client := newRecorder(false)
	dialler, _ := start(t, &Config{PSK: testPSK, Handler: client})

	conn, err := dialler.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
	require.NoError(t, err)
	require.NoError(t, conn.Send([]byte("hello")))
	client.wait(t, func() bool { return len(client.records) == 1 })
	require.Equal(t, []string{"hello"}, client.all())

	again, err := dialler.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
	require.NoError(t, err)
	require.Same(t, conn, again, "a live session is not dialled again")

	stats := ep.Stats()
	require.Equal(t, 1, stats.Sessions)
	require.EqualValues(t, 1, stats.Handshakes[OutcomeCompletedPSK])
	require.EqualValues(t, 1, stats.RecordsIn)
	require.Equal(t, 1, ep.CloseWhere(func(p *Peer) bool { return p.ID.ID == testIdentity }, ReasonRevoked))
	client.wait(t, func() bool { return client.closed[conn] == ReasonPeerClosed && len(client.closed) == 1 })
	server.wait(t, func() bool { return len(server.closed) == 1 })
	require.EqualValues(t, 1, ep.Stats().Closed[ReasonRevoked])
}

// TestNothingPrintsKeys: no verb (S46).
func TestNothingPrintsKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.serverSeen.conns[0]
	n := &negotiation{key: []byte(testKey)}
	require.Equal(t, "session session negotiation negotiation", fmt.Sprintf("%v %#v %+v %x", c, c, n, n))
}

func TestCertificateSessionEchoes(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	server := newRecorder(true)
	ep, addr := start(t, &Config{PSK: testPSK, Certificate: present(certs.server), Verify: trust(certs.ca), Handler: server})
	client := newRecorder(false)
	dialler, _ := start(t, &Config{Certificate: present(certs.client), Verify: trust(certs.ca), Handler: client})

	conn, err := dialler.DialCertificate(limited(t), addr, "bridge.test")
	require.NoError(t, err)
	require.NoError(t, conn.Send([]byte("hello")))
	client.wait(t, func() bool { return len(client.records) == 1 })
	require.EqualValues(t, 1, ep.Stats().Handshakes[OutcomeCompletedCertificate])
	server.wait(t, func() bool { return len(server.conns) == 1 })
	peer := server.conns[0].Peer()
	require.Equal(t, PeerIDOf(certs.client.Cert), peer.ID)
	require.Equal(t, []Name{{NameURI, "//in.test/C1"}}, peer.Names())
	require.Equal(t, "bridge.test", peer.ServerName)
	require.Equal(t, certs.client.Cert.NotAfter, peer.Certificate.NotAfter)
	require.Equal(t, certs.ca.Cert.Raw, peer.Certificate.Anchor.Raw)
}
