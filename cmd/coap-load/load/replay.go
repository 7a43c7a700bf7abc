package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/latency"
	"coapbridge/cmd/coap-load/session"
)

// Recording says what is recorded and how it is replayed.
type Recording struct {
	Request   Request
	PerRound  int     // requests that each session sends while it is recorded
	Rate      float64 // replayed datagrams a second
	Duration  time.Duration
	Elsewhere bool // from addresses that are nobody's, instead of those that they came from
}

// Replay is what replayed records did.
type Replay struct {
	Recorded  int           `json:"recorded"`
	Sent      uint64        `json:"sent"`
	Provoked  uint64        `json:"provoked"` // datagrams that came back; 0 is right
	BytesOut  uint64        `json:"bytes_out"`
	BytesIn   uint64        `json:"bytes_in"`
	PerRecord time.Duration `json:"per_record_ns"` // server CPU
	Alive     bool          `json:"alive"`         // afterwards every session got an answer
}

// Replay records what the sessions send, sends it again, and then asks whether they still live.
func (l *Load) Replay(ctx context.Context, rec Recording) (*Result, error) {
	if _, err := l.fleet.Elsewhere(0); err != nil {
		return nil, err
	}
	t, err := rec.Request.template()
	if err != nil {
		return nil, err
	}
	tape := &tape{load: l, elsewhere: rec.Elsewhere}
	for range max(rec.PerRound, 1) {
		recording := &round{load: l, exchanges: newExchanges(t, 256), before: tape.record, ended: make(chan struct{})}
		if err := recording.run(ctx, inRound); err != nil {
			return nil, err
		}
	}
	for _, s := range l.sessions {
		s.Tap(nil)
	}
	if len(tape.records) == 0 {
		return nil, errors.New("load: nothing was recorded")
	}
	r := &Result{Mode: "replay", Replay: &Replay{Recorded: len(tape.records)}}
	if err := tape.play(ctx, rec, r); err != nil {
		return nil, err
	}
	alive := l.once(ctx, rec.Request, inRound)
	r.Replay.Alive = alive == nil
	if alive != nil {
		r.Failures = map[string]uint64{alive.Error(): 1}
	}
	return r, ctx.Err()
}

// inRound is how many requests are under way in a round: what the smallest socket buffer of a server holds.
const inRound = 64

// tape is what was recorded.
type tape struct {
	load      *Load
	elsewhere bool

	mu      sync.Mutex // guards the following fields
	records []recorded
}

type recorded struct {
	from fleet.Path
	data []byte
}

func (t *tape) record(s *session.Session) {
	from := s.Path()
	s.Tap(func(b []byte) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.records = append(t.records, recorded{from, slices.Clone(b)})
	})
}

func (t *tape) play(ctx context.Context, rec Recording, r *Result) error {
	l := t.load
	var back, bytes atomic.Uint64
	count := func(b []byte) {
		back.Add(1)
		bytes.Add(uint64(len(b)))
	}
	l.hooks.Store(&hooks{received: func(_ *fleet.Batch, _ *session.Session, b []byte) { count(b) }})
	defer l.hooks.Store(&hooks{})
	l.client.Stray(count)
	defer l.client.Stray(nil)
	end, err := l.stretch(ctx)
	if err != nil {
		return err
	}
	var sent atomic.Uint64
	stop := l.progress(func() string {
		return fmt.Sprintf("%d of %d records replayed, %d answers", sent.Load(), len(t.records), back.Load())
	})
	defer stop()
	began := time.Now()
	out := l.fleet.NewBatch()
	latency.Pace(ctx, rec.Rate, 0, began.Add(rec.Duration), func(i int, _ time.Time) {
		one := t.records[i%len(t.records)]
		if rec.Elsewhere {
			one.from, _ = l.fleet.Elsewhere(i)
		}
		out.Add(one.from, one.data)
		sent.Add(1)
		r.Replay.BytesOut += uint64(len(one.data))
	}, out.Flush)
	if err := wait(ctx, answerWait); err != nil {
		return err
	}
	r.Done, r.Replay.Sent = sent.Load(), sent.Load()
	r.Replay.Provoked, r.Replay.BytesIn = back.Load(), bytes.Load()
	err = r.finish(time.Since(began), end)
	if r.Cost != nil {
		r.Replay.PerRecord = r.Cost.PerOp
	}
	return err
}

// answerWait is for answers that are still under way on loopback.
const answerWait = 200 * time.Millisecond
