package coap

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// udpConn carries a Peer's datagrams over a plain UDP socket. Only tests do this.
type udpConn struct {
	socket *net.UDPConn
	to     netip.AddrPort
}

func (c *udpConn) Send(b []byte) error {
	_, err := c.socket.WriteToUDPAddrPort(b, c.to)
	return err
}

func (c *udpConn) MaxPlaintext() int { return 1152 } // RFC 7252, Section 4.6

// udpEndpoint is an Endpoint on a loopback socket.
type udpEndpoint struct {
	*Endpoint
	socket *net.UDPConn
	mu     sync.Mutex
	peers  map[netip.AddrPort]*Peer
}

func newUDPEndpoint(t *testing.T, c *Config) *udpEndpoint {
	t.Helper()
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	require.NoError(t, err)
	u := &udpEndpoint{Endpoint: New(c), socket: socket, peers: make(map[netip.AddrPort]*Peer)}
	var running sync.WaitGroup
	running.Go(func() { _ = u.Serve() })
	running.Go(u.read)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = u.Shutdown(ctx)
		_ = socket.Close()
		running.Wait()
	})
	return u
}

func (u *udpEndpoint) read() {
	buf := make([]byte, 2048)
	for {
		n, from, err := u.socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		u.Receive(u.peer(from), buf[:n])
	}
}

func (u *udpEndpoint) peer(addr netip.AddrPort) *Peer {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.peers[addr]
	if p == nil {
		p = u.NewPeer(&udpConn{u.socket, addr}, Profile{})
		u.peers[addr] = p
	}
	return p
}

func (u *udpEndpoint) port() int { return u.socket.LocalAddr().(*net.UDPAddr).Port }

// store is a Handler that keeps one body: PUT replaces it, GET returns it, POST appends to a log, /slow waits 3 s.
type store struct {
	mu    sync.Mutex
	body  []byte
	posts []string
	wait  sync.WaitGroup
}

func (s *store) ServeCoAP(x *Exchange) {
	m := x.Request()
	path, _ := m.Options.Find(URIPath)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case string(path) == "slow":
		s.wait.Go(func() {
			<-time.After(3 * time.Second)
			_ = x.Respond(&Message{Code: Content, Payload: []byte("late")})
		})
	case m.Code == PUT:
		s.body = bytes.Clone(m.Payload)
		_ = x.Respond(&Message{Code: Changed})
	case m.Code == POST:
		s.posts = append(s.posts, string(m.Payload))
		_ = x.Respond(&Message{Code: Created, Payload: s.body})
	default:
		_ = x.Respond(&Message{Code: Content, Payload: s.body})
	}
}

// finish waits until /slow has answered.
func (s *store) finish() {
	s.stored() // orders this after the request came: WaitGroup's Add must not race with its Wait
	s.wait.Wait()
}

func (s *store) stored() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body
}

// coapClient runs libcoap's client and returns what it printed.
func coapClient(t *testing.T, u *udpEndpoint, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	args = append(args, fmt.Sprintf("coap://127.0.0.1:%d/%s", u.port(), path))
	cmd := exec.CommandContext(ctx, "coap-client-notls", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	return string(out)
}

func randomFile(t *testing.T, n int) (string, []byte) {
	t.Helper()
	b := make([]byte, n)
	rand.Read(b)
	name := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name, b
}

// TestLibcoapClient runs libcoap's client against an Endpoint: RFC 7252 and RFC 7959 as another implementation reads them.
func TestLibcoapClient(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		size int
		args []string
	}{
		{"10 KiB", 10 << 10, nil},
		{"10 KiB in blocks of 256", 10 << 10, []string{"-b", "256"}},
		{"40 KiB in blocks of 256", 40 << 10, []string{"-b", "256"}},
		{"40 KiB in blocks of 1024", 40 << 10, nil},
		{"10 KiB with losses", 10 << 10, []string{"-l", "3,5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &store{}
			u := newUDPEndpoint(t, &Config{Handler: s})
			file, want := randomFile(t, tt.size)
			coapClient(t, u, "store", append(tt.args, "-m", "put", "-f", file)...)
			require.True(t, bytes.Equal(want, s.stored()), "body as the Handler got it: %d bytes", len(s.stored()))
			got := filepath.Join(t.TempDir(), "got")
			coapClient(t, u, "store", append(tt.args, "-m", "get", "-o", got)...)
			b, err := os.ReadFile(got)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, b), "body as the client got it: %d bytes", len(b))
			require.Zero(t, u.Stats().Bodies)
		})
	}
	t.Run("separate response after 3 s", func(t *testing.T) {
		t.Parallel()
		s := &store{}
		u := newUDPEndpoint(t, &Config{Handler: s})
		t.Cleanup(s.finish)
		require.Equal(t, "late", strings.TrimSpace(coapClient(t, u, "slow")))
		s.finish() // Respond counts after it has sent
		require.EqualValues(t, 1, u.Stats().Out[Acknowledgement])
		require.EqualValues(t, 1, u.Stats().Out[Confirmable])
	})
	t.Run("NON", func(t *testing.T) {
		t.Parallel()
		s := &store{body: []byte("answer")}
		u := newUDPEndpoint(t, &Config{Handler: s})
		require.Equal(t, "answer", strings.TrimSpace(coapClient(t, u, "x", "-N")))
		require.Eventually(t, func() bool { return u.Stats().Out[NonConfirmable] == 1 }, time.Second, time.Millisecond)
	})
	t.Run("POST up and down in blocks", func(t *testing.T) {
		t.Parallel()
		file, want := randomFile(t, 9000)
		s := &store{body: want}
		u := newUDPEndpoint(t, &Config{Handler: s})
		got := filepath.Join(t.TempDir(), "got")
		coapClient(t, u, "x", "-m", "post", "-b", "128", "-f", file, "-o", got)
		b, err := os.ReadFile(got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, b))
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Equal(t, []string{string(want)}, s.posts)
	})
}

// startLibcoapServer runs libcoap's server on a loopback port and returns its address.
func startLibcoapServer(t *testing.T, args ...string) netip.AddrPort {
	t.Helper()
	free, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	require.NoError(t, err)
	addr := free.LocalAddr().(*net.UDPAddr).AddrPort()
	require.NoError(t, free.Close())
	args = append(args, "-A", "127.0.0.1", "-p", fmt.Sprint(addr.Port()))
	cmd := exec.Command("coap-server-notls", args...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return addr
}

// TestLibcoapServer has Do put and get block-wise at libcoap's server.
func TestLibcoapServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		profile Profile
		size    int
		args    []string
	}{
		{"one block", Profile{}, 300, nil},
		{"40 KiB in blocks of 1024", Profile{}, 40 << 10, nil},
		{"9 KiB in blocks of 64", Profile{MaxBlock: 64}, 9 << 10, nil},
		{"one token", Profile{OneToken: true}, 5 << 10, nil},
		{"losses", Profile{}, 5 << 10, []string{"-l", "3,5,8-9"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := newUDPEndpoint(t, &Config{})
			tt.profile.AckTimeout = 200 * time.Millisecond
			p := u.NewPeer(&udpConn{u.socket, startLibcoapServer(t, tt.args...)}, tt.profile)
			u.mu.Lock()
			u.peers[p.Conn().(*udpConn).to] = p
			u.mu.Unlock()
			body := make([]byte, tt.size)
			rand.Read(body)
			path := Options(nil).AddString(URIPath, "example_data").AddUint(ContentFormat, 42)
			resp, err := u.Do(t.Context(), p, &Message{Code: PUT, Options: path, Payload: body})
			require.NoError(t, err)
			require.Equal(t, uint8(2), resp.Code.Class(), "%s %q", resp.Code, resp.Payload)
			resp, err = u.Do(t.Context(), p, &Message{Code: GET, Options: path[:1]})
			require.NoError(t, err)
			require.Equal(t, Content, resp.Code)
			require.True(t, bytes.Equal(body, resp.Payload), "%d bytes", len(resp.Payload))
			// /async answers separately.
			async := Options(nil).AddString(URIPath, "async").AddString(URIQuery, "1")
			resp, err = u.Do(t.Context(), p, &Message{Code: GET, Options: async})
			require.NoError(t, err)
			require.Equal(t, Content, resp.Code)
			require.Equal(t, "done", string(resp.Payload))
		})
	}
}
