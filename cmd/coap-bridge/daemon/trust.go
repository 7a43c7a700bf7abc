package daemon

import (
	"errors"
	"net"
	"strings"

	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/dtls"
)

// errNoDevice refuses a certificate of our CA that no entry of the devices file names.
var errNoDevice = errors.New("daemon: the certificate is no device's")

// verify implements dtls.Config.Verify: the chain leads to the devices' CA, and the certificate is some device's.
func (d *Daemon) verify(chain dtls.PeerChain) error {
	if err := d.trusted(chain); err != nil {
		return err
	}
	if !d.devices.Admits(dtls.PeerIDOf(chain.Leaf), dtls.NamesOf(chain.Leaf)) {
		return errNoDevice
	}
	return nil
}

// trusted judges a chain by the devices' present CAs.
func (d *Daemon) trusted(chain dtls.PeerChain) error {
	trust := dtls.Trust{Roots: d.keys.current.Load().clientCA}
	return trust.Verify(chain)
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
