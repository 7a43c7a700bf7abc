package handshake

import (
	"encoding/binary"
	"time"
)

// NewServer begins a handshake as a server, with a hello whose cookie was verified: hello came in the record numbered recordSeq.
// localCID is what the client is to put into its records when it offers Connection IDs (RFC 9146): nil refuses them, empty
// takes the client's only. What is kept is copied. When hello can't be answered, the machine is over already, with an alert to
// send.
func NewServer(c *Config, cb Callbacks, t Timers, hello Hello, recordSeq uint64, localCID []byte, now time.Time) *Machine {
	m := newMachine(c, cb, t, false)
	m.random[0] = *hello.Random
	m.clearSeq = min(recordSeq, maxClearSeq)
	if recordSeq > maxClearSeq || hello.MessageSeq > maxHelloSeq {
		m.fail(illegal("a hello's numbers leave no room"))
		return m
	}
	m.random[1] = c.random()
	m.script.text = append(make([]byte, 0, len(hello.Message)+512), hello.Message...)
	m.helloEnd = len(hello.Message)
	m.script.flight = m.flightRoom[:0]
	m.script.seq, m.recvSeq = hello.MessageSeq, int(hello.MessageSeq)+1
	hello, _ = ParseHello(m.script.text) // the copy: views of it may be kept
	o, err := m.negotiate(hello)
	if err != nil {
		m.fail(err)
		return m
	}
	if o.cid && localCID != nil {
		m.localCID = append([]byte{}, localCID...)
		m.remoteCID = append([]byte{}, o.remoteCID...)
	} else {
		o.cid = false
	}
	m.serverHello(o)
	if m.suite.ECDHE {
		m.begin(m.newJob(jobServerFlight))
		return m
	}
	m.script.end(m.script.begin(typeServerHelloDone), itemClear)
	m.state = stateClientKeyExchange
	m.sendNew(now)
	return m
}

// offer is what of a hello goes into the answer.
type offer struct {
	cid          bool
	remoteCID    []byte
	renegotiates bool
	pointFormats bool
}

// negotiate judges a hello and chooses.
func (m *Machine) negotiate(h Hello) (o offer, err *Error) {
	if !h.DTLS12() {
		return o, failure(ReasonVersion, alertProtocolVersion, "the client doesn't speak DTLS 1.2")
	}
	if doubled(h.Extensions) {
		return o, illegal("an extension appears twice") // RFC 5246, Section 7.4.1.4
	}
	name, ok := h.serverName()
	if !ok {
		return o, malformed("server_name")
	}
	m.serverName = string(name)
	if o.renegotiates, ok = h.renegotiation(); !ok {
		return o, failure(ReasonProtocol, alertHandshakeFailure, "renegotiation") // RFC 5746, Section 3.6
	}
	if o.remoteCID, o.cid, ok = h.connectionID(); !ok {
		return o, malformed("connection_id")
	}
	if data, there := find(h.Extensions, extEMS); there {
		if !data.Empty() {
			return o, malformed("extended_master_secret")
		}
		m.ems = true
	}
	return o, m.choose(h, &o)
}

// choose sets suite and group: the first of ours that the client offers.
func (m *Machine) choose(h Hello, o *offer) *Error {
	group, ok := chooseGroup(h)
	if !ok {
		return malformed("supported_groups")
	}
	schemes, _, ok := h.numbers(extSignatures)
	if !ok {
		return malformed("signature_algorithms")
	}
	signs := hasUint16(schemes, schemeP256) || hasUint16(schemes, schemeP384) // without the extension SHA-1 is meant
	for _, s := range m.conf.suites() {
		if !m.conf.usable(&s) || !h.OffersSuite(s.ID) || s.ECDHE && group == 0 || !s.PSK && !signs {
			continue
		}
		m.suite, m.group, m.schemes = s, group, schemes
		if !s.ECDHE {
			return nil
		}
		formats, there := find(h.Extensions, extPointFormats)
		if o.pointFormats = there; there && (len(formats) < 2 || int(formats[0]) != len(formats)-1 || !has(formats[1:], 0)) {
			return illegal("uncompressed points are not offered") // RFC 8422, Section 5.1.2
		}
		return nil
	}
	return failure(ReasonNoCommonSuite, alertHandshakeFailure, "no common suite")
}

// chooseGroup returns the first of our groups that a client offers, 0 for none. A client without the extension leaves it to us
// (RFC 8422, Section 4).
func chooseGroup(h Hello) (group uint16, ok bool) {
	list, there, ok := h.numbers(extGroups)
	if !ok {
		return 0, false
	}
	for _, g := range groups() {
		if !there || hasUint16(list, g) {
			return g, true
		}
	}
	return 0, true
}

// serverHello writes the ServerHello. It names no session: none is resumed.
func (m *Machine) serverHello(o offer) {
	start := m.script.begin(typeServerHello)
	b := binary.BigEndian.AppendUint16(m.script.text, versionDTLS12)
	b = append(b, m.random[1][:]...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, m.suite.ID)
	b = append(b, 0)
	extensions := len(b)
	b = append(b, 0, 0)
	if m.ems {
		b = appendExtension(b, extEMS)
	}
	if o.renegotiates {
		b = appendExtension(b, extRenegotiation, 0)
	}
	if o.pointFormats {
		b = appendExtension(b, extPointFormats, 1, 0)
	}
	if o.cid {
		b = appendCID(b, m.localCID)
	}
	if closeUint16(b, extensions); len(b) == extensions+2 {
		b = b[:extensions]
	}
	m.script.text = b
	m.script.end(start, itemClear)
}

func appendCID(b, cid []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, extConnectionID)
	b = binary.BigEndian.AppendUint16(b, uint16(1+len(cid)))
	b = append(b, byte(len(cid)))
	return append(b, cid...)
}

// serverMessage handles the client's next message.
func (m *Machine) serverMessage(typ uint8, body []byte) *Error {
	switch typ {
	case typeCertificate:
		chain, ok := parseCertificate(body)
		if !ok {
			return malformed("Certificate")
		}
		if len(chain) == 0 { // RFC 5246, Section 7.4.6
			return failure(ReasonNoCertificate, alertHandshakeFailure, "the client has no certificate")
		}
		m.theirs, m.state = m.script.last(body), stateClientKeyExchange
	case typeClientKeyExchange:
		end := len(m.script.text)
		m.keySeq = m.recordSeq
		m.clientKey = item{start: end - len(body) - headerLen, end: end}
		identity, point, ok := parseClientKey(body, m.suite)
		if !ok {
			return malformed("ClientKeyExchange")
		}
		m.identity, m.point = identity, point
		m.state = stateCertificateVerify
		if m.suite.PSK {
			m.begin(m.newJob(jobLookUp))
		}
	case typeCertificateVerify:
		m.peerExchange = body
		m.begin(m.newJob(jobClientFlight))
	}
	return nil
}

// resumeServer goes on after a job.
func (m *Machine) resumeServer(j *Job, now time.Time) {
	switch j.kind {
	case jobServerFlight:
		m.takeScript(j)
		m.ephemeral = j.ephemeral
		m.state = stateClientKeyExchange
		if !m.suite.PSK {
			m.state = stateClientCertificate
		}
		m.sendNew(now)
	case jobLookUp:
		m.noEMS = j.noEMS
		if m.suite.ECDHE {
			next := m.newJob(jobExchange)
			next.psk = j.psk
			m.begin(next)
			return
		}
		m.adopt(j.keys)
		m.state = stateChangeCipherSpec
	default:
		m.adopt(j.keys)
		m.noEMS = m.noEMS || j.noEMS
		m.state = stateChangeCipherSpec
	}
}

// takeScript takes over the messages that a job wrote.
func (m *Machine) takeScript(j *Job) {
	m.script.text, m.script.seq = j.script.text, j.script.seq
	m.script.flight = append(m.script.flight, j.script.flight...)
}
