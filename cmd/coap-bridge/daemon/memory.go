package daemon

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A gateway shares its memory with others, and Go keeps what a burst of handshakes took for a long time. So memory that is
// free is given back when nothing has been allocated for a moment, and again when sessions have dropped their ciphers, which they
// keep for 8 s and some: nothing else would collect those. That costs two garbage collections after each burst, and nothing
// while the load goes on or the daemon is idle.
const (
	quietTime  = 2 * time.Second
	quietBytes = 256 << 10 // allocated within quietTime: less is no load
	quietAgain = 7         // so many times
)

// How much garbage there may be before it is collected is a size here, not Go's one fixed share of what lives (GOGC). With few
// sessions a collection comes seldom, and each one is seen in the 99th percentile of the requests meanwhile. With very many it
// comes early: what handshakes leave lies between the sessions that stay, and all of it stays resident. An operator's own GOGC
// counts instead.
const (
	garbage                 = 16 << 20 // bytes
	minPercent, maxPercent  = 50, 400  // of what lives
	liveHeap, allocatedHeap = "/gc/heap/live:bytes", "/gc/heap/allocs:bytes"
)

// collectAt is the share of live bytes, in percent, that may be garbage.
func collectAt(live uint64) int {
	return int(min(max(100*garbage/max(live, 1), minPercent), maxPercent))
}

// keepMemory runs until ctx ends.
func keepMemory(ctx context.Context) {
	tick := time.NewTicker(quietTime)
	defer tick.Stop()
	_, chosen := os.LookupEnv("GOGC")
	samples := []metrics.Sample{{Name: allocatedHeap}, {Name: liveHeap}}
	var before uint64
	quiet, percent := 0, 0
	for {
		metrics.Read(samples)
		if at := collectAt(samples[1].Value.Uint64()); !chosen && at != percent {
			percent = at
			debug.SetGCPercent(percent)
		}
		allocated := samples[0].Value.Uint64() - before
		before += allocated
		if quiet++; allocated >= quietBytes {
			quiet = 0
		}
		if quiet == 1 || quiet == quietAgain {
			debug.FreeOSMemory()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
