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
// What takes the time is the chain of CBC-MAC, each block of which waits for the one before. So each of its steps encrypts a
// block of key stream as well, which is independent of it and which the processor does meanwhile; its counter was written
// long before, for a load of 16 bytes waits until narrower stores to them are through. The standard library's CTR, which does
// up to eight blocks at once, costs 512 bytes of garbage for each message.
type ccm struct {
	block  cipher.Block
	tagLen int                 // M
	mac    [16]byte            // X_i, CBC-MAC so far
	zero   [16]byte            // A_0
	stream [chunkLen + 16]byte // S_0, and the S_i of a chunk; A_i where they aren't encrypted yet
	done   int                 // bytes of stream that are key stream
	filled int                 // bytes of stream that are key stream or counters
}

// chunkLen is how many bytes of a message are XORed with key stream at once: most CoAP messages take one or two chunks.
const chunkLen = 64

// NonceSize implements [cipher.AEAD]. Records use 12 bytes (RFC 6655, Section 3).
func (c *ccm) NonceSize() int { return 12 }

// Overhead implements [cipher.AEAD].
func (c *ccm) Overhead() int { return c.tagLen }

// Seal implements [cipher.AEAD].
func (c *ccm) Seal(dst, nonce, plaintext, additional []byte) []byte {
	head, n := len(dst), len(plaintext)
	dst = slices.Grow(dst, n+c.tagLen)[:head+n+c.tagLen]
	c.begin(nonce, n, additional)
	for at := 0; at < n; at += chunkLen {
		chunk := plaintext[at:min(at+chunkLen, n)]
		c.absorb(chunk)
		c.encrypt()
		subtle.XORBytes(dst[head+at:], chunk, c.stream[16:])
		c.count(at+chunkLen, n)
	}
	c.tag(dst[head+n:])
	return dst
}

// Open implements [cipher.AEAD]. When it fails, what it wrote is wiped.
func (c *ccm) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	n := len(ciphertext) - c.tagLen
	if n < 0 {
		return nil, errOpen
	}
	head := len(dst)
	dst = slices.Grow(dst, n)[:head+n]
	c.begin(nonce, n, additional)
	for at := 0; at < n; at += chunkLen {
		chunk := dst[head+at : head+min(at+chunkLen, n)]
		c.encrypt()
		subtle.XORBytes(chunk, ciphertext[at:n], c.stream[16:])
		c.count(at+chunkLen, n)
		c.absorb(chunk)
	}
	var tag [16]byte
	c.tag(tag[:c.tagLen])
	if subtle.ConstantTimeCompare(ciphertext[n:], tag[:c.tagLen]) != 1 {
		clear(dst[head:])
		return nil, errOpen
	}
	return dst, nil
}

// begin writes the counters of a message of n bytes and takes the first blocks, B_0 and the additional data, into CBC-MAC (RFC
// 3610, Sections 2.2 and 2.3). Lengths and counters of more than 16 bits don't occur, so the other bytes of their fields are 0.
func (c *ccm) begin(nonce []byte, n int, additional []byte) {
	if len(nonce) < 7 || len(nonce) > 13 || n >= 1<<16 || len(additional) >= 1<<16-1<<8 {
		panic("record: CCM of a nonce, message or additional data of a length that it isn't made for")
	}
	var first [16]byte
	binary.BigEndian.PutUint16(first[:], uint16(len(additional)))
	taken := copy(first[2:], additional)

	c.mac = [16]byte{0: byte(14 - len(nonce))} // L-1
	copy(c.mac[1:14], nonce)
	c.zero = c.mac
	copy(c.stream[:], c.zero[:])
	c.filled = 16
	c.count(0, n)
	c.done = 0 // S_0 is to be encrypted too

	c.mac[0] |= byte(c.tagLen-2) / 2 << 3
	if len(additional) > 0 {
		c.mac[0] |= 1 << 6 // Adata
	}
	binary.BigEndian.PutUint16(c.mac[14:], uint16(n))
	c.step()
	if len(additional) > 0 {
		c.absorb(first[:])
		c.absorb(additional[taken:])
	}
}

// count writes the counters of the chunk that begins at a message's byte at, if there is one.
func (c *ccm) count(at, n int) {
	if at >= n {
		return
	}
	c.done, c.filled = 16, 16+min(chunkLen, (n-at+15)&^15)
	w0, w1 := binary.BigEndian.Uint64(c.zero[:]), binary.BigEndian.Uint64(c.zero[8:])+uint64(at/16)
	for s := c.stream[16:c.filled]; len(s) >= 16; s = s[16:] {
		w1++
		binary.BigEndian.PutUint64(s, w0)
		binary.BigEndian.PutUint64(s[8:], w1)
	}
}

// absorb takes bytes, the last block of them filled up with zeros, into CBC-MAC.
func (c *ccm) absorb(b []byte) {
	for ; len(b) >= 16; b = b[16:] {
		subtle.XORBytes(c.mac[:], c.mac[:], b[:16])
		c.step()
	}
	if len(b) > 0 {
		subtle.XORBytes(c.mac[:], c.mac[:], b)
		c.step()
	}
}

// step encrypts a block of CBC-MAC and one of key stream.
func (c *ccm) step() {
	c.block.Encrypt(c.mac[:], c.mac[:])
	if c.done < c.filled {
		s := c.stream[c.done : c.done+16]
		c.block.Encrypt(s, s)
		c.done += 16
	}
}

// encrypt makes key stream of the counters that are left.
func (c *ccm) encrypt() {
	for ; c.done < c.filled; c.done += 16 {
		s := c.stream[c.done : c.done+16]
		c.block.Encrypt(s, s)
	}
}

// tag writes the tag: CBC-MAC encrypted with S_0, U of RFC 3610, Section 2.3.
func (c *ccm) tag(dst []byte) {
	c.encrypt()
	subtle.XORBytes(dst, c.mac[:c.tagLen], c.stream[:16])
}
