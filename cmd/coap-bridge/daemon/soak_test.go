//go:build soak

package daemon

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

const soakDevices = 8

// TestSoak keeps a bridge busy for $SOAK (10m by default): devices write, read back what they wrote, and come back with new
// sessions. Nothing may be lost, and goroutines and heap may not grow with the work that was done.
func TestSoak(t *testing.T) {
	duration := 10 * time.Minute
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		duration, err = time.ParseDuration(text)
		require.NoError(t, err, "SOAK")
	}
	f := start(t, func(f *fixture, text string) string {
		devices := "version: 1\ndevices:\n"
		for i := range soakDevices {
			devices += fmt.Sprintf("  - name: soak%d\n    psk: {identity: soak%d, up: \"text:%s-%d\"}\n", i, i, meterKey, i)
		}
		f.write("devices.yaml", devices)
		return text
	})
	f.round(t, 50) // first use, and what is allocated once
	before := settled()
	written := 0
	for end := time.Now().Add(duration); time.Now().Before(end); {
		f.round(t, 200)
		written += 200 * soakDevices
	}
	after := settled()
	t.Logf("%d values written and read back; heap %d KiB before, %d KiB after; %d goroutines, then %d",
		written, before.heap>>10, after.heap>>10, before.goroutines, after.goroutines)
	require.LessOrEqual(t, after.goroutines, before.goroutines+4)
	require.Less(t, after.heap, 2*before.heap+(8<<20), "the heap grows with the work done")
}

// round lets every device open a session and write and read n values.
func (f *fixture) round(t *testing.T, n int) {
	var devices sync.WaitGroup
	failed := make(chan error, soakDevices)
	for i := range soakDevices {
		identity := "soak" + strconv.Itoa(i)
		c := connect(t, f.addr(), identity, meterKey+"-"+strconv.Itoa(i))
		devices.Go(func() {
			defer c.end()
			if err := c.writeAndRead(n); err != nil {
				failed <- fmt.Errorf("%s: %w", identity, err)
			}
		})
	}
	devices.Wait()
	close(failed)
	require.NoError(t, <-failed)
	f.cse.Reset() // the CSE forgets; the bridge makes AEs and containers again
}

// writeAndRead writes n values and reads each of them back.
func (c *client) writeAndRead(n int) error {
	for k := range n {
		value := strings.Repeat("v", k%700) + strconv.Itoa(k)
		m, err := c.coap.Do(c.t.Context(), c.peer, plain(coap.POST, "a", value))
		if err != nil || m.Code != coap.Created {
			return fmt.Errorf("POST %d: %v, %w", k, m, err)
		}
		m, err = c.coap.Do(c.t.Context(), c.peer, plain(coap.GET, "a", ""))
		if err != nil || string(m.Payload) != value {
			return fmt.Errorf("GET %d: %v, %w", k, m, err)
		}
	}
	return nil
}

type usage struct {
	heap       uint64
	goroutines int
}

// settled measures after a garbage collection.
func settled() usage {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{m.HeapAlloc, runtime.NumGoroutine()}
}
