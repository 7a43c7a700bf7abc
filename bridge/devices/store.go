// Package devices says who the devices are: their credentials, what each may do, and which AE-IDs a CSE gave them. It
// reads the devices file and the bindings file, answers for both from memory, and takes changes while the bridge runs. It
// implements bridge.Directory (TS-0003, 8.2.1: a Credential-ID and the AE-IDs that belong to it).
//
// A Store's methods are safe for concurrent use. Look-ups take no lock that a writer holds for long: they read a snapshot
// that a reload swaps whole. The functions that edit a devices file (Add, Remove, Import) lock it against each other and
// against other processes; a Store notices the edit by Watch.
//
// It doesn't decide whether a request is allowed (package bridge), and verifies no certificate (package dtls and its
// caller): it says which device a verified one belongs to.
package devices

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"coapbridge/bridge"
	"coapbridge/bridge/devices/strictyaml"
	"coapbridge/dtls"
)

// Problem is one fault of a devices or bindings file, with file, line, field and remedy.
type Problem = strictyaml.Problem

// Problems are all faults of a file; Open, Reload and the edits return them as their error.
type Problems = strictyaml.Problems

// CSE is what a devices file is checked against of a CSE in the configuration.
type CSE struct {
	Name      string
	Default   bool
	Clients   []string // names of its client certificates besides the bridge's own
	PerDevice bool     // each device has to name one of them
}

// Options of Open. The zero value works.
type Options struct {
	// CSEs are those of the configuration; a device of another one is a fault. nil checks nothing.
	CSEs []CSE
	// DefaultCSE is the name of the default CSE, so that "" and the name are one in bindings.
	DefaultCSE string
	// Logger receives what an operator should know and no caller is told: default none.
	Logger *slog.Logger
}

// Store is an open devices file with its bindings.
type Store struct {
	path    string
	options Options
	log     *slog.Logger

	current  atomic.Pointer[snapshot]
	bindings *bindings

	reload   sync.Mutex // held by one reload; guards the following fields
	read     cache
	warnings Problems
	withheld int // bindings that the last reload left to devices that are gone; see settle
}

// ErrNoDevice is returned by Bind for a peer that is, or has become, no device.
var ErrNoDevice = errors.New("devices: peer is no device of the devices file")

// Open reads both files. The bindings file is made when it is missing; it stays locked until Close, since two bridges
// that write one file would each believe in half of it. Errors are Problems where a file is at fault.
func Open(devicesFile, bindingsFile string, o Options) (*Store, error) {
	s := &Store{path: devicesFile, options: o, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	items, read, problems, warnings := load(devicesFile, o.CSEs, nil)
	b, more, err := openBindings(bindingsFile)
	if err != nil {
		var found Problems
		if !errors.As(err, &found) {
			return nil, err
		}
		problems = append(problems, found...)
	}
	if len(problems) > 0 {
		if b != nil {
			err = b.close()
		} else {
			err = nil
		}
		return nil, errors.Join(problems, err)
	}
	s.bindings, s.read, s.warnings = b, read, append(warnings, more...)
	first := newSnapshot(items, s.cse, s.bound)
	if err := s.settle(first); err != nil {
		return nil, errors.Join(err, b.close())
	}
	s.current.Store(first)
	return s, nil
}

// Close ends the store; a Bind after it fails.
func (s *Store) Close() error { return s.bindings.close() }

// Warnings returns what was found in the files, at the last reading of each, that doesn't stop the start.
func (s *Store) Warnings() Problems {
	s.reload.Lock()
	defer s.reload.Unlock()
	return slices.Clone(s.warnings)
}

// Len returns the number of devices, and how many of them have one pre-shared key for both directions (S7).
func (s *Store) Len() (devices, oneKey int) {
	for _, o := range s.current.Load().owners {
		devices++
		if o.entry.OneKey() {
			oneKey++
		}
	}
	return devices, oneKey
}

// OneKey reports whether the peer is a device with one pre-shared key for both directions: mirrored flights of it have
// to be refused (S7).
func (s *Store) OneKey(id dtls.PeerID) bool {
	g := s.current.Load().find(id)
	return g != nil && id.Kind == dtls.KindPSK && g.owner.entry.OneKey()
}

// OneKey reports whether the device has one pre-shared key for both directions (S7).
func (e *Entry) OneKey() bool { return e.PSK != nil && e.PSK.Down.IsZero() }

// NoExtendedMasterSecret reports whether a device's entry exempts it from RFC 7627.
func (s *Store) NoExtendedMasterSecret(id dtls.PeerID) bool {
	g := s.current.Load().find(id)
	return g != nil && g.owner.entry.NoExtendedMasterSecret
}

// Timing returns that of the device whose peer id is; bridge.TimingDefault for the others, and where a certificate's name is all
// that an entry has and no session showed whose it is.
func (s *Store) Timing(id dtls.PeerID) bridge.Timing {
	if g := s.current.Load().find(id); g != nil {
		return bridge.Timing(g.owner.entry.Timing)
	}
	return bridge.TimingDefault
}

// Dials reports whether to is the address of an entry, and id whom that entry says is there: nothing else is ever dialled,
// whoever asks for it (S42).
func (s *Store) Dials(to netip.AddrPort, id dtls.PeerID) bool {
	o := s.current.Load().dials[to]
	return o != nil && o.dialID == id
}

// Device implements bridge.Directory.
func (s *Store) Device(p *dtls.Peer) (*bridge.Device, bool) {
	g := s.grant(p.ID, p.Names())
	if g == nil {
		return nil, false
	}
	return g.owner.answer.Load(), true
}

// grant finds a peer in the newest snapshot.
func (s *Store) grant(id dtls.PeerID, names []dtls.Name) *grant {
	for {
		snap := s.current.Load()
		g := snap.lookup(id, names)
		if g == nil {
			return nil
		}
		snap.remember(id, g)
		if s.current.Load() == snap { // else a reload adopted the certificates before this one was remembered
			return g
		}
	}
}

// Admits reports whether a verified certificate or raw public key is some device's: id holds its SHA-256, names its
// subjectAltNames. It is for the moment of verification and remembers nothing.
func (s *Store) Admits(id dtls.PeerID, names []dtls.Name) bool {
	return id.Kind != dtls.KindPSK && s.current.Load().lookup(id, names) != nil
}

// PSK returns a copy of the key that a handshake needs, which the caller may wipe, or dtls.ErrUnknownIdentity. Known and
// unknown identities cost the same work (S5). It is a dtls.PSKFunc and doesn't block.
func (s *Store) PSK(_ context.Context, q dtls.PSKQuery) ([]byte, error) {
	snap := s.current.Load()
	sum := sha256.Sum256([]byte(q.Peer.ID))
	g := snap.psk[sum]
	known := g != nil && (q.Peer.Kind == dtls.KindPSK || q.Peer.Kind == 0)
	if !known && len(snap.keyed) > 0 {
		// Another device's key is fetched from memory and thrown away, so that the caches don't tell either.
		g = snap.keyed[binary.BigEndian.Uint64(sum[:])%uint64(len(snap.keyed))]
	}
	if g == nil {
		return nil, dtls.ErrUnknownIdentity // there are no keys at all
	}
	b := g.owner.entry.PSK.key(q.Role).Reveal()
	if !known {
		clear(b)
		return nil, dtls.ErrUnknownIdentity
	}
	return b, nil
}

// key returns the key for the direction (architecture, decision 12; S7).
func (p *PSK) key(role dtls.Role) Key {
	if role == dtls.RoleServer && !p.Down.IsZero() { // we dial the device
		return p.Down
	}
	return p.Up
}

// Bind implements bridge.Directory: the binding is on disk when it returns. A second binding of the same AE-ID to the same
// device is no error, and gives it the access if that is not the zero value. After ErrNoDevice, ErrTooMany and the errors of
// an access, which is not bridge.Access.Valid or has another's token, everything is as it was.
func (s *Store) Bind(id dtls.PeerID, cse, aei string, access bridge.Access) error {
	g := s.grant(id, nil)
	if g == nil {
		return ErrNoDevice
	}
	if err := s.bindings.bind(binding{s.cse(cse), aei}, g.credential, g.owner, access); err != nil {
		return err
	}
	s.publish(id)
	return nil
}

// Unbind implements bridge.Directory. An AE-ID that isn't bound, or to another device, is left as it is; the latter is
// bridge.ErrBound.
func (s *Store) Unbind(id dtls.PeerID, cse, aei string) error {
	g := s.grant(id, nil)
	if g == nil {
		return ErrNoDevice
	}
	if err := s.bindings.unbind(binding{s.cse(cse), aei}, g.owner); err != nil {
		return err
	}
	s.publish(id)
	return nil
}

// publish shows a device's new bindings, in every snapshot that became current meanwhile.
func (s *Store) publish(id dtls.PeerID) {
	for {
		snap := s.current.Load()
		if g := snap.find(id); g != nil {
			g.owner.publish(s.bound)
		}
		if s.current.Load() == snap {
			return
		}
	}
}

// BelongsToOther implements bridge.Directory. An entry that names aei in full itself shares it with the others that do; what
// a CSE gave to one device is shared with none.
func (s *Store) BelongsToOther(d *bridge.Device, aei string) bool {
	key := binding{s.cse(d.CSE), aei}
	snap := s.current.Load()
	o := snap.names[d.Name] // nil when the device was removed while its request ran
	if h, ok := s.bindings.holder(key); ok {
		return o == nil || !o.owns(h)
	}
	c, ok := snap.named[key]
	return ok && (o == nil || c.excludes(o, aei))
}

// bound returns the AE-IDs that a device's CSE gave it, sorted.
func (s *Store) bound(o *owner) []string {
	return s.bindings.of(o, s.cse(o.entry.CSE))
}

func (s *Store) cse(name string) string {
	if name == s.options.DefaultCSE {
		return ""
	}
	return name
}
