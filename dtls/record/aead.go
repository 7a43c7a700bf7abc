package record

import "fmt"

// AEAD is a way to protect records. The zero value is none.
type AEAD uint8

// All there are. CCM has tags of 16 bytes, CCM8 of 8 (RFC 6655, Sections 3 and 4).
const (
	AES128CCM AEAD = 1 + iota
	AES128CCM8
	AES256CCM
	AES256CCM8
	AES128GCM
	AES256GCM
	ChaCha20Poly1305
)

// String returns the name as the cipher suites spell it.
func (a AEAD) String() string {
	switch a {
	case AES128CCM:
		return "AES_128_CCM"
	case AES128CCM8:
		return "AES_128_CCM_8"
	case AES256CCM:
		return "AES_256_CCM"
	case AES256CCM8:
		return "AES_256_CCM_8"
	case AES128GCM:
		return "AES_128_GCM"
	case AES256GCM:
		return "AES_256_GCM"
	case ChaCha20Poly1305:
		return "CHACHA20_POLY1305"
	}
	return fmt.Sprintf("AEAD(%d)", uint8(a))
}

// KeyLen is the length of a key, enc_key_length, in bytes.
func (a AEAD) KeyLen() int {
	switch a {
	case AES128CCM, AES128CCM8, AES128GCM:
		return 16
	}
	return 32
}

// IVLen is the length of the implicit part of a nonce as it is cut from the key block, fixed_iv_length, in bytes.
func (a AEAD) IVLen() int {
	if a == ChaCha20Poly1305 {
		return 12 // RFC 7905, Section 2
	}
	return 4 // RFC 5288, Section 3; RFC 6655, Section 3
}

// TagLen is the length of a tag in bytes.
func (a AEAD) TagLen() int {
	if a == AES128CCM8 || a == AES256CCM8 {
		return 8
	}
	return 16
}

// Overhead is by how many bytes a payload is longer than what it protects: the explicit part of the nonce, where there is
// one, and the tag. A Connection ID adds its length to the header, and one byte of type here.
func (a AEAD) Overhead() int { return a.explicitLen() + a.TagLen() }

// explicitLen is the length of the nonce's part that is sent in each record, record_iv_length.
func (a AEAD) explicitLen() int {
	if a == ChaCha20Poly1305 {
		return 0
	}
	return 8
}

// MaxSeals is how many records one key may seal. The session ends there.
func (a AEAD) MaxSeals() uint64 {
	switch a {
	case AES128GCM, AES256GCM:
		return maxSealsGCM
	case ChaCha20Poly1305:
		return maxSeals
	}
	return maxSealsCCM
}

// MaxFailedOpens is how many records may fail to open under one key. The session ends there, so it is also a spoofer's price
// for ending one: as many records that name its address and port or its Connection ID, its epoch, and sequence numbers
// that the window takes. With the shortest such records, of 29 or 37 bytes, each in a datagram of its own over IPv4:
//
//	CCM_8               2^20    1.0 million datagrams    60 MB   17 minutes at 1,000 a second
//	CCM                 2^23.5   12 million datagrams   771 MB  3.3 hours
//	ChaCha20-Poly1305   2^28    268 million datagrams    15 GB   75 hours
//	GCM                 2^28    268 million datagrams    17 GB   75 hours
//
// A caller that takes n records of one datagram divides the datagrams by n. TestD07SpoofersPrice prints the table, with the
// time that we spend on it.
func (a AEAD) MaxFailedOpens() uint64 {
	switch a {
	case AES128CCM8, AES256CCM8:
		return maxFailedOpensCCM8
	case AES128CCM, AES256CCM:
		return maxFailedOpensCCM
	}
	return maxFailedOpens
}
