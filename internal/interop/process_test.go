//go:build interop

package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// errEnded is a peer that ended of its own accord.
var errEnded = errors.New("the peer ended")

// running is a peer at work. What it is told goes out as one record, newline included; what it hears it prints as a line.
type running struct {
	in   io.WriteCloser
	done chan struct{} // closed when it ended and all of its lines are in
	stop func()        // ends it, and returns when it has ended

	mu      sync.Mutex // guards the following fields
	lines   []string
	changed chan struct{} // closed and replaced with every line
}

func newRunning(in io.WriteCloser) *running {
	return &running{in: in, done: make(chan struct{}), changed: make(chan struct{})}
}

// read keeps what comes from the peer, until it ends.
func (r *running) read(from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		r.print(lines.Text())
	}
}

// print keeps one line.
func (r *running) print(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	close(r.changed)
	r.changed = make(chan struct{})
}

// start starts a program. It doesn't outlive the test.
func start(t *testing.T, env []string, argv ...string) *running {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	require.NoError(t, err, "%s is missing: \"make interop\" installs it", argv[0])
	cmd := exec.Command(path, argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe() // held open: some peers end with it
	require.NoError(t, err)
	out, write, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = write, write
	r := newRunning(in)
	started := make(chan error, 1)
	go func() {
		// The parent-death signal comes when the thread that forked ends, so that thread is kept until the child ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = write.Close()
		started <- err
		if err == nil {
			r.read(out)
			_ = cmd.Wait() // its exit status says no more than what it printed
		}
		_ = out.Close()
		close(r.done)
	}()
	require.NoError(t, <-started)
	r.stop = func() {
		_ = cmd.Process.Kill() // fails when it has ended
		_ = in.Close()
		<-r.done
	}
	return r
}

// say has the peer send a line.
func (r *running) say(line string) error {
	_, err := io.WriteString(r.in, line)
	return err
}

// hear returns when the peer has printed a line.
func (r *running) hear(ctx context.Context, line string) error {
	ended := false
	for {
		r.mu.Lock()
		lines, changed := r.lines, r.changed
		r.mu.Unlock()
		for _, l := range lines {
			if l == strings.TrimSuffix(line, "\n") {
				return nil
			}
		}
		if ended {
			return errEnded
		}
		select {
		case <-changed:
		case <-r.done:
			ended = true // once more: its last lines came together with its end
		case <-ctx.Done():
			return fmt.Errorf("the peer did not print %q: %w", line, context.Cause(ctx))
		}
	}
}

// said returns the end of what the peer printed.
func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	const most = 60
	return strings.Join(r.lines[max(0, len(r.lines)-most):], "\n")
}
