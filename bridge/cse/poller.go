package cse

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"coapbridge/bridge"
)

// PollerConfig is what a Poller works with. Client is mandatory.
type PollerConfig struct {
	Client  *Client       // its CSEs' MaxPolls and PollTimeout say how much is polled
	Timeout time.Duration // of a request without an earlier rqet; 0 means 20 s
	Log     *slog.Logger  // nil drops everything
}

// Poller asks CSEs that can't call the bridge for the requests to its AEs (TS-0001, 10.2.5.16): for each AE it finds or makes
// the <pollingChannel>, retrieves what waits there, as the AE, hands it to a Deliverer, and brings the answer back as a NOTIFY
// to the channel. It implements bridge.Poller.
//
// For one CSE there are no more polls at once than its MaxPolls. AEs beyond that take turns with short polls; one whose
// channel has just delivered comes first, for a while. The requests of one AE are delivered one after the other. A CSE
// that isn't reached is left alone for up to a minute, an AE whose polls fail likewise; one whose polls end at once with
// nothing has one in a second.
//
// A poll that is given up, by Forget or Shutdown, may lose a request that its CSE is just handing out; its Originator gets no
// answer then. Its methods are safe for concurrent use.
type Poller struct {
	cfg       PollerConfig
	life      context.Context // of deliveries; ends with Shutdown's patience
	endLife   context.CancelFunc
	taking    context.Context // of polls; ends with Shutdown's begin
	endTaking context.CancelFunc
	work      sync.WaitGroup

	mu      sync.Mutex // guards the following fields
	deliver Deliverer  // nil before Serve
	closed  bool
	cses    map[string]*polledCSE
}

var _ bridge.Poller = (*Poller)(nil)

// NewPoller returns a Poller, which begins with Serve.
func NewPoller(cfg PollerConfig) *Poller {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultDownlinkTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Poller{cfg: cfg, cses: make(map[string]*polledCSE)}
	for name, t := range cfg.Client.targets {
		p.cses[name] = &polledCSE{poller: p, name: name, max: t.MaxPolls, timeout: t.PollTimeout, watched: make(map[watchKey]*watch),
			stats: pollStats{polls: make(map[PollOutcome]uint64), answers: make(map[int]uint64)}}
	}
	p.life, p.endLife = context.WithCancel(context.Background())
	p.taking, p.endTaking = context.WithCancel(p.life)
	return p
}

// watchKey names an AE: the Upstream is as the Client knows it.
type watchKey struct {
	up  bridge.Upstream
	aei string
}

// watch is an AE that is polled for. Its fields but those that say otherwise are its turn's, or guarded by Poller.mu while it
// has none.
type watch struct {
	watchKey
	channel  string             // address of the pollingChannel; "" is not known yet
	gone     bool               // forgotten; guarded by Poller.mu
	endPoll  context.CancelFunc // of a poll under way; nil: none; guarded by Poller.mu
	streak   int                // turns in a row that delivered
	failures int                // turns in a row that failed
	retryAt  time.Time
}

// polledCSE is the polls of one CSE. Poller.mu guards it.
type polledCSE struct {
	poller  *Poller
	name    string
	max     int
	timeout time.Duration

	watched    map[watchKey]*watch
	ready      []*watch // whose turn is next, forgotten ones too
	paused     pauses   // those that failed, the earliest first
	polling    int
	delivering int
	failures   int // of the CSE, in a row
	retryAt    time.Time
	timer      *time.Timer // for retryAt and the first of paused; nil: not set
	stats      pollStats
}

// pauses is a heap by retryAt.
type pauses []*watch

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h pauses) Len() int           { return len(h) }
func (h pauses) Less(i, j int) bool { return h[i].retryAt.Before(h[j].retryAt) }
func (h pauses) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *pauses) Push(w any) { *h = append(*h, w.(*watch)) }

// Pop implements heap.Interface.
func (h *pauses) Pop() any {
	n := len(*h) - 1
	w := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return w
}

func (p *Poller) keyOf(up bridge.Upstream, aei string) watchKey {
	if up.CSE == "" && p.cfg.Client.fallback != nil {
		up.CSE = p.cfg.Client.fallback.Name
	}
	return watchKey{up, aei}
}

// Watch implements bridge.Poller. An AE that is watched already, or an Upstream that the Client doesn't have, is left as
// it is.
func (p *Poller) Watch(up bridge.Upstream, aei string) {
	key := p.keyOf(up, aei)
	if p.cfg.Client.polls[key.up] == nil || aei == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.cses[key.up.CSE]
	if p.closed || c.watched[key] != nil {
		return
	}
	w := &watch{watchKey: key}
	c.watched[key] = w
	c.ready = append(c.ready, w)
	c.goOnLocked()
}

// Forget implements bridge.Poller. A request of the AE that is being delivered is still answered.
func (p *Poller) Forget(up bridge.Upstream, aei string) {
	key := p.keyOf(up, aei)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.cses[key.up.CSE]; c != nil {
		c.forgetLocked(c.watched[key])
	}
}

func (c *polledCSE) forgetLocked(w *watch) {
	if w == nil || w.gone {
		return
	}
	w.gone = true
	delete(c.watched, w.watchKey)
	if w.endPoll != nil {
		w.endPoll()
	}
	if len(c.ready) > 2*len(c.watched)+c.max { // so that who comes and goes leaves no list behind
		c.ready = slices.DeleteFunc(c.ready, func(w *watch) bool { return w.gone })
	}
}

// ErrPollerClosed is returned by Serve after Shutdown, and by a second Serve.
var ErrPollerClosed = errors.New("cse: the poller serves already, or is shut down")

// Serve polls, and hands what comes to deliver, until Shutdown; it returns nil then, and ErrPollerClosed when it was called
// before.
func (p *Poller) Serve(deliver Deliverer) error {
	p.mu.Lock()
	if p.deliver != nil || p.closed {
		p.mu.Unlock()
		return ErrPollerClosed
	}
	p.deliver = deliver
	for _, c := range p.cses {
		c.goOnLocked()
	}
	p.mu.Unlock()
	<-p.taking.Done()
	return nil
}

// Shutdown ends the polls, and returns when the requests that came by them are answered. When ctx ends before, they are given
// up and ctx's error is returned.
func (p *Poller) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.cses {
		c.stopTimerLocked()
	}
	p.mu.Unlock()
	p.endTaking()
	done := make(chan struct{})
	go func() {
		p.work.Wait()
		close(done)
	}()
	defer p.endLife()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	p.endLife()
	<-done
	return ctx.Err()
}

// goOnLocked begins as many turns as there are places, and sets the timer for what has to wait.
func (c *polledCSE) goOnLocked() {
	p := c.poller
	if p.deliver == nil || p.closed {
		return
	}
	now := time.Now()
	for len(c.paused) > 0 && !now.Before(c.paused[0].retryAt) {
		c.ready = append(c.ready, heap.Pop(&c.paused).(*watch))
	}
	for len(c.ready) > 0 && c.polling < c.max && !now.Before(c.retryAt) {
		w := c.ready[0]
		c.ready[0] = nil
		c.ready = c.ready[1:]
		if w.gone {
			continue
		}
		c.polling++
		ctx, cancel := context.WithCancel(p.taking)
		w.endPoll = cancel
		timeout := c.turnLocked()
		p.work.Go(func() {
			defer cancel()
			c.turn(ctx, w, timeout)
		})
	}
	c.setTimerLocked(now)
}

// turnLocked is how long a poll may wait. Long ones end at different times, so that places come free in between.
func (c *polledCSE) turnLocked() time.Duration {
	if len(c.watched) > c.max {
		return min(shortPoll, c.timeout)
	}
	return c.timeout/2 + rand.N(c.timeout/2+1)
}

func (c *polledCSE) setTimerLocked(now time.Time) {
	c.stopTimerLocked()
	var at time.Time
	switch {
	case len(c.ready) > 0 && now.Before(c.retryAt):
		at = c.retryAt
	case len(c.paused) > 0:
		at = c.paused[0].retryAt
	default:
		return
	}
	c.timer = time.AfterFunc(at.Sub(now), func() {
		c.poller.mu.Lock()
		defer c.poller.mu.Unlock()
		c.goOnLocked()
	})
}

func (c *polledCSE) stopTimerLocked() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// pause is how long to wait after so many failures in a row: doubled each time, with jitter.
func pause(failures int) time.Duration {
	d := maxPollPause
	if shift := failures - 1; shift < 6 {
		d = min(d, minPollPause<<shift)
	}
	return d/2 + rand.N(d/2+1)
}

// turn is one poll, and what comes of it.
func (c *polledCSE) turn(ctx context.Context, w *watch, timeout time.Duration) {
	began := time.Now()
	found, outcome := c.poll(ctx, w, timeout)
	hasty := outcome == PollEmpty && time.Since(began) < min(minPollPause, timeout/2) // the CSE lets nobody wait
	p := c.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	w.endPoll = nil
	if outcome == PollGone {
		p.cfg.Log.Debug("polled AE is gone", "err", string(outcome))
		c.forgetLocked(w)
	}
	place := &c.polling
	if outcome == PollDelivered && c.delivering < maxPollDeliveries {
		c.polling--
		c.delivering++
		place = &c.delivering
		c.goOnLocked()
	}
	if outcome == PollDelivered {
		p.mu.Unlock()
		sound := c.handOver(w, found)
		p.mu.Lock()
		if !sound {
			outcome = PollFailed
		}
	}
	c.stats.polls[outcome]++
	*place--
	if hasty {
		w.retryAt = began.Add(minPollPause)
	}
	c.queueLocked(w, outcome, hasty)
	c.goOnLocked()
}

// queueLocked says when the AE's next turn is: at its retryAt after a failure, or when it is hasty.
func (c *polledCSE) queueLocked(w *watch, outcome PollOutcome, hasty bool) {
	if outcome != PollDelivered {
		w.streak = 0
	}
	switch outcome {
	case PollDelivered, PollEmpty:
		w.failures, c.failures, c.retryAt = 0, 0, time.Time{}
	case PollUnreachable: // all of the CSE's AEs wait, and this one is first again
		if now := time.Now(); !now.Before(c.retryAt) { // polls that end together are one failure
			c.failures++
			c.retryAt = now.Add(pause(c.failures))
		}
	case PollFailed:
		w.failures++
		w.retryAt = time.Now().Add(pause(w.failures))
	}
	switch {
	case w.gone || outcome == PollCancelled:
	case outcome == PollFailed, hasty:
		heap.Push(&c.paused, w)
	case outcome == PollDelivered && w.streak < maxStreak, outcome == PollUnreachable:
		w.streak++
		c.ready = slices.Insert(c.ready, 0, w)
	default:
		w.streak = 0
		c.ready = append(c.ready, w)
	}
}
