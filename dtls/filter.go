package dtls

import (
	"net/netip"
)

// pathKey names a 5-tuple: the remote address as one socket sees it. A socket that has several local addresses does not
// tell sessions apart by them: a peer that goes on at another of them from the same port is a peer that began again.
type pathKey struct {
	sock *socket
	addr netip.AddrPort
}

// path is what goes on at one 5-tuple: a session, a handshake, or a handshake beside the session that it may replace
// (RFC 6347, Section 4.2.8). Endpoint.mu guards its fields.
type path struct {
	live    *Conn
	pending *handshake
}

// arrival is one datagram on its way through the filter.
type arrival struct {
	key               pathKey
	local             netip.Addr // to which it came, where known
	live              *Conn
	pending           *handshake
	short             bool // it is no longer than a session's datagrams are
	sealed            int  // its records of epoch 1 that went to the session
	begun             bool // a ClientHello of it was given to a handshake
	toLive, toPending []byte
}

// receive judges one datagram and hands its records on. It runs on the goroutine of key.sock alone. Only these pass (S15, S21):
//
//   - epoch 1, of types 21 to 23: to the session, and to a handshake whose cookie came back, for only keys tell them apart;
//   - epoch 0, of types 20 to 22: to a handshake under way, message types by role; a ClientHello may begin one.
//
// A session never sees a record of epoch 0.
func (ep *Endpoint) receive(key pathKey, local netip.Addr, datagram []byte) {
	switch {
	case len(datagram) > maxDatagram:
		ep.count.drop(DropTooLong)
		return
	case looksLikeCoAP(datagram):
		ep.count.handshakes[OutcomeNotDTLS].Add(1)
		return
	}
	a := arrival{key: key, local: local, short: len(datagram) <= maxLiveDatagram}
	a.live, a.pending = ep.at(a.key)
	for rest := datagram; len(rest) > 0; {
		var r record
		var ok bool
		if r, rest, ok = parseRecord(rest); !ok {
			ep.count.drop(DropMalformed) // RFC 6347, Section 4.1.2.7
			break
		}
		switch {
		case r.typ < typeChangeCipherSpec || r.typ > typeApplicationData:
			ep.count.drop(DropUnknownType)
		case r.epoch == 0 && isClientHello(r):
			if h := ep.hello(&a, r); h != nil {
				a.pending, a.begun = h, true
				a.toPending = append(a.toPending, r.raw...)
			}
		case r.epoch == 0:
			if ep.admitClear(r, a.live, a.pending) {
				a.toPending = append(a.toPending, r.raw...)
			}
		case r.epoch == 1:
			ep.admitSealed(&a, r)
		default:
			ep.count.drop(DropUnknownEpoch)
		}
	}
	if len(a.toLive) > 0 && !a.live.pipe.push(a.toLive) {
		ep.count.drop(DropQueueFull)
	}
	if len(a.toPending) > 0 && !a.pending.pipe.push(a.toPending) {
		ep.count.drop(DropQueueFull)
	}
}

// at returns what goes on at a 5-tuple.
func (ep *Endpoint) at(key pathKey) (*Conn, *handshake) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if p := ep.paths[key]; p != nil {
		return p.live, p.pending
	}
	return nil, nil
}

func isClientHello(r record) bool {
	return r.typ == typeHandshake && len(r.payload) > 0 && r.payload[0] == msgClientHello
}

// admitClear decides on a record of epoch 0 that begins nothing.
func (ep *Endpoint) admitClear(r record, live *Conn, pending *handshake) bool {
	switch {
	case pending != nil && pending.expects(r):
		if !pending.spend(len(r.raw)) {
			ep.count.drop(DropHandshakeBudget)
			return false
		}
		return true
	case live != nil:
		ep.count.drop(DropEpoch0OnLive)
	case pending != nil:
		ep.count.drop(DropUnexpected)
	default:
		ep.count.drop(DropNoSession)
	}
	return false
}

// admitSealed decides on a record of epoch 1.
func (ep *Endpoint) admitSealed(a *arrival, r record) {
	if r.typ == typeChangeCipherSpec { // never encrypted: there is no renegotiation (S4)
		ep.count.drop(DropUnexpected)
		return
	}
	if len(r.payload) > maxPlaintext {
		ep.count.drop(DropTooLong)
		return
	}
	beside := a.pending != nil && a.pending.answered.Load()
	if a.live == nil && !beside {
		ep.count.drop(DropNoSession)
		return
	}
	if a.live != nil {
		ep.admitLive(a, r)
	}
	if beside {
		if a.pending.spend(len(r.raw)) {
			a.toPending = append(a.toPending, r.raw...)
		} else if a.live == nil {
			ep.count.drop(DropHandshakeBudget)
		}
	}
}

// admitLive decides on a record of epoch 1 for the session. Each that passes costs an attempt to open it, which S24 bounds
// for the life of a key: one datagram buys few of them.
func (ep *Endpoint) admitLive(a *arrival, r record) {
	switch {
	case len(r.payload) < a.live.overhead: // no nonce and tag: nobody sealed it
		ep.count.drop(DropMalformed)
	case !a.short || a.sealed >= maxLiveRecords:
		ep.count.drop(DropTooLong)
	case r.typ == typeHandshake && !a.live.repeatsFlight(len(r.payload)):
		ep.count.drop(DropUnexpected)
	default:
		a.sealed++
		a.toLive = append(a.toLive, r.raw...)
	}
}

// hello decides on a ClientHello: a repeat or the one with the cookie goes to its handshake, a new one begins one.
func (ep *Endpoint) hello(a *arrival, r record) *handshake {
	m, rest, ok := parseMessage(r.payload)
	if !ok || len(rest) > 0 {
		ep.count.drop(DropMalformed)
		return nil
	}
	if !m.whole() {
		// Deviation: RFC 6347, Section 4.2.3, lets a ClientHello be fragmented. Memory for an unproven source is not given.
		ep.count.handshakes[OutcomeFragmentedHello].Add(1)
		return nil
	}
	hello, ok := parseClientHello(m.body)
	if !ok {
		ep.count.drop(DropMalformed)
		return nil
	}
	live, pending := a.live, a.pending
	switch {
	case a.begun: // a flight has one; more would begin one handshake after the other
		ep.count.drop(DropUnexpected)
		return nil
	case pending != nil && pending.role == RoleClient && pending.hello.random == hello.random:
		if !pending.spend(len(r.raw)) {
			ep.count.drop(DropHandshakeBudget)
			return nil
		}
		return pending
	case pending != nil && (pending.role == RoleServer || !pending.givesWay()):
		ep.count.drop(DropBusy)
		return nil
	case live != nil && live.random == hello.random: // a late copy of the hello that made this session
		ep.count.drop(DropEpoch0OnLive)
		return nil
	case hello.cookie || m.seq != 0:
		ep.count.handshakes[OutcomeStaleCookie].Add(1)
		return nil
	case ep.mirrored(hello.random):
		ep.count.handshakes[OutcomeMirrored].Add(1)
		return nil
	}
	return ep.accept(a.key, a.local, hello, len(r.raw))
}
