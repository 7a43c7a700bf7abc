package coap

import "time"

// sequenceLocked returns the next sequence number of o (RFC 7641, Section 4.4); negative without o. It is 24 bits, and one
// more for each notification: NSTART keeps them far from the 2^23 in 128 s, from which on the order would be lost.
func (o *Observation) sequenceLocked() int64 {
	if o == nil {
		return -1
	}
	o.sequence = (o.sequence + 1) & maxSequence
	return int64(o.sequence)
}

// holdLocked makes m what is sent next; false when there is no room for it.
func (o *Observation) holdLocked(m *Message) bool {
	o.dropPendingLocked()
	e := o.peer.endpoint
	n := m.size()
	if !reserve(&e.count.keptBytes, n, e.config.Limits.MaxKeptBytesTotal) {
		return false
	}
	o.pending = m
	o.peer.state.pendingBytes += n
	return true
}

func (o *Observation) dropPendingLocked() {
	if o.pending == nil {
		return
	}
	if o.pending.Code.Class() == 2 { // else it was not counted
		n := o.pending.size()
		o.peer.state.pendingBytes -= n
		o.peer.endpoint.count.keptBytes.Add(int64(-n))
	}
	o.pending = nil
}

// beginLocked begins to send what is pending, unless a notification of o is in flight or waits: then it takes that one's
// place. It returns the datagram when it is o's turn.
func (o *Observation) beginLocked(now time.Time) []byte {
	p := o.peer
	if o.out != nil || o.pending == nil {
		return nil
	}
	st := p.stateLocked()
	t := &transmission{peer: p, observation: o}
	o.out = t
	if st.unacked >= p.profile.NStart {
		st.responses = append(st.responses, t)
		return nil
	}
	st.unacked++
	if !p.turnOfLocked(t, now) {
		return nil
	}
	return t.data
}

// turnOfLocked begins t, whose first copy the caller sends; false when there is no Message ID for it yet: alarm tries again.
func (p *Peer) turnOfLocked(t *transmission, now time.Time) bool {
	if !t.observation.fillLocked(t, now) {
		t.unfilled = true
		p.endpoint.sched.set(&t.timer, t, now.Add(maxSweepInterval))
		return false
	}
	t.unfilled = false
	p.transmitLocked(t, now)
	return true
}

// fillLocked makes what is pending t's datagram, with a Message ID of its own; false when none is free.
func (o *Observation) fillLocked(t *transmission, now time.Time) bool {
	p := o.peer
	mid, ok := p.messageIDLocked(now)
	if !ok {
		return false
	}
	m := o.pending
	o.dropPendingLocked()
	resp, err := o.shapeLocked(m, o.sequenceLocked(), o.maxSize, now)
	resp.Token, resp.MessageID, resp.Type = o.token[:o.tokenLen], mid, Confirmable
	if t.data == nil && !o.over && !o.confirmsLocked(now) { // a retransmission goes on Confirmable
		resp.Type = NonConfirmable
	}
	data, bad := resp.AppendBinary(nil)
	if err != nil || bad != nil { // the peer's datagrams have become too small for it
		resp.Code, resp.Options, resp.Payload, resp.Type = InternalServerError, nil, nil, Confirmable
		data, _ = resp.AppendBinary(nil) // what it is made of is valid
		if !o.over {
			o.unlistLocked(EndNoRoom, now)
		}
	}
	if resp.Type == NonConfirmable {
		o.unconfirmed++
	} else {
		o.unconfirmed, o.confirmed = 0, now
	}
	copy(o.recent[1:], o.recent[:])
	o.recent[0] = sentID{mid, p.endpoint.seconds(now)}
	t.mid, t.data, t.non, t.begun = mid, data, resp.Type == NonConfirmable, now
	p.endpoint.count.notifications.Add(1)
	return true
}

// confirmsLocked reports whether the next notification is to be Confirmable (RFC 7641, Section 4.5). It is also until one has
// measured the round trip, which Non-confirmable ones keep apart.
func (o *Observation) confirmsLocked(now time.Time) bool {
	return o.peer.state.rtt == 0 || o.unconfirmed+1 >= o.options.ConfirmEvery || now.Sub(o.confirmed) >= o.options.ConfirmAfter
}

// carriedLocked says that a separate response carries the first notification.
func (o *Observation) carriedLocked(t *transmission, now time.Time) {
	if o != nil {
		t.observation, t.begun, o.out = o, now, t
	}
}

// withdrawLocked takes t back, which is in flight or waits for its turn.
func (p *Peer) withdrawLocked(t *transmission) {
	t.observation = nil
	if t.response { // it ends an exchange, whoever observes
		return
	}
	if t.unfilled {
		p.endpoint.sched.stop(&t.timer)
		p.nextResponseLocked(time.Now())
		return
	}
	st := p.state
	for i, other := range st.responses {
		if other == t {
			st.responses = append(st.responses[:i], st.responses[i+1:]...)
			return
		}
	}
	p.endTransmissionLocked(t)
}

// overtakeLocked makes a newer state, if there is one, what t retransmits: under a new Message ID, as the same attempt (RFC 7641,
// Section 4.5.2).
func (t *transmission) overtakeLocked(now time.Time) {
	o := t.observation
	if o == nil || o.pending == nil {
		return
	}
	st, old := t.peer.state, t.mid
	if o.fillLocked(t, now) {
		delete(st.sent, old)
		st.sent[t.mid] = t
	}
}

// notifiedLocked goes on after t, a notification that is not outstanding any more: what came meanwhile waits for its turn.
func (p *Peer) notifiedLocked(t *transmission) {
	o := t.observation
	if o == nil {
		return
	}
	o.out = nil
	if o.pending != nil {
		o.out = &transmission{peer: p, observation: o}
		p.state.responses = append(p.state.responses, o.out)
	}
}

// failedLocked ends the observation that t, which the peer reset or never acknowledged, is a notification of.
func (t *transmission) failedLocked(reason EndReason, now time.Time) {
	o := t.observation
	if o == nil {
		return
	}
	t.observation, o.out = nil, nil
	o.endLocked(reason, now)
	o.dropPendingLocked() // of what was over already: its last notification
}

// recentLocked returns the observation of which a notification was sent with mid lately.
func (p *Peer) recentLocked(mid uint16, now time.Time) *Observation {
	if p.closed || p.state == nil {
		return nil
	}
	since := p.endpoint.seconds(now)
	for _, o := range p.state.observations {
		for _, id := range o.recent {
			if id.at != 0 && id.mid == mid && since <= id.at+lifetimeSeconds(p.profile.exchangeLifetime) {
				return o
			}
		}
	}
	return nil
}

// gapLocked is how long a Non-confirmable notification counts as outstanding: one round trip (RFC 7641, Section 4.5.1).
func (p *Peer) gapLocked() time.Duration { return max(p.state.rtt, minNotifyGap) }

// measureLocked takes the round trip of t, which was acknowledged, into the estimate, unless it was retransmitted: then nobody
// knows of which copy the acknowledgement is.
func (p *Peer) measureLocked(t *transmission, now time.Time) {
	if t.observation == nil || t.attempts > 0 || t.non {
		return
	}
	sample := max(now.Sub(t.begun), 1) // 0 is no measurement
	if p.state.rtt == 0 {
		p.state.rtt = sample
		return
	}
	p.state.rtt += (sample - p.state.rtt) / 8 // RFC 6298, Section 2
}
