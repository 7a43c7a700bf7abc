package coap

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"time"
)

// call is one request of ours that waits for its response.
type call struct {
	timer     timer // MAX_TRANSMIT_WAIT, when nothing is retransmitted (any more)
	peer      *Peer
	token     uint64
	mid       uint16
	non       bool
	turn      bool    // its transfer holds one of NSTART turns
	challenge [8]byte // of the trial under which its token was made; zero: none
	result    chan result
	transport *transmission // nil when the request is Non-confirmable
}

// result is how a call ended.
type result struct {
	message *Message
	err     error
}

// turn is a call that waits behind NSTART.
type turn struct{ ready chan error }

// newToken returns a token that no call of p carries. S30: 8 unpredictable bytes.
func (p *Peer) newToken() uint64 {
	var b [maxTokenLen]byte
	for {
		rand.Read(b[:]) // never fails
		token := binary.BigEndian.Uint64(b[:])
		p.mu.Lock()
		taken := p.state != nil && (p.state.calls[token] != nil || p.state.observed[token] != nil)
		p.mu.Unlock()
		if !taken {
			return token
		}
	}
}

// roundTrip sends one message and waits for its response. m's Message ID and token are overwritten. The caller holds a
// turn; hasTurn says whether it still does when the response is there.
func (p *Peer) roundTrip(ctx context.Context, m *Message, token uint64, hasTurn *bool) (*Message, error) {
	c, data, err := p.begin(m, token)
	if err != nil {
		return nil, err
	}
	defer func() {
		p.mu.Lock()
		*hasTurn = c.turn
		p.mu.Unlock()
	}()
	if err := p.send(data); err != nil {
		p.cancel(c)
		return nil, fmt.Errorf("coap: send request: %w", err)
	}
	select {
	case r := <-c.result:
		return r.message, r.err
	case <-ctx.Done():
		p.cancel(c)
		return nil, ctx.Err()
	case <-p.endpoint.stop:
		p.cancel(c)
		return nil, ErrShutdown
	}
}

// begin registers a call.
func (p *Peer) begin(m *Message, token uint64) (*call, []byte, error) {
	now := time.Now()
	var challenge [8]byte
	if !p.profile.OneToken { // else the token may be older than the trial
		challenge, _ = p.challenge()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	if p.state != nil && p.state.observed[token] != nil { // the same
		challenge = [8]byte{}
	}
	c := &call{peer: p, token: token, non: m.Type == NonConfirmable, turn: true, challenge: challenge, result: make(chan result, 1)}
	mid, ok := p.messageIDLocked(now)
	if !ok {
		return nil, nil, ErrMessageIDs
	}
	c.mid, m.MessageID = mid, mid
	m.Token = binary.BigEndian.AppendUint64(nil, token)
	data, err := m.AppendBinary(nil)
	if err != nil {
		return nil, nil, err
	}
	st := p.stateLocked()
	if st.calls == nil {
		st.calls = make(map[uint64]*call)
	}
	st.calls[token] = c
	p.endpoint.count.calls.Add(1)
	if c.non {
		p.endpoint.sched.set(&c.timer, c, now.Add(p.profile.transmitWait))
	} else {
		c.transport = &transmission{peer: p, mid: mid, data: data, call: c}
		p.transmitLocked(c.transport, now)
	}
	return c, data, nil
}

// completeLocked ends c, once.
func (p *Peer) completeLocked(c *call, r result) {
	st := p.state
	if st == nil || st.calls[c.token] != c {
		return
	}
	delete(st.calls, c.token)
	p.endpoint.count.calls.Add(-1)
	p.endpoint.sched.stop(&c.timer)
	if c.transport != nil {
		p.endTransmissionLocked(c.transport)
	}
	c.result <- r
}

// cancel gives c up. What still comes for it is unsolicited.
func (p *Peer) cancel(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.completeLocked(c, result{err: context.Canceled})
}

// alarm ends a call whose response did not come.
func (c *call) alarm(time.Time) {
	p := c.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != nil && p.state.calls[c.token] == c {
		p.endpoint.count.timeouts.Add(1)
		p.completeLocked(c, result{err: ErrTimeout})
	}
}

// takeTurn waits until fewer than NSTART interactions are outstanding (RFC 7252, Section 4.7).
func (p *Peer) takeTurn(ctx context.Context) error {
	e := p.endpoint
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	st := p.stateLocked()
	if st.active < p.profile.NStart {
		st.active++
		p.mu.Unlock()
		return nil
	}
	if len(st.waiting) >= e.config.Limits.MaxQueue {
		p.mu.Unlock()
		e.count.refuse(ReasonQueueFull)
		return ErrQueueFull
	}
	w := &turn{ready: make(chan error, 1)}
	st.waiting = append(st.waiting, w)
	p.mu.Unlock()
	var err error
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-e.stop:
		err = ErrShutdown
	}
	p.leaveQueue(w)
	return err
}

// leaveQueue takes w out of the queue, or hands its turn on when it got one meanwhile.
func (p *Peer) leaveQueue(w *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return
	}
	for i, other := range p.state.waiting {
		if other == w {
			p.state.waiting = append(p.state.waiting[:i], p.state.waiting[i+1:]...)
			return
		}
	}
	p.nextTurnLocked()
}

// passTurn hands on a turn that takeTurn gave.
func (p *Peer) passTurn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != nil {
		p.nextTurnLocked()
	}
}

// passTurnLocked hands the turn on that c's transfer holds.
func (p *Peer) passTurnLocked(c *call) {
	if c.turn {
		c.turn = false
		p.nextTurnLocked()
	}
}

func (p *Peer) nextTurnLocked() {
	st := p.state
	if len(st.waiting) == 0 {
		st.active--
		return
	}
	w := st.waiting[0]
	st.waiting[0] = nil
	st.waiting = st.waiting[1:]
	w.ready <- nil
}

// receiveResponse matches a response with its request (RFC 7252, Section 5.3.2). raw is the datagram.
func (e *Endpoint) receiveResponse(p *Peer, m *Message, raw []byte) {
	bad, understood := e.sift(p, m, false)
	hash := maphash.Bytes(e.seed, raw)
	now := time.Now()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.heardLocked()
	if p.state != nil && m.Type != Acknowledgement {
		// Our acknowledgement was lost, or the network doubled the message (RFC 7252, Section 4.2).
		if r := p.state.records[m.MessageID]; r != nil && r.hash == hash {
			e.count.duplicates.Add(1)
			reply := r.repeat()
			p.mu.Unlock()
			if reply != nil {
				_ = p.send(reply)
			}
			return
		}
	}
	c := p.matchLocked(m)
	o := p.observedLocked(m.Token)
	switch {
	case o != nil && (c == nil || understood && !o.answeredLocked(m, hash, now)):
		e.receiveNotification(p, o, m, hash, understood, now)
		return
	case c == nil || !understood:
		if c == nil {
			e.count.refuse(ReasonUnsolicited)
		} else {
			e.count.refuse(ReasonBadOption)
			p.completeLocked(c, result{err: fmt.Errorf("%w: number %d", ErrBadOption, bad)})
		}
		p.mu.Unlock()
		// RFC 7252, Sections 4.2 and 5.4.1: rejected; anything else is ignored, but for a notification, which would go on
		// for a day (RFC 7641, Sections 3.6 and 4.5).
		if _, notifies := m.observes(); m.Type == Confirmable || m.Type == NonConfirmable && notifies {
			p.sendEmpty(Reset, m.MessageID)
		}
		return
	}
	p.recordResponseLocked(m, hash, now)
	if o != nil { // an older notification looks like the answer: the acknowledgement may carry a newer one, and the last
		o.awaited, o.mid = m.Type != Acknowledgement && !c.non, c.mid
	}
	delivered := m.clone(false)
	challenge := c.challenge
	p.completeLocked(c, result{message: &delivered})
	p.mu.Unlock()
	if mover, ok := p.conn.(Mover); ok && challenge != [8]byte{} { // S28: a fresh token came back
		mover.Prove(challenge)
	}
	if m.Type == Confirmable {
		p.sendEmpty(Acknowledgement, m.MessageID) // RFC 7252, Section 5.2.2
	}
}

// recordResponseLocked has a repetition of m get the empty acknowledgement again.
func (p *Peer) recordResponseLocked(m *Message, hash uint64, now time.Time) {
	if m.Type == Acknowledgement {
		return
	}
	if r := p.recordLocked(m, hash); r != nil {
		r.acked = true
		p.keepLocked(r, nil, now)
	}
}

// matchLocked returns the call that m answers. S31: the token must match, and of an acknowledgement the Message ID too.
func (p *Peer) matchLocked(m *Message) *call {
	if p.state == nil || len(m.Token) != maxTokenLen {
		return nil
	}
	c := p.state.calls[binary.BigEndian.Uint64(m.Token)]
	if c == nil || m.Type == Acknowledgement && (c.non || c.mid != m.MessageID) {
		return nil
	}
	return c
}
