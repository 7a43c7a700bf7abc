package dtls

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	pion "github.com/pion/dtls/v3"
	messages12 "github.com/pion/dtls/v3/pkg/protocol/handshake"
)

// Errors of Conn.Send.
var (
	ErrClosed  = errors.New("dtls: closed")
	ErrTooLong = errors.New("dtls: plaintext does not fit into one datagram")
)

// Conn is one session with an authenticated peer. Its methods may be called from any goroutine.
type Conn struct {
	ep       *Endpoint
	key      pathKey
	pipe     *pipe
	pion     *pion.Conn
	peer     *Peer
	random   [messages12.RandomLength]byte // of the peer's ClientHello
	room     int                           // MaxPlaintext
	overhead int                           // of the suite, in bytes: no sealed record is shorter
	repeats  int                           // sealed handshake records that were let through; the socket's goroutine alone
	failures uint64                        // failed opens after which the key is given up
	idle     time.Duration
	owner    atomic.Value  // ownerBox
	ready    chan struct{} // closed when HandleConn returned
	lastSeen atomic.Int64  // when the last authentic record came, as Endpoint.elapsed
	reason   atomic.Int32  // 0 while open, then Reason + 1
	alerted  atomic.Bool   // pion sent an alert of its own accord: the answer to close_notify
	sealed   atomic.Uint64
	unopened atomic.Uint64
}

// ownerBox lets atomic.Value hold any type, nil included.
type ownerBox struct{ v any }

// errNotAsked is a server that took us without proof of who we are.
var errNotAsked = errors.New("the server did not ask for our certificate")

// newConn makes the session of a completed handshake.
func (ep *Endpoint) newConn(h *handshake, conn *pion.Conn) (*Conn, error) {
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, errors.New("no connection state")
	}
	s, ok := suiteByID(state.CipherSuiteID)
	if !ok {
		return nil, fmt.Errorf("suite %v is not one of ours", state.CipherSuiteID)
	}
	c, err := ep.describe(h, conn, s)
	if err != nil {
		return nil, err
	}
	if p := ep.conf.Policy(c.peer.ID); p.IdleTimeout > 0 {
		c.idle = p.IdleTimeout
	}
	return c, nil
}

// describe makes the session with what its handshake found out.
func (ep *Endpoint) describe(h *handshake, conn *pion.Conn, s suite) (*Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.role == RoleServer && !s.psk && !h.presented {
		return nil, errNotAsked // authentication is mutual (R1)
	}
	now := time.Now()
	peer := &Peer{
		ID: h.peer, Role: h.role, ServerName: h.hello.serverName, Names: h.names,
		CipherSuite: pion.CipherSuiteName(s.id), Since: now,
	}
	if h.dial != nil {
		peer.ServerName = h.dial.key.serverName
	}
	if h.chain != nil {
		peer.NotAfter, peer.Chain = h.chain.Leaf.NotAfter, h.chain
	}
	c := &Conn{
		ep: ep, ready: make(chan struct{}), key: h.key, pipe: h.pipe, pion: conn, peer: peer, random: h.hello.random,
		room: ep.conf.Limits.payload() - recordHeader - s.overhead, overhead: s.overhead,
		failures: maxFailedOpens, idle: ep.conf.Limits.IdleTimeout,
	}
	c.lastSeen.Store(int64(ep.elapsed()))
	return c, nil
}

// serve calls the handler for everything that comes, until the session ends.
func (c *Conn) serve(d *dialing) {
	c.ep.conf.Handler.HandleConn(c)
	close(c.ready)
	if d != nil {
		c.ep.forget(d) // from here on the session itself is found
		d.conn = c
		close(d.done)
	}
	buf := make([]byte, maxPlaintext)
	for {
		n, err := c.pion.Read(buf)
		if err == nil {
			c.lastSeen.Store(int64(c.ep.elapsed()))
			c.ep.count.in.Add(1)
			if c.open() { // nothing is delivered after Close
				c.ep.conf.Handler.HandleRecord(c, buf[:n])
			}
			continue
		}
		if c.pipe.isClosed() || !c.open() {
			break
		}
		// A warning alert, or an authentic record that can't be read: the session goes on.
	}
	reason := ReasonPeerAlert
	if c.alerted.Load() {
		reason = ReasonPeerClosed
	}
	c.Close(reason) // unless it was closed with another reason
	_ = c.pion.Close()
	c.ep.remove(c)
	c.ep.conf.Handler.HandleClosed(c, Reason(c.reason.Load()-1))
}

func (c *Conn) open() bool { return c.reason.Load() == 0 }

// Send seals b as one record and writes it. It copies b. Errors: ErrClosed, ErrTooLong, and the socket's.
func (c *Conn) Send(b []byte) error {
	if len(b) > c.room {
		return fmt.Errorf("%w: %d bytes, %d fit", ErrTooLong, len(b), c.room)
	}
	if !c.open() {
		return ErrClosed
	}
	if c.sealed.Add(1) > maxSeals {
		c.Close(ReasonKeyLimit) // S24
		return ErrClosed
	}
	if _, err := c.pion.Write(b); err != nil {
		if !c.open() || errors.Is(err, pion.ErrConnClosed) {
			return ErrClosed
		}
		return fmt.Errorf("dtls: send: %w", err)
	}
	c.ep.count.out.Add(1)
	return nil
}

// Peer returns who is on the other side.
func (c *Conn) Peer() *Peer { return c.peer }

// RemoteAddr returns the peer's address. It is no identity.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.key.addr }

// MaxPlaintext returns how many bytes Send takes at most, so that a packet stays within Limits.MTU.
func (c *Conn) MaxPlaintext() int { return c.room }

// Unproven reports whether the peer's address waits for a proof of reachability. It is always false in this version: an
// address never changes during a session, and the cookie proved it at the beginning.
func (c *Conn) Unproven() bool { return false }

// SetOwner attaches what the caller likes to the session.
func (c *Conn) SetOwner(v any) { c.owner.Store(ownerBox{v}) }

// Owner returns what SetOwner attached, or nil.
func (c *Conn) Owner() any {
	box, _ := c.owner.Load().(ownerBox)
	return box.v
}

// Close ends the session for the given reason; the peer is told with close_notify (RFC 5246, Section 7.2.1). The first
// reason counts. It does not wait for HandleClosed.
func (c *Conn) Close(r Reason) {
	if c.reason.CompareAndSwap(0, int32(r)+1) {
		_ = c.pion.Close()
	}
}

// repeatsFlight reports whether a sealed handshake record with a payload of n bytes may still ask for our last flight: only
// a Finished, some times, and as the server of a young session (RFC 6347, Section 4.2.4). pion answers only a record that
// opens. Everything else that comes in a handshake's record would be renegotiation (S4), or fragments that pion keeps until
// the session's end. The socket's goroutine calls it.
func (c *Conn) repeatsFlight(n int) bool {
	if c.peer.Role != RoleClient || n != c.overhead+finishedLength || time.Since(c.peer.Since) >= finishedLifetime {
		return false
	}
	c.repeats++
	return c.repeats <= maxRepeats
}

// notOpened counts a record that did not open. It is called on pion's reading goroutine. Records of a handshake that runs
// beside this session count too: a forger may have begun it, and an honest one has few of them (maxHandshakeRecords).
func (c *Conn) notOpened() {
	c.ep.count.drop(DropNotAuthentic)
	if c.unopened.Add(1) > c.failures {
		c.Close(ReasonKeyLimit) // S24
	}
}
