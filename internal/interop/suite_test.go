//go:build interop

package interop

import "strings"

// suite is one cipher suite of ours, with its names in the peers' languages; "" where the peer has none for it.
type suite struct {
	id      uint16
	name    string // IANA
	psk     bool
	openssl string
	gnutls  string // what a priority string adds
}

// suites returns our suites in the order of the table, which is the one in which peers that may offer several do so: the
// weakest first, so that the choice shows whose order decided.
func suites() []suite {
	return []suite{
		{0xc0a8, "TLS_PSK_WITH_AES_128_CCM_8", true, "PSK-AES128-CCM8", "+PSK:+AES-128-CCM-8"},
		{0xc0a9, "TLS_PSK_WITH_AES_256_CCM_8", true, "PSK-AES256-CCM8", "+PSK:+AES-256-CCM-8"},
		{0xc0a4, "TLS_PSK_WITH_AES_128_CCM", true, "PSK-AES128-CCM", "+PSK:+AES-128-CCM"},
		{0x00a8, "TLS_PSK_WITH_AES_128_GCM_SHA256", true, "PSK-AES128-GCM-SHA256", "+PSK:+AES-128-GCM"},
		{0xd003, "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256", true, "", ""},
		{0xccac, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", true, "ECDHE-PSK-CHACHA20-POLY1305", "+ECDHE-PSK:+CHACHA20-POLY1305"},
		{0xc0ae, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", false, "ECDHE-ECDSA-AES128-CCM8", "+ECDHE-ECDSA:+AES-128-CCM-8"},
		{0xc0ac, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", false, "ECDHE-ECDSA-AES128-CCM", "+ECDHE-ECDSA:+AES-128-CCM"},
		{0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", false, "ECDHE-ECDSA-CHACHA20-POLY1305", "+ECDHE-ECDSA:+CHACHA20-POLY1305"},
		{0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", false, "ECDHE-ECDSA-AES256-GCM-SHA384", "+ECDHE-ECDSA:+AES-256-GCM"},
		{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", false, "ECDHE-ECDSA-AES128-GCM-SHA256", "+ECDHE-ECDSA:+AES-128-GCM"},
	}
}

// short is the suite's name without what its table's heading says.
func (s suite) short() string {
	return strings.TrimPrefix(s.name, "TLS_")
}

// join names all of the suites in a peer's language; "" when it has no name for any.
func join(all []suite, separator string, name func(suite) string) string {
	var names []string
	for _, s := range all {
		if n := name(s); n != "" {
			names = append(names, n)
		}
	}
	return strings.Join(names, separator)
}
