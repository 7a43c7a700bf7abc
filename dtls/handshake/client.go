package handshake

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// NewClient begins a handshake as a client: with PSK suites when p has an identity, else with certificates. What is kept of p is
// copied.
func NewClient(c *Config, cb Callbacks, t Timers, p ClientParams, now time.Time) *Machine {
	m := newMachine(c, cb, t, true)
	m.identity, m.psk = slices.Clone(p.PSKIdentity), p.PSKIdentity != nil
	m.localCID, m.serverName = slices.Clone(p.LocalCID), p.ServerName
	m.random[0] = c.random()
	if len(p.PSKIdentity) > maxIdentity || len(p.ServerName) > maxServerName || len(p.LocalCID) > 255 || !m.offersAny() {
		// Nothing was said, so there is nobody to alert.
		m.end(failure(ReasonNoCommonSuite, 0, "nothing to offer, or a name too long"))
		return m
	}
	m.sendHello(now)
	return m
}

// offers reports whether the client offers a suite.
func (m *Machine) offers(s *Suite) bool { return m.conf.usable(s) && s.PSK == m.psk }

func (m *Machine) offersAny() bool {
	return slices.ContainsFunc(m.conf.suites(), func(s Suite) bool { return m.offers(&s) })
}

func (m *Machine) offersECDHE() bool {
	return slices.ContainsFunc(m.conf.suites(), func(s Suite) bool { return m.offers(&s) && s.ECDHE })
}

// sendHello sends a ClientHello: the first, or one with a cookie, which the transcript then begins with (RFC 6347, Section
// 4.2.1).
func (m *Machine) sendHello(now time.Time) {
	m.script.text, m.script.flight = m.script.text[:0], m.script.flight[:0]
	m.recvSeq = int(m.script.seq) // a server's ServerHello has the number of the hello that it answers
	m.fragments.drop()
	m.held, m.heldClear = nil, 0 // their memory was given back with the fragments'
	start := m.script.begin(typeClientHello)
	b := binary.BigEndian.AppendUint16(m.script.text, versionDTLS12)
	b = append(b, m.random[0][:]...)
	b = append(b, 0, byte(len(m.cookie))) // no session
	b = append(b, m.cookie...)
	at := len(b)
	b = append(b, 0, 0)
	for _, s := range m.conf.suites() {
		if m.offers(&s) {
			b = binary.BigEndian.AppendUint16(b, s.ID)
		}
	}
	closeUint16(b, at)
	b = append(b, 1, 0) // no compression
	m.script.text = m.appendOffers(b)
	m.script.end(start, itemClear)
	m.hellos++
	m.state = stateServerHello
	m.sendNew(now)
}

// appendOffers appends the extensions of a ClientHello.
func (m *Machine) appendOffers(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0)
	if m.sendsName() {
		n := len(m.serverName)
		b = binary.BigEndian.AppendUint16(b, extServerName)
		b = binary.BigEndian.AppendUint16(b, uint16(n+5))
		b = binary.BigEndian.AppendUint16(b, uint16(n+3))
		b = append(b, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, m.serverName...)
	}
	if m.offersECDHE() {
		g := groups()
		b = appendExtension(b, extGroups, 0, 6, 0, byte(g[0]), 0, byte(g[1]), 0, byte(g[2]))
		b = appendExtension(b, extPointFormats, 1, 0)
	}
	if !m.psk {
		b = appendExtension(b, extSignatures, append([]byte{0, 4}, ourSchemes()...)...)
	}
	b = appendExtension(b, extEMS)
	b = appendExtension(b, extRenegotiation, 0)
	if m.localCID != nil {
		b = appendCID(b, m.localCID)
	}
	closeUint16(b, at)
	return b
}

// sendsName: an address is no host name (RFC 6066, Section 3).
func (m *Machine) sendsName() bool {
	_, err := netip.ParseAddr(m.serverName)
	return m.serverName != "" && err != nil
}

// helloVerifyRequest answers with the cookie (RFC 6347, Section 4.2.1). Its message_seq is that of our hello, or 0 from
// servers that keep nothing.
func (m *Machine) helloVerifyRequest(f *fragment, now time.Time) {
	if m.state != stateServerHello || !f.whole() || int(f.seq) != m.recvSeq && f.seq != 0 {
		return
	}
	s := cryptobyte.String(f.body)
	var version uint16
	var cookie cryptobyte.String
	if !s.ReadUint16(&version) || version != versionDTLS10 && version != versionDTLS12 ||
		!s.ReadUint8LengthPrefixed(&cookie) || cookie.Empty() || !s.Empty() {
		return // not signed by anybody: an honest one may follow
	}
	if m.hellos >= maxHellos || equal(cookie, m.cookie) {
		return
	}
	m.cookie = append([]byte(nil), cookie...)
	m.sendHello(now)
}

// clientMessage handles the server's next message.
func (m *Machine) clientMessage(typ uint8, body []byte) *Error {
	switch typ {
	case typeServerHello:
		return m.readServerHello(body)
	case typeCertificate:
		chain, ok := parseCertificate(body)
		if !ok {
			return malformed("Certificate")
		}
		if len(chain) == 0 {
			return failure(ReasonNoCertificate, alertHandshakeFailure, "the server has no certificate")
		}
		m.theirs, m.state = m.script.last(body), stateServerKeyExchange
	case typeServerKeyExchange:
		m.peerExchange = body
		if m.state = stateCertificateRequest; m.suite.PSK {
			m.state = stateServerHelloDone
		}
	case typeCertificateRequest:
		var ok bool
		if m.schemes, ok = parseCertificateRequest(body); !ok {
			return malformed("CertificateRequest")
		}
		m.asked, m.state = true, stateServerHelloDone
	case typeServerHelloDone:
		if len(body) > 0 {
			return malformed("ServerHelloDone")
		}
		return m.serverDone()
	}
	return nil
}

// readServerHello checks that the server chose of what was offered.
func (m *Machine) readServerHello(body []byte) *Error {
	s := cryptobyte.String(body)
	var version, id uint16
	var random []byte
	var session, extensions cryptobyte.String
	var compression uint8
	if !s.ReadUint16(&version) || !s.ReadBytes(&random, 32) || !s.ReadUint8LengthPrefixed(&session) || len(session) > 32 ||
		!s.ReadUint16(&id) || !s.ReadUint8(&compression) ||
		!s.Empty() && (!s.ReadUint16LengthPrefixed(&extensions) || !s.Empty()) {
		return malformed("ServerHello")
	}
	m.random[1] = [32]byte(random)
	if version != versionDTLS12 {
		return failure(ReasonVersion, alertProtocolVersion, "the server doesn't speak DTLS 1.2")
	}
	all := m.conf.suites()
	i := slices.IndexFunc(all, func(s Suite) bool { return s.ID == id && m.offers(&s) })
	if i < 0 || compression != 0 {
		return illegal("the server chose what was not offered")
	}
	m.suite = all[i]
	if err := m.readExtensions(extensions); err != nil {
		return err
	}
	if m.state = stateServerCertificate; m.suite.PSK {
		m.state = stateServerKeyExchange
	}
	return nil
}

// readExtensions reads those of a ServerHello: none may be there that was not offered (RFC 5246, Section 7.4.1.4).
func (m *Machine) readExtensions(extensions cryptobyte.String) *Error {
	if doubled(extensions) {
		return malformed("ServerHello")
	}
	given := false
	for s := extensions; !s.Empty(); {
		id, data, _ := nextExtension(&s) // doubled saw that they are whole
		ok := true
		switch {
		case id == extEMS:
			m.ems, ok = true, data.Empty()
		case id == extRenegotiation:
			ok = len(data) == 1 && data[0] == 0 // RFC 5746, Section 3.4
		case id == extPointFormats && m.offersECDHE():
			ok = len(data) >= 2 && int(data[0]) == len(data)-1 && has(data[1:], 0)
		case id == extServerName && m.sendsName():
			ok = data.Empty()
		case id == extConnectionID && m.localCID != nil:
			var cid []byte
			cid, given, ok = connectionID(extensions)
			m.remoteCID = append([]byte{}, cid...)
		default:
			return failure(ReasonProtocol, alertUnsupportedExtension, "the server answers what was not asked")
		}
		if !ok {
			return malformed("an extension")
		}
	}
	if !given {
		m.localCID, m.remoteCID = nil, nil
	}
	return nil
}

// serverDone begins our flight.
func (m *Machine) serverDone() *Error {
	if m.peerExchange != nil {
		var ok bool
		if m.kx, ok = parseKeyExchange(m.peerExchange, m.suite); !ok {
			return malformed("ServerKeyExchange")
		}
	}
	m.script.flight = m.script.flight[:0]
	if !m.suite.PSK {
		m.begin(m.newJob(jobServerVerify))
		return nil
	}
	if !m.suite.ECDHE {
		start := m.script.begin(typeClientKeyExchange)
		m.script.text = appendIdentity(m.script.text, m.identity)
		m.script.end(start, itemClear)
	}
	m.begin(m.newJob(jobLookUp))
	return nil
}

func appendIdentity(b, identity []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(identity)))
	return append(b, identity...)
}

// resumeClient goes on after a job.
func (m *Machine) resumeClient(j *Job, now time.Time) {
	m.noEMS = m.noEMS || j.noEMS
	if j.kind == jobLookUp && m.suite.ECDHE {
		next := m.newJob(jobExchange)
		next.psk = j.psk
		m.begin(next)
		return
	}
	if j.kind != jobLookUp {
		m.takeScript(j)
	}
	m.adopt(j.keys)
	m.state = stateChangeCipherSpec
	m.finish(now)
}
