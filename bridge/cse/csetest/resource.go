package csetest

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// resource is one node of the tree. A CSE's mutex guards all of them.
type resource struct {
	ty      int
	ri, rn  string
	creator string // CSE-relative AE-ID, or the administrator
	parent  *resource
	ct, lt  time.Time
	attrs   attributes // what was given, and what never changes

	children  []*resource // by creation, without contentInstances
	instances []*resource // a container's contentInstances, oldest first
	size      int         // bytes: a contentInstance's cs, a container's cbs
	stateTag  int         // st
	channel   *channel    // a pollingChannel's
}

// newID returns an unguessable identifier.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()[:12]) }

// members returns the attributes that a representation shows, universal ones first, the rest in alphabetical order.
func (r *resource) members() []member {
	out := []member{
		{"ty", number(r.ty)}, {"ri", quote(r.ri)}, {"rn", quote(r.rn)}, {"pi", quote(r.parentID())},
		{"ct", quote(r.ct.UTC().Format(stampLong))}, {"lt", quote(r.lt.UTC().Format(stampLong))},
	}
	if _, has := r.attrs["et"]; !has && r.ty != tyCSEBase {
		out = append(out, member{"et", quote(r.ct.UTC().AddDate(5, 0, 0).Format(stampLong))})
	}
	switch r.ty {
	case tyContainer:
		out = append(out, member{"st", number(r.stateTag)}, member{"cni", number(len(r.instances))},
			member{"cbs", number(r.size)})
	case tyContentInstance:
		out = append(out, member{"st", number(r.stateTag)}, member{"cs", number(r.size)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.attrs)) {
		out = append(out, member{name, r.attrs[name]})
	}
	return out
}

func (r *resource) parentID() string {
	if r.parent == nil {
		return ""
	}
	return r.parent.ri
}

func number(n int) json.RawMessage { return strconv.AppendInt(nil, int64(n), 10) }

// root is the name of the resource in a content.
func (r *resource) root() string {
	t, _ := typeOf(r.ty)
	return t.root
}

// represent returns the resource under its name, with all its attributes.
func (r *resource) represent() json.RawMessage {
	return object(r.root(), appendObject(nil, r.members()))
}

// path is the structured CSE-relative address.
func (r *resource) path() string {
	if r.parent == nil {
		return r.rn
	}
	return r.parent.path() + "/" + r.rn
}

// address is what the Desired Identifier Result Type asks for: 2 unstructured, else structured (TS-0004, 6.3.4.2.8).
func (r *resource) address(drt string) string {
	if drt == "2" {
		return r.ri
	}
	return r.path()
}

// child returns the child of that name; la and ol are a container's newest and oldest contentInstance.
func (r *resource) child(name string) *resource {
	if r.ty == tyContainer && (name == "la" || name == "ol") {
		r.dropOld(time.Now())
		switch {
		case len(r.instances) == 0:
			return nil
		case name == "la":
			return r.instances[len(r.instances)-1]
		}
		return r.instances[0]
	}
	for _, list := range [][]*resource{r.children, r.instances} {
		if i := slices.IndexFunc(list, func(c *resource) bool { return c.rn == name }); i >= 0 {
			return list[i]
		}
	}
	return nil
}

// pollingChannel returns the AE's, nil when it has none.
func (r *resource) pollingChannel() *resource {
	if i := slices.IndexFunc(r.children, func(c *resource) bool { return c.ty == tyPollingChannel }); i >= 0 {
		return r.children[i]
	}
	return nil
}

// all yields every child, contentInstances last.
func (r *resource) all() []*resource { return slices.Concat(r.children, r.instances) }

// unlinked is called with each contentInstance that a container gives up.
type unlinked func(*resource)

// addInstance appends a contentInstance and lets the oldest go until mni and mbs hold (TS-0004, 7.4.7.2.1).
func (r *resource) addInstance(cin *resource, gone unlinked) {
	r.stateTag++
	cin.stateTag = r.stateTag
	r.lt = cin.ct
	r.instances = append(r.instances, cin)
	r.size += cin.size
	r.enforce(gone)
}

// enforce makes room for mni and mbs from the oldest end.
func (r *resource) enforce(gone unlinked) {
	mni := min(r.attrs.number("mni", maxInstances), maxInstances)
	mbs := r.attrs.number("mbs", -1)
	for len(r.instances) > mni || (mbs >= 0 && r.size > mbs && len(r.instances) > 0) {
		gone(r.dropOldest())
	}
}

func (r *resource) dropOldest() *resource {
	oldest := r.instances[0]
	r.instances[0] = nil
	r.instances = r.instances[1:]
	r.size -= oldest.size
	return oldest
}

// dropOld lets go what is older than mia. Its identifiers stay known until the container is asked for: see lookup.
func (r *resource) dropOld(now time.Time) {
	mia := r.attrs.number("mia", -1)
	if mia < 0 {
		return
	}
	for len(r.instances) > 0 && now.Sub(r.instances[0].ct) > time.Duration(mia)*time.Second {
		r.dropOldest().parent = nil
	}
}

// remove takes a child out.
func (r *resource) remove(child *resource) {
	if child.ty == tyContentInstance {
		if i := slices.Index(r.instances, child); i >= 0 {
			r.instances = slices.Delete(r.instances, i, i+1)
			r.size -= child.size
			r.stateTag++
		}
		return
	}
	r.children = slices.DeleteFunc(r.children, func(c *resource) bool { return c == child })
}

// contentSize is con's size in bytes: of the text when it is one, else of its JSON.
func contentSize(con json.RawMessage) int {
	var s string
	if json.Unmarshal(con, &s) == nil {
		return len(s)
	}
	return len(con)
}
