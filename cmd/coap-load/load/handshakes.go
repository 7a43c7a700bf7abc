package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/latency"
	"coapbridge/cmd/coap-load/session"
)

// Handshakes says how many full handshakes there are to be.
type Handshakes struct {
	Count    int           // 0: until Duration
	Duration time.Duration // 0: until Count
	InFlight int           // closed loop: a new one begins when one ends
	Rate     float64       // open loop: so many begin a second, whatever becomes of them
	Keep     bool          // the sessions stay; otherwise each ends with a close_notify at once
}

// Handshake makes full handshakes.
func (l *Load) Handshake(ctx context.Context, h Handshakes) (*Result, error) {
	end, err := l.stretch(ctx)
	if err != nil {
		return nil, err
	}
	m := l.making(h)
	stop := l.progress(m.text)
	defer stop()
	began := time.Now()
	r, err := m.run(ctx, h)
	if err != nil {
		return nil, err
	}
	if err := r.finish(time.Since(began), end); err != nil {
		return nil, err
	}
	return r, r.errNone()
}

// handshakes is Handshake without a measurement and without progress.
func (l *Load) handshakes(ctx context.Context, h Handshakes) (*Result, error) {
	return l.making(h).run(ctx, h)
}

func (l *Load) making(h Handshakes) *making {
	m := &making{load: l, failures: newTally(), keep: h.Keep, ended: make(chan struct{}), base: l.next, left: h.Count}
	if h.Duration > 0 {
		m.until = time.Now().Add(h.Duration)
	}
	if h.Count == 0 {
		m.left = 1 << 31
	}
	return m
}

func (m *making) run(ctx context.Context, h Handshakes) (*Result, error) {
	l := m.load
	l.hooks.Store(&hooks{established: m.established, failed: m.failed})
	defer l.hooks.Store(&hooks{})
	if h.Rate > 0 {
		m.openLoop(ctx, h)
	} else {
		m.closedLoop(h.InFlight)
	}
	select {
	case <-m.ended:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.next += m.begun
	l.sessions = append(l.sessions, m.kept...)
	return &Result{
		Mode: "handshake", Open: h.Rate > 0, Done: m.done, Failed: m.lost, Failures: m.failures.all(), Latency: m.recorder.Summary(),
	}, nil
}

// Connect makes n sessions that stay, with a closed loop.
func (l *Load) Connect(ctx context.Context, n, inFlight int) (*Result, error) {
	r, err := l.Handshake(ctx, Handshakes{Count: n, InFlight: inFlight, Keep: true})
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("load: %d of %d sessions failed: %v", r.Failed, n, r.Failures)
	}
	return r, err
}

// making is handshakes under way.
type making struct {
	load     *Load
	recorder latency.Recorder
	failures *tally
	keep     bool
	until    time.Time
	ended    chan struct{}
	base     int

	mu     sync.Mutex // guards the following fields
	left   int
	begun  int
	flying int
	pacing bool // the open loop is not through
	over   bool
	done   uint64
	lost   uint64
	kept   []*session.Session
	meant  map[int]time.Time // open loop: when each was to begin
}

func (m *making) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%d handshakes done, %d failed, %d in flight", m.done, m.lost, m.flying)
}

func (m *making) closedLoop(inFlight int) {
	m.mu.Lock()
	first := min(max(inFlight, 1), m.left)
	m.left -= first
	m.begun += first
	m.flying += first
	m.mu.Unlock()
	out := m.load.fleet.Borrow()
	for i := range first {
		m.load.client.Start(out, m.base+i)
	}
	m.load.fleet.Return(out)
}

func (m *making) openLoop(ctx context.Context, h Handshakes) {
	m.pacing, m.meant = true, map[int]time.Time{}
	out := m.load.fleet.Borrow()
	latency.Pace(ctx, h.Rate, h.Count, m.until, func(i int, due time.Time) {
		m.mu.Lock()
		m.begun++
		m.flying++
		m.meant[m.base+i] = due
		m.mu.Unlock()
		m.load.client.Start(out, m.base+i)
	}, out.Flush)
	m.load.fleet.Return(out)
	m.mu.Lock()
	m.pacing, m.left = false, 0
	m.finishLocked()
	m.mu.Unlock()
}

func (m *making) established(out *fleet.Batch, s *session.Session) {
	m.mu.Lock()
	due, ok := m.meant[s.Index()]
	if !ok {
		due = s.Began()
	}
	delete(m.meant, s.Index())
	m.done++
	if m.keep {
		m.kept = append(m.kept, s)
	}
	m.mu.Unlock()
	m.recorder.Record(time.Since(due))
	if !m.keep {
		s.Close(out)
	}
	m.following(out)
}

func (m *making) failed(out *fleet.Batch, _ int, err error) {
	m.failures.add(err.Error())
	m.mu.Lock()
	m.lost++
	m.mu.Unlock()
	m.following(out)
}

// following begins the next handshake of a closed loop.
func (m *making) following(out *fleet.Batch) {
	m.mu.Lock()
	m.flying--
	if m.meant != nil || m.left == 0 || !m.until.IsZero() && time.Now().After(m.until) {
		if m.meant == nil {
			m.left = 0
		}
		m.finishLocked()
		m.mu.Unlock()
		return
	}
	i := m.base + m.begun
	m.left--
	m.begun++
	m.flying++
	m.mu.Unlock()
	m.load.client.Start(out, i)
}

func (m *making) finishLocked() {
	if m.left == 0 && m.flying == 0 && !m.pacing && !m.over {
		m.over = true
		close(m.ended)
	}
}
