// Package admin is the operator's window into the process (S51): an HTTP/1.1 listener with /healthz, /readyz and /metrics,
// on a Unix socket that only its owner may open, or on TCP behind a bearer token.
//
// Its methods are safe for concurrent use. Nothing can be changed through it, no profile or dump can be read, and no
// device, identity or payload stands in what it serves: labels are closed sets.
package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"coapbridge/cmd/coap-bridge/secret"
)

// Config says where to listen and what to serve. Exactly one of Socket and Listen is set. It is not changed after New.
type Config struct {
	// Socket is the path of a Unix socket. It is made with mode 0600; what an ended process left there is replaced.
	Socket string

	// Listen is a TCP address, host:port. Token is required with it, and TLS unless the address is loopback.
	Listen string
	Token  secret.Bytes // bearer token, 16 bytes or more; on a Unix socket it is optional, and required when set
	TLS    *tls.Config  // version 1.2 at least, whatever it says
	Hosts  []string     // names, besides those of the listener, by which clients may call it (Host header)

	Checks   []Check
	Registry *prometheus.Registry // what /metrics serves, as NewRegistry makes it; the Server adds its own counters
	Log      *slog.Logger         // required: access is audited
}

// The errors of New that a caller may branch on; New wraps them with the address.
var (
	ErrInUse     = errors.New("admin: address is in use")
	ErrNoToken   = errors.New("admin: a TCP listener needs a token of 16 bytes or more")
	ErrPlaintext = errors.New("admin: a listener off loopback needs TLS")
)

// Server is the admin listener.
type Server struct {
	http     *http.Server
	listener net.Listener
	log      *slog.Logger
	token    secret.Bytes
	hosts    map[string]bool // names of Config.Hosts and Config.Listen, lower case
	unix     bool
	readyz   readiness
	requests *prometheus.CounterVec
	audit    *rate.Limiter
}

// New checks c, listens, and registers the Server's own counters. Serve must be called next, or Shutdown.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{
		log:      c.Log,
		token:    c.Token,
		hosts:    knownHosts(&c),
		unix:     c.Socket != "",
		readyz:   readiness{checks: c.Checks},
		requests: newRequestCounter(),
		audit:    rate.NewLimiter(auditPerSecond, auditBurst),
	}
	if err := errors.Join(c.Registry.Register(s.requests), c.Registry.Register(&s.readyz)); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	l, err := c.listen()
	if err != nil {
		return nil, err
	}
	s.listener = l
	s.http = &http.Server{
		Handler:           s.guard(s.routes(c.Registry)),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         new(http.Protocols), // HTTP/1 alone: its limits are the ones above
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		ConnContext:       connContext,

		DisableGeneralOptionsHandler: true, // "OPTIONS *" is refused as every other method
	}
	s.http.Protocols.SetHTTP1(true)
	return s, nil
}

func (c *Config) check() error {
	switch {
	case c.Socket == "" && c.Listen == "":
		return errors.New("admin: neither a socket nor an address to listen on")
	case c.Socket != "" && c.Listen != "":
		return errors.New("admin: both a socket and an address to listen on; choose one")
	case c.Log == nil:
		return errors.New("admin: no logger: access would not be audited")
	case c.Registry == nil:
		return errors.New("admin: no registry")
	case c.Listen != "" && c.Token.Len() < minTokenBytes, !c.Token.IsZero() && c.Token.Len() < minTokenBytes:
		return ErrNoToken
	}
	seen := map[string]bool{}
	for _, check := range c.Checks {
		if check.Name == "" || check.Probe == nil || seen[check.Name] {
			return fmt.Errorf("admin: check %q is nameless, empty or there twice", check.Name)
		}
		seen[check.Name] = true
	}
	return nil
}

// listen opens the socket or the TCP listener.
func (c *Config) listen() (net.Listener, error) {
	if c.Socket != "" {
		return listenUnix(c.Socket)
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: listen on %s: %w", c.Listen, inUse(err))
	}
	// The address that was bound decides, not its spelling: a name may have come to mean another interface.
	if addr, ok := l.Addr().(*net.TCPAddr); c.TLS == nil && (!ok || !addr.IP.IsLoopback()) {
		_ = l.Close()
		return nil, fmt.Errorf("%w: %s; set a certificate, or listen on 127.0.0.1", ErrPlaintext, c.Listen)
	}
	l = netutil.LimitListener(l, maxConns)
	if c.TLS == nil {
		return l, nil
	}
	conf := c.TLS.Clone()
	conf.MinVersion = max(conf.MinVersion, tls.VersionTLS12) // S1
	conf.NextProtos = []string{"http/1.1"}
	return tls.NewListener(l, conf), nil
}

// Addr is the address that the Server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until Shutdown is called, and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Shutdown closes the listener and waits for the requests in progress; when ctx ends first, it cuts them and returns ctx's
// error. The socket is removed.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	// A Server that never served has a listener that its http.Server does not know.
	if cerr := s.listener.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}
