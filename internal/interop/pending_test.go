//go:build interop

package interop

import "strings"

// What the bridge's own DTLS does. Where it says false, the attempts are made all the same; that they fail stands in the table as
// "not yet", and one that succeeds fails the test, which asks for the line to be changed.
const (
	hasECDHEPSK     = true // 0xD003 and 0xCCAC
	hasConnectionID = true // RFC 9146
)

// pendingSuites reports whether an attempt offers nothing but suites that the bridge doesn't have yet.
func (a *attempt) pendingSuites() bool {
	for _, s := range a.suites {
		if !strings.HasPrefix(s.name, "TLS_ECDHE_PSK_") {
			return false
		}
	}
	return !hasECDHEPSK
}

// pending reports whether an attempt asks for what the bridge doesn't do yet.
func (a *attempt) pending() bool { return a.pendingSuites() || a.cid && !hasConnectionID }
