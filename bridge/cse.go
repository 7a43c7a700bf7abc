package bridge

import (
	"strings"
	"time"

	"coapbridge/bridge/onem2m"
)

// CSE is what the bridge must know of a Service Layer to address it.
type CSE struct {
	Name    string
	ID      string        // CSE-ID in SP-relative form, "/id-in"
	SP      string        // M2M service provider's FQDN, to recognise Absolute addresses; "" when not known
	Base    string        // resource name of the CSEBase, "cse-in"
	Default bool          // used by devices whose entry names none
	Timeout time.Duration // for an answer; 0: Limits.RequestTimeout
	// As is the bridge's own CSE-ID, "/mn-1", where the CSE knows it as a CSE: Originators go up in SP-relative form, as
	// an MN-CSE sends those of its registrees (TS-0003, 8.2.1). "" sends them as they are.
	As string
	// Downlink says how the CSE's own requests come, and POA is the URL under which it reaches the bridge with DownlinkListen,
	// without a slash at its end.
	Downlink Downlink
	POA      string
}

// Downlink says how a CSE's requests reach the bridge.
type Downlink uint8

// The ways. DownlinkOff: not at all.
const (
	DownlinkOff    Downlink = iota
	DownlinkListen          // the CSE calls the bridge's point of access
	DownlinkPoll            // the bridge asks for them (polling channel)
)

// upward is r as the CSE is to see it; r itself is not changed.
func (c *CSE) upward(r *onem2m.Request) *onem2m.Request {
	from := c.spRelative(r.From)
	if from == r.From {
		return r
	}
	other := *r
	other.From = from
	return &other
}

// spRelative is an AE-ID-Stem as other CSEs know it: below the bridge's CSE-ID where the bridge gave it ("C"), below the
// service provider's where that did ("S") (TS-0001, 7.2). A From that asks for an AE-ID stays as it is.
func (c *CSE) spRelative(from string) string {
	switch {
	case c.As == "", from == "", from == "C", from == "S", from[0] == '/':
		return from
	case from[0] == 'S':
		return "/" + from
	}
	return c.As + "/" + from
}

// stem is the inverse of spRelative for every spelling of an AE-ID of this CSE or of the bridge; other IDs stay as they are.
func (c *CSE) stem(from string) string {
	id := from
	if rest, ok := strings.CutPrefix(id, "//"); ok {
		sp, path, _ := strings.Cut(rest, "/")
		if c.SP == "" || sp != c.SP {
			return from
		}
		id = "/" + path
	}
	for _, owner := range []string{c.ID, c.As} {
		if rest, ok := strings.CutPrefix(id, owner+"/"); ok && owner != "" {
			return rest
		}
	}
	if rest, ok := strings.CutPrefix(id, "/"); ok && !strings.Contains(rest, "/") && strings.HasPrefix(rest, "S") {
		return rest
	}
	return from
}

// relative brings an address that names this CSE to its CSE-relative form, with the CSEBase's name where "-" stood for it
// (TS-0001, 7.2). Addresses of other CSEs stay as they are.
func (c *CSE) relative(to string) string {
	if rest, ok := strings.CutPrefix(to, "//"); ok {
		sp, path, _ := strings.Cut(rest, "/")
		if c.SP == "" || sp != c.SP {
			return to
		}
		to = "/" + path
	}
	if rest, ok := strings.CutPrefix(to, c.ID+"/"); ok && c.ID != "" {
		to = rest
	}
	if to == "-" || strings.HasPrefix(to, "-/") {
		to = c.Base + to[1:]
	}
	return to
}
