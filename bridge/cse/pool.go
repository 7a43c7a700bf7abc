package cse

import (
	"context"
	"errors"
	"sync"
	"time"

	"coapbridge/bridge"
)

// endpoint is one CSE as one client: connections with different certificates are never mixed.
type endpoint struct {
	target   *target
	identity Identity
	slots    chan struct{} // one element for each request under way; who waits is served in turn

	mu         sync.Mutex // guards the following fields
	idle       []*conn    // the newest last
	busy       map[*conn]struct{}
	generation int // of the identity
	closed     bool
	sweep      *time.Timer // set while there are idle connections
}

func newEndpoint(t *target, identity Identity) *endpoint {
	return &endpoint{
		target: t, identity: identity, slots: make(chan struct{}, t.MaxConns), busy: make(map[*conn]struct{}),
	}
}

var (
	errClosed = errors.New("the client is closed")
	errBusy   = errors.New("every connection was in use until the deadline")
)

// acquire returns a connection for one request: a kept one, unless fresh, or a new one. It must be released.
func (e *endpoint) acquire(ctx context.Context, deadline time.Time, fresh bool) (*conn, *Error) {
	select {
	case e.slots <- struct{}{}:
	default:
		if f := e.wait(ctx, deadline); f != nil {
			return nil, f
		}
	}
	if err := ctx.Err(); err != nil {
		<-e.slots
		return nil, e.unreachable(ReasonClosed, err)
	}
	if !fresh {
		if cn := e.takeIdle(time.Now()); cn != nil {
			e.target.stats.reused.Add(1)
			return cn, nil
		}
	}
	cn, f := e.open(ctx, deadline)
	if f != nil {
		<-e.slots
		return nil, f
	}
	return cn, nil
}

func (e *endpoint) wait(ctx context.Context, deadline time.Time) *Error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return e.unreachable(ReasonBusy, errBusy)
	case <-ctx.Done():
		return e.unreachable(ReasonBusy, ctx.Err())
	}
}

// open dials. The certificate's generation is taken before: one that was renewed meanwhile makes the connection old.
func (e *endpoint) open(ctx context.Context, deadline time.Time) (*conn, *Error) {
	e.mu.Lock()
	generation := e.generation
	e.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	cn, reason, err := e.dial(ctx)
	if err != nil {
		return nil, e.unreachable(reason, err)
	}
	cn.generation = generation
	e.target.stats.dialled.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = cn.raw.Close() // nothing was said on it
		return nil, e.unreachable(ReasonClosed, errClosed)
	}
	e.busy[cn] = struct{}{}
	return cn, nil
}

func (e *endpoint) unreachable(reason Reason, cause error) *Error {
	return &Error{CSE: e.target.Name, Reason: reason, kind: bridge.ErrUnreachable, cause: cause}
}

// takeIdle returns the kept connection that was used last, if the server hasn't closed it or spoken unasked.
func (e *endpoint) takeIdle(now time.Time) *conn {
	for {
		cn := e.popIdle()
		if cn == nil {
			return nil
		}
		if now.Before(cn.expires) && quiet(cn.raw) {
			return cn
		}
		e.drop(cn)
	}
}

func (e *endpoint) popIdle() *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.idle)
	if n == 0 {
		return nil
	}
	cn := e.idle[n-1]
	e.idle[n-1] = nil
	e.idle = e.idle[:n-1]
	e.busy[cn] = struct{}{}
	return cn
}

// release gives the connection back: into the pool when whole, which says that its exchange ended as it should.
func (e *endpoint) release(cn *conn, whole bool) {
	defer func() { <-e.slots }()
	idle := e.target.IdleTimeout
	if cn.idleLimit > 0 {
		idle = min(idle, cn.idleLimit)
	}
	e.mu.Lock()
	if !whole || !cn.keep || e.closed || cn.generation != e.generation || len(e.idle)+len(e.busy) > e.target.MaxConns {
		e.mu.Unlock()
		e.drop(cn)
		return
	}
	defer e.mu.Unlock()
	cn.expires = time.Now().Add(idle)
	delete(e.busy, cn)
	e.idle = append(e.idle, cn)
	if e.sweep == nil {
		e.sweep = time.AfterFunc(e.target.IdleTimeout, e.expire)
	}
}

// drop closes a busy connection.
func (e *endpoint) drop(cn *conn) {
	e.mu.Lock()
	delete(e.busy, cn)
	e.mu.Unlock()
	cn.close()
}

// expire closes what has been idle for too long, so that no socket waits for a request to notice.
func (e *endpoint) expire() {
	now := time.Now()
	e.mu.Lock()
	var old, kept []*conn
	for _, cn := range e.idle {
		if now.Before(cn.expires) {
			kept = append(kept, cn)
		} else {
			old = append(old, cn)
		}
	}
	e.idle, e.sweep = kept, nil
	if len(kept) > 0 {
		e.sweep = time.AfterFunc(e.target.IdleTimeout, e.expire)
	}
	e.mu.Unlock()
	for _, cn := range old {
		cn.close()
	}
}

func (e *endpoint) renew() {
	e.mu.Lock()
	e.generation++
	idle := e.takeAllLocked()
	e.mu.Unlock()
	for _, cn := range idle {
		cn.close()
	}
}

func (e *endpoint) takeAllLocked() []*conn {
	idle := e.idle
	e.idle = nil
	if e.sweep != nil {
		e.sweep.Stop()
		e.sweep = nil
	}
	return idle
}

func (e *endpoint) close() {
	e.mu.Lock()
	e.closed = true
	for cn := range e.busy {
		_ = cn.raw.Close() // its request sees the end and drops it
	}
	idle := e.takeAllLocked()
	e.mu.Unlock()
	for _, cn := range idle {
		cn.close()
	}
}

// close ends the connection without waiting for a peer that doesn't read: close_notify is sent if there is room for it.
func (cn *conn) close() {
	_ = cn.raw.SetWriteDeadline(time.Now().Add(closeGrace))
	_ = cn.tls.Close() // there is nothing left to lose on it
}

func (e *endpoint) connections() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.idle) + len(e.busy)
}
