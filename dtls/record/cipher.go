package record

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

const redacted = "[redacted]"

// Key is what protects the records of one direction. It is a plain value of 45 bytes: overwriting it forgets it.
type Key struct {
	AEAD   AEAD
	Secret [32]byte // the first AEAD.KeyLen bytes count
	IV     [12]byte // the first AEAD.IVLen bytes count
}

// Format implements fmt.Formatter: no verb prints a key (S46).
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler: neither does JSON or a log.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Cipher is a Key expanded, with the scratch that sealing and opening need so that they allocate nothing. It is made when a
// session becomes busy and dropped when it is idle. It must not be copied.
type Cipher struct {
	aead     cipher.AEAD
	ccm      ccm // what aead points to, when it is CCM
	iv       [12]byte
	nonce    [12]byte
	kind     AEAD
	explicit uint8 // length of the nonce's explicit part
	overhead uint8
	aad      []byte // additional data; its room is aadRoom, unless a long Connection ID needed more
	aadRoom  [56]byte
}

// Format implements fmt.Formatter: no verb prints a key (S46).
func (*Cipher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// NewCipher expands a key, of which it keeps nothing. It panics when the key's AEAD is none of ours.
func NewCipher(k *Key) *Cipher {
	c := &Cipher{iv: k.IV, kind: k.AEAD, explicit: uint8(k.AEAD.explicitLen()), overhead: uint8(k.AEAD.Overhead())}
	c.aad = c.aadRoom[:0]
	var err error
	var block cipher.Block
	switch secret := k.Secret[:k.AEAD.KeyLen()]; k.AEAD {
	case ChaCha20Poly1305:
		c.aead, err = chacha20poly1305.New(secret)
	case AES128GCM, AES256GCM:
		if block, err = aes.NewCipher(secret); err == nil {
			c.aead, err = cipher.NewGCM(block)
		}
	case AES128CCM, AES128CCM8, AES256CCM, AES256CCM8:
		block, err = aes.NewCipher(secret)
		c.ccm.block, c.ccm.tagLen = block, k.AEAD.TagLen()
		c.aead = &c.ccm
	default:
		panic("record: unknown AEAD")
	}
	if err != nil {
		panic("record: " + err.Error()) // none knows these key lengths as wrong
	}
	return c
}

// Seal appends one whole record to dst. Without cid it is of type typ; with cid it is a TypeCID record that hides typ (RFC
// 9146, Section 4), not padded. The nonce is epoch and sequence number, so no two calls may have the same (S25). plaintext
// must not overlap dst's room, and is the caller's again on return. Nothing is allocated when dst has room for HeaderLen, the
// Connection ID and a byte, plaintext and AEAD.Overhead. It panics when seq is beyond MaxSeq, cid longer than 255 or plaintext
// longer than 2^14 bytes.
func (c *Cipher) Seal(dst []byte, typ Type, epoch uint16, seq uint64, cid, plaintext []byte) []byte {
	check(seq, cid, plaintext)
	number := uint64(epoch)<<48 | seq
	outer, inner := typ, len(plaintext)
	if len(cid) > 0 {
		outer, inner = TypeCID, inner+1
	}
	length := inner + int(c.overhead)
	dst = slices.Grow(dst, HeaderLen+len(cid)+length)
	dst = appendHeader(dst, outer, number, cid, length)
	if c.explicit > 0 {
		dst = binary.BigEndian.AppendUint64(dst, number)
	}
	at := len(dst)
	dst = append(dst, plaintext...)
	if len(cid) > 0 {
		dst = append(dst, byte(typ))
	}
	c.setNonce(number, number)
	c.setAdditional(outer, VersionDTLS12, number, cid, inner)
	return c.aead.Seal(dst[:at], c.nonce[:], dst[at:], c.aad)
}

// Open checks a record and decrypts it where it lies. plaintext aliases r.Payload. The type and the padding inside of a TypeCID
// record are taken off, and typ is the type found there (RFC 9146, Section 4): any but 0, for the caller to judge. The explicit
// nonce of CCM and GCM is the peer's choice (RFC 5288, Section 3).
//
// ok is false for what isn't authentic, is too short, is longer than 2^14 bytes with its padding, or holds no type where it
// should. r.Payload is wiped then, or left as it was: to try a second key, open a copy.
func (c *Cipher) Open(r Record) (typ Type, plaintext []byte, ok bool) {
	inner := len(r.Payload) - int(c.overhead)
	limit := maxPlaintext
	if r.Type == TypeCID {
		limit++
	}
	if inner < 0 || inner > limit {
		return 0, nil, false
	}
	number := uint64(r.Epoch)<<48 | r.Seq&MaxSeq
	explicit := number
	sealed := r.Payload[c.explicit:]
	if c.explicit > 0 {
		explicit = binary.BigEndian.Uint64(r.Payload)
	}
	c.setNonce(number, explicit)
	c.setAdditional(r.Type, r.Version, number, r.CID, inner)
	plaintext, err := c.aead.Open(sealed[:0], c.nonce[:], sealed, c.aad)
	if err != nil {
		return 0, nil, false
	}
	if r.Type != TypeCID {
		return r.Type, plaintext, true
	}
	for i := len(plaintext) - 1; i >= 0; i-- {
		if plaintext[i] != 0 {
			return Type(plaintext[i]), plaintext[:i:i], true
		}
	}
	return 0, nil, false
}

// setNonce builds a record's nonce.
func (c *Cipher) setNonce(number, explicit uint64) {
	c.nonce = c.iv
	if c.explicit > 0 {
		binary.BigEndian.PutUint64(c.nonce[4:], explicit) // RFC 5288, Section 3; RFC 6655, Section 3
		return
	}
	// RFC 7905, Section 2: the padded number is XORed with the IV.
	binary.BigEndian.PutUint64(c.nonce[4:], binary.BigEndian.Uint64(c.iv[4:])^number)
}

// setAdditional builds a record's additional data. length is that of what is protected.
func (c *Cipher) setAdditional(typ Type, version uint16, number uint64, cid []byte, length int) {
	b := c.aad[:0]
	if typ == TypeCID { // RFC 9146, Section 5.3
		b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // seq_num_placeholder
			byte(TypeCID), byte(len(cid)), byte(TypeCID), byte(version>>8), byte(version))
		b = binary.BigEndian.AppendUint64(b, number)
		b = append(b, cid...)
	} else { // RFC 5246, Section 6.2.3.3
		b = binary.BigEndian.AppendUint64(b, number)
		b = append(b, byte(typ), byte(version>>8), byte(version))
	}
	c.aad = binary.BigEndian.AppendUint16(b, uint16(length))
}
