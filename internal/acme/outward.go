package acme

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/testpki"
)

// Outward is the way from ACME to a bridge that demands a client certificate, which ACME has none of: a HAProxy that takes
// ACME's TLS and speaks TLS with the certificate of the CSE to the bridge. It passes bytes on. Its URL is what the bridge
// gives out as its point of access; it is known before the bridge runs.
type Outward struct {
	URL string // "https://127.0.0.1:port", without a slash at the end

	socket *os.File
	dir    string
	pair   string // of the server that ACME sees
	own    string // of the client that the bridge sees
	ca     string // of the bridge
	proxy  *process
}

// NewOutward takes a port. The CSE is known to the bridge by the client certificate cse, and the bridge to the CSE by a
// certificate of bridge.
func NewOutward(t testing.TB, bridge *testpki.CA, cse *testpki.Leaf) *Outward {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	o := &Outward{URL: "https://127.0.0.1:" + strconv.Itoa(ln.Addr().(*net.TCPAddr).Port), dir: t.TempDir()}
	o.socket, err = ln.(*net.TCPListener).File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = o.socket.Close() })
	o.pair, o.own = filepath.Join(o.dir, "proxy.pem"), filepath.Join(o.dir, "cse.pem")
	certFile, keyFile := bridge.Server(t, "127.0.0.1").Write(t, o.dir, "proxy")
	concatenate(t, o.pair, certFile, keyFile)
	certFile, keyFile = cse.Write(t, o.dir, "cse")
	concatenate(t, o.own, certFile, keyFile)
	o.ca = bridge.WriteCert(t, o.dir, "bridge.crt")
	return o
}

// Connect starts HAProxy before the bridge, which listens at address. It ends with the test.
func (o *Outward) Connect(t testing.TB, address string) {
	t.Helper()
	haproxy, err := exec.LookPath("haproxy")
	require.NoError(t, err, "haproxy is missing: run \"make interop\", which installs it")
	config := filepath.Join(o.dir, "haproxy.cfg")
	require.NoError(t, os.WriteFile(config, []byte(o.configuration(address)), 0o600))
	cmd := exec.Command(haproxy, "-db", "-f", config)
	cmd.Dir = o.dir
	cmd.ExtraFiles = []*os.File{o.socket} // descriptor 3 in the child
	o.proxy, err = start("haproxy", cmd, filepath.Join(o.dir, "haproxy.log"))
	require.NoError(t, err)
	t.Cleanup(func() { o.proxy.stop(t) })
}

func (o *Outward) configuration(address string) string {
	return fmt.Sprintf(`global
    maxconn 256

defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s

frontend outward
    bind fd@3 ssl crt %q alpn http/1.1
    default_backend bridge

backend bridge
    server bridge %s ssl crt %q ca-file %q verify required ssl-min-ver TLSv1.2 alpn http/1.1
`, o.pair, address, o.own, o.ca)
}
