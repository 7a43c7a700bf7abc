package csetest

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// filter is what Filter Criteria ask of a resource (TS-0004, 7.3.3.17.1), of those that this CSE has. Different
// conditions are joined by AND, the members of one by OR.
type filter struct {
	conditions      []func(*resource) bool
	lim, ofst, levl int
}

func (q *request) filter() (*filter, error) {
	f := new(filter)
	var err error
	if f.lim, err = q.number("lim", maxDiscovery); err != nil {
		return nil, err
	}
	if f.ofst, err = q.number("ofst", 1); err != nil { // 1 is the first result (TS-0004, 7.3.3.17.10)
		return nil, err
	}
	if f.levl, err = q.number("lvl", -1); err != nil {
		return nil, err
	}
	for key, values := range q.query {
		if err := f.add(key, values); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *filter) add(key string, values []string) error {
	switch key {
	case "fu", "rcn", "drt", "lim", "ofst", "lvl", "rt", "rp":
	case "lbl":
		f.where(func(r *resource) bool {
			return slices.ContainsFunc(r.attrs.list("lbl"), func(l string) bool { return slices.Contains(values, l) })
		})
	case "ty":
		f.where(func(r *resource) bool { return slices.Contains(values, strconv.Itoa(r.ty)) })
	case "crb", "cra", "ms", "us":
		return f.addTime(key, values[0])
	case "rn":
		f.where(func(r *resource) bool { return slices.Contains(values, r.rn) })
	case "fo", "sts", "stb", "sza", "szb", "exb", "exa", "cty", "smf", "arp", "cfs", "cfq":
		return refuse(notImplemented, "filter criterion "+key+" is not supported")
	default: // attribute match (TS-0004, table 8.2.2-1)
		f.where(func(r *resource) bool { return slices.Contains(values, plain(r.attrs[key])) })
	}
	return nil
}

func (f *filter) where(cond func(*resource) bool) { f.conditions = append(f.conditions, cond) }

func (f *filter) addTime(key, value string) error {
	at, err := parseStamp(value)
	if err != nil {
		return refuse(badRequest, key+" is not a timestamp")
	}
	f.where(map[string]func(*resource) bool{
		"crb": func(r *resource) bool { return r.ct.Before(at) },
		"cra": func(r *resource) bool { return r.ct.After(at) },
		"ms":  func(r *resource) bool { return r.lt.After(at) },
		"us":  func(r *resource) bool { return r.lt.Before(at) },
	}[key])
	return nil
}

// plain returns a text without its quotes, and any other value as it is.
func plain(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(value)
}

func (f *filter) match(r *resource) bool {
	return !slices.ContainsFunc(f.conditions, func(cond func(*resource) bool) bool { return !cond(r) })
}

// below returns the resources under r that the filter takes and the Originator may touch, depth first.
func (c *CSE) belowLocked(from string, r *resource, f *filter) []*resource {
	var out []*resource
	var walk func(r *resource, level int)
	walk = func(r *resource, level int) {
		if f.levl >= 0 && level > f.levl {
			return
		}
		if r.ty == tyContainer {
			r.dropOld(time.Now())
		}
		for _, child := range r.all() {
			if c.allowed(from, child) && f.match(child) {
				out = append(out, child)
			}
			walk(child, level+1)
		}
	}
	walk(r, 1)
	out = out[min(max(f.ofst-1, 0), len(out)):]
	return out[:min(f.lim, maxDiscovery, len(out))]
}

// discoverLocked answers fu=1: by default the addresses alone, as ACME does; rcn 6 and 8 and 4, 5 as RETRIEVE has them.
func (c *CSE) discoverLocked(q *request, r *resource) (*result, error) {
	if r != c.base && !c.allowed(q.from, r) {
		return nil, refuse(noPrivilege, "originator has no privilege")
	}
	rcn, err := q.number("rcn", 11)
	if err != nil {
		return nil, err
	}
	if rcn != 1 && rcn != 11 {
		return c.childrenLocked(q, r, rcn)
	}
	f, err := q.filter()
	if err != nil {
		return nil, err
	}
	var uris []json.RawMessage
	for _, found := range c.belowLocked(q.from, r, f) {
		uris = append(uris, quote(found.address(q.first("drt"))))
	}
	return &result{status: ok, content: object("m2m:uril", appendArray(nil, uris))}, nil
}

// childrenLocked answers the Result Contents that speak of children: 4 attributes and child resources, 5 attributes and
// references, 6 references, 8 child resources (TS-0004, 6.3.4.2.7).
func (c *CSE) childrenLocked(q *request, r *resource, rcn int) (*result, error) {
	if rcn != 4 && rcn != 5 && rcn != 6 && rcn != 8 {
		return nil, refuse(badRequest, "rcn is not one that this CSE has for RETRIEVE")
	}
	f, err := q.filter()
	if err != nil {
		return nil, err
	}
	found := c.belowLocked(q.from, r, f)
	var out []member
	if rcn == 4 || rcn == 5 {
		out = r.members()
	}
	switch rcn {
	case 5:
		out = append(out, member{"ch", references(found, q.first("drt"))})
	case 6:
		return &result{status: ok, content: object("m2m:rrl", object("rrf", references(found, q.first("drt"))))}, nil
	default:
		out = append(out, nested(r, found)...)
	}
	return &result{status: ok, content: object(r.root(), appendObject(nil, out))}, nil
}

func references(list []*resource, drt string) json.RawMessage {
	var refs []json.RawMessage
	for _, r := range list {
		refs = append(refs, appendObject(nil, []member{
			{"nm", quote(r.rn)}, {"typ", number(r.ty)}, {"val", quote(r.address(drt))},
		}))
	}
	return appendArray(nil, refs)
}

// nested returns the children of r among found, grouped by type, each with its own children inside.
func nested(r *resource, found []*resource) []member {
	groups := make(map[string][]json.RawMessage)
	for _, child := range found {
		if child.parent == r {
			members := append(child.members(), nested(child, found)...)
			groups[child.root()] = append(groups[child.root()], appendObject(nil, members))
		}
	}
	arrays := make(map[string]json.RawMessage, len(groups))
	for root, list := range groups {
		arrays[root] = appendArray(nil, list)
	}
	return sortedMembers(arrays)
}
