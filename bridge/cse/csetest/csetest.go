// Package csetest is an in-memory CSE over HTTPS for tests and for the demo: CSEBase, AE, container, contentInstance with
// la and ol, subscription with verification and notification, pollingChannel, request and discovery, by TS-0001, TS-0004 and the HTTP binding
// TS-0009.
//
// It is a test double, not a product: everything is lost when the process ends, access control knows only a resource's
// creator and one administrator, resources don't expire, there are no groups, announcements, a
// non-blocking request is executed before it is answered, and one lock covers the whole tree. What it does do, it does by the book, and it reads HTTP with
// code of its own: it shares no line with the bridge's bindings, so that both can't agree on the same mistake. Attribute
// values are kept and given back byte for byte.
//
// A CSE is safe for concurrent use.
package csetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a CSE is called and whom it trusts. The zero value of every field but those of TLS works.
type Config struct {
	Name            string // resource name of the CSEBase; "" means cse-in
	ID              string // CSE-ID with its slash; "" means /id-in
	ServiceProvider string // M2M-SP-ID without slashes, of Absolute addresses; "" means sp.example
	Admin           string // Originator that may do everything; "" means CAdmin
	RequireRVI      bool   // a request without X-M2M-RVI is refused with 4001, as ACME does; Mobius4 and tinyIoT take it

	Certificate tls.Certificate // of the server
	ClientCAs   *x509.CertPool  // a client without a certificate of theirs is refused in the handshake

	// NotifyCertificate is shown to who is notified and NotifyCAs is whom this CSE then trusts. Without NotifyCAs no
	// notification leaves, and a subscription that needs a verification is refused with 5204.
	NotifyCertificate tls.Certificate
	NotifyCAs         *x509.CertPool
	NotifyTimeout     time.Duration // to wait for a notified entity; 0 means 10 s

	Record   int         // requests that Requests keeps; 0 means 1,000, below 0 none
	ErrorLog *log.Logger // for failed handshakes; nil drops them
}

// Hook stands before the CSE: it may delay a request, answer it itself, or hand it to next, whole or in part. One that
// panics with http.ErrAbortHandler cuts the connection, before or after next executed the request.
type Hook func(w http.ResponseWriter, r *http.Request, next http.Handler)

// CSE is the test double. It implements http.Handler.
type CSE struct {
	cfg      Config
	hook     atomic.Pointer[Hook]
	record   recorder
	notifier *notifier

	mu   sync.Mutex // guards the following fields
	base *resource
	byID map[string]*resource

	serveMu sync.Mutex // guards the following fields
	server  *http.Server
	serving sync.WaitGroup
	closed  bool
}

// New returns a CSE that holds nothing but its CSEBase. Close ends it.
func New(cfg Config) *CSE {
	setDefault(&cfg.Name, "cse-in")
	setDefault(&cfg.ID, "/id-in")
	setDefault(&cfg.ServiceProvider, "sp.example")
	setDefault(&cfg.Admin, "CAdmin")
	if cfg.NotifyTimeout == 0 {
		cfg.NotifyTimeout = defaultNotify
	}
	if cfg.Record == 0 {
		cfg.Record = defaultRecord
	}
	if cfg.ErrorLog == nil {
		cfg.ErrorLog = log.New(io.Discard, "", 0)
	}
	if !strings.HasPrefix(cfg.ID, "/") {
		cfg.ID = "/" + cfg.ID
	}
	c := &CSE{cfg: cfg, record: recorder{limit: cfg.Record}, notifier: newNotifier(cfg)}
	c.clearLocked()
	return c
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// SetHook puts h before the CSE; nil removes it. It holds for requests that begin afterwards.
func (c *CSE) SetHook(h Hook) {
	if h == nil {
		c.hook.Store(nil)
		return
	}
	c.hook.Store(&h)
}

// Reset forgets every resource, every recorded request and the hook.
func (c *CSE) Reset() {
	c.SetHook(nil)
	c.record.reset()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clearLocked()
}

func (c *CSE) clearLocked() {
	now := time.Now()
	id := strings.TrimPrefix(c.cfg.ID, "/")
	c.base = &resource{ty: tyCSEBase, ri: id, rn: c.cfg.Name, creator: c.cfg.Admin, ct: now, lt: now, attrs: attributes{
		"csi": quote(c.cfg.ID), "cst": []byte("1"), "srt": []byte("[2,3,4,5,15,17,23]"), "srv": []byte(`["2a","3","4"]`),
		"poa": []byte("[]"), "csz": []byte(`["application/json","application/cbor"]`),
	}}
	c.byID = map[string]*resource{id: c.base}
}

// ServeHTTP records the request, gives it to the hook, and answers it.
func (c *CSE) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := c.record.take(w, r); err != nil {
		c.answer(w, nil, nil, err)
		return
	}
	if h := c.hook.Load(); h != nil {
		(*h)(w, r, http.HandlerFunc(c.execute))
		return
	}
	c.execute(w, r)
}

// Serve answers on l with mutual TLS 1.3 or 1.2 until Stop or Close, and then returns nil. It takes l over. It may be
// called again after Stop: the resources are still there.
func (c *CSE) Serve(l net.Listener) error {
	srv := &http.Server{
		Handler:           c,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          c.cfg.ErrorLog,
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{c.cfg.Certificate},
			ClientCAs:    c.cfg.ClientCAs,
			ClientAuth:   tls.RequireAndVerifyClientCert,
		},
	}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	if err := c.register(srv); err != nil {
		return errors.Join(err, l.Close())
	}
	defer c.serving.Done()
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (c *CSE) register(srv *http.Server) error {
	c.serveMu.Lock()
	defer c.serveMu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if c.server != nil {
		return errors.New("csetest: already serving")
	}
	if c.cfg.ClientCAs == nil {
		return errors.New("csetest: Config.ClientCAs is missing") // nil would mean the system's trust store
	}
	c.server = srv
	c.serving.Add(1)
	return nil
}

// Loopback is an address for a CSE that stops and starts again on the same port: connections leave from 127.0.0.1, so that none
// of them has that port meanwhile.
const Loopback = "127.0.0.2"

// Start listens on addr ("127.0.0.1:0" for any free port), serves in a goroutine of its own, and returns the URL.
func (c *CSE) Start(addr string) (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return "", err
	}
	// Registered here and not by the goroutine, so that a Stop that follows at once finds the server.
	c.serving.Add(1)
	started := make(chan error, 1)
	go func() {
		defer c.serving.Done()
		started <- c.Serve(signalListener{Listener: l, first: sync.OnceFunc(func() { started <- nil })})
	}()
	if err := <-started; err != nil {
		return "", err
	}
	return "https://" + l.Addr().String(), nil
}

// signalListener tells when the server begins to accept.
type signalListener struct {
	net.Listener
	first func()
}

func (l signalListener) Accept() (net.Conn, error) {
	l.first()
	return l.Listener.Accept()
}

// Stop cuts every connection and ends Serve, as a crash of the CSE does; the resources stay.
func (c *CSE) Stop() {
	c.serveMu.Lock()
	srv := c.server
	c.server = nil
	c.serveMu.Unlock()
	if srv != nil {
		_ = srv.Close() // it can only report the listener's close, which nobody can act on
	}
	c.serving.Wait()
}

// Close stops the CSE for good and waits for its goroutines. Notifications that wait are dropped.
func (c *CSE) Close() {
	c.serveMu.Lock()
	c.closed = true
	c.serveMu.Unlock()
	c.Stop()
	c.notifier.close()
}
