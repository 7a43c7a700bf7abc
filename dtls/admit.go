package dtls

import "time"

// halfOpen is the handshakes that peers began and that hold a place, oldest first, of an endpoint or of one prefix.
// Endpoint.mu guards it. Those whose cookie came back leave its queue when it is their turn, and keep their place.
type halfOpen struct {
	places int
	queue  []*handshake // may hold handshakes that gave their place back
}

// add gives h a place.
func (o *halfOpen) add(h *handshake) {
	o.places++
	if len(o.queue) >= 2*o.places+queueSlack {
		o.compact()
	}
	o.queue = append(o.queue, h)
}

// compact forgets what can't be evicted any more, so that the queue stays as short as its places.
func (o *halfOpen) compact() {
	kept := o.queue[:0]
	for _, h := range o.queue {
		if h.held && !h.answered.Load() {
			kept = append(kept, h)
		}
	}
	clear(o.queue[len(kept):])
	o.queue = kept
}

// oldest returns the unanswered handshake that has waited longest, if it did so for evictAfter, and takes it off the queue.
func (o *halfOpen) oldest(now time.Time) *handshake {
	for len(o.queue) > 0 {
		h := o.queue[0]
		unanswered := h.held && !h.answered.Load()
		if unanswered && now.Sub(h.admitted) < evictAfter {
			return nil
		}
		o.queue[0] = nil
		o.queue = o.queue[1:]
		if unanswered {
			return h
		}
	}
	return nil
}

// admit enters h at its path, in place of an older handshake, if the limits allow.
func (ep *Endpoint) admit(h *handshake) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	p := ep.paths[h.key]
	fresh := p == nil || p.live == nil // one beside a live session replaces that one
	if ep.closing || fresh && len(ep.conns) >= ep.conf.Limits.Sessions {
		return false
	}
	if h.role == RoleClient && !ep.takePlaceLocked(h) {
		return false
	}
	if p == nil {
		p = &path{}
		ep.paths[h.key] = p
	}
	if p.pending != nil {
		p.pending.pipe.muted.Store(true) // its last alert would meet the new handshake
		p.pending.cancel(errSuperseded)
	}
	p.pending = h
	ep.pending[h] = struct{}{}
	ep.running.Add(1)
	return true
}

// takePlaceLocked gives h a place among the half-open handshakes. Where there is none left, it takes that of the handshake
// that has waited longest for its cookie: a flood from forged sources thereby evicts itself, while an honest peer answers
// within a round trip. One whose cookie came back is never evicted.
func (ep *Endpoint) takePlaceLocked(h *handshake) bool {
	l := ep.conf.Limits
	site := ep.sites[h.site]
	if site == nil {
		site = &halfOpen{}
	}
	h.admitted = time.Now()
	if site.places >= l.HalfOpenPerPrefix && !ep.evictLocked(site, h.admitted) ||
		ep.open.places >= l.HalfOpen && !ep.evictLocked(&ep.open, h.admitted) {
		return false
	}
	h.held = true
	ep.sites[h.site] = site // an eviction may have forgotten it
	site.add(h)
	ep.open.add(h)
	return true
}

// evictLocked frees a place of a scope.
func (ep *Endpoint) evictLocked(scope *halfOpen, now time.Time) bool {
	old := scope.oldest(now)
	if old == nil {
		return false
	}
	ep.givePlaceLocked(old)
	old.cancel(errEvicted)
	return true
}

// givePlaceLocked takes back what takePlaceLocked gave.
func (ep *Endpoint) givePlaceLocked(h *handshake) {
	if !h.held {
		return
	}
	h.held = false
	ep.open.places--
	site := ep.sites[h.site]
	if site.places--; site.places == 0 {
		delete(ep.sites, h.site)
	}
}

// release returns what admit took (S18).
func (ep *Endpoint) release(h *handshake) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	delete(ep.pending, h)
	ep.givePlaceLocked(h)
	if p := ep.paths[h.key]; p != nil && p.pending == h {
		p.pending = nil
		ep.tidyLocked(h.key, p)
	}
}
