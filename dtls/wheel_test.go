package dtls

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// item is something with a time.
type item struct {
	links links[item]
	at    time.Duration
}

func (i *item) wheel() *links[item] { return &i.links }

// TestWheel holds a wheel against the times of its items: none comes up before its time, but for those beyond the rim, and all
// do within a tick after it, whatever was set, moved and removed before.
func TestWheel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	const tick, slots = 64 * time.Millisecond, 32
	w := newWheel[item](tick, slots)
	in := map[*item]bool{}
	var now time.Duration
	for range 20_000 {
		switch rng.IntN(4) {
		case 0, 1:
			i := &item{at: now + time.Duration(rng.Int64N(int64((slots-2)*tick)))}
			w.set(i, i.at)
			in[i] = true
		case 2:
			for i := range in {
				if rng.IntN(2) == 0 {
					w.remove(i)
					w.remove(i) // a second time does nothing
					delete(in, i)
				} else {
					i.at = now + time.Duration(rng.Int64N(int64((slots-2)*tick)))
					w.set(i, i.at)
				}
				break
			}
		default:
			now += time.Duration(rng.Int64N(int64(3 * tick)))
			for _, i := range w.due(nil, now) {
				require.True(t, in[i])
				require.LessOrEqual(t, i.at, now)
				delete(in, i)
			}
			for i := range in {
				require.Greater(t, i.at+tick, now, "it should have come up")
			}
		}
		require.Equal(t, len(in), w.count)
	}
	require.Len(t, w.due(nil, now+time.Hour), len(in), "after a long pause all come up at once")
}

func TestWheelBeyondItsRim(t *testing.T) {
	t.Parallel()
	w := newWheel[item](time.Second, 8)
	i := &item{}
	w.set(i, time.Hour)
	require.Empty(t, w.due(nil, 6*time.Second))
	require.Equal(t, []*item{i}, w.due(nil, 7*time.Second), "to be looked at, and put in again")
}
