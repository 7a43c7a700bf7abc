package coap

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// observing is an Endpoint whose Handler enters whoever asks for it, and what became of the observations.
type observing struct {
	*session
	mu    sync.Mutex
	list  []*Observation
	ended map[*Observation]EndReason
	body  string
	sep   bool // it answers when it is told
	held  []*Exchange
	how   ObserveOptions
}

func newObserving(t *testing.T, c *Config, prof Profile, o ObserveOptions) *observing {
	s := &observing{ended: map[*Observation]EndReason{}, body: "first"}
	o.Ended = func(o *Observation, r EndReason) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, twice := s.ended[o]
		if twice {
			t.Error("ended twice")
		}
		s.ended[o] = r
	}
	c.Handler = handlerFunc(func(x *Exchange) {
		if s.sep {
			x.Detach()
			s.held = append(s.held, x)
			return
		}
		s.answer(x)
	})
	s.how = o
	s.session = newSession(t, serve(t, c), prof)
	return s
}

func (s *observing) answer(x *Exchange) {
	entry, err := x.RespondObserve(&Message{Code: Content, Payload: []byte(s.body)}, s.how)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, entry)
}

// registration returns a GET with Observe.
func registration(token string, segment string, value uint32) Message {
	return Message{Code: GET, Token: []byte(token), Options: append(Options(nil).AddUint(Observe, value), path(segment)...)}
}

func (s *observing) notify(text string) {
	s.t.Helper()
	require.NoError(s.t, s.list[len(s.list)-1].Notify(&Message{Code: Content, Payload: []byte(text)}))
}

func (s *observing) empty(typ Type, mid uint16) {
	b := emptyMessage(typ, mid)
	s.e.Receive(s.p, b[:])
}

func (s *observing) reasons() (all []EndReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list {
		if r, ok := s.ended[o]; ok {
			all = append(all, r)
		}
	}
	return all
}

func sequence(t *testing.T, m Message) uint32 {
	t.Helper()
	v, ok := m.Options.Uint(Observe)
	require.True(t, ok)
	require.Less(t, v, uint32(1<<24))
	return v
}

// TestObserve: registration, notifications with the registration's token, Confirmable and one at a time, in the order of their
// numbers, and the end in every way there is (RFC 7641, Sections 3.1, 3.2, 3.6, 4.1, 4.2, 4.5).
func TestObserve(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		end    func(s *observing, last Message)
		reason EndReason
		sent   int // further messages of ours
	}{
		{"GET with Observe 1", func(s *observing, _ Message) {
			m := s.ask(registration("tok", "a", 1))
			_, ok := m.Options.Find(Observe)
			require.False(s.t, ok)
			require.Equal(s.t, "first", string(m.Payload))
		}, EndCancelled, 0},
		{"RST", func(s *observing, last Message) { s.empty(Reset, last.MessageID) }, EndReset, 0},
		{"never acknowledged", func(s *observing, _ Message) {
			s.notify("unheard")
			time.Sleep(100 * time.Second)
		}, EndTimeout, 1 + maxRetransmit},
		{"an error", func(s *observing, _ Message) {
			require.NoError(s.t, s.list[0].Notify(&Message{Code: NotFound}))
			m := s.conn.one(s.t)
			require.Equal(s.t, NotFound, m.Code)
			require.Equal(s.t, "tok", string(m.Token))
			_, ok := m.Options.Find(Observe)
			require.False(s.t, ok)
			s.empty(Acknowledgement, m.MessageID)
		}, EndCancelled, 0},
		{"End", func(s *observing, _ Message) { require.NoError(s.t, s.list[0].End(nil)) }, EndCancelled, 0},
		{"ClosePeer", func(s *observing, _ Message) { s.e.ClosePeer(s.p) }, EndClosed, 0},
		{"another resource", func(s *observing, _ Message) { s.ask(registration("tok", "b", 0)) }, EndReplaced, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				s := newObserving(t, &Config{}, Profile{}, ObserveOptions{})
				first := s.ask(registration("tok", "a", 0))
				require.Equal(t, Acknowledgement, first.Type)
				number := sequence(t, first)
				var last Message
				for i := range 3 {
					s.notify(fmt.Sprint(i))
					last = s.conn.one(t)
					require.Equal(t, Confirmable, last.Type)
					require.Equal(t, "tok", string(last.Token))
					require.Equal(t, fmt.Sprint(i), string(last.Payload))
					require.Greater(t, sequence(t, last), number)
					number = sequence(t, last)
					s.empty(Acknowledgement, last.MessageID)
				}
				require.EqualValues(t, 1, s.e.Stats().Observations)
				tt.end(s, last)
				time.Sleep(time.Second)
				require.Len(t, s.conn.take(), tt.sent)
				require.Equal(t, []EndReason{tt.reason}, s.reasons())
				require.ErrorIs(t, s.list[0].Notify(&Message{Code: Content}), ErrNotObserved)
				require.ErrorIs(t, s.list[0].End(nil), ErrNotObserved)
				require.Empty(t, s.conn.take())
				st := s.e.Stats()
				require.EqualValues(t, 1, st.ObservationsEnded[tt.reason])
				require.EqualValues(t, st.ObservationsStarted-1, st.Observations)
			})
		})
	}
}

// TestObserveAgain: the same token for the same resource updates the entry (RFC 7641, Section 4.1), a repeated registration gets
// the same answer (RFC 7252, Section 4.5), and other uses of the option enter nobody.
func TestObserveAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newObserving(t, &Config{}, Profile{}, ObserveOptions{})
		register := registration("tok", "a", 0)
		first := s.ask(register)
		register.MessageID = s.mid
		s.body = "second"
		s.e.Receive(s.p, wire(t, register))
		require.Equal(t, first, s.conn.one(t), "a repetition")
		again := s.ask(registration("tok", "a", 0))
		require.Greater(t, sequence(t, again), sequence(t, first))
		require.Len(t, s.list, 2)
		require.Same(t, s.list[0], s.list[1])
		require.Empty(t, s.reasons())
		require.EqualValues(t, 1, s.e.Stats().Observations)

		for name, m := range map[string]Message{
			"another method": {Code: POST, Options: Options(nil).AddUint(Observe, 0)},
			"another value":  registration("x", "a", 2),
			"a later block":  {Code: GET, Token: []byte("x"), Options: Options(nil).AddUint(Observe, 0).AddUint(Block2, block{num: 1, szx: 0}.value())},
			"No-Response":    {Code: GET, Token: []byte("x"), Options: Options(nil).AddUint(Observe, 0).AddUint(NoResponse, 2)},
		} {
			s.body = string(bytes.Repeat([]byte("b"), 20))
			_, ok := s.ask(m).Options.Find(Observe)
			require.False(t, ok, name)
			require.Nil(t, s.list[len(s.list)-1], name)
		}
		require.EqualValues(t, 1, s.e.Stats().Observations)
		fetch := registration("f", "a", 0)
		fetch.Code, fetch.Payload = FETCH, []byte("what") // RFC 8132, Section 2.4
		sequence(t, s.ask(fetch))
		require.EqualValues(t, 2, s.e.Stats().Observations)
	})
}

// TestObserveOvertakes: newer state takes the place of what waits, and of what is retransmitted, under a new Message ID and with
// the same count of attempts (RFC 7641, Section 4.5.2); the late acknowledgement of an overtaken one keeps the observation.
func TestObserveOvertakes(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newObserving(t, &Config{}, Profile{}, ObserveOptions{})
		s.ask(registration("tok", "a", 0))
		s.notify("0")
		for i := range 100 { // one in flight, and none after it: each is overtaken by the next
			s.notify(fmt.Sprint(i))
		}
		time.Sleep(3100 * time.Millisecond)
		sent, _ := s.conn.all()
		require.Len(t, sent, 2)
		require.Equal(t, "99", string(sent[1].Payload))
		require.NotEqual(t, sent[0].MessageID, sent[1].MessageID)
		require.Equal(t, Confirmable, sent[1].Type)
		s.notify("last")
		s.empty(Acknowledgement, sent[1].MessageID)
		time.Sleep(time.Second)
		sent, _ = s.conn.all()
		require.Len(t, sent, 3, "its turn came with the acknowledgement")
		require.Equal(t, "last", string(sent[2].Payload))
		time.Sleep(100 * time.Second)
		sent, _ = s.conn.all()
		require.Len(t, sent, 2+1+maxRetransmit)
		require.Equal(t, []EndReason{EndTimeout}, s.reasons())
	})
	bubble(t, func(t *testing.T) { // acknowledged too late each time
		s := newObserving(t, &Config{}, Profile{}, ObserveOptions{})
		s.ask(registration("tok", "a", 0))
		seen := 0
		for i := range 200 {
			s.notify(fmt.Sprint(i))
			time.Sleep(time.Second)
			sent, at := s.conn.all()
			for seen < len(sent) && time.Since(at[seen]) > 4*time.Second {
				s.empty(Acknowledgement, sent[seen].MessageID)
				seen++
			}
		}
		require.Empty(t, s.reasons())
		require.Zero(t, s.e.Stats().Refused[ReasonUnmatchedACK])
	})
}

// TestObserveConfirmable: every so many-th notification is Confirmable, and the first one after a day (RFC 7641, Section 4.5);
// the first one measures the round trip, which Non-confirmable ones keep apart (Section 4.5.1), and a Reset to any ends it.
func TestObserveConfirmable(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newObserving(t, &Config{}, Profile{}, ObserveOptions{ConfirmEvery: 4, ConfirmAfter: 48 * time.Hour})
		register := registration("tok", "a", 0)
		register.Type = NonConfirmable
		require.Equal(t, NonConfirmable, s.ask(register).Type)
		var types []Type
		for i := range 8 {
			s.notify(fmt.Sprint(i))
			m := s.conn.one(t)
			types = append(types, m.Type)
			time.Sleep(500 * time.Millisecond)
			if m.Type == Confirmable {
				s.empty(Acknowledgement, m.MessageID)
			}
			time.Sleep(time.Millisecond)
		}
		n, c := NonConfirmable, Confirmable
		require.Equal(t, []Type{c, n, n, n, c, n, n, n}, types)
		s.notify("confirmed")
		s.empty(Acknowledgement, s.conn.one(t).MessageID)
		for range 3 { // of a burst, the first and the last
			s.notify("burst")
		}
		require.Len(t, s.conn.take(), 1)
		time.Sleep(430 * time.Millisecond) // 7/8 of half a second, since the last one took no time
		require.Empty(t, s.conn.take())
		time.Sleep(10 * time.Millisecond)
		late := s.conn.one(t)
		require.Equal(t, n, late.Type)
		time.Sleep(24 * time.Hour)
		s.notify("a day later")
		m := s.conn.one(t)
		require.Equal(t, c, m.Type)
		s.empty(Acknowledgement, m.MessageID)
		s.notify("once more")
		m = s.conn.one(t)
		require.Equal(t, n, m.Type)
		time.Sleep(time.Minute)
		s.empty(Reset, m.MessageID)
		time.Sleep(time.Second)
		require.Equal(t, []EndReason{EndReset}, s.reasons())
	})
}

// TestObserveNStart: notifications of all observations of a peer, and its separate responses, take turns (RFC 7641, Section 4.5.1).
func TestObserveNStart(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newObserving(t, &Config{}, Profile{}, ObserveOptions{})
		for i := range 5 {
			s.ask(registration(fmt.Sprint(i), "a", 0))
		}
		s.sep = true
		s.e.Receive(s.p, wire(t, Message{Code: POST, MessageID: 1000, Token: []byte("post")}))
		time.Sleep(2 * time.Second)
		s.conn.take()
		for _, o := range s.list {
			require.NoError(t, o.Notify(&Message{Code: Content, Payload: []byte("old")}))
		}
		require.NoError(t, s.held[0].Respond(&Message{Code: Changed}))
		for _, o := range s.list {
			require.NoError(t, o.Notify(&Message{Code: Content, Payload: []byte("new")}))
		}
		var order []string
		for range 7 { // the first one's second state waits behind all others
			time.Sleep(time.Millisecond)
			m := s.conn.one(t)
			order = append(order, string(m.Token)+" "+string(m.Payload))
			s.empty(Acknowledgement, m.MessageID)
		}
		require.Equal(t, []string{"0 old", "1 new", "2 new", "3 new", "4 new", "post ", "0 new"}, order)
		time.Sleep(time.Minute)
		require.Empty(t, s.conn.take())
	})
}

// TestObserveSeparate: the answer to a registration may come separately; what comes meanwhile overtakes it, and whether it is
// acknowledged decides about the observation as well.
func TestObserveSeparate(t *testing.T) {
	t.Parallel()
	for _, finish := range []EndReason{EndCancelled, EndReset, EndTimeout} {
		bubble(t, func(t *testing.T) {
			s := newObserving(t, &Config{}, Profile{}, ObserveOptions{})
			s.sep = true
			m := registration("tok", "a", 0)
			s.e.Receive(s.p, wire(t, m))
			time.Sleep(2 * time.Second)
			s.conn.take()
			s.answer(s.held[0])
			first := s.conn.one(t)
			require.Equal(t, Confirmable, first.Type)
			s.notify("second")
			require.Empty(t, s.conn.take())
			time.Sleep(3500 * time.Millisecond)
			second := s.conn.one(t)
			require.Equal(t, "second", string(second.Payload))
			require.Greater(t, sequence(t, second), sequence(t, first))
			switch finish {
			case EndCancelled:
				s.empty(Acknowledgement, second.MessageID)
				time.Sleep(time.Minute)
				require.Empty(t, s.conn.take())
				require.Empty(t, s.reasons())
			case EndReset:
				s.empty(Reset, second.MessageID)
				time.Sleep(time.Second)
				require.Equal(t, []EndReason{EndReset}, s.reasons())
			case EndTimeout:
				time.Sleep(100 * time.Second)
				require.Equal(t, []EndReason{EndTimeout}, s.reasons())
			}
			require.Zero(t, s.e.Stats().Exchanges)
		})
	}
}

// TestObserveBlocks: a notification beyond one block has the first one, with ETag and Observe; the others are fetched without
// (RFC 7959, Section 2.6).
func TestObserveBlocks(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newObserving(t, &Config{}, Profile{MaxBlock: 64}, ObserveOptions{})
		s.ask(registration("tok", "a", 0))
		body := string(bytes.Repeat([]byte("0123456789abcdef"), 9)) + "end"
		s.notify(body)
		m := s.conn.one(t)
		sequence(t, m)
		s.empty(Acknowledgement, m.MessageID)
		tag, ok := m.Options.Find(ETag)
		require.True(t, ok)
		b, _ := m.Options.block(Block2)
		require.Equal(t, block{more: true, szx: 2}, b)
		whole := string(m.Payload)
		for num := uint32(1); b.more; num++ {
			m = s.ask(Message{Code: GET, Token: []byte{byte(num)}, Options: path("a").AddUint(Block2, block{num: num, szx: 2}.value())})
			other, _ := m.Options.Find(ETag)
			require.Equal(t, tag, other)
			_, observes := m.Options.Find(Observe)
			require.False(t, observes)
			b, _ = m.Options.block(Block2)
			whole += string(m.Payload)
		}
		require.Equal(t, body, whole)
		require.ErrorIs(t, s.list[0].Notify(&Message{Code: Content, Payload: make([]byte, defaultMaxKeptBytes+1)}), ErrBodyTooLarge)
		require.ErrorIs(t, s.list[0].End(&Message{Code: Content}), ErrCode)
		require.ErrorIs(t, s.list[0].Notify(&Message{Code: GET}), ErrCode)
	})
}

// TestC07Observations: of 10,000 registrations, as many are taken as the limits say, of a peer and in all; the others are answered
// without Observe. When none is ever acknowledged, or each is reset, all end, and nothing is kept.
func TestC07Observations(t *testing.T) {
	t.Parallel()
	for _, answer := range []Type{Acknowledgement, Reset, Confirmable} {
		bubble(t, func(t *testing.T) {
			s := newObserving(t, &Config{Limits: Limits{MaxObservationsTotal: 40}}, Profile{}, ObserveOptions{})
			other := newSession(t, s.e, Profile{})
			third := newSession(t, s.e, Profile{})
			taken := map[*session]int{}
			for i := range 10_000 {
				from := s.session
				if i >= 100 {
					from = []*session{s.session, other, third}[i%3]
				} else if i >= 50 { // a peer may have no more of its own, however many there are left
					from = other
				}
				if _, ok := from.ask(registration(fmt.Sprint(i), "a", 0)).Options.Find(Observe); ok {
					taken[from]++
				}
				if i%2000 == 1999 {
					time.Sleep(300 * time.Second) // the records of their Message IDs expire
				}
			}
			require.Equal(t, map[*session]int{s.session: 16, other: 16, third: 8}, taken)
			st := s.e.Stats()
			require.EqualValues(t, 40, st.Observations)
			require.EqualValues(t, 10_000-40, st.Refused[ReasonObservationsFull])
			for round := range 50 {
				for _, o := range s.list {
					if o != nil {
						_ = o.Notify(&Message{Code: Content, Payload: make([]byte, 10_000+round)})
					}
				}
			}
			require.LessOrEqual(t, s.e.Stats().KeptBytes, int64(3*(defaultMaxKeptBytes+16*11_000)))
			for range 3000 {
				time.Sleep(time.Second)
				for _, each := range []*session{s.session, other, third} {
					sent := each.conn.take()
					require.LessOrEqual(t, len(sent), 2, "NSTART, and what follows it at once")
					for _, m := range sent {
						if answer != Confirmable {
							b := emptyMessage(answer, m.MessageID)
							s.e.Receive(each.p, b[:])
						}
					}
				}
			}
			want := map[Type]map[EndReason]uint64{Acknowledgement: {}, Reset: {EndReset: 40}, Confirmable: {EndTimeout: 40}}[answer]
			st = s.e.Stats()
			require.Equal(t, want, st.ObservationsEnded)
			require.Zero(t, st.KeptBytes+st.Records+st.Exchanges)
			if answer != Acknowledgement {
				require.Zero(t, st.Observations)
				require.True(t, idle(s.p) && idle(other.p) && idle(third.p))
			}
		})
	}
}
