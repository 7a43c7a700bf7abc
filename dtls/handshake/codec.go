package handshake

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

// Handshake message types (RFC 5246, Section 7.4; RFC 6347, Section 4.3.2).
const (
	typeHelloRequest       = 0
	typeClientHello        = 1
	typeServerHello        = 2
	typeHelloVerifyRequest = 3
	typeCertificate        = 11
	typeServerKeyExchange  = 12
	typeCertificateRequest = 13
	typeServerHelloDone    = 14
	typeCertificateVerify  = 15
	typeClientKeyExchange  = 16
	typeFinished           = 20
)

// Extensions (the IANA registry "TLS ExtensionType Values").
const (
	extServerName     = 0      // RFC 6066, Section 3
	extGroups         = 10     // supported_groups, RFC 8422, Section 5.1.1
	extPointFormats   = 11     // RFC 8422, Section 5.1.2
	extSignatures     = 13     // signature_algorithms, RFC 5246, Section 7.4.1.4.1
	extEMS            = 23     // RFC 7627, Section 5.1
	extConnectionID   = 54     // RFC 9146, Section 3
	extRenegotiation  = 0xff01 // RFC 5746, Section 3.2
	scsv              = 0x00ff // TLS_EMPTY_RENEGOTIATION_INFO_SCSV, RFC 5746, Section 3.3
	versionDTLS10     = 0xfeff
	versionDTLS12     = 0xfefd
	headerLen         = 12 // of a handshake message, RFC 6347, Section 4.2.2
	finishedLen       = 12 // verify_data, RFC 5246, Section 7.4.9
	curveTypeNamed    = 3  // RFC 8422, Section 5.4
	certTypeECDSASign = 64 // RFC 8422, Section 5.5
)

// fragment is one handshake fragment as it lies in a record: views.
type fragment struct {
	typ    uint8
	total  int // length of the message
	seq    uint16
	offset int
	body   []byte
	raw    []byte // header and body
}

// whole reports whether the fragment is all of its message.
func (f *fragment) whole() bool { return len(f.body) == f.total }

// parseFragment takes one fragment off a handshake record (RFC 6347, Section 4.2.2).
func parseFragment(b []byte) (f fragment, rest []byte, ok bool) {
	if len(b) < headerLen {
		return fragment{}, nil, false
	}
	f.typ = b[0]
	f.total = uint24(b[1:])
	f.seq = binary.BigEndian.Uint16(b[4:])
	f.offset = uint24(b[6:])
	n := uint24(b[9:])
	if n > len(b)-headerLen || f.offset+n > f.total {
		return fragment{}, nil, false
	}
	end := headerLen + n
	f.body, f.raw = b[headerLen:end:end], b[:end:end]
	return f, b[end:], true
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

func appendUint24(b []byte, n int) []byte { return append(b, byte(n>>16), byte(n>>8), byte(n)) }

// appendHeader appends the header of a whole message of n bytes.
func appendHeader(b []byte, typ uint8, seq uint16, n int) []byte {
	return appendFragmentHeader(b, typ, seq, n, 0, n)
}

func appendFragmentHeader(b []byte, typ uint8, seq uint16, total, offset, n int) []byte {
	b = append(b, typ)
	b = appendUint24(b, total)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = appendUint24(b, offset)
	return appendUint24(b, n)
}

// closeMessage writes the length of the message whose header begins at start, once its body is complete.
func closeMessage(b []byte, start int) {
	n := len(b) - start - headerLen
	for _, at := range [...]int{start + 1, start + 9} {
		b[at], b[at+1], b[at+2] = byte(n>>16), byte(n>>8), byte(n)
	}
}

// closeUint16 writes the length of what follows the two bytes at start.
func closeUint16(b []byte, start int) {
	binary.BigEndian.PutUint16(b[start:], uint16(len(b)-start-2))
}

// appendExtension appends one extension.
func appendExtension(b []byte, id uint16, data ...byte) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// appendCertificate appends the body of a Certificate message (RFC 5246, Section 7.4.2).
func appendCertificate(b []byte, chain [][]byte) []byte {
	n := 0
	for _, c := range chain {
		n += 3 + len(c)
	}
	b = appendUint24(b, n)
	for _, c := range chain {
		b = appendUint24(b, len(c))
		b = append(b, c...)
	}
	return b
}

// parseCertificate reads the body of a Certificate message. The chain is part of it.
func parseCertificate(body []byte) (chain [][]byte, ok bool) {
	s := cryptobyte.String(body)
	var list cryptobyte.String
	if !s.ReadUint24LengthPrefixed(&list) || !s.Empty() {
		return nil, false
	}
	for !list.Empty() {
		var c cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&c) || c.Empty() || len(chain) == maxChain {
			return nil, false
		}
		chain = append(chain, c[:len(c):len(c)])
	}
	return chain, true
}

// keyExchange is what a ServerKeyExchange holds (RFC 8422, Section 5.4; RFC 5489, Section 2).
type keyExchange struct {
	params    []byte // ServerECDHParams as signed
	group     uint16
	point     []byte
	scheme    uint16 // of the signature
	signature []byte
}

// parseKeyExchange reads the body of a ServerKeyExchange. A hint of an identity is skipped: we know who we are (RFC 4279,
// Section 5.2).
func parseKeyExchange(body []byte, s Suite) (k keyExchange, ok bool) {
	in := cryptobyte.String(body)
	var hint, point, signature cryptobyte.String
	if s.PSK && (!in.ReadUint16LengthPrefixed(&hint) || len(hint) > maxIdentity) {
		return k, false
	}
	if s.ECDHE {
		params := in
		var kind uint8
		if !in.ReadUint8(&kind) || kind != curveTypeNamed || !in.ReadUint16(&k.group) ||
			!in.ReadUint8LengthPrefixed(&point) || point.Empty() {
			return k, false
		}
		k.params, k.point = params[:len(params)-len(in)], point
	}
	if !s.PSK {
		if !in.ReadUint16(&k.scheme) || !in.ReadUint16LengthPrefixed(&signature) || signature.Empty() {
			return k, false
		}
		k.signature = signature
	}
	return k, in.Empty()
}

// parseClientKey reads the body of a ClientKeyExchange (RFC 4279, Section 2; RFC 5489, Section 2; RFC 8422, Section 5.7).
func parseClientKey(body []byte, s Suite) (identity, point []byte, ok bool) {
	in := cryptobyte.String(body)
	var i, p cryptobyte.String
	if s.PSK && (!in.ReadUint16LengthPrefixed(&i) || len(i) > maxIdentity) {
		return nil, nil, false
	}
	if s.ECDHE && (!in.ReadUint8LengthPrefixed(&p) || p.Empty()) {
		return nil, nil, false
	}
	return i, p, in.Empty()
}

// parseCertificateVerify reads the body of a CertificateVerify (RFC 5246, Section 7.4.8).
func parseCertificateVerify(body []byte) (scheme uint16, signature []byte, ok bool) {
	in := cryptobyte.String(body)
	var s cryptobyte.String
	ok = in.ReadUint16(&scheme) && in.ReadUint16LengthPrefixed(&s) && !s.Empty() && in.Empty()
	return scheme, s, ok
}

// parseCertificateRequest reads the body of a CertificateRequest (RFC 5246, Section 7.4.4) and returns the schemes.
func parseCertificateRequest(body []byte) (schemes []byte, ok bool) {
	in := cryptobyte.String(body)
	var types, list, names cryptobyte.String
	ok = in.ReadUint8LengthPrefixed(&types) && has(types, certTypeECDSASign) &&
		in.ReadUint16LengthPrefixed(&list) && len(list) > 0 && len(list)%2 == 0 &&
		in.ReadUint16LengthPrefixed(&names) && in.Empty()
	for ok && !names.Empty() {
		var name cryptobyte.String
		ok = names.ReadUint16LengthPrefixed(&name) && !name.Empty()
	}
	return list, ok
}
