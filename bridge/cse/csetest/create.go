package csetest

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// create executes a CREATE. A subscription's verification runs without the lock: who is verified may need this CSE to
// answer.
func (c *CSE) create(ctx context.Context, q *request) (*result, error) {
	rcn, err := q.number("rcn", 1)
	if err != nil {
		return nil, err
	}
	if rcn > 3 && rcn != 9 {
		return nil, refuse(badRequest, "rcn is not one of CREATE")
	}
	t, known := typeOf(q.ty)
	if !known || q.ty == tyCSEBase || q.ty == tyRequest {
		return nil, refuse(notImplemented, "resource type is not supported")
	}
	attrs, err := parseResource(q.body, q.format, t.root)
	if err != nil {
		return nil, err
	}
	if err := t.checkAttributes(attrs, false); err != nil {
		return nil, err
	}
	r := &resource{ty: q.ty, creator: q.from, attrs: attrs}
	if q.ty == tySubscription {
		if err := c.verifySubscription(ctx, q, r); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.insertLocked(q, t, r); err != nil {
		return nil, err
	}
	res := &result{status: created, location: r.address(q.first("drt"))}
	switch rcn {
	case 1, 9:
		res.content = r.represent()
	case 2:
		res.content = object("m2m:uri", quote(res.location))
	case 3:
		res.content = object("m2m:rce", appendObject(nil, []member{
			{"uri", quote(res.location)}, {t.root, appendObject(nil, r.members())},
		}))
	}
	return res, nil
}

// insertLocked checks everything that depends on the tree, and puts r into it.
func (c *CSE) insertLocked(q *request, t typeInfo, r *resource) error {
	parent, err := c.parentLocked(q)
	if err != nil {
		return err
	}
	r.ri = newID(t.prefix)
	if q.ty == tyAE {
		if err := c.registerLocked(q, r); err != nil {
			return err
		}
	}
	if err := r.takeName(t, parent); err != nil {
		return err
	}
	if r.ty == tyPollingChannel {
		if parent.pollingChannel() != nil { // TS-0001, table 9.6.5-1
			return refuse(conflict, "the AE has a polling channel")
		}
		r.channel = newChannel()
	}
	if r.ty == tyContentInstance {
		r.size = contentSize(r.attrs["con"])
		if mbs := parent.attrs.number("mbs", -1); mbs >= 0 && r.size > mbs {
			return refuse(notAcceptable, "content is larger than the container's mbs") // TS-0004, 7.4.7.2.1
		}
		if parent.attrs.number("mni", 1) == 0 {
			return refuse(notAcceptable, "the container's mni is 0")
		}
		r.parent, r.ct = parent, time.Now()
		r.lt = r.ct
		c.byID[r.ri] = r
		parent.addInstance(r, c.forgetLocked)
	} else {
		c.putLocked(parent, r)
	}
	c.eventLocked(parent, netCreateChild, r, r.represent())
	return nil
}

// putLocked makes r the newest child of parent.
func (c *CSE) putLocked(parent, r *resource) {
	r.parent, r.ct = parent, time.Now()
	r.lt = r.ct
	c.byID[r.ri] = r
	parent.children = append(parent.children, r)
}

// parentLocked returns the target, if the Originator may create this type there. Every registered or yet unregistered
// Originator may create an AE under the CSEBase.
func (c *CSE) parentLocked(q *request) (*resource, error) {
	parent, err := c.findLocked(q.to)
	if err != nil {
		return nil, err
	}
	if isVirtual(q.to) {
		return nil, refuse(operationNotAllowed, "nothing is created under la or ol")
	}
	if !(q.ty == tyAE && parent == c.base) && !c.allowed(q.from, parent) {
		return nil, refuse(noPrivilege, "originator has no privilege")
	}
	if t, _ := typeOf(parent.ty); !slices.Contains(t.children, q.ty) {
		return nil, refuse(invalidChildType, "the parent can't have a child of this type")
	}
	return parent, nil
}

// registerLocked gives the AE its AE-ID (TS-0001, 10.2.2.2): From holds a whole AE-ID-Stem that the AE wants, "C" or "S"
// for one of that kind, or nothing.
func (c *CSE) registerLocked(q *request, r *resource) error {
	api := r.attrs.text("api")
	if api == "" || (api[0] != 'N' && api[0] != 'R') { // TS-0001, 7.1.3
		return refuse(badRequest, "api begins with neither N nor R")
	}
	aei := q.from
	switch {
	case aei == "":
		aei = newID("C")
	case aei == "C" || aei == "S":
		aei = newID(aei)
	case !validStem(aei):
		return refuse(badRequest, "originator can't be an AE-ID-Stem")
	case c.byID[aei] != nil:
		return refuse(alreadyRegistered, "originator has already registered")
	}
	r.creator, r.ri = aei, aei
	r.attrs["aei"] = quote(aei)
	return nil
}

// takeName takes rn from the content, or makes one.
func (r *resource) takeName(t typeInfo, parent *resource) error {
	if _, given := r.attrs["rn"]; !given {
		r.rn = newID(t.prefix)
		return nil
	}
	r.rn = r.attrs.text("rn")
	delete(r.attrs, "rn")
	if err := checkName(r.rn); err != nil {
		return err
	}
	if parent.child(r.rn) != nil {
		return refuse(conflict, "a resource of this name exists")
	}
	return nil
}

// sortedMembers returns what an object holds, in alphabetical order.
func sortedMembers(attrs map[string]json.RawMessage) []member {
	var out []member
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		out = append(out, member{name, attrs[name]})
	}
	return out
}
