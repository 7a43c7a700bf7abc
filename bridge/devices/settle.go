package devices

import "fmt"

// settle puts the bindings in order for a new snapshot, durably, before it counts: they go with their device to its present
// credential. Those of a device that is gone stay reserved, also when its credential is a device's of another name.
func (s *Store) settle(next *snapshot) error {
	withheld := 0
	moved, err := s.bindings.move(func(h holder) (holder, bool) {
		to, fate := next.successor(h)
		if fate == fateWithheld {
			withheld++
		}
		return to, fate == fateMoved
	})
	if err != nil {
		return fmt.Errorf("devices: bindings are not brought up to date: %w", err)
	}
	if moved > 0 {
		next.publish(s.bound)
		s.log.Info("bindings moved to the present credentials or names of their devices", "bindings", moved)
	}
	if withheld > 0 && withheld != s.withheld {
		s.log.Warn("devices with the credentials of removed ones do not get the AE-IDs of those", "bindings", withheld)
	}
	s.withheld = withheld
	return nil
}

// fate is what becomes of a binding.
type fate uint8

const (
	fateStays    fate = iota
	fateMoved         // to another holder
	fateWithheld      // from the device that has its credential now
)

// successor returns whose the bindings of h are from now on.
func (s *snapshot) successor(h holder) (holder, fate) {
	present := s.owner(h.by)
	switch named := s.names[h.device]; {
	case h.device == "" && present != nil: // a line of an older release gets its name
		return holder{present.entry.Name, h.by}, fateMoved
	case h.device == "", named != nil && named == present:
		return h, fateStays
	case named != nil: // the device got another credential
		return holder{h.device, named.credentials[0]}, fateMoved
	case present == nil:
		return h, fateStays
	case h.by.kind == kindCertificate || h.by.kind == kindRawKey: // the same key is the same device, with another name
		return holder{present.entry.Name, h.by}, fateMoved
	}
	return h, fateWithheld // an identity or a name can be given to somebody else
}

// owner returns the device that has a credential; nil when none has.
func (s *snapshot) owner(c credential) *owner {
	var g *grant
	switch c.kind {
	case kindSAN:
		var name SAN
		if name.UnmarshalText([]byte(c.id)) == nil {
			g = s.sans[name]
		}
	case kindPSK:
		g = s.find(c.peer())
	default:
		g = s.fixed[c.peer()]
	}
	if g == nil {
		return nil
	}
	return g.owner
}

// publish shows the bindings in the answers for all devices.
func (s *snapshot) publish(bound func(*owner) []string) {
	for _, o := range s.owners {
		o.publish(bound)
	}
}

// move gives bindings to other holders, durably and at once, and returns how many. Those that are being bound or unbound
// stay as they are.
func (b *bindings) move(successor func(holder) (holder, bool)) (int, error) {
	b.write.Lock() // whoever holds it is the only one to change table
	defer b.write.Unlock()
	if b.closed {
		return 0, errClosed
	}
	moved := map[binding]holder{}
	b.mu.Lock()
	for key, held := range b.table {
		if to, ok := successor(held.of); ok && !b.reserved[key] {
			moved[key] = to
			b.reserved[key] = true
		}
	}
	b.mu.Unlock()
	if len(moved) == 0 {
		return 0, nil
	}
	err := b.rewrite(moved, nil)
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, to := range moved {
		delete(b.reserved, key)
		if err == nil {
			was := b.table[key]
			b.applyLocked(change{key: key, of: was.of})
			b.applyLocked(change{bind: true, key: key, of: to, access: was.access})
		}
	}
	return len(moved), err
}
