package devices

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"coapbridge/bridge"
	"coapbridge/dtls"
)

// credential is a credential as the devices file has it: what a binding belongs to (TS-0003, 8.2.1: Credential-ID). A PSK
// identity, a fingerprint and a name of equal spelling are different ones (S11).
type credential struct {
	kind string // one of the kinds below
	id   string
}

// The kinds of credentials, as bindings files have them.
const (
	kindPSK         = "psk"
	kindCertificate = "certificate"
	kindSAN         = "san"
	kindRawKey      = "rawPublicKey"
)

func (c credential) field() string {
	switch c.kind {
	case kindPSK:
		return "psk.identity"
	case kindCertificate:
		return "certificate.fingerprint"
	case kindSAN:
		return "certificate.san"
	}
	return "rawPublicKey"
}

// peer returns whom the credential alone authenticates; the zero value for a name.
func (c credential) peer() dtls.PeerID {
	switch c.kind {
	case kindPSK:
		return dtls.PeerID{Kind: dtls.KindPSK, ID: c.id}
	case kindCertificate:
		return dtls.PeerID{Kind: dtls.KindCertificate, ID: c.id}
	case kindRawKey:
		return dtls.PeerID{Kind: dtls.KindRawPublicKey, ID: c.id}
	}
	return dtls.PeerID{}
}

// credentials returns what authenticates a device, at most four.
func (e *Entry) credentials() []credential {
	var cs []credential
	if e.PSK != nil && e.PSK.Identity != "" {
		cs = append(cs, credential{kindPSK, e.PSK.Identity})
	}
	if e.Certificate != nil && e.Certificate.Fingerprint != "" {
		cs = append(cs, credential{kindCertificate, string(e.Certificate.Fingerprint)})
	}
	if e.Certificate != nil && e.Certificate.SAN != (SAN{}) {
		cs = append(cs, credential{kindSAN, e.Certificate.SAN.String()})
	}
	if e.RawPublicKey != "" {
		cs = append(cs, credential{kindRawKey, string(e.RawPublicKey)})
	}
	return cs
}

// owner is one device of a snapshot with the peers that are it. Its entry never changes.
type owner struct {
	entry       *Entry
	credentials []credential
	holders     []holder // as which bindings belong to it
	operations  bridge.Operations
	dialID      dtls.PeerID // zero without an address
	observe     []bridge.ObservedPath

	mu     sync.Mutex                    // held while answer is replaced
	answer atomic.Pointer[bridge.Device] // of Device; replaced whole when a binding changes
}

// grant is one credential of a device. All certificates with a device's name share one.
type grant struct {
	owner      *owner
	credential credential
}

// snapshot is one state of the devices file. Everything but sessions is fixed once it is built.
type snapshot struct {
	owners []*owner // in the file's order
	names  map[string]*owner
	// psk is keyed by digest, so that a look-up takes the same steps whether or not the identity is known, and doesn't
	// compare the attacker's bytes with a real identity (S5).
	psk   map[[sha256.Size]byte]*grant
	keyed []*grant                  // all of psk
	fixed map[dtls.PeerID]*grant    // certificates by fingerprint, raw public keys
	sans  map[SAN]*grant            // certificates by name
	dials map[netip.AddrPort]*owner // where the bridge may dial
	named map[binding]claim         // AE-IDs that belong to devices by the file alone; see claims.go

	mu       sync.RWMutex           // guards the following field
	sessions map[dtls.PeerID]*grant // certificates that were matched by name, so that they are found without it
}

func newOwner(e *Entry) *owner {
	o := &owner{entry: e, credentials: e.credentials(), holders: []holder{{device: e.Name}}}
	for _, c := range o.credentials {
		o.holders = append(o.holders, holder{by: c})
	}
	for _, op := range e.Operations {
		o.operations |= 1 << op
	}
	if !e.Address.IsZero() {
		o.dialID = e.DialID()
	}
	for _, r := range e.Observe {
		o.observe = append(o.observe, bridge.ObservedPath{Path: r.Path, Container: r.container()})
	}
	return o
}

// newSnapshot indexes items, which load has found to be without conflicts. cse spells a CSE's name as bindings have it,
// bound returns a device's AE-IDs.
func newSnapshot(items []*item, cse func(string) string, bound func(*owner) []string) *snapshot {
	s := &snapshot{
		owners: make([]*owner, 0, len(items)), names: make(map[string]*owner, len(items)),
		psk: make(map[[sha256.Size]byte]*grant, len(items)), fixed: map[dtls.PeerID]*grant{},
		sans: map[SAN]*grant{}, dials: map[netip.AddrPort]*owner{}, named: make(map[binding]claim, len(items)), sessions: map[dtls.PeerID]*grant{},
	}
	for _, it := range items {
		o := newOwner(&it.entry)
		s.claim(cse(it.entry.CSE), o)
		if !o.entry.Address.IsZero() {
			s.dials[netip.AddrPort(o.entry.Address)] = o
		}
		s.owners, s.names[it.entry.Name] = append(s.owners, o), o
		for _, c := range o.credentials {
			g := &grant{o, c}
			switch c.kind {
			case kindPSK:
				s.psk[sha256.Sum256([]byte(c.id))] = g
				s.keyed = append(s.keyed, g)
			case kindCertificate, kindRawKey:
				s.fixed[c.peer()] = g
			case kindSAN:
				s.sans[it.entry.Certificate.SAN] = g
			}
		}
		o.publish(bound)
	}
	return s
}

// publish makes the answer for the device, with the AE-IDs that are bound now.
func (o *owner) publish(bound func(*owner) []string) {
	o.mu.Lock()
	defer o.mu.Unlock() // held while bound is read, so that no binding falls between
	o.answer.Store(o.device(bound(o)))
}

// owns reports whether a binding of h is the device's.
func (o *owner) owns(h holder) bool { return slices.Contains(o.holders, h.index()) }

// find returns the grant of a peer that the file names directly, or whose certificate was matched before.
func (s *snapshot) find(id dtls.PeerID) *grant {
	if id.Kind == dtls.KindPSK {
		return s.psk[sha256.Sum256([]byte(id.ID))]
	}
	if g := s.fixed[id]; g != nil { // a fingerprint goes before a name
		return g
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sessions[id]
}

// match returns the device that a certificate's names belong to, and by which of them (S9: exact, type and value). Names
// of two devices belong to neither.
func (s *snapshot) match(names []dtls.Name) *grant {
	var found *grant
	for _, n := range names {
		g := s.sans[SAN(n)]
		switch {
		case g == nil:
		case found == nil:
			found = g
		case found.owner != g.owner:
			return nil
		}
	}
	return found
}

// lookup returns the grant of a peer whose certificate has these names; without names one that was matched before is found.
func (s *snapshot) lookup(id dtls.PeerID, names []dtls.Name) *grant {
	if id.Kind != dtls.KindCertificate || len(names) == 0 || s.fixed[id] != nil {
		return s.find(id)
	}
	return s.match(names)
}

// remember keeps whose certificate it is that was matched by name: a binding is made by its fingerprint alone.
func (s *snapshot) remember(id dtls.PeerID, g *grant) {
	if g.credential.kind != kindSAN {
		return
	}
	s.mu.RLock()
	known := s.sessions[id] == g
	s.mu.RUnlock()
	if known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= maxSeen {
		for any := range s.sessions {
			delete(s.sessions, any)
			break
		}
	}
	s.sessions[id] = g
}

// adopt takes the certificates that old had matched, so that a binding made now still finds them.
func (s *snapshot) adopt(old *snapshot) {
	old.mu.RLock()
	defer old.mu.RUnlock()
	for id, was := range old.sessions {
		if g := s.sans[was.owner.entry.Certificate.SAN]; g != nil && s.fixed[id] == nil {
			s.remember(id, g)
		}
	}
}
