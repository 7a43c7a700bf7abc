// Package cse carries request primitives to CSEs over HTTP/1.1 and mutually authenticated TLS 1.3 or 1.2, and brings the
// response primitives back (TS-0009, TS-0003 8.2). It implements bridge.ServiceLayer.
//
// Messages are read by net/http's parser; connections, their pool and what is repeated are this package's own, because
// net/http's Transport repeats requests by itself, logs bytes of a server that is out of step, and costs two goroutines a
// connection. Here a request that may have been executed is never sent a second time, with two exceptions: a RETRIEVE
// whose kept connection ended before any byte of an answer, and any request, with its Request Identifier, to a CSE that
// is configured to de-duplicate. A request of which not one whole TLS record left on a kept connection is sent again: no
// peer can have read it.
//
// A CSE's answer is hostile input (S44): bounded in size and time, never followed elsewhere, checked against its request.
//
// A Client is safe for concurrent use and has no goroutine of its own. It keeps no requests for later, speaks no HTTP/2, and
// takes nothing from the environment: no proxy, no trust store.
//
// The other direction is a Downlink, the server that CSEs call, or a Poller where a CSE can't. Both hand what comes to a
// Deliverer, and have a goroutine for each connection or poll, of which there is a bounded number.
package cse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// Config names the CSEs.
type Config struct {
	CSEs []CSE
}

// Identity returns the certificate of one client. It is called once a handshake, so that what it returns may change; on a
// change call Client.Renew. It must be safe for concurrent use.
type Identity func() (*tls.Certificate, error)

// Static is the Identity that never changes.
func Static(cert tls.Certificate) Identity {
	return func() (*tls.Certificate, error) { return &cert, nil }
}

// CSE is one Service Layer. Name, URL, CA and Certificate are mandatory.
type CSE struct {
	Name    string // unique
	Default bool   // serves Upstreams that name no CSE; the only CSE of a Config does so anyway
	URL     string // https://host[:port]
	// ServerName is the name or address in the CSE's certificate; "" is the URL's host. Requests name the URL's host anyway.
	ServerName string
	CA         *x509.CertPool

	Certificate Identity            // of the bridge
	Clients     map[string]Identity // further clients by the names that Upstream.Client uses

	// Verify is asked for each connection after every other check has passed, for example about revocation. May be nil.
	Verify func(tls.ConnectionState) error

	Timeout        time.Duration // of a request whose context has no earlier deadline; 0 means 30 s
	ConnectTimeout time.Duration // of TCP and TLS together; 0 means 5 s
	IdleTimeout    time.Duration // an unused connection is closed after it; 0 means 30 s
	MaxConns       int           // connections for each client; 0 means 64
	MaxAnswer      int           // bytes of an answer's content; 0 means 1 MiB

	// A Poller holds up to MaxPolls requests open, on connections beside MaxConns; 0 means 64. Each waits for PollTimeout, or
	// 2 s while more AEs are polled for than that; 0 means 60 s.
	MaxPolls    int
	PollTimeout time.Duration

	// Deduplicates says that the CSE answers a repeated Request Identifier of an Originator without executing it again.
	// Standard CSEs don't have to; then leave it false.
	Deduplicates bool
	// NoRequestID takes answers without X-M2M-RI, which TS-0009, 6.4 asks for.
	NoRequestID bool
	// ErrorsToNone takes errors whose X-M2M-RI is the text None.
	ErrorsToNone bool
	// NeedsRVI sends a request of Release 1, which has no Release Version Indicator, as one of Release 2a.
	NeedsRVI bool
	// NoToken is DownlinkCSE.NoToken, for whoever makes that out of this.
	NoToken bool
	// Binding is how the CSE departs from TS-0009.
	Binding onem2m.HTTPProfile
}

// target is a CSE with what was derived from it.
type target struct {
	CSE
	address string // host and port to dial
	header  string // the Host header
	stats   *stats
}

// Client carries requests to the CSEs of its Config. Close ends it.
type Client struct {
	targets   map[string]*target
	fallback  *target // of Upstreams without a name; nil when there is none
	endpoints map[bridge.Upstream]*endpoint
	polls     map[bridge.Upstream]*endpoint // of the same CSEs and clients: polls take no place from requests
}

var _ bridge.ServiceLayer = (*Client)(nil)

// New checks cfg and returns its Client. Every fault is named at once. It opens no connection.
func New(cfg Config) (*Client, error) {
	c := &Client{targets: make(map[string]*target), endpoints: make(map[bridge.Upstream]*endpoint),
		polls: make(map[bridge.Upstream]*endpoint)}
	var errs []error
	if len(cfg.CSEs) == 0 {
		errs = append(errs, errors.New("cse: no CSE is configured"))
	}
	for i := range cfg.CSEs {
		if err := c.add(cfg.CSEs[i], len(cfg.CSEs) == 1); err != nil {
			errs = append(errs, fmt.Errorf("cse: CSE %q: %w", cfg.CSEs[i].Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) add(cfg CSE, only bool) error {
	t, err := newTarget(cfg)
	if err != nil {
		return err
	}
	if c.targets[cfg.Name] != nil {
		return errors.New("its name is used twice")
	}
	c.targets[cfg.Name] = t
	if cfg.Default || only {
		if c.fallback != nil {
			return errors.New("it is a second default; mark one alone")
		}
		c.fallback = t
	}
	c.addClient(t, "", cfg.Certificate)
	for name, identity := range cfg.Clients {
		if name == "" || identity == nil {
			return errors.New("a further client lacks its name or its certificate")
		}
		c.addClient(t, name, identity)
	}
	return nil
}

func (c *Client) addClient(t *target, name string, identity Identity) {
	up := bridge.Upstream{CSE: t.Name, Client: name}
	c.endpoints[up] = newEndpoint(t, identity)
	polled := *t
	polled.MaxConns, polled.Timeout, polled.stats = t.MaxPolls, t.PollTimeout+pollGrace, newStats()
	c.polls[up] = newEndpoint(&polled, identity)
}

func newTarget(cfg CSE) (*target, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case cfg.Name == "":
		return nil, errors.New("its name is missing")
	case err != nil || u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("URL must be https://host:port")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return nil, errors.New("URL must end after host and port: the request target is oneM2M's")
	case cfg.CA == nil:
		return nil, errors.New("the CA is missing; the system's trust store is never used")
	case cfg.Certificate == nil:
		return nil, errors.New("the client certificate is missing")
	case cfg.Timeout < 0 || cfg.ConnectTimeout < 0 || cfg.IdleTimeout < 0 || cfg.MaxConns < 0 || cfg.MaxAnswer < 0,
		cfg.MaxPolls < 0 || cfg.PollTimeout < 0:
		return nil, errors.New("a limit is negative")
	}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
	}
	t := &target{CSE: cfg, header: u.Host, stats: newStats()}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	t.address = net.JoinHostPort(u.Hostname(), port)
	t.setDefaults()
	return t, nil
}

func (t *target) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Timeout, defaultTimeout}, {&t.ConnectTimeout, defaultConnect}, {&t.IdleTimeout, defaultIdleTimeout},
		{&t.PollTimeout, defaultPollTimeout},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if t.MaxConns == 0 {
		t.MaxConns = defaultMaxConns
	}
	if t.MaxPolls == 0 {
		t.MaxPolls = defaultMaxPolls
	}
	if t.MaxAnswer == 0 {
		t.MaxAnswer = defaultMaxAnswer
	}
}

// Do implements bridge.ServiceLayer. Its errors are *Error, or *onem2m.Error for a request that HTTP can't carry; of the
// latter nothing was sent. An error that is bridge.ErrUnreachable says that the request was certainly not executed, one
// that is bridge.ErrTimeout or bridge.ErrBadAnswer that it may have been: a connection that ends without an answer after
// the request was sent is ErrTimeout, at once. The deadline is the earlier one of ctx and CSE.Timeout.
func (c *Client) Do(ctx context.Context, up bridge.Upstream, r *onem2m.Request) (*onem2m.Response, error) {
	e := c.endpoint(up)
	if e == nil {
		return nil, &Error{CSE: up.CSE, Reason: ReasonUnknown, kind: bridge.ErrUnreachable}
	}
	return e.send(ctx, r, e.target.stats)
}

// send is Do on the connections of e. Without stats it is not counted.
func (e *endpoint) send(ctx context.Context, r *onem2m.Request, s *stats) (*onem2m.Response, error) {
	adapted := e.target.adapted(r)
	h, err := adapted.HTTP(e.target.Binding)
	if err != nil {
		return nil, err
	}
	if err := checkRequest(h); err != nil {
		return nil, err
	}
	start := time.Now()
	if s != nil {
		s.begin()
	}
	resp, f := e.do(ctx, start, h, adapted)
	if s != nil {
		s.end(time.Since(start), f, resp)
	}
	if f != nil {
		return nil, f
	}
	if adapted != r {
		resp.ReleaseVersion = "" // whoever sent none knows no Release Version Indicator
	}
	return resp, nil
}

func (c *Client) endpoint(up bridge.Upstream) *endpoint {
	if up.CSE == "" && c.fallback != nil {
		up.CSE = c.fallback.Name
	}
	return c.endpoints[up]
}

// do sends the request, once more where that is safe, and judges the answer.
func (e *endpoint) do(ctx context.Context, start time.Time, h *onem2m.HTTPRequest, r *onem2m.Request) (*onem2m.Response, *Error) {
	deadline := start.Add(e.target.Timeout)
	if d, has := ctx.Deadline(); has && d.Before(deadline) {
		deadline = d
	}
	for attempt := 0; ; attempt++ {
		cn, f := e.acquire(ctx, deadline, attempt > 0)
		if f != nil {
			return nil, f
		}
		answer, broken := cn.exchange(ctx, deadline, h, e.target)
		if broken == nil {
			resp, f := e.target.judge(answer, r)
			e.release(cn, f == nil) // who answered wrongly once may be out of step: its next answer is another's
			return resp, f
		}
		e.release(cn, false)
		if attempt == 0 && broken.repeatable(cn.uses > 1, r.Operation, e.target.Deduplicates) {
			e.target.stats.repeated.Add(1)
			continue
		}
		return nil, broken.report(e.target.Name)
	}
}

// Renew lets connections that were authenticated with earlier certificates end with their present request.
func (c *Client) Renew() {
	for up, e := range c.endpoints {
		e.renew()
		c.polls[up].renew()
	}
}

// Close cuts every connection, those of requests under way too; it doesn't wait for their Do to return.
func (c *Client) Close() error {
	for up, e := range c.endpoints {
		e.close()
		c.polls[up].close()
	}
	return nil
}
