package cse

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// pollRelease is the Release Version Indicator of the Poller's own requests, as of the bridge's.
const pollRelease = "3"

// PollOutcome says what came of a poll; it is a closed set, fit for a metric's label.
type PollOutcome string

// The outcomes.
const (
	PollDelivered   PollOutcome = "delivered"   // it brought a request, or several
	PollEmpty       PollOutcome = "empty"       // nothing waited until the poll's end
	PollGone        PollOutcome = "gone"        // the AE is not there any more, and is forgotten
	PollFailed      PollOutcome = "failed"      // refused, without a channel, not answered in time or wrongly, or with nothing that is a request
	PollUnreachable PollOutcome = "unreachable" // the CSE is not reached
	PollCancelled   PollOutcome = "cancelled"   // by Forget or Shutdown
)

// PollOutcomes returns all of them.
func PollOutcomes() []PollOutcome {
	return []PollOutcome{PollDelivered, PollEmpty, PollGone, PollFailed, PollUnreachable, PollCancelled}
}

// own is a request of the Poller's, as the AE.
func (w *watch) own(op onem2m.Operation, to string) *onem2m.Request {
	return &onem2m.Request{
		Operation: op, To: to, From: w.aei, RequestID: rand.Text(), ReleaseVersion: pollRelease,
		Accept: []string{"application/json"},
	}
}

// poll finds the AE's channel where it isn't known, and asks there once.
func (c *polledCSE) poll(ctx context.Context, w *watch, timeout time.Duration) (*onem2m.Response, PollOutcome) {
	client := c.poller.cfg.Client
	if w.channel == "" {
		if outcome := c.findChannel(ctx, w); outcome != PollDelivered {
			return nil, outcome
		}
	}
	r := w.own(onem2m.Retrieve, w.channel+"/pcu")
	r.RequestExpiration = strconv.FormatInt(timeout.Milliseconds(), 10) // TS-0004, 6.3.3: from now, so that no clock matters
	resp, err := client.poll(ctx, w.up, r)
	switch {
	case err != nil:
		return nil, failedPoll(ctx, err)
	case resp.Status == onem2m.StatusRequestTimeout, resp.Status == onem2m.StatusOK && len(resp.Content) == 0:
		return nil, PollEmpty
	case resp.Status == onem2m.StatusNotFound:
		w.channel = "" // it was deleted, or the AE was
		return nil, PollFailed
	case resp.Status != onem2m.StatusOK:
		return nil, PollFailed
	}
	return resp, PollDelivered
}

// poll is Do on the connections that are kept for polls.
func (c *Client) poll(ctx context.Context, up bridge.Upstream, r *onem2m.Request) (*onem2m.Response, error) {
	return c.polls[up].send(ctx, r, nil)
}

func failedPoll(ctx context.Context, err error) PollOutcome {
	switch {
	case ctx.Err() != nil:
		return PollCancelled
	case errors.Is(err, bridge.ErrUnreachable):
		return PollUnreachable
	}
	return PollFailed
}

// findChannel looks for the AE's <pollingChannel> and makes it where there is none (TS-0001, 9.6.21). It returns
// PollDelivered when the channel is known now.
func (c *polledCSE) findChannel(ctx context.Context, w *watch) PollOutcome {
	find := w.own(onem2m.Retrieve, w.aei)
	find.Query = []onem2m.Parameter{
		{Key: "fu", Value: "1"}, {Key: "ty", Value: strconv.Itoa(int(onem2m.TypePollingChannel))}, // discovery
	}
	create := w.own(onem2m.Create, w.aei)
	create.ResourceType, create.Content, create.MediaType = onem2m.TypePollingChannel, []byte(`{"m2m:pch":{}}`), "application/json"
	create.Query = []onem2m.Parameter{{Key: "rcn", Value: "2"}} // its address
	for _, step := range []struct {
		request *onem2m.Request
		want    onem2m.StatusCode
		member  string
	}{{find, onem2m.StatusOK, "m2m:uril"}, {create, onem2m.StatusCreated, "m2m:uri"}} {
		resp, err := c.poller.cfg.Client.poll(ctx, w.up, step.request)
		switch {
		case err != nil:
			return failedPoll(ctx, err)
		case resp.Status == onem2m.StatusNotFound:
			return PollGone
		case resp.Status != step.want:
			return PollFailed
		}
		w.channel = resp.Created
		if w.channel == "" {
			w.channel = firstAddress(resp, step.member)
		}
		if w.channel != "" {
			return PollDelivered
		}
	}
	return PollFailed
}

// firstAddress is the first of the addresses under member, "" when there is none.
func firstAddress(resp *onem2m.Response, member string) string {
	first := ""
	_, err := onem2m.MapLists(resp.Content, resp.MediaType, member, func(list []string) ([]string, bool) {
		if first == "" && len(list) > 0 {
			first = list[0]
		}
		return nil, false
	})
	if err != nil {
		return ""
	}
	return first
}

// handOver delivers what a poll brought, one request after the other, and answers each. It reports
// whether there was any.
func (c *polledCSE) handOver(w *watch, found *onem2m.Response) (sound bool) {
	parts, err := onem2m.SplitPrimitives(found.Content, found.MediaType)
	if err != nil {
		c.count(func(s *pollStats) { s.malformed++ })
		return false
	}
	for _, part := range parts {
		req, err := onem2m.ParsePrimitive(part, found.MediaType)
		if err != nil {
			c.count(func(s *pollStats) { s.malformed++ })
			req = &onem2m.Request{RequestID: onem2m.RequestIDFromPrimitive(part, found.MediaType)}
			if req.RequestID != "" {
				c.answer(w, req, &onem2m.Response{Status: statusOf(err)}, found.MediaType)
			}
			continue
		}
		sound = true
		c.count(func(s *pollStats) { s.requests++ })
		resp := c.deliver(w, req)
		if req.ResponseType != onem2m.NoResponse { // TS-0004, 6.3.4.2.6
			c.answer(w, req, resp, found.MediaType)
		}
	}
	return sound
}

func (c *polledCSE) deliver(w *watch, req *onem2m.Request) *onem2m.Response {
	ctx, cancel, err := within(c.poller.life, c.poller.cfg.Timeout, req)
	if err != nil {
		return &onem2m.Response{Status: statusOf(err)}
	}
	defer cancel()
	return delivered(c.poller.deliver.Deliver(ctx, bridge.Downstream{CSE: c.name, AEI: w.aei}, req))
}

// answer notifies the channel of the response (TS-0001, 10.2.5.18), again where the CSE certainly hasn't got it.
func (c *polledCSE) answer(w *watch, req *onem2m.Request, resp *onem2m.Response, media string) {
	whole := *resp
	whole.RequestID, whole.ReleaseVersion = req.RequestID, req.ReleaseVersion
	if whole.Status < minStatus || whole.Status > maxStatus {
		whole.Status = onem2m.StatusInternalServerError
	}
	if whole.ReleaseVersion == "" {
		whole.ReleaseVersion = pollRelease // ACME leaves it out of what it hands out, and refuses an answer without
	}
	content, err := whole.Primitive(req, media)
	if err != nil { // the device's answer has no form there
		whole = onem2m.Response{Status: statusOf(err), RequestID: req.RequestID, ReleaseVersion: whole.ReleaseVersion}
		if content, err = whole.Primitive(req, media); err != nil {
			c.count(func(s *pollStats) { s.lost++ })
			return
		}
	}
	r := w.own(onem2m.Notify, w.channel+"/pcu")
	r.Content, r.MediaType, r.Accept = content, media, nil
	for try := 1; ; try++ {
		taken, err := c.poller.cfg.Client.Do(c.poller.life, w.up, r)
		switch {
		case err == nil && taken.Status.Success():
			c.count(func(s *pollStats) { s.answered(int(whole.Status)) })
			return
		case err == nil || !errors.Is(err, bridge.ErrUnreachable) || try == maxAnswerTries:
			c.count(func(s *pollStats) { s.lost++ })
			return
		}
		timer := time.NewTimer(pause(try))
		select {
		case <-timer.C:
		case <-c.poller.life.Done():
			timer.Stop()
		}
	}
}

// PollerStats are the counts of a Poller for one CSE.
type PollerStats struct {
	CSE        string
	Watched    int // AEs
	Polling    int // polls now
	Delivering int // requests at devices now
	Polls      map[PollOutcome]uint64
	Requests   uint64         // that polls brought
	Malformed  uint64         // of them, or of what is none
	Answers    map[int]uint64 // that the CSE took, by class of the ResponseStatusCode as in DownlinkCSEStats
	Lost       uint64         // answers that it did not take
}

// pollStats is guarded by Poller.mu.
type pollStats struct {
	polls                     map[PollOutcome]uint64
	requests, malformed, lost uint64
	answers                   map[int]uint64
}

func (s *pollStats) answered(status int) { s.answers[status/1000]++ }

func (c *polledCSE) count(f func(*pollStats)) {
	c.poller.mu.Lock()
	defer c.poller.mu.Unlock()
	f(&c.stats)
}

// Stats returns the counts of every CSE, in the order of their names.
func (p *Poller) Stats() []PollerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []PollerStats
	for _, name := range slices.Sorted(maps.Keys(p.cses)) {
		c := p.cses[name]
		out = append(out, PollerStats{
			CSE: name, Watched: len(c.watched), Polling: c.polling, Delivering: c.delivering, Polls: maps.Clone(c.stats.polls),
			Requests: c.stats.requests, Malformed: c.stats.malformed, Answers: maps.Clone(c.stats.answers), Lost: c.stats.lost,
		})
	}
	return out
}
