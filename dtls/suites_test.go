package dtls

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
)

// pionDial is pion's own client: another implementation's flights as far as the wire goes. It returns Handshake's error.
func pionDial(t testing.TB, to netip.AddrPort, opts ...pion.ClientOption) (*pion.Conn, error) {
	t.Helper()
	sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	conn, err := pion.ClientWithOptions(sock, net.UDPAddrFromAddrPort(to), opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = conn.Close()
		_ = sock.Close()
	})
	return conn, conn.HandshakeContext(limited(t))
}

func pionPSK(identity, key string) []pion.ClientOption {
	return []pion.ClientOption{
		pion.WithPSK(func([]byte) ([]byte, error) { return []byte(key), nil }),
		pion.WithPSKIdentityHint([]byte(identity)),
		pion.WithCipherSuites(pion.TLS_PSK_WITH_AES_128_CCM_8),
	}
}

func pionCertificate(own ...tls.Certificate) []pion.ClientOption {
	opts := []pion.ClientOption{
		// Unverified: the test looks at what the server makes of the client.
		pion.WithInsecureSkipVerify(true), pion.WithCipherSuites(pion.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8),
	}
	if len(own) > 0 {
		opts = append(opts, pion.WithCertificates(own...))
	}
	return opts
}

func echo(t testing.TB, conn *pion.Conn, text string) {
	t.Helper()
	_, err := conn.Write([]byte(text))
	require.NoError(t, err)
	buf := make([]byte, maxDatagram)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	require.Equal(t, text, string(buf[:n]))
}

func TestEverySuiteServesAPeer(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	server := newRecorder(true)
	_, addr := start(t, &Config{PSK: testPSK, Certificate: present(certs.server), Verify: trust(certs.ca), Handler: server})
	served := 0
	for _, s := range handshake.Suites() {
		if s.PSK && s.ECDHE { // pion has none of ours
			continue
		}
		served++
		t.Run(s.Name, func(t *testing.T) {
			id := pion.WithCipherSuites(pion.CipherSuiteID(s.ID))
			opts := append(pionCertificate(certs.client.TLS()), id)
			if s.PSK {
				opts = append(pionPSK(testIdentity, testKey), id)
			}
			conn, err := pionDial(t, addr, opts...)
			require.NoError(t, err)
			echo(t, conn, "hello")
			state, ok := conn.ConnectionState()
			require.True(t, ok)
			require.EqualValues(t, s.ID, state.CipherSuiteID)
		})
	}
	require.Len(t, server.all(), served)
}

func TestEverySuiteDialsAPeer(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	for _, s := range handshake.Suites() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			conf := &Config{Certificate: present(certs.server), Verify: trust(certs.ca), Handler: newRecorder(true)}
			if s.PSK {
				conf = &Config{PSK: testPSK, Handler: newRecorder(true)}
			}
			sock, err := net.ListenPacket("udp4", "127.0.0.1:0")
			require.NoError(t, err)
			ep, err := New(conf, sock)
			require.NoError(t, err)
			ep.handshakes.Suites = []handshake.Suite{s}
			addr := serve(t, ep)
			client := newRecorder(false)
			dialler, _ := start(t, &Config{PSK: testPSK, Certificate: present(certs.client), Verify: trust(certs.ca), Handler: client})
			id := PeerID{Kind: KindPSK, ID: testIdentity}
			if !s.PSK {
				id = PeerIDOf(certs.server.Cert)
			}
			conn, err := dialler.Dial(limited(t), addr, id)
			require.NoError(t, err)
			require.Equal(t, s.Name, conn.Peer().CipherSuite)
			full := bytes.Repeat([]byte("x"), conn.MaxPlaintext())
			require.NoError(t, conn.Send(full))
			client.wait(t, func() bool { return len(client.records) == 1 })
			require.Equal(t, string(full), client.all()[0])
			require.ErrorIs(t, conn.Send(append(full, 'x')), ErrTooLong)
		})
	}
}

// The server's order decides, and a suite outside of the list is never taken.
func TestServerOrderDecides(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	ep, addr := start(t, &Config{PSK: testPSK, Certificate: present(certs.server), Verify: trust(certs.ca), Handler: newRecorder(true)})
	conn, err := pionDial(t, addr, append(pionPSK(testIdentity, testKey),
		pion.WithCipherSuites(pion.TLS_PSK_WITH_AES_128_CCM_8, pion.TLS_PSK_WITH_AES_128_CBC_SHA256, pion.TLS_PSK_WITH_AES_128_GCM_SHA256))...)
	require.NoError(t, err)
	state, _ := conn.ConnectionState()
	require.Equal(t, pion.TLS_PSK_WITH_AES_128_GCM_SHA256, state.CipherSuiteID)

	_, err = pionDial(t, addr, append(pionPSK(testIdentity, testKey), pion.WithCipherSuites(pion.TLS_PSK_WITH_AES_128_CBC_SHA256))...)
	require.Error(t, err)
	require.EqualValues(t, 1, settledCount(t, ep, OutcomeNoCommonSuite))

	_, err = pionDial(t, addr, append(pionPSK(testIdentity, testKey), pion.WithExtendedMasterSecret(pion.DisableExtendedMasterSecret))...)
	require.Error(t, err)
	require.EqualValues(t, 1, settledCount(t, ep, OutcomeNoExtendedMasterSecret))
}
