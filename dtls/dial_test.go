package dtls

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slowHandler is a recorder whose HandleConn waits for its gate and then names an owner.
type slowHandler struct {
	*recorder
	entered, gate chan struct{}
}

func (s slowHandler) HandleConn(c *Conn) {
	close(s.entered)
	<-s.gate
	c.SetOwner("owner")
	s.recorder.HandleConn(c)
}

// Whoever gets a session from Dial gets it with what HandleConn attached to it.
func TestDialWaitsForHandleConn(t *testing.T) {
	t.Parallel()
	_, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
	slow := slowHandler{newRecorder(false), make(chan struct{}), make(chan struct{})}
	ep, _ := start(t, &Config{PSK: testPSK, Handler: slow})
	owners := make(chan any, 2)
	dial := func() {
		c, err := ep.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
		if err != nil {
			owners <- err
			return
		}
		owners <- c.Owner()
	}
	go dial()
	<-slow.entered
	go dial() // finds the session in the tables
	select {
	case got := <-owners:
		require.FailNow(t, "handed out before its time", "%v", got)
	case <-time.After(100 * time.Millisecond):
	}
	close(slow.gate)
	require.Equal(t, "owner", <-owners)
	require.Equal(t, "owner", <-owners)
}

// Whoever dials after all who waited for a handshake gave it up gets a handshake of their own.
func TestDialDoesNotJoinWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	_, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
	asked, gate := make(chan struct{}, 2), make(chan struct{})
	ep, _ := start(t, &Config{Handler: newRecorder(false), PSK: func(ctx context.Context, q PSKQuery) ([]byte, error) {
		asked <- struct{}{}
		<-gate // whatever ctx says
		return testPSK(ctx, q)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	first, second := make(chan error, 1), make(chan error, 1)
	dial := func(ctx context.Context, done chan error) {
		_, err := ep.Dial(ctx, addr, PeerID{Kind: KindPSK, ID: testIdentity})
		done <- err
	}
	go dial(ctx, first)
	<-asked
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	go dial(limited(t), second)
	select {
	case <-asked:
	case <-time.After(5 * time.Second):
		require.FailNow(t, "it joined the handshake that was given up")
	}
	close(gate)
	require.NoError(t, <-second)
}
