package coap

import (
	"sync"
	"time"
)

// Profile says how one peer is spoken to. The zero value of a field is its default.
type Profile struct {
	// MaxBody is the largest body that the peer may send, in bytes (0: Limits.MaxBody).
	MaxBody int
	// MaxBlock is the largest block that is sent and asked for, in bytes: a power of two from 16 to 1024 (0: 1024; others
	// are rounded down). Less is used where Conn.MaxPlaintext demands it.
	MaxBlock int
	// AckTimeout is ACK_TIMEOUT (0: 2 s), MaxRetransmit MAX_RETRANSMIT (0: 4; at most 10) and NStart NSTART (0: 1) of RFC 7252,
	// Section 4.8. The lifetimes derived from them follow.
	AckTimeout time.Duration
	// AckTimeout is at most 10 minutes.
	MaxRetransmit int
	NStart        int
	// ProbingRate is PROBING_RATE (0: 1), in bytes a second: how fast Non-confirmable requests go to a peer that does not answer
	// (Section 4.7). MaxLatency is MAX_LATENCY (0: 100 s; Section 4.8.2).
	ProbingRate int
	MaxLatency  time.Duration
	// OneToken gives all blocks of a transfer of ours the same token, which some servers ask for, instead of one to each
	// (S30; RFC 9175, Section 4.2). A transfer that begins again takes another one all the same.
	OneToken bool
}

// profile is a Profile with every default filled in.
type profile struct {
	Profile
	szx              uint8         // of MaxBlock
	exchangeLifetime time.Duration // EXCHANGE_LIFETIME, RFC 7252, Section 4.8.2
	nonLifetime      time.Duration // NON_LIFETIME
	transmitWait     time.Duration // MAX_TRANSMIT_WAIT
	ackDelay         time.Duration // Limits.AckDelay, and less than the peer's ACK_TIMEOUT
}

func (p Profile) resolve(ackDelay time.Duration) *profile {
	set(&p.MaxBlock, 1024)
	set(&p.AckTimeout, ackTimeout)
	set(&p.MaxRetransmit, maxRetransmit)
	set(&p.NStart, defaultNStart)
	set(&p.ProbingRate, probingRate)
	set(&p.MaxLatency, maxLatency)
	p.MaxRetransmit = min(p.MaxRetransmit, maxMaxRetransmit)
	p.AckTimeout = min(p.AckTimeout, maxAckTimeout)
	r := &profile{Profile: p, ackDelay: min(ackDelay, p.AckTimeout/2)}
	r.szx, _ = fitSZX(p.MaxBlock)
	jittered := float64(p.AckTimeout) * ackRandomFactor
	span := time.Duration(jittered * float64(int(1)<<p.MaxRetransmit-1)) // MAX_TRANSMIT_SPAN
	r.transmitWait = time.Duration(jittered * float64(int(2)<<p.MaxRetransmit-1))
	r.exchangeLifetime = span + 2*p.MaxLatency + p.AckTimeout // PROCESSING_DELAY is ACK_TIMEOUT
	r.nonLifetime = span + p.MaxLatency
	return r
}

// profiles remembers resolved Profiles, of which there are few however many peers there are.
type profiles struct {
	mu    sync.Mutex // guards the following field
	known map[Profile]*profile
}

func (s *profiles) of(p Profile, ackDelay time.Duration) *profile {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.known[p]
	if r == nil {
		r = p.resolve(ackDelay)
		if s.known == nil || len(s.known) >= maxProfiles {
			s.known = map[Profile]*profile{}
		}
		s.known[p] = r
	}
	return r
}

// Peer is one peer of an Endpoint. It is data; while it is idle it costs the struct alone.
type Peer struct {
	endpoint *Endpoint
	conn     Conn
	profile  *profile
	id       uint64 // random: what Echo values are bound to

	mu      sync.Mutex // guards the following fields
	owner   any
	state   *state // nil while the peer is idle
	nextMID uint16 // next Message ID of ours
	closed  bool
	working bool // a goroutine fetches or renews an observation at it
}

// state is what a peer that is not idle has. The sweep drops it when it is empty.
type state struct {
	sweep   timer
	sweepAt time.Time // when it fires; zero: it is not set

	records     map[uint16]*record // by Message ID of the peer
	answered    [2]fifo            // records in the order of their expiry: EXCHANGE_LIFETIME, NON_LIFETIME
	recordBytes int

	exchanges int     // requests in progress, and their separate responses
	bodies    []*body // request bodies begun
	kept      []*kept // response bodies for follow-up requests, oldest first
	keptBytes int

	sent    map[uint16]*transmission // Confirmable messages and notifications of ours that are outstanding, by Message ID
	calls   map[uint64]*call         // requests of ours, by token
	active  int                      // transmissions that count for NSTART
	waiting []*turn                  // behind them

	unacked   int             // separate responses and notifications that count for NSTART
	responses []*transmission // behind them, in their order; MaxExchanges and MaxObservations bound them

	observed     map[uint64]*Observed // observations of ours, by token
	observations []*Observation       // of the peer
	pendingBytes int                  // of the states that wait to be sent to it
	rtt          time.Duration        // smoothed round trip of notifications; 0: none was acknowledged

	probing *probing // it does not answer Non-confirmable requests; nil: it does

	midUsed *[midBlocks]uint32 // when a Message ID of each block was last used, in Endpoint.seconds; 0 and nil: never
}

// SetOwner attaches the caller's own data to p.
func (p *Peer) SetOwner(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owner = v
}

// Owner returns what SetOwner attached; nil at first.
func (p *Peer) Owner() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owner
}

// Conn returns what carries the peer's datagrams.
func (p *Peer) Conn() Conn { return p.conn }

// stateLocked returns p's state and makes it when there is none. As long as there is one, its sweep is set.
func (p *Peer) stateLocked() *state {
	if p.state == nil {
		p.state = p.endpoint.states.Get().(*state)
		p.sweepByLocked(time.Now().Add(p.profile.exchangeLifetime + maxSweepInterval))
	}
	return p.state
}

// requestStateLocked is stateLocked for a request, when settleLocked follows: a sweep is set only if something stays.
func (p *Peer) requestStateLocked() *state {
	if p.state == nil {
		p.state = p.endpoint.states.Get().(*state)
	}
	return p.state
}

// settleLocked drops the state of a peer that has become idle, and otherwise makes sure that it is swept.
func (p *Peer) settleLocked(now time.Time) {
	st := p.state
	switch {
	case st == nil:
	case st.empty():
		p.dropStateLocked()
	case st.sweepAt.IsZero() && st.exchanges == 0: // else its end settles it
		p.sweepByLocked(now.Add(p.profile.exchangeLifetime + maxSweepInterval))
	}
}

// dropStateLocked gives an empty state back, with what its map of records has grown to.
func (p *Peer) dropStateLocked() {
	st := p.state
	p.state = nil
	if !st.sweepAt.IsZero() {
		p.endpoint.sched.stop(&st.sweep)
	}
	*st = state{records: st.records}
	p.endpoint.states.Put(st)
}

// empty reports whether nothing is remembered.
func (st *state) empty() bool {
	return st.exchanges == 0 && len(st.records) == 0 && st.answered == [2]fifo{} && len(st.bodies) == 0 && len(st.kept) == 0 &&
		len(st.sent) == 0 && len(st.calls) == 0 && st.active == 0 && len(st.waiting) == 0 && st.unacked == 0 &&
		len(st.responses) == 0 && len(st.observations) == 0 && len(st.observed) == 0 && st.probing == nil && st.midUsed == nil
}

// ClosePeer forgets p. Pending calls of Do return ErrClosed, its observations end, later answers to its requests fail with
// ErrClosed, and what still arrives from it is dropped.
func (e *Endpoint) ClosePeer(p *Peer) {
	p.mu.Lock()
	st := p.state
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.heardLocked()
	p.closed, p.state = true, nil
	if st == nil {
		p.mu.Unlock()
		return
	}
	e.sched.stop(&st.sweep)
	for _, t := range st.sent {
		e.sched.stop(&t.timer)
	}
	for _, o := range st.observations {
		if o.out != nil {
			e.sched.stop(&o.out.timer)
		}
	}
	for _, c := range st.calls {
		e.sched.stop(&c.timer)
		c.result <- result{err: ErrClosed}
	}
	for _, w := range st.waiting {
		w.ready <- ErrClosed
	}
	e.count.calls.Add(int64(-len(st.calls)))
	e.count.records.Add(int64(-st.recordCount()))
	e.count.recordBytes.Add(int64(-st.recordBytes))
	for _, b := range st.bodies {
		e.dropBody(b)
	}
	e.count.kept.Add(int64(-len(st.kept)))
	e.count.keptBytes.Add(int64(-st.keptBytes - st.pendingBytes))
	now := time.Now()
	for _, o := range st.observations {
		o.over, o.reason, o.pending = true, EndClosed, nil
		o.goneLocked(EndClosed, now)
	}
	for _, o := range st.observed {
		o.over, o.cancelled = true, true
		e.sched.stop(&o.timer)
	}
	e.count.observed.Add(int64(-len(st.observed)))
	n := st.exchanges
	p.mu.Unlock()
	e.exchangesDone(n)
}

// sweepByLocked makes the sweep run at or before the given time.
func (p *Peer) sweepByLocked(at time.Time) {
	st := p.state
	if st.sweepAt.IsZero() || at.Before(st.sweepAt) {
		st.sweepAt = at
		p.endpoint.sched.set(&st.sweep, p, at)
	}
}

// alarm drops what has expired.
func (p *Peer) alarm(now time.Time) {
	e := p.endpoint
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.state
	if st == nil || now.Before(st.sweepAt) { // an alarm of a state that was given back
		return
	}
	st.sweepAt = time.Time{}
	sec := e.seconds(now)
	next := p.sweepRecordsLocked(sec)
	for _, later := range []uint32{p.sweepBodiesLocked(sec), p.sweepKeptLocked(sec), p.midsFreeLocked(sec),
		p.sweepProbingLocked(now)} {
		if next == 0 || later != 0 && later < next {
			next = later
		}
	}
	switch {
	case next != 0:
		at := e.start.Add(time.Duration(next) * time.Second)
		if soon := now.Add(maxSweepInterval); at.Before(soon) {
			at = soon
		}
		p.sweepByLocked(at)
	case st.empty():
		p.dropStateLocked()
	default:
		p.sweepByLocked(now.Add(p.profile.exchangeLifetime))
	}
}

// send sends one datagram and counts it. No lock may be held.
func (p *Peer) send(b []byte) error {
	c := &p.endpoint.count
	if err := p.conn.Send(b); err != nil {
		c.refuse(ReasonSend)
		return err
	}
	c.out[b[0]>>4&3].Add(1)
	return nil
}

// sendEmpty sends an acknowledgement or a reset, to a closed peer nothing. An error is no matter of the exchange: the peer
// repeats.
func (p *Peer) sendEmpty(t Type, mid uint16) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		p.endpoint.count.refuse(ReasonClosed)
		return
	}
	b := emptyMessage(t, mid)
	_ = p.send(b[:])
}

func emptyMessage(t Type, mid uint16) [headerLen]byte {
	return [headerLen]byte{1<<6 | byte(t)<<4, 0, byte(mid >> 8), byte(mid)}
}

// messageIDLocked returns a Message ID that was not used within EXCHANGE_LIFETIME (RFC 7252, Section 4.4); false when
// there is none. They are used in ascending order, so that remembering the last use of every 1,024 is enough: a block is
// entered only when its last use has expired.
func (p *Peer) messageIDLocked(now time.Time) (uint16, bool) {
	st := p.stateLocked()
	if st.midUsed == nil {
		st.midUsed = new([midBlocks]uint32)
	}
	sec := p.endpoint.seconds(now)
	i := p.nextMID / (1 << 16 / midBlocks)
	entering := p.nextMID%(1<<16/midBlocks) == 0
	if entering && st.midUsed[i] != 0 && sec <= st.midUsed[i]+lifetimeSeconds(p.profile.exchangeLifetime) {
		p.endpoint.count.refuse(ReasonMessageIDs)
		return 0, false
	}
	if st.midUsed[i] == 0 {
		p.sweepByLocked(now.Add(p.profile.exchangeLifetime + maxSweepInterval))
	}
	st.midUsed[i] = sec
	mid := p.nextMID
	p.nextMID++
	return mid, true
}

// midsFreeLocked returns when the last used Message ID may be used again; 0: no one is in use.
func (p *Peer) midsFreeLocked(sec uint32) (free uint32) {
	if p.state.midUsed == nil {
		return 0
	}
	for _, used := range p.state.midUsed {
		if used == 0 {
			continue
		}
		free = max(free, used+lifetimeSeconds(p.profile.exchangeLifetime)+1)
	}
	if free <= sec {
		p.state.midUsed = nil
		return 0
	}
	return free
}

// lifetimeSeconds rounds up, so that nothing ends early.
func lifetimeSeconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }
