package bridge

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"coapbridge/bridge/onem2m"
)

// Whom a CSE is asked to notify: notificationURI, subscriberURI and notificationForwardingURI of a subscription (TS-0001, 9.6.8),
// dynamicAuthorizationPoA of a dynamicAuthorizationConsultation (9.6.40), and the notificationURI of a non-blocking request. A device may name entities by their IDs, and itself by an address that it has as its own
// pointOfAccess; the CSE is told its AE-ID then. No other URL goes up (S42).

// notifiedMembers are the members of a representation that a CSE sends something to.
var notifiedMembers = [...]string{"nu", "su", "nfu", "dap"}

// redirect puts IDs where the content of out names own addresses.
func (b *Bridge) redirect(ctx context.Context, j *job, out *onem2m.Request) error {
	for _, name := range notifiedMembers {
		var refused error
		content, err := onem2m.MapLists(out.Content, out.MediaType, name, func(list []string) ([]string, bool) {
			to, err := b.notified(ctx, j, list)
			if err != nil {
				refused = err
				return nil, false
			}
			return to, !slices.Equal(to, list)
		})
		if refused != nil {
			return refused
		}
		if err != nil {
			return err
		}
		out.Content = content
	}
	return nil
}

// notified returns list with IDs in place of the device's own addresses.
func (b *Bridge) notified(ctx context.Context, j *job, list []string) ([]string, error) {
	to := make([]string, 0, len(list))
	replaced := false
	for _, uri := range list {
		switch {
		case isEntityID(uri):
			other := b.namesOther(j, uri)
			if !other {
				var err error
				if other, err = b.leadsToOther(ctx, j, uri); err != nil {
					return nil, err
				}
			}
			if other {
				return nil, &refusedContent{RefusedNotified}
			}
			if slices.Contains(j.dev.Bound, uri) {
				uri = j.cse.spRelative(uri)
			}
		default:
			aei, own := b.ownAddress(j, uri)
			if !own {
				return nil, &refusedContent{RefusedURL}
			}
			uri, replaced = j.cse.spRelative(aei), true
		}
		to = append(to, uri)
	}
	if replaced { // two of its addresses are one AE
		once := to[:0]
		for _, id := range to {
			if !slices.Contains(once, id) {
				once = append(once, id)
			}
		}
		to = once
	}
	return to, nil
}

// isEntityID reports whether s can only be read as an ID or as the address of a resource (TS-0001, 7.2), whose characters are
// those of RFC 3986 that are not reserved, and "/". It may have a query, which some CSEs want a serialisation in.
func isEntityID(s string) bool {
	id, query, _ := strings.Cut(s, "?")
	return id != "" && !strings.ContainsFunc(id, func(c rune) bool { return !isIDRune(c) && c != '/' }) &&
		!strings.ContainsFunc(query, func(c rune) bool { return !isIDRune(c) && c != '=' })
}

func isIDRune(c rune) bool {
	return unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("-._~@", c)
}

// ownAddress returns the AE of the device's that has uri as one of its addresses, or one that uri lies below: the one that asks,
// where several have it.
func (b *Bridge) ownAddress(j *job, uri string) (aei string, ok bool) {
	for _, bound := range j.dev.Bound {
		access, _ := b.cfg.Directory.Access(j.cse.Name, bound)
		for _, own := range access.POA {
			rest, below := strings.CutPrefix(uri, strings.TrimSuffix(own, "/"))
			if own != "" && below && (rest == "" || rest[0] == '/') && (!ok || bound == j.request.From) {
				aei, ok = bound, true
			}
		}
	}
	return aei, ok
}

// namesOther reports whether id is, or begins with, an AE-ID of another device behind this bridge. A device that may speak as
// that one, or whose targets name what is there, may have it notified; anybody beyond the bridge is the CSE's matter, which
// asks whom it doesn't know (vrq). What lies behind a group's fan-out point nobody can tell, so that a restricted device may not
// name one (as admit has it).
func (b *Bridge) namesOther(j *job, id string) bool {
	id, _, _ = strings.Cut(id, "?")
	if (len(j.dev.Targets) > 0 || j.dev.Operations != 0) && fansOut(id) {
		return true
	}
	if len(j.dev.Targets) > 0 && targetAllowed(j.dev.Targets, j.cse, id) {
		return false
	}
	short := j.cse.stem(j.cse.relative(id))
	if rest, ok := strings.CutPrefix(short, j.cse.Base+"/"); ok {
		short = rest
	}
	aei, _, _ := strings.Cut(short, "/")
	return aei != "" && !slices.Contains(j.dev.Originators, aei) && b.cfg.Directory.BelongsToOther(j.dev, aei)
}

// leadsToOther is namesOther for an address by names, of which the CSE alone knows whose AE it is. One that j's Originator may not
// read is taken for another's: the AE-ID says whom it means.
func (b *Bridge) leadsToOther(ctx context.Context, j *job, id string) (bool, error) {
	id, _, _ = strings.Cut(id, "?")
	if len(j.dev.Targets) > 0 && targetAllowed(j.dev.Targets, j.cse, id) {
		return false, nil
	}
	rest, ok := cutSegment(j.cse.relative(id), j.cse.Base)
	if !ok {
		return false, nil
	}
	if j.asked++; j.asked > maxNamesAsked {
		return true, nil
	}
	name, _, _ := strings.Cut(rest, "/")
	resp, err := b.do(ctx, j, &onem2m.Request{Operation: onem2m.Retrieve, To: j.cse.Base + "/" + name, From: j.request.From,
		RequestID: newRequestID(), ReleaseVersion: j.request.ReleaseVersion})
	if err != nil {
		return false, err
	}
	if resp.Status != onem2m.StatusOK {
		return true, nil
	}
	aei, err := onem2m.AEID(resp)
	if err != nil { // no AE: nobody's
		return false, nil
	}
	return !slices.Contains(j.dev.Originators, aei) && b.cfg.Directory.BelongsToOther(j.dev, aei), nil
}
