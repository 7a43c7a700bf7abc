// Package pki makes the credentials that a bridge starts with: two private certificate authorities (ECDSA on P-256), the
// certificates that they issue, and a devices file with one pre-shared key and one certificate. It is what "init" and
// "demo" stand on.
//
// There are two authorities, so that a device's certificate opens no door to the CSE: one for devices and the bridge's
// face towards them, one for the bridge and the CSE. A key that exists is never overwritten; a certificate that came from here
// is issued again for its key when it ends soon or lacks a name. A folder is written by one process at a time, under a lock.
//
// It keeps no revocation list and no record of what was issued: whoever runs more than a few gateways has an authority.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"strings"
	"time"

	"coapbridge/bridge/devices/privatefile"
	"coapbridge/cmd/coap-bridge/config"
)

// Lifetimes of what is issued.
const (
	lifeCA    = 10 * 365 * 24 * time.Hour
	lifeLeaf  = 365 * 24 * time.Hour
	renewal   = 30 * 24 * time.Hour // a certificate that ends within it is issued again
	backdated = time.Hour           // for peers whose clocks are behind
)

// authority is a CA that can issue.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// wanted says what a certificate has to be.
type wanted struct {
	name  string // common name, for people
	usage x509.ExtKeyUsage
	hosts []string // DNS names and IP addresses
	uris  []string
}

// ensureAuthority makes a CA, or reads the one that is there. An expired CA is an error: what it issued is on devices.
func (m *maker) ensureAuthority(k config.KeyPair, name string) (*authority, error) {
	key, err := m.ensureKey(k.Key)
	if err != nil {
		return nil, err
	}
	_, err = privatefile.ReadPublic(k.Chain, 1<<20)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		cert, err := issueAuthority(name, key, m.now)
		if err != nil {
			return nil, err
		}
		if err := m.writeCertificate(k.Chain, cert); err != nil {
			return nil, err
		}
		return &authority{cert, key}, nil
	case err != nil:
		return nil, err
	}
	m.kept(k.Chain)
	c, err := config.LoadKeyPair(k)
	if err != nil {
		return nil, err
	}
	if !c.Leaf.IsCA || m.now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s is no CA that is valid; move it and %s away to make new ones", k.Chain, k.Key)
	}
	return &authority{c.Leaf, c.Key}, nil
}

// ensureLeaf makes a certificate and its key, or renews it for the key that is there.
func (m *maker) ensureLeaf(ca *authority, k config.KeyPair, want wanted) error {
	key, err := m.ensureKey(k.Key)
	if err != nil {
		return err
	}
	c, err := config.LoadKeyPair(k)
	if err == nil && (c.Leaf.CheckSignatureFrom(ca.cert) != nil || want.holds(c.Leaf, m.now)) {
		m.kept(k.Chain) // it is as wanted, or another authority's, and then not ours to replace
		return nil
	}
	if err != nil {
		if _, statErr := privatefile.ReadPublic(k.Chain, 1<<20); !errors.Is(statErr, fs.ErrNotExist) {
			return err // a certificate that belongs to another key is not ours to replace
		}
	}
	cert, err := ca.issue(want, key.Public(), m.now)
	if err != nil {
		return err
	}
	return m.writeCertificate(k.Chain, cert)
}

// holds reports whether cert still is what is wanted.
func (w wanted) holds(cert *x509.Certificate, now time.Time) bool {
	if now.Before(cert.NotBefore) || cert.NotAfter.Sub(now) < renewal {
		return false
	}
	for _, h := range w.hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

func (m *maker) ensureKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := privatefile.Read(path, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return m.newKey(path)
	}
	if err != nil {
		return nil, err
	}
	m.kept(path)
	block, _ := pem.Decode(data)
	if block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if k, ok := key.(*ecdsa.PrivateKey); ok && k.Curve == elliptic.P256() {
				return k, nil
			}
		}
	}
	return nil, fmt.Errorf("%s holds no P-256 key; move it away to make a new one", path)
}

func (m *maker) newKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := privatefile.Create(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, err
	}
	m.made(path)
	return key, nil
}

func (m *maker) writeCertificate(path string, cert *x509.Certificate) error {
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := privatefile.ReplacePublic(path, data); err != nil {
		return err
	}
	m.made(path)
	return nil
}

func issueAuthority(name string, key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdated), NotAfter: now.Add(lifeCA),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, // it issues end entities only
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(t, t, key.Public(), key)
}

// issue makes a certificate for an end entity: digitalSignature, one extended key usage, names as subjectAltNames only and
// no wildcard (S8, S9; RFC 7925, Section 4.4).
func (ca *authority) issue(want wanted, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: want.name}, NotBefore: now.Add(-backdated), NotAfter: now.Add(lifeLeaf),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{want.usage}, BasicConstraintsValid: true,
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	for _, h := range want.hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	for _, text := range want.uris {
		u, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		t.URIs = append(t.URIs, u)
	}
	return sign(t, ca.cert, public, ca.key)
}

func sign(t, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("pki: issue %q: %w", t.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// newSerial returns 127 random bits (RFC 5280, Section 4.1.2.2: positive, up to 20 octets).
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// CheckHost says what is wrong with a name for a certificate, or nothing.
func CheckHost(host string) string {
	switch {
	case net.ParseIP(host) != nil:
		return ""
	case strings.Contains(host, "*"):
		return "wildcards are not used" // S9
	case host == "" || len(host) > 253 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" ||
		strings.HasPrefix(host, ".") || strings.HasPrefix(host, "-") || strings.Contains(host, ".."):
		return "is no DNS name or IP address"
	}
	return ""
}
