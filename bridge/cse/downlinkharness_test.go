package cse_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/onem2m"
	"coapbridge/internal/testpki"
)

// token is that of Cdev's point of access at the CSE "up".
const token = "dG9rZW4gb2YgQ2Rldg"

// device stands for the bridge and its devices.
type device struct {
	mu     sync.Mutex
	seen   []onem2m.Request
	from   []bridge.Downstream
	answer func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) // nil: 2000
}

// Deliver implements cse.Deliverer.
func (d *device) Deliver(ctx context.Context, from bridge.Downstream, r *onem2m.Request) (*onem2m.Response, error) {
	d.mu.Lock()
	d.seen = append(d.seen, *r)
	d.from = append(d.from, from)
	answer := d.answer
	d.mu.Unlock()
	known := from == bridge.Downstream{CSE: "up", Token: token} || from == bridge.Downstream{CSE: "up", AEI: "Cdev"}
	switch {
	case !known:
		return nil, bridge.ErrNoAccess
	case answer == nil:
		return &onem2m.Response{Status: onem2m.StatusOK}, nil
	}
	return answer(ctx, r)
}

func (d *device) requests() []onem2m.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]onem2m.Request(nil), d.seen...)
}

// downlink is a running server with two CSEs, "up" and "other".
type downlink struct {
	*cse.Downlink
	device  *device
	dial    func() (net.Conn, error)
	roots   *x509.CertPool
	up      tls.Certificate // of the CSE "up"
	foreign tls.Certificate // of the CSE "other"
	ended   chan error      // what Serve returned
}

// startDownlink serves on l, or on a port of its own when that is nil.
func startDownlink(t testing.TB, p pki, l net.Listener, edit func(*cse.DownlinkConfig)) *downlink {
	t.Helper()
	other := testpki.NewCA(t, "other CSE's CA")
	d := &downlink{device: &device{}, roots: p.ca.Pool(), ended: make(chan error, 1)}
	named := func(ca *testpki.CA, name string) tls.Certificate {
		return ca.Issue(t, func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}).TLS()
	}
	d.up, d.foreign = named(p.ca, "cse.example"), named(other, "other.example")
	conf := cse.DownlinkConfig{
		Certificate: cse.Static(p.server.TLS()), Deliver: d.device,
		CSEs: []cse.DownlinkCSE{
			{Name: "up", CA: p.ca.Pool(), Certificates: []string{"dns:cse.example"}},
			{Name: "other", CA: other.Pool(), Certificates: []string{"dns:other.example"}},
		},
	}
	if edit != nil {
		edit(&conf)
	}
	if l == nil {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		l, d.dial = tcp, func() (net.Conn, error) { return net.Dial("tcp", tcp.Addr().String()) }
	}
	if pipe, is := l.(*pipeListener); is {
		d.dial = pipe.dial
	}
	var err error
	d.Downlink, err = cse.NewDownlink(conf, l)
	require.NoError(t, err)
	go func() { d.ended <- d.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, d.Shutdown(ctx))
		require.NoError(t, <-d.ended)
	})
	return d
}

// connect opens a connection with the certificate; none when it has no chain.
func (d *downlink) connect(t testing.TB, cert tls.Certificate) *client {
	t.Helper()
	c, err := d.try(cert)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (d *downlink) try(cert tls.Certificate) (*client, error) {
	raw, err := d.dial()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: d.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	if len(cert.Certificate) > 0 {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	c := tls.Client(raw, conf)
	if err := c.Handshake(); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return &client{Conn: c, raw: raw, r: bufio.NewReader(c)}, nil
}

// client is a CSE's connection.
type client struct {
	*tls.Conn
	raw net.Conn
	r   *bufio.Reader
}

// say writes raw bytes; a server that has hung up on them is expected.
func (c *client) say(s string) { _ = write(c.Conn, s) }

// hear reads one answer to a request of the method.
func (c *client) hear(t testing.TB) *answer {
	t.Helper()
	a, err := c.listen()
	require.NoError(t, err)
	return a
}

func (c *client) listen() (*answer, error) {
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{Response: resp, body: string(body)}, nil
}

type answer struct {
	*http.Response
	body string
}

func (a *answer) rsc() string { return a.Header.Get("X-M2M-RSC") }

// closed asserts that the server ends the connection and says nothing more.
func (c *client) closed(t testing.TB) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.r.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	var timeout net.Error
	require.False(t, isNet(err, &timeout) && timeout.Timeout(), "the server leaves it open")
}

func isNet(err error, to *net.Error) bool {
	e, is := err.(net.Error)
	*to = e
	return is
}

// notification is a NOTIFY to the target with the Request Identifier.
func notification(target, rqi string) string {
	return httpMessage("POST "+target+" HTTP/1.1", rqi, `{"m2m:sgn":{"sur":"x"}}`)
}

func httpMessage(line, rqi, body string) string {
	return line + "\r\nHost: gateway.example\r\nX-M2M-Origin: /id-in\r\nX-M2M-RI: " + rqi + "\r\nX-M2M-RVI: 3\r\n" +
		"Content-Type: application/json\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

// ask sends a request and reads its answer.
func (c *client) ask(t testing.TB, request string) *answer {
	t.Helper()
	c.say(request)
	return c.hear(t)
}

// refused returns how often the reason was counted.
func (d *downlink) refused(reason cse.DownlinkReason) int { return int(d.Stats().Refused[reason]) }

// pipeListener is a network without sockets, for tests in virtual time.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
