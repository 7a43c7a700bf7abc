package devices

import (
	"slices"
	"strings"

	"coapbridge/bridge"
)

// claim is what the devices file says of an AE-ID's owners: the first one, and whether there are more.
type claim struct {
	first *owner
	more  bool
}

// excludes reports whether o has to keep its hands off the AE-ID: it is another device's, and o's entry does not name it.
func (c claim) excludes(o *owner, aei string) bool {
	return (c.more || c.first != o) && !slices.Contains(o.entry.Originators, aei)
}

// claim notes the AE-IDs at a CSE that are o's by its entry alone: those that it names in full or, where it names none, the
// one that its AE asks for. An entity has no AE of its own.
func (s *snapshot) claim(cse string, o *owner) {
	none := true
	for _, aei := range o.entry.Originators {
		if !strings.ContainsAny(aei, "*?") {
			s.claimOne(binding{cse, aei}, o)
			none = false
		}
	}
	if none && !o.entry.Entity {
		s.claimOne(binding{cse, bridge.DefaultAEID(o.entry.Name)}, o)
	}
}

func (s *snapshot) claimOne(key binding, o *owner) {
	c, taken := s.named[key]
	if !taken {
		s.named[key] = claim{first: o}
	} else if c.first != o {
		s.named[key] = claim{first: c.first, more: true}
	}
}
