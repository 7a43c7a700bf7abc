package coap

import (
	"context"
	"time"
)

// probing is what a peer has that did not answer the last Non-confirmable request of ours (RFC 7252, Section 4.7).
type probing struct {
	until time.Time     // from then on PROBING_RATE allows the next one
	heard chan struct{} // closed when the peer sends something, or is closed
}

// probe waits until PROBING_RATE allows a Non-confirmable request of n bytes to p: one goes at once, the next one when the peer
// has been heard, or the bytes of the one before have taken their time.
func (p *Peer) probe(ctx context.Context, n int) error {
	for {
		now := time.Now()
		pr := p.probing(n, now)
		if pr == nil {
			return nil
		}
		timer := time.NewTimer(pr.until.Sub(now))
		select {
		case <-pr.heard:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.endpoint.stop:
			timer.Stop()
			return ErrShutdown
		}
		timer.Stop()
	}
}

// probing returns what is to be waited for; nil: n bytes may go, and are counted.
func (p *Peer) probing(n int, now time.Time) *probing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed { // which whoever sends finds out
		return nil
	}
	st := p.stateLocked()
	if st.probing != nil && st.probing.until.After(now) {
		return st.probing
	}
	if st.probing != nil {
		close(st.probing.heard) // whoever waits still looks again
	}
	until := now.Add(time.Duration(n) * time.Second / time.Duration(p.profile.ProbingRate))
	st.probing = &probing{until: until, heard: make(chan struct{})}
	p.sweepByLocked(until.Add(maxSweepInterval))
	return nil
}

// heardLocked says that p is there.
func (p *Peer) heardLocked() {
	if p.state != nil && p.state.probing != nil {
		close(p.state.probing.heard)
		p.state.probing = nil
	}
}

// sweepProbingLocked forgets that p did not answer, when that does not matter any more, and returns until when it does; 0: it doesn't.
func (p *Peer) sweepProbingLocked(now time.Time) uint32 {
	pr := p.state.probing
	switch {
	case pr == nil:
		return 0
	case pr.until.After(now):
		return p.endpoint.seconds(pr.until) + 1
	}
	p.heardLocked()
	return 0
}
