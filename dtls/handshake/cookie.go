package handshake

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"

	"coapbridge/dtls/record"
)

// Cookies makes the cookies of HelloVerifyRequest and knows them again without any memory of a client (S13; RFC 6347, Section
// 4.2.1). It is for one goroutine.
type Cookies struct {
	current, previous hash.Hash // HMAC-SHA256, each under a secret of its own
	rotated           time.Time
	scratch           [64]byte
}

// NewCookies makes cookies under two new random secrets.
func NewCookies() *Cookies { return &Cookies{current: newCookieHash(), previous: newCookieHash()} }

func newCookieHash() hash.Hash {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	return hmac.New(sha256.New, secret[:])
}

// Rotate makes the current secret the previous one when it has been in use for 30 seconds, and is to be called now and then,
// at least that often. A cookie is good for 30 to 60 seconds thus.
func (c *Cookies) Rotate(now time.Time) {
	if c.rotated.IsZero() {
		c.rotated = now
	}
	if now.Sub(c.rotated) >= cookieLifetime {
		c.rotated = now
		c.previous, c.current = c.current, newCookieHash()
	}
}

// Append appends the cookie of 16 bytes for a hello from addr. It covers the address and all that the hello holds but its
// cookie and message_seq, so a cookie is of no use to another address or for another offer. It allocates nothing when dst has
// room.
func (c *Cookies) Append(dst []byte, addr netip.AddrPort, h Hello) []byte {
	return append(dst, c.sum(c.current, addr, h)...)
}

// Valid reports whether the hello carries a cookie of the current or previous secret for addr. It allocates nothing.
func (c *Cookies) Valid(addr netip.AddrPort, h Hello) bool {
	if len(h.Cookie) != cookieLen {
		return false
	}
	return hmac.Equal(h.Cookie, c.sum(c.current, addr, h)) || hmac.Equal(h.Cookie, c.sum(c.previous, addr, h))
}

// sum returns the cookie in scratch. Every part of variable length has its length in front.
func (c *Cookies) sum(mac hash.Hash, addr netip.AddrPort, h Hello) []byte {
	mac.Reset()
	ip := addr.Addr().As16()
	b := append(c.scratch[:0], ip[:]...)
	b = binary.BigEndian.AppendUint16(b, addr.Port())
	b = binary.BigEndian.AppendUint16(b, h.Version)
	b = append(b, h.Random[:]...)
	b = append(b, byte(len(h.SessionID)), byte(len(h.Compression)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Suites)))
	mac.Write(b)
	mac.Write(h.SessionID)
	mac.Write(h.Compression)
	mac.Write(h.Suites)
	mac.Write(h.Extensions) // the rest, so its length is told
	return mac.Sum(c.scratch[:0])[:cookieLen]
}

// AppendHelloVerifyRequest appends the whole record of a HelloVerifyRequest to dst. Its record number and message_seq are those
// of the hello that it answers, so that repeated ones don't collide (RFC 6347, Section 4.2.1). With a cookie of [Cookies] it is
// shorter than any hello (S14). It panics when the cookie is longer than 255 bytes. It allocates nothing when dst has room.
func AppendHelloVerifyRequest(dst []byte, recordSeq uint64, messageSeq uint16, cookie []byte) []byte {
	if len(cookie) > 255 {
		panic("handshake: cookie is too long")
	}
	n := 3 + len(cookie)
	// RFC 6347, Section 4.2.1: the version says DTLS 1.0 whatever is negotiated, and the client must not draw conclusions.
	dst = append(dst, byte(record.TypeHandshake), versionDTLS10>>8, versionDTLS10&0xff)
	dst = binary.BigEndian.AppendUint64(dst, recordSeq&record.MaxSeq)
	dst = binary.BigEndian.AppendUint16(dst, uint16(headerLen+n))
	dst = appendHeader(dst, typeHelloVerifyRequest, messageSeq, n)
	dst = append(dst, versionDTLS10>>8, versionDTLS10&0xff, byte(len(cookie)))
	return append(dst, cookie...)
}
