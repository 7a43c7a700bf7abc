package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/latency"
	"coapbridge/cmd/coap-load/session"
)

// Stream says how requests are sent on the sessions that Connect made.
type Stream struct {
	Request  Request
	InFlight int           // closed loop: so many requests under way, over all sessions in turn
	Rate     float64       // open loop: so many a second, whatever the server does
	WarmUp   time.Duration // not counted
	Duration time.Duration
}

// Send sends requests and waits for their answers.
func (l *Load) Send(ctx context.Context, s Stream) (*Result, error) {
	if len(l.sessions) == 0 {
		return nil, errors.New("load: there are no sessions")
	}
	t, err := s.Request.template()
	if err != nil {
		return nil, err
	}
	x := newExchanges(t, max(s.InFlight*2, int(s.Rate*15)))
	var turn atomic.Uint64
	next := func() *session.Session { return l.sessions[turn.Add(1)%uint64(len(l.sessions))] }
	var over atomic.Bool
	if s.Rate == 0 {
		x.done = func(out *fleet.Batch, _ *session.Session, _ bool) {
			if !over.Load() {
				x.send(out, next(), time.Now())
			}
		}
	}
	l.hooks.Store(&hooks{received: x.received})
	defer l.hooks.Store(&hooks{})
	background := l.scanning(x)
	defer background()
	stop := l.progress(func() string {
		c, open := x.snapshot()
		return fmt.Sprintf("%d answered, %d refused, %d lost, %d under way", c.Answered, c.Refused, c.Lost, open)
	})
	defer stop()

	if s.Rate == 0 {
		out := l.fleet.Borrow()
		for range max(s.InFlight, 1) {
			x.send(out, next(), time.Now())
		}
		l.fleet.Return(out)
		if err := wait(ctx, s.WarmUp); err != nil {
			return nil, err
		}
	} else if s.WarmUp > 0 {
		l.pace(ctx, x, s.Rate, s.WarmUp, next)
	}
	r := &Result{Mode: "request", Open: s.Rate > 0}
	end, err := l.stretch(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	x.start(began)
	var took time.Duration
	if s.Rate == 0 {
		err = wait(ctx, s.Duration)
		took = time.Since(began)
	} else {
		l.pace(ctx, x, s.Rate, s.Duration, next)
		took = time.Since(began)
		err = ctx.Err()
		x.settle(ctx) // those that were due within the stretch count, however late
	}
	if err != nil {
		return nil, err
	}
	over.Store(true)
	counts := x.stop()
	r.Requests, r.Done, r.Failed = &counts, counts.Answered, counts.Refused+counts.Lost+counts.Unsent
	r.Failures, r.Latency = x.codes.all(), x.latency.Summary()
	if err := r.finish(took, end); err != nil {
		return nil, err
	}
	return r, r.errNone()
}

func (l *Load) pace(ctx context.Context, x *exchanges, rate float64, d time.Duration, next func() *session.Session) {
	out := l.fleet.Borrow()
	latency.Pace(ctx, rate, 0, time.Now().Add(d), func(_ int, due time.Time) { x.send(out, next(), due) }, out.Flush)
	l.fleet.Return(out)
}

// scanning repeats lost requests until the returned function is called.
func (l *Load) scanning(x *exchanges) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out := l.fleet.NewBatch()
		for wait(ctx, scanEvery) == nil {
			x.scan(out, time.Now())
			out.Flush()
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// settle waits until no request is under way any more, or all were given up.
func (x *exchanges) settle(ctx context.Context) {
	for {
		if _, open := x.snapshot(); open == 0 || wait(ctx, time.Millisecond) != nil {
			return
		}
	}
}
