package dtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/simnet"
	"coapbridge/internal/testpki"
)

// subCA issues a CA certificate below parent.
func subCA(t *testing.T, parent *testpki.CA, edit func(*x509.Certificate)) *testpki.CA {
	t.Helper()
	leaf := parent.Issue(t, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		edit(c)
	})
	return &testpki.CA{Cert: leaf.Cert, Key: leaf.Key}
}

// S8: the chain's length and each of its links.
func TestTrustJudgesChains(t *testing.T) {
	t.Parallel()
	root := testpki.NewCA(t, "root")
	a := subCA(t, root, func(*x509.Certificate) {})
	b := subCA(t, a, func(*x509.Certificate) {})
	c := subCA(t, b, func(*x509.Certificate) {})
	stale := subCA(t, root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := subCA(t, root, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	wide, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{"wide.test"},
	}, root.Cert, wide.Public(), root.Key)
	require.NoError(t, err)
	p521, err := x509.ParseCertificate(der)
	require.NoError(t, err)

	for _, tt := range []struct {
		name  string
		roots *x509.CertPool
		chain PeerChain
		want  Outcome
	}{
		{"direct", root.Pool(), PeerChain{Leaf: root.Client(t, "//x/a").Cert}, OutcomeCompletedCertificate},
		{"depth 3", root.Pool(), PeerChain{Leaf: b.Client(t, "//x/a").Cert, Intermediates: []*x509.Certificate{a.Cert, b.Cert}}, OutcomeCompletedCertificate},
		{"depth 4", root.Pool(), PeerChain{Leaf: c.Client(t, "//x/a").Cert, Intermediates: []*x509.Certificate{a.Cert, b.Cert, c.Cert}}, OutcomeCertificateUntrusted},
		{"gap", root.Pool(), PeerChain{Leaf: b.Client(t, "//x/a").Cert, Intermediates: []*x509.Certificate{b.Cert}}, OutcomeCertificateUntrusted},
		{"no roots", nil, PeerChain{Leaf: root.Client(t, "//x/a").Cert}, OutcomeCertificateUntrusted},
		{"expired issuer", root.Pool(), PeerChain{Leaf: stale.Client(t, "//x/a").Cert, Intermediates: []*x509.Certificate{stale.Cert}}, OutcomeCertificateExpired},
		{"future issuer", root.Pool(), PeerChain{Leaf: early.Client(t, "//x/a").Cert, Intermediates: []*x509.Certificate{early.Cert}}, OutcomeCertificateNotYetValid},
		{"CA as peer", root.Pool(), PeerChain{Leaf: a.Cert}, OutcomeCertificateWrongUsage},
		{"P-521", root.Pool(), PeerChain{Leaf: p521}, OutcomeCertificateUntrusted},
		{"unknown critical extension", root.Pool(), PeerChain{Leaf: root.Issue(t, func(c *x509.Certificate) {
			c.DNSNames = []string{"a.test"}
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}).Cert}, OutcomeCertificateUntrusted},
		{"URI outside of the issuer's constraint", root.Pool(), constrained(t, root, "coap://other.test/C1"), OutcomeCertificateUntrusted},
		{"URI inside of it", root.Pool(), constrained(t, root, "coap://in.test/C1"), OutcomeCompletedCertificate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.chain.Role = RoleClient
			_, err := (&Trust{Roots: tt.roots}).Verify(tt.chain)
			if tt.want == OutcomeCompletedCertificate {
				require.NoError(t, err)
				return
			}
			var refused *CertificateError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, tt.want, refused.Outcome, err)
		})
	}
}

func constrained(t *testing.T, root *testpki.CA, uri string) PeerChain {
	ca := subCA(t, root, func(c *x509.Certificate) { c.PermittedURIDomains = []string{"in.test"} })
	return PeerChain{Leaf: ca.Client(t, uri).Cert, Intermediates: []*x509.Certificate{ca.Cert}}
}

// S9: right type, exact, no wildcard, no common name.
func TestTrustComparesNames(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "CA")
	for _, tt := range []struct {
		name, dialled string
		has           []string
		ok            bool
	}{
		{"same", "bridge.test", []string{"other.test", "bridge.test"}, true},
		{"case", "Bridge.Test", []string{"bridge.test"}, true},
		{"address", "192.0.2.1", []string{"192.0.2.1"}, true},
		{"IPv6 address in another spelling", "2001:DB8:0::1", []string{"2001:db8::1"}, true},
		{"other", "bridge.test", []string{"other.test"}, false},
		{"below", "a.bridge.test", []string{"bridge.test"}, false},
		{"wildcard", "a.bridge.test", []string{"*.bridge.test"}, false},
		{"wildcard beside the name", "bridge.test", []string{"bridge.test", "*.test"}, false},
		{"no name dialled", "", []string{"bridge.test"}, false},
		{"address dialled, name there", "192.0.2.1", []string{"bridge.test"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			chain := PeerChain{Leaf: ca.Server(t, tt.has...).Cert, Role: RoleServer, ServerName: tt.dialled}
			_, err := (&Trust{Roots: ca.Pool()}).Verify(chain)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			var refused *CertificateError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, OutcomeCertificateNoName, refused.Outcome)
		})
	}
}

func TestNamesOf(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "CA")
	uri, err := url.Parse("coap://in.test/A%2fb?x")
	require.NoError(t, err)
	cert := ca.Issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses, c.URIs = []string{"Node.Test"}, []net.IP{net.IPv4(192, 0, 2, 1)}, []*url.URL{uri}
		c.EmailAddresses = []string{"a@b.test"}
	}).Cert
	require.ElementsMatch(t, []Name{{NameDNS, "node.test"}, {NameIP, "192.0.2.1"}, {NameURI, "coap://in.test/A%2fb?x"}}, NamesOf(cert))

	hardware := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}
	value, err := asn1.MarshalWithParams("serial-1", "utf8")
	require.NoError(t, err)
	id, err := asn1.Marshal(hardware)
	require.NoError(t, err)
	wrap := func(tag int, compound bool, der []byte) []byte {
		out, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: der})
		require.NoError(t, err)
		return out
	}
	san := func(names ...[]byte) []Name {
		var all []byte
		for _, n := range names {
			all = append(all, n...)
		}
		der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: all})
		require.NoError(t, err)
		return NamesOf(&x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}}})
	}
	require.Equal(t, []Name{{NameOther, "1.3.6.1.5.5.7.8.4=serial-1"}}, san(wrap(0, true, append(id, wrap(0, true, value)...))))
	require.Equal(t, []Name{{NameOther, "1.3.6.1.5.5.7.8.4=0500"}}, san(wrap(0, true, append(id, wrap(0, true, []byte{5, 0})...))))
	require.Empty(t, san(wrap(2, false, []byte("a.test\x00.evil.test")), wrap(6, false, []byte("coap://a b")), wrap(7, false, []byte{1, 2})))
	require.Empty(t, san(wrap(0, true, id), wrap(2, false, nil)))
}

func FuzzNamesOf(f *testing.F) {
	f.Add([]byte{0x30, 0x08, 0x82, 0x06, 'a', '.', 't', 'e', 's', 't'})
	f.Fuzz(func(t *testing.T, san []byte) {
		ext := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}
		names := NamesOf(&x509.Certificate{Extensions: []pkix.Extension{ext}})
		require.LessOrEqual(t, len(names), maxNames)
		for _, n := range names {
			require.NotEmpty(t, n.Value)
			require.True(t, isPrintable([]byte(n.Value)))
		}
	})
}

// A session doesn't outlive its peer's certificate.
func TestSessionEndsWithTheCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newTestCerts(t)
		short := certs.ca.Issue(t, func(c *x509.Certificate) {
			c.DNSNames, c.NotAfter = []string{"device.test"}, time.Now().Add(time.Hour)
		})
		n := &simnet.Net{}
		server := newRecorder(true)
		ep, addr := startOn(t, &Config{Certificate: present(certs.server), Verify: trust(certs.ca), Handler: server}, n.Listen(serverAddr))
		client, _ := startOn(t, &Config{Certificate: present(short), Verify: trust(certs.ca), Handler: newRecorder(false)}, n.Listen(clientAddr))
		_, err := client.DialCertificate(limited(t), netip.MustParseAddrPort(addr.String()), "bridge.test")
		require.NoError(t, err)
		time.Sleep(59 * time.Minute)
		require.Equal(t, 1, ep.Stats().Sessions)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.EqualValues(t, 1, ep.Stats().Closed[ReasonExpired])
		require.Zero(t, ep.Stats().Sessions)
	})
}
