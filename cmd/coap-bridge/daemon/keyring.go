package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"coapbridge/bridge/cse"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/dtls"
)

// keyring holds our certificates and the CAs that we trust, swapped whole on reload.
type keyring struct{ current atomic.Pointer[keys] }

type keys struct {
	own      *config.Credential // what devices see; nil without one
	admin    *config.Credential // of the admin listener; nil without one
	downlink tls.Certificate    // what CSEs see that call the bridge; empty without one
	hosts    hostNames
	clientCA *x509.CertPool // nil: no device certificate is taken
	cses     map[string]cseKeys
	ends     map[string]time.Time // when each of them ends, by a closed set of names
}

type cseKeys struct {
	ca      *x509.CertPool
	callers *x509.CertPool // of its client certificates; nil where it may not call
	bridge  tls.Certificate
	clients map[string]tls.Certificate
}

// errNoCertificate says that the configuration names none.
var errNoCertificate = errors.New("daemon: no certificate is configured")

func newKeyring(c *config.Config) (*keyring, error) {
	k, err := loadKeys(c)
	if err != nil {
		return nil, err
	}
	r := &keyring{}
	r.current.Store(k)
	return r, nil
}

func loadKeys(c *config.Config) (*keys, error) {
	k := &keys{cses: map[string]cseKeys{}, ends: map[string]time.Time{}}
	if !c.Certificate.IsZero() {
		own, err := config.LoadKeyPair(c.Certificate)
		if err != nil {
			return nil, err
		}
		k.own = own
		k.ends["dtls_server"] = own.Leaf.NotAfter
	}
	k.hosts = newHostNames(c.Hosts, k.own)
	if !c.Admin.Certificate.IsZero() {
		own, err := config.LoadKeyPair(c.Admin.Certificate)
		if err != nil {
			return nil, err
		}
		k.admin = own
	}
	if c.Listens() {
		if err := k.loadDownlink(c); err != nil {
			return nil, err
		}
	}
	if c.ClientCA != "" {
		pool, end, err := config.LoadPool(c.ClientCA)
		if err != nil {
			return nil, err
		}
		k.clientCA = pool
		k.ends["device_ca"] = end
	}
	for _, s := range c.CSEs {
		one, err := k.loadCSE(&s)
		if err != nil {
			return nil, fmt.Errorf("CSE %s: %w", s.Name, err)
		}
		k.cses[s.Name] = one
	}
	return k, nil
}

func (k *keys) loadCSE(s *config.CSE) (cseKeys, error) {
	pool, end, err := config.LoadPool(s.CA)
	if err != nil {
		return cseKeys{}, err
	}
	k.earliest("cse_ca", end)
	one := cseKeys{ca: pool, clients: map[string]tls.Certificate{}}
	if s.Downlink.Mode == config.DownlinkListen {
		callers, end, err := config.LoadPool(s.Downlink.CA)
		if err != nil {
			return cseKeys{}, err
		}
		one.callers = callers
		k.earliest("cse_caller_ca", end)
	}
	if one.bridge, err = k.loadClient(s.Certificate, s.Key); err != nil {
		return cseKeys{}, err
	}
	for name, client := range s.Clients {
		if one.clients[name], err = k.loadClient(client.Certificate, client.Key); err != nil {
			return cseKeys{}, err
		}
	}
	return one, nil
}

// loadDownlink loads what CSEs see that call the bridge.
func (k *keys) loadDownlink(c *config.Config) error {
	own := k.own
	if !c.Downlink.Certificate.IsZero() {
		var err error
		if own, err = config.LoadKeyPair(c.Downlink.Certificate); err != nil {
			return err
		}
	}
	if own == nil {
		return errNoCertificate
	}
	k.downlink = tls.Certificate{Certificate: own.Chain, PrivateKey: own.Key, Leaf: own.Leaf}
	k.ends["downlink_server"] = own.Leaf.NotAfter
	return nil
}

func (k *keys) loadClient(chain, key string) (tls.Certificate, error) {
	c, err := config.LoadKeyPair(config.KeyPair{Chain: chain, Key: key})
	if err != nil {
		return tls.Certificate{}, err
	}
	k.earliest("cse_client", c.Leaf.NotAfter)
	return tls.Certificate{Certificate: c.Chain, PrivateKey: c.Key, Leaf: c.Leaf}, nil
}

// earliest notes the end of one of several certificates of the same use: the first to end counts.
func (k *keys) earliest(use string, end time.Time) {
	if was, ok := k.ends[use]; !ok || end.Before(was) {
		k.ends[use] = end
	}
}

// keepCSECAs puts the CAs of the CSEs back that was has, and reports whether any of them differs: connections use those of
// the start.
func (k *keys) keepCSECAs(was *keys) (differ bool) {
	for name, one := range k.cses {
		before := was.cses[name]
		differ = differ || !one.ca.Equal(before.ca) || !one.callers.Equal(before.callers)
		one.ca, one.callers = before.ca, before.callers
		k.cses[name] = one
	}
	for _, use := range []string{"cse_ca", "cse_caller_ca"} {
		if end, ok := was.ends[use]; ok {
			k.ends[use] = end
		}
	}
	return differ
}

// adminServer implements tls.Config.GetCertificate.
func (r *keyring) adminServer(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	own := r.current.Load().admin
	if own == nil {
		return nil, errNoCertificate
	}
	return &tls.Certificate{Certificate: own.Chain, PrivateKey: own.Key, Leaf: own.Leaf}, nil
}

// host implements coap.Config.Host.
func (r *keyring) host(name string) bool { return r.current.Load().hosts.has(name) }

// server implements dtls.Config.Certificate.
func (r *keyring) server(string) (dtls.Certificate, error) {
	own := r.current.Load().own
	if own == nil {
		return dtls.Certificate{}, errNoCertificate
	}
	return dtls.Certificate{Chain: own.Chain, Key: own.Key}, nil
}

// upstreams is the configuration of package cse. The identities are looked up at each handshake, so that a renewed
// certificate is used without a restart; the CAs of a CSE are fixed at the start.
func (r *keyring) upstreams(c *config.Config) (cse.Config, error) {
	var out cse.Config
	for _, s := range c.CSEs {
		one := cse.CSE{
			Name: s.Name, Default: s.Default, URL: s.URL, ServerName: s.ServerName, CA: r.current.Load().cses[s.Name].ca,
			Timeout: s.Timeout, MaxAnswer: s.MaxAnswer, Deduplicates: s.Deduplicates, Clients: map[string]cse.Identity{},
			MaxPolls: s.Downlink.MaxPolls, PollTimeout: s.Downlink.PollTimeout,
			Certificate: r.identity(func(k *keys) tls.Certificate { return k.cses[s.Name].bridge }),
		}
		if unknown, ok := one.Apply(s.Quirks...); !ok { // config.Load names them with their line
			return cse.Config{}, fmt.Errorf("CSE %s: %q is no quirk that is known", s.Name, unknown)
		}
		for name := range s.Clients {
			one.Clients[name] = r.identity(func(k *keys) tls.Certificate { return k.cses[s.Name].clients[name] })
		}
		out.CSEs = append(out.CSEs, one)
	}
	return out, nil
}

func (r *keyring) identity(pick func(*keys) tls.Certificate) cse.Identity {
	return func() (*tls.Certificate, error) {
		cert := pick(r.current.Load())
		if len(cert.Certificate) == 0 {
			return nil, errNoCertificate
		}
		return &cert, nil
	}
}
