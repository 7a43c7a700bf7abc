package coap

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"time"
)

// ErrObserved is returned by Observe when there are Limits.MaxObserved observations of the peer.
var ErrObserved = errors.New("coap: too many observations of the peer")

// Observed is an observation of ours of a peer's resource. It is data: a goroutine lives only while blocks of a notification are
// fetched, or the observation is registered again, and Shutdown waits for it.
type Observed struct {
	peer    *Peer
	token   uint64
	request Message // without Observe
	notify  func(*Message)

	// Guarded by peer.mu:
	timer     timer // of renewAt, or of what waits
	renewAt   time.Time
	taken     bool // the peer has entered us
	over      bool // no further message is matched with it
	cancelled bool // notify is not called any more
	busy      bool // somebody hands notifications on
	sequence  uint32
	at        time.Time // when the newest notification came
	seen      uint64    // keyed hash of the last datagram, which may come again later than newerLocked knows
	waiting   []*Message
	awaited   bool   // a notification answered a registration of which the acknowledgement may still come,
	mid       uint16 // with this Message ID
	older     int    // of waiting: so many came before the answer to a registration
	last      uint64 // hash of what was handed on last
}

// Observe registers at p for the resource that m, a GET or FETCH, names, and returns the first answer. notify is called for
// each fresh notification (RFC 7641, Section 3.4), whole, in order, from any goroutine and under no lock; it must not block, and may
// be called when Observe is about to return. A nil *Observed with an answer: the peer doesn't take observers for it, or refuses.
//
// When a notification's Max-Age has run out, it registers again (Section 3.3.1). notify's last call is with a message whose Code is not
// of class 2: the error with which the peer ended the observation, or Empty and nothing else when the peer does not answer any
// more, or answers as one that has no observer. After Cancel, ClosePeer and Shutdown there are no more calls, but one that runs.
//
// The errors are those of Do, and ErrObserved. m's payload has to fit in one message, else it is ErrBodyTooLarge.
func (e *Endpoint) Observe(ctx context.Context, p *Peer, m *Message, notify func(*Message)) (*Message, *Observed, error) {
	if m.Code != GET && m.Code != FETCH {
		return nil, nil, ErrCode
	}
	t, err := e.newTransfer(ctx, p, m)
	if err != nil {
		return nil, nil, err
	}
	o := &Observed{peer: p, request: m.clone(false), notify: notify, busy: true}
	o.request.Options = ownOptions(o.request.Options).Remove(Observe)
	t.base.Options = t.base.Options.Remove(Observe)
	if err := p.listObserved(o); err != nil {
		return nil, nil, err
	}
	defer t.end()
	t.observed = o
	resp, err := t.finish(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	o.busy = false
	_, observes := resp.observes()
	if resp != nil {
		resp.Options = resp.Options.Remove(Observe)
	}
	if err != nil || !observes {
		o.forgetLocked()
		return resp, nil, err
	}
	o.last = resp.content(e.tagSeed)
	if len(o.waiting) > 0 { // after the caller has the first one
		e.sched.set(&o.timer, o, time.Now())
	}
	return resp, o, nil
}

// observes returns the sequence number of m if it is a notification after which there are others (RFC 7641, Section 3.2).
func (m *Message) observes() (uint32, bool) {
	if m == nil || m.Code.Class() != 2 {
		return 0, false
	}
	return m.Options.Uint(Observe)
}

// content is a hash of what m says.
func (m *Message) content(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteByte(byte(m.Code))
	for _, o := range m.Options {
		if o.ID == ContentFormat || o.ID == ETag {
			h.WriteByte(byte(o.ID))
			h.Write(o.Value)
		}
	}
	h.WriteByte(payloadMarker)
	h.Write(m.Payload)
	return h.Sum64()
}

// Cancel ends the observation: it is forgotten, and the next notification answered with a Reset (RFC 7641, Section 3.6).
func (o *Observed) Cancel() {
	o.peer.mu.Lock()
	defer o.peer.mu.Unlock()
	o.forgetLocked()
}

// listObserved enters o, with a token of its own.
func (p *Peer) listObserved(o *Observed) error {
	o.token = p.newToken()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	st := p.stateLocked()
	if len(st.observed) >= p.endpoint.config.Limits.MaxObserved {
		return ErrObserved
	}
	if st.observed == nil {
		st.observed = make(map[uint64]*Observed)
	}
	st.observed[o.token] = o
	p.endpoint.count.observed.Add(1)
	return nil
}

// forgetLocked ends o without a word.
func (o *Observed) forgetLocked() {
	o.cancelled, o.waiting = true, nil
	o.unlistLocked()
}

func (o *Observed) unlistLocked() {
	o.over = true
	p := o.peer
	if p.state == nil || p.state.observed[o.token] != o {
		return
	}
	delete(p.state.observed, o.token)
	if len(p.state.observed) == 0 {
		p.state.observed = nil
	}
	p.endpoint.count.observed.Add(-1)
	p.endpoint.sched.stop(&o.timer)
}

// observedLocked returns the observation that has the token.
func (p *Peer) observedLocked(token []byte) *Observed {
	if p.state == nil || len(token) != maxTokenLen {
		return nil
	}
	return p.state.observed[binary.BigEndian.Uint64(token)]
}

// newerLocked reports whether m is newer than all that came before it, which it is then compared with (RFC 7641, Section 3.4).
func (o *Observed) newerLocked(m *Message, now time.Time) bool {
	v2, ok := m.observes()
	if !ok { // the last one
		return true
	}
	v1 := o.sequence
	newer := !o.taken || v1 < v2 && v2-v1 < 1<<23 || v1 > v2 && v1-v2 > 1<<23 || now.Sub(o.at) > freshnessWindow
	if newer {
		o.sequence, o.at = v2, now
	}
	return newer
}

// ageLocked sets when o is registered again: some time after m has become stale (RFC 7641, Section 3.3.1).
func (o *Observed) ageLocked(m *Message, now time.Time) {
	age := maxAgeDefault
	if v, ok := m.Options.Uint(MaxAge); ok {
		age = min(time.Duration(v)*time.Second, maxObservedAge)
	}
	age += minReregister + time.Duration(rand.Int64N(int64(maxReregister-minReregister)))
	o.renewAt = now.Add(age)
	o.peer.endpoint.sched.set(&o.timer, o, o.renewAt)
}

// answeredLocked takes note of the answer to a registration. False: it is an older notification that was under way, and
// answers nothing. What comes in the acknowledgement of this very request is the newest there is, even when a server that began
// anew counts from where it likes.
func (o *Observed) answeredLocked(m *Message, hash uint64, now time.Time) bool {
	number, observes := m.observes()
	switch {
	case m.Type == Acknowledgement:
		o.sequence, o.at = number, now
	case observes && o.taken && number == o.sequence && hash != o.seen: // of servers that count changes, as libcoap's
		o.at = now
	case !o.newerLocked(m, now):
		return false
	}
	o.taken = o.taken || observes
	o.older = len(o.waiting)
	if observes {
		o.ageLocked(m, now)
	}
	return true
}

// receiveNotification takes a message with o's token that answers no call. The peer's lock is held, and is released. A
// notification needs no record: a repetition is one that is not newer, and acknowledged again (RFC 7252, Section 4.2).
func (e *Endpoint) receiveNotification(p *Peer, o *Observed, m *Message, hash uint64, understood bool, now time.Time) {
	if m.Type == Acknowledgement && !(o.awaited && o.mid == m.MessageID) { // S31: there is no request that it could acknowledge
		p.mu.Unlock()
		e.count.refuse(ReasonUnsolicited)
		return
	}
	if m.Type == Acknowledgement {
		o.awaited = false
	}
	if !understood { // RFC 7252, Section 5.4.1: rejected, which ends it at the peer
		e.count.refuse(ReasonBadOption)
		run := o.noteLocked(&Message{Code: Empty}, now)
		p.mu.Unlock()
		if m.Type != Acknowledgement {
			p.sendEmpty(Reset, m.MessageID)
		}
		if run {
			o.run()
		}
		return
	}
	run := false
	if hash == o.seen {
		e.count.duplicates.Add(1)
	} else {
		run = o.noteLocked(m, now)
		o.seen = hash
	}
	if o.over {
		p.recordResponseLocked(m, hash, now)
	}
	p.mu.Unlock()
	if m.Type == Confirmable {
		p.sendEmpty(Acknowledgement, m.MessageID)
	}
	if run {
		o.run()
	}
}

// noteLocked takes a notification, and reports whether the caller has to hand it on.
func (o *Observed) noteLocked(m *Message, now time.Time) bool {
	if !o.newerLocked(m, now) {
		o.peer.endpoint.count.refuse(ReasonStale)
		return false
	}
	own := m.clone(false)
	if len(o.waiting) >= maxWaitingNotes {
		o.peer.endpoint.count.refuse(ReasonNotificationsFull)
		o.waiting = append(o.waiting[:0], o.waiting[1:]...)
		o.older = max(0, o.older-1)
	}
	o.waiting = append(o.waiting, &own)
	if _, more := own.observes(); more {
		o.ageLocked(m, now)
	} else {
		o.unlistLocked()
	}
	run := !o.busy
	o.busy = true
	return run
}

// alarm hands on what waits, or registers again.
func (o *Observed) alarm(now time.Time) {
	p := o.peer
	p.mu.Lock()
	switch {
	case o.over && len(o.waiting) == 0:
		p.mu.Unlock()
	case o.busy:
		p.endpoint.sched.set(&o.timer, o, now.Add(reregistrationsRetry))
		p.mu.Unlock()
	case len(o.waiting) > 0:
		o.busy = true
		if !o.over {
			p.endpoint.sched.set(&o.timer, o, o.renewAt)
		}
		p.mu.Unlock()
		o.run()
	case now.Before(o.renewAt):
		p.endpoint.sched.set(&o.timer, o, o.renewAt)
		p.mu.Unlock()
	default:
		o.busy = true
		p.mu.Unlock()
		if !p.background(func() { o.renew(); o.hand(true) }) {
			o.later()
		}
	}
}

// later gives up being busy for a while.
func (o *Observed) later() {
	o.peer.mu.Lock()
	defer o.peer.mu.Unlock()
	o.busy = false
	if !o.cancelled {
		o.peer.endpoint.sched.set(&o.timer, o, time.Now().Add(reregistrationsRetry))
	}
}

// run hands on what waits, as far as that is possible at once. The caller made o busy.
func (o *Observed) run() {
	if o.hand(false) {
		return
	}
	if !o.peer.background(func() { o.hand(true) }) {
		o.later()
	}
}

// hand hands on what waits. False: it needs blocks of a body, for which it may not wait.
func (o *Observed) hand(wait bool) bool {
	p := o.peer
	for {
		p.mu.Lock()
		if o.cancelled || len(o.waiting) == 0 || p.endpoint.isStopped() {
			o.busy, o.waiting = false, nil
			p.mu.Unlock()
			return true
		}
		m := o.waiting[0]
		b, cut := m.Options.block(Block2)
		if cut && b.more && !wait {
			p.mu.Unlock()
			return false
		}
		o.waiting = o.waiting[1:]
		overtaken := cut && b.more && len(o.waiting) > 0 && o.waiting[0].Code.Class() == 2
		p.mu.Unlock()
		if overtaken { // RFC 7959, Section 2.6: its later blocks are of the newer body
			p.endpoint.count.refuse(ReasonNotificationsFull)
			continue
		}
		o.deliver(m)
	}
}

// handOlder hands on what came before the answer to a registration, which is handed on next.
func (o *Observed) handOlder() {
	o.peer.mu.Lock()
	older := slices.Clone(o.waiting[:min(o.older, len(o.waiting))])
	o.waiting, o.older = o.waiting[len(older):], 0
	o.peer.mu.Unlock()
	for _, m := range older {
		if b, cut := m.Options.block(Block2); cut && b.more { // RFC 7959, Section 2.6: its later blocks are of the newer body
			o.peer.endpoint.count.refuse(ReasonNotificationsFull)
			continue
		}
		o.deliver(m)
	}
}

// deliver completes m and calls notify.
func (o *Observed) deliver(m *Message) {
	_, more := m.observes()
	whole, err := o.transfer().complete(m)
	switch {
	case err == nil:
		o.call(whole)
	case errors.Is(err, ErrClosed), errors.Is(err, ErrShutdown):
		return
	case more && errors.Is(err, ErrBodyChanged): // a newer one is under way
		o.peer.endpoint.count.refuse(ReasonNotificationsFull)
	case more: // whether there is a body to be had is asked again before the Max-Age is out
		o.peer.endpoint.count.refuse(ReasonBlockGone)
		o.renewSoon()
	}
	if !more && m.Code.Class() == 2 {
		o.call(&Message{Code: Empty})
	}
}

// call calls notify.
func (o *Observed) call(m *Message) {
	m.Options = m.Options.Remove(Observe)
	last := m.content(o.peer.endpoint.tagSeed)
	o.peer.mu.Lock()
	cancelled := o.cancelled
	o.last = last
	o.peer.mu.Unlock()
	if !cancelled {
		o.notify(m)
	}
}

// renewSoon has o registered again now and not when Max-Age is out.
func (o *Observed) renewSoon() {
	o.peer.mu.Lock()
	defer o.peer.mu.Unlock()
	if !o.over {
		o.renewAt = time.Now()
		o.peer.endpoint.sched.set(&o.timer, o, o.renewAt.Add(reregistrationsRetry))
	}
}

// transfer is a request for the resource, without Observe.
func (o *Observed) transfer() *transfer {
	return &transfer{peer: o.peer, base: Message{Type: o.request.Type, Code: o.request.Code, Options: ownOptions(o.request.Options)},
		payload: o.request.Payload, szx: o.peer.profile.szx}
}

// renew registers again, with the same token (RFC 7641, Section 3.3.1). The caller made o busy.
func (o *Observed) renew() {
	t := o.transfer()
	defer t.end()
	t.observed = o
	resp, err := t.finish(context.Background()) // Shutdown, ClosePeer and MAX_TRANSMIT_WAIT end it
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, ErrShutdown):
		return
	case errors.Is(err, ErrQueueFull), errors.Is(err, ErrMessageIDs): // nothing was asked
		o.renewSoon()
		return
	}
	_, observes := resp.observes()
	p := o.peer
	p.mu.Lock()
	if o.over { // the peer's last notification came meanwhile and is handed on
		p.mu.Unlock()
		return
	}
	if !observes {
		o.unlistLocked()
		o.older = len(o.waiting)
	}
	p.mu.Unlock()
	o.handOlder()
	p.mu.Lock()
	same := err == nil && o.last == resp.content(p.endpoint.tagSeed)
	p.mu.Unlock()
	switch {
	case err != nil:
	case resp.Code.Class() != 2:
		o.call(resp)
		return
	case !same:
		o.call(resp)
	}
	if !observes {
		o.call(&Message{Code: Empty})
	}
}

// background runs f, which asks p something, on a goroutine that Shutdown waits for; false when p has one already, so that who
// doesn't answer keeps no other waiting, or there are too many, or Shutdown has ended.
func (p *Peer) background(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working {
		return false
	}
	p.working = p.endpoint.background(func() {
		f()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.working = false
	})
	return p.working
}

func (e *Endpoint) background(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over || e.running >= maxBackground {
		return false
	}
	e.running++
	e.work.Go(func() {
		f()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.running--
	})
	return true
}
