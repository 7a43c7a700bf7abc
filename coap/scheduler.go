package coap

import (
	"container/heap"
	"sync"
	"time"
)

// alarmed is what a timer wakes. It is called without locks, checks for itself whether there is still something to do, and
// must not block.
type alarmed interface{ alarm(now time.Time) }

// timer is embedded in what it wakes. Its fields belong to the scheduler.
type timer struct {
	at     time.Time
	pos    int // index in the heap plus 1; 0: not set
	target alarmed
}

// scheduler runs all timers of an Endpoint on one goroutine.
type scheduler struct {
	mu     sync.Mutex // guards the following fields and those of every timer
	timers timerHeap
	next   time.Time // what run sleeps until; zero: it does not sleep, or for ever

	wake chan struct{} // buffered: there is an earlier timer
}

// set makes t fire at the given time, instead of when it was to fire before.
func (s *scheduler) set(t *timer, target alarmed, at time.Time) {
	s.mu.Lock()
	t.at, t.target = at, target
	if t.pos == 0 {
		heap.Push(&s.timers, t)
	} else {
		heap.Fix(&s.timers, t.pos-1)
	}
	earlier := t.pos == 1 && (s.next.IsZero() || at.Before(s.next))
	s.mu.Unlock()
	if earlier {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// stop takes t out. It may be firing at this moment.
func (s *scheduler) stop(t *timer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.pos != 0 {
		heap.Remove(&s.timers, t.pos-1)
	}
}

// due takes one timer out that is due, or returns how long to wait for the next one; negative: there is none.
func (s *scheduler) due(now time.Time) (target alarmed, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = time.Time{}
	if len(s.timers) == 0 {
		return nil, -1
	}
	t := s.timers[0]
	if t.at.After(now) {
		s.next = t.at
		return nil, t.at.Sub(now)
	}
	heap.Pop(&s.timers)
	return t.target, 0
}

// run fires timers until stop is closed.
func (s *scheduler) run(stop <-chan struct{}) {
	sleep := time.NewTimer(0)
	defer sleep.Stop()
	for {
		now := time.Now()
		target, wait := s.due(now)
		if target != nil {
			target.alarm(now)
			continue
		}
		var expired <-chan time.Time
		if wait >= 0 {
			sleep.Reset(wait)
			expired = sleep.C
		}
		select {
		case <-expired:
		case <-s.wake:
		case <-stop:
			return
		}
	}
}

// timerHeap implements heap.Interface.
type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.pos = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.pos = 0
	return t
}
