package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/cmd/coap-load/load"
	"coapbridge/cmd/coap-load/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// programs builds what is measured.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for to, from := range map[string]string{
		"coap-bridge": "./cmd/coap-bridge", "coap-load": "./cmd/coap-load", "bench/baseline": "./internal/baseline",
	} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, to), from)
		cmd.Dir = "../../.."
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return dir
}

// tiny is enough to see that each mode works.
func tiny(t *testing.T, bin string) Config {
	return Config{
		Bin: bin, Rounds: 1, Sessions: 60, CertSessions: 20, Stretch: 200 * time.Millisecond, Requesters: 20,
		FloodRate: 100, // libcoap has 100 half-open places
		FloodFor:  200 * time.Millisecond, FloodDevices: 10, Settle: 50 * time.Millisecond,
		Progress: func(line string) { t.Log(line) },
	}
}

// TestEndToEnd runs every mode for a moment against coap-bridge as a user starts it, and then a whole comparison.
func TestEndToEnd(t *testing.T) {
	bin := programs(t)
	t.Run("modes", func(t *testing.T) { testModes(t, bin) })
	t.Run("comparison", func(t *testing.T) { testComparison(t, bin) })
}

func testModes(t *testing.T, bin string) {
	conf := tiny(t, bin)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := newPlace(ctx, conf, dir)
	require.NoError(t, err)
	defer p.close()
	r := &run{conf: conf, place: p, report: new(Report)}
	for k, name := range map[kind]string{withKey: "key", withCertificate: "certificate"} {
		t.Run(name, func(t *testing.T) {
			b, err := r.open(ctx, peers()[1], k)
			require.NoError(t, err)
			defer b.server.stop()
			testKind(ctx, t, b)
		})
	}
}

func testKind(ctx context.Context, t *testing.T, b *bed) {
	open := func() *load.Load {
		l, err := b.load(20, 0)
		require.NoError(t, err)
		t.Cleanup(l.Close)
		return l
	}
	l := open()
	got, err := l.Handshake(ctx, load.Handshakes{Count: 40, InFlight: 4})
	require.NoError(t, err)
	require.EqualValues(t, []uint64{40, 0}, []uint64{got.Done, got.Failed})
	require.EqualValues(t, 40, got.Latency.Count)
	require.Positive(t, got.Cost.PerOp)
	require.Positive(t, got.Cost.After.Goroutines)

	got, err = l.Handshake(ctx, load.Handshakes{Count: 20, Rate: 200})
	require.NoError(t, err)
	require.True(t, got.Open)
	require.EqualValues(t, 20, got.Done)

	_, err = l.Connect(ctx, 20, 4)
	require.NoError(t, err)
	for _, s := range []load.Stream{
		{Request: b.server.own, InFlight: 8}, {Request: b.server.own, Rate: 500}, {Request: *b.server.forward, InFlight: 4},
	} {
		s.WarmUp, s.Duration = 20*time.Millisecond, 200*time.Millisecond
		got, err = l.Send(ctx, s)
		require.NoError(t, err)
		require.Zero(t, got.Failed, "%v", got.Failures)
		require.Positive(t, got.Done)
	}

	for _, elsewhere := range []bool{false, true} {
		got, err = l.Replay(ctx, load.Recording{
			Request: b.server.own, PerRound: 2, Rate: 2000, Duration: 100 * time.Millisecond, Elsewhere: elsewhere,
		})
		require.NoError(t, err)
		require.Equal(t, 40, got.Replay.Recorded)
		require.Zero(t, got.Replay.Provoked, "a replayed record is answered by nothing")
		require.True(t, got.Replay.Alive)
	}

	l = open()
	got, err = l.Hold(ctx, load.Hold{Sessions: 20, InFlight: 4, Settle: time.Millisecond, For: 20 * time.Millisecond, Request: &b.server.own})
	require.NoError(t, err)
	require.EqualValues(t, 20, got.Done)
	require.Positive(t, got.Idle.First)
	require.Positive(t, got.Idle.After.RSS)

	l = open()
	got, err = l.Flood(ctx, load.Storm{Rate: 1000, Duration: 200 * time.Millisecond, Devices: 5})
	require.NoError(t, err)
	require.InDelta(t, 200, float64(got.Flood.Sent), 5)
	require.Positive(t, got.Flood.Answered)
	require.LessOrEqual(t, got.Flood.BytesIn, got.Flood.BytesOut, "no amplification")
	require.EqualValues(t, 5, got.Flood.Devices.Count)
	require.NoError(t, got.Table().Markdown(testWriter{t}))
}

// testWriter writes to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log("\n" + string(b))
	return len(b), nil
}

func testComparison(t *testing.T, bin string) {
	conf := tiny(t, bin)
	conf.Servers = []string{"pion+go-coap", "coap-bridge", "libcoap GnuTLS"}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := Run(ctx, conf)
	require.NoError(t, err)
	require.Empty(t, r.Remarks)
	require.Positive(t, r.Floor)
	for _, name := range conf.Servers {
		for _, row := range rows(conf) {
			if slices.Contains([]string{rowGoroutines, rowRequestAllocs, rowForwardAllocs}, row.key) && name == "libcoap GnuTLS" {
				continue // it is no Go program
			}
			require.Len(t, r.Figures[name][row.key], 1, "%s: %s", name, row.title)
		}
	}
	require.NoError(t, r.Table().Markdown(testWriter{t}))
	require.NoError(t, report.JSON(testWriter{t}, r))
}
