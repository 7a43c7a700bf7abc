package dtls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"coapbridge/dtls/handshake"
)

// Errors of Dial and DialCertificate, besides *HandshakeError, ErrClosed and the context's.
var (
	ErrBusy  = errors.New("dtls: a handshake with this address is under way")
	ErrClock = errors.New("dtls: certificates wait until the clock is set")
	errRoute = errors.New("dtls: no socket reaches this kind of address")
)

// dialKey names what is dialled; callers with the same key share one handshake.
type dialKey struct {
	to         netip.AddrPort
	id         PeerID
	serverName string
}

// takesAnyRole reports whether a session that the peer began is as good as one that we began. Where no peer is named, it is not:
// only a server proves the name that was dialled, and that it has a certificate at all.
func (k dialKey) takesAnyRole() bool { return k.id.ID != "" }

// dialing is one Dial under way.
type dialing struct {
	key     dialKey
	n       *negotiation // guarded by Endpoint.mu, as is waiters
	waiters int
	done    chan struct{} // closed when conn or err is set
	conn    *Conn
	err     error
}

// Dial returns the live session with the peer id, wherever it is, or makes one with the endpoint at to. For a KindPSK the
// key is Config.PSK's for RoleServer. For a KindCertificate it presents Config.Certificate(""), and the peer must present
// the certificate of that fingerprint, or, when id.ID is empty, any that Config.Verify takes. Serve must be running.
// It leaves from the first socket of the address's family.
//
// HandleConn has returned for a session before Dial does. Callers that dial the same at the same time share one handshake.
// It ends when the last of them gave up, and after Limits.HandshakeTimeout or the Policy's. Errors: ErrBusy, ErrClock, ErrClosed,
// *HandshakeError, ctx's cause.
func (ep *Endpoint) Dial(ctx context.Context, to netip.AddrPort, id PeerID) (*Conn, error) {
	if id.Kind != KindPSK && id.Kind != KindCertificate || id.Kind == KindPSK && id.ID == "" {
		return nil, errors.New("dtls: Dial needs a PSK identity or a certificate")
	}
	return ep.dial(ctx, dialKey{to: unmap(to), id: id})
}

// DialCertificate returns the live session that was dialled at to under serverName, or makes one: it presents
// Config.Certificate(serverName), and the peer any certificate that Config.Verify takes for serverName. See Dial.
func (ep *Endpoint) DialCertificate(ctx context.Context, to netip.AddrPort, serverName string) (*Conn, error) {
	if serverName == "" {
		return nil, errors.New("dtls: DialCertificate needs a server name")
	}
	return ep.dial(ctx, dialKey{to: unmap(to), id: PeerID{Kind: KindCertificate}, serverName: serverName})
}

func (ep *Endpoint) dial(ctx context.Context, key dialKey) (*Conn, error) {
	switch {
	case key.id.Kind == KindPSK && ep.conf.PSK == nil:
		return nil, errors.New("dtls: Config.PSK is not set")
	case key.id.Kind == KindCertificate && ep.conf.Certificate == nil:
		return nil, errors.New("dtls: Config.Certificate is not set")
	}
	sock := ep.route(key.to.Addr())
	if sock == nil {
		return nil, errRoute
	}
	c, d, err := ep.join(key, sock)
	if err != nil {
		return nil, err
	}
	if c != nil {
		c.calls.Lock() // until the handler has seen it
		defer c.calls.Unlock()
		return c, nil
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		ep.mu.Lock()
		d.waiters--
		last, n := d.waiters == 0, d.n
		if last {
			ep.forgetLocked(d) // nobody joins what is about to end
		}
		ep.mu.Unlock()
		if last && n.role == RoleServer { // the peer may go on with what it began
			n.cancel(errGivenUp)
		}
		return nil, context.Cause(ctx)
	}
}

// route returns the socket from which an address is dialled: the first of its family, or else one that takes both. When that
// socket is bound to no address, the kernel chooses the source.
func (ep *Endpoint) route(to netip.Addr) *socket {
	var other *socket
	for _, sock := range ep.socks {
		fits, exact := sock.reaches(to)
		if exact {
			return sock
		}
		if fits && other == nil {
			other = sock
		}
	}
	return other
}

// join returns the live session, the handshake of another caller, or a new handshake.
func (ep *Endpoint) join(key dialKey, sock *socket) (*Conn, *dialing, error) {
	waits := key.id.Kind == KindCertificate && !ep.conf.ClockOK() // asked outside the lock
	timeout := ep.conf.Policy(key.id).HandshakeTimeout
	ep.mu.Lock()
	if ep.closing {
		ep.mu.Unlock()
		return nil, nil, ErrClosed
	}
	at := sock.key(key.to)
	if c := ep.liveLocked(key, at); c != nil {
		ep.mu.Unlock()
		return c, nil, nil
	}
	if d := ep.dials[key]; d != nil {
		d.waiters++
		ep.mu.Unlock()
		return nil, d, nil
	}
	n := ep.pending[at]
	if n != nil && n.role == RoleClient && key.takesAnyRole() && (n.dial == nil || n.dial.waiters == 0) { // the peer began: it is waited for
		d := &dialing{key: key, n: n, waiters: 1, done: make(chan struct{})}
		n.dial, ep.dials[key] = d, d
		ep.mu.Unlock()
		return nil, d, nil
	}
	if n != nil && !n.givenUpLocked() {
		ep.mu.Unlock()
		return nil, nil, ErrBusy
	}
	if waits {
		ep.mu.Unlock()
		ep.count.handshakes[OutcomeClock].Add(1)
		return nil, nil, ErrClock
	}
	n = ep.newNegotiation(at, localAddr{}, RoleServer)
	if timeout > 0 {
		n.expires = ep.elapsed() + timeout
	}
	d := &dialing{key: key, n: n, waiters: 1, done: make(chan struct{})}
	n.dial, n.peer = d, key.id
	ep.dialled.Store(true)
	ep.dials[key] = d
	ep.mu.Unlock()

	if !ep.admit(n) {
		ep.forget(d)
		ep.count.handshakes[OutcomeLimit].Add(1)
		d.err = &HandshakeError{Outcome: OutcomeLimit}
		close(d.done)
		return nil, nil, d.err
	}
	ep.running.Go(func() { ep.connect(n) })
	return nil, d, nil
}

// givenUpLocked reports whether we began the handshake and nobody waits for it any more: a new one takes its place.
func (n *negotiation) givenUpLocked() bool {
	return n.role == RoleServer && n.dial != nil && n.dial.waiters == 0
}

// liveLocked returns the newest live session that a dial may use.
func (ep *Endpoint) liveLocked(key dialKey, at pathKey) *Conn {
	if key.id.ID != "" {
		for c := ep.peers[key.id]; c != nil; c = c.older {
			if c.isOpen() {
				return c
			}
		}
		return nil
	}
	if c := ep.live[at]; c != nil {
		if !c.dialledAs(key.serverName) {
			return nil
		}
		return c
	}
	if ep.conf.OfferConnectionID { // there are few of those that we dial, and no other look-up by address
		for _, c := range ep.cids {
			if c.dialledAs(key.serverName) && c.path() == at {
				return c
			}
		}
	}
	return nil
}

// dialledAs reports whether the session is one that we dialled under that name.
func (c *Conn) dialledAs(serverName string) bool {
	return c.isOpen() && c.peer.Role == RoleServer && c.peer.Certificate != nil && c.peer.ServerName == serverName
}

func (ep *Endpoint) forget(d *dialing) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.forgetLocked(d)
}

func (ep *Endpoint) forgetLocked(d *dialing) {
	if ep.dials[d.key] == d {
		delete(ep.dials, d.key)
	}
}

// answer tells who waits for a handshake how it ended, unless another one took it over.
func (ep *Endpoint) answer(n *negotiation, c *Conn, err error) {
	ep.mu.Lock()
	d := n.dial
	if d == nil || d.n != n {
		ep.mu.Unlock()
		return
	}
	ep.forgetLocked(d) // from here on the session itself is found
	ep.mu.Unlock()
	if want := d.key.id; c != nil && want.ID != "" && c.peer.ID != want { // another peer began at this address meanwhile
		c, err = nil, &HandshakeError{Outcome: OutcomeSuperseded}
	}
	d.conn, d.err = c, err
	close(d.done)
}

// connect begins a handshake of ours: the key is looked up first.
func (ep *Endpoint) connect(n *negotiation) {
	id := n.dial.key.id
	params := handshake.ClientParams{ServerName: n.dial.key.serverName}
	if ep.conf.OfferConnectionID {
		n.cid, params.LocalCID = ep.newCID()
	}
	if id.Kind == KindPSK {
		ctx, cancel := context.WithTimeout(n.lookups(), ep.conf.Limits.HandshakeTimeout)
		defer cancel()
		query := PSKQuery{Peer: id, Remote: n.at.addr(), Role: RoleServer}
		generation := ep.currentGeneration()
		key, err := ep.conf.PSK(ctx, query)
		if err == nil && len(key) == 0 {
			err = ErrUnknownIdentity
		}
		n.mu.Lock()
		n.query, n.key, n.generation = query, key, generation
		if err != nil {
			n.failure = fmt.Errorf("dtls: key for the dialled peer: %w", err)
			n.mu.Unlock()
			n.cancel(errLookup)
			return
		}
		n.mu.Unlock()
		params.PSKIdentity = []byte(id.ID)
	}
	timers := handshake.Timers{First: ep.conf.Limits.FlightTimeout}
	if p := ep.conf.Policy(id); p.FlightTimeout > 0 {
		timers.First = p.FlightTimeout
	}
	now := time.Now()
	n.mu.Lock()
	if n.over {
		n.mu.Unlock()
		return
	}
	n.machine = handshake.NewClient(ep.handshakes, n, timers, params, now)
	n.advance(now)
}
