package compare

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"coapbridge/coap"
	"coapbridge/internal/testpki"
)

// ears are an AE's point of access, which takes every notification with 2000 and keeps it: a device's is its session.
type ears struct {
	mu    sync.Mutex // guards the following field
	heard map[string]*answer
}

// keep remembers what came, by its Request Identifier.
func (e *ears) keep(a *answer) {
	a.code = "NOTIFY" // POST in both bindings
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard == nil {
		e.heard = map[string]*answer{}
	}
	e.heard[a.params["rqi"]] = a
}

// of returns what came under a Request Identifier, nil when nothing did.
func (e *ears) of(rqi string) *answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard[rqi]
}

// listen runs an HTTP server as these ears (TS-0009, 6.3.2), and returns its URL. With callers it is one of mutual TLS.
func (e *ears) listen(t *testing.T, own, callers *testpki.CA) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a := &answer{params: map[string]string{"to": strings.TrimPrefix(r.URL.Path, "/")}, content: body,
			media: r.Header.Get("Content-Type")}
		for short, name := range headers() {
			if value := r.Header.Get(name); value != "" {
				a.params[short] = value
			}
		}
		e.keep(a)
		for _, name := range []string{"X-M2M-RI", "X-M2M-RVI"} {
			w.Header()[name] = []string{r.Header.Get(name)}
		}
		w.Header()["X-M2M-RSC"] = []string{"2000"}
	}))
	t.Cleanup(server.Close)
	if callers == nil {
		server.Start()
		return server.URL
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{own.Server(t, "127.0.0.1").TLS()}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: callers.Pool()}
	server.StartTLS()
	return server.URL
}

// ServeCoAP implements coap.Handler: the device's ears (TS-0008, 6.3).
func (d *device) ServeCoAP(x *coap.Exchange) {
	m := x.Request()
	a := read(m)
	a.content = bytes.Clone(a.content)
	var path []string
	for _, o := range m.Options {
		if o.ID == coap.URIPath {
			path = append(path, string(o.Value))
		}
	}
	delete(a.params, unnamed(coap.URIPath))
	a.params["to"] = strings.Join(path, "/")
	d.ears.keep(a)
	answer := &coap.Message{Code: coap.Changed}
	for _, name := range []string{"rqi", "rvi"} {
		answer.Options = answer.Options.AddString(optionsOf()[name], a.params[name])
	}
	answer.Options = answer.Options.AddUint(optionsOf()["rsc"], 2000)
	_ = x.Respond(answer) // a bridge that went away is its own answer
}
