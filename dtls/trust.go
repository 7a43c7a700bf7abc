package dtls

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// CertificateError says why a certificate was refused. Outcome is the counter that it belongs to.
type CertificateError struct {
	Outcome Outcome
	Err     error
}

// Error implements error.
func (e *CertificateError) Error() string { return fmt.Sprintf("dtls: %s: %v", e.Outcome, e.Err) }

// Unwrap returns the error underneath.
func (e *CertificateError) Unwrap() error { return e.Err }

// Trust judges the certificates of peers in one role by the CA of that role alone (S8, S9). It knows no revocation and no
// entries of devices; those come after it.
type Trust struct {
	Roots *x509.CertPool   // the CA of the role; nil trusts nobody
	Now   func() time.Time // nil: time.Now
}

// Verify checks the chain up to Roots at the present time, at most four certificates with the trust anchor; ECDSA on
// P-256 or P-384 with SHA-2 throughout; key usage digitalSignature; the extended key usage of the role, where the
// certificate has any; critical extensions and name constraints. It wants a subjectAltName, none with a wildcard, and of a
// server that was dialled by name exactly that name. NamesOf gives the names. It returns the trust anchor, and its error is a
// *CertificateError.
func (t *Trust) Verify(chain PeerChain) (*x509.Certificate, error) {
	now := time.Now()
	if t.Now != nil {
		now = t.Now()
	}
	leaf := chain.Leaf
	if err := checkTime(leaf, now); err != nil {
		return nil, err
	}
	if err := checkUsage(leaf); err != nil {
		return nil, err
	}
	anchor, err := t.checkChain(chain, now)
	if err != nil {
		return nil, err
	}
	if err := checkNames(chain); err != nil {
		return nil, err
	}
	return anchor, nil
}

func refuse(o Outcome, format string, args ...any) error {
	return &CertificateError{Outcome: o, Err: fmt.Errorf(format, args...)}
}

func checkTime(cert *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore):
		return refuse(OutcomeCertificateNotYetValid, "valid from %s", cert.NotBefore.Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return refuse(OutcomeCertificateExpired, "ended at %s", cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

func checkUsage(leaf *x509.Certificate) error {
	switch {
	case !ecdsaKey(leaf.PublicKey):
		return refuse(OutcomeCertificateUntrusted, "the key is not ECDSA on P-256 or P-384")
	case leaf.IsCA:
		return refuse(OutcomeCertificateWrongUsage, "a CA's certificate is no peer's")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0: // TS-0003, 10.1.1
		return refuse(OutcomeCertificateWrongUsage, "key usage lacks digitalSignature")
	}
	return nil
}

// checkChain builds the chain to the role's CA and returns that.
func (t *Trust) checkChain(chain PeerChain, now time.Time) (*x509.Certificate, error) {
	if t.Roots == nil { // x509 would take the system's
		return nil, refuse(OutcomeCertificateUntrusted, "no CA is configured for this role")
	}
	usage := x509.ExtKeyUsageClientAuth
	if chain.Role == RoleServer {
		usage = x509.ExtKeyUsageServerAuth
	}
	pool := x509.NewCertPool()
	for _, cert := range chain.Intermediates {
		pool.AddCert(cert)
	}
	found, err := chain.Leaf.Verify(x509.VerifyOptions{
		Roots: t.Roots, Intermediates: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, chainError(err, now)
	}
	for _, c := range found {
		if acceptable(c) {
			return c[len(c)-1], nil
		}
	}
	return nil, refuse(OutcomeCertificateUntrusted, "the chain is too long, or not ECDSA with SHA-2 throughout")
}

// acceptable reports whether a valid chain is short enough and signed as we allow.
func acceptable(chain []*x509.Certificate) bool {
	if len(chain) > maxChain {
		return false
	}
	for i, cert := range chain {
		if !ecdsaKey(cert.PublicKey) {
			return false
		}
		switch cert.SignatureAlgorithm {
		case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		default:
			if i < len(chain)-1 { // the trust anchor's own signature proves nothing
				return false
			}
		}
	}
	return true
}

// chainError gives x509's verdict its counter.
func chainError(err error, now time.Time) error {
	o := OutcomeCertificateUntrusted
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired:
			o = OutcomeCertificateExpired
			if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
				o = OutcomeCertificateNotYetValid
			}
		case x509.IncompatibleUsage:
			o = OutcomeCertificateWrongUsage
		}
	}
	return &CertificateError{Outcome: o, Err: err}
}

// checkNames refuses a certificate without a name, with a wildcard, or of another server than the one dialled.
func checkNames(chain PeerChain) error {
	names := NamesOf(chain.Leaf)
	if len(names) == 0 {
		return refuse(OutcomeCertificateNoName, "there is no subjectAltName")
	}
	for _, n := range names {
		if n.Type == NameDNS && strings.Contains(n.Value, "*") { // TS-0003, 10.1.1
			return refuse(OutcomeCertificateNoName, "a subjectAltName has a wildcard")
		}
	}
	if chain.Role == RoleClient || chain.Expected != (PeerID{}) {
		return nil
	}
	want := Name{NameDNS, strings.ToLower(chain.ServerName)}
	if ip, err := netip.ParseAddr(chain.ServerName); err == nil {
		want = Name{NameIP, ip.Unmap().String()}
	}
	for _, n := range names {
		if n == want && n.Value != "" {
			return nil
		}
	}
	return refuse(OutcomeCertificateNoName, "no subjectAltName is the name that was dialled")
}
