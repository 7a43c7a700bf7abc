package devices

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"coapbridge/bridge"
	"coapbridge/bridge/devices/strictyaml"
	"coapbridge/dtls"
)

// Address is where the bridge dials a device: an IP address and a UDP port. It is never a name: nothing is resolved (S42).
type Address netip.AddrPort

// UnmarshalText reads "192.0.2.7:5684" and "[2001:db8::7]:5684".
func (a *Address) UnmarshalText(text []byte) error {
	const remedy = `write an IP address and a port, such as "192.0.2.7:5684" or "[2001:db8::7]:5684"; names are not resolved`
	to, err := netip.ParseAddrPort(string(text))
	if err != nil {
		return &strictyaml.Invalid{Message: "is no address of a device", Remedy: remedy}
	}
	ip := to.Addr().Unmap()
	switch {
	case to.Port() == 0:
		return &strictyaml.Invalid{Message: "has port 0", Remedy: remedy}
	case ip.IsUnspecified(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return &strictyaml.Invalid{Message: "is no address of one device", Remedy: remedy}
	case ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "":
		return &strictyaml.Invalid{Message: "is link-local and names no interface", Remedy: `write it with the interface: "[fe80::7%eth0]:5684"`}
	}
	*a = Address(netip.AddrPortFrom(ip, to.Port()))
	return nil
}

// IsZero reports whether a is no address.
func (a Address) IsZero() bool { return a == Address{} }

// String returns the address as the file has it, and "" for the zero value.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return netip.AddrPort(a).String()
}

// Timing is a bridge.Timing with its names in the file: default, lan, nbiot, satellite.
type Timing bridge.Timing

// timings are the names, by value.
var timings = [...]string{
	bridge.TimingDefault: "default", bridge.TimingLAN: "lan", bridge.TimingNBIoT: "nbiot", bridge.TimingSatellite: "satellite",
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Timing) UnmarshalText(text []byte) error {
	i := slices.Index(timings[:], string(text))
	if i < 0 {
		return &strictyaml.Invalid{Message: fmt.Sprintf("%q is no timing", text), Remedy: "write default, lan, nbiot or satellite"}
	}
	*t = Timing(i)
	return nil
}

// String returns the timing's name in the file.
func (t Timing) String() string { return timings[t] }

// Observed is a resource of a plain device that the bridge observes.
type Observed struct {
	Path      string `yaml:"path"`      // "/room/temp"
	Container string `yaml:"container"` // "": the path without its first slash
}

// container is where the states of the resource go.
func (o Observed) container() string {
	if o.Container != "" {
		return o.Container
	}
	return strings.TrimPrefix(o.Path, "/")
}

// checkReach finds what is wrong with how the device is reached, and with what the bridge observes there.
func (e *Entry) checkReach(r reporter) {
	if !e.Address.IsZero() {
		e.checkAddress(r)
	}
	if len(e.Observe) > maxObserve {
		r.Report("observe", fmt.Sprintf("has %d members", len(e.Observe)), fmt.Sprintf("write up to %d", maxObserve))
		return
	}
	if len(e.Observe) > 0 && bridge.Profile(e.Profile) != bridge.ProfilePlain {
		r.Report("observe", "is for devices of the plain profile", "write profile: plain, or remove it: a oneM2M device sends notifications itself")
	}
	if len(e.Observe) > 0 && e.Entity {
		r.Report("observe", "is not for a network entity, which has no AE of its own", "remove entity: true, or observe:")
	}
	seen := map[string]bool{}
	for i, o := range e.Observe {
		field := fmt.Sprintf("observe[%d]", i)
		path, rooted := strings.CutPrefix(o.Path, "/")
		switch {
		case o.Path == "" && !r.Has(field+".path"):
			r.Report(field+".path", "is missing", "write the resource's path on the device, such as /room/temp")
		case !rooted || !bridge.IsPlainPath(path):
			r.Report(field+".path", "is no path of a resource", "write it as the device has it, such as /room/temp, without a query")
		case seen[o.Path]:
			r.Report(field+".path", "stands there twice", "remove one")
		}
		seen[o.Path] = true
		if o.Container != "" && !bridge.IsPlainPath(o.Container) {
			r.Report(field+".container", "is no name of a container", "write its path below the device's AE, such as room/temp, or leave it out")
		}
	}
}

func (e *Entry) checkAddress(r reporter) {
	ip := netip.AddrPort(e.Address).Addr()
	if e.DialID() == (dtls.PeerID{}) && e.RawPublicKey != "" { // without any credential at all it was reported already
		r.Report("address", "needs a credential by which the bridge knows whom it reached", "add psk: or certificate:")
	}
	switch {
	case ip.IsLoopback():
		r.Warn("address", "is this machine itself", "leave it as it is only if the device runs here")
	case ip.IsLinkLocalUnicast():
		r.Warn("address", "is link-local: other machines may have the same one on another network", "use an address that stays the device's own, if it has one")
	}
	if e.OneKey() {
		r.Warn("address", "is dialled with the key that the device dials with too, so that a mirrored handshake can only be told by its randoms",
			"add psk.down (S7)")
	}
}

// DialID is as whom the device proves itself when the bridge dials it (TS-0003, 8.2.1); the zero value when no credential of
// it can be dialled.
func (e *Entry) DialID() dtls.PeerID {
	switch {
	case e.PSK != nil && e.PSK.Identity != "":
		return dtls.PeerID{Kind: dtls.KindPSK, ID: e.PSK.Identity}
	case e.Certificate != nil && e.Certificate.Fingerprint != "":
		return dtls.PeerID{Kind: dtls.KindCertificate, ID: string(e.Certificate.Fingerprint)}
	case e.Certificate != nil && e.Certificate.SAN != (SAN{}): // which certificate has the name is seen at the handshake
		return dtls.PeerID{Kind: dtls.KindCertificate}
	}
	return dtls.PeerID{}
}

// device is the entry as package bridge has it, with the AE-IDs that its CSE gave it.
func (o *owner) device(bound []string) *bridge.Device {
	e := o.entry
	return &bridge.Device{
		Name: e.Name, Entity: e.Entity, Tenant: e.Tenant, CSE: e.CSE, Client: e.Client, Profile: bridge.Profile(e.Profile),
		LegacyOptions: e.LegacyOptions, StrictTimestamps: e.StrictTimestamps, Originators: e.Originators, Bound: bound, Operations: o.operations,
		Targets: e.Targets, MaxPayload: e.MaxPayload, AllowDelete: e.AllowDelete, AppID: e.AppID,
		Address: netip.AddrPort(e.Address), DialID: o.dialID, Actuator: e.Actuator, Timing: bridge.Timing(e.Timing), Observe: o.observe,
	}
}
