//go:build interop

package daemon

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// observer is a coap-client that observes.
type observer struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

// observe starts "coap-client -s 60" on a path of the device meter1.
func (f *fixture) observe(c libcoap, path string) *observer {
	f.t.Helper()
	bin, err := exec.LookPath(string(c))
	require.NoError(f.t, err, "%s is missing: make test installs it", c)
	o := &observer{t: f.t, lines: make(chan string, 100)}
	o.cmd = exec.CommandContext(f.t.Context(), bin, meter("-s", "60", "-m", "get", f.uri+path)...)
	out, err := o.cmd.StdoutPipe()
	require.NoError(f.t, err)
	require.NoError(f.t, o.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 1000)
		for { // it writes a payload at once, and a line's end not always
			n, err := out.Read(b)
			if text := strings.TrimSpace(string(b[:n])); text != "" {
				o.lines <- text
			}
			if err != nil {
				return
			}
		}
	}()
	f.t.Cleanup(func() {
		_ = o.cmd.Process.Kill()
		<-read
		_ = o.cmd.Wait()
	})
	return o
}

// shows waits for the client to print the value.
func (o *observer) shows(want string) {
	o.t.Helper()
	select {
	case got := <-o.lines:
		require.Equal(o.t, want, got)
	case <-time.After(20 * time.Second):
		require.FailNow(o.t, "the client shows nothing", "%q", want)
	}
}

// TestInteropACMEObserve: libcoap's client shows each new value that ACME has for a plain resource. ACME can't call the bridge, which
// asks it by its polling channel; the client's end is the subscription's.
func TestInteropACMEObserve(t *testing.T) {
	t.Parallel()
	f, _ := startWithACME(t, func(_ *fixture, text string) string {
		return strings.Replace(text, "    timeout: 3s\n", "    timeout: 3s\n    downlink: {mode: poll}\n", 1)
	})
	c := connect(t, f.addr(), "meter1", meterKey)
	require.Equal(t, coap.Changed, c.exchange(plain(coap.PUT, "room/t", "v0")).Code)
	o := f.observe(openssl, "/room/t")
	o.shows("v0")
	for i := 1; i < 6; i++ {
		require.Equal(t, coap.Changed, c.exchange(plain(coap.PUT, "room/t", fmt.Sprint("v", i))).Code)
		o.shows(fmt.Sprint("v", i))
	}
	require.Equal(t, "1", f.metric("coapbridge_bridge_subscriptions"))
	require.NoError(t, o.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { return f.metric(`coapbridge_bridge_observe_events_total{event="unsubscribed"}`) == "1" },
		20*time.Second, 20*time.Millisecond)
	require.Equal(t, "0", f.metric("coapbridge_bridge_subscriptions"))
}

// TestInteropObserveDevice: the bridge dials libcoap's servers and observes their clock, of which each state becomes a
// contentInstance.
func TestInteropObserveDevice(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"coap-server-openssl", "coap-server-gnutls"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			bin, err := exec.LookPath(program)
			require.NoError(t, err, "%s is missing: make interop installs it", program)
			free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			require.NoError(t, err)
			port := free.LocalAddr().(*net.UDPAddr).Port
			require.NoError(t, free.Close())
			var running *exec.Cmd
			serve := func() {
				running = exec.CommandContext(t.Context(), bin, "-A", "127.0.0.1", "-p", fmt.Sprint(port-1), "-h", "", "-k", meterKey)
				require.NoError(t, running.Start())
			}
			end := func() {
				_ = running.Process.Kill()
				_ = running.Wait()
			}
			serve()
			t.Cleanup(func() { end() })
			f := start(t, func(f *fixture, text string) string {
				f.write("devices.yaml", fmt.Sprintf(`version: 1
devices:
  - name: clock
    profile: plain
    psk: {identity: clock, up: "text:%s"}
    address: "127.0.0.1:%d"
    observe: [{path: /time, container: room/clock}]
`, meterKey, port))
				return text
			})
			several := func(n int) func() bool { return func() bool { return f.instances() >= n } }
			require.Eventually(t, several(3), 30*time.Second, 50*time.Millisecond)
			content, held := f.cse.Content("cse-in/clock/room/clock/la")
			require.True(t, held)
			require.Regexp(t, `^"\w{3} \d\d \d\d:\d\d:\d\d"$`, string(content))
		})
	}
}
