package daemon

import (
	"crypto/x509"
	"errors"
	"net"
	"strings"

	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/dtls"
)

// errNoDevice refuses a certificate of our CA that no entry of the devices file names.
var errNoDevice = errors.New("daemon: the certificate is no device's")

// verify implements dtls.Config.Verify: the chain leads to the devices' CA, and the certificate is some device's.
func (d *Daemon) verify(chain dtls.PeerChain) (*x509.Certificate, error) {
	trust := dtls.Trust{Roots: d.keys.current.Load().clientCA}
	anchor, err := trust.Verify(chain)
	if err != nil {
		return nil, err
	}
	if !d.devices.Admits(dtls.PeerIDOf(chain.Leaf), dtls.NamesOf(chain.Leaf)) {
		return nil, errNoDevice
	}
	return anchor, nil
}

// anchored reports whether a trust anchor is one of the devices' present CAs, and in its time.
func (d *Daemon) anchored(anchor *x509.Certificate) bool {
	roots := d.keys.current.Load().clientCA
	if anchor == nil || roots == nil { // x509 would take the system's
		return false
	}
	_, err := anchor.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// policy implements dtls.Config.Policy.
func (d *Daemon) policy(id dtls.PeerID) dtls.Policy {
	flight, whole := d.devices.Timing(id).Handshake()
	return dtls.Policy{
		NoExtendedMasterSecret: d.devices.NoExtendedMasterSecret(id), FlightTimeout: flight, HandshakeTimeout: whole,
	}
}

// hostNames are the names by which a device may call this gateway in Uri-Host.
type hostNames map[string]bool

// newHostNames returns those of the configuration, else those of our certificate; and always localhost and address
// literals, which only say where the datagram went.
func newHostNames(configured []string, own *config.Credential) hostNames {
	names := configured
	if own != nil && len(names) == 0 {
		names = own.Leaf.DNSNames
	}
	h := hostNames{"localhost": true}
	for _, n := range names {
		h[strings.ToLower(n)] = true
	}
	return h
}

// has reports whether a device may use host.
func (h hostNames) has(host string) bool {
	return h[strings.ToLower(strings.TrimSuffix(host, "."))] || net.ParseIP(strings.Trim(host, "[]")) != nil
}
