// Package record reads, opens, seals and writes DTLS 1.2 records (RFC 6347, Section 4.1), with and without Connection ID
// (RFC 9146), and keeps the window that finds replayed ones (RFC 6347, Section 4.1.2.6). Its protection is AES-CCM and
// AES-CCM-8 (RFC 6655), AES-GCM (RFC 5288) and ChaCha20-Poly1305 (RFC 7905), and nothing else.
//
// Nothing here is safe for concurrent use: a [Cipher] and a [Window] belong to whoever holds their session. [Key], [Record]
// and [AEAD] are values. Nothing allocates per record.
//
// It does no I/O, has no clock and keeps no state of a session: it doesn't number records, count them against the limits of
// [AEAD.MaxSeals] and [AEAD.MaxFailedOpens], hold records back, decide which epoch or Connection ID is whose, or look into
// what records carry. Records that don't open are reported and nothing more; dropping them (RFC 6347, Section 4.1.2.7) is the
// caller's.
package record

import (
	"encoding/binary"
)

// Type is a record's content type (RFC 5246, Section 6.2.1).
type Type uint8

// The content types of DTLS 1.2. A CID record is TypeCID outside, and its own type is found when it is opened.
const (
	TypeChangeCipherSpec Type = 20
	TypeAlert            Type = 21
	TypeHandshake        Type = 22
	TypeApplicationData  Type = 23
	TypeCID              Type = 25 // tls12_cid, RFC 9146, Section 3
)

// Versions in a record's header. They count downwards.
const (
	VersionDTLS10 = 0xfeff // in a first ClientHello and in HelloVerifyRequest, RFC 6347, Section 4.2.1
	VersionDTLS12 = 0xfefd
)

const (
	HeaderLen = 13        // of a record without Connection ID, in bytes
	MaxSeq    = 1<<48 - 1 // the last sequence number of an epoch; they must not wrap (RFC 6347, Section 4.1)
)

// Record is one DTLSPlaintext or DTLSCiphertext as it lies in a datagram, whose bytes CID, Payload and Raw alias. Nothing in
// it is authenticated before [Cipher.Open].
type Record struct {
	Type    Type
	Version uint16
	Epoch   uint16
	Seq     uint64 // up to MaxSeq
	CID     []byte // of a TypeCID record, nil for others
	Payload []byte // what follows the header: cleartext, or explicit nonce, ciphertext and tag
	Raw     []byte // header and payload
}

// Parse reads the first record of b and returns what follows it. cidLen is the length of the Connection IDs that we gave out,
// for the header doesn't tell (RFC 9146, Section 4); with 0 there are none, and a TypeCID record is not ok. A record is not ok
// either when its header is cut off, names no version of DTLS, or announces more than the datagram holds or a record may have:
// the rest of the datagram is lost then (RFC 6347, Section 4.1.2.7). Types other than those above are the caller's to refuse.
func Parse(b []byte, cidLen int) (r Record, rest []byte, ok bool) {
	header := HeaderLen
	if len(b) < header || b[1] != VersionDTLS12>>8 {
		return Record{}, nil, false
	}
	if Type(b[0]) == TypeCID {
		header += cidLen
		if cidLen <= 0 || len(b) < header {
			return Record{}, nil, false
		}
		r.CID = b[11 : 11+cidLen : 11+cidLen]
	}
	length := int(binary.BigEndian.Uint16(b[header-2:]))
	end := header + length
	if length > maxPayload || end > len(b) {
		return Record{}, nil, false
	}
	number := binary.BigEndian.Uint64(b[3:])
	r.Type = Type(b[0])
	r.Version = binary.BigEndian.Uint16(b[1:])
	r.Epoch, r.Seq = uint16(number>>48), number&MaxSeq
	r.Payload, r.Raw = b[header:end:end], b[:end:end]
	return r, b[end:], true
}

// AppendClear appends a record of epoch 0 to dst: a payload in the clear. It panics when seq is beyond MaxSeq or payload is
// longer than 2^14 bytes.
func AppendClear(dst []byte, typ Type, seq uint64, payload []byte) []byte {
	check(seq, nil, payload)
	dst = appendHeader(dst, typ, seq, nil, len(payload))
	return append(dst, payload...)
}

// appendHeader appends a header; number is epoch and sequence number as they lie in it.
func appendHeader(dst []byte, typ Type, number uint64, cid []byte, length int) []byte {
	dst = append(dst, byte(typ), VersionDTLS12>>8, VersionDTLS12&0xff)
	dst = binary.BigEndian.AppendUint64(dst, number)
	dst = append(dst, cid...) // RFC 9146, Section 4: before the length
	return binary.BigEndian.AppendUint16(dst, uint16(length))
}

// check panics on what can't be written. A sequence number that wraps would use a nonce twice; silence would be worse than
// the end of the process.
func check(seq uint64, cid, payload []byte) {
	if seq > MaxSeq || len(cid) > maxCID || len(payload) > maxPlaintext {
		panic("record: sequence number, Connection ID or payload out of range")
	}
}
