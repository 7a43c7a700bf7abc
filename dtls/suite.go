package dtls

import pion "github.com/pion/dtls/v3"

// suite is one cipher suite of ours.
type suite struct {
	id       pion.CipherSuiteID
	psk      bool
	overhead int // explicit nonce and tag
}

// suites returns what this package negotiates, best first. A client that offers both kinds gets a PSK suite: it offers
// those only when it holds a key, while most clients offer certificate suites with or without a certificate. Within a kind
// the longer tag goes first; the 8-byte tag is the one that every constrained device has (RFC 7252, Section 9.1.3).
func suites() []suite {
	const nonce = 8 // explicit nonce of CCM and GCM (RFC 6655, Section 3; RFC 5288, Section 3); ChaCha20 has none (RFC 7905)
	return []suite{
		{pion.TLS_PSK_WITH_AES_128_GCM_SHA256, true, nonce + 16},
		{pion.TLS_PSK_WITH_AES_128_CCM, true, nonce + 16},
		{pion.TLS_PSK_WITH_AES_256_CCM_8, true, nonce + 8},
		{pion.TLS_PSK_WITH_AES_128_CCM_8, true, nonce + 8},
		{pion.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false, nonce + 16},
		{pion.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, false, nonce + 16},
		{pion.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false, 16},
		{pion.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, false, nonce + 16},
		{pion.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, false, nonce + 8},
	}
}

// suiteByID returns the suite of that number.
func suiteByID(id pion.CipherSuiteID) (suite, bool) {
	for _, s := range suites() {
		if s.id == id {
			return s, true
		}
	}
	return suite{}, false
}

// choose returns the first suite of order that the client offers and we have a credential for.
func choose(order []suite, offered []uint16, psk, certificate bool) (suite, bool) {
	for _, s := range order {
		if s.psk && !psk || !s.psk && !certificate {
			continue
		}
		for _, id := range offered {
			if uint16(s.id) == id {
				return s, true
			}
		}
	}
	return suite{}, false
}

// suiteIDs returns the suites of one kind, for a hello of ours.
func suiteIDs(psk bool) []pion.CipherSuiteID {
	var ids []pion.CipherSuiteID
	for _, s := range suites() {
		if s.psk == psk {
			ids = append(ids, s.id)
		}
	}
	return ids
}
