package request

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// attempt is what happens at one address: an answer after a while, or none at all.
type attempt struct {
	after time.Duration // 0: never
	err   error
}

var errHandshake = errors.New("alert: decrypt_error")

// TestRace: RFC 8305, Section 5, in virtual time: who answers first wins, one dead address costs a moment, and the error that
// says most is reported.
func TestRace(t *testing.T) {
	t.Parallel()
	closed, noRoute := attempt{1, errPortClosed}, attempt{1, &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}}
	untrusted := attempt{time.Second, &untrustedServer{errors.New("wrong name")}}
	tests := []struct {
		name     string
		attempts []attempt
		winner   int
		want     error
		took     time.Duration
	}{
		{name: "one", attempts: []attempt{{after: time.Second}}, winner: 0, took: time.Second},
		{name: "the first is silent", attempts: []attempt{{}, {after: time.Second}}, winner: 1, took: attemptDelay + time.Second},
		{name: "the first is closed", attempts: []attempt{closed, {after: time.Second}}, winner: 1, took: time.Second + 1},
		{name: "the first is slow, and still wins", attempts: []attempt{{after: 2 * attemptDelay}, {after: time.Second}}, winner: 0, took: 2 * attemptDelay},
		{name: "both at once", attempts: []attempt{{after: time.Second}, {after: time.Second - attemptDelay + 1}}, winner: 0, took: time.Second},
		{name: "all silent", attempts: []attempt{{}, {}}, want: context.DeadlineExceeded, took: handshakeTimeout},
		{name: "closed says less than an alert", attempts: []attempt{{time.Second, errHandshake}, closed}, want: errHandshake, took: time.Second},
		{name: "no route says least", attempts: []attempt{noRoute, closed}, want: errPortClosed, took: 2},
		{name: "a foreign certificate says most", attempts: []attempt{untrusted, {2 * time.Second, errHandshake}}, want: untrusted.err, took: attemptDelay + 2*time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), handshakeTimeout)
				defer cancel()
				addrs := make([]netip.AddrPort, len(tt.attempts))
				for i := range addrs {
					addrs[i] = netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i))
				}
				begin := time.Now()
				var running atomic.Int32
				got, err := race(ctx, addrs, func(ctx context.Context, addr netip.AddrPort) (int, error) {
					running.Add(1)
					defer running.Add(-1)
					a := tt.attempts[addr.Port()]
					if a.after == 0 {
						<-ctx.Done()
						return -1, ctx.Err()
					}
					select {
					case <-time.After(a.after):
						return int(addr.Port()), a.err
					case <-ctx.Done():
						return -1, ctx.Err()
					}
				}, func(int) {})
				require.Equal(t, tt.took, time.Since(begin))
				require.Zero(t, running.Load(), "no attempt is left")
				if tt.want != nil {
					require.ErrorIs(t, err, tt.want)
					return
				}
				require.NoError(t, err)
				require.Equal(t, tt.winner, got)
			})
		})
	}
}

// TestRaceDiscardsTheLate: an attempt that succeeds although it was cancelled is closed.
func TestRaceDiscardsTheLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var discarded []uint16
		got, err := race(t.Context(), []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Loopback(), 0), netip.AddrPortFrom(netip.IPv6Loopback(), 1)},
			func(_ context.Context, addr netip.AddrPort) (uint16, error) {
				if addr.Port() == 0 {
					time.Sleep(2 * time.Second) // virtual; deaf to its context
				} else {
					time.Sleep(time.Second)
				}
				return addr.Port(), nil
			}, func(s uint16) { discarded = append(discarded, s) })
		require.NoError(t, err)
		require.Equal(t, uint16(1), got)
		require.Equal(t, []uint16{0}, discarded)
	})
}

func TestInterleave(t *testing.T) {
	t.Parallel()
	parse := func(addrs ...string) (out []netip.AddrPort) {
		for _, a := range addrs {
			out = append(out, netip.MustParseAddrPort(a))
		}
		return out
	}
	require.Equal(t, parse("[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "127.0.0.3:1"),
		interleave(parse("[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1")))
	require.Empty(t, interleave(nil))
}
