package devices

import (
	"fmt"
	"strings"

	"coapbridge/bridge/devices/strictyaml"
)

// reporter is where check puts what it finds: a Document, which knows the lines.
type reporter interface {
	Report(field, message, remedy string)
	Warn(field, message, remedy string)
	Has(field string) bool
	Failed(field string) bool // whether a problem of the field is known
}

// check finds what is wrong with an entry by itself. Its texts name no identity and no AE-ID: a reload that fails is logged
// (S46). What it shares with others is for indexer to find.
func (e *Entry) check(r reporter) {
	checkName(r, e.Name)
	if e.Tenant != "" && !plainName(e.Tenant) {
		r.Report("tenant", "is no name", "use letters, digits, dot, dash and underscore")
	}
	checkPatterns(r, "originators", e.Originators)
	checkPatterns(r, "targets", e.Targets)
	for i, target := range e.Targets {
		if strings.ContainsAny(target, "*?#") {
			r.Report(fmt.Sprintf("targets[%d]", i), "a target is a prefix and has no wildcards", "leave them out")
		}
		for _, segment := range strings.Split(target, "/") {
			if segment == "." || segment == ".." {
				r.Report(fmt.Sprintf("targets[%d]", i), `has "." or ".." segments, which no request has`, "write the path itself")
			}
		}
	}
	if e.MaxPayload < 0 || e.MaxPayload > maxMaxPayload {
		r.Report("maxPayload", fmt.Sprintf("%d bytes can't be", e.MaxPayload), fmt.Sprintf("write 1 to %d, or leave it out for the default", maxMaxPayload))
	}
	if e.AppID != "" && (!strings.HasPrefix(e.AppID, "N") && !strings.HasPrefix(e.AppID, "R") || len(e.AppID) > maxPattern ||
		strings.ContainsFunc(e.AppID, control)) { // TS-0001, 7.2
		r.Report("appID", "is no App-ID", "begin it with N, or with R when it is registered (TS-0001, 7.2)")
	}
	e.checkCredentials(r)
	e.checkReach(r)
}

func checkName(r reporter, name string) {
	switch {
	case name == "":
		r.Report("name", "is missing", "give the device a name of its own")
	case !plainName(name):
		r.Report("name", "is no name",
			fmt.Sprintf("use up to %d letters, digits, dots, dashes and underscores, a letter or digit first", maxName))
	}
}

// plainName accepts what is safe in a path, a file and a shell.
func plainName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '-' && c != '_') {
			return false
		}
	}
	return true
}

func checkPatterns(r reporter, field string, patterns []string) {
	if len(patterns) > maxPatterns {
		r.Report(field, fmt.Sprintf("has %d members", len(patterns)), fmt.Sprintf("write up to %d; wildcards can stand for many", maxPatterns))
	}
	if len(patterns) == 0 && r.Has(field) {
		r.Warn(field, "is empty, which is the same as leaving it out", "remove the line")
	}
	for i, p := range patterns {
		if p == "" || len(p) > maxPattern || strings.ContainsFunc(p, control) || strings.TrimSpace(p) != p {
			r.Report(fmt.Sprintf("%s[%d]", field, i), "can't be used", fmt.Sprintf("write 1 to %d characters without blanks around them", maxPattern))
		}
	}
}

func (e *Entry) checkCredentials(r reporter) {
	if e.PSK == nil && e.Certificate == nil && e.RawPublicKey == "" {
		if !r.Has("psk") && !r.Has("certificate") && !r.Has("rawPublicKey") {
			r.Report("", "has no credential", "add psk:, certificate: or rawPublicKey:")
		} else if !r.Failed("psk") && !r.Failed("certificate") && !r.Failed("rawPublicKey") {
			r.Report("", "has a credential without a value", "fill it in, or remove the line")
		}
	}
	if e.Certificate != nil && e.Certificate.Fingerprint == "" && e.Certificate.SAN == (SAN{}) &&
		!r.Has("certificate.fingerprint") && !r.Has("certificate.san") {
		r.Report("certificate", "names no certificate", "add fingerprint: or san:")
	}
	if e.PSK != nil {
		e.PSK.check(r)
	}
	if !e.NoExtendedMasterSecret {
		return
	}
	if e.Certificate != nil && e.Certificate.Fingerprint == "" { // a name is matched later than this is asked
		r.Report("noExtendedMasterSecret", "needs a certificate that is named by its fingerprint", "write certificate.fingerprint:")
	}
	r.Warn("noExtendedMasterSecret", "the device's sessions are not bound to their handshakes (RFC 7627)",
		"update its DTLS library, and remove the line")
}

func (p *PSK) check(r reporter) {
	switch {
	case p.Identity == "":
		r.Report("psk.identity", "is missing", "write the identity that the device presents")
	case len(p.Identity) > maxIdentity:
		r.Report("psk.identity", fmt.Sprintf("has %d bytes", len(p.Identity)), fmt.Sprintf("use up to %d", maxIdentity))
	case strings.ContainsFunc(p.Identity, control):
		r.Report("psk.identity", "has control characters", "use printable characters")
	}
	if p.Up.IsZero() && !r.Has("psk.up") {
		r.Report("psk.up", "is missing", "add the key with which the device dials us, such as hex:... or text:...")
	}
	p.each(func(field string, key Key) {
		if key.weakness() != "" {
			r.Warn(field, key.weakness(), "use random bytes")
		}
	})
	if !p.Up.IsZero() && p.Up.Equal(p.Down) {
		r.Report("psk.down", "is the same key as up, so that a handshake can be mirrored", "use another key, or leave down out (S7)")
	}
}

// each calls f for each key that is there.
func (p *PSK) each(f func(field string, key Key)) {
	if !p.Up.IsZero() {
		f("psk.up", p.Up)
	}
	if !p.Down.IsZero() {
		f("psk.down", p.Down)
	}
}

// collector is a reporter for an entry that doesn't come from a file.
type collector struct{ problems, warnings strictyaml.Problems }

func (c *collector) Report(field, message, remedy string) {
	c.problems = append(c.problems, strictyaml.Problem{Field: field, Message: message, Remedy: remedy})
}

func (c *collector) Warn(field, message, remedy string) {
	c.warnings = append(c.warnings, strictyaml.Problem{Field: field, Message: message, Remedy: remedy})
}

func (c *collector) Has(string) bool { return false }

func (c *collector) Failed(string) bool { return false }
