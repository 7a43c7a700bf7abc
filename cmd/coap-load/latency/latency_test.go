package latency

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPercentiles holds the recorder against a sorted list: never below, and above by no more than 1.6 %.
func TestPercentiles(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var r Recorder
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
		r.Record(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, p := range []float64{0.1, 50, 90, 95, 99, 99.9, 100} {
		want := all[max(int(p/100*float64(len(all))+0.999999)-1, 0)]
		got := r.Percentile(p)
		require.GreaterOrEqual(t, got, want, "p%v", p)
		require.LessOrEqual(t, float64(got), float64(want)*1.016+1, "p%v", p)
	}
	s := r.Summary()
	require.EqualValues(t, len(all), s.Count)
	require.Equal(t, all[len(all)-1], s.Max)
	require.InDelta(t, float64(3*time.Millisecond), float64(s.Mean), float64(100*time.Microsecond))
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 1000, 1 << 20, 1<<40 + 12345, 1<<63 - 1} {
		i := bucket(v)
		require.GreaterOrEqual(t, highest(i), v)
		if i > 0 {
			require.Less(t, highest(i-1), v)
		}
		require.Less(t, i, buckets)
	}
	var none Recorder
	require.Zero(t, none.Percentile(99))
	require.Equal(t, "none", none.Summary().String())
}

// TestCoordinatedOmission stalls the generator itself, as a server would that is waited for: every request that was due
// meanwhile counts from when it was due.
func TestCoordinatedOmission(t *testing.T) {
	t.Parallel()
	const n, rate, stalled = 100, 1000, 60 * time.Millisecond
	var corrected, naive Recorder
	var dues []time.Time
	wake := make(chan struct{})
	time.AfterFunc(stalled, func() { close(wake) })
	count := Pace(context.Background(), rate, n, time.Time{}, func(i int, due time.Time) {
		sent := time.Now()
		if i == 0 {
			<-wake
		}
		naive.Record(time.Since(sent))
		corrected.Record(time.Since(due))
		dues = append(dues, due)
	}, func() {})
	require.Equal(t, n, count)
	for i, due := range dues {
		require.Equal(t, time.Duration(i)*time.Millisecond, due.Sub(dues[0]), "no moment is left out or moved")
	}
	require.GreaterOrEqual(t, corrected.Percentile(50), stalled/8, "half of them waited for the stall")
	require.Less(t, naive.Percentile(50), corrected.Percentile(50))
}

func TestPaceEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.Zero(t, Pace(ctx, 10, 0, time.Time{}, nil, func() {}))
	n := Pace(context.Background(), 10_000, 0, time.Now().Add(20*time.Millisecond), func(int, time.Time) {}, func() {})
	require.InDelta(t, 200, n, 2)
}
