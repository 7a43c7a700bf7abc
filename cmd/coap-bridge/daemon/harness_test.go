package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/cmd/coap-bridge/admin"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/cmd/coap-bridge/logging"
	"coapbridge/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Test-only credentials of the devices file below.
const (
	meterKey = "meter-key-of-the-tests-0001"
	otherKey = "other-key-of-the-tests-0002"
)

const devicesText = `version: 1
devices:
  - name: meter1
    allowDelete: true
    originators: ["Cmeter1"]
    psk:
      identity: meter1
      up: text:` + meterKey + `
  - name: other
    originators: ["Cother*"]
    psk:
      identity: other
      up: text:` + otherKey + `
  - name: door
    certificate:
      san: "uri:urn:test:door"
`

// fixture is a whole bridge on loopback with a CSE behind it.
type fixture struct {
	t     *testing.T
	dir   string
	ca    *testpki.CA // of devices and of the bridge
	cseCA *testpki.CA
	cse   *csetest.CSE
	cseAt string // host:port
	d     *Daemon
	uri   string // coaps://localhost:port
	log   *safeBuffer
	names *logging.Pseudonymizer

	stopOnce sync.Once
}

// start runs a bridge. edit may change the configuration's text, or files in the folder.
func start(t *testing.T, edit ...func(f *fixture, text string) string) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: folder(t), ca: testpki.NewCA(t, "devices"), log: &safeBuffer{}}
	cseCA := testpki.NewCA(t, "CSE")
	f.cseCA = cseCA
	f.cse = csetest.New(csetest.Config{Certificate: cseCA.Server(t, csetest.Loopback).TLS(), ClientCAs: cseCA.Pool(),
		NotifyCertificate: cseCA.Client(t, "urn:test:cse").TLS(), NotifyCAs: f.ca.Pool()})
	url, err := f.cse.Start(csetest.Loopback + ":0")
	require.NoError(t, err)
	t.Cleanup(f.cse.Close)
	f.cseAt = strings.TrimPrefix(url, "https://")

	f.ca.WriteCert(t, f.dir, "ca.crt")
	cseCA.WriteCert(t, f.dir, "cse-ca.crt")
	f.ca.Server(t, "localhost", "127.0.0.1").Write(t, f.dir, "bridge")
	cseCA.Client(t).Write(t, f.dir, "cse-client")
	f.write("devices.yaml", devicesText)
	text := fmt.Sprintf(`version: 1
listen: ["127.0.0.1:0"]
certificate: {chain: bridge.crt, key: bridge.key}
clientCA: ca.crt
devices: devices.yaml
cses:
  - name: in
    default: true
    url: %s
    ca: cse-ca.crt
    certificate: cse-client.crt
    key: cse-client.key
    cseID: /id-in
    cseBase: cse-in
    timeout: 3s
limits: {handshakeTimeout: 4s}
admin: {socket: admin.sock}
`, url)
	for _, e := range edit {
		text = e(f, text)
	}
	f.write("coap-bridge.yaml", text)
	load := func() (*config.Config, error) {
		return config.Load(filepath.Join(f.dir, "coap-bridge.yaml"), config.Options{Now: time.Now()})
	}
	c, err := load()
	require.NoError(t, err)
	f.names, err = logging.LoadPseudonymizer(c.Log.KeyFile)
	require.NoError(t, err)
	f.d, err = Start(Options{
		Config: c, Load: load, Log: slog.New(slog.NewJSONHandler(f.log, nil)), Build: admin.Build{Version: "test"},
		Pseudonym: f.names.Device,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, f.stop(ctx))
		if t.Failed() {
			t.Log(f.log.String())
		}
	})
	f.uri = fmt.Sprintf("coaps://localhost:%d", f.d.Addresses()[0].Port())
	return f
}

// stop shuts the bridge down, once.
func (f *fixture) stop(ctx context.Context) error {
	var err error
	f.stopOnce.Do(func() { err = f.d.Shutdown(ctx) })
	return err
}

// folder is a private folder with a path short enough for a Unix socket.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cb")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func (f *fixture) write(name, text string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600))
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// addr is the bridge's address.
func (f *fixture) addr() netip.AddrPort { return f.d.Addresses()[0] }

// libcoap is one of libcoap's clients, as Debian installs them.
type libcoap string

const (
	openssl libcoap = "coap-client-openssl"
	gnutls  libcoap = "coap-client-gnutls"
)

// run runs the client and returns what it printed on both outputs.
func (c libcoap) run(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	path, err := exec.LookPath(string(c))
	require.NoError(t, err, "%s is missing: make test installs it", c)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil { // its exit status says little; what it printed is judged
		t.Logf("%s: %v", cmd, err)
	}
	return out.String(), errs.String()
}

// meter are the arguments of the device meter1.
func meter(args ...string) []string { return append([]string{"-u", "meter1", "-k", meterKey}, args...) }

// metric returns the value of one line of /metrics, 0 when it is not there.
func (f *fixture) metric(line string) string {
	f.t.Helper()
	for l := range strings.SplitSeq(f.get("/metrics"), "\n") {
		if value, ok := strings.CutPrefix(l, line+" "); ok {
			return value
		}
	}
	return "0"
}

// get fetches a path of the admin socket.
func (f *fixture) get(path string) string {
	f.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.path("admin.sock"))
	}}
	resp, err := (&http.Client{Transport: transport}).Get("http://localhost" + path)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	return string(body)
}

// instances counts the contentInstances that the CSE was asked to create and created.
func (f *fixture) instances() int {
	n := 0
	for _, r := range f.cse.Requests() {
		if r.Method == http.MethodPost && strings.HasSuffix(r.Header.Get("Content-Type"), "ty=4") {
			n++
		}
	}
	return n
}

// safeBuffer is a bytes.Buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
