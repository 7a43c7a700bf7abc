package dtls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	pion "github.com/pion/dtls/v3"
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

// dialing is one Dial under way.
type dialing struct {
	key     dialKey
	h       *handshake
	waiters int           // guarded by Endpoint.mu
	done    chan struct{} // closed when conn or err is set
	conn    *Conn
	err     error
}

// lookupError is Config.PSK's error on the way to the dialler.
type lookupError struct{ err error }

// Error implements error.
func (e *lookupError) Error() string { return e.err.Error() }

// Dial returns the live session with the peer id, wherever it is, or makes one with the endpoint at to. For a KindPSK the
// key is Config.PSK's for RoleServer. For a KindCertificate it presents Config.Certificate(""), and the peer must present
// the certificate of that fingerprint, or, when id.ID is empty, any that Config.Verify takes. Serve must be running.
// It leaves from the first socket of the address's family.
//
// HandleConn has returned for a session before Dial does. Callers that dial the same at the same time share one handshake.
// It ends when the last of them gave up, and after Limits.HandshakeTimeout. Errors: ErrBusy, ErrClock, ErrClosed,
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
		select {
		case <-c.ready: // the handler has seen it
			return c, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		ep.mu.Lock()
		if d.waiters--; d.waiters == 0 {
			ep.forgetLocked(d) // nobody joins what is about to end
			d.h.cancel(errGivenUp)
		}
		ep.mu.Unlock()
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
	ep.mu.Lock()
	if ep.closing {
		ep.mu.Unlock()
		return nil, nil, ErrClosed
	}
	at := pathKey{sock, key.to}
	if c := ep.liveLocked(key, at); c != nil {
		ep.mu.Unlock()
		return c, nil, nil
	}
	if d := ep.dials[key]; d != nil {
		d.waiters++
		ep.mu.Unlock()
		return nil, d, nil
	}
	if p := ep.paths[at]; p != nil && p.pending != nil && !p.pending.givenUpLocked() {
		ep.mu.Unlock()
		return nil, nil, ErrBusy
	}
	if waits {
		ep.mu.Unlock()
		ep.count.handshakes[OutcomeClock].Add(1)
		return nil, nil, ErrClock
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	h := ep.newHandshake(at, RoleServer)
	d := &dialing{key: key, h: h, waiters: 1, done: make(chan struct{})}
	h.dial, h.cancel, h.peer = d, cancel, key.id
	h.answered.Store(true)
	ep.dials[key] = d
	ep.mu.Unlock()

	if !ep.admit(h) {
		cancel(nil)
		ep.forget(d)
		ep.count.handshakes[OutcomeLimit].Add(1)
		d.err = &HandshakeError{Outcome: OutcomeLimit}
		close(d.done)
		return nil, nil, d.err
	}
	go ep.connect(ctx, h)
	return nil, d, nil
}

// givenUpLocked reports whether we began the handshake and nobody waits for it any more: a new one takes its place.
func (h *handshake) givenUpLocked() bool { return h.dial != nil && h.dial.waiters == 0 }

// liveLocked returns the newest live session that a dial may use.
func (ep *Endpoint) liveLocked(key dialKey, at pathKey) *Conn {
	if key.id.ID != "" {
		same := ep.peers[key.id]
		for i := len(same) - 1; i >= 0; i-- {
			if same[i].open() {
				return same[i]
			}
		}
		return nil
	}
	p := ep.paths[at]
	if p == nil || p.live == nil || !p.live.open() {
		return nil
	}
	peer := p.live.peer
	if peer.ID.Kind != KindCertificate || peer.Role != RoleServer || peer.ServerName != key.serverName {
		return nil
	}
	return p.live
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

// connect runs a handshake that we begin, and its session.
func (ep *Endpoint) connect(ctx context.Context, h *handshake) {
	defer ep.running.Done()
	h.expire()
	conn, err := ep.client(ctx, h)
	ep.run(ctx, h, conn, err)
}

// client makes pion's side of a handshake that we begin.
func (ep *Endpoint) client(ctx context.Context, h *handshake) (*pion.Conn, error) {
	var key []byte
	if id := h.dial.key.id; id.Kind == KindPSK {
		query := PSKQuery{Peer: id, Remote: h.key.addr, Role: RoleServer}
		generation := ep.currentGeneration()
		found, err := ep.conf.PSK(ctx, query)
		if err == nil && len(found) == 0 {
			err = ErrUnknownIdentity
		}
		if err != nil {
			return nil, &lookupError{fmt.Errorf("dtls: key for the dialled peer: %w", err)}
		}
		key = found
		h.mu.Lock()
		h.query, h.key0, h.generation = query, key, generation
		h.repeat.keyed = true
		h.mu.Unlock()
	}
	return pion.ClientWithOptions(h.pipe, net.UDPAddrFromAddrPort(h.key.addr), h.clientOptions(key)...)
}
