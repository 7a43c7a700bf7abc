package coap

import (
	"fmt"
	"time"
)

// Exchange is one request of a peer and the answer it will get. A Handler must call Respond exactly once, at once or later.
type Exchange struct {
	asker
	request  Message
	ownBody  bool // request.Payload was put together from blocks and is the Exchange's own
	detached bool

	received time.Time
	maxSize  int // Conn.MaxPlaintext when the request came; Respond asks again
	code     Code
	con      bool
	mid      uint16
	observe  observe
	echoed   bool          // it came with an Echo value of ours,
	echoAt   time.Duration // which was given to the peer then, counted from New

	// Guarded by peer.mu:
	record    *record
	timer     timer // empty acknowledgement
	armed     bool
	responded bool
	reserved  int // bytes of the body that count for Limits.MaxBodyBytesTotal
}

// asker is what the shape of an answer depends on: who asked, and for what.
type asker struct {
	peer       *Peer
	key        uint64 // of its transfer
	token      [maxTokenLen]byte
	tokenLen   uint8
	noResponse uint8
	block1     block
	hasBlock1  bool
	block2     block
	hasBlock2  bool
	asksSize   bool // it has Size2
}

// Peer returns who asked.
func (x *Exchange) Peer() *Peer { return x.peer }

// Request returns the request: its blocks joined and without Block1, otherwise as the peer sent it but for the options that
// are to be ignored. It is valid until ServeCoAP returns, and for ever when Detach was called before that.
func (x *Exchange) Request() *Message { return &x.request }

// Detach copies the request out of the datagram, so that it stays valid after ServeCoAP returned. It must be called by
// ServeCoAP; a second call does nothing.
func (x *Exchange) Detach() {
	if !x.detached {
		x.detached = true
		x.request = x.request.clone(x.ownBody)
	}
}

// serve hands x to the Handler.
func (x *Exchange) serve() {
	p := x.peer
	e := p.endpoint
	e.count.requests.Add(1)
	if x.hasBlock1 {
		x.request.Options = x.request.Options.Remove(Block1)
	}
	if e.config.Handler == nil {
		_ = x.Respond(&Message{Code: NotFound})
		return
	}
	e.config.Handler.ServeCoAP(x)
	if !x.detached {
		x.request = Message{} // it aliases memory that is not ours any more
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.con && !x.responded && !x.record.acked && !p.closed {
		x.armed = true
		e.sched.set(&x.timer, x, x.received.Add(p.profile.ackDelay))
	}
}

// alarm sends the empty acknowledgement: the response will be separate (RFC 7252, Section 5.2.2).
func (x *Exchange) alarm(time.Time) {
	p := x.peer
	p.mu.Lock()
	if x.responded || x.record.acked || p.closed {
		p.mu.Unlock()
		return
	}
	x.record.acked = true
	p.mu.Unlock()
	p.sendEmpty(Acknowledgement, x.mid)
}

// Respond answers the request with m's code, options and payload, which it doesn't keep: piggybacked on the acknowledgement
// when that was not sent yet, in a Confirmable message of its own otherwise, and in a Non-confirmable one when the request
// was (RFC 7252, Section 5.2). Of Confirmable ones, NSTART at a time are unacknowledged; the others wait behind them, and are
// given up after MAX_TRANSMIT_WAIT (93 s by default). A payload beyond one block is cut (RFC 7959); Block1 and Block2 in m.Options are replaced. A
// response that the peer declared not to want (RFC 7967) is counted, and not sent.
//
// Errors: ErrResponded; ErrClosed when the peer is gone; ErrCode when m.Code is no response code, which leaves the request
// unanswered. ErrBodyTooLarge when the options leave no room for a block, or the body is larger than
// Limits.MaxKeptBytes, and those of Message.AppendBinary: the peer got 5.00. ErrMessageIDs, and what Conn.Send returned:
// the peer got nothing. nil doesn't say that the response arrived.
func (x *Exchange) Respond(m *Message) error {
	_, err := x.respond(m, nil)
	return err
}

// respond is Respond, and RespondObserve when there are options.
func (x *Exchange) respond(m *Message, options *ObserveOptions) (*Observation, error) {
	if !m.Code.isResponse() {
		return nil, ErrCode
	}
	p := x.peer
	size := p.conn.MaxPlaintext()
	_, own := m.Options.Find(Echo)
	if challenge, ok := p.challenge(); ok && (!own || m.Code != Unauthorized) { // Challenge's own proves the address as well
		challenged := *m
		challenged.Options = append(make(Options, 0, len(m.Options)+4), m.Options...).Remove(Echo).Add(Echo, challenge[:])
		m = &challenged
	}
	p.mu.Lock()
	if x.responded {
		p.mu.Unlock()
		return nil, ErrResponded
	}
	x.responded = true
	p.endpoint.count.bodyBytes.Add(int64(-x.reserved))
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	if x.armed {
		p.endpoint.sched.stop(&x.timer)
	}
	now := time.Now()
	o := x.enterLocked(m, options, size, now)
	out, repeated, err := x.respondLocked(m, o, size, now)
	switch {
	case o == nil:
	case err != nil: // the peer was told something else
		o.endLocked(EndReplaced, now)
		o = nil
	default:
		o.settledLocked()
		repeated = true // when its request is repeated
	}
	p.settleLocked(now)
	p.mu.Unlock()
	if out == nil {
		return o, err
	}
	if sent := p.send(out); sent != nil && err == nil && !repeated {
		err = fmt.Errorf("coap: send response: %w", sent)
	}
	return o, err
}

// respondLocked builds the datagram that answers x and settles what a repetition of the request gets. repeated: it will be
// sent again until it is acknowledged. out is nil when there is nothing to send, or not yet. o, if there is one, is what the
// response is the first notification of.
func (x *Exchange) respondLocked(m *Message, o *Observation, size int, now time.Time) (out []byte, repeated bool, err error) {
	p := x.peer
	count := &p.endpoint.count
	resp, err := x.shapeLocked(m, o.sequenceLocked(), size, now)
	piggyback := x.con && !x.record.acked
	if suppressed(x.noResponse, resp.Code) {
		count.responses[resp.Code].Add(1)
		count.refuse(ReasonNoResponse)
		if piggyback { // RFC 7967, Section 2: the request is acknowledged all the same
			ack := emptyMessage(Acknowledgement, x.mid)
			out, x.record.acked = ack[:], true
		}
		p.keepLocked(x.record, nil, now)
		p.exchangeDoneLocked()
		return out, false, err
	}
	resp.Token = x.token[:x.tokenLen]
	resp.Type, resp.MessageID = Acknowledgement, x.mid
	queued := false
	if !piggyback {
		resp.Type = NonConfirmable // RFC 7252, Section 5.2.3
		if x.con {
			resp.Type = Confirmable // RFC 7252, Section 5.2.2
			queued = p.state.unacked >= p.profile.NStart
		}
		mid, ok := uint16(0), queued // its turn gives it a Message ID
		if !queued {
			mid, ok = p.messageIDLocked(now)
		}
		if !ok {
			p.keepLocked(x.record, nil, now)
			p.exchangeDoneLocked()
			return nil, false, ErrMessageIDs
		}
		resp.MessageID = mid
	}
	out, bad := resp.AppendBinary(nil)
	if bad != nil {
		resp.Code, resp.Options, resp.Payload = InternalServerError, nil, nil
		out, _ = resp.AppendBinary(nil) // what it is made of is valid
		err = bad
	}
	count.responses[resp.Code].Add(1)
	switch {
	case resp.Type == Confirmable:
		p.keepLocked(x.record, nil, now)
		t := &transmission{peer: p, mid: resp.MessageID, data: out, response: true, until: now.Add(p.profile.transmitWait)}
		o.carriedLocked(t, now)
		if queued {
			p.state.responses = append(p.state.responses, t)
			return nil, true, err
		}
		p.state.unacked++
		p.transmitLocked(t, now)
		return out, true, err
	case piggyback && x.repeatable() && o == nil: // RFC 7252, Section 4.5: an idempotent request needs no stored answer
		p.forgetLocked(x.record)
	case piggyback:
		p.keepLocked(x.record, out, now)
	default:
		p.keepLocked(x.record, nil, now)
	}
	p.exchangeDoneLocked()
	return out, false, err
}

// repeatable reports whether a repetition of the request, once it is answered, is executed again instead of answered from a
// stored answer. Only safe methods are: what PUT and DELETE mean to a Handler is not known here. A session that only reads costs
// no memory thus.
func (x *Exchange) repeatable() bool { return x.code == GET || x.code == FETCH }

// exchangeDoneLocked ends one request in progress.
func (p *Peer) exchangeDoneLocked() {
	p.state.exchanges--
	p.endpoint.exchangesDone(1)
}

// shapeLocked returns the response to m without type, Message ID and token: with Block1, with observe as Observe unless that
// is negative, and cut when it is too large. On an error it returns the 5.00 that takes its place.
func (x *asker) shapeLocked(m *Message, observe int64, maxSize int, now time.Time) (Message, error) {
	p := x.peer
	resp := Message{Code: m.Code, Options: m.Options, Payload: m.Payload}
	_, set1 := m.Options.Find(Block1)
	_, set2 := m.Options.Find(Block2)
	_, set3 := m.Options.Find(Observe)
	if set1 || set2 || set3 || x.hasBlock1 || x.hasBlock2 || observe >= 0 {
		resp.Options = append(make(Options, 0, len(m.Options)+5), m.Options...).Remove(Block1).Remove(Block2).Remove(Observe)
	}
	if observe >= 0 && m.Code.Class() == 2 { // RFC 7641, Section 3.2: an error is none
		resp.Options = resp.Options.AddUint(Observe, uint32(observe))
	}
	if x.hasBlock1 { // RFC 7959, Section 2.3: the final response carries the last block's option
		resp.Options = resp.Options.AddUint(Block1, x.block1.value())
	}
	resp.Token = x.token[:x.tokenLen]
	if x.asksSize && m.Code.Class() == 2 { // RFC 7959, Section 4
		resp.Options = append(make(Options, 0, len(resp.Options)+3), resp.Options...).Remove(Size2).AddUint(Size2, uint32(len(m.Payload)))
	}
	whole := resp.size() <= maxSize && len(resp.Payload) <= 16<<p.profile.szx
	if whole && !x.hasBlock2 {
		return resp, nil
	}
	szx, ok := p.responseSZX(&resp, maxSize)
	if x.hasBlock2 { // RFC 7959, Section 2.4: the size asked for, or a smaller one
		szx = min(szx, x.block2.szx)
	}
	switch later := x.hasBlock2 && x.block2.num > 0; {
	case whole && (m.Code.Class() != 2 || !later && len(resp.Payload) <= 16<<szx):
		if m.Code.Class() == 2 {
			resp.Options = resp.Options.AddUint(Block2, block{szx: szx}.value())
		}
		return resp, nil
	case !ok, len(resp.Payload) > p.endpoint.config.Limits.MaxKeptBytes, len(resp.Payload)>>(szx+4) > maxBlockNum:
		p.endpoint.count.refuse(ReasonTooLarge)
		return Message{Code: InternalServerError}, ErrBodyTooLarge
	}
	return x.cutLocked(&resp, szx, now), nil
}
