package coap

import (
	"hash/maphash"
	"time"
)

// receiveRequest takes a request with its options unchecked. raw is the datagram.
func (e *Endpoint) receiveRequest(p *Peer, m *Message, raw []byte) {
	if no := e.checkRequest(p, m); no != nil {
		// Such an answer is the same whenever it is computed: it needs no record.
		e.count.refuse(no.reason)
		if !no.drop || m.Type == Confirmable {
			p.answer(m, no)
		}
		return
	}
	echoAt, echoed := p.takeEcho(m)
	hash := maphash.Bytes(e.seed, raw)
	size := p.conn.MaxPlaintext()
	now := time.Now()
	p.mu.Lock()
	reply, x := p.admitLocked(m, hash, size, now)
	if x == nil {
		p.settleLocked(now)
	}
	p.mu.Unlock()
	if reply != nil {
		_ = p.send(reply) // the peer repeats what isn't answered
	}
	if x != nil {
		x.echoAt, x.echoed = echoAt, echoed
		x.serve()
	}
}

// admitLocked decides what to do with a request: it returns a datagram to send, or an exchange for the Handler, or neither.
// size is the Conn's MaxPlaintext.
func (p *Peer) admitLocked(m *Message, hash uint64, size int, now time.Time) (reply []byte, x *Exchange) {
	e := p.endpoint
	if p.closed {
		e.count.refuse(ReasonClosed)
		return nil, nil
	}
	p.heardLocked()
	st := p.requestStateLocked()
	if r := st.records[m.MessageID]; r != nil && r.hash == hash {
		e.count.duplicates.Add(1)
		return r.repeat(), nil
	}
	b1, has1 := m.Options.block(Block1)
	b2, has2 := m.Options.block(Block2)
	key := e.transferKey(m)
	if m.Code == FETCH && !has1 && len(m.Payload) > 0 { // RFC 8132, Section 2: the body is part of the cache key
		key ^= maphash.Bytes(e.seed, m.Payload)
	}
	if no := p.precheckLocked(m, b1, has1, b2, has2); no != nil {
		return p.refuseLocked(m, no, now), nil
	}
	if has2 && b2.num > 0 && !has1 {
		if k := p.keptLocked(key, now); k != nil {
			return p.followUpLocked(m, k, b2, size, now), nil
		}
		if m.Code != GET { // what may change something is not executed again
			return p.refuseLocked(m, &refusal{code: RequestEntityIncomplete, reason: ReasonBlockGone,
				text: "body is no longer kept"}, now), nil
		}
	}
	if st.exchanges >= e.config.Limits.MaxExchanges {
		return p.refuseLocked(m, e.busy(ReasonExchangesFull), now), nil
	}
	r := p.recordLocked(m, hash)
	if r == nil {
		return p.refuseLocked(m, e.busy(ReasonRecordsFull), now), nil
	}
	x = &Exchange{asker: asker{peer: p, key: key, block2: b2, hasBlock2: has2}, request: *m, record: r, received: now, maxSize: size,
		code: m.Code, con: m.Type == Confirmable, mid: m.MessageID, observe: m.observe()}
	x.tokenLen = uint8(copy(x.token[:], m.Token))
	_, x.asksSize = m.Options.Find(Size2)
	if v, ok := m.Options.Uint(NoResponse); ok {
		x.noResponse = uint8(v)
	}
	if has1 {
		no := p.joinLocked(x, m, key, b1, now)
		if no != nil {
			reply = p.refuseLocked(m, no, now)
			p.keepLocked(r, reply, now)
			return reply, nil
		}
	}
	if x.observe == deregister {
		p.cancelObservationLocked(m.Token, now)
	}
	st.exchanges++
	e.count.exchanges.Add(1)
	return nil, x
}

// precheckLocked refuses what needs no look at the transfers in progress.
func (p *Peer) precheckLocked(m *Message, b1 block, has1 bool, b2 block, has2 bool) *refusal {
	e := p.endpoint
	switch {
	case e.draining.Load():
		return e.busy(ReasonDraining)
	case has1 && b1.szx > maxSZX, has2 && b2.szx > maxSZX: // RFC 7959, Section 2.2: reserved, MUST lead to 4.00
		return &refusal{code: BadRequest, reason: ReasonBadBlock, text: "block size is reserved"}
	case has1 && has2 && b2.num > 0: // RFC 7959, Section 2.7: Block2 starts at 0 when Block1 ends
		return &refusal{code: BadRequest, reason: ReasonBadBlock, text: "Block1 with a later Block2"}
	case !has1 && len(m.Payload) > p.maxBody():
		return p.tooLarge()
	}
	return nil
}

// repeat returns what a repetition of r's message is answered with.
func (r *record) repeat() []byte {
	switch {
	case r.non: // RFC 7252, Section 4.5: a repeated Non-confirmable message is ignored
		return nil
	case r.expires == 0, r.acked:
		// RFC 7252, Section 4.2: each copy is acknowledged. The Handler has it already; its answer comes separately now.
		r.acked = true
		ack := emptyMessage(Acknowledgement, r.mid)
		return ack[:]
	}
	return r.answer
}

// message is the answer to m. 2.31 and an answer whose options say everything have no payload.
func (no *refusal) message(m *Message) *Message {
	if no.text == "" {
		return &Message{Code: no.code, Options: no.more}
	}
	resp := ErrorMessage(m, no.code, no.text)
	for _, o := range no.more {
		resp.Options = resp.Options.Add(o.ID, o.Value)
	}
	return resp
}

// busy is the refusal of new work for want of room; it may be asked again (S32).
func (e *Endpoint) busy(reason Reason) *refusal {
	seconds := max(1, uint32(e.config.Limits.RetryAfter/time.Second))
	return &refusal{code: ServiceUnavailable, reason: reason, more: Options(nil).AddUint(MaxAge, seconds)}
}

// unavailable is the notification that ends an observation for want of room.
func (e *Endpoint) unavailable() *Message {
	no := e.busy(ReasonNotKept)
	return &Message{Code: no.code, Options: no.more}
}

// refuseLocked counts no and builds its message.
func (p *Peer) refuseLocked(m *Message, no *refusal, now time.Time) []byte {
	if no.code != Continue {
		p.endpoint.count.refuse(no.reason)
	}
	return p.replyLocked(m, no.message(m), now)
}

// answer sends a refusal that was counted already.
func (p *Peer) answer(m *Message, no *refusal) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	b := p.replyLocked(m, no.message(m), time.Now())
	p.mu.Unlock()
	if b != nil {
		_ = p.send(b) // the peer repeats what isn't answered
	}
}

// replyLocked builds the immediate answer to a request of the peer: piggybacked, or Non-confirmable for a Non-confirmable
// request (RFC 7252, Sections 5.2.1 and 5.2.3). nil: there is nothing to send.
func (p *Peer) replyLocked(m, resp *Message, now time.Time) []byte {
	p.endpoint.count.responses[resp.Code].Add(1)
	noResponse, _ := m.Options.Uint(NoResponse)
	if suppressed(uint8(noResponse), resp.Code) {
		p.endpoint.count.refuse(ReasonNoResponse)
		if m.Type != Confirmable {
			return nil
		}
		ack := emptyMessage(Acknowledgement, m.MessageID) // RFC 7967, Section 2: still acknowledged
		return ack[:]
	}
	resp.Type, resp.MessageID, resp.Token = Acknowledgement, m.MessageID, m.Token
	if m.Type != Confirmable {
		mid, ok := p.messageIDLocked(now)
		if !ok {
			return nil
		}
		resp.Type, resp.MessageID = NonConfirmable, mid
	}
	b, err := resp.AppendBinary(nil)
	if err != nil {
		return nil // can't be: all such answers are of this package
	}
	return b
}

// maxBody is the largest body that the peer may send.
func (p *Peer) maxBody() int {
	if p.profile.MaxBody != 0 {
		return p.profile.MaxBody
	}
	return p.endpoint.config.Limits.MaxBody
}
