package cse_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/internal/testpki"
)

func clientNamed(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName = name
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
}

// TestH15ServerCertificates: each server that isn't exactly the CSE is refused in the handshake, and gets no request.
func TestH15ServerCertificates(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	foreign := testpki.NewCA(t, "foreign CA")
	server := func(edit func(*x509.Certificate)) *testpki.Leaf {
		return p.ca.Issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			c.IPAddresses, c.DNSNames = p.server.Cert.IPAddresses, []string{"localhost"}
			edit(c)
		})
	}
	for _, tt := range []struct {
		name, host string
		leaf       *testpki.Leaf
		edit       func(*tls.Config)
		serverName string // CSE.ServerName
		refused    bool
	}{
		{name: "right address", leaf: server(func(*x509.Certificate) {})},
		{name: "right name", host: "localhost", leaf: server(func(*x509.Certificate) {})},
		{name: "TLS 1.2", leaf: p.server, edit: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{name: "TLS 1.1", leaf: p.server, refused: true, edit: func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
		}},
		{name: "CBC", leaf: p.server, refused: true, edit: func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}},
		{name: "no client certificate asked for", leaf: p.server, refused: true, edit: func(c *tls.Config) {
			c.ClientAuth = tls.NoClientCert
		}},
		{name: "foreign CA", leaf: foreign.Server(t, "127.0.0.1"), refused: true},
		{name: "other address", leaf: server(func(c *x509.Certificate) { c.IPAddresses = nil }), refused: true},
		{name: "other name", host: "localhost", refused: true, leaf: server(func(c *x509.Certificate) {
			c.DNSNames = []string{"localhost.example"}
		})},
		{name: "configured name", serverName: "cse.internal", leaf: p.ca.Server(t, "cse.internal")},
		{name: "configured address", serverName: "192.0.2.7", leaf: p.ca.Server(t, "192.0.2.7")},
		{name: "the URL's name in place of the configured one", serverName: "cse.internal", leaf: p.server, refused: true},
		{name: "wildcard over the configured name", serverName: "cse.internal", leaf: p.ca.Server(t, "*.internal"), refused: true},
		{name: "CN only", host: "localhost", refused: true, leaf: server(func(c *x509.Certificate) {
			c.DNSNames, c.Subject.CommonName = nil, "localhost"
		})},
		{name: "expired", refused: true, leaf: server(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
		{name: "future", refused: true, leaf: server(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })},
		{name: "client's EKU", refused: true, leaf: server(clientNamed("x"))},
		{name: "no digitalSignature", refused: true, leaf: server(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyAgreement
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conf := p.serverTLS()
			conf.Certificates = []tls.Certificate{tt.leaf.TLS()}
			if tt.edit != nil {
				tt.edit(conf)
			}
			srv := newRawServer(t, conf, func(w io.Writer, r received) bool {
				_, err := io.WriteString(w, r.good("200 OK", "2000", "{}"))
				return err == nil
			})
			url := srv.url
			if tt.host != "" {
				url = "https://" + tt.host + url[len("https://127.0.0.1"):]
			}
			c := newClient(t, p, url, func(conf *cse.CSE) { conf.ServerName = tt.serverName })
			_, err := do(t, c, retrieve("r"))
			if !tt.refused {
				require.NoError(t, err)
				return
			}
			requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonTLS)
			require.Empty(t, srv.seen())
		})
	}
}

// TestS9Verify: the caller's own check comes last, and stops the connection before anything is sent.
func TestS9Verify(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	srv := newRawServer(t, p.serverTLS(), func(io.Writer, received) bool { return false })
	called := false
	c := newClient(t, p, srv.url, func(conf *cse.CSE) {
		conf.Verify = func(s tls.ConnectionState) error {
			called = len(s.VerifiedChains) == 1
			return errors.New("revoked")
		}
	})
	_, err := do(t, c, retrieve("r"))
	requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonTLS)
	require.ErrorContains(t, err, "revoked")
	require.True(t, called, "after the chain was verified")
	require.Empty(t, srv.seen())
}

// TestClientCertificateRefused: the CSE's alert comes in place of an answer in TLS 1.3, and the request was not executed.
func TestClientCertificateRefused(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSE(t, p)
	foreign := testpki.NewCA(t, "foreign CA")
	for name, identity := range map[string]cse.Identity{
		"foreign CA": cse.Static(foreign.Client(t).TLS()),
		"expired": cse.Static(p.ca.Issue(t, func(c *x509.Certificate) {
			clientNamed("x")(c)
			c.NotAfter = time.Now().Add(-time.Minute)
		}).TLS()),
		"none":         func() (*tls.Certificate, error) { return new(tls.Certificate), nil },
		"not readable": func() (*tls.Certificate, error) { return nil, errors.New("file is gone") },
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 {
				c := newClient(t, p, url, func(conf *cse.CSE) { conf.Certificate = identity })
				_, err := do(t, c, create("r"))
				requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonTLS)
			}
		})
	}
	require.Zero(t, peer.Count())
}
