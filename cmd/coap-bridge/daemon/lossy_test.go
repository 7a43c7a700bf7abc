//go:build interop

package daemon

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// rough is a UDP proxy that treats datagrams as a bad network does: it loses a fifth, repeats a tenth, and delays each copy by
// up to 2 s on its own, so that they overtake each other; those of handshakes by up to 200 ms, or nearly all time would go there.
// Each client has a socket of its own towards the bridge.
type rough struct {
	front  net.PacketConn
	bridge net.Addr
	loops  sync.WaitGroup

	mu     sync.Mutex // guards the following fields
	random *rand.Rand
	backs  map[string]net.PacketConn
	lost   int
	closed bool
}

func startRough(t *testing.T, bridge netip.AddrPort) *rough {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &rough{front: front, bridge: net.UDPAddrFromAddrPort(bridge), random: rand.New(rand.NewPCG(6, 2)), backs: map[string]net.PacketConn{}}
	r.loops.Go(func() {
		for b := make([]byte, 2048); ; {
			n, from, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			if back := r.back(from); back != nil {
				r.carry(back, append([]byte(nil), b[:n]...), r.bridge)
			}
		}
	})
	t.Cleanup(func() {
		r.mu.Lock()
		r.closed = true
		for _, back := range r.backs {
			_ = back.Close()
		}
		r.mu.Unlock()
		_ = front.Close()
		r.loops.Wait()
	})
	return r
}

// back is the client's socket towards the bridge.
func (r *rough) back(client net.Addr) net.PacketConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	back, ok := r.backs[client.String()]
	if ok || r.closed {
		return back
	}
	back, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil
	}
	r.backs[client.String()] = back
	r.loops.Go(func() {
		for b := make([]byte, 2048); ; {
			n, _, err := back.ReadFrom(b)
			if err != nil {
				return
			}
			r.carry(r.front, append([]byte(nil), b[:n]...), client)
		}
	})
	return back
}

// carry sends b, or not.
func (r *rough) carry(from net.PacketConn, b []byte, to net.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	copies, delay := 1, 2*time.Second
	if len(b) > 0 && b[0] != 23 { // no record with data (RFC 6347, Section 4.1)
		delay = 200 * time.Millisecond
	}
	if r.random.IntN(10) == 0 {
		copies = 2
	}
	for range copies {
		if r.random.IntN(5) == 0 {
			r.lost++
			continue
		}
		time.AfterFunc(time.Duration(r.random.Int64N(int64(delay))), func() {
			_, _ = from.WriteTo(b, to) // it may be closed by now: lost
		})
	}
}

// libcoapArgs writes r as coap-client's arguments, without the URI.
func libcoapArgs(t *testing.T, r *onem2m.Request) []string {
	t.Helper()
	m, err := r.CoAP(onem2m.CoAPProfile{})
	require.NoError(t, err)
	args := []string{"-m", "post", "-e", string(r.Content)}
	for _, o := range m.Options {
		switch o.ID {
		case coap.URIPath:
		case coap.ContentFormat:
			args = append(args, "-t", "50")
		default:
			args = append(args, "-O", fmt.Sprintf("%d,0x%x", o.ID, o.Value))
		}
	}
	return args
}

// TestInteropExactlyOnceInLoss: 200 runs of coap-client at once, each with an instance that it creates, through a network that
// loses, repeats and reorders datagrams and delays them by up to 2 s. A client that gets no answer runs again, with the same
// Request Identifier in a new session. The CSE is asked for each instance exactly once, and each client gets its answer.
func TestInteropExactlyOnceInLoss(t *testing.T) {
	t.Parallel()
	const requests = 200
	f := start(t, func(_ *fixture, text string) string {
		text = strings.Replace(text, "handshakeTimeout: 4s", "handshakeTimeout: 40s, sessionsPerPeer: 1000", 1)
		return text
	})
	c := connect(t, f.addr(), "meter1", meterKey)
	for _, step := range []struct {
		to, content string
		kind        onem2m.ResourceType
	}{
		{"cse-in", `{"m2m:ae":{"rn":"meter","api":"Ntest","rr":false,"srv":["3"]}}`, onem2m.TypeAE},
		{"cse-in/meter", `{"m2m:cnt":{"rn":"c"}}`, onem2m.TypeContainer},
	} {
		_, resp := c.do(&onem2m.Request{Operation: onem2m.Create, ResourceType: step.kind, To: step.to, From: "Cmeter1",
			Content: []byte(step.content), MediaType: "application/json"})
		require.Equal(t, onem2m.StatusCreated, resp.Status, "%s", resp.Content)
	}
	executed := newTally()
	f.cse.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		executed.add(r.Header.Get("X-M2M-RI"))
		next.ServeHTTP(w, r)
	})
	net := startRough(t, f.addr())
	var running sync.WaitGroup
	var again tally
	again.of = map[string]int{}
	for i := range requests {
		running.Go(func() {
			rqi := "loss-" + strconv.Itoa(i)
			args := libcoapArgs(t, &onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContentInstance, To: "cse-in/meter/c",
				From: "Cmeter1", RequestID: rqi, ReleaseVersion: "3", Content: fmt.Appendf(nil, `{"m2m:cin":{"con":"%d"}}`, i), MediaType: "application/json"})
			uri := "coaps://" + net.front.LocalAddr().String() + "/cse-in/meter/c"
			require.NoError(t, persist(t.Context(), func() bool {
				if answered(t, fmt.Sprintf(`"con":"%d"`, i), append(meter("-v", "7", "-B", "12"), append(args, uri)...)...) {
					return true
				}
				again.add(rqi)
				return false
			}))
		})
	}
	running.Wait()
	for i := range requests {
		require.Equal(t, 1, executed.of["loss-"+strconv.Itoa(i)], "request %d", i)
	}
	require.Len(t, executed.of, requests)
	require.NotEmpty(t, again.of, "nobody had to try again")
	net.mu.Lock()
	defer net.mu.Unlock()
	require.Greater(t, net.lost, requests)
	t.Logf("%d clients tried again, %d datagrams were lost", len(again.of), net.lost)
}

// answered runs coap-client until it has printed a 2.01 with the text. It takes no answer that has oneM2M's critical options, but
// with -v 7 it shows each one.
func answered(t *testing.T, text string, args ...string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), string(openssl), args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	found := false
	lines := bufio.NewScanner(out)
	for !found && lines.Scan() {
		found = strings.Contains(lines.Text(), " c:2.01 ") && strings.Contains(lines.Text(), text)
	}
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()         // its exit status says little
	return found
}

// persist tries until it succeeds, or ctx ends.
func persist(ctx context.Context, try func() bool) error {
	for !try() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// tally counts by name.
type tally struct {
	mu sync.Mutex // guards the following field
	of map[string]int
}

func newTally() *tally { return &tally{of: map[string]int{}} }

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[name]++
}
