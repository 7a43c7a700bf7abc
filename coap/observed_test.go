package coap

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// watching is an observation of ours at a peer that a test plays.
type watching struct {
	t    *testing.T
	e    *Endpoint
	p    *Peer
	conn *scripted
	o    *Observed
	mid  uint16

	mu    sync.Mutex
	notes []*Message
	asked []Message // requests that came
}

// watch observes a peer that answers as the function says, or with Observe 10 and "first".
func watch(t *testing.T, prof Profile, answer func(w *watching, req Message) []Message) *watching {
	t.Helper()
	w := &watching{t: t, mid: 1000}
	w.e, w.p, w.conn = client(t, prof, func(req Message) []Message {
		w.mu.Lock()
		w.asked = append(w.asked, req)
		w.mu.Unlock()
		if answer != nil {
			return answer(w, req)
		}
		return []Message{w.entered(req, 10, "first")}
	})
	resp, o, err := w.e.Observe(t.Context(), w.p, &Message{Code: GET, Options: path("a")}, w.note)
	require.NoError(t, err)
	require.NotNil(t, o)
	require.Equal(t, "first", string(resp.Payload))
	w.o = o
	w.conn.take()
	return w
}

func (w *watching) note(m *Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, m)
}

// entered is the answer to a registration.
func (w *watching) entered(req Message, number uint32, text string) Message {
	m := piggyback(req, Content, text)
	m.Options = m.Options.AddUint(Observe, number).AddUint(MaxAge, 3600)
	return m
}

// send sends a Confirmable notification and returns what came back.
func (w *watching) send(number uint32, text string, more ...Option) Message {
	w.t.Helper()
	w.mid++
	m := Message{Code: Content, MessageID: w.mid, Token: w.token(), Options: Options(nil).AddUint(Observe, number).AddUint(MaxAge, 3600),
		Payload: []byte(text)}
	for _, o := range more {
		m.Options = m.Options.Add(o.ID, o.Value)
	}
	return w.raw(m)
}

func (w *watching) raw(m Message) Message {
	w.t.Helper()
	w.e.Receive(w.p, wire(w.t, m))
	return w.conn.one(w.t)
}

func (w *watching) token() []byte { return w.requests()[0].Token }

// requests returns the requests that came so far.
func (w *watching) requests() []Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// told returns what notify was called with since the last call.
func (w *watching) told() (all []string) {
	time.Sleep(10 * time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.notes {
		_, observe := m.Options.Find(Observe)
		require.False(w.t, observe)
		all = append(all, m.Code.String()+" "+string(m.Payload))
	}
	w.notes = nil
	return all
}

// TestObservedOrder: notifications are acknowledged, and handed on when they are newer (RFC 7641, Section 3.4).
func TestObservedOrder(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := watch(t, Profile{}, nil)
		observe, ok := w.requests()[0].Options.Uint(Observe)
		require.True(t, ok)
		require.Zero(t, observe)
		for _, n := range []uint32{11, 14, 12, 14, 15, 15 + 1<<23 - 1, 15, 15 + 1<<23 + 1<<22} {
			require.Equal(t, Acknowledgement, w.send(n, fmt.Sprint(n)).Type)
		}
		require.Equal(t, []string{"2.05 11", "2.05 14", "2.05 15", "2.05 8388622", "2.05 12582927"}, w.told())
		require.EqualValues(t, 3, w.e.Stats().Refused[ReasonStale])
		w.send(1<<24-1, "end of the numbers")
		w.send(0, "beginning")
		require.Equal(t, []string{"2.05 end of the numbers", "2.05 beginning"}, w.told())
		require.Equal(t, Acknowledgement, w.send(1<<24-1, "old").Type)
		require.Empty(t, w.told())
		time.Sleep(129 * time.Second)
		w.send(1<<24-1, "after 128 s")
		require.Equal(t, []string{"2.05 after 128 s"}, w.told())
		m := Message{Code: Content, MessageID: 5, Token: w.token(), Options: Options(nil).AddUint(Observe, 7).AddUint(MaxAge, 3600),
			Payload: []byte("7")}
		w.raw(m)
		time.Sleep(200 * time.Second)
		require.Equal(t, Message{Type: Acknowledgement, MessageID: 5}, w.raw(m), "a repetition is acknowledged again, however late")
		require.Equal(t, []string{"2.05 7"}, w.told())
		require.Zero(t, w.e.Stats().Records, "notifications take no memory")
	})
}

// TestC02Observed: after Cancel, and always with another or no token, on another session, or in an acknowledgement, a
// notification is refused and nobody hears of it (RFC 7641, Section 3.6; S31).
func TestC02Observed(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := watch(t, Profile{}, nil)
		m := Message{Code: Content, MessageID: 1, Options: Options(nil).AddUint(Observe, 20)}
		for i, token := range [][]byte{nil, []byte("12345678"), w.token()[:7]} {
			m.Token, m.MessageID = token, uint16(i)
			require.Equal(t, Message{Type: Reset, MessageID: uint16(i)}, w.raw(m))
		}
		m.Token = w.token()
		m.Type = Acknowledgement
		w.e.Receive(w.p, wire(t, m))
		require.Empty(t, w.conn.take())
		m.Type = Confirmable
		conn := &recorder{}
		w.e.Receive(w.e.NewPeer(conn, Profile{}), wire(t, m))
		require.Equal(t, Reset, conn.one(t).Type)
		require.Empty(t, w.told())
		require.Equal(t, Acknowledgement, w.send(21, "heard").Type)
		require.Equal(t, []string{"2.05 heard"}, w.told())
		w.o.Cancel()
		w.o.Cancel()
		require.Equal(t, Reset, w.send(22, "unheard").Type)
		m.Type, m.MessageID = NonConfirmable, 77
		require.Equal(t, Message{Type: Reset, MessageID: 77}, w.raw(m), "or it would go on for a day")
		require.Empty(t, w.told())
		require.Zero(t, w.e.Stats().Observed)
	})
}

// TestObservedEnds: the last call of notify is no success.
func TestObservedEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		last   Message
		answer Type
		want   []string
	}{
		{"an error", Message{Code: NotFound, Payload: []byte("gone")}, Acknowledgement, []string{"4.04 gone"}}, // RFC 7641, Section 4.2
		{"a success without Observe", Message{Code: Content, Payload: []byte("x")}, Acknowledgement, []string{"2.05 x", "0.00 "}},
		{"a critical option", Message{Code: Content, Options: Options{{ID: 65001}}}, Reset, []string{"0.00 "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := watch(t, Profile{}, nil)
				tt.last.MessageID, tt.last.Token = 9, w.token()
				require.Equal(t, Message{Type: tt.answer, MessageID: 9}, w.raw(tt.last))
				require.Equal(t, Message{Type: tt.answer, MessageID: 9}, w.raw(tt.last))
				require.Equal(t, tt.want, w.told())
				require.Zero(t, w.e.Stats().Observed)
				require.Equal(t, Reset, w.send(50, "unheard").Type)
				time.Sleep(2 * time.Hour)
				require.Len(t, w.requests(), 1)
				require.True(t, idle(w.p))
			})
		})
	}
}

// TestObservedAgain: when Max-Age has run out, it registers again, with the same token and after 5 to 15 s (RFC 7641,
// Section 3.3.1); what it finds out ends it, or is told when it is new.
func TestObservedAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer func(w *watching, req Message) []Message // to the second one
		want   []string
		ends   bool
	}{
		{"the same", func(w *watching, r Message) []Message { return []Message{w.entered(r, 11, "first")} }, nil, false},
		{"a new state", func(w *watching, r Message) []Message { return []Message{w.entered(r, 11, "new")} }, []string{"2.05 new"}, false},
		{"a server that began anew", func(w *watching, r Message) []Message { return []Message{w.entered(r, 1, "new")} }, []string{"2.05 new"}, false},
		{"as a notification", func(w *watching, r Message) []Message {
			m := w.entered(r, 11, "new")
			m.Type = NonConfirmable
			return []Message{m}
		}, []string{"2.05 new"}, false},
		{"no observer", func(_ *watching, r Message) []Message { return []Message{piggyback(r, Content, "x")} }, []string{"2.05 x", "0.00 "}, true},
		{"an error", func(_ *watching, r Message) []Message { return []Message{piggyback(r, Forbidden, "")} }, []string{"4.03 "}, true},
		{"silence", func(*watching, Message) []Message { return nil }, []string{"0.00 "}, true},
		{"Reset", func(_ *watching, r Message) []Message { return []Message{{Type: Reset, MessageID: r.MessageID}} }, []string{"0.00 "}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := watch(t, Profile{}, func(w *watching, r Message) []Message {
					if len(w.requests()) == 1 {
						m := w.entered(r, 10, "first")
						m.Options = m.Options.Remove(MaxAge) // 60 s, RFC 7252, Section 5.10.5
						return []Message{m}
					}
					return tt.answer(w, r)
				})
				time.Sleep(50 * time.Second)
				w.send(10, "stale") // changes nothing, nor the Max-Age
				time.Sleep(14900 * time.Millisecond)
				require.Len(t, w.requests(), 1)
				time.Sleep(10200 * time.Millisecond)
				require.GreaterOrEqual(t, len(w.requests()), 2)
				require.Equal(t, w.token(), w.requests()[1].Token)
				v, ok := w.requests()[1].Options.Uint(Observe)
				require.True(t, ok)
				require.Zero(t, v)
				time.Sleep(100 * time.Second)
				require.Equal(t, tt.want, w.told())
				want := int64(1)
				if tt.ends {
					want = 0
				}
				require.Equal(t, want, w.e.Stats().Observed)
				require.Zero(t, w.e.Stats().Calls)
			})
		})
	}
}

// TestObservedRefused: who isn't entered is told the answer; limits and errors leave nothing behind.
func TestObservedRefused(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		code := Content
		e, p, _ := client(t, Profile{}, func(req Message) []Message { return []Message{piggyback(req, code, "x")} })
		never := func(*Message) { t.Error("told") }
		for _, code = range []Code{Content, NotFound} {
			m, o, err := e.Observe(t.Context(), p, &Message{Code: GET}, never)
			require.NoError(t, err)
			require.Nil(t, o)
			require.Equal(t, code, m.Code)
		}
		_, _, err := e.Observe(t.Context(), p, &Message{Code: POST}, never)
		require.ErrorIs(t, err, ErrCode)
		_, _, err = e.Observe(t.Context(), p, &Message{Code: FETCH, Payload: make([]byte, 2000)}, never)
		require.ErrorIs(t, err, ErrBodyTooLarge)
		require.Zero(t, e.Stats().Observed)
		e.ClosePeer(p)
		_, _, err = e.Observe(t.Context(), p, &Message{Code: GET}, never)
		require.ErrorIs(t, err, ErrClosed)
	})
	bubble(t, func(t *testing.T) {
		w := watch(t, Profile{}, nil)
		for i := range defaultMaxObserved {
			_, o, err := w.e.Observe(t.Context(), w.p, &Message{Code: GET}, w.note)
			if i == defaultMaxObserved-1 {
				require.ErrorIs(t, err, ErrObserved)
				break
			}
			require.NoError(t, err)
			require.NotNil(t, o)
		}
		require.EqualValues(t, defaultMaxObserved, w.e.Stats().Observed)
		w.e.ClosePeer(w.p)
		require.Zero(t, w.e.Stats().Observed)
		w.o.Cancel()
		time.Sleep(24 * time.Hour)
		require.Empty(t, w.told())
	})
}

// TestObservedBlocks: the rest of a notification in blocks is fetched without Observe and with other tokens (RFC 7959,
// Section 2.6); one that is overtaken meanwhile is not told, one that can't be had has the observation registered again.
func TestObservedBlocks(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		body, tag, gone := "", "", false
		cut := func(m Message, num uint32) Message {
			k := kept{code: Content, payload: []byte(body), options: Options(nil).AddString(ETag, tag).AddUint(MaxAge, 3600)}
			b := k.block(block{num: num, szx: 0})
			m.Code, m.Options, m.Payload = b.Code, b.Options, b.Payload
			return m
		}
		w := watch(t, Profile{MaxBlock: 16}, func(w *watching, r Message) []Message {
			if _, ok := r.Options.Find(Observe); ok {
				return []Message{w.entered(r, 10, "first")}
			}
			require.NotEqual(t, w.token(), r.Token)
			if gone {
				return []Message{piggyback(r, ServiceUnavailable, "")}
			}
			b, _ := r.Options.block(Block2)
			return []Message{cut(piggyback(r, Content, ""), b.num)}
		})
		send := func(number uint32, text, etag string) {
			body, tag = text, etag
			w.mid++
			m := cut(Message{MessageID: w.mid, Token: w.token()}, 0)
			m.Options = m.Options.AddUint(Observe, number)
			w.e.Receive(w.p, wire(t, m))
		}
		long := func(c string) string { return string(bytes.Repeat([]byte(c), 50)) }
		send(11, long("a"), "A")
		require.Equal(t, []string{"2.05 " + long("a")}, w.told())
		for i, c := range []string{"b", "c", "d"} {
			send(uint32(12+i), long(c), c)
		}
		time.Sleep(10 * time.Second)
		require.Equal(t, []string{"2.05 " + long("d")}, w.told(), "the others were overtaken")
		send(20, long("e"), "E")
		synctest.Wait() // its next block is asked for
		w.conn.take()
		w.send(21, "short")
		require.Equal(t, []string{"2.05 " + long("e"), "2.05 short"}, w.told(), "in order")
		gone = true
		asked := len(w.requests())
		send(22, long("f"), "F")
		require.Equal(t, []string{"2.05 first"}, w.told(), "of the answer to its registration")
		last := w.requests()[len(w.requests())-1]
		require.Greater(t, len(w.requests()), asked+1)
		require.Equal(t, w.token(), last.Token)
		require.EqualValues(t, 1, w.e.Stats().Refused[ReasonBlockGone])
	})
}

// TestObservedShutdown: a registration or a transfer that is under way ends with Shutdown, which waits for it.
func TestObservedShutdown(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := watch(t, Profile{}, func(w *watching, r Message) []Message {
			if len(w.requests()) > 1 {
				return nil
			}
			return []Message{w.entered(r, 10, "first")}
		})
		w.send(11, sixtyFour("a")[:16], Option{Block2, AppendUint(nil, block{more: true}.value())})
		time.Sleep(time.Second)
		require.EqualValues(t, 1, w.e.Stats().Calls)
		require.NoError(t, w.e.Shutdown(t.Context()))
		require.Zero(t, w.e.Stats().Calls)
		require.Empty(t, w.notes)
	})
}

// TestObservedAfterShutdown: what comes later is told to nobody, although sessions end after the Endpoint.
func TestObservedAfterShutdown(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := watch(t, Profile{}, nil)
		require.NoError(t, w.e.Shutdown(t.Context()))
		require.Equal(t, Acknowledgement, w.send(11, "late").Type)
		require.Empty(t, w.told())
	})
}

// TestObserveLossy: whatever the network loses, doubles and delays, every observer sees the last state in the end, never an
// older one after a newer one, and nothing is left when all have gone (RFC 7641, Section 1.3: eventual consistency).
func TestObserveLossy(t *testing.T) {
	t.Parallel()
	for seed := range uint64(24) {
		f := []faults{
			{loss: 0.01, delay: 20 * time.Millisecond},
			{loss: 0.01, duplicate: 0.3, delay: 3 * time.Second},
			{loss: 0.2, delay: 500 * time.Millisecond},
			{loss: 0.2, duplicate: 0.2, delay: 4 * time.Second},
		}[seed%4]
		t.Run(fmt.Sprint(seed, f), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) { observeLossy(t, f, seed) })
		})
	}
}

func observeLossy(t *testing.T, f faults, seed uint64) {
	const observers, states = 8, 60
	size := []int{10, 10, 700}[seed%3] // the last in blocks
	state := func(n int) []byte { return append(fmt.Appendf(nil, "%05d", n), bytes.Repeat([]byte("x"), size)...) }
	var mu sync.Mutex // guards the following
	now := 0
	entries := map[*Observation]bool{}
	server := serve(t, &Config{Handler: handlerFunc(func(x *Exchange) {
		mu.Lock()
		defer mu.Unlock()
		m := &Message{Code: Content, Payload: state(now)}
		if !x.Observes() {
			_ = x.Respond(m)
			return
		}
		o, err := x.RespondObserve(m, ObserveOptions{ConfirmEvery: 1 + int(seed%2), Ended: func(o *Observation, _ EndReason) {
			mu.Lock()
			defer mu.Unlock()
			delete(entries, o)
		}})
		if err == nil && o != nil {
			entries[o] = true
		}
	})})
	asker := serve(t, &Config{})
	seen := make([]string, observers)
	var peers []*Peer
	ctx, cancel := context.WithCancel(t.Context())
	for i := range observers {
		if i%2 == 0 { // two of each peer
			toServer, toAsker := connect(asker, server, Profile{MaxBlock: 256}, f, seed*100+uint64(i))
			peers = append(peers, toServer, toAsker)
		}
		toServer := peers[len(peers)-2]
		go observeForEver(ctx, t, asker, toServer, func(m *Message) {
			mu.Lock()
			defer mu.Unlock()
			if len(m.Payload) != size+5 || string(m.Payload[:5]) < seen[i] {
				t.Errorf("%q after %q", m.Payload, seen[i])
			}
			seen[i] = string(m.Payload[:min(5, len(m.Payload))])
		})
	}
	for n := range states {
		time.Sleep(time.Duration(n*n%7) * time.Second / 2)
		mu.Lock()
		now = n + 1
		for o := range entries {
			_ = o.Notify(&Message{Code: Content, Payload: state(now)})
		}
		mu.Unlock()
	}
	time.Sleep(10 * time.Minute)
	mu.Lock()
	for i := range seen {
		require.Equal(t, string(state(states)[:5]), seen[i], "observer %d", i)
	}
	mu.Unlock()
	cancel()
	time.Sleep(20 * time.Minute)
	for i, p := range peers {
		peers[i].endpoint.ClosePeer(p)
	}
	time.Sleep(time.Minute)
	for _, e := range []*Endpoint{server, asker} {
		s := e.Stats()
		require.Zero(t, s.Records+s.RecordBytes+s.Kept+s.KeptBytes+s.Exchanges+s.Calls+s.Observations+s.Observed)
	}
}

// observeForEver observes p, and begins again when the observation has ended.
func observeForEver(ctx context.Context, t *testing.T, e *Endpoint, p *Peer, told func(*Message)) {
	for ctx.Err() == nil {
		over := make(chan struct{})
		first, o, err := e.Observe(ctx, p, &Message{Code: GET}, func(m *Message) {
			if m.Code != Content {
				close(over)
				return
			}
			told(m)
		})
		if err != nil {
			continue
		}
		if first.Code == Content {
			told(first)
		}
		if o == nil {
			t.Error("not entered")
			return
		}
		select {
		case <-over:
		case <-ctx.Done():
			o.Cancel()
		}
	}
}
