package dtls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
)

// Errors of Conn.Send.
var (
	ErrClosed  = errors.New("dtls: closed")
	ErrTooLong = errors.New("dtls: plaintext does not fit into one datagram")
	// ErrUnproven is a record that is held back because the peer's new address is not proven yet and had its share (S28).
	ErrUnproven = errors.New("dtls: the peer's new address is not proven yet")
)

// Conn is one session with an authenticated peer. Its methods may be called from any goroutine.
type Conn struct {
	ep       *Endpoint
	peer     Peer
	older    *Conn         // of the same peer; guarded by Endpoint.mu, as is leaving
	leaving  bool          // it gives way to another one
	moving   *moving       // nil: no Connection ID in either direction
	timer    links[Conn]   // guarded by Endpoint.clock
	calls    sync.Mutex    // held while the handler is called, so that calls don't overlap
	state    atomic.Int32  // 0 while open, then Reason + 1
	lastSeen atomic.Uint32 // when the last authentic record came, in seconds of Endpoint.elapsed
	idle     uint32        // seconds
	aead     record.AEAD
	busy     atomic.Pointer[ciphers]

	mu          sync.Mutex // guards the following fields
	wiped       bool
	read, write record.Key
	unopened    uint32
	window      record.Window
	sequence    uint64 // of our next record
	at          pathKey
	local       localAddr
	last        *lastFlight
	owner       any
}

// Format implements fmt.Formatter: no verb prints a key (S46). That of record.Key is not asked, for package fmt calls no method
// of an unexported field.
func (*Conn) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "session") }

// ciphers are a session's expanded keys. Conn.mu guards their use.
type ciphers struct{ open, seal *record.Cipher }

// lastFlight is what a server needs to answer a client that repeats its last flight (RFC 6347, Section 4.2.4).
type lastFlight struct {
	finished [finishedLength]byte
	repeats  uint8
	clear    uint32 // our next record number of epoch 0
	until    uint32 // seconds of Endpoint.elapsed
}

// finishedLength is that of a Finished message (RFC 5246, Section 7.4.9).
const finishedLength = 12 + 12

// newConn makes the session of a completed handshake.
func (ep *Endpoint) newConn(n *negotiation, r *handshake.Result) *Conn {
	now := ep.elapsed()
	c := &Conn{
		ep: ep, peer: Peer{ID: n.peer, Role: n.role, ServerName: r.ServerName, CipherSuite: r.Suite.Name},
		aead: r.Read.AEAD, read: r.Read, write: r.Write, window: r.Window, sequence: r.NextSeq, at: n.at, local: n.local,
	}
	if n.role == RoleServer && n.dial.key.serverName != "" {
		c.peer.ServerName = n.dial.key.serverName
	}
	if n.chain != nil {
		c.peer.Certificate = n.chain.kept
	}
	idle := ep.conf.Limits.IdleTimeout
	if p := ep.conf.Policy(c.peer.ID); p.IdleTimeout > 0 {
		idle = p.IdleTimeout
	}
	c.idle = max(seconds(idle), 1)
	c.lastSeen.Store(seconds(now))
	if len(r.LocalCID) > 0 || len(r.RemoteCID) > 0 {
		c.moving = &moving{remote: r.RemoteCID}
		if len(r.LocalCID) == cidLength {
			c.moving.local, c.moving.has = binary.BigEndian.Uint64(r.LocalCID), true
		}
	}
	if len(r.LastFinished) == finishedLength {
		c.last = &lastFlight{
			finished: [finishedLength]byte(r.LastFinished), clear: uint32(r.ClearSeq),
			until: seconds(now + finishedLifetime),
		}
	}
	return c
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

func (c *Conn) wheel() *links[Conn] { return &c.timer }

func (c *Conn) isOpen() bool { return c.state.Load() == 0 }

// hasCID reports whether the peer's records carry a Connection ID of ours.
func (c *Conn) hasCID() bool { return c.moving != nil && c.moving.has }

// expandedLocked returns the session's ciphers, and expands them when they are not.
func (c *Conn) expandedLocked() *ciphers {
	k := c.busy.Load()
	if k == nil {
		k = &ciphers{open: record.NewCipher(&c.read), seal: record.NewCipher(&c.write)}
		c.busy.Store(k)
		c.ep.keepBusy(c)
	}
	return k
}

// receive opens one record of epoch 1 that came for the session, and delivers what it holds. It reports whether it was
// authentic. Only the goroutine that read the datagram calls it.
func (c *Conn) receive(r record.Record, p *packet, now time.Duration) bool {
	ep := c.ep
	overhead := c.aead.Overhead()
	if len(r.Payload) < overhead || len(r.Payload) > maxPlaintext+overhead {
		ep.count.drop(DropMalformed)
		return false
	}
	c.mu.Lock()
	switch {
	case c.wiped:
		c.mu.Unlock()
		ep.count.drop(DropNoSession)
		return false
	case c.hasCID() != (r.Type == record.TypeCID): // RFC 9146, Section 3: every record carries it, once it is negotiated
		c.mu.Unlock()
		ep.count.drop(DropUnexpected)
		return false
	}
	switch c.window.Check(r.Seq) {
	case record.Replayed:
		c.mu.Unlock()
		ep.count.drop(DropReplay)
		return false
	case record.TooOld:
		c.mu.Unlock()
		ep.count.drop(DropTooOld)
		return false
	}
	typ, plaintext, ok := c.expandedLocked().open.Open(r)
	if !ok {
		c.unopened++
		spent := uint64(c.unopened) > c.aead.MaxFailedOpens()
		c.mu.Unlock()
		ep.count.drop(DropNotAuthentic)
		if spent {
			c.Close(ReasonKeyLimit) // S24
		}
		return false
	}
	newest := c.window.Mark(r.Seq) // S23: only now
	c.lastSeen.Store(seconds(now))
	if c.hasCID() {
		c.followLocked(p, newest, len(r.Raw), now)
	}
	var again []byte
	switch typ {
	case record.TypeApplicationData:
		c.last = nil // the client has our last flight
	case record.TypeHandshake:
		again = c.repeatLocked(plaintext, now)
	}
	c.mu.Unlock()
	c.handle(typ, plaintext, again)
	return true
}

// handle acts on an authentic record.
func (c *Conn) handle(typ record.Type, plaintext, again []byte) {
	switch typ {
	case record.TypeApplicationData:
		c.ep.count.in.Add(1)
		c.calls.Lock()
		defer c.calls.Unlock()
		if c.isOpen() { // nothing is delivered after Close
			c.ep.conf.Handler.HandleRecord(c, plaintext)
		}
	case record.TypeAlert:
		if len(plaintext) != 2 {
			c.ep.count.drop(DropUnexpected)
			return
		}
		const fatal, closeNotify = 2, 0
		switch {
		case plaintext[1] == closeNotify:
			c.Close(ReasonPeerClosed) // which answers it (RFC 5246, Section 7.2.1)
		case plaintext[0] == fatal:
			c.end(ReasonPeerAlert, false)
		}
	case record.TypeHandshake:
		if again == nil { // renegotiation (S4), or a repeat beyond its time
			c.ep.count.drop(DropUnexpected)
			return
		}
		c.transmit(again)
	default:
		c.ep.count.drop(DropUnexpected)
	}
}

// repeatLocked makes our last flight anew for a client that repeats its Finished.
func (c *Conn) repeatLocked(plaintext []byte, now time.Duration) []byte {
	const msgFinished = 20
	l := c.last
	if l == nil || seconds(now) > l.until || l.repeats >= maxRepeats || len(plaintext) == 0 || plaintext[0] != msgFinished {
		return nil
	}
	l.repeats++
	flight := record.AppendClear(nil, record.TypeChangeCipherSpec, uint64(l.clear), []byte{1})
	l.clear++
	return c.sealLocked(flight, record.TypeHandshake, l.finished[:])
}

// sealLocked appends one record of ours.
func (c *Conn) sealLocked(dst []byte, typ record.Type, plaintext []byte) []byte {
	const epoch = 1
	dst = c.expandedLocked().seal.Seal(dst, typ, epoch, c.sequence, c.moving.cid(), plaintext)
	c.sequence++
	return dst
}

// Send seals b as one record and writes it. It copies b. Errors: ErrClosed, ErrTooLong, ErrUnproven. What the network or the
// system loses afterwards is not known here.
func (c *Conn) Send(b []byte) error {
	if room := c.MaxPlaintext(); len(b) > room {
		return fmt.Errorf("%w: %d bytes, %d fit", ErrTooLong, len(b), room)
	}
	c.mu.Lock()
	switch {
	case c.wiped || !c.isOpen():
		c.mu.Unlock()
		return ErrClosed
	case c.sequence >= c.aead.MaxSeals():
		c.mu.Unlock()
		c.Close(ReasonKeyLimit) // S24
		return ErrClosed
	}
	c.revertLocked()
	sock := c.sockLocked()
	o := sock.begin()
	o.to, o.local = c.at, c.local
	if c.afford(len(b)) {
		o.data = c.sealLocked(o.data, record.TypeApplicationData, b)
	}
	sent := len(o.data) > 0
	c.mu.Unlock()
	sock.end(o)
	if !sent {
		c.ep.count.drop(DropUnproven)
		return ErrUnproven
	}
	c.ep.count.out.Add(1)
	return nil
}

// Peer returns who is on the other side.
func (c *Conn) Peer() *Peer { return &c.peer }

func (c *Conn) path() pathKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *Conn) sockLocked() *socket { return c.ep.socks[c.at.sock] }

// transmit sends a datagram that is sealed.
func (c *Conn) transmit(datagram []byte) {
	c.mu.Lock()
	at, local := c.at, c.local
	c.mu.Unlock()
	c.ep.socks[at.sock].send(at, local, datagram)
}

// RemoteAddr returns the peer's address. It is no identity, and with a Connection ID it may change.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.path().addr() }

// Idle returns for how long no authentic record has come from the peer, to the second.
func (c *Conn) Idle() time.Duration {
	return c.ep.elapsed().Truncate(time.Second) - time.Duration(c.lastSeen.Load())*time.Second
}

// ConnectionID reports whether the peer's records carry a Connection ID of ours, so that its address may change.
func (c *Conn) ConnectionID() bool { return c.hasCID() }

// MaxPlaintext returns how many bytes Send takes at most, so that a packet stays within Limits.MTU.
func (c *Conn) MaxPlaintext() int {
	room := c.ep.conf.Limits.payload() - record.HeaderLen - c.aead.Overhead()
	if cid := c.moving.cid(); len(cid) > 0 {
		room -= len(cid) + 1 // and the inner type (RFC 9146, Section 4)
	}
	return room
}

// SetOwner attaches what the caller likes to the session.
func (c *Conn) SetOwner(v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owner = v
}

// Owner returns what SetOwner attached, or nil.
func (c *Conn) Owner() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owner
}

// dismiss tells the peer of a session that never entered the tables that it is over.
func (c *Conn) dismiss() {
	const fatal, accessDenied = 2, 49
	c.mu.Lock()
	alert := c.sealLocked(nil, record.TypeAlert, []byte{fatal, accessDenied})
	c.mu.Unlock()
	c.transmit(alert)
}

// Close ends the session for the given reason; the peer is told with close_notify (RFC 5246, Section 7.2.1). The first
// reason counts. It does not wait for HandleClosed.
func (c *Conn) Close(r Reason) { c.end(r, r != ReasonReplaced) }

// end ends the session. A peer that made a new session at the same address is not told: it would take the record for one of
// the new session's.
func (c *Conn) end(r Reason, tell bool) {
	if !c.state.CompareAndSwap(0, int32(r)+1) {
		return
	}
	c.mu.Lock()
	sock := c.sockLocked()
	o := sock.begin()
	o.to, o.local = c.at, c.local
	if tell && c.sequence < record.MaxSeq && c.afford(2) {
		const warning, closeNotify = 1, 0
		o.data = c.sealLocked(o.data, record.TypeAlert, []byte{warning, closeNotify})
	}
	c.read, c.write, c.wiped = record.Key{}, record.Key{}, true
	c.last = nil
	if c.moving != nil {
		c.moving.trial = nil
	}
	c.busy.Store(nil)
	c.mu.Unlock()
	sock.end(o)
	c.ep.ended(c)
}
