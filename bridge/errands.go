package bridge

import (
	"context"
	"sync"
	"time"
)

// errands is what the bridge does on its own account, with nobody waiting for it: at the CSE, or at a device. A few runners do
// it, so that it takes no worker away from devices. Whoever adds bounds how much there is of its kind.
type errands struct {
	ctx    context.Context // of what is done
	cancel context.CancelFunc

	mu     sync.Mutex // guards the following fields
	wake   sync.Cond  // of mu
	todo   []func(context.Context)
	closed bool
}

func newErrands(ctx context.Context) *errands {
	e := &errands{}
	e.ctx, e.cancel = context.WithCancel(ctx)
	e.wake.L = &e.mu
	return e
}

// add has f done soon; false when the bridge is ending.
func (e *errands) add(f func(context.Context)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.todo = append(e.todo, f)
	e.wake.Signal()
	return true
}

// after is add once d has passed; false when the bridge is ending. gaveUp is called where it ends meanwhile.
func (e *errands) after(d time.Duration, f func(context.Context), gaveUp func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	time.AfterFunc(d, func() {
		if !e.add(f) {
			gaveUp()
		}
	})
	return true
}

// run is a runner. It ends when close was called and nothing is left.
func (e *errands) run() {
	for {
		e.mu.Lock()
		for len(e.todo) == 0 && !e.closed {
			e.wake.Wait()
		}
		if len(e.todo) == 0 {
			e.mu.Unlock()
			return
		}
		f := e.todo[0]
		e.todo[0] = nil
		e.todo = e.todo[1:]
		e.mu.Unlock()
		f(e.ctx)
	}
}

// close takes nothing more; what is there is still done.
func (e *errands) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.wake.Broadcast()
}
