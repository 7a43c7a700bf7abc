package session

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// heard is what a Client told.
type heard struct {
	established chan *Session
	received    chan string
	failed      chan error
	ended       chan error
}

func (h *heard) Established(_ *fleet.Batch, s *Session)        { h.established <- s }
func (h *heard) Received(_ *fleet.Batch, _ *Session, b []byte) { h.received <- string(b) }
func (h *heard) Failed(_ *fleet.Batch, _ int, err error)       { h.failed <- err }
func (h *heard) Ended(_ *fleet.Batch, _ *Session, err error)   { h.ended <- err }

// client returns a Client towards a server, and what it tells.
func client(t *testing.T, target netip.AddrPort, conf Config) (*Client, *fleet.Fleet, *heard) {
	t.Helper()
	h := &heard{make(chan *Session, 10), make(chan string, 10), make(chan error, 10), make(chan error, 10)}
	conf.Events = h
	f, err := fleet.Open(target, 1)
	require.NoError(t, err)
	c, err := New(f, conf)
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { f.Serve(context.Background(), c.Receive) })
	t.Cleanup(func() {
		c.Close()
		f.Close()
		serving.Wait()
	})
	return c, f, h
}

// serve starts a server of pion's, which answers every record with itself and then, at "bye", ends the session.
func serve(t *testing.T, options ...pion.ServerOption) netip.AddrPort {
	t.Helper()
	l, err := pion.ListenWithOptions("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, options...)
	require.NoError(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() {
				b := make([]byte, 2000)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					_, _ = conn.Write(b[:n])
					if string(b[:n]) == "bye" {
						_ = conn.Close()
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().(*net.UDPAddr).AddrPort()
}

func psk(suite pion.CipherSuiteID) []pion.ServerOption {
	return []pion.ServerOption{
		pion.WithPSK(func([]byte) ([]byte, error) { return []byte("0123456789abcdef"), nil }), pion.WithCipherSuites(suite),
	}
}

func withKey(key string) func(int) (Credential, error) {
	return func(int) (Credential, error) { return Credential{Identity: "load", Key: []byte(key)}, nil }
}

func TestSession(t *testing.T) {
	c, f, h := client(t, serve(t, psk(pion.TLS_PSK_WITH_AES_128_CCM_8)...), Config{Credential: withKey("0123456789abcdef")})
	out := f.NewBatch()
	c.Start(out, 7)
	out.Flush()
	s := <-h.established
	require.Equal(t, 7, s.Index())
	require.Equal(t, f.Path(7), s.Path())
	require.False(t, s.ConnectionID())
	for _, text := range []string{"one", "two", "bye"} {
		require.NoError(t, s.Send(out, []byte(text)))
		out.Flush()
		require.Equal(t, text, <-h.received)
	}
	require.ErrorContains(t, <-h.ended, "alert 0")
	require.ErrorIs(t, s.Send(out, []byte("late")), ErrClosed)
	require.NotEqual(t, s.NextMessageID(), s.NextMessageID())
}

func TestWrongKey(t *testing.T) {
	c, f, h := client(t, serve(t, psk(pion.TLS_PSK_WITH_AES_128_CCM_8)...), Config{
		Credential: withKey("fedcba9876543210"), Timeout: 100 * time.Millisecond,
	})
	out := f.NewBatch()
	c.Start(out, 0)
	out.Flush()
	require.Error(t, <-h.failed, "by an alert, or by silence")
}

func TestCertificates(t *testing.T) {
	ca, other := testpki.NewCA(t, "load"), testpki.NewCA(t, "other")
	own := ca.Client(t, "urn:load").TLS()
	target := serve(t, pion.WithCertificates(ca.Server(t, "localhost").TLS()), pion.WithClientAuth(pion.RequireAndVerifyClientCert),
		pion.WithClientCAs(ca.Pool()), pion.WithCipherSuites(pion.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256))
	conf := Config{Credential: func(int) (Credential, error) { return Credential{Certificate: &own}, nil }, Roots: ca.Pool(), ServerName: "localhost"}
	c, f, h := client(t, target, conf)
	out := f.NewBatch()
	for i := range 2 { // the second finds the chain judged
		c.Start(out, i)
		out.Flush()
		s := <-h.established
		require.NoError(t, s.Send(out, []byte("hello")))
		out.Flush()
		require.Equal(t, "hello", <-h.received)
		s.Close(out)
		out.Flush()
	}
	for name, wrong := range map[string]Config{
		"CA":   {Credential: conf.Credential, Roots: other.Pool(), ServerName: "localhost"},
		"name": {Credential: conf.Credential, Roots: ca.Pool(), ServerName: "elsewhere"},
	} {
		c, f, h := client(t, target, wrong)
		out := f.NewBatch()
		c.Start(out, 0)
		out.Flush()
		require.ErrorContains(t, <-h.failed, "x509", name)
	}
}

func TestUnknownSuite(t *testing.T) {
	_, err := New(nil, Config{Suites: []uint16{0x002f}})
	require.Error(t, err)
}
