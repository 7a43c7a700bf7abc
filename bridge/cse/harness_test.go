package cse_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/cse/csetest"
	"coapbridge/bridge/onem2m"
	"coapbridge/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a request of a test may take when it isn't meant to fail by its deadline.
const patience = 20 * time.Second

// pki is a CA with a server on loopback and a client.
type pki struct {
	ca             *testpki.CA
	server, client *testpki.Leaf
}

func newPKI(t testing.TB) pki {
	t.Helper()
	ca := testpki.NewCA(t, "test CA")
	return pki{ca: ca, server: ca.Server(t, "127.0.0.1", csetest.Loopback), client: ca.Client(t)}
}

// serverTLS is what a CSE demands: mutual authentication.
func (p pki) serverTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.server.TLS()}, ClientCAs: p.ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// newClient returns a Client for one CSE at url, which edit may change.
func newClient(t testing.TB, p pki, url string, edit func(*cse.CSE)) *cse.Client {
	t.Helper()
	conf := cse.CSE{Name: "up", URL: url, CA: p.ca.Pool(), Certificate: cse.Static(p.client.TLS()), Timeout: patience}
	if edit != nil {
		edit(&conf)
	}
	c, err := cse.New(cse.Config{CSEs: []cse.CSE{conf}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// newCSE starts an in-memory CSE.
func newCSE(t testing.TB, p pki) (*csetest.CSE, string) {
	t.Helper()
	return newCSEAt(t, p, "127.0.0.1")
}

func newCSEAt(t testing.TB, p pki, host string) (*csetest.CSE, string) {
	t.Helper()
	c := csetest.New(csetest.Config{Certificate: p.server.TLS(), ClientCAs: p.ca.Pool()})
	t.Cleanup(c.Close)
	url, err := c.Start(host + ":0")
	require.NoError(t, err)
	return c, url
}

// received is one request as it was on the wire.
type received struct {
	connection int // 1 is the first
	head, body string
}

func (r received) header(name string) string {
	for line := range strings.SplitSeq(r.head, "\r\n") {
		if value, is := strings.CutPrefix(line, name+": "); is {
			return value
		}
	}
	return ""
}

// good is a flawless answer of the status line and RSC to the request.
func (r received) good(status, rsc, body string) string {
	answer := "HTTP/1.1 " + status + "\r\nX-M2M-RSC: " + rsc + "\r\nX-M2M-RI: " + r.header("X-M2M-RI") + "\r\nX-M2M-RVI: 3\r\n"
	if body != "" {
		answer += "Content-Type: application/json\r\n"
	}
	return answer + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// rawServer is a TLS server that hands each request's bytes to a script, which writes whatever it likes. A script that
// returns false closes the connection.
type rawServer struct {
	url string

	mu       sync.Mutex
	requests []received
}

type script func(w io.Writer, r received) (goOn bool)

func newRawServer(t testing.TB, conf *tls.Config, s script) *rawServer {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	require.NoError(t, err)
	srv := &rawServer{url: "https://" + l.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := make(map[net.Conn]struct{})
	all.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = struct{}{}
			mu.Unlock()
			all.Go(func() {
				srv.serve(c, n, s)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return srv
}

func (srv *rawServer) serve(c net.Conn, n int, s script) {
	br := bufio.NewReader(c)
	for {
		r, err := readRequest(br)
		if err != nil {
			return
		}
		r.connection = n
		srv.mu.Lock()
		srv.requests = append(srv.requests, r)
		srv.mu.Unlock()
		if !s(c, r) {
			return
		}
	}
}

// readRequest takes a request as it is, line by line.
func readRequest(br *bufio.Reader) (received, error) {
	var r received
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return r, err
		}
		r.head += line
		if line == "\r\n" {
			break
		}
	}
	length, err := strconv.Atoi(textproto.TrimString(r.header("Content-Length")))
	if err != nil {
		return r, nil
	}
	body := make([]byte, length)
	_, err = io.ReadFull(br, body)
	r.body = string(body)
	return r, err
}

func (srv *rawServer) seen() []received {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return append([]received(nil), srv.requests...)
}

// retrieve and create are requests that every test can use.
func retrieve(rqi string) *onem2m.Request {
	return &onem2m.Request{
		Operation: onem2m.Retrieve, To: "cse-in/dev", From: "Cdev", RequestID: rqi, ReleaseVersion: "3",
	}
}

func create(rqi string) *onem2m.Request {
	return &onem2m.Request{
		Operation: onem2m.Create, To: "cse-in/dev/data", From: "Cdev", RequestID: rqi, ReleaseVersion: "3",
		ResourceType: onem2m.TypeContentInstance, Content: []byte(`{"m2m:cin":{"con":"1"}}`), MediaType: "application/json",
	}
}

func do(t testing.TB, c *cse.Client, r *onem2m.Request) (*onem2m.Response, error) {
	t.Helper()
	return c.Do(t.Context(), bridge.Upstream{}, r)
}

// requireFailure asserts kind and reason of a failed request.
func requireFailure(t testing.TB, err, kind error, reason cse.Reason) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	var e *cse.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, reason, e.Reason, err.Error())
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func rqi(n int) string { return fmt.Sprintf("rqi-%d", n) }
