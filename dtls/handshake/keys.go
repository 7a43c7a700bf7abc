package handshake

import (
	"crypto"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"coapbridge/dtls/record"
)

// Groups for key exchange (RFC 8422, Section 5.1.1).
const (
	groupP256   = 23
	groupP384   = 24
	groupX25519 = 29
)

// groups are what we agree to, best first.
func groups() [3]uint16 { return [...]uint16{groupP256, groupX25519, groupP384} }

func curve(group uint16) (ecdh.Curve, bool) {
	switch group {
	case groupP256:
		return ecdh.P256(), true
	case groupX25519:
		return ecdh.X25519(), true
	case groupP384:
		return ecdh.P384(), true
	}
	return nil, false
}

// digest appends the hash of b to dst; h is SHA-256 or SHA-384.
func digest(dst []byte, h crypto.Hash, b []byte) []byte {
	if h == crypto.SHA384 {
		sum := sha512.Sum384(b)
		return append(dst, sum[:]...)
	}
	sum := sha256.Sum256(b)
	return append(dst, sum[:]...)
}

// prf is the pseudorandom function of TLS 1.2 under one secret (RFC 5246, Section 5). It is used on one goroutine at a time.
type prf struct {
	mac  hash.Hash
	seed [96]byte // label and seed: at most 22 + 64
	a    [48]byte // A(i)
	sum  [48]byte
}

func newPRF(h crypto.Hash, secret []byte) *prf {
	if h == crypto.SHA384 {
		return &prf{mac: hmac.New(sha512.New384, secret)}
	}
	return &prf{mac: hmac.New(sha256.New, secret)}
}

// fill fills out with PRF(secret, label, seed1 + seed2).
func (p *prf) fill(out []byte, label string, seed1, seed2 []byte) {
	seed := append(p.seed[:0], label...)
	seed = append(append(seed, seed1...), seed2...)
	a := p.hmac(p.a[:0], seed, nil)
	for {
		n := copy(out, p.hmac(p.sum[:0], a, seed))
		if out = out[n:]; len(out) == 0 {
			break
		}
		a = p.hmac(p.a[:0], a, nil)
	}
	clear(p.sum[:])
}

func (p *prf) hmac(dst, b1, b2 []byte) []byte {
	p.mac.Reset()
	p.mac.Write(b1)
	p.mac.Write(b2)
	return p.mac.Sum(dst)
}

const (
	labelClient = "client finished"
	labelServer = "server finished"
)

// verifyData is what a Finished holds (RFC 5246, Section 7.4.9).
func (p *prf) verifyData(h crypto.Hash, client bool, transcript []byte) (v [finishedLen]byte) {
	label := labelServer
	if client {
		label = labelClient
	}
	var sum [48]byte
	p.fill(v[:], label, digest(sum[:0], h, transcript), nil)
	return v
}

// secrets is what comes out of a key exchange.
type secrets struct {
	master         *prf
	client, server record.Key // that protect what each sends
}

// Format implements fmt.Formatter: no verb prints a key (S46).
func (secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "secrets") }

// pskPremaster appends the premaster secret of a pre-shared key to dst; shared is the ECDHE secret, or nil for plain PSK
// (RFC 4279, Section 2; RFC 5489, Section 2).
func pskPremaster(dst, shared, psk []byte) []byte {
	var zeros [maxKey]byte
	if shared == nil {
		shared = zeros[:len(psk)]
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(shared)))
	dst = append(dst, shared...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(psk)))
	return append(dst, psk...)
}

// derive makes the keys of epoch 1 (RFC 5246, Sections 6.3 and 8.1). transcript goes to ClientKeyExchange and is asked for with
// extended master secret only (RFC 7627, Section 4).
func derive(s Suite, premaster []byte, ems bool, transcript []byte, clientRandom, serverRandom *[32]byte) secrets {
	var master, sum [48]byte
	if p := newPRF(s.Hash, premaster); ems {
		p.fill(master[:], "extended master secret", digest(sum[:0], s.Hash, transcript), nil)
	} else {
		p.fill(master[:], "master secret", clientRandom[:], serverRandom[:])
	}
	k := secrets{master: newPRF(s.Hash, master[:])}
	var block [2 * (32 + 12)]byte
	keyLen, ivLen := s.AEAD.KeyLen(), s.AEAD.IVLen()
	k.master.fill(block[:2*(keyLen+ivLen)], "key expansion", serverRandom[:], clientRandom[:])
	k.client.AEAD, k.server.AEAD = s.AEAD, s.AEAD
	rest := block[:]
	for _, part := range [...][]byte{k.client.Secret[:keyLen], k.server.Secret[:keyLen], k.client.IV[:ivLen], k.server.IV[:ivLen]} {
		rest = rest[copy(part, rest):]
	}
	clear(master[:])
	clear(block[:])
	return k
}
