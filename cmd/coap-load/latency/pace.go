package latency

import (
	"context"
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// tick is how long the pacer sleeps at least. Shorter, its wakes cost more than what it sends; longer, they would be seen
// in the percentiles.
const tick = 100 * time.Microsecond

// stall is how much of a time without a processor is made up for at once: 10 ms of a rate fit into any server's buffer.
const stall = 5 * time.Millisecond

// Pace calls send for each of the moments start, start+1/rate, start+2/rate and so on, until that of number n, of end, or
// ctx's end, whichever is first; n or end of zero is none. It never leaves a moment out: when it wakes late, it makes up for
// it at no more than twice the rate, for devices don't gather to overflow a socket's buffer, and every call names the moment
// that was meant. flush is called after those that were due together. It returns how many there were.
func Pace(ctx context.Context, rate float64, n int, end time.Time, send func(i int, due time.Time), flush func()) int {
	// Sleeping in the kernel, and not in the runtime's timers, whose precision is a millisecond.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	step := float64(time.Second) / rate
	due := func(i int) time.Time { return start.Add(time.Duration(float64(i) * step)) }
	i, last := 0, start
	for ctx.Err() == nil {
		now := time.Now()
		before, burst := i, 1+int(2*rate*min(now.Sub(last), stall).Seconds())
		last = now
		for next := due(i); !next.After(now) && i < before+burst; next = due(i) {
			if n > 0 && i == n || !end.IsZero() && next.After(end) {
				flush()
				return i
			}
			send(i, next)
			i++
		}
		if i > before {
			flush()
		}
		if (n == 0 || i < n) && (end.IsZero() || !due(i).After(end)) {
			sleep(max(time.Until(due(i)), tick))
		} else {
			return i
		}
	}
	return i
}

func sleep(d time.Duration) {
	left := unix.NsecToTimespec(int64(d))
	for errors.Is(unix.Nanosleep(&left, &left), unix.EINTR) {
	}
}
