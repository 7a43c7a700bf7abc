package load

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/cmd/coap-load/credentials"
	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/session"
	"coapbridge/coap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "0123456789abcdef"

// serve starts a server of pion's with Connection IDs; answer returns what is sent back.
func serve(t *testing.T, answer func(request coap.Message) []coap.Message) netip.AddrPort {
	t.Helper()
	l, err := pion.ListenWithOptions("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)},
		pion.WithPSK(func([]byte) ([]byte, error) { return []byte(key), nil }),
		pion.WithCipherSuites(pion.TLS_PSK_WITH_AES_128_CCM_8),
		pion.WithConnectionIDGenerator(pion.RandomCIDGenerator(8)))
	require.NoError(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() { converse(conn, answer) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().(*net.UDPAddr).AddrPort()
}

func converse(conn net.Conn, answer func(coap.Message) []coap.Message) {
	b := make([]byte, 2000)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		m, err := coap.Parse(b[:n])
		if err != nil {
			continue
		}
		for _, a := range answer(m) {
			if wire, err := a.AppendBinary(nil); err == nil {
				_, _ = conn.Write(wire)
			}
		}
	}
}

func piggybacked(m coap.Message) []coap.Message {
	return []coap.Message{{Type: coap.Acknowledgement, Code: coap.Content, MessageID: m.MessageID, Token: m.Token}}
}

func open(t *testing.T, target netip.AddrPort) *Load {
	t.Helper()
	l, err := New(Config{Target: target, Session: session.Config{
		Credential: credentials.PSK("load-%d", []byte(key)), ConnectionID: true,
	}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

var get = Request{Method: "GET", Path: "/", Format: -1}

// TestMove moves sessions to other addresses, which pion follows by their Connection IDs.
func TestMove(t *testing.T) {
	l := open(t, serve(t, piggybacked))
	_, err := l.Connect(context.Background(), 5, 2)
	require.NoError(t, err)
	got, err := l.Move(context.Background(), Moves{Request: get, Count: 10, Between: 2})
	require.NoError(t, err)
	require.Equal(t, 50, got.Move.Moves)
	require.EqualValues(t, 100, got.Move.Requests)
	require.EqualValues(t, 100, got.Done)
	require.Zero(t, got.Failed)
}

// TestRepeats loses the first transmission of a request, and answers others late and separately.
func TestRepeats(t *testing.T) {
	var seen, acknowledged atomic.Int64
	l := open(t, serve(t, func(m coap.Message) []coap.Message {
		switch {
		case m.Type == coap.Acknowledgement:
			acknowledged.Add(1)
			return nil
		case seen.Add(1) == 1:
			return nil // lost
		}
		return []coap.Message{
			{Type: coap.Acknowledgement, MessageID: m.MessageID},
			{Type: coap.Confirmable, Code: coap.NotFound, MessageID: m.MessageID, Token: m.Token},
		}
	}))
	_, err := l.Connect(context.Background(), 1, 1)
	require.NoError(t, err)
	made, err := get.template()
	require.NoError(t, err)
	x := newExchanges(made, 1)
	ended := make(chan bool, 1)
	x.done = func(_ *fleet.Batch, _ *session.Session, ok bool) { ended <- ok }
	l.hooks.Store(&hooks{received: x.received})
	now := time.Now()
	x.start(now)
	out := l.fleet.NewBatch()
	x.send(out, l.sessions[0], now)
	out.Flush()
	x.scan(out, now.Add(time.Second))
	counts, _ := x.snapshot()
	require.Zero(t, counts.Repeats, "not yet")
	for began := time.Now(); seen.Load() == 0 && time.Since(began) < 5*time.Second; { // the first must be the first
		require.NoError(t, wait(context.Background(), time.Millisecond))
	}
	x.scan(out, now.Add(3*time.Second))
	out.Flush()
	require.False(t, <-ended, "4.04 is no success")
	counts, under := x.snapshot()
	require.Equal(t, Requests{Refused: 1, Repeats: 1}, counts)
	require.Zero(t, under)
	require.Equal(t, map[string]uint64{"4.04": 1}, x.codes.all())
	for began := time.Now(); acknowledged.Load() == 0 && time.Since(began) < 5*time.Second; {
		require.NoError(t, wait(context.Background(), time.Millisecond))
	}
	require.EqualValues(t, 1, acknowledged.Load())
}

// TestLost gives up what is never answered.
func TestLost(t *testing.T) {
	l := open(t, serve(t, func(coap.Message) []coap.Message { return nil }))
	_, err := l.Connect(context.Background(), 1, 1)
	require.NoError(t, err)
	made, err := get.template()
	require.NoError(t, err)
	x := newExchanges(made, 1)
	now := time.Now()
	x.start(now)
	out := l.fleet.NewBatch()
	x.send(out, l.sessions[0], now)
	for _, after := range []time.Duration{3 * time.Second, 8 * time.Second, 20 * time.Second} {
		x.scan(out, now.Add(after))
	}
	out.Flush()
	counts, under := x.snapshot()
	require.Equal(t, Requests{Lost: 1, Repeats: 2}, counts)
	require.Zero(t, under)
}
