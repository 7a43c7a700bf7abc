package handshake

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/netip"
	"slices"
	"testing"
	"time"

	"coapbridge/dtls/record"

	"github.com/stretchr/testify/require"
)

const (
	testIdentity = "device-1"
	testKey      = "0123456789abcdef"
	testName     = "gateway.example"
)

var (
	start0   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	testAddr = netip.MustParseAddrPort("192.0.2.1:5684")
)

// side is one party's credentials. It implements Callbacks.
type side struct {
	keys    map[string]string // by identity; others get a key of their own
	chain   [][]byte
	key     crypto.Signer
	certErr error
	roots   *x509.CertPool
	noEMS   bool

	verified [][]byte // that Verify was asked for
	name     string   // that Certificate or PSK was asked for
	asked    int      // how often NoEMS was
}

func (s *side) PSK(_ context.Context, identity []byte, name string) []byte {
	s.name = name
	if key, ok := s.keys[string(identity)]; ok {
		return []byte(key)
	}
	return []byte("an unknown identity's key")
}

func (s *side) Certificate(name string) ([][]byte, crypto.Signer, error) {
	s.name = name
	return s.chain, s.key, s.certErr
}

func (s *side) Verify(chain [][]byte, _ string) (*ecdsa.PublicKey, error) {
	s.verified = nil
	for _, c := range chain {
		s.verified = append(s.verified, slices.Clone(c))
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		if parsed, err := x509.ParseCertificate(c); err == nil {
			between.AddCert(parsed)
		}
	}
	opts := x509.VerifyOptions{
		Roots: s.roots, Intermediates: between, CurrentTime: start0, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if _, err := leaf.Verify(opts); err != nil {
		return nil, err
	}
	public, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("not ECDSA")
	}
	return public, nil
}

func (s *side) NoEMS([]byte, [][]byte) bool {
	s.asked++
	return s.noEMS
}

// issuer is a certification authority.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t testing.TB, curve elliptic.Curve, parent *issuer) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: start0.Add(-time.Hour),
		NotAfter: start0.Add(time.Hour * 24 * 3650), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	by := &issuer{template, key}
	if parent != nil {
		by = parent
		template.Subject.CommonName = "intermediate"
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &issuer{cert, key}
}

// issue makes a certificate of a key.
func (i *issuer) issue(t testing.TB, public crypto.PublicKey, name string) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: start0.Add(-time.Hour), NotAfter: start0.Add(time.Hour * 24 * 3650), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, public, i.key)
	require.NoError(t, err)
	return der
}

// newSides makes a client and a server that trust one another, with PSK and certificates on a curve.
func newSides(t testing.TB, curve elliptic.Curve) (client, server *side) {
	t.Helper()
	ca := newIssuer(t, curve, nil)
	middle := newIssuer(t, curve, ca)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	sides := [2]*side{}
	for n, name := range []string{"client.example", testName} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		sides[n] = &side{
			keys: map[string]string{testIdentity: testKey}, roots: roots, key: key,
			chain: [][]byte{middle.issue(t, &key.PublicKey, name), middle.cert.Raw},
		}
	}
	return sides[0], sides[1]
}

func bothKinds() *Config { return &Config{PSK: true, Certificate: true} }

// only is a configuration of one suite.
func only(s Suite) *Config { return &Config{PSK: true, Certificate: true, Suites: []Suite{s}} }

func suite(t testing.TB, id uint16) Suite {
	t.Helper()
	s, ok := SuiteByID(id)
	require.True(t, ok)
	return s
}

func paramsFor(s Suite) ClientParams {
	p := ClientParams{ServerName: testName}
	if s.PSK {
		p.PSKIdentity = []byte(testIdentity)
	}
	return p
}

// records cuts a datagram up.
func records(datagram []byte, cidLen int) (all []record.Record) {
	for len(datagram) > 0 {
		r, rest, ok := record.Parse(datagram, cidLen)
		if !ok {
			return all
		}
		all = append(all, r)
		datagram = rest
	}
	return all
}

// work runs what a machine waits for.
func work(m *Machine, now time.Time) {
	for j := m.Job(); j != nil; j = m.Job() {
		j.Run(context.Background())
		m.Resume(j, now)
	}
}

// front is what stands before a server's machine: the cookie.
type front struct {
	conf    *Config
	cb      Callbacks
	timers  Timers
	cid     []byte
	cookies *Cookies
	m       *Machine
	out     [][]byte
}

// receive takes a datagram.
func (f *front) receive(datagram []byte, now time.Time) {
	for _, r := range records(datagram, len(f.cid)) {
		if f.m == nil {
			f.hello(r, now)
			continue
		}
		f.m.Receive(r, now)
		work(f.m, now)
	}
}

func (f *front) hello(r record.Record, now time.Time) {
	h, ok := ParseHello(r.Payload)
	if !ok || r.Type != record.TypeHandshake || r.Epoch != 0 {
		return
	}
	if f.cookies == nil {
		f.cookies = NewCookies()
	}
	if !f.cookies.Valid(testAddr, h) {
		answer := AppendHelloVerifyRequest(nil, r.Seq, h.MessageSeq, f.cookies.Append(nil, testAddr, h))
		f.out = append(f.out, answer)
		return
	}
	f.m = NewServer(f.conf, f.cb, f.timers, h, r.Seq, f.cid, now)
	work(f.m, now)
}

func (f *front) output() [][]byte {
	out := f.out
	f.out = nil
	if f.m != nil {
		out = append(out, f.m.Output()...)
	}
	return out
}

// shake lets a client and a server talk without loss until neither says anything.
func shake(client *Machine, server *front, now time.Time) {
	work(client, now)
	for range 20 {
		up := client.Output()
		for _, d := range up {
			server.receive(d, now)
		}
		down := server.output()
		for _, d := range down {
			for _, r := range records(d, len(client.localCID)) {
				client.Receive(r, now)
				work(client, now)
			}
		}
		if len(up)+len(down) == 0 {
			return
		}
	}
}

// requireSame fails unless both ends have one session: keys, Connection IDs and numbers fit.
func requireSame(t testing.TB, client *Machine, server *Machine) (c, s *Result) {
	t.Helper()
	c, err := client.Done()
	require.NoError(t, err)
	require.NotNil(t, c, "the client isn't done")
	s, err = server.Done()
	require.NoError(t, err)
	require.NotNil(t, s, "the server isn't done")
	require.Equal(t, c.Suite, s.Suite)
	requireTalk(t, c, s)
	requireTalk(t, s, c)
	return c, s
}

// requireTalk sends application data, numbered behind what was repeated.
func requireTalk(t testing.TB, from, to *Result) {
	t.Helper()
	sealed := record.NewCipher(&from.Write).Seal(nil, record.TypeApplicationData, 1, from.NextSeq+100, from.RemoteCID, []byte("hello"))
	r, rest, ok := record.Parse(sealed, len(to.LocalCID))
	require.True(t, ok)
	require.Empty(t, rest)
	require.Equal(t, len(to.LocalCID), len(r.CID))
	require.Equal(t, record.Fresh, to.Window.Check(r.Seq))
	typ, plaintext, ok := record.NewCipher(&to.Read).Open(r)
	require.True(t, ok)
	require.Equal(t, record.TypeApplicationData, typ)
	require.Equal(t, "hello", string(plaintext))
}
