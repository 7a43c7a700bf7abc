//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// patience is how long one attempt may take: a Java machine starts within it on a busy computer.
const patience = 25 * time.Second

// dialect is how a peer treats what it receives.
type dialect int

const (
	lines  dialect = iota // it prints what comes, and sends what it is told; as a server too
	echoes                // as a client it does so, as a server it sends back what comes
	speaksCoAP
)

// peer is somebody else's DTLS.
type peer struct {
	name    string
	how     string // how it is run, for the table
	version func(t *testing.T) string
	dialect dialect
	client  func(t *testing.T, a *attempt) *running
	server  func(t *testing.T, a *attempt) *running
	// named says whether a suite can be asked for.
	named func(suite) bool
	// lacks says why a cell is a no: by what a suite's name begins with, or noChoice, noCertificate, noCID.
	lacks map[string]string
	// clientLacks is the same for its client alone.
	clientLacks map[string]string
}

// attempt is one handshake with data both ways.
type attempt struct {
	peer   *peer
	role   dtls.Role // the peer's
	psk    bool
	suites []suite // that the peer offers or takes
	cid    bool
	creds  *credentials
	at     netip.AddrPort // where the client writes to, or the server listens
}

// errNoCID is a session without Connection IDs where both sides should have them.
var errNoCID = errors.New("no Connection ID was agreed on")

// run makes the attempt and returns the suite that was agreed on.
func (a *attempt) run(t *testing.T) (agreed string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := startBridge(t, a)
	if a.role == dtls.RoleClient {
		return a.runClient(ctx, t, b)
	}
	return a.runServer(ctx, t, b)
}

// runClient has the peer dial us.
func (a *attempt) runClient(ctx context.Context, t *testing.T, b *bridge) (string, error) {
	t.Helper()
	a.at = b.addr
	var nat *relay
	if a.cid {
		nat = startRelay(t, b.addr)
		a.at = nat.addr
	}
	r := a.peer.client(t, a)
	defer r.stop()
	conn, err := b.session(ctx, r)
	if err == nil {
		err = a.check(conn)
	}
	if err == nil {
		err = a.exchange(ctx, b, r, greeting)
	}
	if err == nil && nat != nil {
		if err = a.moveOn(nat); err == nil {
			err = a.exchange(ctx, b, r, again)
		}
		if err == nil && b.sessions() > 1 {
			err = errors.New("the peer made another session")
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w; it printed:\n%s", err, r.said())
	}
	return conn.Peer().CipherSuite, nil
}

// What is sent before and after an address changes.
const (
	greeting = "hello from one side\n"
	again    = "hello again\n"
	reply    = "hello from the other side\n"
)

// exchange has the client send a line, which it gets back.
func (a *attempt) exchange(ctx context.Context, b *bridge, r *running, line string) error {
	if a.peer.dialect != speaksCoAP { // there it was told when it was started
		if err := r.say(line); err != nil {
			return err
		}
	}
	if err := b.received(ctx, r, line); err != nil {
		return err
	}
	return r.hear(ctx, line)
}

// moveOn changes the client's address after Connection IDs were seen.
func (a *attempt) moveOn(nat *relay) error {
	if !nat.withCID() {
		return errNoCID
	}
	return nat.move()
}

// check compares who is at the other side with who it should be.
func (a *attempt) check(conn *dtls.Conn) error {
	p := conn.Peer()
	want := dtls.PeerID{Kind: dtls.KindPSK, ID: identity}
	if !a.psk {
		leaf := a.creds.client
		if a.role == dtls.RoleServer {
			leaf = a.creds.server
		}
		want = dtls.PeerIDOf(leaf.Cert)
	}
	if p.ID != want || p.Role != a.role {
		return fmt.Errorf("the session is with %v in role %v, not with %v in role %v", p.ID, p.Role, want, a.role)
	}
	for _, s := range a.suites {
		if s.name == p.CipherSuite {
			return nil
		}
	}
	return fmt.Errorf("the suite is %s, which was not asked for", p.CipherSuite)
}

// runServer dials the peer.
func (a *attempt) runServer(ctx context.Context, t *testing.T, b *bridge) (string, error) {
	t.Helper()
	a.at = freePort(t)
	r := a.peer.server(t, a)
	defer r.stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-r.done: // so that nobody waits for its answer
			cancel(errEnded)
		case <-ctx.Done():
		}
	}()
	conn, err := a.dialAndTalk(ctx, t, b, r)
	if err != nil {
		return "", fmt.Errorf("%w; it printed:\n%s", err, r.said())
	}
	return conn.Peer().CipherSuite, nil
}

func (a *attempt) dialAndTalk(ctx context.Context, t *testing.T, b *bridge, r *running) (*dtls.Conn, error) {
	t.Helper()
	if err := bound(ctx, r, a.at.Port()); err != nil {
		return nil, err
	}
	to := a.at
	var nat *relay
	if a.cid {
		nat = startRelay(t, to)
		to = nat.addr
	}
	var conn *dtls.Conn
	var err error
	if a.psk {
		conn, err = b.ep.Dial(ctx, to, dtls.PeerID{Kind: dtls.KindPSK, ID: identity})
	} else {
		conn, err = b.ep.DialCertificate(ctx, to, peerName)
	}
	if err != nil {
		return nil, err
	}
	if err := a.check(conn); err != nil {
		return nil, err
	}
	for _, line := range []string{greeting, again} {
		if a.peer.dialect == speaksCoAP {
			err = a.ask(ctx, b, conn)
		} else {
			err = a.talk(ctx, b, r, conn, line)
		}
		if err != nil || nat == nil {
			return conn, err
		}
		if line == greeting {
			err = a.moveOn(nat)
		}
		if err != nil {
			return nil, err
		}
	}
	return conn, nil
}

// talk sends the server a line and gets one back.
func (a *attempt) talk(ctx context.Context, b *bridge, r *running, conn *dtls.Conn, line string) error {
	if err := conn.Send([]byte(line)); err != nil {
		return err
	}
	if a.peer.dialect == echoes {
		return b.received(ctx, r, line)
	}
	if err := r.hear(ctx, line); err != nil {
		return err
	}
	if err := r.say(reply); err != nil {
		return err
	}
	return b.received(ctx, r, reply)
}

// ask sends the server, which is a device with CoAP, a request that we begin, and gets its answer.
func (a *attempt) ask(ctx context.Context, b *bridge, conn *dtls.Conn) error {
	answer, err := b.coap.Do(ctx, conn.Owner().(*coap.Peer), &coap.Message{Code: coap.GET})
	if err != nil {
		return err
	}
	if answer.Code != coap.Content || len(answer.Payload) == 0 {
		return fmt.Errorf("the answer is %v with %q", answer.Code, answer.Payload)
	}
	return nil
}

// freePort finds a UDP port that is free now, as is the one below it: libcoap's server listens on two. It is below those that
// the system gives to sockets without one (net.ipv4.ip_local_port_range), so that none of these has it meanwhile.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		sock, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		below, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port - 1})
		addr := sock.LocalAddr().(*net.UDPAddr).AddrPort()
		_ = sock.Close()
		if err == nil {
			_ = below.Close()
			return addr
		}
	}
	require.FailNow(t, "no free port")
	return netip.AddrPort{}
}
