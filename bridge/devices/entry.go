package devices

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"coapbridge/bridge"
	"coapbridge/bridge/devices/strictyaml"
	"coapbridge/bridge/onem2m"
	"coapbridge/dtls"
)

// Entry is one item of the devices file, as it stands there. Check says whether it can be used.
type Entry struct {
	Name             string      `yaml:"name"` // unique; resource name of a plain device's AE
	Entity           bool        `yaml:"entity"`
	Tenant           string      `yaml:"tenant"`
	CSE              string      `yaml:"cse"`
	Client           string      `yaml:"client"` // as which client of the CSE its requests go there; "" the bridge itself
	Profile          Profile     `yaml:"profile"`
	LegacyOptions    bool        `yaml:"legacyOptions"`
	StrictTimestamps bool        `yaml:"strictTimestamps"`
	Originators      []string    `yaml:"originators"`
	Operations       []Operation `yaml:"operations"`
	Targets          []string    `yaml:"targets"`
	MaxPayload       int         `yaml:"maxPayload"` // bytes
	AllowDelete      bool        `yaml:"allowDelete"`
	AppID            string      `yaml:"appID"`
	Address          Address     `yaml:"address"`  // where the bridge dials it; zero: nowhere
	Actuator         bool        `yaml:"actuator"` // what it is told must be fresh
	Timing           Timing      `yaml:"timing"`
	Observe          []Observed  `yaml:"observe"` // plain profile
	// NoExtendedMasterSecret lets a device do without RFC 7627, whose DTLS library is too old for it.
	NoExtendedMasterSecret bool         `yaml:"noExtendedMasterSecret"`
	PSK                    *PSK         `yaml:"psk"`
	Certificate            *Certificate `yaml:"certificate"`
	RawPublicKey           Fingerprint  `yaml:"rawPublicKey"` // SHA-256 of the SubjectPublicKeyInfo
}

// PSK is a pre-shared key credential. Up is used when the device dials us, Down when we dial the device (S7). Without
// Down, Up serves both, and the device counts as one-key.
type PSK struct {
	Identity string `yaml:"identity"`
	Up       Key    `yaml:"up"`
	Down     Key    `yaml:"down"`
}

// Certificate names a certificate by the SHA-256 of its DER, or by one subjectAltName.
type Certificate struct {
	Fingerprint Fingerprint `yaml:"fingerprint"`
	SAN         SAN         `yaml:"san"`
}

// Profile is a bridge.Profile with its names in the file: auto, onem2m, plain.
type Profile bridge.Profile

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Profile) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*p = Profile(bridge.ProfileAuto)
	case "onem2m":
		*p = Profile(bridge.ProfileOneM2M)
	case "plain":
		*p = Profile(bridge.ProfilePlain)
	default:
		return &strictyaml.Invalid{Message: fmt.Sprintf("%q is no profile", text), Remedy: "write auto, onem2m or plain"}
	}
	return nil
}

// String returns the profile's name in the file.
func (p Profile) String() string {
	switch bridge.Profile(p) {
	case bridge.ProfileOneM2M:
		return "onem2m"
	case bridge.ProfilePlain:
		return "plain"
	}
	return "auto"
}

// Operation is an onem2m.Operation with its name in the file: create, retrieve, update, delete, notify.
type Operation onem2m.Operation

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Operation) UnmarshalText(text []byte) error {
	for op := onem2m.Create; op <= onem2m.Notify; op++ {
		if string(text) == Operation(op).String() {
			*o = Operation(op)
			return nil
		}
	}
	return &strictyaml.Invalid{
		Message: fmt.Sprintf("%q is no operation", text),
		Remedy:  "write create, retrieve, update, delete or notify",
	}
}

// String returns the operation's name in the file.
func (o Operation) String() string { return strings.ToLower(onem2m.Operation(o).String()) }

// Fingerprint is a SHA-256 in lower-case hex, or "".
type Fingerprint string

// UnmarshalText also takes capitals and colons between the bytes, as openssl prints them.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	s := strings.ToLower(strings.ReplaceAll(string(text), ":", ""))
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
		return &strictyaml.Invalid{
			Message: "is no SHA-256",
			Remedy:  "write 64 hexadecimal digits, as openssl x509 -noout -fingerprint -sha256 prints them",
		}
	}
	*f = Fingerprint(s)
	return nil
}

// SAN is one subjectAltName; the zero value is none.
type SAN dtls.Name

// UnmarshalText reads "uri:", "dns:", "ip:" and "other:" (OID=value). A wildcard is no name (S9; TS-0003, 10.1.1).
func (n *SAN) UnmarshalText(text []byte) error {
	kind, value, ok := strings.Cut(string(text), ":")
	var name dtls.Name
	switch {
	case !ok || value == "" || strings.ContainsFunc(value, control):
	case strings.Contains(value, "*"):
		return &strictyaml.Invalid{Message: "a wildcard is no name of a device", Remedy: "write the whole subjectAltName"}
	case kind == "uri":
		if u, err := url.Parse(value); err == nil && u.Scheme != "" {
			name = dtls.Name{Type: dtls.NameURI, Value: value}
		}
	case kind == "dns":
		name = dtls.Name{Type: dtls.NameDNS, Value: value}
	case kind == "ip":
		if ip, err := netip.ParseAddr(value); err == nil && ip.Zone() == "" {
			name = dtls.Name{Type: dtls.NameIP, Value: ip.Unmap().String()}
		}
	case kind == "other":
		if oid, _, ok := strings.Cut(value, "="); ok && oid != "" {
			name = dtls.Name{Type: dtls.NameOther, Value: value}
		}
	}
	if name == (dtls.Name{}) {
		return &strictyaml.Invalid{
			Message: "is no subjectAltName",
			Remedy:  `write "uri:urn:example:dev1", "dns:dev1.example.org", "ip:192.0.2.1" or "other:OID=value"`,
		}
	}
	*n = SAN(name)
	return nil
}

// String returns the name as the file has it, and "" for the zero value.
func (n SAN) String() string {
	switch n.Type {
	case dtls.NameURI:
		return "uri:" + n.Value
	case dtls.NameDNS:
		return "dns:" + n.Value
	case dtls.NameIP:
		return "ip:" + n.Value
	case dtls.NameOther:
		return "other:" + n.Value
	}
	return ""
}

func control(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffd }
