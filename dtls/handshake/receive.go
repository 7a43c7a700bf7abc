package handshake

import (
	"time"

	"coapbridge/dtls/record"
)

// Receive takes one record of epoch 0 or 1 of a datagram from the peer. Nothing of it is kept, nor changed. What has no
// place in the handshake is dropped silently, for anybody may have sent it.
func (m *Machine) Receive(r record.Record, now time.Time) {
	switch {
	case m.state == stateOver:
	case m.state == stateWork:
		m.hold(r)
	case r.Epoch == 0:
		m.receiveClear(r, now)
	case r.Epoch == 1:
		m.receiveSealed(r, now)
	}
}

func (m *Machine) receiveClear(r record.Record, now time.Time) {
	switch r.Type {
	case record.TypeHandshake:
		m.receiveFragments(r, now)
	case record.TypeChangeCipherSpec:
		m.changeCipherSpec(r, now)
	case record.TypeAlert:
		if m.state != stateFinished { // else the peer's alerts are sealed
			m.receiveAlert(r.Payload)
		}
	}
}

// changeCipherSpec takes effect in one state (CVE-2014-0224). Its number is remembered where it may have overtaken the messages
// before it, as a sealed record is held: it counts when they came. Without that a client, who gives up after a few flights, lost
// each of those whose datagrams change their order. Elsewhere it is a repeat. But when its number is the next after that of the
// record with ClientKeyExchange, then nothing got lost between them: the client skipped CertificateVerify (CVE-2022-29222).
func (m *Machine) changeCipherSpec(r record.Record, now time.Time) {
	switch {
	case len(r.Payload) != 1 || r.Payload[0] != 1:
	case m.state == stateChangeCipherSpec:
		m.state = stateFinished
		m.replay(now)
	case m.state == stateCertificateVerify && r.Seq == m.keySeq+1:
		m.fail(failure(ReasonSignature, alertUnexpectedMessage, "there is no CertificateVerify"))
	case m.state == stateClientCertificate || m.state == stateClientKeyExchange || m.state == stateCertificateVerify:
		m.early = max(m.early, r.Seq)
	}
}

// receiveAlert ends the handshake when the alert is fatal. Warnings say nothing that we act on.
func (m *Machine) receiveAlert(b []byte) {
	if len(b) == 2 && b[0] == alertLevelFatal {
		m.end(&Error{Reason: ReasonPeerAlert, Alert: b[1], FromPeer: true})
	}
}

func (m *Machine) receiveFragments(r record.Record, now time.Time) {
	m.recordSeq = r.Seq
	for rest := r.Payload; len(rest) > 0; {
		if m.state == stateOver {
			return
		}
		if m.state == stateWork {
			r.Payload = rest
			m.hold(r)
			return
		}
		f, next, ok := parseFragment(rest)
		if !ok {
			return
		}
		rest = next
		m.receiveFragment(&f, now)
	}
}

func (m *Machine) receiveFragment(f *fragment, now time.Time) {
	n := int(f.seq) - m.recvSeq
	switch {
	case m.client && f.typ == typeHelloVerifyRequest:
		m.helloVerifyRequest(f, now)
	case n < 0:
		m.behind(f, now)
	case n >= maxAhead || !m.known(f.typ):
	case n == 0 && m.state == stateServerHello && f.typ != typeServerHello: // of the answer to an earlier hello of ours
	case n == 0 && !f.whole() && !m.expects(f.typ): // it would keep the expected one's place
	case n == 0 && f.whole() && m.fragments.ahead[0] == nil:
		m.message(f.raw, now)
		m.advance(now)
	default:
		if over := m.fragments.put(n, f); over && n == 0 {
			m.fail(failure(ReasonBudget, alertHandshakeFailure, "a message is too long or in too many fragments"))
			return
		}
		m.advance(now)
	}
}

// advance handles messages that are complete, in their order.
func (m *Machine) advance(now time.Time) {
	for m.state != stateOver && m.state != stateWork {
		p := m.fragments.ahead[0]
		switch {
		case p == nil:
			return
		case !p.complete() && !m.expects(p.typ): // it came before its turn
			m.fragments.forget()
			return
		case !p.complete():
			return
		}
		m.message(p.text, now)
	}
}

// message handles the next message, which is whole.
func (m *Machine) message(text []byte, now time.Time) {
	typ := text[0]
	if !m.expects(typ) {
		m.fail(failure(ReasonProtocol, alertUnexpectedMessage, "a message is out of order"))
		return
	}
	start := len(m.script.text)
	m.script.text = append(m.script.text, text...)
	m.recvSeq++
	m.fragments.shift()
	body := m.script.text[start+headerLen : len(m.script.text) : len(m.script.text)]
	var err *Error
	if m.client {
		err = m.clientMessage(typ, body)
	} else {
		err = m.serverMessage(typ, body)
	}
	if err != nil {
		m.fail(err)
	}
}

// behind handles a message that came before: the peer repeats its flight. When that is the one before our last, ours got lost
// (RFC 6347, Section 4.2.4).
func (m *Machine) behind(f *fragment, now time.Time) {
	if m.client {
		waits := m.state == stateChangeCipherSpec || m.state == stateFinished
		if waits && f.typ == typeServerHelloDone && int(f.seq) == m.recvSeq-1 {
			m.resend(now)
		}
		return
	}
	switch text := m.script.text; {
	case f.typ == typeClientHello:
		waits := m.state == stateClientCertificate || m.state == stateClientKeyExchange && m.suite.PSK
		if waits && equal(f.raw, text[:m.helloEnd]) {
			m.resend(now)
		}
	case f.typ == typeClientKeyExchange && equal(f.raw, text[m.clientKey.start:m.clientKey.end]):
		m.keySeq = m.recordSeq
		m.repeated = m.failed
	}
}
