package dtls

import "encoding/binary"

// Content types of records (RFC 5246, Section 6.2.1).
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23
)

// Handshake message types (RFC 5246, Section 7.4; RFC 6347, Section 4.3.2).
const (
	msgClientHello        = 1
	msgServerHello        = 2
	msgHelloVerifyRequest = 3
	msgCertificate        = 11
	msgServerKeyExchange  = 12
	msgCertificateRequest = 13
	msgServerHelloDone    = 14
	msgCertificateVerify  = 15
	msgClientKeyExchange  = 16
)

const (
	recordHeader    = 13 // RFC 6347, Section 4.1
	handshakeHeader = 12 // RFC 6347, Section 4.2.2

	finishedLength = handshakeHeader + 12 // verify_data has 12 bytes in all our suites (RFC 5246, Section 7.4.9)
)

// record is one DTLSPlaintext or DTLSCiphertext (RFC 6347, Section 4.1) as it lies in a datagram. Nothing in it is
// authenticated.
type record struct {
	typ     uint8
	epoch   uint16
	raw     []byte // header and fragment
	payload []byte // fragment
}

// parseRecord reads the first record of b and returns the rest. It reports false for a header that is cut off or names
// another protocol, and for a length that runs past the datagram (RFC 6347, Section 4.1.2.7: such a datagram is dropped).
func parseRecord(b []byte) (r record, rest []byte, ok bool) {
	if len(b) < recordHeader {
		return record{}, nil, false
	}
	if b[1] != 0xfe || (b[2] != 0xfd && b[2] != 0xff) { // {254, 253} DTLS 1.2, {254, 255} DTLS 1.0 in a first hello
		return record{}, nil, false
	}
	end := recordHeader + int(binary.BigEndian.Uint16(b[11:]))
	if end > len(b) {
		return record{}, nil, false
	}
	return record{
		typ: b[0], epoch: binary.BigEndian.Uint16(b[3:]), raw: b[:end:end], payload: b[recordHeader:end:end],
	}, b[end:], true
}

// message is one handshake message or a fragment of one, in the clear.
type message struct {
	typ    uint8
	length int // of the whole message
	seq    uint16
	offset int
	body   []byte // this fragment
}

// whole reports whether the fragment is the entire message.
func (m message) whole() bool { return m.offset == 0 && len(m.body) == m.length }

// parseMessage reads the first handshake message of b (RFC 6347, Section 4.2.2). It reports false when it is cut off or
// claims bytes outside itself.
func parseMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < handshakeHeader {
		return message{}, nil, false
	}
	m = message{typ: b[0], length: uint24(b[1:]), seq: binary.BigEndian.Uint16(b[4:]), offset: uint24(b[6:])}
	n := uint24(b[9:])
	if handshakeHeader+n > len(b) || m.offset+n > m.length {
		return message{}, nil, false
	}
	m.body = b[handshakeHeader : handshakeHeader+n]
	return m, b[handshakeHeader+n:], true
}

// messages walks the handshake messages of a record in the clear and reports whether the record is well formed and f
// returned true for each.
func messages(payload []byte, f func(message) bool) bool {
	if len(payload) == 0 {
		return false
	}
	for len(payload) > 0 {
		m, rest, ok := parseMessage(payload)
		if !ok || !f(m) {
			return false
		}
		payload = rest
	}
	return true
}

// looksLikeCoAP reports whether a datagram that is no DTLS may be plain CoAP: version 1 and a token length up to 8
// (RFC 7252, Section 3). DTLS records start with 20 to 63 (RFC 7983).
func looksLikeCoAP(b []byte) bool { return len(b) >= 4 && b[0]>>6 == 1 && b[0]&0xf <= 8 }

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// appendAlert appends a record with an alert in the clear.
func appendAlert(b []byte, seq uint64, level, description uint8) []byte {
	b = append(b, typeAlert, 0xfe, 0xfd)
	b = binary.BigEndian.AppendUint64(b, seq) // epoch 0 and 48 bits of sequence number
	return append(b, 0, 2, level, description)
}
