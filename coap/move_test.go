package coap

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// mover is a recorder whose address is on trial.
type mover struct {
	recorder
	trial  [8]byte
	proven bool
}

func (m *mover) Challenge() ([8]byte, bool) { return m.trial, !m.proven }

func (m *mover) Prove(c [8]byte) { m.proven = m.proven || c == m.trial }

// TestEchoProvesAnAddress: while the address is on trial, answers carry a challenge (RFC 9175, Section 2.3); the request that
// repeats it ends the trial, another value doesn't, and the Handler sees neither (S28, S33).
func TestEchoProvesAnAddress(t *testing.T) {
	t.Parallel()
	seen := 0
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
		if _, ok := x.Request().Options.Find(Echo); ok {
			seen++
		}
		_ = x.Respond(&Message{Code: Content, Options: Options{{ID: Echo, Value: []byte("handler")}}})
	})})
	conn := &mover{trial: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	p := e.NewPeer(conn, Profile{})
	ask := func(mid uint16, echo []byte) Message {
		m := Message{Code: GET, MessageID: mid}
		if echo != nil {
			m.Options = m.Options.Add(Echo, echo)
		}
		e.Receive(p, wire(t, m))
		return conn.one(t)
	}
	value, ok := ask(1, nil).Options.Find(Echo)
	require.True(t, ok)
	require.Equal(t, conn.trial[:], value, "the handler's own gives way")
	ask(2, []byte("87654321"))
	require.False(t, conn.proven)
	ask(3, value)
	require.True(t, conn.proven)
	require.Zero(t, seen)
	value, _ = ask(4, nil).Options.Find(Echo)
	require.Equal(t, "handler", string(value), "no trial, no challenge")
}
