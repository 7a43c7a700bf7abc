package coap

import (
	"bytes"
	"errors"
	"time"
)

// ErrNotObserved is returned by Notify and End when the observation is over.
var ErrNotObserved = errors.New("coap: observation is over")

// EndReason says why an observation of a peer's ended.
type EndReason uint8

// The reasons.
const (
	EndCancelled EndReason = iota // a GET with Observe 1, or our own End (RFC 7641, Section 3.6)
	EndReset                      // a Reset to a notification (RFC 7641, Section 3.6)
	EndTimeout                    // a Confirmable notification was never acknowledged (RFC 7641, Section 4.5)
	EndReplaced                   // the same token observes something else now, or is not observed any more
	EndClosed                     // the peer is gone
	EndNoRoom                     // no room for its notifications: Limits.MaxKeptBytesTotal; the peer gets 5.03
	endReasons
)

// String returns the reason's label.
func (r EndReason) String() string {
	names := [endReasons]string{"cancelled", "reset", "timeout", "replaced", "closed", "no_room"}
	if r >= endReasons {
		return "unknown"
	}
	return names[r]
}

// EndReasons returns all reasons.
func EndReasons() []EndReason {
	all := make([]EndReason, endReasons)
	for i := range all {
		all[i] = EndReason(i)
	}
	return all
}

// ObserveOptions say how the notifications of one observation are sent. The zero value of a field is its default.
type ObserveOptions struct {
	// ConfirmEvery makes one of so many notifications Confirmable (1, the default: all). All are until the peer's round trip is
	// known; Non-confirmable ones are not sent faster than one a round trip (RFC 7641, Section 4.5.1).
	ConfirmEvery int
	// ConfirmAfter is after which time since the last Confirmable notification the next one is one, at most 24 h (RFC 7641,
	// Section 4.5), which is the default.
	ConfirmAfter time.Duration
	// Ended is called once, when the observation is over, from any goroutine and under no lock, but only while Serve runs. It
	// must not block. It is also called after End.
	Ended func(*Observation, EndReason)
}

func (o ObserveOptions) withDefaults() ObserveOptions {
	set(&o.ConfirmEvery, 1)
	set(&o.ConfirmAfter, maxConfirmAfter)
	o.ConfirmAfter = min(o.ConfirmAfter, maxConfirmAfter)
	return o
}

// observe is what a request's Observe option asks for.
type observe uint8

const (
	noObserve  observe = iota
	register           // value 0 (RFC 7641, Section 2)
	deregister         // value 1
)

// observe returns what m asks for. Other values than 0 and 1 are none (RFC 7641, Section 2: it is elective); so is Observe with
// another method, or in a request for a later block (RFC 7959, Section 2.6).
func (m *Message) observe() observe {
	v, ok := m.Options.Uint(Observe)
	if !ok || m.Code != GET && m.Code != FETCH { // RFC 8132, Section 2.4
		return noObserve
	}
	if b, later := m.Options.block(Block2); later && b.num > 0 {
		return noObserve
	}
	switch v {
	case 0:
		return register
	case 1:
		return deregister
	}
	return noObserve
}

// Observation is one entry in the list of observers (RFC 7641, Section 4.1): of one token of one peer. Its methods may be
// called from any goroutine.
type Observation struct {
	asker // of the registration

	// Guarded by peer.mu:
	options     ObserveOptions
	done        timer // calls options.Ended
	entered     bool  // its first notification was settled
	over        bool
	reason      EndReason     // when it is over
	sequence    uint32        // of the last notification, 24 bits
	pending     *Message      // the newest state, not sent yet; nil: it was
	maxSize     int           // Conn.MaxPlaintext when pending came
	out         *transmission // in flight, or waiting for its turn
	unconfirmed int           // notifications since the last Confirmable one
	confirmed   time.Time     // when that one was sent
	recent      [recentNotifications]sentID
}

// sentID is a Message ID of a notification.
type sentID struct {
	mid uint16
	at  uint32 // Endpoint.seconds; 0: none
}

// Observes reports whether x asks to be told of changes: a GET or FETCH with Observe 0 (RFC 7641, Section 3.1).
func (x *Exchange) Observes() bool { return x.observe == register }

// RespondObserve is Respond with a first notification: it enters the requester into the list of observers. It returns the entry
// that there was when the same token observes the same resource again (RFC 7641, Section 4.1); that one has the new options.
//
// nil and no error: the request was answered and nobody entered, because it doesn't ask for it, m is no success, the requester
// wants no such responses (RFC 7967), or Limits.MaxObservations or MaxObservationsTotal is reached. The observation may be over
// before RespondObserve has returned.
func (x *Exchange) RespondObserve(m *Message, o ObserveOptions) (*Observation, error) {
	o = o.withDefaults()
	return x.respond(m, &o)
}

// enterLocked finds or makes the entry that x's response is the first notification of. Without options, or when m is no
// success, an entry of x's token ends: its peer can't take itself for an observer any more.
func (x *Exchange) enterLocked(m *Message, options *ObserveOptions, size int, now time.Time) *Observation {
	if x.observe != register {
		return nil
	}
	p := x.peer
	old := p.observationLocked(x.token[:x.tokenLen])
	wanted := options != nil && m.Code.Class() == 2 && !suppressed(x.noResponse, m.Code)
	if old != nil && (!wanted || old.key != x.key) {
		old.endLocked(EndReplaced, now)
		old = nil
	}
	if !wanted {
		return nil
	}
	o := old
	if o == nil {
		if o = p.newObservationLocked(x, now); o == nil {
			return nil
		}
	}
	o.asker, o.options, o.maxSize = x.asker, *options, size
	o.block1, o.hasBlock1 = block{}, false
	o.block2.num = 0
	o.dropPendingLocked() // the response is newer, and than what is in flight
	if t := o.out; t != nil {
		o.out = nil
		p.withdrawLocked(t)
	}
	o.confirmed, o.unconfirmed = now, 0
	return o
}

// newObservationLocked adds an entry to the list; nil when there are too many.
func (p *Peer) newObservationLocked(x *Exchange, now time.Time) *Observation {
	e, st := p.endpoint, p.state
	if len(st.observations) >= e.config.Limits.MaxObservations ||
		!reserve(&e.count.observations, 1, e.config.Limits.MaxObservationsTotal) {
		e.count.refuse(ReasonObservationsFull)
		return nil
	}
	o := &Observation{asker: x.asker}
	// RFC 7641, Section 4.4: it may begin anywhere. Beginning with the time keeps the order for a client that registers with a
	// token that it had used before.
	o.sequence = uint32(now.Sub(e.start)/sequenceUnit) & maxSequence
	st.observations = append(st.observations, o)
	return o
}

// observationLocked returns the entry of a token.
func (p *Peer) observationLocked(token []byte) *Observation {
	for _, o := range p.state.observations {
		if bytes.Equal(o.token[:o.tokenLen], token) {
			return o
		}
	}
	return nil
}

// cancelObservationLocked removes the entry of a token (RFC 7641, Section 3.6).
func (p *Peer) cancelObservationLocked(token []byte, now time.Time) {
	if o := p.observationLocked(token); o != nil {
		o.endLocked(EndCancelled, now)
	}
}

// settledLocked says that the registration was answered: from now on o's end is reported.
func (o *Observation) settledLocked() {
	if !o.entered {
		o.entered = true
		o.peer.endpoint.count.observationsStarted.Add(1)
	}
}

// Peer is who observes.
func (o *Observation) Peer() *Peer { return o.peer }

// Notify sends the new state of what is observed; m is copied. What it overtakes is not sent any more, and what is being
// retransmitted goes on as the new state (RFC 7641, Section 4.5.2). m with an error code is End(m). One notification of an
// observation is outstanding at most, and NSTART of a peer, its separate responses included (RFC 7641, Section 4.5.1); the
// others wait for their turn.
//
// A payload beyond one block is kept, and the notification has its first block (RFC 7959, Section 2.6). Errors:
// ErrNotObserved when the observation is over; ErrCode; ErrBodyTooLarge beyond Limits.MaxKeptBytes; those of
// Message.AppendBinary. nil doesn't say that the notification arrived.
func (o *Observation) Notify(m *Message) error {
	if m.Code.Class() != 2 {
		return o.End(m)
	}
	own, err := o.ownNotification(m)
	if err != nil {
		return err
	}
	p := o.peer
	size := p.conn.MaxPlaintext()
	now := time.Now()
	p.mu.Lock()
	if o.over {
		p.mu.Unlock()
		return ErrNotObserved
	}
	o.maxSize = size
	if !o.holdLocked(own) {
		p.endpoint.count.refuse(ReasonNotKept)
		o.finishLocked(EndNoRoom, p.endpoint.unavailable(), now)
	}
	out := o.beginLocked(now)
	p.mu.Unlock()
	if out != nil {
		_ = p.send(out) // counted; it is sent again, or overtaken
	}
	return nil
}

// End sends a last notification, an error, and removes the observer (RFC 7641, Section 4.2). nil sends nothing. The errors are
// Notify's.
func (o *Observation) End(m *Message) error {
	var own *Message
	if m != nil {
		if !m.Code.isResponse() || m.Code.Class() == 2 {
			return ErrCode
		}
		var err error
		if own, err = o.ownNotification(m); err != nil {
			return err
		}
	}
	p := o.peer
	size := p.conn.MaxPlaintext()
	now := time.Now()
	p.mu.Lock()
	if o.over {
		p.mu.Unlock()
		return ErrNotObserved
	}
	var out []byte
	if own == nil {
		o.endLocked(EndCancelled, now)
	} else {
		o.maxSize = size
		o.finishLocked(EndCancelled, own, now)
		out = o.beginLocked(now)
	}
	p.settleLocked(now)
	p.mu.Unlock()
	if out != nil {
		_ = p.send(out) // counted; it is sent again
	}
	return nil
}

// ownNotification returns a copy of m that can be sent.
func (o *Observation) ownNotification(m *Message) (*Message, error) {
	if len(m.Payload) > o.peer.endpoint.config.Limits.MaxKeptBytes {
		return nil, ErrBodyTooLarge
	}
	own := m.clone(false)
	own.Type, own.MessageID, own.Token = Confirmable, 0, nil
	if err := own.check(); err != nil {
		return nil, err
	}
	return &own, nil
}

// endLocked removes o from the list, and what of it is not sent yet.
func (o *Observation) endLocked(reason EndReason, now time.Time) {
	if o.over {
		return
	}
	o.unlistLocked(reason, now)
	o.dropPendingLocked()
	if t := o.out; t != nil {
		o.out = nil
		o.peer.withdrawLocked(t)
	}
}

// finishLocked removes o from the list, with m as its last notification.
func (o *Observation) finishLocked(reason EndReason, m *Message, now time.Time) {
	if suppressed(o.noResponse, m.Code) {
		o.endLocked(reason, now)
		return
	}
	o.unlistLocked(reason, now)
	o.dropPendingLocked()
	o.pending = m // an error's few bytes are not counted
}

// unlistLocked takes o out of the list and has its end reported.
func (o *Observation) unlistLocked(reason EndReason, now time.Time) {
	p := o.peer
	o.over, o.reason = true, reason
	st := p.state
	for i, other := range st.observations {
		if other == o {
			st.observations = append(st.observations[:i], st.observations[i+1:]...)
			break
		}
	}
	if len(st.observations) == 0 {
		st.observations = nil
	}
	o.goneLocked(reason, now)
}

// goneLocked counts o's end, and has it reported by the goroutine of Serve: whoever ends it holds the lock, and the Handler's
// may be held as well.
func (o *Observation) goneLocked(reason EndReason, now time.Time) {
	e := o.peer.endpoint
	e.count.observations.Add(-1)
	if !o.entered {
		return
	}
	e.count.observationsEnded[reason].Add(1)
	if o.options.Ended != nil {
		e.sched.set(&o.done, o, now)
	}
}

// alarm reports the end.
func (o *Observation) alarm(time.Time) {
	o.peer.mu.Lock()
	ended, reason := o.options.Ended, o.reason
	o.peer.mu.Unlock()
	ended(o, reason)
}
