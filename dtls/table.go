package dtls

import (
	"encoding/binary"
	"time"

	"coapbridge/dtls/handshake"
)

// tables find sessions and handshakes. Endpoint.mu guards them.
type tables struct {
	live     map[pathKey]*Conn        // sessions without a Connection ID of ours
	cids     map[uint64]*Conn         // those with one; their address is where they are, not what finds them
	peers    map[PeerID]*Conn         // the newest session of each, which names the older ones
	pending  map[pathKey]*negotiation // handshakes; one for each 5-tuple
	sites    map[[8]byte]int          // half-open handshakes of each source prefix
	oldest   *negotiation             // of those that peers began
	newest   *negotiation
	held     int
	sessions int
	spent    spent
	doomed   int // of them, that give way to others and are about to end
}

func newTables() tables {
	return tables{
		live: map[pathKey]*Conn{}, cids: map[uint64]*Conn{}, peers: map[PeerID]*Conn{}, pending: map[pathKey]*negotiation{},
		sites: map[[8]byte]int{},
	}
}

func (ep *Endpoint) liveAt(at pathKey) *Conn {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.live[at]
}

func (ep *Endpoint) pendingAt(at pathKey) *negotiation {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.pending[at]
}

func (ep *Endpoint) byCID(cid []byte) *Conn {
	if len(cid) != cidLength {
		return nil
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.cids[binary.BigEndian.Uint64(cid)]
}

// admit enters a handshake at its 5-tuple, in place of an older one, if the limits allow. One beyond the number of places
// takes that of the oldest.
func (ep *Endpoint) admit(n *negotiation) bool {
	ep.mu.Lock()
	l := ep.conf.Limits
	if ep.closing || n.role == RoleClient && ep.sites[n.site] >= l.HalfOpenPerPrefix {
		ep.mu.Unlock()
		return false
	}
	var evicted *negotiation
	if n.role == RoleClient {
		if ep.held >= l.HalfOpen {
			evicted = ep.oldest
			ep.dropLocked(evicted)
		}
		ep.holdLocked(n)
	}
	superseded := ep.pending[n.at]
	// Who waits for one waits for the other.
	if superseded != nil && superseded.dial != nil && n.dial == nil && superseded.dial.key.takesAnyRole() {
		n.dial = superseded.dial
		n.dial.n = n
	}
	ep.pending[n.at] = n
	ep.running.Add(1)
	ep.mu.Unlock()
	if evicted != nil {
		evicted.cancel(errEvicted)
	}
	if superseded != nil {
		superseded.cancel(errSuperseded)
	}
	return true
}

// holdLocked gives a handshake a place among those that peers began.
func (ep *Endpoint) holdLocked(n *negotiation) {
	n.held = true
	ep.held++
	ep.sites[n.site]++
	if n.older = ep.newest; n.older != nil {
		n.older.newer = n
	} else {
		ep.oldest = n
	}
	ep.newest = n
}

// dropLocked takes back what holdLocked gave.
func (ep *Endpoint) dropLocked(n *negotiation) {
	if !n.held {
		return
	}
	n.held = false
	ep.held--
	if ep.sites[n.site]--; ep.sites[n.site] == 0 {
		delete(ep.sites, n.site)
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		ep.oldest = n.newer
	}
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		ep.newest = n.older
	}
	n.older, n.newer = nil, nil
}

// release returns what admit took (S18).
func (ep *Endpoint) release(n *negotiation) {
	ep.unschedule(n)
	n.mu.Lock()
	if n.stop != nil {
		n.stop()
	}
	if n.machine != nil {
		n.machine.Release()
	}
	n.mu.Unlock()
	ep.mu.Lock()
	ep.dropLocked(n)
	if ep.pending[n.at] == n {
		delete(ep.pending, n.at)
	}
	ep.mu.Unlock()
	ep.running.Done()
}

// complete makes a session of a handshake that is done, and sends its last flight. A credential that was withdrawn since it
// was looked up (CloseWhere) is looked up again first, elsewhere, for that may block.
func (ep *Endpoint) complete(n *negotiation, r *handshake.Result, last [][]byte) {
	if n.role == RoleServer && !r.Suite.PSK && !r.Asked {
		n.fail(errNotAsked) // authentication is mutual (R1)
		return
	}
	c := ep.newConn(n, r)
	c.busy.Store(&ciphers{r.Open, r.Seal}) // it is going to be used
	ep.keepBusy(c)
	c.calls.Lock() // no record is delivered before HandleConn returned
	if !ep.promote(c, n, last) {
		ep.running.Go(func() {
			for {
				n.generation = ep.currentGeneration()
				if err := n.recheck(); err != nil {
					c.calls.Unlock()
					n.transmit(last) // else the peer would wait, and repeat
					c.dismiss()
					n.fail(err)
					return
				}
				if ep.promote(c, n, last) {
					return
				}
			}
		})
	}
}

// promote puts a session into the tables and calls the handler, or fails the handshake. It reports false, and did nothing,
// when the credential has to be looked up again. It unlocks c.calls.
func (ep *Endpoint) promote(c *Conn, n *negotiation, last [][]byte) bool {
	ep.mu.Lock()
	var err error
	switch {
	case ep.closing:
		err = errEnding
	case ep.pending[n.at] != n:
		err = errSuperseded
	case ep.generation != n.generation:
		ep.mu.Unlock()
		return false
	}
	if err != nil {
		ep.mu.Unlock()
		c.calls.Unlock()
		n.fail(err)
		return true
	}
	gone := ep.enterLocked(c)
	if n.role == RoleClient {
		ep.spent.add(n.cookie, ep.elapsed())
	}
	ep.count.handshakes[completed(c)].Add(1) // before it counts as under way no more
	delete(ep.pending, n.at)
	ep.running.Add(1)
	ep.mu.Unlock()
	ep.watch(c)
	for _, g := range gone {
		g.conn.end(g.reason, g.reason != ReasonReplaced)
	}
	n.transmit(last)
	ep.release(n)
	ep.conf.Handler.HandleConn(c)
	c.calls.Unlock()
	ep.answer(n, c, nil)
	return true
}

func completed(c *Conn) Outcome {
	if c.peer.ID.Kind == KindPSK {
		return OutcomeCompletedPSK
	}
	return OutcomeCompletedCertificate
}

// leaving is a session that gives way.
type leaving struct {
	conn   *Conn
	reason Reason
}

// enterLocked puts a session into the tables and returns those that give way to it: the one at its 5-tuple (RFC 6347, Section
// 4.2.8: only now), the peer's oldest beyond its number, and one of the least recently used beyond the number of all.
func (ep *Endpoint) enterLocked(c *Conn) (gone []leaving) {
	if old := ep.live[c.at]; old != nil {
		gone = append(gone, leaving{old, ReasonReplaced})
	}
	if c.hasCID() {
		ep.cids[c.moving.local] = c
	} else {
		ep.live[c.at] = c
	}
	c.older = ep.peers[c.peer.ID]
	ep.peers[c.peer.ID] = c
	open := 1
	var oldest *Conn
	for o := c.older; o != nil; o = o.older {
		switch {
		case !o.isOpen() || len(gone) > 0 && o == gone[0].conn:
		case o.hasCID() && o.path() == c.at: // the device began again
			gone = append(gone, leaving{o, ReasonReplaced})
		default:
			open++
			oldest = o
		}
	}
	if open > ep.conf.Limits.SessionsPerPeer {
		gone = append(gone, leaving{oldest, ReasonSurplus})
	}
	ep.sessions++
	for _, g := range gone {
		ep.leaveSoonLocked(g.conn)
	}
	if ep.sessions-ep.doomed > ep.conf.Limits.Sessions {
		if o := ep.unusedLocked(c); o != nil {
			gone = append(gone, leaving{o, ReasonEvicted})
			ep.leaveSoonLocked(o)
		}
	}
	return gone
}

// leaveSoonLocked marks a session that gives way, so that no other one is taken in its place.
func (ep *Endpoint) leaveSoonLocked(c *Conn) {
	if !c.leaving && c.isOpen() {
		c.leaving = true
		ep.doomed++
	}
}

// unusedLocked returns the session that was not used for longest, of a sample: a map's iteration begins anywhere.
func (ep *Endpoint) unusedLocked(except *Conn) (found *Conn) {
	var since uint32
	looked := 0
	for _, newest := range ep.peers {
		for c := newest; c != nil; c = c.older {
			if c == except || c.leaving || !c.isOpen() {
				continue
			}
			seen := c.lastSeen.Load()
			if found == nil || seen < since {
				found, since = c, seen
			}
			looked++
		}
		if looked >= evictionSample {
			break
		}
	}
	return found
}

// ended takes a session that was closed out of the tables, and lets the handler know.
func (ep *Endpoint) ended(c *Conn) {
	reason := Reason(c.state.Load() - 1)
	ep.count.closed[reason].Add(1)
	if reason == ReasonSurplus && ep.logLimit.Allow() {
		ep.conf.Log.Warn("a peer has more sessions than it may; its oldest ends", "device", ep.pseudonym(c.peer.ID),
			"remedy", "look whether several devices share the credential, and give each its own")
	}
	ep.unwatch(c)
	ep.mu.Lock()
	ep.leaveLocked(c)
	ep.gone = append(ep.gone, c)
	start := !ep.reaping
	ep.reaping = true
	ep.mu.Unlock()
	if start {
		go ep.reap()
	}
}

// leaveLocked undoes enterLocked.
func (ep *Endpoint) leaveLocked(c *Conn) {
	ep.sessions--
	if c.leaving {
		ep.doomed--
	}
	if c.hasCID() {
		delete(ep.cids, c.moving.local)
	} else if ep.live[c.at] == c {
		delete(ep.live, c.at)
	}
	head := ep.peers[c.peer.ID]
	if head == c {
		if c.older == nil {
			delete(ep.peers, c.peer.ID)
		} else {
			ep.peers[c.peer.ID] = c.older
		}
		return
	}
	for o := head; o != nil; o = o.older {
		if o.older == c {
			o.older = c.older
			return
		}
	}
}

// reap tells the handler of sessions that ended, as long as there are any: whoever closes one may be in a call of the handler
// for it.
func (ep *Endpoint) reap() {
	for {
		ep.mu.Lock()
		gone := ep.gone
		ep.gone = nil
		if len(gone) == 0 {
			ep.reaping = false
			ep.mu.Unlock()
			return
		}
		ep.mu.Unlock()
		for _, c := range gone {
			c.calls.Lock()
			ep.conf.Handler.HandleClosed(c, Reason(c.state.Load()-1))
			c.calls.Unlock()
			ep.running.Done()
		}
	}
}

// A session's times: its idle limit, and the end of its peer's certificate.

// watch lets a session be looked at when it may have to end.
func (ep *Endpoint) watch(c *Conn) {
	at := ep.dueAt(c)
	ep.clock.Lock()
	defer ep.clock.Unlock()
	if c.isOpen() {
		ep.sessionTimes.set(c, at)
	}
}

func (ep *Endpoint) unwatch(c *Conn) {
	ep.clock.Lock()
	defer ep.clock.Unlock()
	ep.sessionTimes.remove(c)
}

func (ep *Endpoint) dueAt(c *Conn) time.Duration {
	at := time.Duration(c.lastSeen.Load()+c.idle) * time.Second
	if own := c.peer.Certificate; own != nil {
		now := ep.elapsed()
		at = now + min(at-now, time.Until(own.NotAfter)) // which is the longest Duration for a certificate without end
	}
	return at
}

// inspect ends a session whose time has come, or looks at it again later.
func (ep *Endpoint) inspect(c *Conn, now time.Time) {
	idle := int64(seconds(ep.since(now)))-int64(c.lastSeen.Load()) > int64(c.idle)
	switch own := c.peer.Certificate; {
	case own != nil && now.After(own.NotAfter) && ep.conf.ClockOK():
		c.Close(ReasonExpired)
	case idle:
		c.Close(ReasonIdle)
	default:
		ep.watch(c)
	}
}

// schedule lets a handshake be looked at at a time of Endpoint.elapsed.
func (ep *Endpoint) schedule(n *negotiation, at time.Duration) {
	ep.clock.Lock()
	ep.handshakeTimes.set(n, at)
	first := ep.handshakeTimes.count == 1
	ep.clock.Unlock()
	if first {
		select {
		case ep.wake <- struct{}{}: // the clock runs slowly without handshakes
		default:
		}
	}
}

func (ep *Endpoint) unschedule(n *negotiation) {
	ep.clock.Lock()
	defer ep.clock.Unlock()
	ep.handshakeTimes.remove(n)
}
