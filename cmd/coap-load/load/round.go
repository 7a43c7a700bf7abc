package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/session"
)

// round is one request on each session, some at once.
type round struct {
	load      *Load
	exchanges *exchanges
	before    func(s *session.Session) // called before each request; may be nil
	ended     chan struct{}

	mu     sync.Mutex // guards the following fields
	next   int
	left   int
	failed int
}

// run returns when every session has sent its request and got an answer, and an error when one did not.
func (r *round) run(ctx context.Context, inFlight int) error {
	l, x := r.load, r.exchanges
	x.done = r.answered
	r.left = len(l.sessions)
	if r.left == 0 {
		return nil
	}
	l.hooks.Store(&hooks{received: x.received})
	defer l.hooks.Store(&hooks{})
	stop := l.progress(func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Sprintf("a request on each session: %d to go", r.left)
	})
	defer stop()
	defer l.scanning(x)()
	x.start(time.Now())
	out := l.fleet.Borrow()
	for range max(inFlight, 1) {
		r.following(out)
	}
	l.fleet.Return(out)
	select {
	case <-r.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.failed > 0 {
		return fmt.Errorf("load: %d of %d sessions got no success: %v", r.failed, len(l.sessions), x.codes.all())
	}
	return nil
}

func (r *round) answered(out *fleet.Batch, _ *session.Session, ok bool) {
	r.mu.Lock()
	if !ok {
		r.failed++
	}
	r.left--
	last := r.left == 0
	r.mu.Unlock()
	if last {
		close(r.ended)
		return
	}
	r.following(out)
}

func (r *round) following(out *fleet.Batch) {
	r.mu.Lock()
	i := r.next
	if i < len(r.load.sessions) {
		r.next++
	}
	r.mu.Unlock()
	if i == len(r.load.sessions) {
		return
	}
	s := r.load.sessions[i]
	if r.before != nil {
		r.before(s)
	}
	r.exchanges.send(out, s, time.Now())
}
