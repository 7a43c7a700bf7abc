package csetest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
)

// Notification event types (TS-0004, 6.3.4.2.19), as far as this CSE has them.
const (
	netUpdate      = 1
	netDelete      = 2
	netCreateChild = 3
	netDeleteChild = 4
)

// Notification content types (TS-0004, 6.3.4.2.18).
const (
	nctAll        = 1
	nctModified   = 2
	nctResourceID = 3
)

// verifySubscription sends each foreign target of nu a verification request and wants 2000 for it (TS-0001, 10.2.10.4).
// The subscription gets its name and identifier here, so that sur says where it will be.
func (c *CSE) verifySubscription(ctx context.Context, q *request, r *resource) error {
	if n := r.attrs.number("nct", nctAll); n < nctAll || n > nctResourceID {
		return refuse(notImplemented, "nct is supported from 1 to 3")
	}
	if _, given := r.attrs["rn"]; !given {
		r.attrs["rn"] = quote(newID("sub"))
	}
	c.mu.Lock()
	parent, err := c.parentLocked(q)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	sur := parent.path() + "/" + r.attrs.text("rn")
	var deliveries []delivery
	for _, nu := range r.attrs.list("nu") {
		if c.originator(nu) == q.from {
			continue // the creator's own AE needs no verification
		}
		d, err := c.deliveryLocked(nu)
		if err != nil {
			c.mu.Unlock()
			return err
		}
		deliveries = append(deliveries, d)
	}
	c.mu.Unlock()
	for _, d := range deliveries {
		d.body = object("m2m:sgn", appendObject(nil, []member{
			{"vrq", []byte("true")}, {"cr", quote(q.from)}, {"sur", quote(c.cfg.ID + "/" + sur)},
		}))
		if _, s, err := c.notifier.send(ctx, d); err != nil || s != ok {
			return refuse(verificationFailed, "the notification target refused the verification")
		}
	}
	return nil
}

// deliveryLocked resolves a target of nu: a URL, or the AE-ID or address of an AE with a pointOfAccess.
func (c *CSE) deliveryLocked(nu string) (delivery, error) {
	if strings.Contains(nu, "://") {
		return delivery{urls: []string{nu}, from: c.cfg.ID}, nil
	}
	r, err := c.findLocked(segments(c.originator(nu)))
	if err != nil || r.ty != tyAE {
		return delivery{}, refuse(badRequest, "nu is neither a URL nor an AE")
	}
	d := delivery{from: c.cfg.ID, to: r.ri, ch: r.polled()}
	if d.ch != nil {
		return d, nil
	}
	for _, poa := range r.attrs.list("poa") { // one after the other until one takes it (TS-0001, 9.6.5)
		d.urls = append(d.urls, strings.TrimSuffix(poa, "/")+"/~"+c.cfg.ID+"/"+r.ri)
	}
	if len(d.urls) == 0 {
		return d, refuse(targetNotReachable, "the AE has no pointOfAccess")
	}
	return d, nil
}

// polled is the channel by which the AE gets its requests; nil: at its pointOfAccess. It has to have one, and no
// pointOfAccess or no request reachability (TS-0001, 10.2.5.16).
func (r *resource) polled() *channel {
	pch := r.pollingChannel()
	if pch == nil || string(r.attrs["rr"]) == "true" && len(r.attrs.list("poa")) > 0 {
		return nil
	}
	return pch.channel
}

// eventLocked notifies the subscriptions under at of what happened to subject.
func (c *CSE) eventLocked(at *resource, event int, subject *resource, representation json.RawMessage) {
	for _, sub := range at.children {
		if sub.ty != tySubscription || sub == subject || !slices.Contains(sub.events(), event) {
			continue
		}
		content := representation
		switch sub.attrs.number("nct", nctAll) {
		case nctAll:
			if event == netUpdate {
				content = subject.represent()
			}
		case nctResourceID:
			content = object("m2m:uri", quote(subject.path()))
		}
		nev := appendObject(nil, []member{{"rep", content}, {"net", number(event)}})
		c.enqueueLocked(sub.attrs.list("nu"), []member{
			{"nev", nev}, {"sur", quote(c.cfg.ID + "/" + sub.path())}, {"cr", quote(sub.creator)},
		})
	}
}

// events is enc's net; without one a subscription is for updates (TS-0001, 9.6.8).
func (r *resource) events() []int {
	var enc struct {
		Net []int `json:"net"`
	}
	if raw, has := r.attrs["enc"]; has && json.Unmarshal(raw, &enc) == nil && len(enc.Net) > 0 {
		return enc.Net
	}
	return []int{netUpdate}
}

// unsubscribeLocked tells the su of a subscription that goes, and of all those below a resource that goes.
func (c *CSE) unsubscribeLocked(r *resource) {
	if su := r.attrs.text("su"); r.ty == tySubscription && su != "" {
		c.enqueueLocked([]string{su}, []member{{"sud", []byte("true")}, {"sur", quote(c.cfg.ID + "/" + r.path())}})
	}
	for _, child := range r.children {
		c.unsubscribeLocked(child)
	}
}

func (c *CSE) enqueueLocked(targets []string, members []member) {
	for _, nu := range targets {
		d, err := c.deliveryLocked(nu)
		if err != nil {
			c.notifier.lost()
			continue
		}
		d.body = object("m2m:sgn", appendObject(nil, members))
		c.notifier.enqueue(d)
	}
}

// notify executes a NOTIFY: one to an AE is handed on to it (TS-0001, 10.2.5.21), one to the CSEBase is taken.
func (c *CSE) notify(ctx context.Context, q *request) (*result, error) {
	c.mu.Lock()
	r, err := c.findLocked(q.to)
	if err == nil && !c.allowed(q.from, r) {
		err = refuse(noPrivilege, "originator has no privilege")
	}
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	if r == c.base {
		c.mu.Unlock()
		return &result{status: ok}, nil
	}
	if r.ty != tyAE {
		c.mu.Unlock()
		return nil, refuse(operationNotAllowed, "NOTIFY goes to an AE or the CSEBase")
	}
	d := delivery{from: c.cfg.ID + "/" + q.from, rqi: q.rqi, body: q.body, media: q.format.media(), to: r.path(), ch: r.polled()}
	for _, poa := range r.attrs.list("poa") {
		d.urls = append(d.urls, strings.TrimSuffix(poa, "/")+"/"+r.path())
	}
	c.mu.Unlock()
	body, s, err := c.notifier.send(ctx, d)
	if err != nil {
		return nil, refuse(targetNotReachable, "the AE can't be reached")
	}
	return &result{status: s, content: body}, nil
}
