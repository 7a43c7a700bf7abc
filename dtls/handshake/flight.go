package handshake

import (
	"time"

	"coapbridge/dtls/record"
)

// script is the transcript of a handshake (RFC 6347, Section 4.2.6: headers included, as if unfragmented; without
// HelloVerifyRequest and the hello before it), and the flight of ours that stands in it.
type script struct {
	text   []byte
	seq    uint16 // message_seq of our next message
	flight []item
}

// item is one message of a flight.
type item struct {
	kind       itemKind
	start, end int // in the transcript
}

type itemKind uint8

const (
	itemClear itemKind = iota
	itemChangeCipherSpec
	itemSealed
)

// last is where body stands, which ends the transcript.
func (s *script) last(body []byte) item {
	return item{start: len(s.text) - len(body), end: len(s.text)}
}

// begin begins a message of ours; its body is appended to text.
func (s *script) begin(typ uint8) (start int) {
	start = len(s.text)
	s.text = appendHeader(s.text, typ, s.seq, 0)
	s.seq++
	return start
}

// end ends it and makes it part of the flight.
func (s *script) end(start int, kind itemKind) {
	closeMessage(s.text, start)
	s.flight = append(s.flight, item{kind, start, len(s.text)})
}

// fork returns a copy that may be appended to while s is read.
func (s *script) fork() script {
	return script{text: s.text[:len(s.text):len(s.text)], seq: s.seq}
}

// packer cuts a flight into records and packs those into datagrams.
type packer struct {
	m     *Machine
	limit int
	buf   []byte
	start int // of the datagram that is filled
}

func (p *packer) room() int { return p.limit - (len(p.buf) - p.start) }

// flush ends a datagram.
func (p *packer) flush() {
	if len(p.buf) > p.start {
		p.m.out = append(p.m.out, p.buf[p.start:len(p.buf):len(p.buf)])
		p.start = len(p.buf)
	}
}

// clear adds a message in the clear, fragmented where it must be (RFC 6347, Section 4.2.3). A ClientHello never is: a server
// that keeps nothing before the cookie couldn't read it.
func (p *packer) clear(message []byte) {
	const headers = record.HeaderLen + headerLen
	body := message[headerLen:]
	if message[0] == typeClientHello {
		p.limit = max(p.limit, headers+len(body))
	}
	if need := headers + len(body); need > p.room() && need <= p.limit {
		p.flush()
	}
	for offset := 0; ; {
		if p.room() < headers+min(len(body)-offset, headers) {
			p.flush()
		}
		n := min(len(body)-offset, p.room()-headers)
		p.buf = appendRecordHeader(p.buf, record.TypeHandshake, p.m.nextClear(), headerLen+n)
		p.buf = append(p.buf, message[:6]...) // type, length, message_seq
		p.buf = appendUint24(appendUint24(p.buf, offset), n)
		p.buf = append(p.buf, body[offset:offset+n]...)
		if offset += n; offset == len(body) {
			return
		}
	}
}

// appendRecordHeader appends the header of a record of epoch 0 whose payload of n bytes follows.
func appendRecordHeader(dst []byte, typ record.Type, seq uint64, n int) []byte {
	dst = record.AppendClear(dst, typ, seq, nil)
	dst[len(dst)-2], dst[len(dst)-1] = byte(n>>8), byte(n)
	return dst
}

// seal adds a record of epoch 1.
func (p *packer) seal(typ record.Type, plaintext []byte) {
	m := p.m
	need := record.HeaderLen + len(m.remoteCID) + len(plaintext) + m.write.AEAD.Overhead() + 1
	if need > p.room() {
		p.flush()
	}
	p.buf = m.writer.Seal(p.buf, typ, 1, m.nextSeq, m.remoteCID, plaintext)
	m.nextSeq++
}

// send puts our flight out, each record under a new number (S25), and sets the timer.
func (m *Machine) send(now time.Time) {
	size := 0
	for _, i := range m.script.flight {
		size += 96 + len(m.remoteCID) + i.end - i.start
	}
	size += size / 8
	p := packer{m: m, limit: m.maxDatagram(), buf: make([]byte, 0, size)}
	for _, i := range m.script.flight {
		switch text := m.script.text[i.start:i.end]; i.kind {
		case itemClear:
			p.clear(text)
		case itemChangeCipherSpec:
			if p.room() <= record.HeaderLen {
				p.flush()
			}
			p.buf = append(appendRecordHeader(p.buf, record.TypeChangeCipherSpec, m.nextClear(), 1), 1)
		case itemSealed:
			p.seal(record.TypeHandshake, text)
		}
	}
	p.flush()
	m.sent = now
	m.deadline = now.Add(m.timeout)
}

// sendNew sends a new flight: the back-off begins anew.
func (m *Machine) sendNew(now time.Time) {
	m.timeout = m.timers.First
	m.send(now)
}

// alert puts a fatal alert out, under the keys in use (S22).
func (m *Machine) alert(description uint8) {
	text := [...]byte{alertLevelFatal, description}
	p := packer{m: m, limit: m.maxDatagram()}
	if m.writer != nil {
		p.seal(record.TypeAlert, text[:])
	} else {
		p.buf = record.AppendClear(p.buf, record.TypeAlert, m.nextClear(), text[:])
	}
	p.flush()
}

func (m *Machine) nextClear() uint64 {
	m.clearSeq++
	return m.clearSeq - 1
}

func (m *Machine) maxDatagram() int {
	if m.conf.MaxDatagram == 0 {
		return defaultMaxDatagram
	}
	return max(m.conf.MaxDatagram, minMaxDatagram)
}
