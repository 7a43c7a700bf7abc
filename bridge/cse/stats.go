package cse

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// Stats are the counts of one CSE since New.
type Stats struct {
	CSE      string
	Outcomes map[Reason]uint64            // finished requests by what became of them
	Statuses map[onem2m.StatusCode]uint64 // answers by ResponseStatusCode; 0 holds those beyond the 256 first ones

	LatencySum     time.Duration // of all finished requests, waiting for a connection included
	LatencyBuckets []Bucket      // cumulative, as Prometheus has them

	InFlight int
	Dialled  uint64 // connections opened
	Reused   uint64 // requests that found a kept connection
	Repeated uint64 // requests that were sent a second time
	Open     int    // connections now, idle ones included
}

// Bucket counts the requests that took UpTo or less.
type Bucket struct {
	UpTo  time.Duration
	Count uint64
}

// latencyBounds are the upper bounds of the buckets: from a CSE on the same machine to the default timeout.
func latencyBounds() [12]time.Duration {
	const ms = time.Millisecond
	return [...]time.Duration{
		ms, 2 * ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms, 1000 * ms, 5000 * ms, 30000 * ms,
	}
}

// stats counts for one CSE.
type stats struct {
	dialled, reused, repeated atomic.Uint64

	mu       sync.Mutex // guards the following fields
	inFlight int
	outcomes map[Reason]uint64
	statuses map[onem2m.StatusCode]uint64
	sum      time.Duration
	buckets  [12]uint64
	last     error // of the newest finished request; nil: answered, or none yet
}

func newStats() *stats {
	return &stats{outcomes: make(map[Reason]uint64), statuses: make(map[onem2m.StatusCode]uint64)}
}

func (s *stats) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
}

// end counts a finished request: f when it failed, else its response.
func (s *stats) end(took time.Duration, f *Error, resp *onem2m.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	s.sum += took
	for i, bound := range latencyBounds() {
		if took <= bound {
			s.buckets[i]++
			break
		}
	}
	if f != nil {
		s.outcomes[f.Reason]++
		if f.Reason != ReasonCancelled && f.Reason != ReasonClosed { // the caller's doing says nothing of the CSE
			s.last = f
		}
		return
	}
	s.last = nil
	s.outcomes[ReasonAnswered]++
	code := resp.Status
	if _, known := s.statuses[code]; !known && (len(s.statuses) >= maxCountedCodes || !code.Known()) {
		code = 0
	}
	s.statuses[code]++
}

// Stats returns the counts of every CSE, in no order.
func (c *Client) Stats() []Stats {
	out := make([]Stats, 0, len(c.targets))
	for name, t := range c.targets {
		s := t.stats.snapshot()
		s.CSE = name
		for up, e := range c.endpoints {
			if up.CSE == name {
				s.Open += e.connections()
			}
		}
		out = append(out, s)
	}
	return out
}

func (s *stats) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{
		Outcomes: maps.Clone(s.outcomes), Statuses: maps.Clone(s.statuses), LatencySum: s.sum, InFlight: s.inFlight,
		Dialled: s.dialled.Load(), Reused: s.reused.Load(), Repeated: s.repeated.Load(),
	}
	var sum uint64
	for i, bound := range latencyBounds() {
		sum += s.buckets[i]
		out.LatencyBuckets = append(out.LatencyBuckets, Bucket{UpTo: bound, Count: sum})
	}
	return out
}

// ErrNoSuchCSE is returned by Reachable for a name that isn't configured.
var ErrNoSuchCSE = errors.New("cse: no such CSE is configured")

// Reachable returns the error of the newest finished request to the CSE of that name ("" is the default one), nil when it
// was answered or none has finished yet. It sends nothing; only ErrUnreachable and ErrTimeout speak of reach.
func (c *Client) Reachable(name string) error {
	t := c.targets[name]
	if name == "" {
		t = c.fallback
	}
	if t == nil {
		return fmt.Errorf("%w: %q", ErrNoSuchCSE, name)
	}
	t.stats.mu.Lock()
	defer t.stats.mu.Unlock()
	if errors.Is(t.stats.last, bridge.ErrBadAnswer) {
		return nil // it was reached; that it talks nonsense is in the counts
	}
	return t.stats.last
}
