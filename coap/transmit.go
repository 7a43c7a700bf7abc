package coap

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// transmission is a Confirmable message of ours that is not acknowledged (RFC 7252, Section 4.2).
type transmission struct {
	timer    timer
	peer     *Peer
	data     []byte
	timeout  time.Duration // the one that runs
	attempts int           // retransmissions so far
	mid      uint16
	call     *call     // the request it carries; nil: it is a separate response
	response bool      // a separate response: it ends an exchange
	unsent   bool      // its first copy is sent by alarm
	until    time.Time // of a separate response: when it is too late to begin with it
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
	at := now.Add(t.timeout)
	if t.unsent {
		at = now
	}
	p.endpoint.sched.set(&t.timer, t, at)
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
		if now.After(t.until) { // its requester has ceased to wait for it
			p.endpoint.count.timeouts.Add(1)
			p.exchangeDoneLocked()
			continue
		}
		mid, ok := p.messageIDLocked(now)
		if !ok {
			p.exchangeDoneLocked()
			continue
		}
		t.mid, t.unsent = mid, true
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
	e := p.endpoint
	p.mu.Lock()
	if p.closed || p.state == nil || p.state.sent[t.mid] != t {
		p.mu.Unlock()
		return
	}
	if t.unsent {
		t.unsent = false
		e.sched.set(&t.timer, t, now.Add(t.timeout))
		p.mu.Unlock()
		_ = p.send(t.data) // counted; it is sent again
		return
	}
	if t.attempts >= p.profile.MaxRetransmit {
		e.count.timeouts.Add(1)
		p.endTransmissionLocked(t)
		if t.call != nil {
			p.completeLocked(t.call, result{err: ErrTimeout})
		}
		p.mu.Unlock()
		return
	}
	t.attempts++
	t.timeout *= 2
	e.sched.set(&t.timer, t, now.Add(t.timeout))
	p.mu.Unlock()
	e.count.retransmissions.Add(1)
	_ = p.send(t.data) // counted; there may be another attempt
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
		p.nextResponseLocked(time.Now())
	}
}

// receiveACK takes an empty acknowledgement: the response to the request, if it was one, comes separately.
func (p *Peer) receiveACK(mid uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.transmissionLocked(mid)
	if t == nil {
		p.endpoint.count.refuse(ReasonUnmatchedACK)
		return
	}
	p.endTransmissionLocked(t)
	if c := t.call; c != nil {
		p.passTurnLocked(c) // RFC 7252, Section 4.7: no outstanding interaction any more
		p.endpoint.sched.set(&c.timer, c, time.Now().Add(p.profile.transmitWait))
	}
}

// receiveReset takes a reset: to a separate response it ends it (RFC 7252, Section 5.2.2), to a request it is its answer.
func (p *Peer) receiveReset(mid uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.transmissionLocked(mid); t != nil {
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
