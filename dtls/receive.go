package dtls

import (
	"time"

	"coapbridge/dtls/record"
)

// arrival is one datagram on its way.
type arrival struct {
	time   time.Time
	now    time.Duration // the same, as Endpoint.elapsed
	live   *Conn         // at its address
	short  bool          // it is no longer than a session's datagrams are
	opened int           // records of it that a session tried to open
	given  int           // records of it that a handshake took
	asked  bool          // a ClientHello of it was asked for its cookie
	begun  bool          // a ClientHello of it began a handshake
}

// receive judges one datagram, record by record. It runs on the goroutine that reads the socket. Only these go on (S15, S21):
//
//   - epoch 1: to the session of its Connection ID or address, and where that doesn't open it, to the handshake at the address;
//   - epoch 0, of types 20 to 22: to the handshake under way; a ClientHello is asked for its cookie.
//
// A session never sees a record of epoch 0.
func (ep *Endpoint) receive(g *greeter, p *packet, now time.Time) {
	switch {
	case len(p.data) > maxDatagram:
		ep.count.drop(DropTooLong)
		return
	case looksLikeCoAP(p.data):
		ep.count.handshakes[OutcomeNotDTLS].Add(1)
		return
	}
	a := arrival{time: now, now: ep.since(now), short: len(p.data) <= maxLiveDatagram}
	a.live = ep.liveAt(p.from)
	for rest := p.data; len(rest) > 0; {
		r, next, ok := record.Parse(rest, cidLength)
		if !ok {
			ep.count.drop(DropMalformed) // RFC 6347, Section 4.1.2.7
			return
		}
		rest = next
		switch {
		case r.Type == record.TypeCID:
			ep.receiveCID(p, r, &a)
		case r.Type < record.TypeChangeCipherSpec || r.Type > record.TypeApplicationData:
			ep.count.drop(DropUnknownType)
		case r.Epoch == 0 && isClientHello(r):
			ep.hello(g, p, r, &a)
		case r.Epoch == 0:
			ep.receiveClear(p, r, &a)
		case r.Epoch == 1:
			ep.receiveSealed(p, r, &a)
		default:
			ep.count.drop(DropUnknownEpoch)
		}
	}
}

const msgClientHello = 1

func isClientHello(r record.Record) bool {
	return r.Type == record.TypeHandshake && len(r.Payload) > 0 && r.Payload[0] == msgClientHello
}

// looksLikeCoAP reports whether a datagram that is no DTLS may be plain CoAP: version 1 and a token length up to 8
// (RFC 7252, Section 3). DTLS records start with 20 to 63 (RFC 7983).
func looksLikeCoAP(b []byte) bool { return len(b) >= 4 && b[0]>>6 == 1 && b[0]&0xf <= 8 }

// receiveClear decides on a record of epoch 0 that begins nothing.
func (ep *Endpoint) receiveClear(p *packet, r record.Record, a *arrival) {
	pending := ep.pendingAt(p.from)
	switch {
	case pending != nil:
		a.give(pending, r)
	case a.live != nil:
		ep.count.drop(DropEpoch0OnLive)
	default:
		ep.count.drop(DropNoSession)
	}
}

// receiveCID decides on a record with a Connection ID.
func (ep *Endpoint) receiveCID(p *packet, r record.Record, a *arrival) {
	if r.Epoch != 1 {
		ep.count.drop(DropUnknownEpoch)
		return
	}
	if c := ep.byCID(r.CID); c != nil {
		ep.open(c, p, r, a)
		return
	}
	if pending := ep.pendingAt(p.from); pending != nil && pending.offered(r.CID) {
		a.give(pending, r)
		return
	}
	ep.count.drop(DropUnknownCID)
}

// receiveSealed decides on a record of epoch 1 without one.
func (ep *Endpoint) receiveSealed(p *packet, r record.Record, a *arrival) {
	if r.Type == record.TypeChangeCipherSpec { // never encrypted: there is no renegotiation (S4)
		ep.count.drop(DropUnexpected)
		return
	}
	pending := ep.pendingAt(p.from)
	if a.live == nil {
		if pending == nil {
			ep.count.drop(DropNoSession)
			return
		}
		a.give(pending, r)
		return
	}
	if pending == nil {
		ep.open(a.live, p, r, a)
		return
	}
	// A handshake runs beside the session: only the keys tell whose the record is, and a failed attempt spoils it.
	beside := r
	beside.Payload = append([]byte(nil), r.Payload...)
	if !ep.open(a.live, p, r, a) {
		a.give(pending, beside)
	}
}

// give gives a handshake one record.
func (a *arrival) give(n *negotiation, r record.Record) {
	if a.given++; a.given > maxFlightRecords {
		n.ep.count.drop(DropHandshakeBudget)
		return
	}
	n.receive(r, a.time)
}

// open gives a session one record. Each costs an attempt to open it, which S24 bounds for the life of a key: one datagram
// buys few of them.
func (ep *Endpoint) open(c *Conn, p *packet, r record.Record, a *arrival) bool {
	if !a.short || a.opened >= maxLiveRecords {
		ep.count.drop(DropTooLong)
		return false
	}
	a.opened++
	return c.receive(r, p, a.now)
}
