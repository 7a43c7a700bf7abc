package handshake

import (
	"bytes"
	"slices"
)

// partial is a message that is not complete, or that came before its turn.
type partial struct {
	typ   uint8
	text  []byte // the whole message, its header that of an unfragmented one
	spans []span // of the body that came: sorted, apart
	count int    // fragments that brought something
}

type span struct{ from, to int }

func (p *partial) body() []byte { return p.text[headerLen:] }

func (p *partial) complete() bool {
	n := len(p.text) - headerLen
	return n == 0 || len(p.spans) == 1 && p.spans[0] == span{0, n}
}

// agrees reports whether a fragment is of the same message, and equal to what came of it before (S17).
func (p *partial) agrees(f *fragment) bool {
	if f.typ != p.typ || f.total != len(p.text)-headerLen {
		return false
	}
	body := p.body()
	for _, s := range p.spans {
		from, to := max(s.from, f.offset), min(s.to, f.offset+len(f.body))
		if from < to && !bytes.Equal(body[from:to], f.body[from-f.offset:to-f.offset]) {
			return false
		}
	}
	return true
}

// has reports whether all of a fragment came before.
func (p *partial) has(f *fragment) bool {
	for _, s := range p.spans {
		if s.from <= f.offset && s.to >= f.offset+len(f.body) {
			return true
		}
	}
	return false
}

// add takes a fragment that agrees and brings something new.
func (p *partial) add(f *fragment) {
	n := span{f.offset, f.offset + len(f.body)}
	i := 0
	for i < len(p.spans) && p.spans[i].to < n.from {
		i++
	}
	j := i
	for j < len(p.spans) && p.spans[j].from <= n.to {
		n.from, n.to = min(n.from, p.spans[j].from), max(n.to, p.spans[j].to)
		j++
	}
	copy(p.body()[f.offset:], f.body)
	p.spans = slices.Replace(p.spans, i, j, n)
	p.count++
}

// fragments keeps what came of the messages from the next one on, within bounds.
type fragments struct {
	memory *Budget
	ahead  [maxAhead]*partial // 0: the next message
	bytes  int                // taken of memory, held records included
	count  int                // fragments in all of ahead
}

// put keeps a fragment of the message that is n after the next one. over says that it would break this handshake's own bounds.
func (k *fragments) put(n int, f *fragment) (over bool) {
	if f.total > 0 && len(f.body) == 0 {
		return false
	}
	p := k.ahead[n]
	if p != nil && (p.complete() || !p.agrees(f) || p.has(f)) {
		return false
	}
	if k.count >= maxFragments {
		return true
	}
	if p == nil {
		size := headerLen + f.total
		if k.bytes+size > maxHandshakeBytes {
			return true
		}
		if !k.take(size) {
			return false
		}
		p = &partial{typ: f.typ, text: appendHeader(make([]byte, 0, size), f.typ, f.seq, f.total)}
		p.text = p.text[:size]
		k.ahead[n] = p
	}
	p.add(f)
	k.count++
	return false
}

// forget drops what came of the next message, and gives it back.
func (k *fragments) forget() {
	if p := k.ahead[0]; p != nil {
		k.give(len(p.text))
		k.count -= p.count
		k.ahead[0] = nil
	}
}

// shift moves on by one message. What it held is given back.
func (k *fragments) shift() {
	k.forget()
	copy(k.ahead[:], k.ahead[1:])
	k.ahead[maxAhead-1] = nil
}

// take takes bytes within both bounds.
func (k *fragments) take(n int) bool {
	if k.bytes+n > maxHandshakeBytes || !k.memory.Take(n) {
		return false
	}
	k.bytes += n
	return true
}

func (k *fragments) give(n int) {
	k.bytes -= n
	k.memory.Return(n)
}

// drop forgets all messages and gives all memory back, that of held records too.
func (k *fragments) drop() {
	k.give(k.bytes)
	k.ahead, k.count = [maxAhead]*partial{}, 0
}
