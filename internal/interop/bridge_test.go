//go:build interop

package interop

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
	"coapbridge/internal/testpki"
)

// The credentials of the attempts. The key is text, for libcoap takes no other.
const (
	identity   = "device-1"
	key        = "0123456789abcdef"
	bridgeName = "bridge.test" // of our certificate
	peerName   = "peer.test"   // of the certificate of a peer that is the server
)

// credentials are the certificates of one run, in memory and as files: bridge and server are for servers, client for clients.
type credentials struct {
	dir                    string
	ca                     *testpki.CA
	bridge, client, server *testpki.Leaf
}

func newCredentials(t *testing.T) *credentials {
	t.Helper()
	ca := testpki.NewCA(t, "interop CA")
	c := &credentials{
		dir: t.TempDir(), ca: ca,
		bridge: ca.Issue(t, asBridge),
		client: ca.Client(t, "urn:example:device-1"),
		server: ca.Server(t, peerName, "127.0.0.1"),
	}
	ca.WriteCert(t, c.dir, "ca.crt")
	c.client.Write(t, c.dir, "client")
	c.server.Write(t, c.dir, "server")
	return c
}

// asBridge makes our certificate: we are server and client with one, and libcoap's client looks for the address it wrote to.
func asBridge(c *x509.Certificate) {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c.DNSNames = []string{bridgeName}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
}

func (c *credentials) path(name string) string { return c.dir + "/" + name }

// bridge is our side of one attempt: an endpoint that sends back what it gets and answers CoAP.
type bridge struct {
	ep   *dtls.Endpoint
	addr netip.AddrPort
	coap *coap.Endpoint // nil: records are lines

	mu      sync.Mutex // guards the following fields
	conns   []*dtls.Conn
	records []string
	changed chan struct{} // closed and replaced at every event
}

func startBridge(t *testing.T, a *attempt) *bridge {
	t.Helper()
	creds := a.creds
	b := &bridge{changed: make(chan struct{})}
	if a.peer.dialect == speaksCoAP {
		b.coap = coap.New(&coap.Config{Handler: b})
	}
	trust := &dtls.Trust{Roots: creds.ca.Pool()}
	sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	b.ep, err = dtls.New(&dtls.Config{
		PSK: func(_ context.Context, q dtls.PSKQuery) ([]byte, error) {
			if q.Peer != (dtls.PeerID{Kind: dtls.KindPSK, ID: identity}) {
				return nil, dtls.ErrUnknownIdentity
			}
			return []byte(key), nil
		},
		Certificate: func(string) (dtls.Certificate, error) {
			return dtls.Certificate{Chain: creds.bridge.Chain, Key: creds.bridge.Key}, nil
		},
		Verify: trust.Verify, Handler: b, OfferConnectionID: a.cid,
	}, sock)
	require.NoError(t, err)
	b.addr = sock.LocalAddr().(*net.UDPAddr).AddrPort()
	var loops sync.WaitGroup
	loops.Go(func() { _ = b.ep.Serve() })
	if b.coap != nil {
		loops.Go(func() { _ = b.coap.Serve() })
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = b.ep.Shutdown(ctx)
		if b.coap != nil {
			_ = b.coap.Shutdown(ctx)
		}
		loops.Wait()
	})
	return b
}

func (b *bridge) event(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

// HandleConn implements dtls.Handler.
func (b *bridge) HandleConn(c *dtls.Conn) {
	if b.coap != nil {
		c.SetOwner(b.coap.NewPeer(c, coap.Profile{}))
	}
	b.event(func() { b.conns = append(b.conns, c) })
}

// HandleRecord implements dtls.Handler. What a client sends goes back to it.
func (b *bridge) HandleRecord(c *dtls.Conn, plaintext []byte) {
	if b.coap != nil {
		b.coap.Receive(c.Owner().(*coap.Peer), plaintext)
		return
	}
	b.event(func() { b.records = append(b.records, string(plaintext)) })
	if c.Peer().Role == dtls.RoleClient {
		_ = c.Send(plaintext)
	}
}

// HandleClosed implements dtls.Handler.
func (b *bridge) HandleClosed(c *dtls.Conn, _ dtls.Reason) {
	if b.coap != nil {
		b.coap.ClosePeer(c.Owner().(*coap.Peer))
	}
}

// ServeCoAP implements coap.Handler: a request's payload comes back.
func (b *bridge) ServeCoAP(x *coap.Exchange) {
	b.event(func() { b.records = append(b.records, string(x.Request().Payload)) })
	_ = x.Respond(&coap.Message{Code: coap.Changed, Payload: x.Request().Payload})
}

// wait returns when ok, which runs under the lock, is true, and with an error when the peer ends before.
func (b *bridge) wait(ctx context.Context, r *running, ok func() bool) error {
	ended := false
	for {
		b.mu.Lock()
		is, changed := ok(), b.changed
		b.mu.Unlock()
		switch {
		case is:
			return nil
		case ended:
			return errEnded
		}
		select {
		case <-changed:
		case <-r.done:
			ended = true // once more: what it did last counts
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// session returns the session that the peer made.
func (b *bridge) session(ctx context.Context, r *running) (*dtls.Conn, error) {
	var c *dtls.Conn
	err := b.wait(ctx, r, func() bool {
		if len(b.conns) > 0 {
			c = b.conns[0]
		}
		return c != nil
	})
	if err != nil {
		return nil, fmt.Errorf("no session: %w; handshakes %v, dropped %v", err, some(b.ep.Stats().Handshakes), some(b.ep.Stats().Dropped))
	}
	return c, nil
}

// received returns when a record, or a request's payload, has come.
func (b *bridge) received(ctx context.Context, r *running, record string) error {
	if err := b.wait(ctx, r, func() bool { return slices.Contains(b.records, record) }); err != nil {
		return fmt.Errorf("%q did not come: %w", record, err)
	}
	return nil
}

// sessions returns how many sessions there were.
func (b *bridge) sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns)
}

// some returns the counters that are not 0.
func some[K interface {
	comparable
	fmt.Stringer
}](counters map[K]uint64) []string {
	var found []string
	for name, n := range counters {
		if n > 0 {
			found = append(found, fmt.Sprintf("%s %d", name, n))
		}
	}
	slices.Sort(found)
	return found
}

// bound returns when a socket is bound to the port, which the kernel's table says: a probe of ours would be taken for a peer.
func bound(ctx context.Context, r *running, port uint16) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		table, err := os.ReadFile("/proc/net/udp")
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(strings.NewReader(string(table))); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 1 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-r.done:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("the peer does not listen: %w", context.Cause(ctx))
		}
	}
}
