package coap

import (
	"bytes"
	"time"
)

// body is a request body that is put together from blocks (RFC 7959, Section 2.3).
type body struct {
	key       uint64 // Endpoint.transferKey
	data      []byte
	announced uint32 // Size1; 0: none
	advanced  uint32 // when its last block came, in Endpoint.seconds
	expires   uint32 // Endpoint.seconds
}

// cost is what b counts for.
func (b *body) cost() int { return cap(b.data) + bodyCost }

// joinLocked adds a block to its body. nil: the body is whole and is x's payload. Otherwise the returned answer, which may
// be 2.31, goes back.
func (p *Peer) joinLocked(x *Exchange, m *Message, key uint64, b block, now time.Time) *refusal {
	limit := p.maxBody()
	announced, _ := m.Options.Uint(Size1)
	switch {
	case int64(announced) > int64(limit): // C05: refused before a byte is kept
		p.dropBodyLocked(key)
		return p.tooLarge()
	case len(m.Payload) > b.size(), b.more && len(m.Payload) != b.size(): // RFC 7959, Section 2.2
		return &refusal{code: BadRequest, reason: ReasonBadBlock, text: "payload is not of the block's size"}
	case b.offset()+len(m.Payload) > limit:
		p.dropBodyLocked(key)
		return p.tooLarge()
	}
	var begun *body
	if b.num == 0 { // C04: it begins again, and nothing of what was there before remains
		p.dropBodyLocked(key)
		if !b.more {
			return p.wholeLocked(x, &body{key: key, data: m.Payload, announced: announced}, b)
		}
		var no *refusal
		if begun, no = p.beginLocked(key, announced, b, now); no != nil {
			return no
		}
	} else if begun = p.bodyLocked(key); begun == nil || b.offset() > len(begun.data) {
		return gap(b) // RFC 7959, Section 2.9.2
	} else if b.offset() < len(begun.data) {
		return p.againLocked(x, begun, m, b)
	}
	if !p.growLocked(begun, len(begun.data)+len(m.Payload), limit) {
		p.dropBodyLocked(key)
		return p.endpoint.busy(ReasonBodiesFull)
	}
	begun.data = append(begun.data, m.Payload...)
	begun.announced = max(begun.announced, announced)
	begun.advanced = p.endpoint.seconds(now)
	begun.expires = begun.advanced + lifetimeSeconds(p.profile.exchangeLifetime)
	p.sweepByLocked(now.Add(p.profile.exchangeLifetime + maxSweepInterval))
	if b.more {
		return p.proceed(x, m, b)
	}
	x.ownBody = true
	return p.wholeLocked(x, begun, b)
}

// wholeLocked makes a complete body x's payload. What it costs counts until x is answered.
func (p *Peer) wholeLocked(x *Exchange, whole *body, b block) *refusal {
	if whole.announced != 0 && int(whole.announced) != len(whole.data) {
		p.dropBodyLocked(whole.key)
		return &refusal{code: RequestEntityIncomplete, reason: ReasonSizeMismatch, text: "body is not of the size in Size1"}
	}
	if x.ownBody {
		x.reserved = whole.cost()
		p.endpoint.count.bodyBytes.Add(int64(x.reserved))
		p.dropBodyLocked(whole.key)
	}
	x.request.Payload = whole.data
	x.block1, x.hasBlock1 = block{num: b.num, szx: b.szx}, true
	return nil
}

// beginLocked makes room for a new body.
func (p *Peer) beginLocked(key uint64, announced uint32, b block, now time.Time) (*body, *refusal) {
	e, st := p.endpoint, p.state
	if len(st.bodies) >= e.config.Limits.MaxBodies && !p.dropStaleBodyLocked(now) {
		return nil, e.busy(ReasonBodiesFull)
	}
	size := min(max(b.size(), int(announced)), max(b.size(), firstBodyAllocation))
	begun := &body{key: key}
	if !reserve(&e.count.bodyBytes, size+bodyCost, e.config.Limits.MaxBodyBytesTotal) {
		return nil, e.busy(ReasonBodiesFull)
	}
	begun.data = make([]byte, 0, size)
	e.count.bodyBytes.Add(int64(cap(begun.data) - size))
	e.count.bodies.Add(1)
	st.bodies = append(st.bodies, begun)
	return begun, nil
}

// growLocked makes room for n bytes in all; false when the sum of all bodies leaves none.
func (p *Peer) growLocked(b *body, n, limit int) bool {
	if n <= cap(b.data) {
		return true
	}
	size := min(max(n, 2*cap(b.data)), limit)
	if !reserve(&p.endpoint.count.bodyBytes, size-cap(b.data), p.endpoint.config.Limits.MaxBodyBytesTotal) {
		return false
	}
	b.data = append(make([]byte, 0, size), b.data...)
	return true
}

// againLocked answers a block of which the body already holds a part: the same bytes are confirmed once more, others end
// the body.
func (p *Peer) againLocked(x *Exchange, begun *body, m *Message, b block) *refusal {
	end := b.offset() + len(m.Payload)
	if b.more && end <= len(begun.data) && bytes.Equal(begun.data[b.offset():end], m.Payload) {
		return p.proceed(x, m, b)
	}
	p.dropBodyLocked(begun.key)
	return gap(b)
}

// proceed asks for the next block, in smaller ones where datagrams of b's size don't fit (RFC 7959, Section 2.3).
func (p *Peer) proceed(x *Exchange, m *Message, b block) *refusal {
	bare := Message{Token: m.Token, Options: m.Options}
	if fit, ok := fitSZX(x.maxSize - bare.size() - 1); ok {
		b.szx = min(b.szx, fit)
	}
	b.szx = min(b.szx, p.profile.szx)
	return &refusal{code: Continue, more: Options(nil).AddUint(Block1, b.value())}
}

func gap(b block) *refusal {
	return &refusal{code: RequestEntityIncomplete, reason: ReasonBlockGap, text: "earlier blocks are missing",
		more: Options(nil).AddUint(Block1, b.value())}
}

// tooLarge tells the largest body that is taken (RFC 7959, Sections 2.9.3 and 4).
func (p *Peer) tooLarge() *refusal {
	return &refusal{code: RequestEntityTooLarge, reason: ReasonTooLarge,
		more: Options(nil).AddUint(Size1, uint32(p.maxBody()))}
}

func (p *Peer) bodyLocked(key uint64) *body {
	for _, b := range p.state.bodies {
		if b.key == key {
			return b
		}
	}
	return nil
}

// dropBodyLocked forgets the body of key, if there is one.
func (p *Peer) dropBodyLocked(key uint64) {
	p.filterBodiesLocked(func(b *body) bool { return b.key != key })
}

// dropStaleBodyLocked makes room for a new body: it forgets p's body that did not advance for longest, if that is longer
// than MAX_TRANSMIT_WAIT, after which its sender has given it up (RFC 7252, Section 4.8.2). False: there is none.
func (p *Peer) dropStaleBodyLocked(now time.Time) bool {
	var oldest *body
	for _, b := range p.state.bodies {
		if oldest == nil || b.advanced < oldest.advanced {
			oldest = b
		}
	}
	if oldest == nil || p.endpoint.seconds(now) <= oldest.advanced+lifetimeSeconds(p.profile.transmitWait) {
		return false
	}
	p.dropBodyLocked(oldest.key)
	return true
}

// sweepBodiesLocked forgets expired bodies and returns when the next one expires; 0: there is none.
func (p *Peer) sweepBodiesLocked(sec uint32) (next uint32) {
	p.filterBodiesLocked(func(b *body) bool {
		if b.expires < sec {
			return false
		}
		if next == 0 || b.expires+1 < next {
			next = b.expires + 1
		}
		return true
	})
	return next
}

func (p *Peer) filterBodiesLocked(keep func(*body) bool) {
	kept := p.state.bodies[:0]
	for _, b := range p.state.bodies {
		if keep(b) {
			kept = append(kept, b)
		} else {
			p.endpoint.dropBody(b)
		}
	}
	clear(p.state.bodies[len(kept):])
	p.state.bodies = kept
	if len(kept) == 0 {
		p.state.bodies = nil
	}
}

// dropBody counts b as gone.
func (e *Endpoint) dropBody(b *body) {
	e.count.bodies.Add(-1)
	e.count.bodyBytes.Add(int64(-b.cost()))
}
