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

	mu     sync.Mutex // guards the following field
	grants []*grant
}

// grant is one peer of a device: what Device answers for it. The answer is replaced whole when a binding changes.
type grant struct {
	owner      *owner
	id         dtls.PeerID
	names      []dtls.Name // of the certificate, when it was matched by name
	credential credential
	device     atomic.Pointer[bridge.Device]
}

// snapshot is one state of the devices file. Everything but sessions is fixed once it is built.
type snapshot struct {
	owners []*owner // in the file's order
	names  map[string]*owner
	// psk is keyed by digest, so that a look-up takes the same steps whether or not the identity is known, and doesn't
	// compare the attacker's bytes with a real identity (S5).
	psk   map[[sha256.Size]byte]*grant
	keyed []*grant               // all of psk
	fixed map[dtls.PeerID]*grant // certificates by fingerprint, raw public keys
	sans  map[credential]*owner
	dials map[netip.AddrPort]*owner // where the bridge may dial
	named map[binding]claim         // AE-IDs that belong to devices by the file alone; see claims.go

	mu       sync.RWMutex // guards the following field
	sessions map[dtls.PeerID]*grant
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
		sans: map[credential]*owner{}, dials: map[netip.AddrPort]*owner{}, named: make(map[binding]claim, len(items)), sessions: map[dtls.PeerID]*grant{},
	}
	for _, it := range items {
		o := newOwner(&it.entry)
		s.claim(cse(it.entry.CSE), o)
		if !o.entry.Address.IsZero() {
			s.dials[netip.AddrPort(o.entry.Address)] = o
		}
		s.owners, s.names[it.entry.Name] = append(s.owners, o), o
		for _, c := range o.credentials {
			g := &grant{owner: o, id: c.peer(), credential: c}
			switch c.kind {
			case kindPSK:
				s.psk[sha256.Sum256([]byte(c.id))] = g
				s.keyed = append(s.keyed, g)
			case kindCertificate, kindRawKey:
				s.fixed[g.id] = g
			case kindSAN:
				s.sans[c] = o
				continue // its grants come with the certificates
			}
			o.admit(g, bound)
		}
	}
	return s
}

// admit makes the answer for one more peer of the device.
func (o *owner) admit(g *grant, bound func(*owner) []string) {
	o.mu.Lock()
	defer o.mu.Unlock() // held while bound is read, so that no binding falls between
	g.device.Store(o.device(g.id, bound(o)))
	o.grants = append(o.grants, g)
}

// forget drops the answer for a peer.
func (o *owner) forget(g *grant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.grants = slices.DeleteFunc(o.grants, func(x *grant) bool { return x == g })
}

// publish puts the bound AE-IDs into every answer for the device.
func (o *owner) publish(bound func(*owner) []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	aeis := bound(o)
	for _, g := range o.grants {
		d := *g.device.Load()
		d.Bound = aeis
		g.device.Store(&d)
	}
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
func (s *snapshot) match(names []dtls.Name) (*owner, credential) {
	var found *owner
	var by credential
	for _, n := range names {
		c := credential{kindSAN, SAN(n).String()}
		o := s.sans[c]
		switch {
		case o == nil:
		case found == nil:
			found, by = o, c
		case found != o:
			return nil, credential{}
		}
	}
	return found, by
}

// remember matches a certificate that find doesn't know and keeps the answer; nil when it belongs to no device.
func (s *snapshot) remember(id dtls.PeerID, names []dtls.Name, bound func(*owner) []string) *grant {
	if id.Kind != dtls.KindCertificate {
		return nil
	}
	o, by := s.match(names)
	if o == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.sessions[id]; g != nil {
		return g
	}
	if len(s.sessions) >= maxSeen {
		for any, g := range s.sessions {
			delete(s.sessions, any)
			g.owner.forget(g)
			break
		}
	}
	g := &grant{owner: o, id: id, names: names, credential: by}
	o.admit(g, bound)
	s.sessions[id] = g
	return g
}

// adopt takes the certificates that old had matched, so that a binding made now still finds them.
func (s *snapshot) adopt(old *snapshot, bound func(*owner) []string) {
	old.mu.RLock()
	defer old.mu.RUnlock()
	for id, g := range old.sessions {
		s.remember(id, g.names, bound)
	}
}
