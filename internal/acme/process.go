package acme

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// process is a child process that does not outlive its parent.
type process struct {
	name string
	pid  int
	done chan struct{} // closed when it has ended
}

// start starts cmd with its output in the file at logPath.
func start(name string, cmd *exec.Cmd, logPath string) (*process, error) {
	out, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("acme: open output of %s: %w", name, err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{name: name, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal comes when the thread that forked ends, so that thread is kept until the child ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // its exit status is that of a process that was signalled
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("acme: start %s: %w", name, err)
	}
	return p, nil
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop ends the process by its pid and waits for it. It may be called more than once.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if p.ended() {
		return
	}
	_ = syscall.Kill(p.pid, syscall.SIGTERM) // it may have ended in between
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	<-p.done
}
