package dtls

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

// helloWithCookie returns the client's second ClientHello.
func (b *bench) helloWithCookie(t testing.TB) []byte {
	var found []byte
	for _, p := range b.packets(clientAddr) {
		if r, _, ok := record.Parse(p.Data, cidLength); ok && isClientHello(r) {
			if h, ok := handshake.ParseHello(r.Payload); ok && len(h.Cookie) > 0 {
				found = p.Data
			}
		}
	}
	require.NotNil(t, found, "no ClientHello with a cookie")
	return found
}

// H06, S13 and S14: hellos from forged sources leave nothing behind, and each is answered with less than it has.
func TestH06FloodOfHellosKeepsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hello := b.helloOf(t)
	b.reset()
	const hellos = 500
	for i := range uint32(hellos) {
		forged := bytes.Clone(hello)
		binary.BigEndian.PutUint32(forged[record.HeaderLen+12+2:], i) // of the random
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 999)
		b.net.Inject(simnet.Packet{From: from, To: netip.MustParseAddrPort(serverAddr), Data: forged})
	}
	require.Eventually(t, func() bool { return len(b.packets(serverAddr)) == hellos }, 5*time.Second, time.Millisecond)
	for _, p := range b.packets(serverAddr) {
		require.LessOrEqual(t, len(p.Data), len(hello))
		require.EqualValues(t, 3, p.Data[record.HeaderLen], "HelloVerifyRequest")
	}
	b.server.mu.Lock()
	require.Empty(t, b.server.pending)
	require.Empty(t, b.server.sites)
	b.server.mu.Unlock()
	require.Zero(t, b.server.Stats().HalfOpen)
	b.answers(t)
}

// S14: one datagram is answered with one, however many hellos are in it; each has headers of its own around it.
func TestH06ManyHellosInOneDatagram(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hello := b.helloOf(t)
	b.reset()
	b.attack("203.0.113.5:999", bytes.Repeat(hello, 10))
	b.answers(t)
	answers := 0
	for _, p := range b.packets(serverAddr) {
		if p.To.String() == "203.0.113.5:999" {
			answers++
		}
	}
	require.Equal(t, 1, answers)
	require.EqualValues(t, 9, b.server.Stats().Dropped[DropUnexpected])
}

// H06: a cookie is good for its address, port and hello, for a minute, and for nothing else; whatever else brings one is asked
// for another, and nothing is looked up for it.
func TestH06CookieOfAnotherHello(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hello := b.helloWithCookie(t)
	changed := func(at int) []byte {
		d := bytes.Clone(hello)
		d[at] ^= 1
		return d
	}
	random := record.HeaderLen + 12 + 2
	for _, tt := range []struct {
		name, from string
		datagram   []byte
	}{
		{"another address", "203.0.113.5:40000", hello},
		{"another port", "198.51.100.7:40001", hello},
		{"another random", clientAddr, changed(random)},
		{"another cookie", clientAddr, changed(random + 32 + 1 + 1)},
		{"other suites", clientAddr, changed(random + 32 + 1 + 1 + int(hello[random+33]) + 3)},
	} {
		b.reset()
		before := b.server.Stats().Handshakes[OutcomeStaleCookie]
		b.attack(tt.from, tt.datagram)
		require.Eventually(t, func() bool { return len(b.packets(serverAddr)) == 1 }, 5*time.Second, time.Millisecond, tt.name)
		require.EqualValues(t, 3, b.packets(serverAddr)[0].Data[record.HeaderLen], tt.name)
		require.Equal(t, before+1, b.server.Stats().Handshakes[OutcomeStaleCookie], tt.name)
		require.Zero(t, b.server.Stats().HalfOpen, tt.name)
		b.answers(t)
	}
}

// H06: a hello costs no allocation.
func TestH06HelloAllocatesNothing(t *testing.T) {
	b := newBench(t)
	hello := b.helloOf(t)
	b.setCut(true)
	p := &packet{from: b.server.socks[0].key(netip.MustParseAddrPort("203.0.113.5:1")), data: hello}
	g := &greeter{cookies: handshake.NewCookies()}
	b.server.socks[0].transport = nowhere{}
	now := time.Now()
	require.Zero(t, testing.AllocsPerRun(1000, func() { b.server.receive(g, p, now) }))
}

// nowhere is a transport that loses everything.
type nowhere struct{ transport }

func (nowhere) write([]outgoing) int { return 0 }

func (nowhere) kernelDrops() uint64 { return 0 }
