package bridge

import (
	"context"
	"slices"
	"sync"
)

// lanes orders the requests to devices: those to one device go one after the other, in the order in which they came. Two that
// are under way at once could be served in either order (RFC 7252, Section 4.7 allows one by default anyway).
type lanes struct {
	perDevice, all int

	mu       sync.Mutex // guards the following fields
	total    int
	byDevice map[string][]*ticket // the first one's turn it is
}

// ticket is a place in a lane.
type ticket struct {
	lanes  *lanes
	device string
	turn   chan struct{} // closed when its turn has come
}

// enter takes the last place in a device's lane; nil when there are too many requests.
func (l *lanes) enter(device string) *ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byDevice == nil {
		l.byDevice = make(map[string][]*ticket)
	}
	lane := l.byDevice[device]
	if l.total >= l.all || len(lane) >= l.perDevice {
		return nil
	}
	t := &ticket{lanes: l, device: device, turn: make(chan struct{})}
	if len(lane) == 0 {
		close(t.turn)
	}
	l.total++
	l.byDevice[device] = append(lane, t)
	return t
}

// wait returns when the ticket's turn has come; false: ctx ended first. leave has to follow either.
func (t *ticket) wait(ctx context.Context) bool {
	select {
	case <-t.turn:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// leave gives the place up.
func (t *ticket) leave() {
	l := t.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.byDevice[t.device]
	i := slices.Index(lane, t)
	lane = slices.Delete(lane, i, i+1)
	l.total--
	if len(lane) == 0 {
		delete(l.byDevice, t.device)
		return
	}
	l.byDevice[t.device] = lane
	if i == 0 {
		close(lane[0].turn)
	}
}

// size returns how many requests there are.
func (l *lanes) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
