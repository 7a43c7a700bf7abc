package coap

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTimingProfiles: with any ACK_TIMEOUT, retransmissions, their end, the wait for a separate response and the memory of Message
// IDs follow RFC 7252, Section 4.8.2; and an answer that needs long is acknowledged before the peer repeats its request.
func TestTimingProfiles(t *testing.T) {
	t.Parallel()
	for _, prof := range []Profile{
		{AckTimeout: 200 * time.Millisecond, MaxLatency: time.Second},
		{},
		{AckTimeout: time.Minute, MaxRetransmit: 2},
		{AckTimeout: 4 * time.Minute, MaxLatency: 10 * time.Minute},
		{AckTimeout: time.Hour, MaxRetransmit: 40}, // more than is taken
	} {
		bubble(t, func(t *testing.T) {
			var held []*Exchange
			e := serve(t, &Config{Handler: handlerFunc(func(x *Exchange) { x.Detach(); held = append(held, x) })})
			s := newSession(t, e, prof)
			r := s.p.profile
			require.LessOrEqual(t, r.AckTimeout, maxAckTimeout)
			span := time.Duration(1.5 * float64(r.AckTimeout) * float64(int(1)<<r.MaxRetransmit-1))
			require.Equal(t, span+2*r.MaxLatency+r.AckTimeout, r.exchangeLifetime)
			require.Equal(t, span+r.MaxLatency, r.nonLifetime)
			require.Less(t, r.ackDelay, r.AckTimeout)

			start := time.Now()
			_, err := e.Do(t.Context(), s.p, &Message{Code: GET})
			require.ErrorIs(t, err, ErrTimeout)
			require.GreaterOrEqual(t, time.Since(start), r.AckTimeout*time.Duration(int(2)<<r.MaxRetransmit-1))
			require.LessOrEqual(t, time.Since(start), r.transmitWait)
			sent, at := s.conn.all()
			require.Len(t, sent, 1+r.MaxRetransmit)
			for i := 2; i < len(at); i++ {
				require.Equal(t, 2*at[i-1].Sub(at[i-2]), at[i].Sub(at[i-1]))
			}
			s.conn.take()

			request := Message{Code: POST, MessageID: 7, Token: []byte("t")}
			e.Receive(s.p, wire(t, request))
			time.Sleep(r.ackDelay + time.Millisecond)
			require.Equal(t, Message{Type: Acknowledgement, MessageID: 7}, s.conn.one(t), "before the peer's time-out")
			require.NoError(t, held[0].Respond(&Message{Code: Changed}))
			answer := s.conn.one(t)
			s.e.Receive(s.p, wire(t, Message{Type: Acknowledgement, MessageID: answer.MessageID}))
			time.Sleep(r.exchangeLifetime - time.Second)
			e.Receive(s.p, wire(t, request))
			require.Equal(t, Acknowledgement, s.conn.one(t).Type)
			require.Len(t, held, 1, "EXCHANGE_LIFETIME is remembered")
			time.Sleep(10 * time.Second)
			e.Receive(s.p, wire(t, request))
			require.Len(t, held, 2)
		})
	}
}

// TestProbingRate: to a peer that does not answer, Non-confirmable requests go at PROBING_RATE; once it is heard, at once (RFC 7252,
// Section 4.7).
func TestProbingRate(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e := serve(t, &Config{})
		s := newSession(t, e, Profile{NStart: 100, ProbingRate: 2})
		ask := func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			_, err := e.Do(ctx, s.p, &Message{Type: NonConfirmable, Code: POST, Payload: make([]byte, 187)}) // 200 bytes
			if err == nil {
				t.Error("an answer")
			}
		}
		for range 5 {
			go ask()
		}
		time.Sleep(350 * time.Second)
		_, at := s.conn.all()
		require.Len(t, at, 4)
		for i := range 3 {
			require.InDelta(t, 100, at[i+1].Sub(at[i]).Seconds(), 1)
		}
		s.conn.take()
		b := emptyMessage(Confirmable, 1) // a ping
		e.Receive(s.p, b[:])
		time.Sleep(time.Second)
		require.Empty(t, s.conn.take()[1:], "a ping says nothing of whether it answers")
		b = emptyMessage(Acknowledgement, 1)
		e.Receive(s.p, b[:])
		time.Sleep(time.Second)
		require.Len(t, s.conn.take(), 1)
		time.Sleep(20 * time.Minute)
		require.True(t, idle(s.p))
	})
	bubble(t, func(t *testing.T) { // a closed peer and a cancelled wait end at once
		e := serve(t, &Config{})
		s := newSession(t, e, Profile{NStart: 100})
		for _, end := range []func(){func() {}, func() { e.ClosePeer(s.p) }} {
			ctx, cancel := context.WithCancel(t.Context())
			errs := make(chan error)
			for range 2 {
				go func() {
					_, err := e.Do(ctx, s.p, &Message{Type: NonConfirmable, Code: GET})
					errs <- err
				}()
			}
			time.Sleep(time.Second)
			end()
			cancel()
			for range 2 {
				require.Error(t, <-errs)
			}
		}
	})
}
