package csetest

import (
	"context"
	"errors"
	"strings"
)

// Request statuses (TS-0004, 6.3.4.2.10), as far as this CSE has them.
const (
	rsCompleted = 1
	rsFailed    = 2
)

// accept executes a non-blocking request (TS-0001, 8.2.2) and keeps the result in a <request> resource, whose address is
// the answer. For rt 2 the result also goes to the notification targets, or to the Originator's AE. Here it is there before
// the answer leaves.
func (c *CSE) accept(ctx context.Context, q *request) (*result, error) {
	res, err := c.dispatch(ctx, q)
	rs := rsCompleted
	if err != nil {
		f := &fault{status: internalError, text: "internal error"}
		_ = errors.As(err, &f)
		res, rs = &result{status: f.status, content: object("m2m:dbg", quote(f.text))}, rsFailed
	}
	members := []member{{"rsc", number(int(res.status))}, {"rqi", quote(q.rqi)}, {"fr", quote(c.cfg.ID)}, {"to", quote(q.from)}}
	if len(res.content) > 0 {
		members = append(members, member{"pc", res.content})
	}
	answer := appendObject(nil, members)

	c.mu.Lock()
	defer c.mu.Unlock()
	r := &resource{ty: tyRequest, ri: newID("req"), creator: q.from, attrs: attributes{
		"op": number(q.op), "tg": quote(strings.Join(q.to, "/")), "or": quote(q.from), "rid": quote(q.rqi), "rs": number(rs),
		"ors": answer,
	}}
	r.rn = r.ri
	c.putLocked(c.base, r)
	c.dropRequestsLocked()
	if q.first("rt") == "1" {
		return &result{status: acceptedSynch, content: object("m2m:uri", quote(r.path()))}, nil
	}
	for _, target := range c.resultTargets(q) {
		d, err := c.deliveryLocked(target)
		if err != nil {
			c.notifier.lost()
			continue
		}
		d.body = object("m2m:rsp", answer)
		c.notifier.enqueue(d)
	}
	return &result{status: acceptedAsynch, content: object("m2m:uri", quote(r.path()))}, nil
}

// resultTargets are the notificationURIs; without a list the Originator itself (TS-0004, 6.3.4.2.6), and nobody by an empty one.
func (c *CSE) resultTargets(q *request) []string {
	switch {
	case q.rtu == nil:
		return []string{q.from}
	case q.rtu[0] == "":
		return nil
	}
	return strings.Split(q.rtu[0], "&")
}

// dropRequestsLocked lets the oldest <request> go when there are too many.
func (c *CSE) dropRequestsLocked() {
	var oldest *resource
	n := 0
	for _, r := range c.base.children {
		if r.ty == tyRequest {
			if n++; oldest == nil {
				oldest = r
			}
		}
	}
	if n > maxRequests {
		c.base.remove(oldest)
		c.forgetLocked(oldest)
	}
}
