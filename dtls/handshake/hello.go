package handshake

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

// Hello is a ClientHello (RFC 6347, Section 4.3.2) as it lies in a datagram: views, checked for form. Nothing in it is
// authenticated. The zero value is none.
type Hello struct {
	MessageSeq  uint16
	Version     uint16 // client_version
	Random      *[32]byte
	SessionID   []byte
	Cookie      []byte
	Suites      []byte // two bytes each
	Compression []byte
	Extensions  []byte // without the length in front; nil when there are none
	Message     []byte // all of it, header included
}

// ParseHello reads the payload of a handshake record that holds exactly one whole, unfragmented ClientHello. Its result
// aliases the payload. It allocates nothing.
func ParseHello(fragment []byte) (Hello, bool) {
	if len(fragment) > maxHandshakeBytes {
		return Hello{}, false
	}
	f, rest, ok := parseFragment(fragment)
	if !ok || f.typ != typeClientHello || len(rest) > 0 || !f.whole() {
		return Hello{}, false
	}
	h := Hello{MessageSeq: f.seq, Message: f.raw}
	s := cryptobyte.String(f.body)
	var random, session, cookie, suites, compression cryptobyte.String
	if !s.ReadUint16(&h.Version) || !s.ReadBytes((*[]byte)(&random), 32) ||
		!s.ReadUint8LengthPrefixed(&session) || len(session) > 32 ||
		!s.ReadUint8LengthPrefixed(&cookie) ||
		!s.ReadUint16LengthPrefixed(&suites) || len(suites) == 0 || len(suites)%2 != 0 ||
		!s.ReadUint8LengthPrefixed(&compression) || !has(compression, 0) {
		return Hello{}, false
	}
	if !s.Empty() {
		var all cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&all) || !s.Empty() {
			return Hello{}, false
		}
		h.Extensions = all
		for n := 0; !all.Empty(); n++ {
			if _, _, ok := nextExtension(&all); !ok || n == maxExtensions {
				return Hello{}, false
			}
		}
	}
	h.Random = (*[32]byte)(random)
	h.SessionID, h.Cookie, h.Suites, h.Compression = session, cookie, suites, compression
	return h, true
}

func has(list []byte, b byte) bool {
	for _, c := range list {
		if c == b {
			return true
		}
	}
	return false
}

// nextExtension takes one extension off s.
func nextExtension(s *cryptobyte.String) (id uint16, data cryptobyte.String, ok bool) {
	ok = s.ReadUint16(&id) && s.ReadUint16LengthPrefixed(&data)
	return id, data, ok
}

// doubled reports whether an extension appears twice, which RFC 5246, Section 7.4.1.4 forbids.
func doubled(extensions []byte) bool {
	var seen [maxExtensions]uint16
	n := 0
	for s := cryptobyte.String(extensions); !s.Empty(); n++ {
		id, _, ok := nextExtension(&s)
		if !ok || n == maxExtensions {
			return true
		}
		for _, other := range seen[:n] {
			if other == id {
				return true
			}
		}
		seen[n] = id
	}
	return false
}

// find returns an extension's data.
func find(extensions []byte, wanted uint16) (cryptobyte.String, bool) {
	for s := cryptobyte.String(extensions); !s.Empty(); {
		id, data, ok := nextExtension(&s)
		if !ok {
			return nil, false
		}
		if id == wanted {
			return data, true
		}
	}
	return nil, false
}

// EMS reports whether the client offers extended master secret (RFC 7627, Section 5.1).
func (h Hello) EMS() bool {
	data, ok := find(h.Extensions, extEMS)
	return ok && data.Empty()
}

// DTLS12 reports whether the client speaks DTLS 1.2, whatever newer version it prefers (RFC 6347, Section 4.1: versions count
// downwards).
func (h Hello) DTLS12() bool { return h.Version>>8 == 0xfe && h.Version <= versionDTLS12 }

// OffersSuite reports whether the client offers a cipher suite.
func (h Hello) OffersSuite(id uint16) bool { return hasUint16(h.Suites, id) }

// hasUint16 searches a list of big-endian numbers.
func hasUint16(list []byte, wanted uint16) bool {
	for ; len(list) >= 2; list = list[2:] {
		if binary.BigEndian.Uint16(list) == wanted {
			return true
		}
	}
	return false
}

// ServerName is the host name of the SNI (RFC 6066, Section 3), "" when there is none or its form is wrong. It allocates.
func (h Hello) ServerName() string {
	name, _ := h.serverName()
	return string(name)
}

// serverName returns the SNI's host name; ok is false when its form is wrong.
func (h Hello) serverName() (name []byte, ok bool) {
	data, there := find(h.Extensions, extServerName)
	if !there {
		return nil, true
	}
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || list.Empty() || !data.Empty() {
		return nil, false
	}
	for !list.Empty() {
		var kind uint8
		var value cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&value) || value.Empty() {
			return nil, false
		}
		if kind != 0 { // host_name is the only kind
			continue
		}
		if name != nil || len(value) > maxServerName || has(value, 0) {
			return nil, false
		}
		name = value
	}
	return name, true
}

// numbers returns the list of numbers in a supported_groups or signature_algorithms extension.
func (h Hello) numbers(extension uint16) (list []byte, there, ok bool) {
	data, there := find(h.Extensions, extension)
	if !there {
		return nil, false, true
	}
	var s cryptobyte.String
	ok = data.ReadUint16LengthPrefixed(&s) && data.Empty() && len(s) > 0 && len(s)%2 == 0
	return s, true, ok
}

// connectionID returns the client's Connection ID (RFC 9146, Section 3), which may be empty.
func (h Hello) connectionID() (cid []byte, there, ok bool) { return connectionID(h.Extensions) }

func connectionID(extensions []byte) (cid []byte, there, ok bool) {
	data, there := find(extensions, extConnectionID)
	if !there {
		return nil, false, true
	}
	var s cryptobyte.String
	ok = data.ReadUint8LengthPrefixed(&s) && data.Empty()
	return s, true, ok
}

// renegotiation reports whether the client knows secure renegotiation (RFC 5746, Section 3.6); ok is false when it claims to
// renegotiate.
func (h Hello) renegotiation() (known, ok bool) {
	if data, there := find(h.Extensions, extRenegotiation); there {
		return true, len(data) == 1 && data[0] == 0
	}
	return h.OffersSuite(scsv), true
}
