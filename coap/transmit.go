package coap

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// transmission is a Confirmable message of ours that is not acknowledged (RFC 7252, Section 4.2), or a Non-confirmable
// notification that still counts as outstanding (RFC 7641, Section 4.5.1).
type transmission struct {
	timer    timer
	peer     *Peer
	data     []byte
	timeout  time.Duration // the one that runs
	attempts int           // retransmissions so far
	mid      uint16
	call     *call     // the request it carries; nil: it is a separate response or a notification
	response bool      // a separate response: it ends an exchange
	unsent   bool      // its first copy is sent by alarm
	until    time.Time // of a separate response: when it is too late to begin with it

	observation *Observation // it is a notification of
	non         bool         // Non-confirmable
	unfilled    bool         // it has its turn, but no Message ID yet
	begun       time.Time    // when a notification was first sent
}

// transmitLocked begins retransmitting t, whose first copy the caller sends once the lock is free; when t is unsent, alarm
// sends that one too.
func (p *Peer) transmitLocked(t *transmission, now time.Time) {
	// RFC 7252, Section 4.2: a random duration between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR
	t.timeout = time.Duration(float64(p.profile.AckTimeout) * (1 + rand.Float64()*(ackRandomFactor-1)))
	st := p.stateLocked()
	if st.sent == nil {
		st.sent = make(map[uint16]*transmission)
	}
	st.sent[t.mid] = t
	at := now.Add(p.waitLocked(t))
	if t.unsent {
		at = now
	}
	p.endpoint.sched.set(&t.timer, t, at)
}

// waitLocked is how long t is outstanding before something else is done with it.
func (p *Peer) waitLocked(t *transmission) time.Duration {
	if t.non {
		return p.gapLocked()
	}
	return t.timeout
}

// nextResponseLocked hands the turn of a separate response, which has ended, to the one that waited longest. NSTART bounds
// the interactions that a client has with a server (RFC 7252, Section 4.7); separate responses, which flow the other way, have
// one of their own, so that none waits for a request of ours that its requester leaves unacknowledged until it is answered.
func (p *Peer) nextResponseLocked(now time.Time) {
	st := p.state
	for len(st.responses) > 0 {
		t := st.responses[0]
		st.responses[0] = nil
		st.responses = st.responses[1:]
		if !t.response {
			t.unsent = true
			p.turnOfLocked(t, now)
			return
		}
		if now.After(t.until) { // its requester has ceased to wait for it
			p.endpoint.count.timeouts.Add(1)
			t.failedLocked(EndTimeout, now)
			p.exchangeDoneLocked()
			continue
		}
		mid, ok := p.messageIDLocked(now)
		if !ok {
			t.failedLocked(EndTimeout, now)
			p.exchangeDoneLocked()
			continue
		}
		t.mid, t.unsent, t.begun = mid, true, now
		binary.BigEndian.PutUint16(t.data[2:], mid) // RFC 7252, Section 3
		p.transmitLocked(t, now)
		return
	}
	st.responses = nil
	st.unacked--
}

// alarm sends t, or sends it again, or gives up.
func (t *transmission) alarm(now time.Time) {
	p := t.peer
	p.mu.Lock()
	if p.state != nil && t.unfilled && t.observation != nil {
		t.unsent = true
		p.turnOfLocked(t, now)
		p.mu.Unlock()
		return
	}
	if p.closed || p.state == nil || p.state.sent[t.mid] != t {
		p.mu.Unlock()
		return
	}
	data := p.retransmitLocked(t, now)
	p.mu.Unlock()
	if data != nil {
		_ = p.send(data) // counted; it is sent again
	}
}

// retransmitLocked returns t's datagram when it is to be sent (again), or ends t.
func (p *Peer) retransmitLocked(t *transmission, now time.Time) []byte {
	e := p.endpoint
	switch {
	case t.unsent:
		t.unsent = false
		e.sched.set(&t.timer, t, now.Add(p.waitLocked(t)))
		return t.data
	case t.non: // it is not outstanding any more
		p.endTransmissionLocked(t)
		return nil
	case t.attempts >= p.profile.MaxRetransmit:
		e.count.timeouts.Add(1)
		t.failedLocked(EndTimeout, now)
		p.endTransmissionLocked(t)
		if t.call != nil {
			p.completeLocked(t.call, result{err: ErrTimeout})
		}
		return nil
	}
	t.attempts++
	t.timeout *= 2
	t.overtakeLocked(now)
	e.sched.set(&t.timer, t, now.Add(t.timeout))
	e.count.retransmissions.Add(1)
	return t.data
}

// endTransmissionLocked forgets t: it was acknowledged, reset, answered or given up.
func (p *Peer) endTransmissionLocked(t *transmission) {
	if p.state.sent[t.mid] != t {
		return
	}
	delete(p.state.sent, t.mid)
	p.endpoint.sched.stop(&t.timer)
	if t.response {
		p.exchangeDoneLocked()
	}
	if t.call == nil {
		p.notifiedLocked(t)
		p.nextResponseLocked(time.Now())
	}
}

// receiveACK takes an empty acknowledgement: the response to the request, if it was one, comes separately.
func (p *Peer) receiveACK(mid uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.heardLocked()
	t := p.transmissionLocked(mid)
	if t == nil || t.non {
		if o := p.recentLocked(mid, now); o != nil { // of one that was overtaken: the peer is there
			if o.out != nil {
				o.out.attempts = 0
			}
			return
		}
		p.endpoint.count.refuse(ReasonUnmatchedACK)
		return
	}
	p.measureLocked(t, now)
	p.endTransmissionLocked(t)
	if c := t.call; c != nil {
		p.passTurnLocked(c) // RFC 7252, Section 4.7: no outstanding interaction any more
		p.endpoint.sched.set(&c.timer, c, now.Add(p.profile.transmitWait))
	}
}

// receiveReset takes a reset: to a separate response it ends it (RFC 7252, Section 5.2.2), to a request it is its answer, and
// to a notification it ends the observation (RFC 7641, Section 3.6).
func (p *Peer) receiveReset(mid uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.heardLocked()
	if t := p.transmissionLocked(mid); t != nil {
		t.failedLocked(EndReset, now)
		p.endTransmissionLocked(t)
		if t.call != nil {
			p.completeLocked(t.call, result{err: ErrReset})
		}
		return
	}
	if c := p.nonCallLocked(mid); c != nil {
		p.completeLocked(c, result{err: ErrReset})
		return
	}
	if o := p.recentLocked(mid, now); o != nil {
		o.endLocked(EndReset, now)
		return
	}
	p.endpoint.count.refuse(ReasonUnmatchedReset)
}

// transmissionLocked returns what was sent with mid and is not acknowledged (S31: of this peer only).
func (p *Peer) transmissionLocked(mid uint16) *transmission {
	if p.closed || p.state == nil {
		return nil
	}
	return p.state.sent[mid]
}

// nonCallLocked returns the call that was sent Non-confirmable with mid.
func (p *Peer) nonCallLocked(mid uint16) *call {
	if p.closed || p.state == nil {
		return nil
	}
	for _, c := range p.state.calls {
		if c.non && c.mid == mid {
			return c
		}
	}
	return nil
}
