package bridge

import (
	"context"
	"errors"
	"net/netip"

	"coapbridge/bridge/onem2m"
	"coapbridge/dtls"
)

// The failures of a Service Layer, as Bridge answers them: 5.03 with Max-Age and RSC 5107, 5.04 and 4008, 5.02 and 5000.
var (
	ErrUnreachable = errors.New("bridge: Service Layer unreachable")
	ErrTimeout     = errors.New("bridge: Service Layer did not answer in time")
	ErrBadAnswer   = errors.New("bridge: Service Layer's answer can't be trusted")
)

// Upstream says which CSE a request goes to, and as which client.
type Upstream struct {
	CSE    string // name in the configuration; "" is the default CSE
	Client string // name of the client identity; "" is the CSE's default one
}

// ServiceLayer carries a request primitive to a CSE and brings the response primitive back. A response of any RSC is a
// nil error. Errors wrap ErrUnreachable (certainly not executed), ErrTimeout (may have been executed) or ErrBadAnswer.
type ServiceLayer interface {
	Do(ctx context.Context, up Upstream, r *onem2m.Request) (*onem2m.Response, error)
}

// Directory knows the devices. Implementations swap whole snapshots; a *Device is never changed after it was returned.
type Directory interface {
	// Device returns the entry of an authenticated peer; false when it has none, or no more.
	Device(*dtls.Peer) (*Device, bool)
	// Bind records that a CSE gave aei to the peer id (TS-0003, 8.2.1), and where its AE is reached. It returns after the
	// binding is on disk, and ErrBound when aei belongs to another peer of the same CSE. A binding that is there already
	// takes the new access, unless that is the zero value.
	Bind(id dtls.PeerID, cse, aei string, access Access) error
	// Unbind removes the binding again, when the AE was deleted.
	Unbind(id dtls.PeerID, cse, aei string) error
	// Access is how the AE of aei at cse is reached; false when aei is bound to nobody. A binding of an older release has the
	// zero Access.
	Access(cse, aei string) (Access, bool)
	// Reachable is whom the point of access with the token belongs to; false when it is nobody's, or its device has no entry
	// any more. The time that it takes says nothing of the tokens that there are (S43).
	Reachable(token string) (Reachable, bool)
	// Bound is the same by AE-ID, for what comes by a polling channel.
	Bound(cse, aei string) (Reachable, bool)
	// BelongsToOther reports whether aei, at d's CSE, is another device's: the CSE gave it to that one's credential, that
	// one's entry names it in full, or it is the DefaultAEID that that one's AE asks for. No wildcard of d covers it.
	BelongsToOther(d *Device, aei string) bool
}

// Access is how an AE is reached from its CSE: under a token of the bridge's point of access, which stands in the AE's
// pointOfAccess instead of the addresses that the device wrote there.
type Access struct {
	Token string   // unguessable path segment; "": the CSE knows no pointOfAccess of the bridge
	POA   []string // the device's own addresses, which it is shown; nil: it wrote none
}

// Reachable is an AE that a request of a CSE may go to.
type Reachable struct {
	Device *Device
	CSE    string // name in the configuration
	AEI    string
	Access Access
}

// Poller asks a CSE that can't reach the bridge for the requests in AEs' polling channels (TS-0001, 10.2.5.16), and hands
// them to Bridge.Deliver. Its methods return at once.
type Poller interface {
	// Watch begins to ask for the AE of aei, in its name.
	Watch(up Upstream, aei string)
	// Forget ends it: the AE is gone, or nobody could deliver to its device.
	Forget(up Upstream, aei string)
}

// ErrBound is returned by Directory.Bind for an AE-ID that is bound to another peer.
var ErrBound = errors.New("bridge: AE-ID is bound to another credential")

// Profile says how a device speaks.
type Profile uint8

// The profiles. ProfileAuto decides per request: oneM2M when it carries a oneM2M option or is a FETCH of a whole
// primitive, plain otherwise.
const (
	ProfileAuto Profile = iota
	ProfileOneM2M
	ProfilePlain
)

// Operations is a set of oneM2M operations; bit n stands for the operation of value n.
type Operations uint8

// Has reports whether op is in the set.
func (o Operations) Has(op onem2m.Operation) bool { return o&(1<<op) != 0 }

// Timing is a set of transmission parameters for a kind of network.
type Timing uint8

// The timings. TimingDefault is RFC 7252's own (Section 4.8); see docs/operations.md for the numbers of the others.
const (
	TimingDefault Timing = iota
	TimingLAN
	TimingNBIoT
	TimingSatellite
)

// ObservedPath is a resource of a plain device that the bridge observes (RFC 7641): each new state becomes a
// contentInstance in the container of the same path, or of another one.
type ObservedPath struct{ Path, Container string }

// Device is one entry of the devices file: a credential, and what it may do. A network entity is the same with Entity set.
type Device struct {
	Name          string // the operator's name for it, unique; resource name of a plain device's AE
	Entity        bool   // a network entity: no AE of its own is made for it
	Tenant        string
	CSE           string // "" is the default CSE
	Client        string // name of the client certificate for its requests; "" is the bridge's own
	Profile       Profile
	LegacyOptions bool // speaks the option numbers from before TS-0008 V3.7.0
	// StrictTimestamps cuts the fractions of timestamps that go to it, for which TS-0008's options of 15 bytes have no place.
	StrictTimestamps bool
	Originators      []string   // allowed From: AE-IDs, "*" and "?" wildcards; empty: only what is bound
	Bound            []string   // AE-IDs that its CSE gave to this credential
	Operations       Operations // allowed operations; 0 means all of them
	Targets          []string   // allowed To prefixes, in the form of onem2m.Request.To; empty means all
	MaxPayload       int        // bytes of one request's content; 0 means the configured default
	AllowDelete      bool       // plain profile: DELETE of a container
	AppID            string     // plain profile: App-ID (api) of the AE; "" means the default
	// Address is where the bridge dials it, and DialID as whom it has to prove itself: a PSK identity, or a certificate's
	// fingerprint, "" for any certificate that leads to this entry. The zero Address: it is never dialled.
	Address netip.AddrPort
	DialID  dtls.PeerID
	// Actuator: what it is told must be fresh. A command carries its rqet, and is never sent after it.
	Actuator bool
	Timing   Timing         // of the CoAP exchanges with it
	Observe  []ObservedPath // plain profile: resources of the device that the bridge observes
}
