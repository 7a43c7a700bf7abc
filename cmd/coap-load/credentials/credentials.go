// Package credentials makes what very many devices authenticate with: pre-shared keys under numbered identities, and
// certificates that one CA issues. Its functions are safe for concurrent use once what they need is prepared.
package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/cmd/coap-load/session"
)

const (
	lifetime  = 30 * 24 * time.Hour
	backdated = time.Hour
)

// Numbered returns pattern with a device's number in the place of "%d", in six digits.
func Numbered(pattern string, device int) string {
	return strings.Replace(pattern, "%d", fmt.Sprintf("%06d", device), 1)
}

// PSK returns the credentials of devices with one key, each under its own identity: pattern with its number for "%d".
func PSK(pattern string, key []byte) func(int) (session.Credential, error) {
	return func(i int) (session.Credential, error) {
		return session.Credential{Identity: Numbered(pattern, i), Key: key}, nil
	}
}

// One returns the same certificate for all devices.
func One(certFile, keyFile string) (func(int) (session.Credential, error), error) {
	own, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return func(int) (session.Credential, error) { return session.Credential{Certificate: &own}, nil }, nil
}

// Issuer issues a certificate with its own key for each device.
type Issuer struct {
	ca      *x509.Certificate
	key     crypto.Signer
	pattern string

	mu    sync.RWMutex // guards the following field
	leafs map[int]*tls.Certificate
}

// NewIssuer reads a CA (PEM). The certificates have one subjectAltName, the URI pattern with the device's number for "%d".
func NewIssuer(certFile, keyFile, pattern string) (*Issuer, error) {
	own, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	signer, ok := own.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("credentials: the CA's key can't sign")
	}
	return &Issuer{ca: own.Leaf, key: signer, pattern: pattern, leafs: map[int]*tls.Certificate{}}, nil
}

// Prepare issues the certificates of the first n devices, so that no measurement has to wait for them.
func (s *Issuer) Prepare(n int) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make(chan error, runtime.GOMAXPROCS(0))
	for range cap(errs) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if _, err := s.Credential(int(i)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(errs)
	return <-errs
}

// Credential returns device i's certificate.
func (s *Issuer) Credential(i int) (session.Credential, error) {
	s.mu.RLock()
	leaf := s.leafs[i]
	s.mu.RUnlock()
	if leaf == nil {
		var err error
		if leaf, err = s.issue(i); err != nil {
			return session.Credential{}, fmt.Errorf("credentials: issue certificate: %w", err)
		}
		s.mu.Lock()
		s.leafs[i] = leaf
		s.mu.Unlock()
	}
	return session.Credential{Certificate: leaf}, nil
}

func (s *Issuer) issue(i int) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	name, err := url.Parse(Numbered(s.pattern, i))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(i) + 1), Subject: pkix.Name{CommonName: Numbered("load %d", i)},
		NotBefore: time.Now().Add(-backdated), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{name}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.ca, key.Public(), s.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Roots reads CAs (PEM).
func Roots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return p, nil
}
