package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/testpki"
)

// Version is the release of ACME that the project is tested with.
const Version = "2026.5.3"

// Instance is one running ACME behind mutual TLS. Its fields are not changed after Start.
type Instance struct {
	URL     string // "https://localhost:port", without a slash at the end
	CSEID   string // CSE-ID, "/id-in"
	CSEBase string // resource name of the CSEBase, "cse-in"
	Admin   string // Originator that may do everything, "CAdmin"
	LogFile string // what ACME says while it runs

	cse, proxy *process
}

// Start starts ACME from its virtual environment and HAProxy before it, and returns when a request with a client
// certificate of ca is answered. HAProxy presents a certificate of ca for localhost, 127.0.0.1 and ::1, and ends the TLS
// handshake of whoever has no certificate of ca.
//
// The virtual environment is the one that the environment variable ACME_VENV names, else coap-bridge/acme-Version in the
// user's cache folder. The test fails, and does not skip, when that or HAProxy is missing.
func Start(t testing.TB, ca *testpki.CA) *Instance {
	t.Helper()
	python := interpreter(t)
	haproxy, err := exec.LookPath("haproxy")
	require.NoError(t, err, "haproxy is missing: run \"make interop\", which installs it")

	dir := t.TempDir()
	in := &Instance{CSEID: "/id-in", CSEBase: "cse-in", Admin: "CAdmin", LogFile: filepath.Join(dir, "acme.log")}
	t.Cleanup(func() { in.Stop(t) })
	port := in.startCSE(t, python, dir)
	in.startProxy(t, haproxy, dir, ca, port)

	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Client(t).TLS()}, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	require.NoError(t, in.await(client, in.URL, in.proxy), "HAProxy's last words: %s", tail(filepath.Join(dir, "haproxy.log")))
	return in
}

// Stop ends both processes, as a CSE that fails does. Start's cleanup calls it as well.
func (in *Instance) Stop(t testing.TB) {
	t.Helper()
	for _, p := range []*process{in.proxy, in.cse} {
		if p != nil {
			p.stop(t)
		}
	}
}

// startCSE starts ACME and returns its port on 127.0.0.1 when it answers there.
func (in *Instance) startCSE(t testing.TB, python, dir string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var failure error
	for range maxStarts {
		port := freePort(t)
		config := filepath.Join(dir, "acme.ini")
		require.NoError(t, os.WriteFile(config, []byte(configuration(dir, port)), 0o600))
		cmd := exec.Command(python, "-m", "acmecse", "-dir", dir, "--config", "acme.ini", "--headless",
			"--network-interface", "127.0.0.1")
		cmd.Dir = dir
		p, err := start("acme", cmd, in.LogFile)
		require.NoError(t, err)
		in.cse = p
		if failure = in.await(client, "http://127.0.0.1:"+strconv.Itoa(port), p); failure == nil {
			return port
		}
		p.stop(t)
		if !errors.Is(failure, errEnded) {
			break // a CSE that hangs will hang again
		}
	}
	require.NoError(t, failure, "ACME's last words: %s", tail(in.LogFile))
	return 0
}

// startProxy starts HAProxy on a socket that this process has bound, so that no other can take its port.
func (in *Instance) startProxy(t testing.TB, haproxy, dir string, ca *testpki.CA, port int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer socket.Close()

	certFile, keyFile := ca.Server(t, "localhost", "127.0.0.1", "::1").Write(t, dir, "proxy")
	pair := filepath.Join(dir, "proxy.pem")
	concatenate(t, pair, certFile, keyFile)
	config := filepath.Join(dir, "haproxy.cfg")
	caFile := ca.WriteCert(t, dir, "clients.crt")
	require.NoError(t, os.WriteFile(config, []byte(proxyConfiguration(pair, caFile, port)), 0o600))

	cmd := exec.Command(haproxy, "-db", "-f", config) // -db: one process, in the foreground
	cmd.Dir = dir
	cmd.ExtraFiles = []*os.File{socket} // descriptor 3 in the child
	in.proxy, err = start("haproxy", cmd, filepath.Join(dir, "haproxy.log"))
	require.NoError(t, err)
	in.URL = "https://localhost:" + strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// errEnded says that a process ended instead of serving.
var errEnded = errors.New("the process has ended")

// await retrieves the CSEBase at base until it is there, p has ended or startTimeout is over.
func (in *Instance) await(client *http.Client, base string, p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := in.retrieveBase(ctx, client, base)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("acme: %s: %w", p.name, errEnded)
		case <-ctx.Done():
			return fmt.Errorf("acme: %s did not answer within %v: %w", p.name, startTimeout, err)
		case <-ticker.C:
		}
	}
}

func (in *Instance) retrieveBase(ctx context.Context, client *http.Client, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/"+in.CSEBase, http.NoBody)
	if err != nil {
		return err
	}
	// TS-0009, 6.4. Header.Set would change the spelling of the names.
	req.Header["X-M2M-Origin"] = []string{in.Admin}
	req.Header["X-M2M-RI"] = []string{"ready"}
	req.Header["X-M2M-RVI"] = []string{"3"}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("acme: HTTP status %d", resp.StatusCode)
	}
	return nil
}

// interpreter returns the Python of the virtual environment that holds ACME.
func interpreter(t testing.TB) string {
	t.Helper()
	venv := os.Getenv("ACME_VENV")
	if venv == "" {
		cache, err := os.UserCacheDir()
		require.NoError(t, err)
		venv = filepath.Join(cache, "coap-bridge", "acme-"+Version)
	}
	python := filepath.Join(venv, "bin", "python")
	_, err := os.Stat(python)
	require.NoError(t, err, "ACME is missing: run \"make interop\", which installs it, or set ACME_VENV")
	return python
}

// freePort returns a port that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func concatenate(t testing.TB, to string, parts ...string) {
	t.Helper()
	var all []byte
	for _, name := range parts {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		all = append(all, b...)
	}
	require.NoError(t, os.WriteFile(to, all, 0o600))
}

// tail returns the last bytes of a log file.
func tail(name string) string {
	const most = 4096
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}
