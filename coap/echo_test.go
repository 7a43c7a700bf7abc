package coap

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// actuator is an Endpoint that executes what is not older than 10 s.
func actuator(t *testing.T) (e *Endpoint, executed *[]string) {
	executed = new([]string)
	return serve(t, &Config{Handler: handlerFunc(func(x *Exchange) {
		_, seen := x.Request().Options.Find(Echo)
		if seen {
			t.Error("the handler sees Echo")
		}
		if !x.Fresh(10 * time.Second) {
			if err := x.Challenge(); err != nil {
				t.Error(err)
			}
			return
		}
		*executed = append(*executed, string(x.Request().Payload))
		_ = x.Respond(&Message{Code: Changed})
	})}), executed
}

func command(text string, echo []byte) Message {
	m := Message{Code: PUT, Options: path("valve"), Payload: []byte(text)}
	if echo != nil {
		m.Options = m.Options.Add(Echo, echo)
	}
	return m
}

// TestC03HeldBack: a command that is held back for a minute and then let through is refused, and so is the older one of two that
// are let through in the wrong order later than freshness lasts (RFC 9175, Section 2.3; S33).
func TestC03HeldBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e, executed := actuator(t)
		s := newSession(t, e, Profile{})
		challenge := func(text string) []byte {
			m := s.ask(command(text, nil))
			require.Equal(t, Unauthorized, m.Code)
			value, ok := m.Options.Find(Echo)
			require.True(t, ok)
			require.Len(t, value, echoLen)
			return value
		}
		echo := challenge("open")
		require.Equal(t, Changed, s.ask(command("open", echo)).Code)
		require.Equal(t, []string{"open"}, *executed)

		held := challenge("close")
		time.Sleep(time.Minute)
		late := s.ask(command("close", held))
		require.Equal(t, Unauthorized, late.Code)
		renewed, _ := late.Options.Find(Echo)
		require.NotEqual(t, held, renewed)

		older := challenge("older")
		time.Sleep(11 * time.Second)
		newer := challenge("newer")
		require.Equal(t, Changed, s.ask(command("newer", newer)).Code)
		require.Equal(t, Unauthorized, s.ask(command("older", older)).Code)
		require.Equal(t, []string{"open", "newer"}, *executed)
	})
}

// TestEchoBound: a value is good for the peer that got it and for this Endpoint, and as it is (RFC 9175, Section 2.2 and 5).
func TestEchoBound(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e, executed := actuator(t)
		s, other := newSession(t, e, Profile{}), newSession(t, e, Profile{})
		elsewhere, _ := actuator(t)
		foreign := newSession(t, elsewhere, Profile{})
		value, _ := s.ask(command("x", nil)).Options.Find(Echo)
		require.Equal(t, Unauthorized, other.ask(command("x", value)).Code)
		require.Equal(t, Unauthorized, foreign.ask(command("x", value)).Code)
		for i := range value {
			forged := bytes.Clone(value)
			forged[i] ^= 1
			require.Equal(t, Unauthorized, s.ask(command("x", forged)).Code, "byte %d", i)
		}
		for _, forged := range [][]byte{value[:15], append(bytes.Clone(value), 0), make([]byte, 16), {1}, make([]byte, 41)} {
			require.Equal(t, Unauthorized, s.ask(command("x", forged)).Code)
		}
		require.Empty(t, *executed)
		require.Equal(t, Changed, s.ask(command("x", value)).Code)
	})
}

// TestEchoOnTrial: a challenge that went to an address on trial proves it, for it went there (S28); one of before does not, and
// proves freshness all the same.
func TestEchoOnTrial(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e, executed := actuator(t)
		conn := &mover{trial: [8]byte{1}, proven: true}
		s := &session{t: t, e: e, conn: &conn.recorder, p: e.NewPeer(conn, Profile{})}
		before, _ := s.ask(command("x", nil)).Options.Find(Echo)
		conn.proven = false
		answer := s.ask(command("before", before))
		require.Equal(t, Changed, answer.Code)
		require.False(t, conn.proven)
		during, _ := s.ask(command("x", nil)).Options.Find(Echo)
		require.Len(t, during, echoLen)
		require.Equal(t, Changed, s.ask(command("during", during)).Code)
		require.True(t, conn.proven)
		require.Equal(t, []string{"before", "during"}, *executed)
	})
}

// TestDoRepeatsChallenged: a request of ours that is answered with 4.01 and Echo is repeated once, with it, whole and under
// another token (RFC 9175, Section 2.3), whether it fits in one message or not.
func TestDoRepeatsChallenged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"short", string(bytes.Repeat([]byte("long"), 1000))} {
		bubble(t, func(t *testing.T) {
			device, executed := actuator(t)
			e := serve(t, &Config{})
			toDevice, _ := connect(e, device, Profile{MaxBlock: 512}, faults{delay: 10 * time.Millisecond}, 1)
			m := command(text, nil)
			resp, err := e.Do(t.Context(), toDevice, &m)
			require.NoError(t, err)
			require.Equal(t, Changed, resp.Code)
			require.Equal(t, []string{text}, *executed)
			_, ok := m.Options.Find(Echo)
			require.False(t, ok, "the caller's stays as it was")
		})
	}
	bubble(t, func(t *testing.T) {
		asked := map[string]bool{}
		e, p, _ := client(t, Profile{}, func(req Message) []Message {
			asked[string(req.Token)] = true
			m := piggyback(req, Unauthorized, "")
			m.Options = m.Options.AddString(Echo, "again")
			return []Message{m}
		})
		resp, err := e.Do(t.Context(), p, &Message{Code: PUT})
		require.NoError(t, err)
		require.Equal(t, Unauthorized, resp.Code)
		require.Len(t, asked, 2)
	})
}
