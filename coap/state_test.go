package coap

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An alarm of a state that was given back meanwhile, and finds the next one, leaves no timer behind in what goes to the pool.
func TestLateAlarmLeavesNoTimer(t *testing.T) {
	t.Parallel()
	e := New(&Config{})
	p := e.NewPeer(&recorder{}, Profile{})
	require.NoError(t, p.takeTurn(t.Context()))
	p.passTurn() // the state is empty, and its sweep is set
	p.alarm(time.Now())
	for i, timer := range e.sched.timers {
		require.Equal(t, i+1, timer.pos)
		require.NotNil(t, timer.target)
	}
}
