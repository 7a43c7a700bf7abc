package coap

import (
	"encoding/binary"
	"hash/maphash"
	"time"
)

// kept is a response body that waits for its requester to fetch the other blocks (RFC 7959, Section 2.4).
type kept struct {
	key     uint64 // Endpoint.transferKey of the request
	code    Code
	options Options // with ETag, without Block2 and Size2
	payload []byte
	expires uint32 // Endpoint.seconds
}

// cost is what k counts for.
func (k *kept) cost() int { return len(k.payload) + k.options.size() + bodyCost }

// responseSZX is the size exponent of the largest block that fits beside resp's options into size bytes; false: none does.
func (p *Peer) responseSZX(resp *Message, size int) (uint8, bool) {
	const added = 2 + 3 + 2 + 8 + 2 + 4 + 1 // Block2, ETag, Size2 with at most 2 bytes before each value, payload marker
	bare := Message{Token: resp.Token, Options: resp.Options}
	szx, ok := fitSZX(size - bare.size() - added)
	return min(szx, p.profile.szx), ok
}

// cutLocked keeps resp's body for follow-up requests and returns the block that x asked for.
func (x *asker) cutLocked(resp *Message, szx uint8, now time.Time) Message {
	p := x.peer
	copied := resp.clone(false)
	k := &kept{key: x.key, code: resp.Code, options: copied.Options.Remove(Size2), payload: copied.Payload}
	if _, ok := k.options.Find(ETag); !ok {
		// RFC 7959, Section 2.4: with it the client sees that all blocks are of one body.
		tag := maphash.Bytes(p.endpoint.tagSeed, k.payload)
		k.options = k.options.Add(ETag, binary.BigEndian.AppendUint64(nil, tag))
	}
	if !p.keepBodyLocked(k, now) {
		p.endpoint.count.refuse(ReasonNotKept)
	}
	b := block{szx: szx}
	if x.hasBlock2 {
		b.num = uint32(x.block2.offset() >> (szx + 4)) // the same place, should the block be smaller than asked for
	}
	first := k.block(b)
	if x.asksSize && b.num > 0 && first.Code == k.code {
		first.Options = first.Options.AddUint(Size2, uint32(len(k.payload)))
	}
	return first
}

// block returns one block of k, or 4.00 beyond its end.
func (k *kept) block(b block) Message {
	start := b.offset()
	if start >= len(k.payload) {
		return Message{Code: BadRequest, Payload: []byte("block is beyond the end of the body")}
	}
	end := min(start+b.size(), len(k.payload))
	b.more = end < len(k.payload)
	options := append(make(Options, 0, len(k.options)+2), k.options...).AddUint(Block2, b.value())
	if b.num == 0 { // RFC 7959, Section 4
		options = options.AddUint(Size2, uint32(len(k.payload)))
	} else {
		// RFC 7959, Sections 2.6 and 2.7: they belong to the first block.
		options = options.Remove(Block1).Remove(Observe)
	}
	return Message{Code: k.code, Options: options, Payload: k.payload[start:end]}
}

// followUpLocked answers a request for a later block from k. The answer to a repetition is the same, without a record.
func (p *Peer) followUpLocked(m *Message, k *kept, b block, size int, now time.Time) []byte {
	bare := Message{Token: m.Token, Options: k.options}
	szx, ok := p.responseSZX(&bare, size)
	if ok && szx < b.szx {
		b = block{num: uint32(b.offset() >> (szx + 4)), szx: szx}
	}
	resp := k.block(b)
	if resp.Code == BadRequest {
		p.endpoint.count.refuse(ReasonBadBlock)
	} else if _, asks := m.Options.Find(Size2); asks { // RFC 7959, Section 4
		resp.Options = resp.Options.AddUint(Size2, uint32(len(k.payload)))
	}
	return p.replyLocked(m, &resp, now)
}

// keptLifetime is how long a body is kept after it was last asked for.
func (p *Peer) keptLifetime() time.Duration { return max(keptLifetime, p.profile.transmitWait) }

// keptLocked returns the body that is kept for key, and keeps it longer.
func (p *Peer) keptLocked(key uint64, now time.Time) *kept {
	sec := p.endpoint.seconds(now)
	for _, k := range p.state.kept {
		if k.key == key && k.expires >= sec {
			k.expires = sec + lifetimeSeconds(p.keptLifetime())
			return k
		}
	}
	return nil
}

// keepBodyLocked keeps k in place of the same requester's earlier body of the same request, and of its oldest ones when
// there are too many. It reports false when the bodies of others leave no room: those stay.
func (p *Peer) keepBodyLocked(k *kept, now time.Time) bool {
	e, st := p.endpoint, p.state
	p.filterKeptLocked(func(old *kept) bool { return old.key != k.key })
	for len(st.kept) > 0 && st.keptBytes+k.cost() > e.config.Limits.MaxKeptBytes+bodyCost {
		p.dropOldestKeptLocked()
	}
	for !reserve(&e.count.keptBytes, k.cost(), e.config.Limits.MaxKeptBytesTotal) {
		if len(st.kept) == 0 {
			return false
		}
		p.dropOldestKeptLocked()
	}
	e.count.kept.Add(1)
	st.keptBytes += k.cost()
	st.kept = append(st.kept, k)
	k.expires = e.seconds(now) + lifetimeSeconds(p.keptLifetime())
	p.sweepByLocked(now.Add(p.keptLifetime() + maxSweepInterval))
	return true
}

func (p *Peer) dropOldestKeptLocked() {
	oldest := p.state.kept[0]
	p.filterKeptLocked(func(k *kept) bool { return k != oldest })
}

// sweepKeptLocked forgets expired bodies and returns when the next one expires; 0: there is none.
func (p *Peer) sweepKeptLocked(sec uint32) (next uint32) {
	p.filterKeptLocked(func(k *kept) bool {
		if k.expires < sec {
			return false
		}
		if next == 0 || k.expires+1 < next {
			next = k.expires + 1
		}
		return true
	})
	return next
}

func (p *Peer) filterKeptLocked(keep func(*kept) bool) {
	st := p.state
	rest := st.kept[:0]
	for _, k := range st.kept {
		if keep(k) {
			rest = append(rest, k)
			continue
		}
		st.keptBytes -= k.cost()
		p.endpoint.count.kept.Add(-1)
		p.endpoint.count.keptBytes.Add(int64(-k.cost()))
	}
	clear(st.kept[len(rest):])
	st.kept = rest
	if len(rest) == 0 {
		st.kept = nil
	}
}
