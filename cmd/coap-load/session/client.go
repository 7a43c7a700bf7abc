package session

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
)

// Client makes sessions.
type Client struct {
	fleet *fleet.Fleet
	conf  Config
	psk   handshake.Config
	cert  handshake.Config
	stray atomic.Pointer[func([]byte)]

	mu     sync.RWMutex // guards the following fields
	places map[fleet.Path]*Session
	making map[*Session]struct{} // whose handshakes are under way
	closed bool

	chainsMu sync.Mutex // guards the following field
	chains   map[[sha256.Size]byte]*ecdsa.PublicKey

	stop    context.CancelFunc
	ticking sync.WaitGroup
}

// New returns a Client whose sessions live on f. Its Receive must get what comes there.
func New(f *fleet.Fleet, conf Config) (*Client, error) {
	if conf.Timeout == 0 {
		conf.Timeout = defaultTimeout
	}
	c := &Client{
		fleet: f, conf: conf, places: map[fleet.Path]*Session{}, making: map[*Session]struct{}{},
		chains: map[[sha256.Size]byte]*ecdsa.PublicKey{}, psk: handshake.Config{PSK: true}, cert: handshake.Config{Certificate: true},
	}
	offered := conf.Suites
	if offered == nil {
		offered = []uint16{pskCCM8, ecdsaGCM}
	}
	for _, id := range offered {
		s, ok := handshake.SuiteByID(id)
		if !ok {
			return nil, fmt.Errorf("session: no suite has the number 0x%04x", id)
		}
		of := &c.cert
		if s.PSK {
			of = &c.psk
		}
		of.Suites = append(of.Suites, s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.ticking.Go(func() { c.tick(ctx) })
	return c, nil
}

// Close forgets all sessions without a word to the server.
func (c *Client) Close() {
	c.stop()
	c.ticking.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	clear(c.places)
	clear(c.making)
}

// Stray makes f hear of datagrams that come to places without a session; nil ends it.
func (c *Client) Stray(f func([]byte)) {
	if f == nil {
		c.stray.Store(nil)
		return
	}
	c.stray.Store(&f)
}

// Receive is a fleet.Handler.
func (c *Client) Receive(out *fleet.Batch, from fleet.Path, b []byte) {
	c.mu.RLock()
	s := c.places[from]
	c.mu.RUnlock()
	if s == nil {
		if stray := c.stray.Load(); stray != nil {
			(*stray)(b)
		}
		return
	}
	for len(b) > 0 {
		r, rest, ok := record.Parse(b, 0)
		if !ok {
			return
		}
		b = rest
		s.receive(out, r)
	}
}

// Start begins the handshake of client i; Events hears of its end. A session that the client has is forgotten.
func (c *Client) Start(out *fleet.Batch, i int) {
	now := time.Now()
	s := &Session{client: c, index: i, began: now, path: c.fleet.Path(i)}
	own, err := c.conf.Credential(i)
	if err != nil {
		c.conf.Events.Failed(out, i, err)
		return
	}
	conf, params := &c.cert, handshake.ClientParams{ServerName: c.conf.ServerName}
	if own.Certificate == nil {
		conf, params.PSKIdentity = &c.psk, []byte(own.Identity)
	}
	if c.conf.ConnectionID {
		params.LocalCID = []byte{}
	}
	s.mu.Lock()
	s.machine = handshake.NewClient(conf, &callbacks{c, own}, handshake.Timers{}, params, now)
	c.mu.Lock()
	if closed := c.closed; closed {
		c.mu.Unlock()
		s.mu.Unlock()
		return
	}
	c.places[s.path] = s
	c.making[s] = struct{}{}
	c.mu.Unlock()
	after := s.pump(out, now)
	s.mu.Unlock()
	after.tell(out, s)
}

// tick repeats flights and ends handshakes that take too long.
func (c *Client) tick(ctx context.Context) {
	out := c.fleet.NewBatch()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var under []*Session
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		under = under[:0]
		c.mu.RLock()
		for s := range c.making {
			if now.Sub(s.began) > tick {
				under = append(under, s)
			}
		}
		c.mu.RUnlock()
		for _, s := range under {
			s.tick(out, now, c.conf.Timeout)
		}
		clear(under)
		out.Flush()
	}
}

// forget removes a session; true says that its handshake was under way or it was there.
func (c *Client) forget(s *Session, path fleet.Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.making, s)
	if c.places[path] == s {
		delete(c.places, path)
	}
}

func (c *Client) made(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.making, s)
}

// callbacks is one client's handshake.Callbacks.
type callbacks struct {
	client *Client
	own    Credential
}

// PSK implements handshake.Callbacks.
func (h *callbacks) PSK(context.Context, []byte, string) []byte { return h.own.Key }

// Certificate implements handshake.Callbacks.
func (h *callbacks) Certificate(string) ([][]byte, crypto.Signer, error) {
	key, ok := h.own.Certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("session: the certificate's key can't sign")
	}
	return h.own.Certificate.Certificate, key, nil
}

// Verify implements handshake.Callbacks. All sessions see the same server, so its chain is judged once.
func (h *callbacks) Verify(chain [][]byte, _ string) (*ecdsa.PublicKey, error) {
	c := h.client
	digest := sha256.New()
	for _, der := range chain {
		digest.Write(der)
	}
	sum := [sha256.Size]byte(digest.Sum(nil))
	c.chainsMu.Lock()
	defer c.chainsMu.Unlock()
	if key := c.chains[sum]; key != nil {
		return key, nil
	}
	options := x509.VerifyOptions{Roots: c.conf.Roots, Intermediates: x509.NewCertPool(), DNSName: c.conf.ServerName}
	var leaf *x509.Certificate
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			leaf = cert
		} else {
			options.Intermediates.AddCert(cert)
		}
	}
	if _, err := leaf.Verify(options); err != nil {
		return nil, err
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("session: the server's key is not ECDSA")
	}
	c.chains[sum] = key
	return key, nil
}

// NoEMS implements handshake.Callbacks. It measures servers and trusts them with nothing.
func (h *callbacks) NoEMS([]byte, [][]byte) bool { return true }
