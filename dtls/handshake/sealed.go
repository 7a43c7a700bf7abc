package handshake

import (
	"bytes"
	"time"

	"coapbridge/dtls/record"
)

// hold keeps a record that can't be looked at yet, within bounds: a Job is out, or it is sealed and there are no keys.
func (m *Machine) hold(r record.Record) {
	sealed := len(m.held) - m.heldClear
	switch {
	case r.Epoch == 0 && (m.heldClear >= maxHeldClear || r.Type < record.TypeChangeCipherSpec || r.Type > record.TypeHandshake):
		return
	case r.Epoch == 1 && (sealed >= maxHeldSealed || !m.plausible(r)):
		return
	case r.Epoch > 1 || !m.fragments.take(len(r.Payload)+len(r.CID)):
		return
	}
	b := make([]byte, 0, len(r.Payload)+len(r.CID))
	b = append(append(b, r.Payload...), r.CID...)
	r.Payload, r.CID, r.Raw = b[:len(r.Payload):len(r.Payload)], b[len(r.Payload):], nil
	m.held = append(m.held, r)
	if r.Epoch == 0 {
		m.heldClear++
	}
}

// replay looks at the held records again.
func (m *Machine) replay(now time.Time) {
	held := m.held
	m.held, m.heldClear = nil, 0
	for _, r := range held {
		if m.state == stateOver {
			return // all memory was given back
		}
		m.fragments.give(len(r.Payload) + len(r.CID))
		m.Receive(r, now)
	}
}

// plausible reports whether a record of epoch 1 may hold a Finished or an alert. Application data waits for nobody (D06).
func (m *Machine) plausible(r record.Record) bool {
	if len(r.Payload) > maxSealed {
		return false
	}
	if r.Type == record.TypeCID {
		return len(m.localCID) > 0 && bytes.Equal(r.CID, m.localCID)
	}
	return r.Type == record.TypeHandshake || r.Type == record.TypeAlert
}

// receiveSealed takes a record of epoch 1. Only in stateFinished there are keys to open it and a ChangeCipherSpec before it.
func (m *Machine) receiveSealed(r record.Record, now time.Time) {
	if m.state != stateFinished {
		m.hold(r)
		return
	}
	// RFC 9146, Section 3: where we gave out a Connection ID, sealed records carry it.
	wrapped := r.Type == record.TypeCID
	if !m.plausible(r) || wrapped != (len(m.localCID) > 0) || m.window.Check(r.Seq) != record.Fresh {
		return
	}
	r.Payload = bytes.Clone(r.Payload) // it is opened in place, and may be somebody else's
	typ, plaintext, ok := m.reader.Open(r)
	if !ok {
		m.notOpened(r.Seq, now)
		return
	}
	m.window.Mark(r.Seq)
	switch typ {
	case record.TypeHandshake:
		m.finished(plaintext, now)
	case record.TypeAlert:
		m.receiveAlert(plaintext)
	}
}

// notOpened is silent at first, for anybody may have sent the record. When the peer then repeats its flight, and its Finished
// doesn't open again, it has other keys, and is told so (S5): a forger off the path can't copy its ClientKeyExchange. He may squeeze
// a record in behind it, so the Finished of that flight has finishedGrace to come.
func (m *Machine) notOpened(seq uint64, now time.Time) {
	switch {
	case m.client || m.doomed:
	case !m.repeated:
		m.failed, m.failedSeq = true, max(m.failedSeq, seq)
	case seq > m.failedSeq: // else a doubled datagram
		m.doomed, m.deadline = true, now.Add(finishedGrace)
	}
}

// wrongKeys ends the handshake of a peer with other keys.
func (m *Machine) wrongKeys() {
	reason := ReasonSignature
	if m.suite.PSK {
		reason = ReasonPSKFailed
	}
	m.fail(failure(reason, alertDecryptError, "the client's Finished doesn't open"))
}

// Unproven reports whether the handshake, under way, looks as if the peer had another key: its Finished came and didn't open, or
// as a client, that the server said all but what answers our Finished. Lost datagrams alone look so to a client only.
func (m *Machine) Unproven() bool {
	if m.client {
		return m.state == stateChangeCipherSpec || m.state == stateFinished
	}
	return m.failed
}

// finished handles the plaintext of an authentic handshake record: it must be Finished, which no sane peer fragments.
func (m *Machine) finished(plaintext []byte, now time.Time) {
	f, rest, ok := parseFragment(plaintext)
	switch {
	case !ok || len(rest) > 0 || !f.whole():
		m.fail(malformed("a sealed handshake record"))
	case f.typ != typeFinished || int(f.seq) != m.recvSeq:
		m.fail(failure(ReasonProtocol, alertUnexpectedMessage, "a sealed message is not the Finished that is due"))
	case len(f.body) != finishedLen:
		m.fail(malformed("Finished"))
	case !m.verified(f.body):
		m.fail(failure(ReasonProtocol, alertDecryptError, "Finished doesn't match what was said"))
	case !m.ems && !m.noEMS:
		// With PSK it is told to a peer that proved its key, and to nobody else: who is exempted is no one's business (S5).
		m.fail(failure(ReasonNoExtendedMasterSecret, alertHandshakeFailure, "no extended master secret"))
	case m.client:
		m.succeed()
	default:
		m.script.text = append(m.script.text, f.raw...)
		m.script.flight = m.script.flight[:0]
		m.finish(now)
		m.succeed()
	}
}

// finish sends the flight that ends with our ChangeCipherSpec and Finished.
func (m *Machine) finish(now time.Time) {
	m.script.flight = append(m.script.flight, item{kind: itemChangeCipherSpec})
	v := m.keys.master.verifyData(m.suite.Hash, m.client, m.script.text)
	start := m.script.begin(typeFinished)
	m.script.text = append(m.script.text, v[:]...)
	m.script.end(start, itemSealed)
	m.writer = record.NewCipher(&m.write)
	m.sendNew(now)
}

// adopt takes over the keys that a job made.
func (m *Machine) adopt(k secrets) {
	m.keys = k
	m.read, m.write = k.client, k.server
	if m.client {
		m.read, m.write = k.server, k.client
	}
	m.reader = record.NewCipher(&m.read)
}
