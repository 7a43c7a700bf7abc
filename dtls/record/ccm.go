package record

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"
)

var errOpen = errors.New("record: message authentication failed")

// ccm is Counter with CBC-MAC (RFC 3610; NIST SP 800-38C) over a cipher with 16-byte blocks. It is a [cipher.AEAD] for nonces
// of 7 to 13 bytes, and for messages and additional data of less than 2^16-2^8 bytes: records are shorter. Unlike the standard
// library's it is not for concurrent use: what would go to the heap for each message, as arguments of an interface, is here.
//
// The chain of CBC-MAC waits for each block's cipher; that of the key stream is independent of it and is begun right after it,
// so that the processor works at both. The standard library's CTR takes up to eight blocks at once, but costs an allocation of
// 512 bytes for each message, and loses up to about 512 bytes.
type ccm struct {
	block  cipher.Block
	tagLen int      // M
	mac    [16]byte // X_i, CBC-MAC so far
	ctr    [16]byte // A_i, counter block
	pad    [16]byte // S_i, key stream
}

// NonceSize implements [cipher.AEAD]. Records use 12 bytes (RFC 6655, Section 3).
func (c *ccm) NonceSize() int { return 12 }

// Overhead implements [cipher.AEAD].
func (c *ccm) Overhead() int { return c.tagLen }

// Seal implements [cipher.AEAD].
func (c *ccm) Seal(dst, nonce, plaintext, additional []byte) []byte {
	head, n := len(dst), len(plaintext)
	dst = slices.Grow(dst, n+c.tagLen)[:head+n+c.tagLen]
	out := dst[head : head+n]
	c.begin(nonce, n, additional)
	for len(plaintext) >= 16 {
		m0, m1 := load(plaintext)
		c.absorb(m0, m1)
		p0, p1 := c.next()
		store(out, m0^p0, m1^p1)
		plaintext, out = plaintext[16:], out[16:]
	}
	if len(plaintext) > 0 {
		var last [16]byte
		copy(last[:], plaintext)
		m0, m1 := load(last[:])
		c.absorb(m0, m1)
		p0, p1 := c.next()
		store(last[:], m0^p0, m1^p1)
		copy(out, last[:])
	}
	c.end()
	copy(dst[head+n:], c.mac[:c.tagLen])
	return dst
}

// Open implements [cipher.AEAD]. When it fails, what it wrote is wiped.
func (c *ccm) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	n := len(ciphertext) - c.tagLen
	if n < 0 {
		return nil, errOpen
	}
	ciphertext, tag := ciphertext[:n], ciphertext[n:]
	head := len(dst)
	dst = slices.Grow(dst, n)[:head+n]
	out := dst[head:]
	c.begin(nonce, n, additional)
	for len(ciphertext) >= 16 {
		p0, p1 := c.next()
		m0, m1 := load(ciphertext)
		m0, m1 = m0^p0, m1^p1
		store(out, m0, m1)
		c.absorb(m0, m1)
		ciphertext, out = ciphertext[16:], out[16:]
	}
	if len(ciphertext) > 0 {
		c.next()
		subtle.XORBytes(out, ciphertext, c.pad[:])
		var last [16]byte
		copy(last[:], out)
		c.absorb(load(last[:]))
	}
	c.end()
	if subtle.ConstantTimeCompare(tag, c.mac[:c.tagLen]) != 1 {
		clear(dst[head:])
		return nil, errOpen
	}
	return dst, nil
}

// begin takes in the first blocks of CBC-MAC, B_0 and the additional data, and sets the counter to 0 (RFC 3610, Sections 2.2
// and 2.3). Lengths and counters of more than 16 bits don't occur, so the length field's other bytes, if it has any, are 0.
func (c *ccm) begin(nonce []byte, n int, additional []byte) {
	flags := byte(14 - len(nonce)) // L-1
	c.ctr = [16]byte{0: flags}
	copy(c.ctr[1:14], nonce)
	c.mac = c.ctr
	c.mac[0] |= byte(c.tagLen-2) / 2 << 3
	if len(additional) > 0 {
		c.mac[0] |= 1 << 6 // Adata
	}
	binary.BigEndian.PutUint16(c.mac[14:], uint16(n))
	c.block.Encrypt(c.mac[:], c.mac[:])
	if len(additional) == 0 {
		return
	}
	var first [16]byte
	binary.BigEndian.PutUint16(first[:], uint16(len(additional)))
	taken := copy(first[2:], additional)
	c.absorb(load(first[:]))
	for additional = additional[taken:]; len(additional) >= 16; additional = additional[16:] {
		c.absorb(load(additional))
	}
	if len(additional) > 0 {
		var last [16]byte
		copy(last[:], additional)
		c.absorb(load(last[:]))
	}
}

// absorb takes a block into CBC-MAC.
func (c *ccm) absorb(m0, m1 uint64) {
	x0, x1 := load(c.mac[:])
	store(c.mac[:], x0^m0, x1^m1)
	c.block.Encrypt(c.mac[:], c.mac[:])
}

// next counts, and returns the next block of the key stream.
func (c *ccm) next() (uint64, uint64) {
	binary.BigEndian.PutUint16(c.ctr[14:], binary.BigEndian.Uint16(c.ctr[14:])+1)
	c.block.Encrypt(c.pad[:], c.ctr[:])
	return load(c.pad[:])
}

// end encrypts CBC-MAC with the key stream's block 0 and leaves it in mac: U of RFC 3610, Section 2.3.
func (c *ccm) end() {
	binary.BigEndian.PutUint16(c.ctr[14:], 0)
	c.block.Encrypt(c.pad[:], c.ctr[:])
	x0, x1 := load(c.mac[:])
	p0, p1 := load(c.pad[:])
	store(c.mac[:], x0^p0, x1^p1)
}

func load(b []byte) (uint64, uint64) {
	_ = b[15]
	return binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])
}

func store(b []byte, w0, w1 uint64) {
	_ = b[15]
	binary.NativeEndian.PutUint64(b, w0)
	binary.NativeEndian.PutUint64(b[8:], w1)
}
