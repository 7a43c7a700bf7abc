package cse_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse"
	"coapbridge/internal/testpki"
)

// TestB05Certificates: only a certificate that the configuration names as a CSE's, of that CSE's CA, gets through the
// handshake; each other one is counted by its reason, and no byte of a request of it is read.
func TestB05Certificates(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	stranger := testpki.NewCA(t, "CA of devices")
	issue := func(ca *testpki.CA, edit func(*x509.Certificate)) tls.Certificate {
		return ca.Issue(t, func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{"cse.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			edit(c)
		}).TLS()
	}
	listed := issue(p.ca, func(c *x509.Certificate) { c.DNSNames = nil })
	digest := sha256.Sum256(listed.Certificate[0])
	revoked := issue(p.ca, func(*x509.Certificate) {})
	otherCA := testpki.NewCA(t, "third CSE's CA")
	d := startDownlink(t, p, nil, func(conf *cse.DownlinkConfig) {
		conf.CSEs[0].Certificates = append(conf.CSEs[0].Certificates, "uri:https://cse.example/x", "sha256:"+hex.EncodeToString(digest[:]))
		conf.CSEs = append(conf.CSEs, cse.DownlinkCSE{Name: "third", CA: otherCA.Pool(), Certificates: []string{"dns:third.example"}})
		conf.Verify = func(s tls.ConnectionState) error {
			if len(s.VerifiedChains) == 0 || slices.Equal(s.PeerCertificates[0].Raw, revoked.Certificate[0]) {
				return errors.New("revoked")
			}
			return nil
		}
	})
	x, err := url.Parse("https://cse.example/x")
	require.NoError(t, err)
	y, err := url.Parse("https://cse.example/X")
	require.NoError(t, err)
	for _, tt := range []struct {
		name   string
		cert   tls.Certificate
		reason cse.DownlinkReason // "": it is let in
	}{
		{"dNSName in another case", issue(p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"CSE.example"} }), ""},
		{"one dNSName of two", issue(p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"a.example", "cse.example"} }), ""},
		{"URI", issue(p.ca, func(c *x509.Certificate) { c.DNSNames, c.URIs = nil, []*url.URL{x} }), ""},
		{"fingerprint", listed, ""},
		{"no extended key usage", issue(p.ca, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ""},
		{"none", tls.Certificate{}, cse.DownlinkHandshake},
		{"a device's", issue(stranger, func(c *x509.Certificate) { c.DNSNames = []string{"device.example"} }), cse.DownlinkUnlisted},
		{"a device's with the CSE's name", issue(stranger, func(*x509.Certificate) {}), cse.DownlinkChain},
		{"another CSE's CA", issue(otherCA, func(*x509.Certificate) {}), cse.DownlinkChain},
		{"unlisted, of the right CA", issue(p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"cse2.example"} }), cse.DownlinkUnlisted},
		{"wildcard", issue(p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"*.example"} }), cse.DownlinkUnlisted},
		{"common name", issue(p.ca, func(c *x509.Certificate) { c.DNSNames = nil; c.Subject.CommonName = "cse.example" }), cse.DownlinkUnlisted},
		{"URI in another case", issue(p.ca, func(c *x509.Certificate) { c.DNSNames, c.URIs = nil, []*url.URL{y} }), cse.DownlinkUnlisted},
		{"10,000 names", issue(p.ca, func(c *x509.Certificate) { c.DNSNames = slices.Repeat([]string{"cse.example"}, 1000) }), cse.DownlinkUnlisted},
		{"names of two CSEs", issue(p.ca, func(c *x509.Certificate) { c.DNSNames = []string{"cse.example", "third.example"} }), cse.DownlinkAmbiguous},
		{"expired", issue(p.ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), cse.DownlinkChain},
		{"a server's", issue(p.ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), cse.DownlinkUsage},
		{"no digitalSignature", issue(p.ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), cse.DownlinkUsage},
		{"revoked", revoked, cse.DownlinkRevoked},
	} {
		before := d.Stats()
		got := ""
		c, err := d.try(tt.cert)
		if err == nil {
			c.say(notification("/"+token, "r")) // with TLS 1.3 the alert comes after the client's side is done
			if a, err := c.listen(); err == nil {
				got = a.rsc()
			}
			_ = c.Close()
		}
		if tt.reason == "" {
			require.Equal(t, "2000", got, tt.name)
			continue
		}
		require.Empty(t, got, tt.name)
		require.Eventually(t, func() bool { return d.refused(tt.reason) == int(before.Refused[tt.reason])+1 }, patience, time.Millisecond, tt.name)
		require.Equal(t, before.CSEs[0].Connections, d.Stats().CSEs[0].Connections, tt.name)
	}
	require.Len(t, d.device.requests(), 5)
}

// TestB05NoResumption: a session is never resumed, so that no handshake goes without its checks.
func TestB05NoResumption(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	conf := &tls.Config{
		RootCAs: d.roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{d.up}, ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for range 3 {
			raw, err := d.dial()
			require.NoError(t, err)
			conf.MinVersion, conf.MaxVersion = version, version
			c := tls.Client(raw, conf)
			require.NoError(t, c.Handshake())
			require.False(t, c.ConnectionState().DidResume)
			_ = c.Close()
		}
	}
	raw, err := d.dial()
	require.NoError(t, err)
	old := tls.Client(raw, &tls.Config{RootCAs: d.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.Error(t, old.Handshake(), "S1")
	_ = raw.Close()
}

// TestB05Tokens: guessed, cut, prolonged, foreign and missing tokens get one answer, of the same bytes, and each takes the
// same way: to the Deliverer and back. A malformed request gets its fault whether or not the token is known.
func TestB05Tokens(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	verification := func(target string) string {
		return httpMessage("POST "+target+" HTTP/1.1", "r", `{"m2m:sgn":{"vrq":true,"sur":"/id-in/cse-in/x"}}`)
	}
	want := ""
	try := func(cert tls.Certificate, request string) {
		before := len(d.device.requests())
		c := d.connect(t, cert)
		a := c.ask(t, request)
		a.Header.Del("Date")
		got := a.Status
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range a.Header {
				if !yield(name) {
					return
				}
			}
		}) {
			got += "\n" + name + ": " + a.Header.Get(name)
		}
		if want == "" {
			want = got
		}
		require.Equal(t, want, got, request)
		require.Empty(t, a.body)
		require.Len(t, d.device.requests(), before+1, "no early exit")
		require.Equal(t, "4005", c.ask(t, httpMessage("PATCH / HTTP/1.1", "r", "")).rsc(), "the connection goes on")
		_ = c.Close()
	}
	for _, request := range []string{
		notification("/AAAAAAAAAAAAAAAAAAAAAA", "r"), notification("/"+token[:len(token)-1], "r"), notification("/"+token+"A", "r"),
		notification("/x/"+token, "r"), notification("/%64"+token[1:], "r"), notification("/", "r"), notification("//"+token, "r"),
		notification("/~/id-in/Cdev", "r"), notification("TinyIoT/tt/c", "r"), verification("/unknown"), verification("/unknown/~/id-in/Cdev"),
	} {
		try(d.up, request)
	}
	require.Contains(t, want, "404 Not Found\nContent-Length: 0\nX-M2m-Ri: r\nX-M2m-Rsc: 4004\nX-M2m-Rvi: 3")
	require.Equal(t, 11, d.refused(cse.DownlinkNoAccess))
	c := d.connect(t, d.foreign)
	for _, target := range []string{"/" + token, "/" + token + "/~/id-in/Cdev", "/unknown"} {
		a := c.ask(t, verification(target))
		require.Equal(t, "4004", a.rsc(), "another CSE's token is as unknown as any")
	}
	for _, target := range []string{"/" + token, "/unknown"} {
		require.Equal(t, "4000", c.ask(t, httpMessage("GET "+target+" HTTP/1.1", "r", "{}")).rsc())
	}
}
