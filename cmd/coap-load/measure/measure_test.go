package measure

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOwnProcess(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# HELP go_goroutines Number.\ngo_goroutines 42\ngo_memstats_heap_alloc_bytes 1.5e+06\ngo_memstats_mallocs_total 7e+06\n")
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })

	p, err := Open(os.Getpid(), "unix:"+socket)
	require.NoError(t, err)
	before, err := p.Sample(context.Background())
	require.NoError(t, err)
	for began := time.Now(); time.Since(began) < 30*time.Millisecond; { // work that can be measured
	}
	after, err := p.Sample(context.Background())
	require.NoError(t, err)
	require.Greater(t, after.CPU, before.CPU+5*time.Millisecond)
	require.Greater(t, after.RSS, uint64(1<<20))
	require.LessOrEqual(t, after.Private, after.RSS)
	require.Positive(t, after.Threads)
	require.Equal(t, 42, after.Goroutines)
	require.EqualValues(t, 1_500_000, after.Heap)
	require.EqualValues(t, 7_000_000, after.Mallocs)
}

// TestStat reads proc(5)'s line of a program with a name that is made to mislead.
func TestStat(t *testing.T) {
	t.Parallel()
	var s Sample
	require.NoError(t, s.parseStat([]byte("4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 19\n")))
	require.Equal(t, 2500*time.Millisecond, s.User)
	require.Equal(t, 500*time.Millisecond, s.System)
	require.Equal(t, 17, s.Threads)
	require.Error(t, s.parseStat([]byte("4711 (a")))
	s.parseRollup([]byte("55 rollup\nRss:  2000 kB\nPss: 1500 kB\nPrivate_Clean: 100 kB\nPrivate_Dirty: 1100 kB\n"))
	require.EqualValues(t, 2000<<10, s.RSS)
	require.EqualValues(t, 1500<<10, s.PSS)
	require.EqualValues(t, 1200<<10, s.Private)
}

func TestNoProcess(t *testing.T) {
	t.Parallel()
	_, err := Open(1<<22+1, "") // above pid_max of every 64-bit kernel
	require.Error(t, err)
	_, err = Open(os.Getpid(), "unix:/nowhere")
	require.Error(t, err)
}
