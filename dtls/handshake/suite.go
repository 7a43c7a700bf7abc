package handshake

import (
	"crypto"
	"slices"

	"coapbridge/dtls/record"
)

// Suite is a cipher suite: its key exchange, its protection and the hash of its PRF.
type Suite struct {
	ID    uint16
	Name  string // as IANA registered it
	PSK   bool   // pre-shared key; else certificates of both sides, ECDSA
	ECDHE bool   // with an ephemeral key: forward secrecy
	AEAD  record.AEAD
	Hash  crypto.Hash
}

// allSuites are best first: forward secrecy, then ciphers that are fast without AES hardware or short on air, as oneM2M
// TS-0003, 10.2 and RFC 7925 want them. Nothing but AEAD (S2).
var allSuites = []Suite{
	{0xccac, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", true, true, record.ChaCha20Poly1305, crypto.SHA256}, // RFC 7905
	{0xd003, "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256", true, true, record.AES128CCM8, crypto.SHA256},           // RFC 8442
	{0x00a8, "TLS_PSK_WITH_AES_128_GCM_SHA256", true, false, record.AES128GCM, crypto.SHA256},                   // RFC 5487
	{0xc0a4, "TLS_PSK_WITH_AES_128_CCM", true, false, record.AES128CCM, crypto.SHA256},                          // RFC 6655
	{0xc0a9, "TLS_PSK_WITH_AES_256_CCM_8", true, false, record.AES256CCM8, crypto.SHA256},
	{0xc0a8, "TLS_PSK_WITH_AES_128_CCM_8", true, false, record.AES128CCM8, crypto.SHA256},
	{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", false, true, record.AES128GCM, crypto.SHA256}, // RFC 5289
	{0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", false, true, record.AES256GCM, crypto.SHA384},
	{0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", false, true, record.ChaCha20Poly1305, crypto.SHA256},
	{0xc0ac, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", false, true, record.AES128CCM, crypto.SHA256}, // RFC 7251
	{0xc0ae, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", false, true, record.AES128CCM8, crypto.SHA256},
}

// Suites returns all suites that exist here, best first.
func Suites() []Suite { return slices.Clone(allSuites) }

// SuiteByID finds one of Suites.
func SuiteByID(id uint16) (Suite, bool) {
	if i := slices.IndexFunc(allSuites, func(s Suite) bool { return s.ID == id }); i >= 0 {
		return allSuites[i], true
	}
	return Suite{}, false
}

// usable reports whether the configuration has the credentials of a suite.
func (c *Config) usable(s *Suite) bool { return s.PSK && c.PSK || !s.PSK && c.Certificate }

func (c *Config) suites() []Suite {
	if c.Suites != nil {
		return c.Suites
	}
	return allSuites
}
