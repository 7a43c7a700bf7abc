package request

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// Settings are how a Session speaks CoAP.
type Settings struct {
	Options func(coap.OptionID) bool // critical options of responses that the caller understands, beyond CoAP's own
	Profile coap.Profile
}

// Session is one DTLS association with a server. Its methods are safe for concurrent use.
type Session struct {
	dtls  *dtls.Endpoint
	coap  *coap.Endpoint
	peer  *coap.Peer
	close sync.Once
	done  sync.WaitGroup // the Serve of both endpoints
}

// Dial finds the target's addresses and opens a session with the first one that authenticates itself. Its error is a
// *ConnectError.
func Dial(ctx context.Context, t Target, cred Credential, s Settings) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	addrs, err := resolve(ctx, t)
	if err != nil {
		return nil, &ConnectError{Target: t.String(), Err: err, Hint: "Check the name; --server-name can hold the certificate's " +
			"name when the URI has an address."}
	}
	name := cred.ServerName
	if name == "" {
		name = t.Host
	}
	session, err := race(ctx, addrs, func(ctx context.Context, addr netip.AddrPort) (*Session, error) {
		return dialOne(ctx, addr, name, &cred, s)
	}, (*Session).Close)
	if err != nil {
		return nil, &ConnectError{Target: t.String(), Err: err, Hint: hint(err, t, &cred)}
	}
	return session, nil
}

// resolve returns the addresses of the target: the literal, or what its name has, in the resolver's order.
func resolve(ctx context.Context, t Target) ([]netip.AddrPort, error) {
	if literal, ok := t.literal(); ok {
		return []netip.AddrPort{literal}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.Host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		if len(addrs) < maxAttempts {
			addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), t.Port))
		}
	}
	return interleave(addrs), nil
}

// interleave alternates between the families, beginning with that of the first address, so that one family without a route
// does not hold the other up (RFC 8305, Section 4).
func interleave(addrs []netip.AddrPort) []netip.AddrPort {
	if len(addrs) == 0 {
		return nil
	}
	var first, second []netip.AddrPort
	for _, a := range addrs {
		if a.Addr().Is4() == addrs[0].Addr().Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	var out []netip.AddrPort
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out
}

// dialOne opens a session with one address over a socket of its own.
func dialOne(ctx context.Context, addr netip.AddrPort, name string, cred *Credential, set Settings) (*Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	socket, err := dialUDP(addr)
	if err != nil {
		return nil, err
	}
	s := &Session{}
	s.coap = coap.New(&coap.Config{
		Understands: func(_ *coap.Peer, id coap.OptionID) bool { return set.Options != nil && set.Options(id) },
		Limits:      coap.Limits{MaxBody: set.Profile.MaxBody},
	})
	h := &handler{coap: s.coap, profile: set.Profile}
	socket.refused = func() {
		cancel(errPortClosed)
		h.lost()
	}
	conf, failure := config(cred, h)
	if s.dtls, err = dtls.New(conf, socket); err != nil {
		_ = socket.Close()
		return nil, err
	}
	s.done.Go(func() { _ = s.dtls.Serve() })
	s.done.Go(func() { _ = s.coap.Serve() })
	var conn *dtls.Conn
	if cred.Roots == nil {
		conn, err = s.dtls.Dial(ctx, addr, dtls.PeerID{Kind: dtls.KindPSK, ID: cred.Identity})
	} else {
		conn, err = s.dtls.DialCertificate(ctx, addr, name)
	}
	if err != nil {
		s.Close()
		if cause := context.Cause(ctx); errors.Is(cause, errPortClosed) {
			err = cause
		}
		return nil, failure(err)
	}
	s.peer = conn.Owner().(*coap.Peer) // set in HandleConn, which comes first
	return s, nil
}

// Do sends one request and returns the whole response.
func (s *Session) Do(ctx context.Context, m *coap.Message) (*coap.Message, error) {
	return s.coap.Do(ctx, s.peer, m)
}

// Close ends the session; the server is told.
func (s *Session) Close() {
	s.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = s.dtls.Shutdown(ctx)
		_ = s.coap.Shutdown(ctx)
		s.done.Wait()
	})
}

// handler joins a dtls.Endpoint with a coap.Endpoint.
type handler struct {
	coap    *coap.Endpoint
	profile coap.Profile

	mu   sync.Mutex // guards the following field
	peer *coap.Peer
}

// HandleConn implements dtls.Handler.
func (h *handler) HandleConn(c *dtls.Conn) {
	p := h.coap.NewPeer(c, h.profile)
	c.SetOwner(p)
	h.mu.Lock()
	h.peer = p
	h.mu.Unlock()
}

// HandleRecord implements dtls.Handler.
func (h *handler) HandleRecord(c *dtls.Conn, plaintext []byte) {
	h.coap.Receive(c.Owner().(*coap.Peer), plaintext)
}

// HandleClosed implements dtls.Handler.
func (h *handler) HandleClosed(c *dtls.Conn, _ dtls.Reason) { h.coap.ClosePeer(c.Owner().(*coap.Peer)) }

// lost ends what waits for an answer, for nobody listens at the server's port any more.
func (h *handler) lost() {
	h.mu.Lock()
	p := h.peer
	h.mu.Unlock()
	if p != nil {
		h.coap.ClosePeer(p)
	}
}

// errPortClosed is what the server's host says of a port on which nothing listens (ICMP port unreachable).
var errPortClosed = errors.New("nothing listens on that UDP port")

// socket is a connected UDP socket, for only such a one hears from the kernel that a port is closed, as the
// net.PacketConn that dtls takes.
type socket struct {
	conn    *net.UDPConn
	remote  net.Addr
	refused func()
}

func dialUDP(addr netip.AddrPort) (*socket, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	return &socket{conn: c, remote: c.RemoteAddr()}, nil
}

// ReadFrom implements net.PacketConn.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, err := s.conn.Read(b)
		if !isRefused(err) {
			return n, s.remote, err
		}
		s.refused()
	}
}

// WriteTo implements net.PacketConn.
func (s *socket) WriteTo(b []byte, _ net.Addr) (int, error) {
	n, err := s.conn.Write(b)
	if isRefused(err) { // of an earlier datagram
		s.refused()
		return len(b), nil
	}
	return n, err
}

// Close implements net.PacketConn.
func (s *socket) Close() error { return s.conn.Close() }

// LocalAddr implements net.PacketConn.
func (s *socket) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// SetDeadline implements net.PacketConn.
func (s *socket) SetDeadline(t time.Time) error { return s.conn.SetDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (s *socket) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn.
func (s *socket) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }

// config returns the DTLS configuration of a client with cred, and a function that turns Dial's error into the one that
// says what our own judgement of the server's certificate was.
func config(cred *Credential, h dtls.Handler) (*dtls.Config, func(error) error) {
	conf := &dtls.Config{Handler: h}
	if cred.Roots == nil {
		conf.PSK = func(_ context.Context, q dtls.PSKQuery) ([]byte, error) {
			if q.Role != dtls.RoleServer || q.Peer != (dtls.PeerID{Kind: dtls.KindPSK, ID: cred.Identity}) {
				return nil, dtls.ErrUnknownIdentity
			}
			return cred.Key.Reveal(), nil
		}
		return conf, func(err error) error { return err }
	}
	var mu sync.Mutex
	var verdict error
	conf.Certificate = func(string) (dtls.Certificate, error) { return cred.Certificate, nil }
	conf.Verify = func(chain dtls.PeerChain) (*x509.Certificate, error) {
		anchor, err := cred.verifyServer(chain)
		mu.Lock()
		defer mu.Unlock()
		verdict = err
		return anchor, err
	}
	return conf, func(err error) error {
		mu.Lock()
		defer mu.Unlock()
		if verdict != nil {
			return &untrustedServer{verdict}
		}
		return err
	}
}

// untrustedServer is our own verdict on the server's certificate.
type untrustedServer struct{ err error }

// Error implements error.
func (e *untrustedServer) Error() string { return fmt.Sprintf("the server is not trusted: %v", e.err) }

// Unwrap returns the error underneath.
func (e *untrustedServer) Unwrap() error { return e.err }
