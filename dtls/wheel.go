package dtls

import "time"

// links chain an item into a wheel. They cost an item no allocation.
type links[T any] struct {
	next, prev *T
	slot       int32 // index + 1; 0: in no wheel
}

// linked is a *T that carries its links.
type linked[T any] interface {
	*T
	wheel() *links[T]
}

// wheel keeps items by the tick at which they want to be looked at. One that lies beyond its rim comes up early and is put in
// again; so does one whose time was moved back meanwhile. It needs its caller's lock.
type wheel[T any, P linked[T]] struct {
	tick  time.Duration
	now   int64 // the tick that was looked at last
	slots []*T
	count int
}

func newWheel[T any, P linked[T]](tick time.Duration, slots int) *wheel[T, P] {
	return &wheel[T, P]{tick: tick, slots: make([]*T, slots)}
}

// set puts an item where it is looked at soon after at, a time since the endpoint's start. It may be in the wheel already.
func (w *wheel[T, P]) set(item *T, at time.Duration) {
	w.remove(item)
	due := min(max(int64((at+w.tick-1)/w.tick), w.now+1), w.now+int64(len(w.slots))-1)
	slot := due % int64(len(w.slots))
	l := P(item).wheel()
	l.slot, l.prev, l.next = int32(slot)+1, nil, w.slots[slot]
	if l.next != nil {
		P(l.next).wheel().prev = item
	}
	w.slots[slot] = item
	w.count++
}

// remove takes an item out, if it is in.
func (w *wheel[T, P]) remove(item *T) {
	l := P(item).wheel()
	if l.slot == 0 {
		return
	}
	if l.prev == nil {
		w.slots[l.slot-1] = l.next
	} else {
		P(l.prev).wheel().next = l.next
	}
	if l.next != nil {
		P(l.next).wheel().prev = l.prev
	}
	*l = links[T]{}
	w.count--
}

// due takes out and appends every item whose tick has come.
func (w *wheel[T, P]) due(items []*T, now time.Duration) []*T {
	last := int64(now / w.tick)
	for steps := 0; w.now < last && steps < len(w.slots); steps++ {
		w.now++
		for slot := w.now % int64(len(w.slots)); w.slots[slot] != nil; {
			item := w.slots[slot]
			w.remove(item)
			items = append(items, item)
		}
	}
	w.now = max(w.now, last)
	return items
}
