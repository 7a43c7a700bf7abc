package devices

import (
	"iter"
	"maps"

	"coapbridge/bridge"
)

// Access implements bridge.Directory. The list of addresses is the store's and must not be changed.
func (s *Store) Access(cse, aei string) (bridge.Access, bool) {
	held, ok := s.bindings.get(binding{s.cse(cse), aei})
	if held.access == nil {
		return bridge.Access{}, ok
	}
	return *held.access, ok
}

// Reachable implements bridge.Directory.
func (s *Store) Reachable(token string) (bridge.Reachable, bool) {
	key, held, ok := s.bindings.byToken(token)
	if !ok {
		return bridge.Reachable{}, false
	}
	return s.reachable(s.current.Load(), key, held)
}

// Bound implements bridge.Directory.
func (s *Store) Bound(cse, aei string) (bridge.Reachable, bool) {
	key := binding{s.cse(cse), aei}
	held, ok := s.bindings.get(key)
	if !ok {
		return bridge.Reachable{}, false
	}
	return s.reachable(s.current.Load(), key, held)
}

// EachBound yields every AE that Bound would return, in no order, as they are when it begins.
func (s *Store) EachBound() iter.Seq[bridge.Reachable] {
	return func(yield func(bridge.Reachable) bool) {
		snap := s.current.Load()
		s.bindings.mu.RLock()
		table := maps.Clone(s.bindings.table)
		s.bindings.mu.RUnlock()
		for key, held := range table {
			if r, ok := s.reachable(snap, key, held); ok && !yield(r) {
				return
			}
		}
	}
}

// EachObserved yields every device whose entry names resources for the bridge to observe, as they are when it begins.
func (s *Store) EachObserved() iter.Seq[*bridge.Device] {
	return func(yield func(*bridge.Device) bool) {
		for _, o := range s.current.Load().owners {
			if len(o.observe) > 0 && !yield(o.answer.Load()) {
				return
			}
		}
	}
}

// reachable returns the device that a binding leads to; false when it has no entry any more, or one for another CSE.
func (s *Store) reachable(snap *snapshot, key binding, held bound) (bridge.Reachable, bool) {
	o := snap.names[held.of.device]
	if held.of.device == "" { // a line of an older release that settle could not give a name
		o = snap.owner(held.of.by)
	}
	if o == nil || s.cse(o.entry.CSE) != key.cse {
		return bridge.Reachable{}, false
	}
	r := bridge.Reachable{Device: o.answer.Load(), CSE: key.cse, AEI: key.aei}
	if r.CSE == "" {
		r.CSE = s.options.DefaultCSE
	}
	if held.access != nil {
		r.Access = *held.access
	}
	return r, true
}
