package cse

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// The kinds of names of a certificate.
const (
	nameDNS         = "dns:"
	nameURI         = "uri:"
	nameFingerprint = "sha256:"
)

// CheckCertificateName says what is wrong with a member of DownlinkCSE.Certificates; nil: nothing.
func CheckCertificateName(name string) error {
	_, err := normalName(name)
	return err
}

// normalName brings a certificate's name to the form in which names are compared: host names without case (RFC 4343), the
// rest exactly.
func normalName(name string) (string, error) {
	value := ""
	switch {
	case strings.HasPrefix(name, nameDNS):
		value = name[len(nameDNS):]
		if strings.ContainsAny(value, "*/: ") {
			return "", fmt.Errorf("certificate name %q: a whole host name is needed, without wildcard (TS-0003, 10.1.1)", name)
		}
		name = strings.ToLower(name)
	case strings.HasPrefix(name, nameURI):
		value = name[len(nameURI):]
	case strings.HasPrefix(name, nameFingerprint):
		value = name[len(nameFingerprint):]
		if digest, err := hex.DecodeString(value); err != nil || len(digest) != sha256.Size {
			return "", fmt.Errorf("certificate name %q: a fingerprint has %d hexadecimal digits", name, 2*sha256.Size)
		}
		name = strings.ToLower(name)
	default:
		return "", fmt.Errorf("certificate name %q: names begin with dns:, uri: or sha256: but this one does not", name)
	}
	if value == "" {
		return "", fmt.Errorf("certificate name %q: nothing follows its kind", name)
	}
	return name, nil
}

// certificateError is a certificate that is refused, with the reason that is counted.
type certificateError struct {
	reason DownlinkReason
	detail string
}

// Error implements error.
func (e *certificateError) Error() string { return "cse: client certificate refused: " + e.detail }

// handshake authenticates the CSE at the other end. Nobody learns from its alert which check failed.
func (d *Downlink) handshake(raw net.Conn) (*tls.Conn, *downPeer, error) {
	ctx, cancel := context.WithTimeout(d.taking, downHandshakeTimeout)
	defer cancel()
	c := tls.Server(raw, d.tlsConfig())
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	p, err := d.peerOf(c.ConnectionState().PeerCertificates[0])
	return c, p, err
}

// tlsConfig is made anew for each handshake, as the client's. Sessions are not resumed: each is authenticated whole.
func (d *Downlink) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,         // S1
		ClientAuth:   tls.RequireAnyClientCert, // verify looks further: which CA is right depends on who it is
		NextProtos:   []string{"http/1.1"},
		CipherSuites: aeadSuites(),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return d.cfg.Certificate()
		},
		SessionTicketsDisabled: true,
		VerifyConnection:       d.verify,
	}
}

// verify judges the certificate in the handshake (S8, S9): it is named by one CSE, and chains to that CSE's own CA. What
// another CA signed, a device's for instance, is nobody's.
func (d *Downlink) verify(s tls.ConnectionState) error {
	leaf := s.PeerCertificates[0]
	if len(s.PeerCertificates) > maxChain {
		return &certificateError{DownlinkChain, "the chain is too long"}
	}
	p, err := d.peerOf(leaf)
	if err != nil {
		return err
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 { // TS-0003, 10.1.1
		return &certificateError{DownlinkUsage, "it lacks the key usage digitalSignature"}
	}
	intermediates := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: p.CA, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return &certificateError{DownlinkUsage, "its extended key usage is not clientAuth"}
	case err != nil:
		return &certificateError{DownlinkChain, "it doesn't chain to the CA of its CSE"}
	}
	if d.cfg.Verify != nil {
		s.VerifiedChains = chains
		if d.cfg.Verify(s) != nil {
			return &certificateError{DownlinkRevoked, "it is revoked, or nobody knows whether it is"}
		}
	}
	return nil
}

// peerOf returns the one CSE that is configured with a name of the certificate.
func (d *Downlink) peerOf(leaf *x509.Certificate) (*downPeer, error) {
	digest := sha256.Sum256(leaf.Raw)
	found := d.names[nameFingerprint+hex.EncodeToString(digest[:])]
	if len(leaf.DNSNames)+len(leaf.URIs) > maxNames {
		return nil, &certificateError{DownlinkUnlisted, "it has too many names"}
	}
	names := make([]string, 0, maxNames)
	for _, name := range leaf.DNSNames {
		names = append(names, nameDNS+strings.ToLower(name))
	}
	for _, uri := range leaf.URIs {
		names = append(names, nameURI+uri.String())
	}
	for _, name := range names {
		p := d.names[name]
		if p != nil && found != nil && p != found {
			return nil, &certificateError{DownlinkAmbiguous, "two CSEs have names of it"}
		}
		if p != nil {
			found = p
		}
	}
	if found == nil {
		return nil, &certificateError{DownlinkUnlisted, "no CSE has a name of it"}
	}
	return found, nil
}

// expiryOf is when the first certificate of what the peer showed ends: the connection ends with it.
func expiryOf(s tls.ConnectionState) time.Time {
	at := s.PeerCertificates[0].NotAfter
	for _, c := range s.PeerCertificates[1:] {
		if c.NotAfter.Before(at) {
			at = c.NotAfter
		}
	}
	return at
}
