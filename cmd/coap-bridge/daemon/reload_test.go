package daemon

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
	"coapbridge/internal/testpki"
)

// TestO02BadReload: a devices file with a fault is not taken; the old one stays and /readyz says so.
func TestO02BadReload(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	f.write("devices.yaml", "version: 1\ndevices:\n  - name: x\n    unknown: 1\n")
	require.Error(t, f.d.Reload())
	require.Contains(t, f.get("/readyz"), "devices.yaml")
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", "1")).Code)
	f.write("devices.yaml", devicesText)
	require.NoError(t, f.d.Reload())
	require.Contains(t, f.get("/readyz"), `"ready":true`)
}

// TestO02DevicesFileCorrected: after a fault in the devices file the file as it was before makes the bridge ready again,
// without a signal, and so it does after a signal that met the fault.
func TestO02DevicesFileCorrected(t *testing.T) {
	t.Parallel()
	f := start(t)
	for _, signal := range []bool{false, true} {
		f.write("devices.yaml", "version: 1\ndevices:\n  - name: x\n    unknown: 1\n")
		if signal {
			require.Error(t, f.d.Reload())
		}
		f.ready(false)
		f.write("devices.yaml", devicesText)
		f.ready(true)
	}
}

// TestO02OtherFaultStays: a correction of the devices file does not hide that a reload failed for another file.
func TestO02OtherFaultStays(t *testing.T) {
	t.Parallel()
	f := start(t)
	good, err := os.ReadFile(f.path("ca.crt"))
	require.NoError(t, err)
	f.write("ca.crt", "no CA")
	require.Error(t, f.d.Reload())
	f.write("devices.yaml", devicesText+"  - name: third\n    psk: {identity: third, up: \"hex:a0b1c2d3e4f5061728394a5b6c7d8e9f\"}\n")
	require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "devices changed") }, 10*time.Second, 20*time.Millisecond)
	f.ready(false)
	f.write("ca.crt", string(good))
	require.NoError(t, f.d.Reload())
	f.ready(true)
}

// ready waits for /readyz to say so.
func (f *fixture) ready(want bool) {
	f.t.Helper()
	text := `"ready":false`
	if want {
		text = `"ready":true`
	}
	require.Eventually(f.t, func() bool { return strings.Contains(f.get("/readyz"), text) }, 10*time.Second, 20*time.Millisecond)
}

// TestO02CAReplaced: a session whose certificate leads to none of the devices' CAs any more ends with the reload; one that
// does, also by a CA that was added, goes on.
func TestO02CAReplaced(t *testing.T) {
	t.Parallel()
	f := start(t)
	door := connectAs(t, f.addr(), f.ca.Client(t, "urn:test:door"))
	meter := connect(t, f.addr(), "meter1", meterKey)
	require.Equal(t, coap.Created, door.exchange(plain(coap.POST, "a", "1")).Code)
	both, err := os.ReadFile(f.path("ca.crt"))
	require.NoError(t, err)
	testpki.NewCA(t, "new").WriteCert(t, f.dir, "ca.crt")
	alone, err := os.ReadFile(f.path("ca.crt"))
	require.NoError(t, err)

	f.write("ca.crt", string(both)+string(alone))
	require.NoError(t, f.d.Reload())
	require.Equal(t, coap.Created, door.exchange(plain(coap.POST, "a", "2")).Code)

	f.write("ca.crt", string(alone))
	require.NoError(t, f.d.Reload())
	select {
	case why := <-door.closed:
		require.Equal(t, dtls.ReasonPeerClosed, why)
	case <-time.After(5 * time.Second):
		t.Fatal("the session lives on")
	}
	require.Equal(t, coap.Created, meter.exchange(plain(coap.POST, "a", "1")).Code, "the others are not touched")
	require.Equal(t, "1", f.metric(`coapbridge_dtls_closed_sessions_total{reason="revoked"}`))
}

// TestReloadKeepsThePaths: where a changed configuration takes a restart, a reload warns and changes nothing: neither names
// of CSEs nor paths.
func TestReloadKeepsThePaths(t *testing.T) {
	t.Parallel()
	f := start(t)
	meter := connect(t, f.addr(), "meter1", meterKey)
	door := connectAs(t, f.addr(), f.ca.Client(t, "urn:test:door"))
	testpki.NewCA(t, "new").WriteCert(t, f.dir, "new.crt")
	text, err := os.ReadFile(f.path("coap-bridge.yaml"))
	require.NoError(t, err)
	f.write("coap-bridge.yaml", strings.NewReplacer("name: in", "name: main", "clientCA: ca.crt", "clientCA: new.crt").Replace(string(text)))
	require.NoError(t, f.d.Reload())
	require.Contains(t, f.log.String(), `"fields":["clientCA","cses"]`)
	require.Equal(t, coap.Created, meter.exchange(plain(coap.POST, "a", "1")).Code)
	require.Equal(t, coap.Created, door.exchange(plain(coap.POST, "a", "1")).Code)
	connectAs(t, f.addr(), f.ca.Client(t, "urn:test:door"))

	testpki.NewCA(t, "other CSEs").WriteCert(t, f.dir, "cse-ca.crt")
	require.NoError(t, f.d.Reload())
	require.Contains(t, f.log.String(), `"cses[].ca"`)
	require.Equal(t, coap.Created, meter.exchange(plain(coap.POST, "a", "1")).Code)
}

// TestReloadCertificates: renewed certificates are used from the reload on, towards devices, at the admin listener, and for
// the names in Uri-Host.
func TestReloadCertificates(t *testing.T) {
	t.Parallel()
	f := start(t, func(f *fixture, text string) string {
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, "token"), []byte("token-of-the-tests-0001"), 0o600))
		f.ca.Server(t, "127.0.0.1").Write(t, f.dir, "admin")
		return strings.Replace(text, "admin: {socket: admin.sock}",
			`admin: {listen: "127.0.0.1:0", tokenFile: token, certificate: {chain: admin.crt, key: admin.key}}`, 1)
	})
	serial := func() string {
		c, err := tls.Dial("tcp", f.d.admin.Addr().String(), &tls.Config{RootCAs: f.ca.Pool()})
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	require.False(t, f.d.keys.host("renamed.example.org"))
	f.ca.Server(t, "127.0.0.1").Write(t, f.dir, "admin")
	f.ca.Server(t, "localhost", "renamed.example.org").Write(t, f.dir, "bridge")
	require.NoError(t, f.d.Reload())
	require.NotEqual(t, before, serial())
	require.True(t, f.d.keys.host("renamed.example.org"))
	require.True(t, f.d.keys.host(net.IPv4bcast.String()))
}

// TestMaxPayload: a body beyond the entry's maxPayload is 4.13 with Size1, and another maxPayload holds for devices that have
// a session already.
func TestMaxPayload(t *testing.T) {
	t.Parallel()
	const entry = "  - name: meter1\n"
	f := start(t, func(f *fixture, text string) string {
		f.write("devices.yaml", strings.Replace(devicesText, entry, entry+"    maxPayload: 300\n", 1))
		return text
	})
	c := connect(t, f.addr(), "meter1", meterKey)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", strings.Repeat("x", 300))).Code)
	for _, size := range []int{301, 3000} { // in one message, and in blocks
		answer := c.exchange(plain(coap.POST, "a", strings.Repeat("x", size)))
		require.Equal(t, coap.RequestEntityTooLarge, answer.Code)
		limit, _ := answer.Options.Uint(coap.Size1)
		require.EqualValues(t, 300, limit)
	}

	f.write("devices.yaml", strings.Replace(devicesText, entry, entry+"    maxPayload: 3000\n", 1))
	require.Equal(t, dtls.ReasonPeerClosed, <-c.closed)
	c = connect(t, f.addr(), "meter1", meterKey)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", strings.Repeat("x", 3000))).Code)
}
