package coap

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestC06Duplicates: a message is executed once while its record lives; a Message ID with other bytes is a new message.
func TestC06Duplicates(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		var calls atomic.Int32
		e := serve(t, &Config{Handler: handlerFunc(func(x *Exchange) {
			_ = x.Respond(&Message{Code: Changed, Payload: fmt.Append(nil, calls.Add(1))})
		})})
		conn := &recorder{}
		p := e.NewPeer(conn, Profile{})
		ask := func(m Message, want string, wantCalls int) {
			t.Helper()
			e.Receive(p, wire(t, m))
			if want == "" {
				require.Empty(t, conn.take())
			} else {
				require.Equal(t, want, string(conn.one(t).Payload))
			}
			require.EqualValues(t, wantCalls, calls.Load())
		}
		con := Message{Code: POST, MessageID: 9, Payload: []byte("a")}
		ask(con, "1", 1)
		ask(con, "1", 1)
		other := con
		other.Payload = []byte("b")
		ask(other, "2", 2) // other bytes
		ask(other, "2", 2)
		time.Sleep(246 * time.Second) // EXCHANGE_LIFETIME is 247 s
		ask(other, "2", 2)
		time.Sleep(4 * time.Second)
		ask(other, "3", 3)
		non := Message{Type: NonConfirmable, Code: POST, MessageID: 10}
		ask(non, "4", 4)
		ask(non, "", 4)
		time.Sleep(144 * time.Second) // NON_LIFETIME is 145 s
		ask(non, "", 4)
		time.Sleep(4 * time.Second)
		ask(non, "5", 5)
		require.EqualValues(t, 5, e.Stats().Duplicates)
		time.Sleep(300 * time.Second)
		require.Zero(t, e.Stats().Records)
		require.Zero(t, e.Stats().RecordBytes)
		time.Sleep(300 * time.Second)
		require.True(t, idle(p), "an idle peer keeps nothing")
	})
}

// TestC06InFlight: repetitions of a request in progress get the empty acknowledgement at once and never run it again.
func TestC06InFlight(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		var pending []*Exchange
		e := serve(t, &Config{Handler: handlerFunc(func(x *Exchange) { x.Detach(); pending = append(pending, x) })})
		conn := &recorder{}
		p := e.NewPeer(conn, Profile{})
		b := wire(t, Message{Code: POST, MessageID: 1})
		e.Receive(p, b)
		e.Receive(p, b)
		e.Receive(p, b)
		require.Len(t, pending, 1)
		ack := Message{Type: Acknowledgement, MessageID: 1}
		require.Equal(t, []Message{ack, ack}, conn.take())
		time.Sleep(5 * time.Second)
		require.Empty(t, conn.take(), "acknowledged already")
		require.NoError(t, pending[0].Respond(&Message{Code: Created}))
		separate := conn.one(t)
		require.Equal(t, Confirmable, separate.Type)
		e.Receive(p, b)
		require.Equal(t, ack, conn.one(t))
		e.Receive(p, wire(t, Message{Type: Acknowledgement, MessageID: separate.MessageID})) // or the next would wait
		non := wire(t, Message{Type: NonConfirmable, Code: POST, MessageID: 3})
		e.Receive(p, non)
		e.Receive(p, non)
		require.Empty(t, conn.take())
		require.Len(t, pending, 2)
		pending = pending[:1]
		// The same Message ID with other bytes is another request; the first one can't be piggybacked on it.
		e.Receive(p, wire(t, Message{Code: POST, MessageID: 2, Token: []byte("1")}))
		e.Receive(p, wire(t, Message{Code: POST, MessageID: 2, Token: []byte("2")}))
		require.Len(t, pending, 3)
		require.NoError(t, pending[1].Respond(&Message{Code: Created}))
		require.Equal(t, Confirmable, conn.one(t).Type)
		require.NoError(t, pending[2].Respond(&Message{Code: Created}))
		got := conn.one(t)
		require.Equal(t, Acknowledgement, got.Type)
		require.Equal(t, "2", string(got.Token))
	})
}

// TestC06Concurrent: copies of one message that are received at the same moment run it once.
func TestC06Concurrent(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	var running sync.WaitGroup
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
		calls.Add(1)
		x.Detach()
		running.Go(func() { _ = x.Respond(&Message{Code: Changed}) })
	})})
	b := wire(t, Message{Code: POST, MessageID: 1, Payload: []byte("x")})
	for n := range 100 {
		p := e.NewPeer(&recorder{}, Profile{}) // answers that are separate, as nobody acknowledges them, fill one's MaxExchanges
		for range 8 {
			running.Go(func() { e.Receive(p, b) })
		}
		running.Wait()
		require.EqualValues(t, n+1, calls.Load())
	}
	require.EqualValues(t, 100, e.Stats().Responses[Changed])
}

// TestC06GET: a GET that was answered is executed again (RFC 7252, Section 4.5), and leaves nothing behind.
func TestC06GET(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 1000} {
		calls := 0
		e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
			calls++
			_ = x.Respond(&Message{Code: Content, Payload: make([]byte, size)})
		})})
		conn := &recorder{}
		p := e.NewPeer(conn, Profile{})
		for range 3 {
			e.Receive(p, wire(t, Message{Code: GET, MessageID: 1}))
			require.Len(t, conn.one(t).Payload, size)
		}
		require.Equal(t, 3, calls)
		require.Nil(t, p.state)
		require.Zero(t, e.Stats().Records)
	}
}

// TestC06RecordsFull: a full memory refuses new requests and still knows the old ones (S32).
func TestC06RecordsFull(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]Limits{
		"per peer": {MaxRecordBytes: 10 * recordCost},
		"in sum":   {MaxRecordBytesTotal: 10 * recordCost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				calls := 0
				e := serve(t, &Config{Limits: limits, Handler: handlerFunc(func(x *Exchange) {
					calls++
					_ = x.Respond(&Message{Code: Changed})
				})})
				conn := &recorder{}
				p := e.NewPeer(conn, Profile{})
				accepted := 0
				for mid := range uint16(1000) {
					e.Receive(p, wire(t, Message{Code: POST, MessageID: mid}))
					got := conn.one(t)
					if got.Code == Changed {
						accepted++
						continue
					}
					require.Equal(t, ServiceUnavailable, got.Code)
					age, ok := got.Options.Uint(MaxAge)
					require.True(t, ok)
					require.EqualValues(t, 5, age)
				}
				require.Equal(t, calls, accepted)
				require.Less(t, accepted, 11)
				require.Positive(t, accepted)
				for mid := range uint16(accepted) {
					e.Receive(p, wire(t, Message{Code: POST, MessageID: mid}))
					require.Equal(t, Changed, conn.one(t).Code)
				}
				require.Equal(t, calls, accepted)
				require.EqualValues(t, 1000-accepted, e.Stats().Refused[ReasonRecordsFull])
				time.Sleep(260 * time.Second)
				e.Receive(p, wire(t, Message{Code: POST, MessageID: 1}))
				require.Equal(t, Changed, conn.one(t).Code)
			})
		})
	}
}

func TestExchangesFull(t *testing.T) {
	t.Parallel()
	var pending []*Exchange
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) { pending = append(pending, x) })})
	conn := &recorder{}
	p := e.NewPeer(conn, Profile{})
	for mid := range uint16(defaultMaxExchanges) {
		e.Receive(p, wire(t, Message{Code: POST, MessageID: mid}))
		require.Empty(t, conn.take())
	}
	e.Receive(p, wire(t, Message{Code: POST, MessageID: 1000}))
	require.Equal(t, ServiceUnavailable, conn.one(t).Code)
	require.NoError(t, pending[0].Respond(&Message{Code: Changed}))
	conn.take()
	e.Receive(p, wire(t, Message{Code: POST, MessageID: 1001}))
	require.Empty(t, conn.take())
}

// TestClosePeer: everything of a closed peer is freed; late answers fail.
func TestClosePeer(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		var pending []*Exchange
		e := serve(t, &Config{Handler: handlerFunc(func(x *Exchange) { pending = append(pending, x) })})
		conn := &recorder{}
		p := e.NewPeer(conn, Profile{})
		p.SetOwner("me")
		require.Equal(t, "me", p.Owner())
		require.Equal(t, Conn(conn), p.Conn())
		e.Receive(p, wire(t, Message{Code: POST, MessageID: 1}))
		e.Receive(p, wire(t, Message{Code: POST, MessageID: 2}))
		e.Receive(p, wire(t, Message{Code: PUT, MessageID: 3, Payload: make([]byte, 64),
			Options: Options(nil).AddUint(Block1, block{more: true, szx: 2}.value())}))
		require.NoError(t, pending[0].Respond(&Message{Code: Created}))
		e.Receive(p, wire(t, Message{Code: GET, MessageID: 4}))
		require.NoError(t, pending[2].Respond(&Message{Code: Content, Payload: make([]byte, 5000)}))
		require.NotZero(t, e.Stats().KeptBytes)
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := e.Do(t.Context(), p, &Message{Code: GET})
				done <- err
			}()
		}
		synctest.Wait()
		e.ClosePeer(p)
		e.ClosePeer(p)
		require.ErrorIs(t, <-done, ErrClosed)
		require.ErrorIs(t, <-done, ErrClosed)
		require.ErrorIs(t, pending[1].Respond(&Message{Code: Created}), ErrClosed)
		s := e.Stats()
		require.Zero(t, s.Records+s.RecordBytes+s.Bodies+s.BodyBytes+s.Kept+s.KeptBytes+s.Exchanges+s.Calls)
		conn.take()
		time.Sleep(time.Hour)
		for _, in := range [][]byte{
			wire(t, Message{Code: POST, MessageID: 1}), wire(t, Message{Code: Empty}), wire(t, Message{Code: Content}),
			wire(t, Message{Code: POST, Options: Options{{ID: 9}}}), {0x40, 1, 0, 1, 0xff}, wire(t, Message{Type: Reset}),
		} {
			e.Receive(p, in)
			require.Empty(t, conn.take())
		}
		_, err := e.Do(t.Context(), p, &Message{Code: GET})
		require.ErrorIs(t, err, ErrClosed)
		require.Empty(t, e.sched.timers)
	})
}
