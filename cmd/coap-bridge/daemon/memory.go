package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A gateway shares its memory with others, and Go keeps what a burst of handshakes took for a long time. So memory that is
// free is given back when nothing has been allocated for a moment. That costs one garbage collection after each burst, and
// nothing while the load goes on or the daemon is idle.
const (
	quietTime  = 2 * time.Second
	quietBytes = 256 << 10 // allocated within quietTime: less is no load
)

// giveBack runs until ctx ends.
func giveBack(ctx context.Context) {
	tick := time.NewTicker(quietTime)
	defer tick.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var before uint64
	done := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		allocated := samples[0].Value.Uint64() - before
		before += allocated
		quiet := allocated < quietBytes
		if quiet && !done {
			debug.FreeOSMemory()
		}
		done = quiet
	}
}
