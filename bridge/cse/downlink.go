package cse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// Deliverer carries a request of a CSE down to a device, as bridge.Bridge does. Its errors are bridge.ErrNoAccess and
// *onem2m.Error.
type Deliverer interface {
	Deliver(ctx context.Context, from bridge.Downstream, r *onem2m.Request) (*onem2m.Response, error)
}

// DownlinkCSE is a Service Layer that may call the bridge. Every field but NoToken and MaxConns is mandatory.
type DownlinkCSE struct {
	Name string         // as in Config; unique
	CA   *x509.CertPool // its client certificates chain to one of these
	// Certificates names them, each exactly (S9): "dns:" and a dNSName, "uri:" and a uniformResourceIdentifier of the
	// subjectAltName, or "sha256:" and the certificate's fingerprint in hexadecimal. No name may stand for two CSEs.
	Certificates []string
	// NoToken takes a request without a token of a point of access when its To is the AE-ID: see Quirks.
	NoToken  bool
	MaxConns int // connections at once; 0 means 64
}

// DownlinkConfig is what a Downlink serves. CSEs, Certificate and Deliver are mandatory.
type DownlinkConfig struct {
	CSEs        []DownlinkCSE
	Certificate Identity // of the server
	Deliver     Deliverer
	// Verify is asked in each handshake after every other check has passed, for example about revocation; the state holds
	// the verified chains. May be nil.
	Verify func(tls.ConnectionState) error

	Timeout  time.Duration // of a request without an earlier rqet; 0 means 20 s
	MaxConns int           // authenticated connections of all CSEs; 0 means 256
	MaxBody  int           // bytes of a request's content; 0 means 1 MiB
	Log      *slog.Logger  // nil drops everything
}

// Downlink is the bridge's point of access for CSEs: a server of HTTP/1.1 over mutually authenticated TLS 1.3 or 1.2
// (TS-0009, TS-0003 8.2.1: SA2). It lets in whoever has a certificate that exactly one CSE is configured with, and hands
// each request primitive to its Deliverer under the token that is the first segment of the request's path.
//
// Messages are read by net/http's parser, after a look at the head of our own; connections are this package's. A connection
// carries one request at a time, pipelined ones in their order. What is not HTTP/1.1 by the letter, is too large or too slow
// ends its connection, and counts.
//
// Its methods are safe for concurrent use.
type Downlink struct {
	cfg       DownlinkConfig
	peers     []*downPeer
	names     map[string]*downPeer // by normal form of a certificate's name
	listeners []net.Listener
	stats     downStats

	// The life of requests ends with Shutdown's patience, that of handshakes with its begin. Neither belongs to a caller.
	life, taking       context.Context
	endLife, endTaking context.CancelFunc
	work               sync.WaitGroup // of Serve's goroutines

	mu         sync.Mutex // guards the following fields
	open       map[*downConn]struct{}
	handshakes []*downHandshake // that are under way, the oldest first
	generation int              // of certificates and of what Verify says
	serving    bool
	closed     bool
}

// downPeer is a CSE with its counts.
type downPeer struct {
	DownlinkCSE
	conns int // guarded by Downlink.mu
	stats peerStats
}

// NewDownlink checks cfg and returns a Downlink that takes the listeners over. Every fault is named at once; then the
// listeners stay the caller's.
func NewDownlink(cfg DownlinkConfig, listeners ...net.Listener) (*Downlink, error) {
	d := &Downlink{
		cfg: cfg, listeners: listeners, names: make(map[string]*downPeer), open: make(map[*downConn]struct{}),
	}
	var errs []error
	for _, mandatory := range []struct {
		missing bool
		what    string
	}{
		{len(cfg.CSEs) == 0, "no CSE is configured"}, {cfg.Certificate == nil, "the server's certificate is missing"},
		{cfg.Deliver == nil, "nobody delivers"}, {len(listeners) == 0, "there is no listener"},
		{cfg.Timeout < 0 || cfg.MaxConns < 0 || cfg.MaxBody < 0, "a limit is negative"},
	} {
		if mandatory.missing {
			errs = append(errs, errors.New("cse: downlink: "+mandatory.what))
		}
	}
	for _, c := range cfg.CSEs {
		if err := d.add(c); err != nil {
			errs = append(errs, fmt.Errorf("cse: downlink: CSE %q: %w", c.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	d.setDefaults()
	d.life, d.endLife = context.WithCancel(context.Background())
	d.taking, d.endTaking = context.WithCancel(d.life)
	return d, nil
}

func (d *Downlink) setDefaults() {
	if d.cfg.Timeout == 0 {
		d.cfg.Timeout = defaultDownlinkTimeout
	}
	if d.cfg.MaxConns == 0 {
		d.cfg.MaxConns = defaultDownlinkConns
	}
	if d.cfg.MaxBody == 0 {
		d.cfg.MaxBody = defaultDownlinkBody
	}
	if d.cfg.Log == nil {
		d.cfg.Log = slog.New(slog.DiscardHandler)
	}
}

func (d *Downlink) add(c DownlinkCSE) error {
	switch {
	case c.Name == "":
		return errors.New("its name is missing")
	case c.CA == nil:
		return errors.New("the CA of its client certificates is missing; the system's trust store is never used")
	case len(c.Certificates) == 0:
		return errors.New("no certificate is named: any of the CA's would be this CSE")
	case c.MaxConns < 0:
		return errors.New("a limit is negative")
	}
	for _, p := range d.peers {
		if p.Name == c.Name {
			return errors.New("its name is used twice")
		}
	}
	if c.MaxConns == 0 {
		c.MaxConns = defaultMaxConns
	}
	p := &downPeer{DownlinkCSE: c}
	for _, name := range c.Certificates {
		normal, err := normalName(name)
		if err != nil {
			return err
		}
		if other := d.names[normal]; other != nil && other != p {
			return fmt.Errorf("the certificate %q is that of CSE %q too", name, other.Name)
		}
		d.names[normal] = p
	}
	d.peers = append(d.peers, p)
	return nil
}

// ErrDownlinkClosed is returned by Serve after Shutdown, and by a second Serve.
var ErrDownlinkClosed = errors.New("cse: the downlink serves already, or is shut down")

// Serve takes connections until Shutdown, and returns nil then. It returns ErrDownlinkClosed when it was called before. A
// listener that fails for another reason than Shutdown ends it with that error; the connections go on until Shutdown.
func (d *Downlink) Serve() error {
	d.mu.Lock()
	if d.serving || d.closed {
		d.mu.Unlock()
		return ErrDownlinkClosed
	}
	d.serving = true
	d.work.Add(len(d.listeners))
	d.mu.Unlock()
	ends := make(chan error, len(d.listeners))
	for _, l := range d.listeners {
		go func() {
			defer d.work.Done()
			ends <- d.accept(l)
		}()
	}
	var failure error
	for range d.listeners {
		if err := <-ends; err != nil && failure == nil {
			failure = err
			d.closeListeners() // so that a part of the addresses doesn't look like all of them
		}
	}
	return failure
}

func (d *Downlink) closeListeners() {
	for _, l := range d.listeners {
		_ = l.Close() // it may be closed already
	}
}

// accept takes connections from one listener. A failure that may pass, as one for want of descriptors, is waited for.
func (d *Downlink) accept(l net.Listener) error {
	pause := time.Duration(0)
	for {
		raw, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			d.begin(raw)
		case d.isClosed():
			return nil
		case errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF):
			return fmt.Errorf("cse: downlink: accept: %w", err)
		default:
			d.stats.refuse(DownlinkAccept)
			pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-d.taking.Done():
				timer.Stop()
			}
		}
	}
}

func (d *Downlink) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// downHandshake is a connection that is not authenticated yet.
type downHandshake struct {
	raw    net.Conn
	origin netip.Prefix
	gone   bool // it gave way to a newer one; guarded by Downlink.mu
}

// begin serves raw on a goroutine of its own. Where too many handshakes are under way the oldest gives way: a CSE's takes
// milliseconds, and who keeps places by silence has the oldest.
func (d *Downlink) begin(raw net.Conn) {
	h := &downHandshake{raw: raw, origin: originOf(raw)}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		_ = raw.Close() // nothing was said on it
		return
	}
	oldest := d.crowdedLocked(h.origin)
	if oldest != nil {
		oldest.gone = true
		d.endHandshakeLocked(oldest)
	}
	d.handshakes = append(d.handshakes, h)
	d.work.Add(1)
	d.mu.Unlock()
	if oldest != nil {
		d.stats.refuse(DownlinkFlood)
		_ = oldest.raw.Close() // its goroutine sees the end
	}
	go func() {
		defer d.work.Done()
		d.serve(h)
	}()
}

// crowdedLocked returns the handshake that gives way to a new one of origin; nil when there is room.
func (d *Downlink) crowdedLocked(origin netip.Prefix) *downHandshake {
	var oldest *downHandshake
	n := 0
	for _, h := range d.handshakes {
		if h.origin != origin {
			continue
		}
		if n++; oldest == nil {
			oldest = h
		}
	}
	switch {
	case n >= maxHandshakesOfOrigin:
		return oldest
	case len(d.handshakes) >= maxHandshakes:
		return d.handshakes[0]
	}
	return nil
}

func (d *Downlink) endHandshakeLocked(h *downHandshake) {
	d.handshakes = slices.DeleteFunc(d.handshakes, func(other *downHandshake) bool { return other == h })
}

// originOf is the address, or for IPv6 the network of a site, that a connection comes from (S50).
func originOf(raw net.Conn) netip.Prefix {
	ap, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := ap.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 56
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// Renew lets connections that were authenticated before end with their present request: after the server's certificate,
// or what Verify says, has changed.
func (d *Downlink) Renew() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.generation++
	for cn := range d.open {
		if cn.idle { // it sees that it is to end
			_ = cn.raw.SetDeadline(time.Unix(1, 0))
		}
	}
}

// Shutdown takes no more connections and requests, whole ones or not, and returns when those under way are answered. When ctx ends before,
// they are cut and ctx's error is returned.
func (d *Downlink) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	for cn := range d.open {
		if !cn.whole {
			_ = cn.raw.SetDeadline(time.Unix(1, 0))
		}
	}
	d.mu.Unlock()
	d.closeListeners()
	d.endTaking()
	done := make(chan struct{})
	go func() {
		d.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		d.endLife()
		return nil
	case <-ctx.Done():
	}
	d.endLife()
	d.mu.Lock()
	for cn := range d.open {
		_ = cn.raw.Close() // its goroutine sees the end
	}
	d.mu.Unlock()
	<-done
	return ctx.Err()
}
