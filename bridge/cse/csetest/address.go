package csetest

import (
	"strings"
	"time"
)

// find returns the resource of an address, for the Originator; the CSE's mutex is held. An address that leads nowhere and
// one of another CSE are both 4004.
func (c *CSE) findLocked(to []string) (*resource, error) {
	to, local := c.local(to)
	if !local {
		return nil, refuse(notFound, "no such resource, and no other CSE is known")
	}
	if len(to) == 0 {
		return c.base, nil
	}
	r := c.lookupLocked(to[0])
	for _, name := range to[1:] {
		if r == nil {
			break
		}
		r = r.child(name)
	}
	if r == nil {
		return nil, refuse(notFound, "no such resource")
	}
	return r, nil
}

// local cuts an SP-relative or Absolute address down to a CSE-relative one (TS-0009, 6.2.2.2: "~" and "_").
func (c *CSE) local(to []string) ([]string, bool) {
	id := strings.TrimPrefix(c.cfg.ID, "/")
	switch {
	case to[0] == "~":
		if len(to) < 2 || to[1] != id {
			return nil, false
		}
		return to[2:], true
	case to[0] == "_":
		if len(to) < 3 || to[1] != c.cfg.ServiceProvider || to[2] != id {
			return nil, false
		}
		return to[3:], true
	}
	return to, true
}

// lookupLocked returns what an address may begin with: the CSEBase by its name or "-" (TS-0001, table 7.2-1), or any
// resource by its identifier.
func (c *CSE) lookupLocked(first string) *resource {
	if first == c.cfg.Name || first == "-" {
		return c.base
	}
	r := c.byID[first]
	if r == nil {
		return nil
	}
	if r.ty == tyContentInstance {
		if r.parent != nil {
			r.parent.dropOld(time.Now())
		}
		if r.parent == nil { // its age went past mia
			delete(c.byID, first)
			return nil
		}
	}
	return r
}

// segments splits an address in the notation of To: CSE-relative, SP-relative or Absolute (TS-0001, 7.2).
func segments(to string) []string {
	if rest, is := strings.CutPrefix(to, "//"); is {
		return append([]string{"_"}, strings.Split(rest, "/")...)
	}
	if rest, is := strings.CutPrefix(to, "/"); is {
		return append([]string{"~"}, strings.Split(rest, "/")...)
	}
	return strings.Split(to, "/")
}

// originator cuts a From down to the CSE-relative form in which creators are kept; one of another CSE stays as it is.
func (c *CSE) originator(from string) string {
	short, _ := strings.CutPrefix(from, "//"+c.cfg.ServiceProvider)
	if short == c.cfg.ID {
		return c.cfg.Admin // the CSE itself
	}
	if rest, is := strings.CutPrefix(short, c.cfg.ID+"/"); is {
		return rest
	}
	if rest, is := strings.CutPrefix(short, "/S"); is && !strings.Contains(rest, "/") {
		return "S" + rest // an AE-ID-Stem that the IN-CSE gave is SP-relative
	}
	return short
}

// allowed reports whether the Originator may touch r: it is the administrator, or it created r or something above r.
func (c *CSE) allowed(from string, r *resource) bool {
	if from == "" {
		return false
	}
	if from == c.cfg.Admin {
		return true
	}
	for ; r != nil; r = r.parent {
		if r.creator == from {
			return true
		}
	}
	return false
}
