package load

import (
	"context"
	"errors"
	"time"

	"coapbridge/cmd/coap-load/latency"
)

// Moves says how sessions with a Connection ID change their addresses.
type Moves struct {
	Request Request
	Count   int // changes of each session's address
	Between int // requests after each change
}

// Move is what became of sessions that moved.
type Move struct {
	Moves    int    `json:"moves"`
	Requests uint64 `json:"requests"`
	Repeats  uint64 `json:"repeats"` // requests or answers that were lost and sent again
	Failed   int    `json:"failed"`  // requests without a success, in the end
}

// Move lets all sessions change their addresses together and then send requests from the new ones, again and again.
func (l *Load) Move(ctx context.Context, m Moves) (*Result, error) {
	t, err := m.Request.template()
	if err != nil {
		return nil, err
	}
	if _, err := l.fleet.Elsewhere(0); err != nil {
		return nil, err
	}
	for _, s := range l.sessions {
		if !s.ConnectionID() {
			return nil, errors.New("load: the server gave no Connection ID: sessions can't move")
		}
	}
	r := &Result{Mode: "move", Move: &Move{}, Failures: map[string]uint64{}}
	var times latency.Recorder
	end, err := l.stretch(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	place := 0
	for range max(m.Count, 1) {
		for _, s := range l.sessions {
			to, err := l.fleet.Elsewhere(place)
			if err != nil {
				return nil, err
			}
			s.Move(to)
			place++
			r.Move.Moves++
		}
		for range max(m.Between, 1) {
			x := newExchanges(t, 2*inRound)
			x.latency = &times
			one := &round{load: l, exchanges: x, ended: make(chan struct{})}
			err := one.run(ctx, inRound)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				r.Failures[err.Error()]++
				r.Move.Failed += one.failed
			}
			counts := x.stop()
			r.Move.Requests += counts.Answered + counts.Refused + counts.Lost
			r.Move.Repeats += counts.Repeats
			r.Done += counts.Answered
		}
	}
	r.Failed, r.Latency = uint64(r.Move.Failed), times.Summary()
	return r, r.finish(time.Since(began), end)
}
