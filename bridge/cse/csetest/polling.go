package csetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"
)

// channel is what waits at a <pollingChannel> (TS-0001, 9.6.21 and 10.2.5.16).
type channel struct {
	mu      sync.Mutex // guards the following fields
	waiting []*polled
	out     []*polled     // handed out and not answered yet
	arrived chan struct{} // closed, and replaced, when something arrives
}

// polled is a request on its way through a channel.
type polled struct {
	rqi       string
	primitive json.RawMessage
	answer    chan rsp // holds one
}

// rsp is a response primitive as it comes to a channel.
type rsp struct {
	Status    int             `json:"rsc"`
	RequestID string          `json:"rqi"`
	Release   string          `json:"rvi"`
	Content   json.RawMessage `json:"pc"`
}

func newChannel() *channel { return &channel{arrived: make(chan struct{})} }

// ask hands a NOTIFY to whoever polls, and waits for the answer.
func (ch *channel) ask(ctx context.Context, d delivery) ([]byte, status, error) {
	if d.media != "" && d.media != formatJSON.media() {
		return nil, 0, errors.New("csetest: a polling channel carries JSON alone")
	}
	if d.rqi == "" {
		d.rqi = rand.Text()
	}
	p := &polled{rqi: d.rqi, answer: make(chan rsp, 1), primitive: object("m2m:rqp", appendObject(nil, []member{
		{"fr", quote(d.from)}, {"to", quote(d.to)}, {"op", number(opNotify)}, {"rqi", quote(d.rqi)}, {"pc", d.body}, // ACME sends no rvi either
	}))}
	ch.mu.Lock()
	if len(ch.waiting)+len(ch.out) >= maxQueued {
		ch.mu.Unlock()
		return nil, 0, errors.New("csetest: the polling channel is full")
	}
	ch.waiting = append(ch.waiting, p)
	close(ch.arrived)
	ch.arrived = make(chan struct{})
	ch.mu.Unlock()
	select {
	case a := <-p.answer:
		return a.Content, status(a.Status), nil
	case <-ctx.Done():
		ch.mu.Lock()
		defer ch.mu.Unlock()
		is := func(other *polled) bool { return other == p }
		ch.waiting, ch.out = slices.DeleteFunc(ch.waiting, is), slices.DeleteFunc(ch.out, is)
		return nil, 0, ctx.Err()
	}
}

// next waits for a request.
func (ch *channel) next(ctx context.Context) (json.RawMessage, error) {
	for {
		ch.mu.Lock()
		if len(ch.waiting) > 0 {
			p := ch.waiting[0]
			ch.waiting = ch.waiting[1:]
			ch.out = append(ch.out, p)
			ch.mu.Unlock()
			return p.primitive, nil
		}
		arrived := ch.arrived
		ch.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, refuse(requestTimeout, "no request came")
		}
	}
}

// take gives an answer to who waits for it.
func (ch *channel) take(a rsp) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	i := slices.IndexFunc(ch.out, func(p *polled) bool { return p.rqi == a.RequestID })
	if i < 0 {
		return refuse(badRequest, "no request waits for this answer")
	}
	ch.out[i].answer <- a
	ch.out = slices.Delete(ch.out, i, i+1)
	return nil
}

// channelOf returns the channel whose pcu the request goes to; nil: it goes elsewhere.
func (c *CSE) channelOf(q *request) (*channel, error) {
	n := len(q.to) - 1
	if n < 1 || q.to[n] != "pcu" {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.findLocked(q.to[:n])
	switch {
	case err != nil:
		return nil, err
	case r.ty != tyPollingChannel:
		return nil, refuse(notFound, "no such resource")
	case r.parent.creator != q.from: // the AE alone, TS-0001, 10.2.5.16
		return nil, refuse(noPrivilege, "the polling channel is another AE's")
	}
	return r.channel, nil
}

// poll executes a RETRIEVE or NOTIFY of pcu.
func (c *CSE) poll(ctx context.Context, ch *channel, q *request) (*result, error) {
	switch q.op {
	case opRetrieve:
		ctx, cancel := context.WithTimeout(ctx, q.patience(c.cfg.NotifyTimeout))
		defer cancel()
		primitive, err := ch.next(ctx)
		if err != nil {
			return nil, err
		}
		return &result{status: ok, content: primitive}, nil
	case opNotify:
		var body struct {
			Answer *rsp `json:"m2m:rsp"`
		}
		if q.format != formatJSON || json.Unmarshal(q.body, &body) != nil || body.Answer == nil {
			return nil, refuse(badRequest, "content is no response primitive in JSON")
		}
		if err := c.checkVersion(body.Answer.Release); body.Answer.Release == "" || err != nil { // as ACME
			return nil, refuse(versionNotSupported, "response primitive has no release version that is known")
		}
		if err := ch.take(*body.Answer); err != nil {
			return nil, err
		}
		return &result{status: ok}, nil
	}
	return nil, refuse(operationNotAllowed, "pcu is retrieved and notified")
}

// patience is how long the Originator waits by its rqet, which parseRequest checked.
func (q *request) patience(missing time.Duration) time.Duration {
	if q.rqet == "" {
		return missing
	}
	if at, err := parseStamp(q.rqet); err == nil {
		return time.Until(at)
	}
	ms, err := strconv.ParseInt(q.rqet, 10, 32)
	if err != nil {
		return missing
	}
	return time.Duration(ms) * time.Millisecond
}
