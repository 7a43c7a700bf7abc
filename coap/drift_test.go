package coap

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// drift drives an Endpoint with three peers at random.
type drift struct {
	t        *testing.T
	random   *rand.Rand
	e        *Endpoint
	sessions []*session
	held     []*Exchange // by the Handler
	sent     [][]byte    // requests so far, to be repeated
	entries  []*Observation
	observed chan *Observed // of ours
}

// TestC05NoDrift: after any sequence of requests, blocks, repetitions, answers, losses, requests and observations of either side and closed peers, no
// bound is exceeded on the way and nothing remains counted, or kept, at the end.
func TestC05NoDrift(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			d := &drift{t: t, random: rand.New(rand.NewPCG(seed, 7)), observed: make(chan *Observed, 1000)}
			limits := Limits{MaxExchanges: 16, MaxRecordBytes: 6000, MaxRecordBytesTotal: 9000, MaxBodyBytesTotal: 20 << 10,
				MaxKeptBytes: 4096, MaxKeptBytesTotal: 6000, MaxObservations: 4, MaxObservationsTotal: 6, MaxObserved: 3}
			d.e = serve(t, &Config{Limits: limits, Handler: handlerFunc(d.handle)})
			for range 3 {
				d.sessions = append(d.sessions, newSession(t, d.e, Profile{}))
			}
			for range 1000 {
				d.step()
				s := d.e.Stats()
				require.GreaterOrEqual(t, s.RecordBytes, int64(0), "seed %d", seed)
				require.LessOrEqual(t, s.BodyBytes, int64(limits.MaxBodyBytesTotal), "seed %d", seed)
				require.LessOrEqual(t, s.KeptBytes, int64(limits.MaxKeptBytesTotal), "seed %d", seed)
				require.GreaterOrEqual(t, s.KeptBytes, int64(0), "seed %d", seed)
				require.LessOrEqual(t, s.Observations, int64(limits.MaxObservationsTotal), "seed %d", seed)
				require.LessOrEqual(t, s.Observed, int64(3*limits.MaxObserved), "seed %d", seed)
			}
			for _, x := range d.held {
				_ = x.Respond(&Message{Code: Changed})
			}
			for _, o := range d.entries {
				_ = o.End(nil)
			}
			time.Sleep(1000 * time.Second) // all registrations of ours are answered or given up
			for len(d.observed) > 0 {
				(<-d.observed).Cancel()
			}
			time.Sleep(2000 * time.Second)
			s := d.e.Stats()
			require.Zero(t, s.Records+s.RecordBytes+s.Bodies+s.BodyBytes+s.Kept+s.KeptBytes+s.Exchanges+s.Calls, "seed %d", seed)
			require.Zero(t, s.Observations+s.Observed, "seed %d", seed)
			for _, s := range d.sessions {
				require.True(t, idle(s.p), "seed %d", seed)
			}
		})
	}
}

// handle answers some requests at once and holds the others.
func (d *drift) handle(x *Exchange) {
	if x.Observes() && d.random.IntN(4) > 0 {
		o, err := x.RespondObserve(&Message{Code: Content, Payload: make([]byte, d.random.IntN(2000))}, ObserveOptions{
			ConfirmEvery: 1 + d.random.IntN(3),
			Ended:        func(o *Observation, _ EndReason) { _ = o.Notify(&Message{Code: Content}) }, // in vain
		})
		if err == nil && o != nil {
			d.entries = append(d.entries, o)
		}
		return
	}
	if d.random.IntN(3) == 0 {
		_ = x.Respond(&Message{Code: Content, Payload: bytes.Repeat([]byte("y"), d.random.IntN(3000))})
		return
	}
	x.Detach()
	d.held = append(d.held, x)
}

// step does one thing.
func (d *drift) step() {
	r := d.random
	i := r.IntN(len(d.sessions))
	s := d.sessions[i]
	switch r.IntN(16) {
	case 0:
		if len(d.sent) > 0 {
			d.e.Receive(s.p, d.sent[r.IntN(len(d.sent))])
		}
	case 1:
		for range 3 {
			n := len(d.held)
			if n == 0 {
				break
			}
			j := r.IntN(n)
			x := d.held[j]
			d.held = append(d.held[:j], d.held[j+1:]...)
			_ = x.Respond(&Message{Code: Content, Payload: bytes.Repeat([]byte("z"), r.IntN(5000))})
		}
	case 2:
		time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
		if r.IntN(8) == 0 { // all is forgotten that can be
			time.Sleep(300 * time.Second)
		}
	case 3: // acknowledge, answer or reset some of what was sent
		for _, m := range s.conn.take() {
			switch {
			case m.Code.IsRequest() && r.IntN(2) == 0:
				d.e.Receive(s.p, wire(d.t, d.answer(m)))
				if r.IntN(2) == 0 { // a notification, perhaps
					n := d.answer(m)
					n.Type, n.MessageID = Type(r.IntN(2)), uint16(r.IntN(60))
					d.e.Receive(s.p, wire(d.t, n))
				}
			case m.Type <= NonConfirmable && r.IntN(2) == 0:
				b := emptyMessage(Acknowledgement+Type(r.IntN(10)/9), m.MessageID)
				d.e.Receive(s.p, b[:])
			}
		}
	case 12, 13:
		if n := len(d.entries); n > 0 {
			o := d.entries[n-1-r.IntN(min(n, 6))] // most of the others are over
			_ = o.Notify(&Message{Code: Content + Code(r.IntN(20)/19*64), Payload: make([]byte, r.IntN(4)*r.IntN(1000))})
		}
	case 14:
		if n := len(d.entries); n > 0 && r.IntN(5) == 0 {
			_ = d.entries[r.IntN(n)].End([]*Message{nil, {Code: NotFound}}[r.IntN(2)])
		}
	case 15:
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
		go func() {
			defer cancel()
			if _, o, _ := d.e.Observe(ctx, s.p, &Message{Code: GET, Options: path("o")}, func(*Message) {}); o != nil {
				d.observed <- o
			}
		}()
		if len(d.observed) > 5 {
			(<-d.observed).Cancel()
		}
	case 4:
		patience := time.Duration(r.IntN(100)) * time.Second
		m := &Message{Type: Type(r.IntN(2)), Code: POST, Options: path("q"), Payload: make([]byte, r.IntN(2000))}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, _ = d.e.Do(ctx, s.p, m)
		}()
	case 5:
		if r.IntN(30) == 0 {
			d.e.ClosePeer(s.p)
			d.sessions[i] = newSession(d.t, d.e, Profile{})
		}
	default:
		b := wire(d.t, d.request())
		d.sent = append(d.sent, b)
		d.e.Receive(s.p, b)
	}
}

// answer returns an answer to a request of ours.
func (d *drift) answer(m Message) Message {
	r := d.random
	a := piggyback(m, Content, string(bytes.Repeat([]byte("a"), 16)))
	if _, ok := m.Options.Find(Observe); ok && r.IntN(4) > 0 {
		a.Options = a.Options.AddUint(Observe, uint32(r.IntN(1<<24))).AddUint(MaxAge, uint32(r.IntN(200)))
	}
	if r.IntN(3) == 0 {
		a.Options = a.Options.AddUint(Block2, block{num: uint32(r.IntN(2)), more: r.IntN(2) == 0}.value())
	}
	if r.IntN(8) == 0 {
		a.Code = NotFound
	}
	return a
}

// request returns a request with few Message IDs and paths, so that they collide, and any block.
func (d *drift) request() Message {
	r := d.random
	o := path(string(rune('a' + r.IntN(3))))
	n := r.IntN(200)
	switch {
	case r.IntN(2) == 0:
		n = 64
		o = o.AddUint(Block1, block{uint32(r.IntN(6)), r.IntN(3) > 0, 2}.value())
	case r.IntN(2) == 0:
		o = o.AddUint(Block2, block{uint32(r.IntN(6)), false, uint8(r.IntN(7))}.value())
	}
	if r.IntN(3) == 0 {
		o = path(string(rune('a'+r.IntN(3)))).AddUint(Observe, uint32(r.IntN(8)/7))
		return Message{Type: Type(r.IntN(2)), Code: GET, MessageID: uint16(r.IntN(60)), Options: o, Token: []byte{byte(r.IntN(8))}}
	}
	if r.IntN(6) == 0 {
		o = o.AddUint(NoResponse, uint32(r.IntN(27)))
	}
	if r.IntN(3) == 0 {
		o = o.AddUint(Observe, uint32(r.IntN(5)/3))
	}
	if r.IntN(4) == 0 {
		o = o.AddUint(Size1, uint32(r.IntN(70_000)))
	}
	methods := []Code{GET, POST, PUT, FETCH}
	return Message{Type: Type(r.IntN(2)), Code: methods[r.IntN(len(methods))], MessageID: uint16(r.IntN(60)), Options: o,
		Payload: bytes.Repeat([]byte{byte(r.IntN(256))}, n), Token: []byte{byte(r.IntN(8))}}
}
