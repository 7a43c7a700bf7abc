//go:build interop

package interop

// What the bridge's own DTLS does. Where it says false, the attempts are made all the same; that they fail stands in the table as
// "not yet", and one that succeeds fails the test, which asks for the line to be changed.
const (
	hasECDHEPSK     = false // 0xD003 and 0xCCAC
	hasConnectionID = false // RFC 9146
)

// pending reports whether an attempt asks for what the bridge doesn't do yet.
func (a *attempt) pending() bool {
	ecdhePSK := len(a.suites) == 1 && (a.suites[0].id == 0xd003 || a.suites[0].id == 0xccac)
	return ecdhePSK && !hasECDHEPSK || a.cid && !hasConnectionID
}
