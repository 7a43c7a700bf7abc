package request

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/cmd/coap-bridge/secret"
	"coapbridge/dtls"
	"coapbridge/internal/testpki"
)

func TestParseKey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0123456789abcdef":      "0123456789abcdef",
		"text:hex:00":           "hex:00",
		"hex:00ff":              "\x00\xff",
		"base64:AP8=":           "\x00\xff",
		"other:x":               "other:x",
		"0x00":                  "0x00",
		"with blank and : sign": "with blank and : sign",
	} {
		got, err := ParseKey(secret.New([]byte(in)))
		require.NoError(t, err, in)
		require.Equal(t, want, string(got.Reveal()))
	}
	for _, in := range []string{"hex:planted", "base64:planted!", "hex:", "text:", ""} {
		_, err := ParseKey(secret.New([]byte(in)))
		require.Error(t, err, in)
		require.NotContains(t, err.Error(), "planted")
	}
}

func TestLoadCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, other := testpki.NewCA(t, "ca"), testpki.NewCA(t, "other")
	leaf := ca.Client(t, "urn:dev")
	certFile, keyFile := leaf.Write(t, dir, "dev")
	_, otherKey := other.Client(t).Write(t, dir, "other")
	caFile := ca.WriteCert(t, dir, "ca.crt")
	c, err := LoadCertificate(certFile, keyFile, caFile)
	require.NoError(t, err)
	require.Equal(t, leaf.Chain, c.Certificate.Chain)
	require.True(t, leaf.Key.Equal(c.Certificate.Key))

	// An EC key as openssl ecparam writes it, with its parameters before it.
	der, err := x509.MarshalECPrivateKey(leaf.Key)
	require.NoError(t, err)
	sec1 := append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sec1.key"), sec1, 0o600))
	_, err = LoadCertificate(certFile, filepath.Join(dir, "sec1.key"), caFile)
	require.NoError(t, err)

	encrypted := filepath.Join(dir, "encrypted.key")
	require.NoError(t, os.WriteFile(encrypted, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), 0o600))
	world := filepath.Join(dir, "world.key")
	require.NoError(t, os.WriteFile(world, sec1, 0o644))
	broken := filepath.Join(dir, "broken.key")
	require.NoError(t, os.WriteFile(broken, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), 0o600))
	for want, files := range map[string][3]string{
		"does not belong to the certificate": {certFile, otherKey, caFile},
		"is encrypted":                       {certFile, encrypted, caFile},
		"chmod 600":                          {certFile, world, caFile},
		"can't be read":                      {certFile, broken, caFile},
		"no private key":                     {certFile, copyOf(t, caFile), caFile},
		"no certificate":                     {keyFile, keyFile, caFile},
		"none: does not exist":               {certFile, keyFile, "none"},
	} {
		_, err := LoadCertificate(files[0], files[1], files[2])
		require.ErrorContains(t, err, want)
	}
}

// copyOf returns a private copy of a file.
func copyOf(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	to := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(to, b, 0o600))
	return to
}

// TestH15VerifyServer: as a client we take a server's certificate only for the CA, time, usage and exact name that it is for.
func TestH15VerifyServer(t *testing.T) {
	t.Parallel()
	ca, other := testpki.NewCA(t, "ca"), testpki.NewCA(t, "other")
	server := func(edit func(*x509.Certificate)) *testpki.Leaf {
		return ca.Issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			c.DNSNames = []string{"gw.example"}
			edit(c)
		})
	}
	plain := func(*x509.Certificate) {}
	tests := []struct {
		name string
		leaf *testpki.Leaf
		host string
		want string
	}{
		{"good", server(plain), "gw.example", ""},
		{"names have no case", server(plain), "GW.Example", ""},
		{"address", ca.Server(t, "127.0.0.1", "::1"), "127.0.0.1", ""},
		{"IPv6 in another spelling", ca.Server(t, "::1"), "0:0::1", ""},
		{"no extended key usage at all", server(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "gw.example", ""},
		{"other CA", other.Server(t, "gw.example"), "gw.example", "unknown authority"},
		{"other name", server(plain), "other.example", `is for "gw.example", not for "other.example"`},
		{"part of the name", server(plain), "example", "not for"},
		{"wildcard", server(func(c *x509.Certificate) { c.DNSNames = []string{"*.example"} }), "gw.example", "not for"},
		{"common name only", server(func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "gw.example" }), "gw.example", "names no host"},
		{"address as a DNS name", server(func(c *x509.Certificate) { c.DNSNames = nil; c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), "127.0.0.2", "not for"},
		{"client's usage", ca.Issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, []string{"gw.example"}
		}), "gw.example", "incompatible key usage"},
		{"not for signatures", server(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "gw.example", "lacks digitalSignature"},
		{"expired", server(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "gw.example", "expired"},
		{"not yet valid", server(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "gw.example", "not_yet_valid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cred := Credential{Roots: ca.Pool()}
			_, err := cred.verifyServer(dtls.PeerChain{Leaf: tt.leaf.Cert, Role: dtls.RoleServer, ServerName: tt.host})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// TestVerifyServerIntermediate: a chain with an intermediate CA is followed.
func TestVerifyServerIntermediate(t *testing.T) {
	t.Parallel()
	root := testpki.NewCA(t, "root")
	middle := root.Issue(t, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	sub := &testpki.CA{Cert: middle.Cert, Key: middle.Key}
	leaf := sub.Server(t, "gw.example")
	cred := Credential{Roots: root.Pool()}
	chain := dtls.PeerChain{Leaf: leaf.Cert, Role: dtls.RoleServer, ServerName: "gw.example"}
	_, err := cred.verifyServer(chain)
	require.Error(t, err)
	chain.Intermediates = []*x509.Certificate{middle.Cert}
	_, err = cred.verifyServer(chain)
	require.NoError(t, err)
}
