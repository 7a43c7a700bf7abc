package load

import (
	"context"
	"fmt"
	"math"
	"time"

	"coapbridge/cmd/coap-load/measure"
)

// Hold says how many sessions stay, and for how long.
type Hold struct {
	Sessions int
	InFlight int           // handshakes at once while they are made
	Step     int           // handshakes of the first and of the last stretch, whose cost is compared; 0 is a tenth
	Settle   time.Duration // memory is read when it has not fallen for twice as long and a second
	For      time.Duration // how long the idle processor time is watched
	Request  *Request      // nil: none; otherwise each session sends one, and memory is read again
}

// Idle is what idle sessions cost.
type Idle struct {
	Sessions   int            `json:"sessions"`
	Empty      measure.Sample `json:"empty"`         // before the first, when a server's start has settled
	Held       measure.Sample `json:"held"`          // when all were there
	After      measure.Sample `json:"after_request"` // when each had sent a request
	PerSession int64          `json:"rss_per_session_bytes"`
	PerAfter   int64          `json:"rss_per_session_after_request_bytes"`
	CPU        float64        `json:"idle_share"` // of a core
	First      time.Duration  `json:"first_handshakes_cpu_ns"`
	Last       time.Duration  `json:"last_handshakes_cpu_ns"` // each, of the last Step of them: one more session at Sessions
}

// Hold makes sessions and keeps them.
func (l *Load) Hold(ctx context.Context, h Hold) (*Result, error) {
	if h.Step == 0 {
		h.Step = h.Sessions / 10
	}
	h.Step = max(min(h.Step, h.Sessions/2), 1)
	idle := &Idle{Sessions: h.Sessions}
	r := &Result{Mode: "idle", Idle: idle}
	var err error
	if idle.Empty, err = l.settled(ctx, h.Settle); err != nil {
		return nil, err
	}
	end, err := l.stretch(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for _, part := range []struct {
		n   int
		cpu *time.Duration
	}{{h.Step, &idle.First}, {h.Sessions - 2*h.Step, nil}, {h.Step, &idle.Last}} {
		if part.n <= 0 {
			continue
		}
		made, err := l.Connect(ctx, part.n, h.InFlight)
		if err != nil {
			return nil, err
		}
		r.Done += made.Done
		if part.cpu != nil && made.Cost != nil {
			*part.cpu = made.Cost.PerOp
		}
		r.Latency = made.Latency
	}
	if err := r.finish(time.Since(began), end); err != nil {
		return nil, err
	}
	if idle.Held, err = l.settled(ctx, h.Settle); err != nil {
		return nil, err
	}
	idle.PerSession = (int64(idle.Held.RSS) - int64(idle.Empty.RSS)) / int64(h.Sessions)
	if idle.CPU, err = l.idleShare(ctx, h.For); err != nil {
		return nil, err
	}
	if h.Request != nil {
		if err := l.once(ctx, *h.Request, h.InFlight); err != nil {
			return nil, err
		}
		if idle.After, err = l.settled(ctx, h.Settle); err != nil {
			return nil, err
		}
		idle.PerAfter = (int64(idle.After.RSS) - int64(idle.Empty.RSS)) / int64(h.Sessions)
	}
	if lost := l.lost.Load(); lost > 0 {
		return r, fmt.Errorf("load: the server ended %d of %d sessions meanwhile: its limits are too low for this measurement", lost, h.Sessions)
	}
	return r, nil
}

func (l *Load) sample(ctx context.Context) (measure.Sample, error) {
	if l.conf.Server == nil {
		return measure.Sample{}, nil
	}
	return l.conf.Server.Sample(ctx)
}

// What a server read at its start, a file with 100,000 devices say, is garbage by then and would hide as much of the sessions;
// what handshakes left behind would count as theirs. So memory is read when it has stopped to fall.
const (
	steadyShare = 0.002 // less than that is no fall
	steadyLook  = 500 * time.Millisecond
	steadyMost  = time.Minute
)

// settled samples when resident memory has not fallen for twice d and a second, or after steadyMost.
func (l *Load) settled(ctx context.Context, d time.Duration) (measure.Sample, error) {
	if l.conf.Server == nil {
		return measure.Sample{}, wait(ctx, d)
	}
	stop := l.progress(func() string { return "waiting for memory to settle" })
	defer stop()
	lowest, began := uint64(math.MaxUint64), time.Now()
	for since := began; time.Since(since) < 2*d+time.Second && time.Since(began) < steadyMost; {
		rss, err := l.conf.Server.RSS()
		if err != nil {
			return measure.Sample{}, err
		}
		if float64(rss) < float64(lowest)*(1-steadyShare) {
			lowest, since = rss, time.Now()
		}
		if err := wait(ctx, steadyLook); err != nil {
			return measure.Sample{}, err
		}
	}
	return l.sample(ctx)
}

// idleShare is the processor time that the server takes while nothing happens.
func (l *Load) idleShare(ctx context.Context, d time.Duration) (float64, error) {
	stop := l.progress(func() string { return fmt.Sprintf("%d sessions idle", len(l.sessions)) })
	defer stop()
	end, err := l.stretch(ctx)
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, d); err != nil {
		return 0, err
	}
	cost, err := end(0)
	if err != nil || cost == nil {
		return 0, err
	}
	return cost.Share, nil
}

// once sends one request on each session.
func (l *Load) once(ctx context.Context, request Request, inFlight int) error {
	t, err := request.template()
	if err != nil {
		return err
	}
	round := &round{load: l, exchanges: newExchanges(t, 2*inFlight), ended: make(chan struct{})}
	return round.run(ctx, inFlight)
}
