package csetest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// result is a response primitive.
type result struct {
	status   status
	content  json.RawMessage // nil: none
	location string          // of a created resource
}

// execute is the CSE behind the hook.
func (c *CSE) execute(w http.ResponseWriter, r *http.Request) {
	q, err := c.parseRequest(r)
	var res *result
	if err == nil {
		res, err = c.perform(r.Context(), q)
	}
	c.answer(w, q, res, err)
}

func (c *CSE) perform(ctx context.Context, q *request) (*result, error) {
	if q.from == "" && (q.op != opCreate || q.ty != tyAE) { // TS-0004, 6.4.1: From is optional for AE CREATE alone
		return nil, refuse(badRequest, "X-M2M-Origin is missing")
	}
	q.from = c.originator(q.from)
	if rt := q.first("rt"); rt == "1" || rt == "2" {
		return c.accept(ctx, q)
	}
	return c.dispatch(ctx, q)
}

// dispatch executes the operation.
func (c *CSE) dispatch(ctx context.Context, q *request) (*result, error) {
	ch, err := c.channelOf(q)
	switch {
	case err != nil:
		return nil, err
	case ch != nil:
		return c.poll(ctx, ch, q)
	}
	switch q.op {
	case opCreate:
		return c.create(ctx, q)
	case opRetrieve:
		return c.retrieve(q)
	case opUpdate:
		return c.update(q)
	case opDelete:
		return c.delete(q)
	}
	return c.notify(ctx, q)
}

// answer writes the response (TS-0009, 6.3 and 6.4), header names in the standard's spelling.
func (c *CSE) answer(w http.ResponseWriter, q *request, res *result, err error) {
	if err != nil {
		f := &fault{status: internalError, text: "internal error"}
		_ = errors.As(err, &f)
		res = &result{status: f.status, content: object("m2m:dbg", quote(f.text))}
	}
	if q == nil {
		q = new(request)
	}
	f := formatJSON
	for _, choice := range []format{q.accept, q.format} { // without Accept the answer comes as the request did
		if choice != noFormat {
			f = choice
			break
		}
	}
	body := []byte(res.content)
	if f == formatCBOR && len(body) > 0 {
		if b, err := jsonToCBOR(body); err == nil {
			body = b
		} else {
			f = formatJSON // a con that CBOR can't hold is better shown than lost
		}
	}
	h := w.Header()
	h["X-M2M-RSC"] = []string{string(number(int(res.status)))}
	h["X-M2M-OT"] = []string{time.Now().UTC().Format(stampLong)}
	if q.rqi != "" {
		h["X-M2M-RI"] = []string{q.rqi}
	}
	if q.rvi != "" {
		h["X-M2M-RVI"] = []string{q.rvi}
	}
	if res.location != "" {
		h["Content-Location"] = []string{res.location}
	}
	if len(body) > 0 {
		h["Content-Type"] = []string{f.media()}
	}
	w.WriteHeader(res.status.http())
	_, _ = w.Write(body) // a client that went away is its own answer
}

func (c *CSE) retrieve(q *request) (*result, error) {
	rcn, err := q.number("rcn", 1)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.findLocked(q.to)
	if err != nil {
		return nil, err
	}
	if q.first("fu") == "1" { // discovery shows only what the Originator may touch
		return c.discoverLocked(q, r)
	}
	if r != c.base && !c.allowed(q.from, r) {
		return nil, refuse(noPrivilege, "originator has no privilege")
	}
	if r.ty == tyContainer {
		r.dropOld(time.Now())
	}
	if names := q.query["atrl"]; len(names) > 0 {
		return r.partial(names)
	}
	if rcn != 1 {
		return c.childrenLocked(q, r, rcn)
	}
	return &result{status: ok, content: r.represent()}, nil
}

// partial returns the named attributes only (TS-0004, 7.3.3.14).
func (r *resource) partial(names []string) (*result, error) {
	t, _ := typeOf(r.ty)
	all := r.members()
	var out []member
	for _, name := range names {
		i := slices.IndexFunc(all, func(m member) bool { return m.name == name })
		_, known := t.attrs[name]
		switch {
		case i >= 0:
			out = append(out, all[i])
		case !known:
			return nil, refuse(badRequest, "atrl names an attribute that the resource type doesn't have")
		}
	}
	return &result{status: ok, content: object(t.root, appendObject(nil, out))}, nil
}

func (c *CSE) update(q *request) (*result, error) {
	rcn, err := q.number("rcn", 1)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.findLocked(q.to)
	if err != nil {
		return nil, err
	}
	if !c.allowed(q.from, r) {
		return nil, refuse(noPrivilege, "originator has no privilege")
	}
	if r.ty == tyContentInstance || r.ty == tyCSEBase || r.ty == tyRequest || isVirtual(q.to) { // TS-0001, 10.2.4.4
		return nil, refuse(operationNotAllowed, "the resource can't be updated")
	}
	t, _ := typeOf(r.ty)
	attrs, err := parseResource(q.body, q.format, t.root)
	if err != nil {
		return nil, err
	}
	if err := t.checkAttributes(attrs, true); err != nil {
		return nil, err
	}
	if _, changed := attrs["nu"]; changed && r.ty == tySubscription {
		return nil, refuse(notImplemented, "nu can't be updated here: delete the subscription")
	}
	r.apply(attrs, c.forgetLocked)
	modified := append([]member{{"lt", quote(r.lt.UTC().Format(stampLong))}}, sortedMembers(attrs)...)
	c.eventLocked(r, netUpdate, r, object(t.root, appendObject(nil, modified)))
	switch rcn {
	case 0:
		return &result{status: updated}, nil
	case 1:
		return &result{status: updated, content: r.represent()}, nil
	case 9:
		return &result{status: updated, content: object(t.root, appendObject(nil, modified))}, nil
	}
	return nil, refuse(badRequest, "rcn is not one of UPDATE")
}

func (r *resource) apply(attrs attributes, gone unlinked) {
	for name, value := range attrs {
		if isNull(value) {
			delete(r.attrs, name)
			continue
		}
		r.attrs[name] = value
	}
	r.lt = time.Now()
	r.stateTag++
	if r.ty == tyContainer {
		r.enforce(gone)
	}
}

func (c *CSE) delete(q *request) (*result, error) {
	rcn, err := q.number("rcn", 0)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.findLocked(q.to)
	if err != nil {
		return nil, err
	}
	if !c.allowed(q.from, r) {
		return nil, refuse(noPrivilege, "originator has no privilege")
	}
	if r == c.base {
		return nil, refuse(operationNotAllowed, "the CSEBase can't be deleted")
	}
	res := &result{status: deleted}
	switch rcn {
	case 0:
	case 1:
		res.content = r.represent()
	default:
		return nil, refuse(badRequest, "rcn is not one that this CSE has for DELETE")
	}
	parent, representation := r.parent, r.represent()
	c.eventLocked(r, netDelete, r, representation)
	c.unsubscribeLocked(r)
	parent.remove(r)
	c.forgetLocked(r)
	c.eventLocked(parent, netDeleteChild, r, representation)
	return res, nil
}

// forgetLocked drops the identifiers of r and of everything below it.
func (c *CSE) forgetLocked(r *resource) {
	delete(c.byID, r.ri)
	for _, child := range r.all() {
		c.forgetLocked(child)
	}
	r.parent = nil
}

func isVirtual(to []string) bool {
	last := to[len(to)-1]
	return last == "la" || last == "ol"
}

// Resource returns the representation of the resource at to (as in a To parameter), without access control.
func (c *CSE) Resource(to string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.findLocked(segments(to))
	if err != nil {
		return nil, false
	}
	return r.represent(), true
}

// Content returns the con of the contentInstance at to, for example "cse-in/ae/cnt/la", byte for byte as it came: a text
// with its quotes and escapes.
func (c *CSE) Content(to string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.findLocked(segments(to))
	if err != nil || r.ty != tyContentInstance {
		return nil, false
	}
	return slices.Clone(r.attrs["con"]), true
}

// validStem reports whether an Originator may become an AE-ID here: C or S and more, one segment.
func validStem(from string) bool {
	return len(from) > 1 && (from[0] == 'C' || from[0] == 'S') && !strings.ContainsAny(from, "/?#%")
}
