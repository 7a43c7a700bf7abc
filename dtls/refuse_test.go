package dtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"coapbridge/internal/testpki"
)

// settledCount waits until no handshake is under way and returns the counter.
func settledCount(t testing.TB, ep *Endpoint, o Outcome) uint64 {
	t.Helper()
	require.Eventually(t, func() bool { return ep.Stats().HalfOpen == 0 }, 15*time.Second, 5*time.Millisecond)
	return ep.Stats().Handshakes[o]
}

// H15, and the acceptance of certificates: each fault has its own counter and lets nobody in.
func TestH15CertificateRefused(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	foreign := testpki.NewCA(t, "foreign CA")
	issue := func(edit func(*x509.Certificate)) []tls.Certificate {
		return []tls.Certificate{certs.ca.Issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			c.DNSNames = []string{"device.test"}
			edit(c)
		}).TLS()}
	}
	for _, tt := range []struct {
		name string
		own  []tls.Certificate
		want Outcome
	}{
		{"right", issue(func(*x509.Certificate) {}), OutcomeCompletedCertificate},
		{"right without EKU", issue(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), OutcomeCompletedCertificate},
		{"none", nil, OutcomeNoCertificate},
		{"foreign CA", []tls.Certificate{foreign.Client(t, "//in.test/C1").TLS()}, OutcomeCertificateUntrusted},
		{"expired", issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), OutcomeCertificateExpired},
		{"future", issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), OutcomeCertificateNotYetValid},
		{"EKU of a server", []tls.Certificate{certs.server.TLS()}, OutcomeCertificateWrongUsage},
		{"no digitalSignature", issue(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), OutcomeCertificateWrongUsage},
		{"no key usage", issue(func(c *x509.Certificate) { c.KeyUsage = 0 }), OutcomeCertificateWrongUsage},
		{"CN only", issue(func(c *x509.Certificate) { c.DNSNames = nil; c.Subject.CommonName = "device.test" }), OutcomeCertificateNoName},
		{"wildcard", issue(func(c *x509.Certificate) { c.DNSNames = []string{"*.test"} }), OutcomeCertificateNoName},
		{"no entry", issue(func(c *x509.Certificate) { c.DNSNames = []string{"stranger.test"} }), OutcomeCertificateRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			verify := trust(certs.ca)
			server := newRecorder(true)
			ep, addr := start(t, &Config{Certificate: present(certs.server), Handler: server, Verify: func(chain PeerChain) (*x509.Certificate, error) {
				if len(chain.Leaf.DNSNames) > 0 && chain.Leaf.DNSNames[0] == "stranger.test" {
					return nil, errors.New("no entry")
				}
				return verify(chain)
			}})
			_, err := pionDial(t, addr, pionCertificate(tt.own...)...)
			require.EqualValues(t, 1, settledCount(t, ep, tt.want))
			if tt.want == OutcomeCompletedCertificate {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.Zero(t, ep.Stats().Sessions)
			require.Empty(t, server.conns)
		})
	}
}

// H15 for our dialling client: the server's name must stand in its certificate.
func TestH15ServerNameRefused(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	ep, addr := start(t, &Config{Certificate: present(certs.server), Verify: trust(certs.ca), Handler: newRecorder(true)})
	dialler, _ := start(t, &Config{Certificate: present(certs.client), Verify: trust(certs.ca), Handler: newRecorder(false)})
	_, err := dialler.DialCertificate(limited(t), addr, "other.test")
	var failed *HandshakeError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, OutcomeCertificateNoName, failed.Outcome)
	require.EqualValues(t, 1, settledCount(t, ep, OutcomePeerAlert))

	_, err = dialler.Dial(limited(t), addr, PeerIDOf(certs.client.Cert))
	require.ErrorAs(t, err, &failed)
	require.Equal(t, OutcomeCertificateRefused, failed.Outcome, "another fingerprint than the one that was dialled")
}

func TestPSKRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, identity, key string }{
		{"wrong key", testIdentity, "fedcba9876543210"},
		{"unknown identity", "nobody", testKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ep, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
			_, err := pionDial(t, addr, pionPSK(tt.identity, tt.key)...)
			require.ErrorContains(t, err, "DecryptError", "a developer's client says why (S5)")
			require.EqualValues(t, 1, settledCount(t, ep, OutcomePSKFailed))
			require.Zero(t, ep.Stats().Sessions)
		})
	}
}

func TestPSKDialRefused(t *testing.T) {
	t.Parallel()
	_, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
	dialler, _ := start(t, &Config{Handler: newRecorder(false), PSK: func(_ context.Context, q PSKQuery) ([]byte, error) {
		require.Equal(t, RoleServer, q.Role)
		if q.Peer.ID == "nobody" {
			return nil, ErrUnknownIdentity
		}
		return []byte("fedcba9876543210"), nil
	}})
	_, err := dialler.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
	var failed *HandshakeError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, OutcomePSKFailed, failed.Outcome)
	_, err = dialler.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: "nobody"})
	require.ErrorIs(t, err, ErrUnknownIdentity)
}

// C08 and S37: plain CoAP on the port gets nothing, which a forged source could be sent.
func TestC08PlainCoAPIsCountedAndUnanswered(t *testing.T) {
	t.Parallel()
	ep, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
	sock, err := net.Dial("udp4", addr.String())
	require.NoError(t, err)
	defer func() { _ = sock.Close() }()
	_, err = sock.Write([]byte{0x40, 0x01, 0x12, 0x34})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return ep.Stats().Handshakes[OutcomeNotDTLS] == 1 }, 5*time.Second, time.Millisecond)
	require.NoError(t, sock.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = sock.Read(make([]byte, 100))
	require.Error(t, err)
}

// The clock rule: certificates wait, keys don't.
func TestClockHoldsCertificatesBack(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	ep, addr := start(t, &Config{
		PSK: testPSK, Certificate: present(certs.server), Verify: trust(certs.ca), Handler: newRecorder(true),
		ClockOK: func() bool { return false },
	})
	conn, err := pionDial(t, addr, pionPSK(testIdentity, testKey)...)
	require.NoError(t, err)
	echo(t, conn, "hello")
	sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = sock.Close() }()
	refused, err := pion.ClientWithOptions(sock, net.UDPAddrFromAddrPort(addr), pionCertificate(certs.client.TLS())...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- refused.HandshakeContext(ctx) }()
	require.Eventually(t, func() bool { return ep.Stats().Handshakes[OutcomeClock] > 0 }, 5*time.Second, time.Millisecond)
	cancel()
	require.Error(t, <-ended)
	_, err = ep.DialCertificate(limited(t), addr, "bridge.test")
	require.ErrorIs(t, err, ErrClock)
}

// A look-up that blocks holds its own handshake only.
func TestBlockingPSKStallsNobody(t *testing.T) {
	t.Parallel()
	release, asked := make(chan struct{}), make(chan struct{})
	ep, addr := start(t, &Config{Handler: newRecorder(true), PSK: func(ctx context.Context, q PSKQuery) ([]byte, error) {
		if q.Peer.ID == "slow" {
			close(asked)
			<-release
			return []byte(testKey), nil
		}
		return testPSK(ctx, q)
	}})
	slow := make(chan error, 1)
	go func() {
		_, err := pionDial(t, addr, pionPSK("slow", testKey)...)
		slow <- err
	}()
	<-asked
	conn, err := pionDial(t, addr, pionPSK(testIdentity, testKey)...)
	require.NoError(t, err)
	echo(t, conn, "hello")
	close(release)
	require.NoError(t, <-slow)
	require.EqualValues(t, 2, settledCount(t, ep, OutcomeCompletedPSK))
}

// A credential that is withdrawn while its handshake runs doesn't slip in behind CloseWhere.
func TestWithdrawnCredentialDoesNotSlipIn(t *testing.T) {
	t.Parallel()
	made := make(chan *Endpoint, 1)
	conf := &Config{Handler: newRecorder(true), PSK: func(context.Context, PSKQuery) ([]byte, error) {
		if ep := <-made; ep != nil {
			close(made)
			require.Zero(t, ep.CloseWhere(func(*Peer) bool { return true }, ReasonRevoked))
			return []byte(testKey), nil
		}
		return nil, ErrUnknownIdentity
	}}
	ep, addr := start(t, conf)
	made <- ep
	conn, err := pionDial(t, addr, pionPSK(testIdentity, testKey)...)
	if err == nil { // the peer has our Finished by then; close_notify follows
		_, err = conn.Read(make([]byte, 10))
	}
	require.Error(t, err)
	require.EqualValues(t, 1, settledCount(t, ep, OutcomeRevoked))
	require.Zero(t, ep.Stats().Sessions)
}

// S18, S50: a limit drops and counts, and gives its place back.
func TestHalfOpenLimit(t *testing.T) {
	t.Parallel()
	release, asked := make(chan struct{}), make(chan struct{})
	ep, addr := start(t, &Config{Handler: newRecorder(true), Limits: Limits{HalfOpenPerPrefix: 1},
		PSK: func(ctx context.Context, q PSKQuery) ([]byte, error) {
			if q.Peer.ID == "slow" {
				close(asked)
				<-release
			}
			return testPSK(ctx, q)
		}})
	slow := make(chan error, 1)
	go func() {
		_, err := pionDial(t, addr, pionPSK("slow", testKey)...)
		slow <- err
	}()
	<-asked
	done := make(chan error, 1)
	go func() {
		_, err := pionDial(t, addr, pionPSK(testIdentity, testKey)...)
		done <- err
	}()
	require.Eventually(t, func() bool { return ep.Stats().Handshakes[OutcomeLimit] > 0 }, 5*time.Second, time.Millisecond)
	close(release)
	require.Error(t, <-slow)
	require.NoError(t, <-done, "its repeated hello finds the place free")
}
