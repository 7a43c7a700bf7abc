package session

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pion "github.com/pion/dtls/v3"
	curves "github.com/pion/dtls/v3/pkg/crypto/elliptic"

	"coapbridge/cmd/coap-load/fleet"
)

// depth is how many datagrams may wait for one session.
const depth = 16

// Client makes sessions.
type Client struct {
	fleet *fleet.Fleet
	conf  Config

	mu     sync.RWMutex // guards the following fields
	places map[fleet.Path]*Session
	closed bool

	stray   atomic.Pointer[func([]byte)]
	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
}

// Session is one association.
type Session struct {
	client *Client
	index  int
	path   atomic.Pointer[fleet.Path]
	pipe   chan []byte
	gone   chan struct{}
	once   sync.Once
	conn   *pion.Conn
	began  time.Time
	tap    atomic.Pointer[func([]byte)]
}

// New returns a Client whose sessions live on f. Its Receive must get what comes there.
func New(f *fleet.Fleet, conf Config) *Client {
	if conf.Timeout == 0 {
		conf.Timeout = handshake
	}
	c := &Client{fleet: f, conf: conf, places: map[fleet.Path]*Session{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close forgets all sessions without a word to the server.
func (c *Client) Close() {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	for _, s := range c.places {
		s.end()
	}
	clear(c.places)
	c.mu.Unlock()
	c.running.Wait()
}

// Receive is a fleet.Handler.
func (c *Client) Receive(_ *fleet.Batch, from fleet.Path, b []byte) {
	c.mu.RLock()
	s := c.places[from]
	c.mu.RUnlock()
	if s == nil {
		if stray := c.stray.Load(); stray != nil {
			(*stray)(b)
		}
		return
	}
	select {
	case s.pipe <- append([]byte(nil), b...):
	default: // as a full socket's buffer
	}
}

// Start begins the handshake of client i, which has none under way and no session; Events hears of its end.
func (c *Client) Start(_ *fleet.Batch, i int) {
	s := &Session{client: c, index: i, pipe: make(chan []byte, depth), gone: make(chan struct{}), began: time.Now()}
	p := c.fleet.Path(i)
	s.path.Store(&p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.places[p] = s
	c.running.Go(s.run)
}

// Stray makes f hear of datagrams that come to places without a session; nil ends it.
func (c *Client) Stray(f func([]byte)) {
	if f == nil {
		c.stray.Store(nil)
		return
	}
	c.stray.Store(&f)
}

// Path returns where it is.
func (s *Session) Path() fleet.Path { return *s.path.Load() }

// Index returns which client it is.
func (s *Session) Index() int { return s.index }

// Began returns when its handshake began.
func (s *Session) Began() time.Time { return s.began }

// Send seals one record with application data.
func (s *Session) Send(_ *fleet.Batch, b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

// Close sends close_notify and forgets the session.
func (s *Session) Close(*fleet.Batch) {
	_ = s.conn.Close()
	s.end()
}

// Forget forgets the session without a word to the server.
func (s *Session) Forget() { s.end() }

// Move makes the session send from another place from now on, and receive there.
func (s *Session) Move(to fleet.Path) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.places, *s.path.Load())
	s.path.Store(&to)
	if !c.closed {
		c.places[to] = s
	}
}

// Tap calls f with each datagram that the session sends from now on, for a recording; nil ends it.
func (s *Session) Tap(f func([]byte)) {
	if f == nil {
		s.tap.Store(nil)
		return
	}
	s.tap.Store(&f)
}

func (s *Session) end() {
	s.once.Do(func() { close(s.gone) })
}

func (s *Session) run() {
	c := s.client
	err := s.serve()
	s.end()
	c.mu.Lock()
	if p := *s.path.Load(); c.places[p] == s {
		delete(c.places, p)
	}
	closed := c.closed
	c.mu.Unlock()
	if err != nil && !closed {
		out := c.fleet.Borrow()
		if s.conn == nil {
			c.conf.Events.Failed(out, s.index, err)
		} else {
			c.conf.Events.Ended(out, s, err)
		}
		c.fleet.Return(out)
	}
}

// serve makes the handshake and reads to the session's end, which is an error unless it was ours.
func (s *Session) serve() error {
	c := s.client
	options, err := c.options(s.index)
	if err != nil {
		return err
	}
	conn, err := pion.ClientWithOptions((*wire)(s), c.fleet.Target(), options...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.conf.Timeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return err
	}
	s.conn = conn
	out := c.fleet.Borrow()
	c.conf.Events.Established(out, s)
	c.fleet.Return(out)
	b := make([]byte, 2048)
	for {
		n, err := conn.Read(b)
		if err != nil {
			select {
			case <-s.gone:
				return nil
			default:
				return err
			}
		}
		out := c.fleet.Borrow()
		c.conf.Events.Received(out, s, b[:n])
		c.fleet.Return(out)
	}
}

func (c *Client) options(i int) ([]pion.ClientOption, error) {
	own, err := c.conf.Credential(i)
	if err != nil {
		return nil, err
	}
	suites := []pion.CipherSuiteID{pskCCM8}
	if own.Certificate != nil {
		suites = []pion.CipherSuiteID{ecdsaGCM}
	}
	if c.conf.Suites != nil {
		suites = nil
		for _, id := range c.conf.Suites {
			suites = append(suites, pion.CipherSuiteID(id))
		}
	}
	options := []pion.ClientOption{
		pion.WithCipherSuites(suites...),
		pion.WithExtendedMasterSecret(pion.RequestExtendedMasterSecret),
		pion.WithEllipticCurves(curves.P256),
		pion.WithMTU(1152),
	}
	if c.conf.ConnectionID {
		options = append(options, pion.WithConnectionIDGenerator(pion.OnlySendCIDGenerator()))
	}
	if own.Certificate == nil {
		return append(options,
			pion.WithPSK(func([]byte) ([]byte, error) { return own.Key, nil }),
			pion.WithPSKIdentityHint([]byte(own.Identity))), nil
	}
	if own.Certificate.Leaf == nil {
		return nil, errors.New("session: a certificate without its parsed leaf")
	}
	return append(options,
		pion.WithCertificates(*own.Certificate),
		pion.WithRootCAs(c.conf.Roots),
		pion.WithServerName(c.conf.ServerName)), nil
}

// wire is a session as the net.PacketConn that pion sends through.
type wire Session

// ReadFrom implements net.PacketConn.
func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-w.pipe:
		return copy(b, d), w.client.fleet.Target(), nil
	case <-w.gone:
		return 0, nil, io.EOF
	}
}

// WriteTo implements net.PacketConn.
func (w *wire) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-w.gone:
		return 0, net.ErrClosed
	default:
	}
	if tap := w.tap.Load(); tap != nil {
		(*tap)(append([]byte(nil), b...))
	}
	w.client.fleet.Send(*w.path.Load(), b)
	return len(b), nil
}

// Close implements net.PacketConn.
func (w *wire) Close() error {
	(*Session)(w).end()
	return nil
}

// LocalAddr implements net.PacketConn.
func (w *wire) LocalAddr() net.Addr { return w.client.fleet.Target() }

// SetDeadline implements net.PacketConn; pion's own deadlines suffice.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
