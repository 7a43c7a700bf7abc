package bridge

import (
	"slices"
	"strings"

	"coapbridge/bridge/onem2m"
)

// admit holds a request against the device's entry. It returns "" when the request may go on, else why not, with the
// status to answer: 4106 for a foreign Originator (TS-0004, 7.3.2.1), 4004 for what the policy hides (B06).
func (b *Bridge) admit(dev *Device, cse *CSE, r *onem2m.Request) (Refusal, onem2m.StatusCode) {
	if !b.maySpeakAs(dev, cse, r) {
		return RefusedOriginator, onem2m.StatusOriginatorNotAuthenticated
	}
	nested, err := onem2m.NestedOriginators(r)
	if err != nil {
		return RefusedMalformed, statusOf(err)
	}
	for _, from := range nested { // S41: a primitive within the primitive speaks for the same credential
		// As an MN-CSE only the outer From goes up in SP-relative form; a bare one inside would be the CSE's own AE.
		if !b.isOriginator(dev, cse, from) || cse.spRelative(from) != from {
			return RefusedOriginator, onem2m.StatusOriginatorNotAuthenticated
		}
	}
	if registers(r) && !answersAEID(cse, r) {
		return RefusedRegistration, onem2m.StatusNotImplemented
	}
	if dev.Operations != 0 && !dev.Operations.Has(r.Operation) {
		return RefusedOperation, onem2m.StatusNotFound
	}
	restricted := len(dev.Targets) > 0 || dev.Operations != 0
	if !targetAllowed(dev.Targets, cse, r.To) && !b.results.has(dev, cse, r) || restricted && (len(nested) > 0 || fansOut(r.To)) {
		return RefusedTarget, onem2m.StatusNotFound
	}
	return "", 0
}

// fansOut reports whether to is a group's fan-out point, whose members may lie anywhere: what is sent there says nothing
// about what it reaches, no more than a primitive that the CSE executes later does.
func fansOut(to string) bool {
	return slices.Contains(strings.Split(to, "/"), "fopt")
}

// registers reports whether r creates an AE.
func registers(r *onem2m.Request) bool {
	return r.Operation == onem2m.Create && r.ResourceType == onem2m.TypeAE
}

// answersAEID reports whether the answer to the registration r will tell the AE-ID, which has to be bound before the device
// hears of it: a non-blocking one is answered before there is an AE, and some Result Contents leave the attributes out. As
// an MN-CSE the bridge can't ask its CSE for an AE-ID: that would be one of the CSE's own.
func answersAEID(cse *CSE, r *onem2m.Request) bool {
	if r.ResponseType != 0 && r.ResponseType != onem2m.Blocking || cse.As != "" && asksForAEID(r.From) {
		return false
	}
	for _, p := range r.Query {
		if p.Key == "rcn" && p.Value != "1" && p.Value != "3" {
			return false
		}
	}
	return true
}

// asksForAEID reports whether From leaves the AE-ID to the CSE: absent, "S" or "C" (TS-0001, 10.2.2.2).
func asksForAEID(from string) bool { return from == "" || from == "S" || from == "C" }

// maySpeakAs checks From. Only an AE CREATE may leave it open, unless the device's entry names its Originators and no
// wildcard among them leaves room.
func (b *Bridge) maySpeakAs(dev *Device, cse *CSE, r *onem2m.Request) bool {
	if registers(r) && asksForAEID(r.From) {
		return len(dev.Originators) == 0 || slices.ContainsFunc(dev.Originators, func(p string) bool {
			return p == "*" || (r.From != "C" && p == "S*") || (r.From != "S" && p == "C*")
		})
	}
	return b.isOriginator(dev, cse, r.From)
}

// isOriginator reports whether dev may speak as from: an AE-ID that its CSE gave to it, one that its entry names in full, or
// one that a wildcard of its entry covers and that is no other device's. The comparison is exact: another case or a percent
// form is another Originator. A From with a slash is covered by a wildcard that begins with one, and not when it is another
// spelling of an AE-ID of this CSE or of the bridge.
func (b *Bridge) isOriginator(dev *Device, cse *CSE, from string) bool {
	if from == "" {
		return false
	}
	if slices.Contains(dev.Bound, from) || slices.Contains(dev.Originators, from) {
		return true
	}
	qualified := from[0] == '/'
	if strings.Contains(from, "/") && (!qualified || cse.stem(from) != from) {
		return false
	}
	if !slices.ContainsFunc(dev.Originators, func(p string) bool {
		return matchWildcard(p, from) && qualified == strings.HasPrefix(p, "/")
	}) {
		return false
	}
	return !b.cfg.Directory.BelongsToOther(dev, from)
}

// matchWildcard matches s against a pattern in which "*" stands for any characters and "?" for exactly one byte.
func matchWildcard(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0: // let the last star take one byte more
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// targetAllowed reports whether to lies at or below one of the prefixes, whichever of its forms it was given in. An
// unstructured resource ID says nothing about where it lies, so only an entry that names it allows it.
func targetAllowed(prefixes []string, cse *CSE, to string) bool {
	if len(prefixes) == 0 {
		return true
	}
	target := cse.relative(to)
	return slices.ContainsFunc(prefixes, func(p string) bool {
		p = strings.TrimSuffix(cse.relative(p), "/")
		return target == p || strings.HasPrefix(target, p+"/")
	})
}
