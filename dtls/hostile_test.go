package dtls

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

const (
	serverAddr = "192.0.2.1:5684"
	clientAddr = "198.51.100.7:40000"
)

// bench is a server and a client of ours on a simulated network, with one PSK session between them.
type bench struct {
	net                    *simnet.Net
	server, client         *Endpoint
	serverSeen, clientSeen *recorder
	conn                   *Conn // the client's

	mu   sync.Mutex // guards the following fields
	wire []simnet.Packet
	cut  bool // everything is lost
}

// packets returns what was on the wire from one address since the last call of reset.
func (b *bench) packets(from string) []simnet.Packet {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []simnet.Packet
	for _, p := range b.wire {
		if p.From.String() == from {
			out = append(out, p)
		}
	}
	return out
}

func (b *bench) setCut(cut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = cut
}

func (b *bench) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wire = nil
}

func newBench(t testing.TB) *bench { return newBenchOf(t, Config{}, nil) }

// newBenchOf makes a bench whose client has conf, and on whose wire nat changes addresses.
func newBenchOf(t testing.TB, conf Config, nat *nat) *bench {
	b := &bench{net: &simnet.Net{}, serverSeen: newRecorder(false), clientSeen: newRecorder(false)}
	b.net.Wire = func(p simnet.Packet) []simnet.Packet {
		b.mu.Lock()
		defer b.mu.Unlock()
		if nat != nil {
			nat.out(&p)
		}
		b.wire = append(b.wire, p)
		if b.cut || nat != nil && !nat.in(&p) {
			return nil
		}
		return []simnet.Packet{p}
	}
	b.server, _ = startOn(t, &Config{PSK: testPSK, Handler: b.serverSeen}, b.net.Listen(serverAddr))
	conf.PSK, conf.Handler = testPSK, b.clientSeen
	b.client, _ = startOn(t, &conf, b.net.Listen(clientAddr))
	conn, err := b.client.Dial(limited(t), netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
	require.NoError(t, err)
	b.conn = conn
	b.serverSeen.wait(t, func() bool { return len(b.serverSeen.conns) == 1 })
	return b
}

// deliver sends one record from the client and waits until the server's handler has it.
func (b *bench) deliver(t testing.TB, text string) {
	t.Helper()
	require.NoError(t, b.conn.Send([]byte(text)))
	b.serverSeen.wait(t, func() bool {
		n := len(b.serverSeen.records)
		return n > 0 && b.serverSeen.records[n-1] == text
	})
}

// answers proves that the session lives in both directions.
func (b *bench) answers(t testing.TB) {
	t.Helper()
	text := fmt.Sprintf("still here %d", rand.Uint64())
	b.deliver(t, text)
	b.serverSeen.mu.Lock()
	conn := b.serverSeen.conns[len(b.serverSeen.conns)-1]
	b.serverSeen.mu.Unlock()
	require.NoError(t, conn.Send([]byte(text)))
	b.clientSeen.wait(t, func() bool {
		return len(b.clientSeen.records) > 0 && b.clientSeen.records[len(b.clientSeen.records)-1] == text
	})
}

// receive is what the server's reader does with a datagram from the client's address.
func (b *bench) receive(datagram []byte) {
	p := packet{from: b.server.socks[0].key(netip.MustParseAddrPort(clientAddr)), data: bytes.Clone(datagram)}
	b.server.receive(&greeter{cookies: handshake.NewCookies()}, &p, time.Now())
}

// attack sends the server datagrams past the wire, from whatever address.
func (b *bench) attack(from string, datagrams ...[]byte) {
	addr := netip.MustParseAddrPort(from)
	for _, d := range datagrams {
		b.net.Inject(simnet.Packet{From: addr, To: netip.MustParseAddrPort(serverAddr), Data: d})
	}
}

// D01: captured application records, 1,000 copies each way of ordering, from the same and from another address.
func TestD01ReplayedRecordsAreDeliveredOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.reset()
	const records = 10
	for i := range records {
		b.deliver(t, fmt.Sprint("record ", i))
	}
	captured := b.packets(clientAddr)
	require.Len(t, captured, records)
	const copies = 1000
	for i := range copies {
		p := captured[i%records]
		if i >= copies/2 {
			p = captured[rand.IntN(records)]
		}
		b.attack(clientAddr, p.Data)
		b.attack("203.0.113.9:7", p.Data)
		if i%(64) == 0 {
			b.answers(t) // and lets the queue empty
		}
	}
	count := func(d Drop) uint64 { return b.server.Stats().Dropped[d] }
	require.Eventually(t, func() bool {
		return count(DropReplay)+count(DropTooOld) == copies && count(DropNoSession) == copies
	}, 10*time.Second, time.Millisecond, "counter = copies")
	for i := range records {
		seen := 0
		for _, r := range b.serverSeen.all() {
			if r == fmt.Sprint("record ", i) {
				seen++
			}
		}
		require.Equal(t, 1, seen)
	}
}

// D02: a forged record with a far higher sequence number moves no window.
func TestD02ForgedSequenceNumberMovesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.reset()
	b.deliver(t, "one")
	forged := bytes.Clone(b.packets(clientAddr)[0].Data)
	forged[5] = 0x7f // the top byte of the sequence number
	b.attack(clientAddr, forged)
	require.Eventually(t, func() bool { return b.server.Stats().Dropped[DropNotAuthentic] == 1 }, 5*time.Second, time.Millisecond)
	b.answers(t)
}

// inClear makes a record of epoch 0.
func inClear(typ uint8, seq uint64, payload []byte) []byte {
	return record.AppendClear(nil, record.Type(typ), seq, payload)
}

// epoch0 is one of everything that may come in the clear, as D03 and D04 list it.
func epoch0() map[string][]byte {
	message := func(typ uint8, body int) []byte {
		return append([]byte{typ, 0, 0, byte(body), 0, 1, 0, 0, 0, 0, 0, byte(body)}, make([]byte, body)...)
	}
	return map[string][]byte{
		"application data":    inClear(byte(record.TypeApplicationData), 9, []byte("data")),
		"unknown type":        inClear(63, 9, []byte("data")),
		"heartbeat":           inClear(24, 9, []byte("data")),
		"tls12_cid":           inClear(25, 9, []byte("data")),
		"ChangeCipherSpec":    inClear(byte(record.TypeChangeCipherSpec), 9, []byte{1}),
		"Finished":            inClear(byte(record.TypeHandshake), 9, message(20, 12)),
		"ClientKeyExchange":   inClear(byte(record.TypeHandshake), 9, message(16, 10)),
		"HelloRequest":        inClear(byte(record.TypeHandshake), 9, message(0, 0)),
		"fragment of 16 MB":   inClear(byte(record.TypeHandshake), 9, []byte{11, 255, 255, 255, 0, 5, 0, 0, 9, 0, 0, 1, 7}),
		"malformed handshake": inClear(byte(record.TypeHandshake), 9, []byte{1, 2, 3}),
		"malformed hello":     inClear(byte(record.TypeHandshake), 9, message(msgClientHello, 20)),
		"fatal alert":         inClear(byte(record.TypeAlert), 9, []byte{2, 40}),
		"close_notify":        inClear(byte(record.TypeAlert), 9, []byte{1, 0}),
		"long alert":          inClear(byte(record.TypeAlert), 9, []byte{2, 40, 1}),
		"cut off":             inClear(byte(record.TypeApplicationData), 9, []byte("data"))[:12],
		"length past the end": inClear(byte(record.TypeApplicationData), 9, []byte("data"))[:15],
		"empty record":        inClear(byte(record.TypeApplicationData), 9, nil),
		"epoch 2":             append([]byte{23, 0xfe, 0xfd, 0, 2, 0, 0, 0, 0, 0, 1, 0, 1}, 0),
		"epoch 1 CCS":         append([]byte{20, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 1}, 1),
		"sealed alert, bad":   append([]byte{21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 9, 9, 9, 0, 26}, make([]byte, 26)...),
		"sealed alert, short": append([]byte{21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2}, 2, 40),
		"sealed data, empty":  {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0},
		"TLS version":         {22, 3, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0},
	}
}

// D03, D04 and D05: nothing unauthenticated is answered by a live session, ends it or makes it grow, whichever role it has.
func TestD03D04UnauthenticatedRecordsChangeNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	client := netip.MustParseAddrPort(clientAddr)
	for name, d := range epoch0() {
		b.reset()
		b.attack(clientAddr, d)
		b.net.Inject(simnet.Packet{From: netip.MustParseAddrPort(serverAddr), To: client, Data: d}) // our dialled session alike
		b.answers(t)
		require.Len(t, b.packets(serverAddr), 1, "%s: only the answer was sent", name)
		require.Len(t, b.packets(clientAddr), 1, "%s: only the request was sent", name)
	}
	require.Equal(t, 1, b.server.Stats().Sessions)
	require.Zero(t, b.server.Stats().HalfOpen)
}

func TestD03FloodLeavesTheHeapFlat(t *testing.T) { // alone: it measures the heap
	b := newBench(t)
	records := make([][]byte, 0, len(epoch0()))
	for _, d := range epoch0() {
		records = append(records, d)
	}
	flood := func(n int) {
		for i := range n {
			b.receive(records[i%len(records)])
		}
		b.answers(t)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	flood(1000)
	b.reset()
	before := heap()
	flood(100_000)
	require.Less(t, heap(), before+512<<10)
	require.Len(t, b.packets(serverAddr), 1, "only the answer was sent")
	require.Equal(t, 1, b.server.Stats().Sessions)
}

// H11 and S19: a forged hello without a cookie is asked for one and changes nothing else; a whole handshake from the same
// address replaces the session, not before its Finished.
func TestH11NewHelloOnALiveAddress(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hello := bytes.Clone(b.helloOf(t))
	hello[record.HeaderLen+12+10] ^= 1 // another random
	b.reset()
	b.attack(clientAddr, hello)
	require.Eventually(t, func() bool { return len(b.packets(serverAddr)) == 1 }, 5*time.Second, time.Millisecond)
	require.EqualValues(t, 3, b.packets(serverAddr)[0].Data[record.HeaderLen])
	require.LessOrEqual(t, len(b.packets(serverAddr)[0].Data), len(hello), "S14")
	b.answers(t)
	withCookie := bytes.Clone(hello)
	withCookie[record.HeaderLen+5] = 1 // message_seq: the second hello, with no cookie in it
	b.attack(clientAddr, withCookie)
	b.answers(t)
	require.Equal(t, 1, b.server.Stats().Sessions)
}

// helloOf returns the client's first ClientHello.
func (b *bench) helloOf(t testing.TB) []byte {
	for _, p := range b.packets(clientAddr) {
		if r, _, ok := record.Parse(p.Data, cidLength); ok && isClientHello(r) {
			return p.Data
		}
	}
	require.FailNow(t, "no ClientHello")
	return nil
}

// S19, RFC 6347, Section 4.2.8: a device that restarted gets a new session at its old address; the old one serves until then.
func TestH11RestartedDeviceComesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := b.serverSeen.conns[0]
	b.setCut(true) // the device loses power: its close_notify never arrives
	require.NoError(t, b.client.Shutdown(limited(t)))
	b.setCut(false)
	sock := b.net.Listen(clientAddr)
	again := newRecorder(false)
	device, err := New(&Config{PSK: testPSK, Handler: again}, sock)
	require.NoError(t, err)
	serve(t, device)
	conn, err := device.Dial(limited(t), netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
	require.NoError(t, err)
	b.conn, b.clientSeen = conn, again
	b.serverSeen.wait(t, func() bool { return len(b.serverSeen.closed) == 1 && b.serverSeen.closed[old] == ReasonReplaced })
	b.answers(t)
	require.Equal(t, 1, b.server.Stats().Sessions)
}

// Loss in every position of the flights: the handshake completes by retransmission (RFC 6347, Section 4.2.4), in virtual time.
func TestHandshakeSurvivesLoss(t *testing.T) {
	t.Parallel()
	for lost := range 6 { // two hellos, the request for a cookie, three flights
		t.Run(fmt.Sprint("datagram ", lost), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, i := &simnet.Net{}, 0
				n.Wire = func(p simnet.Packet) []simnet.Packet {
					if i++; i == lost+1 {
						return nil
					}
					return []simnet.Packet{p}
				}
				server, client := newRecorder(true), newRecorder(false)
				_, addr := startOn(t, &Config{PSK: testPSK, Handler: server}, n.Listen(serverAddr))
				ep, _ := startOn(t, &Config{PSK: testPSK, Handler: client}, n.Listen(clientAddr))
				begin := time.Now()
				conn, err := ep.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
				require.NoError(t, err)
				require.Less(t, time.Since(begin), 5*time.Second)
				synctest.Wait()
				require.NoError(t, conn.Send([]byte("a")))
				require.NoError(t, conn.Send([]byte("b")))
				synctest.Wait()
				require.Contains(t, client.all(), "b")
			})
		})
	}
}

func TestHandshakeSurvivesRandomLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		n := &simnet.Net{}
		n.Wire = func(p simnet.Packet) []simnet.Packet {
			switch x := rng.IntN(100); {
			case x < 20:
				return nil
			case x < 30:
				return []simnet.Packet{p, p}
			}
			return []simnet.Packet{p}
		}
		server := newRecorder(true)
		_, addr := startOn(t, &Config{PSK: testPSK, Handler: server}, n.Listen(serverAddr))
		completed := 0
		for i := range 50 {
			ep, err := New(&Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(fmt.Sprintf("198.51.100.7:%d", 1000+i)))
			require.NoError(t, err)
			serve(t, ep)
			if _, err := ep.Dial(t.Context(), addr, PeerID{Kind: KindPSK, ID: testIdentity}); err == nil {
				completed++
			}
		}
		require.GreaterOrEqual(t, completed, 48)
	})
}

// The sweeper's work, in virtual time: idle sessions and handshakes without a cookie end.
func TestIdleSessionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		time.Sleep(time.Hour) // virtual
		b.answers(t)
		b.setCut(true) // so that the client's own limit tells the server nothing
		time.Sleep(defaultIdleTimeout - time.Minute)
		require.Equal(t, 1, b.server.Stats().Sessions)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Zero(t, b.server.Stats().Sessions)
		require.EqualValues(t, 1, b.server.Stats().Closed[ReasonIdle])
	})
}

// H14, S5: an observer sees no difference between an unknown identity and a known one with a wrong key.
func TestH14UnknownIdentityLooksLikeWrongKey(t *testing.T) {
	t.Parallel()
	for _, s := range handshake.Suites() {
		if !s.PSK || s.ECDHE { // pion has no ECDHE_PSK of ours
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			for _, identity := range []string{testIdentity, "device-2"} { // of equal length; only the first exists
				seen = append(seen, flightsOf(t, s, identity))
			}
			require.Equal(t, seen[0], seen[1])
			require.Contains(t, seen[0], "alert 0233")
		})
	}
}

// flightsOf runs a handshake with a wrong key and writes down the server's records: time, type, epoch and length; an alert whole.
func flightsOf(t *testing.T, s handshake.Suite, identity string) (flights string) {
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		var mu sync.Mutex
		begin := time.Now()
		n.Wire = func(p simnet.Packet) []simnet.Packet {
			mu.Lock()
			defer mu.Unlock()
			for rest := p.Data; p.From.String() == serverAddr && len(rest) > 0; {
				r, next, ok := record.Parse(rest, cidLength)
				require.True(t, ok)
				flights += fmt.Sprintf("%s: type %d epoch %d length %d\n", time.Since(begin), r.Type, r.Epoch, len(r.Payload))
				if r.Type == record.TypeAlert {
					flights += fmt.Sprintf("alert %x\n", r.Payload)
				}
				rest = next
			}
			return []simnet.Packet{p}
		}
		ep, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(true)}, n.Listen(serverAddr))
		sock := n.Listen(clientAddr)
		conn, err := pion.ClientWithOptions(sock, ep.Addrs()[0], append(pionPSK(identity, "fedcba9876543210"), pion.WithCipherSuites(pion.CipherSuiteID(s.ID)))...)
		require.NoError(t, err)
		require.Error(t, conn.HandshakeContext(limited(t)))
		_ = conn.Close()
		synctest.Wait()
		require.EqualValues(t, 1, ep.Stats().Handshakes[OutcomePSKFailed])
	})
	return flights
}

// More sessions of one peer than allowed: the oldest goes.
func TestSessionsPerPeer(t *testing.T) {
	t.Parallel()
	server := newRecorder(true)
	ep, addr := start(t, &Config{PSK: testPSK, Handler: server, Limits: Limits{SessionsPerPeer: 2}})
	for range 3 {
		_, err := pionDial(t, addr, pionPSK(testIdentity, testKey)...)
		require.NoError(t, err)
	}
	server.wait(t, func() bool { return len(server.closed) == 1 && server.closed[server.conns[0]] == ReasonSurplus })
	require.Equal(t, 2, ep.Stats().Sessions)
}

// Callers that dial one peer at once share a handshake.
func TestDialsAreShared(t *testing.T) {
	t.Parallel()
	ep, addr := start(t, &Config{PSK: testPSK, Handler: newRecorder(true)})
	dialler, _ := start(t, &Config{PSK: testPSK, Handler: newRecorder(false)})
	conns := make(chan *Conn, 10)
	for range cap(conns) {
		go func() {
			c, _ := dialler.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
			conns <- c
		}()
	}
	first := <-conns
	require.NotNil(t, first)
	for range cap(conns) - 1 {
		require.Same(t, first, <-conns)
	}
	require.EqualValues(t, 1, settledCount(t, ep, OutcomeCompletedPSK))
}

// H19, S7: whoever mirrors all that we send to us, our own cookie included, gets no session.
func TestH19MirroredFlightsAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		n.Wire = func(p simnet.Packet) []simnet.Packet {
			return []simnet.Packet{{From: p.To, To: p.From, Data: p.Data}}
		}
		seen := newRecorder(true)
		ep, _ := startOn(t, &Config{PSK: testPSK, Handler: seen}, n.Listen(clientAddr))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := ep.Dial(ctx, netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		require.NotZero(t, ep.Stats().Handshakes[OutcomeMirrored])
		require.Zero(t, ep.Stats().HalfOpen)
		require.Empty(t, seen.conns)
	})
}

// Each drop has its own counter.
func TestD03DropsAreCountedByReason(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	all := epoch0()
	for name, want := range map[string]Drop{
		"application data": DropEpoch0OnLive, "ChangeCipherSpec": DropEpoch0OnLive, "Finished": DropEpoch0OnLive,
		"fatal alert": DropEpoch0OnLive, "unknown type": DropUnknownType, "heartbeat": DropUnknownType,
		"tls12_cid": DropMalformed, "cut off": DropMalformed, "length past the end": DropMalformed,
		"TLS version": DropMalformed, "malformed hello": DropMalformed, "epoch 2": DropUnknownEpoch,
		"epoch 1 CCS": DropUnexpected, "sealed alert, bad": DropNotAuthentic,
	} {
		before := b.server.Stats().Dropped[want]
		b.attack(clientAddr, all[name])
		b.answers(t)
		require.Equal(t, before+1, b.server.Stats().Dropped[want], name)
	}
	sealedUnknown := bytes.Clone(all["sealed alert, bad"])
	sealedUnknown[0] = 63
	long := append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0x0f, 0xff}, make([]byte, 0x0fff)...)
	b.attack(clientAddr, sealedUnknown, long)
	b.answers(t)
	require.EqualValues(t, 3, b.server.Stats().Dropped[DropUnknownType])
	require.EqualValues(t, 1, b.server.Stats().Dropped[DropTooLong])
}
