package config

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/devices"
)

// Downlink is the bridge's point of access: where CSEs call it, over HTTPS with certificates of both sides.
type Downlink struct {
	// Listen are TCP addresses. Without one no CSE can call the bridge.
	Listen []string `yaml:"listen"`
	// URL is what CSEs are told: https://host[:port], which has to lead to Listen. Port 0 stands for the one that the first
	// address of Listen got from the system.
	URL string `yaml:"url"`
	// Certificate is what CSEs see (default: the bridge's own, which devices see).
	Certificate KeyPair `yaml:"certificate"`
}

// CSEDownlink says how one CSE's requests come.
type CSEDownlink struct {
	// Mode is listen, poll or off (default: listen where the bridge's downlink has an address, else off).
	Mode DownlinkMode `yaml:"mode"`
	// CA is a PEM file with the only CAs that the CSE's client certificate may come from (default: the CSE's ca).
	CA string `yaml:"ca"`
	// Certificates say which client certificates are this CSE, each exactly (S9): "dns:" and "uri:" are names of the
	// subjectAltName, "sha256:" is the certificate's fingerprint.
	Certificates []CertificateName `yaml:"certificates"`
	MaxPolls     int               `yaml:"maxPolls"`    // polls at the CSE at once (default 64)
	PollTimeout  time.Duration     `yaml:"pollTimeout"` // how long the CSE may let a poll wait (default 60 s)
}

// DownlinkMode is a bridge.Downlink with its names in the file, and "" for the default.
type DownlinkMode string

// The modes.
const (
	DownlinkListen DownlinkMode = "listen"
	DownlinkPoll   DownlinkMode = "poll"
	DownlinkOff    DownlinkMode = "off"
)

// Bridge returns the mode as package bridge has it.
func (m DownlinkMode) Bridge() bridge.Downlink {
	switch m {
	case DownlinkListen:
		return bridge.DownlinkListen
	case DownlinkPoll:
		return bridge.DownlinkPoll
	}
	return bridge.DownlinkOff
}

// CertificateName names a client certificate of a CSE in its normal form: host names and digests in lower case.
type CertificateName string

// UnmarshalText reads "dns:", "uri:" and "sha256:".
func (n *CertificateName) UnmarshalText(text []byte) error {
	const remedy = `write "dns:cse.example.org", "uri:urn:example:cse" or "sha256:" and the certificate's fingerprint`
	kind, value, _ := strings.Cut(string(text), ":")
	switch kind {
	case "dns", "uri":
		var san devices.SAN
		if san.UnmarshalText(text) != nil || kind == "dns" && !hostName(value) {
			return &Invalid{Message: "is no name of a certificate", Remedy: remedy + "; a wildcard is no name"}
		}
		if kind == "dns" {
			value = strings.ToLower(value)
		}
	case "sha256":
		var f devices.Fingerprint
		if err := f.UnmarshalText([]byte(value)); err != nil {
			return err
		}
		value = string(f)
	default:
		return &Invalid{Message: "is no name of a certificate", Remedy: remedy}
	}
	*n = CertificateName(kind + ":" + value)
	return nil
}

// Listens reports whether the bridge serves a point of access.
func (c *Config) Listens() bool { return len(c.Downlink.Listen) > 0 }

// downlinkDefaults fills in what a CSE's downlink leaves open.
func (c *Config) downlinkDefaults(s *CSE) {
	d := &s.Downlink
	if d.Mode == "" {
		d.Mode = DownlinkOff
		if c.Listens() {
			d.Mode = DownlinkListen
		}
	}
	set(&d.CA, s.CA)
	if d.MaxPolls == 0 {
		d.MaxPolls = defaultPolls
	}
	if d.PollTimeout == 0 {
		d.PollTimeout = defaultPollTimeout
	}
}

// checkDownlink finds what is wrong with how CSEs reach the bridge.
func (l *loader) checkDownlink() {
	d := &l.cfg.Downlink
	for i, address := range d.Listen {
		field := fmt.Sprintf("downlink.listen[%d]", i)
		l.checkAddress(field, address)
		if i > 0 && d.Listen[i-1] == address {
			l.report(field, fmt.Sprintf("%q stands there twice", address), "remove one")
		}
	}
	used := false
	names := map[CertificateName]int{}
	for i := range l.cfg.CSEs {
		s, field := &l.cfg.CSEs[i], fmt.Sprintf("cses[%d].downlink", i)
		used = used || s.Downlink.Mode == DownlinkListen
		l.checkCSEDownlink(field, s)
		for k, name := range s.Downlink.Certificates {
			if first, again := names[name]; again && first != i && name != "" {
				l.report(fmt.Sprintf("%s.certificates[%d]", field, k), fmt.Sprintf("is cses[%d]'s already, and a certificate can't be two CSEs", first),
					"have each CSE's certificate issued under a name of its own")
			}
			names[name] = i
		}
	}
	if !l.cfg.Listens() {
		if d.URL != "" || !d.Certificate.IsZero() {
			l.report("downlink.listen", "is missing", `write an address for CSEs, such as "[::]:8443", or remove downlink`)
		}
		return
	}
	if !used {
		l.warn("downlink", "is used by no CSE", "write downlink: with mode: listen and certificates: at a CSE, or remove it")
	}
	l.checkPointOfAccess()
}

// checkPointOfAccess checks what CSEs are told, and what they see there.
func (l *loader) checkPointOfAccess() {
	d := &l.cfg.Downlink
	if d.URL == "" {
		l.report("downlink.url", "is missing", "write how CSEs reach the bridge, such as https://gateway.example.org:8443")
	} else {
		l.checkURL("downlink.url", d.URL)
	}
	pair, field := d.Certificate, "downlink.certificate"
	if pair.IsZero() {
		if l.cfg.Certificate.IsZero() {
			l.report(field, "is missing", "name the chain and key that CSEs see there")
			return
		}
		pair = l.cfg.Certificate // checked where it stands
		field = "certificate"
	} else {
		l.checkKeyPair(field, pair, x509.ExtKeyUsageServerAuth)
	}
	u, err := url.Parse(d.URL)
	c, loadErr := LoadKeyPair(pair)
	if err != nil || loadErr != nil || u.Hostname() == "" || c.Leaf.VerifyHostname(u.Hostname()) == nil {
		return
	}
	l.warn("downlink.url", fmt.Sprintf("%q is no name in the certificate that CSEs see", u.Hostname()),
		"issue the certificate with it, unless a proxy with a certificate of its own stands before the bridge")
}

func (l *loader) checkCSEDownlink(field string, s *CSE) {
	d := &s.Downlink
	switch d.Mode {
	case DownlinkListen:
		l.checkListens(field, s)
	case DownlinkPoll:
		// A CSE polls at the channel of its own <remoteCSE> (TS-0001, 10.2.5.13), not for its registrees one by one.
		if s.Identity == IdentityMNCSE {
			l.report(field+".mode", "poll can't be with identity: mnCSE: a polling channel is an AE's, and there the CSE takes the bridge for a CSE",
				"write identity: shared or perDevice, or mode: listen")
		}
	case DownlinkOff:
	default:
		l.report(field+".mode", fmt.Sprintf("%q is none that is known", d.Mode), "write listen, poll or off")
	}
	if d.Mode != DownlinkListen {
		for _, name := range []string{"certificates", "ca"} {
			if l.doc.Has(field + "." + name) {
				l.warn(field+"."+name, "is of no use without mode: listen", "remove it")
			}
		}
	}
	if d.Mode != DownlinkPoll {
		for _, name := range []string{"maxPolls", "pollTimeout"} {
			if l.doc.Has(field + "." + name) {
				l.warn(field+"."+name, "is of no use without mode: poll", "remove it")
			}
		}
	}
	if d.MaxPolls < 1 || d.MaxPolls > maxPolls {
		l.report(field+".maxPolls", fmt.Sprintf("%d can't be", d.MaxPolls), fmt.Sprintf("write 1 to %d", maxPolls))
	}
	if d.PollTimeout < minPollTimeout || d.PollTimeout > maxPollTimeout {
		l.report(field+".pollTimeout", d.PollTimeout.String()+" can't be", "write 1s to 10m, such as 60s")
	}
}

func (l *loader) checkListens(field string, s *CSE) {
	d := &s.Downlink
	if !l.cfg.Listens() {
		l.report(field+".mode", "listen can't be: the bridge listens nowhere for CSEs", `add downlink: with listen: ["[::]:8443"] and url: to the top of the file`)
	}
	if len(d.Certificates) == 0 && !l.doc.Failed(field+".certificates") {
		l.report(field+".certificates", "is missing: any certificate of the CA would be this CSE", `name the CSE's client certificate, such as ["dns:cse.example.org"], or write mode: off`)
	}
	if len(d.Certificates) > maxCertificateNames {
		l.report(field+".certificates", fmt.Sprintf("has %d members", len(d.Certificates)), fmt.Sprintf("write up to %d", maxCertificateNames))
	}
	if l.doc.Has(field + ".ca") { // else it is the CSE's, which is checked where it stands
		l.checkCAs(field+".ca", d.CA)
	}
}
