package dtls

import (
	"crypto/hmac"
	"crypto/rand"
	"hash"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
)

// greeter is what the reader of one socket needs to answer a ClientHello without keeping anything of it (S13).
type greeter struct {
	cookies *handshake.Cookies
	cookie  [maxCookie]byte
	answer  []byte
}

// maxCookie is room for a cookie of ours.
const maxCookie = 64

// hello decides on a ClientHello. One without a good cookie is asked for it, whatever goes on at its address, and costs
// nothing but the answer. One with it comes from where it says, and begins a handshake, or repeats the hello of one.
func (ep *Endpoint) hello(g *greeter, p *packet, r record.Record, a *arrival) {
	h, ok := handshake.ParseHello(r.Payload)
	switch {
	case !ok && isFragment(r.Payload):
		// Deviation: RFC 6347, Section 4.2.3, lets a ClientHello be fragmented. Memory for an unproven source is not given.
		ep.count.handshakes[OutcomeFragmentedHello].Add(1)
		return
	case !ok:
		ep.count.drop(DropMalformed)
		return
	}
	pending := ep.pendingAt(p.from)
	if pending != nil && pending.role == RoleClient && *h.Random == pending.hello {
		// The hello that began it, again, or an older one. A newer one has a cookie of the next secret: the client was asked
		// twice, and waits for the answer to its last hello.
		if len(h.Cookie) > 0 && h.MessageSeq <= pending.first {
			a.give(pending, r)
			return
		}
	}
	from := p.from.addr()
	if len(h.Cookie) == 0 || !g.cookies.Valid(from, h) {
		if a.asked { // S14: each answer has headers of its own; honest hellos come alone
			ep.count.drop(DropUnexpected)
			return
		}
		a.asked = true
		if len(h.Cookie) > 0 {
			ep.count.handshakes[OutcomeStaleCookie].Add(1)
		} else {
			ep.count.handshakes[OutcomeCookieSent].Add(1)
		}
		g.answer = handshake.AppendHelloVerifyRequest(g.answer[:0], r.Seq, h.MessageSeq, g.cookies.Append(g.cookie[:0], from, h))
		ep.socks[p.from.sock].send(p.from, p.local, g.answer)
		return
	}
	switch {
	case a.begun: // a flight has one; more would begin one handshake after the other
		ep.count.drop(DropUnexpected)
	case ep.isSpent(cookieOf(h.Cookie), a.now): // a late copy of the hello that made a session
		ep.count.drop(DropReplay)
	case ep.mirrored(*h.Random):
		ep.count.handshakes[OutcomeMirrored].Add(1)
	case pending != nil && pending.role == RoleServer && !pending.yields(h.Random):
		ep.count.drop(DropBusy)
	default:
		a.begun = true
		ep.accept(p, h, r.Seq, a)
	}
}

// isFragment reports whether a handshake message is shorter than the whole (RFC 6347, Section 4.2.2).
func isFragment(b []byte) bool {
	const header, length, fragmentLength = 12, 1, 9
	return len(b) >= header && [3]byte(b[length:]) != [3]byte(b[fragmentLength:])
}

// accept begins the handshake of a ClientHello whose cookie is good.
func (ep *Endpoint) accept(p *packet, h handshake.Hello, seq uint64, a *arrival) {
	conf := ep.handshakes
	if !ep.conf.ClockOK() {
		if conf = ep.pskOnly; ep.certificateOnly(h) {
			ep.count.handshakes[OutcomeClock].Add(1)
			return
		}
	}
	n := ep.newNegotiation(p.from, p.local, RoleClient)
	n.hello, n.cookie, n.first, n.site = *h.Random, cookieOf(h.Cookie), h.MessageSeq, p.from.prefix()
	if !ep.rates.allow(n.site, a.time) || !ep.admit(n) {
		ep.count.handshakes[OutcomeLimit].Add(1)
		return
	}
	cid, bytes := ep.newCID()
	n.cid = cid
	n.mu.Lock()
	if n.over { // its place was needed already, or the endpoint closes
		n.mu.Unlock()
		return
	}
	n.machine = handshake.NewServer(conf, n, handshake.Timers{First: ep.conf.Limits.FlightTimeout}, h, seq, bytes, a.time)
	n.advance(a.time)
}

// certificateOnly reports whether a client has no suite in common with us but those with certificates.
func (ep *Endpoint) certificateOnly(h handshake.Hello) bool {
	certificate := false
	for _, s := range handshake.Suites() {
		switch {
		case !h.OffersSuite(s.ID):
		case s.PSK && ep.conf.PSK != nil:
			return false
		case !s.PSK && ep.conf.Certificate != nil:
			certificate = true
		}
	}
	return certificate
}

const (
	ownRandom     = 20 // bytes of a hello's random that are random; the rest marks it as ours (S7)
	randomTimeLen = 4  // gmt_unix_time before the 28 random bytes (RFC 5246, Section 7.4.1.2)
)

// newRandom makes the random of a ClientHello of ours: 4 and 20 random bytes, and 8 of an HMAC over the 20. Nobody else can
// tell it from random bytes, and a hello that somebody mirrors to us is known without any memory (RFC 9257, S7).
func (ep *Endpoint) newRandom() [32]byte {
	r := randomBytes[[32]byte]()
	copy(r[randomTimeLen+ownRandom:], ep.mac("random", r[randomTimeLen:randomTimeLen+ownRandom]))
	return r
}

// mirrored reports whether a ClientHello carries a random that newRandom made.
func (ep *Endpoint) mirrored(random [32]byte) bool {
	if !ep.dialled.Load() { // there is no hello of ours
		return false
	}
	r := random[randomTimeLen:]
	return hmac.Equal(r[ownRandom:], ep.mac("random", r[:ownRandom])[:len(r)-ownRandom])
}

func randomBytes[T [8]byte | [32]byte]() (b T) {
	switch b := any(&b).(type) {
	case *[8]byte:
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	case *[32]byte:
		_, _ = rand.Read(b[:])
	}
	return b
}

// mac is HMAC-SHA256 under the endpoint's secret, which is made at its start and leaves the process in no form.
func (ep *Endpoint) mac(purpose string, b []byte) []byte {
	h := ep.macs.Get().(hash.Hash)
	h.Reset()
	_, _ = io.WriteString(h, purpose) // never fails (package hash)
	h.Write([]byte{0})
	h.Write(b)
	sum := h.Sum(nil)
	ep.macs.Put(h)
	return sum
}

// rates limits how many handshakes a source prefix begins: a token bucket each, in a table of fixed size.
type rates struct {
	perSecond float64
	seed      maphash.Seed

	mu      sync.Mutex // guards the following field
	buckets [prefixSlots]struct {
		at   time.Time
		left float64
	}
}

func (r *rates) allow(site [8]byte, now time.Time) bool {
	b := &r.buckets[maphash.Comparable(r.seed, site)%prefixSlots]
	r.mu.Lock()
	defer r.mu.Unlock()
	full := 2 * r.perSecond
	if b.at.IsZero() {
		b.left = full
	} else {
		b.left = min(full, b.left+now.Sub(b.at).Seconds()*r.perSecond)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
