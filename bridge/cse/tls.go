package cse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
)

// errNotAsked is the failure of a server that takes clients without a certificate (R1).
var errNotAsked = errors.New("the server asks for no client certificate: mutual authentication is required")

// dial opens a connection of TLS 1.3, or 1.2, on which both sides are authenticated.
func (e *endpoint) dial(ctx context.Context) (*conn, Reason, error) {
	ctx, cancel := context.WithTimeout(ctx, e.target.ConnectTimeout)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", e.target.address)
	if err != nil {
		return nil, ReasonConnect, err
	}
	asked := false
	c := tls.Client(raw, e.tlsConfig(&asked))
	if err = c.HandshakeContext(ctx); err == nil && !asked {
		err = errNotAsked
	}
	if err != nil {
		_ = raw.Close() // the handshake's error says more
		return nil, ReasonTLS, err
	}
	return newConn(c, raw), "", nil
}

// tlsConfig is made anew for each handshake, so that a certificate that was replaced on disk is used from then on. There
// are no session tickets: a resumed session would keep the old one.
func (e *endpoint) tlsConfig(asked *bool) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12, // S1
		RootCAs:      e.target.CA,      // never the system's: New refuses nil
		ServerName:   e.target.ServerName,
		NextProtos:   []string{"http/1.1"},
		CipherSuites: aeadSuites(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			*asked = true
			return e.identity()
		},
		VerifyConnection: func(s tls.ConnectionState) error { return e.target.verify(s) },
	}
}

// aeadSuites are the cipher suites of TLS 1.2: AEAD alone (S2).
func aeadSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// verify adds to crypto/tls's checks what S8 and S9 ask for: the exact name, no wildcard, and digitalSignature.
func (t *target) verify(s tls.ConnectionState) error {
	leaf := s.PeerCertificates[0]
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 { // TS-0003, 10.1.1
		return errors.New("the server's certificate lacks the key usage digitalSignature")
	}
	if net.ParseIP(t.ServerName) == nil && // crypto/x509 compares addresses exactly
		!slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return strings.EqualFold(name, t.ServerName) }) {
		return errors.New("the server's certificate names the host by a wildcard: an exact dNSName is required")
	}
	if t.Verify != nil {
		return t.Verify(s)
	}
	return nil
}
