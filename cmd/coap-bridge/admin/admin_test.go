package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/cmd/coap-bridge/secret"
	"coapbridge/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testToken = "0123456789abcdef-token"

// logBuffer collects a log that several goroutines write.
type logBuffer struct {
	mu  sync.Mutex // guards the following field
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// shortDir returns a folder whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "adm")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// fixture is a running Server and a client of it.
type fixture struct {
	*Server
	client *http.Client
	base   string
	log    *logBuffer
	reg    *prometheus.Registry
}

func start(t *testing.T, c Config) *fixture {
	t.Helper()
	f := &fixture{log: new(logBuffer), client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	reg, err := NewRegistry(Build{Version: "test"})
	require.NoError(t, err)
	f.reg, c.Registry = reg, reg
	c.Log = slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.Server, err = New(c)
	require.NoError(t, err)
	addr := f.Addr()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	}}
	f.client.Transport, f.base = transport, "http://localhost"
	if c.Listen != "" {
		f.base = "http://" + addr.String()
	}
	done := make(chan error, 1)
	go func() { done <- f.Serve() }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		require.NoError(t, f.Shutdown(context.Background()))
		require.NoError(t, <-done)
	})
	return f
}

// do sends one request; a header "Host" replaces the Host.
func (f *fixture) do(t *testing.T, method, path string, header map[string]string, body string) (*http.Response, string) {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, f.base+path, in)
	require.NoError(t, err)
	for k, v := range header {
		if k == "Host" {
			r.Host = v
		}
		r.Header.Set(k, v)
	}
	resp, err := f.client.Do(r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(out)
}

// TestO03Guard: who has no token, comes from a foreign page, calls us by a foreign name or does more than read, is refused
// before any path exists for it; the refusal is counted and audited.
func TestO03Guard(t *testing.T) {
	t.Parallel()
	f := start(t, Config{Listen: "127.0.0.1:0", Token: secret.New([]byte(testToken)), Hosts: []string{"gw.example.org"}})
	auth := "Bearer " + testToken
	tests := []struct {
		name, method, path string
		header             map[string]string
		body               string
		status             int
		result             result
	}{
		{"served", "GET", "/metrics", map[string]string{"Authorization": auth}, "", 200, resultServed},
		{"HEAD", "HEAD", "/readyz", map[string]string{"Authorization": auth}, "", 200, resultServed},
		{"scheme in other case", "GET", "/readyz", map[string]string{"Authorization": "bEARER " + testToken}, "", 200, resultServed},
		{"listed name", "GET", "/readyz", map[string]string{"Authorization": auth, "Host": "GW.example.org:9"}, "", 200, resultServed},
		{"localhost", "GET", "/readyz", map[string]string{"Authorization": auth, "Host": "localhost"}, "", 200, resultServed},
		{"no token", "GET", "/metrics", nil, "", 401, resultBadToken},
		{"no token, ready", "GET", "/readyz", nil, "", 401, resultBadToken},
		{"no token, unknown path", "GET", "/nothing", nil, "", 401, resultBadToken},
		{"wrong token", "GET", "/metrics", map[string]string{"Authorization": auth + "x"}, "", 401, resultBadToken},
		{"half a token", "GET", "/metrics", map[string]string{"Authorization": auth[:len(auth)-1]}, "", 401, resultBadToken},
		{"empty token", "GET", "/metrics", map[string]string{"Authorization": "Bearer "}, "", 401, resultBadToken},
		{"other scheme", "GET", "/metrics", map[string]string{"Authorization": "Basic " + testToken}, "", 401, resultBadToken},
		{"token in the query", "GET", "/metrics?token=" + testToken + "&access_token=" + testToken, nil, "", 401, resultBadToken},
		{"foreign Host", "GET", "/metrics", map[string]string{"Authorization": auth, "Host": "evil.example"}, "", 421, resultForeignHost},
		{"foreign address as Host", "GET", "/metrics", map[string]string{"Authorization": auth, "Host": "192.0.2.1"}, "", 421, resultForeignHost},
		{"name that ends like ours", "GET", "/metrics", map[string]string{"Authorization": auth, "Host": "localhost.evil.example"}, "", 421, resultForeignHost},
		{"foreign Origin", "GET", "/metrics", map[string]string{"Authorization": auth, "Origin": "https://evil.example"}, "", 403, resultForeignOrigin},
		{"null Origin", "GET", "/metrics", map[string]string{"Authorization": auth, "Origin": "null"}, "", 403, resultForeignOrigin},
		{"cross-site fetch", "GET", "/metrics", map[string]string{"Authorization": auth, "Sec-Fetch-Site": "cross-site"}, "", 403, resultForeignOrigin},
		{"same-site fetch", "GET", "/metrics", map[string]string{"Authorization": auth, "Sec-Fetch-Site": "same-site"}, "", 403, resultForeignOrigin},
		{"POST", "POST", "/metrics", map[string]string{"Authorization": auth}, "", 405, resultBadMethod},
		{"DELETE", "DELETE", "/readyz", map[string]string{"Authorization": auth}, "", 405, resultBadMethod},
		{"OPTIONS", "OPTIONS", "/metrics", map[string]string{"Authorization": auth}, "", 405, resultBadMethod},
		{"POST to the open path", "POST", "/healthz", nil, "", 405, resultBadMethod},
		{"a body", "GET", "/metrics", map[string]string{"Authorization": auth}, "x", 413, resultBody},
		{"unknown path", "GET", "/nothing", map[string]string{"Authorization": auth}, "", 404, resultNotFound},
		{"no profile", "GET", "/debug/pprof/", map[string]string{"Authorization": auth}, "", 404, resultNotFound},
		{"uncleaned path", "GET", "//metrics", map[string]string{"Authorization": auth}, "", 404, resultNotFound},
		{"dotted path", "GET", "/x/../metrics", map[string]string{"Authorization": auth}, "", 404, resultNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			endpoint := strings.TrimPrefix(strings.SplitN(tt.path, "?", 2)[0], "/")
			if endpoint != endpointHealth && endpoint != endpointReady && endpoint != endpointMetrics {
				endpoint = endpointOther
			}
			counter := f.requests.WithLabelValues(endpoint, string(tt.result))
			before := testutil.ToFloat64(counter)
			resp, body := f.do(t, tt.method, tt.path, tt.header, tt.body)
			require.Equal(t, tt.status, resp.StatusCode)
			require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
			require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
			require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
			require.InDelta(t, before+1, testutil.ToFloat64(counter), 0)
			if tt.status != 200 {
				require.Equal(t, http.StatusText(tt.status)+"\n", body, "a fixed text (S36)")
			}
			if tt.status == 401 {
				require.NotEmpty(t, resp.Header.Get("WWW-Authenticate"))
			}
		})
	}
	log := f.log.String()
	require.Contains(t, log, `"level":"INFO","msg":"admin request","endpoint":"metrics","result":"bad_token"`)
	require.Contains(t, log, `"level":"DEBUG","msg":"admin request","endpoint":"metrics","result":"served"`)
	require.NotContains(t, log, testToken)
	require.NotContains(t, log, "evil.example", "what a caller wrote is not logged")
}

// TestO03HealthIsOpenAndConstant: /healthz says the same to everybody, under any name.
func TestO03HealthIsOpenAndConstant(t *testing.T) {
	t.Parallel()
	f := start(t, Config{Listen: "127.0.0.1:0", Token: secret.New([]byte(testToken)),
		Checks: []Check{{Name: "clock", Probe: func() error { return errors.New("not set") }}}})
	for _, header := range []map[string]string{nil, {"Authorization": "Bearer " + testToken}, {"Host": "10.0.0.1"},
		{"Origin": "https://evil.example"}} {
		resp, body := f.do(t, "GET", "/healthz", header, "")
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, "ok\n", body)
	}
}

// TestO03AuditIsBounded: a flood of refused requests fills no log, while the counter sees each.
func TestO03AuditIsBounded(t *testing.T) {
	t.Parallel()
	f := start(t, Config{Listen: "127.0.0.1:0", Token: secret.New([]byte(testToken))})
	const n = 300
	for range n {
		resp, _ := f.do(t, "GET", "/metrics", nil, "")
		require.Equal(t, 401, resp.StatusCode)
	}
	require.Less(t, strings.Count(f.log.String(), "bad_token"), 100)
	require.InDelta(t, n, testutil.ToFloat64(f.requests.WithLabelValues("metrics", "bad_token")), 0)
}

// TestO03ReadyIsInert: reasons come out as JSON that no browser reads as markup; panics and warnings do what they should.
func TestO03ReadyIsInert(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	err := errors.New("gone")
	f := start(t, Config{Socket: filepath.Join(shortDir(t), "s"), Checks: []Check{
		{Name: "clock", Probe: func() error { return nil }},
		{Name: "certificate", Probe: func() error { return Warning{errors.New("ends in 7 days")} }},
		{Name: "cse", Probe: func() error { mu.Lock(); defer mu.Unlock(); return err }},
	}})
	resp, body := f.do(t, "GET", "/readyz", nil, "")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	require.JSONEq(t, `{"ready":false,"checks":[{"name":"clock","state":"ok"},
		{"name":"certificate","state":"warning","reason":"ends in 7 days"},
		{"name":"cse","state":"failed","reason":"gone"}]}`, body)

	mu.Lock()
	err = errors.New(`<script>alert(1)</script>`)
	mu.Unlock()
	_, body = f.do(t, "GET", "/readyz", nil, "")
	require.NotContains(t, body, "<")
	var rep report
	require.NoError(t, json.Unmarshal([]byte(body), &rep))
	require.Equal(t, `<script>alert(1)</script>`, rep.Checks[2].Reason)

	mu.Lock()
	err = nil
	mu.Unlock()
	resp, body = f.do(t, "GET", "/readyz", nil, "")
	require.Equal(t, 200, resp.StatusCode, "a warning does not stop requests")
	require.Contains(t, body, `"ready":true`)
	_, body = f.do(t, "GET", "/metrics", nil, "")
	require.Contains(t, body, `coapbridge_admin_check_state{check="certificate",state="warning"} 1`)
	require.Contains(t, body, `coapbridge_admin_check_state{check="cse",state="ok"} 1`)
}

func TestO01PanickingCheck(t *testing.T) {
	t.Parallel()
	r := readiness{checks: []Check{{Name: "a", Probe: func() error { panic("planted-secret") }}}}
	rep := r.run()
	require.False(t, rep.Ready)
	require.Equal(t, "the check itself failed (string)", rep.Checks[0].Reason)
}

// TestO03Plaintext: a listener off loopback without TLS, or any on TCP without a token, does not start.
func TestO03Plaintext(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "ca")
	token := secret.New([]byte(testToken))
	withTLS := &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS()}}
	tests := []struct {
		name string
		c    Config
		want error
	}{
		{"no token", Config{Listen: "127.0.0.1:0"}, ErrNoToken},
		{"short token", Config{Listen: "127.0.0.1:0", Token: secret.New([]byte("short"))}, ErrNoToken},
		{"short token on a socket", Config{Socket: "/x", Token: secret.New([]byte("short"))}, ErrNoToken},
		{"every address in clear", Config{Listen: "0.0.0.0:0", Token: token}, ErrPlaintext},
		{"every address in clear, IPv6", Config{Listen: "[::]:0", Token: token}, ErrPlaintext},
		{"every address with TLS", Config{Listen: "0.0.0.0:0", Token: token, TLS: withTLS}, nil},
		{"loopback in clear", Config{Listen: "localhost:0", Token: token}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg, err := NewRegistry(Build{})
			require.NoError(t, err)
			tt.c.Registry, tt.c.Log = reg, slog.New(slog.DiscardHandler)
			s, err := New(tt.c)
			require.ErrorIs(t, err, tt.want)
			if s != nil {
				require.NoError(t, s.Shutdown(context.Background()))
			}
		})
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	reg, err := NewRegistry(Build{})
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	probe := func() error { return nil }
	for want, c := range map[string]Config{
		"neither a socket": {Registry: reg, Log: log},
		"choose one":       {Socket: "/x", Listen: "127.0.0.1:0", Registry: reg, Log: log},
		"no logger":        {Socket: "/x", Registry: reg},
		"no registry":      {Socket: "/x", Log: log},
		`check "a"`:        {Socket: "/x", Registry: reg, Log: log, Checks: []Check{{"a", probe}, {"a", probe}}},
		`check ""`:         {Socket: "/x", Registry: reg, Log: log, Checks: []Check{{"", probe}}},
		`check "b"`:        {Socket: "/x", Registry: reg, Log: log, Checks: []Check{{"b", nil}}},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
}

// TestTLS: on TLS the floor is 1.2, and HTTP/2 is not offered.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "ca")
	conf := &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS()}, MinVersion: tls.VersionTLS10,
		NextProtos: []string{"h2"}}
	f := start(t, Config{Listen: "127.0.0.1:0", Token: secret.New([]byte(testToken)), TLS: conf})
	dial := func(c *tls.Config) (*tls.Conn, error) {
		c.RootCAs = ca.Pool()
		return tls.Dial("tcp", f.Addr().String(), c)
	}
	_, err := dial(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)
	_, err = dial(&tls.Config{NextProtos: []string{"h2"}})
	require.Error(t, err)
	c, err := dial(&tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	require.NoError(t, err)
	require.NoError(t, c.Close())

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	t.Cleanup(transport.CloseIdleConnections)
	f.client.Transport, f.base = transport, "https://"+f.Addr().String()
	resp, _ := f.do(t, "GET", "/metrics", map[string]string{"Authorization": "Bearer " + testToken}, "")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, 1, resp.ProtoMajor)
	require.Equal(t, uint16(tls.VersionTLS10), conf.MinVersion, "the caller's configuration is its own")
}

// TestMetricsAreClean: what is served passes the linter of Prometheus, and has the build, the runtime and the process.
func TestMetricsAreClean(t *testing.T) {
	t.Parallel()
	end := time.Unix(1_900_000_000, 0)
	f := start(t, Config{Socket: filepath.Join(shortDir(t), "s"),
		Checks: []Check{{Name: "clock", Probe: func() error { return nil }}}})
	require.NoError(t, f.reg.Register(NewExpiryCollector(func() map[string]time.Time {
		return map[string]time.Time{"dtls_server": end, "unset": {}}
	})))
	_, body := f.do(t, "GET", "/metrics", nil, "")
	require.Contains(t, body, `coapbridge_build_info{`)
	require.Contains(t, body, `version="test"`)
	require.Contains(t, body, `coapbridge_certificate_expiry_timestamp_seconds{certificate="dtls_server"} 1.9e+09`)
	require.NotContains(t, body, "unset")
	require.Contains(t, body, "go_goroutines ")
	require.Contains(t, body, "process_resident_memory_bytes ")
	problems, err := testutil.GatherAndLint(f.reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestShutdownWithoutServe(t *testing.T) {
	t.Parallel()
	reg, err := NewRegistry(Build{})
	require.NoError(t, err)
	path := filepath.Join(shortDir(t), "s")
	s, err := New(Config{Socket: path, Registry: reg, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoFileExists(t, path)
	require.NoError(t, s.Serve(), "Serve after Shutdown returns at once")
}
