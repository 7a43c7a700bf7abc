package coap

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// renewing observes a resource whose first answer is stale after a second, and whose later registrations answer says. A request
// for another resource is never answered.
func renewing(t *testing.T, answer func(w *watching, req Message) []Message) *watching {
	var again atomic.Bool
	return watch(t, Profile{}, func(w *watching, req Message) []Message {
		if _, registers := req.Options.Find(Observe); !registers {
			return nil
		}
		if again.Swap(true) {
			return answer(w, req)
		}
		m := w.entered(req, 10, "first")
		m.Options = m.Options.Remove(MaxAge).AddUint(MaxAge, 1)
		return []Message{m}
	})
}

// later has the messages come one after the other.
func (w *watching) later(messages ...Message) []Message {
	for i, m := range messages {
		b := wire(w.t, m)
		time.AfterFunc(time.Duration(i+1)*time.Millisecond, func() { w.e.Receive(w.p, b) })
	}
	return nil
}

// TestRenewalOrder: a notification that comes while the next registration waits for its turn is older than the answer, and is
// handed on before it, even when that is the end.
func TestRenewalOrder(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer func(w *watching, req Message) []Message
		want   []string
	}{
		"success":         {func(w *watching, r Message) []Message { return []Message{w.entered(r, 12, "twelve")} }, []string{"2.05 eleven", "2.05 twelve"}},
		"refused":         {func(_ *watching, r Message) []Message { return []Message{piggyback(r, NotFound, "")} }, []string{"2.05 eleven", "4.04 "}},
		"without Observe": {func(_ *watching, r Message) []Message { return []Message{piggyback(r, Content, "x")} }, []string{"2.05 eleven", "2.05 x", "0.00 "}},
		"reset":           {func(_ *watching, r Message) []Message { return []Message{{Type: Reset, MessageID: r.MessageID}} }, []string{"2.05 eleven", "0.00 "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := renewing(t, tt.answer)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				done := make(chan error)
				go func() {
					_, err := w.e.Do(ctx, w.p, &Message{Code: POST, Options: path("b")}) // it has the turn (NSTART)
					done <- err
				}()
				time.Sleep(18 * time.Second)
				w.conn.take()
				w.send(11, "eleven")
				require.ErrorIs(t, <-done, context.DeadlineExceeded)
				require.Equal(t, tt.want, w.told())
			})
		})
	}
}

// TestRenewalEnded: the end that comes while the next registration waits for its turn is the last that is told.
func TestRenewalEnded(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := renewing(t, func(_ *watching, r Message) []Message { return []Message{piggyback(r, NotFound, "answer")} })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		done := make(chan error)
		go func() {
			_, err := w.e.Do(ctx, w.p, &Message{Code: POST, Options: path("b")})
			done <- err
		}()
		time.Sleep(18 * time.Second)
		w.conn.take()
		w.raw(Message{Code: NotFound, MessageID: 9, Token: w.token(), Payload: []byte("end")})
		require.ErrorIs(t, <-done, context.DeadlineExceeded)
		require.Equal(t, []string{"4.04 end"}, w.told())
	})
}

// TestRenewalOvertaken: a notification that was under way when the registration went out looks like its answer. The
// acknowledgement that follows carries a newer state, perhaps the last one.
func TestRenewalOvertaken(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := renewing(t, func(w *watching, r Message) []Message {
			before := w.entered(r, 11, "eleven")
			before.Type, before.MessageID = Confirmable, 7000
			foreign := w.entered(r, 13, "thirteen")
			foreign.MessageID++
			after := w.entered(r, 12, "twelve")
			return w.later(before, foreign, after, after)
		})
		time.Sleep(30 * time.Second)
		require.Equal(t, []string{"2.05 eleven", "2.05 twelve"}, w.told())
		require.EqualValues(t, 2, w.e.Stats().Refused[ReasonUnsolicited], "the foreign one, and the repetition")
	})
}

// TestRenewalSameNumber: a server whose separate answer to a registration has the number of its last notification, as libcoap's
// do, has answered. The repetition of that notification is no answer.
func TestRenewalSameNumber(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		note := Message{Code: Content, MessageID: 5, Options: Options(nil).AddUint(Observe, 11).AddUint(MaxAge, 1), Payload: []byte("eleven")}
		w := renewing(t, func(w *watching, r Message) []Message {
			repeated := note
			repeated.Token = r.Token
			m := w.entered(r, 11, "eleven")
			m.Type, m.MessageID = Confirmable, 7000
			return w.later(repeated, Message{Type: Acknowledgement, MessageID: r.MessageID}, m)
		})
		note.Token = w.token()
		w.raw(note)
		time.Sleep(10 * time.Minute)
		require.Equal(t, []string{"2.05 eleven"}, w.told())
		require.EqualValues(t, 1, w.e.Stats().Observed)
		require.EqualValues(t, 1, w.e.Stats().Duplicates)
	})
}
