package dtls

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// silent is a Handler that keeps nothing.
type silent struct{}

func (silent) HandleConn(*Conn)           {}
func (silent) HandleRecord(*Conn, []byte) {}
func (silent) HandleClosed(*Conn, Reason) {}

// numbered is the n-th of many addresses.
func numbered(n int) netip.AddrPort {
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 10<<24|uint32(n))
	return netip.AddrPortFrom(netip.AddrFrom4(ip), 5684)
}

// TestSessionMemory measures what a session costs that is idle and had no record yet, its places in the tables included.
func TestSessionMemory(t *testing.T) { // alone: it measures the heap
	ep, err := New(&Config{PSK: testPSK, Handler: silent{}}, (&simnet.Net{}).Listen(serverAddr))
	require.NoError(t, err)
	suite, _ := handshake.SuiteByID(0xC0A8)
	key := record.Key{AEAD: suite.AEAD}
	finished := make([]byte, finishedLength)
	const sessions = 50_000
	before := heapNow()
	for i := range sessions {
		n := ep.newNegotiation(ep.socks[0].key(numbered(i)), localAddr{}, RoleClient)
		n.peer = PeerID{Kind: KindPSK, ID: fmt.Sprintf("device-%06d", i)}
		require.True(t, ep.admit(n))
		n.over = true
		ep.complete(n, &handshake.Result{
			Suite: suite, Read: key, Write: key, Open: record.NewCipher(&key), Seal: record.NewCipher(&key), NextSeq: 1, LastFinished: finished,
		}, nil)
	}
	ep.rest(ep.elapsed() + 2*busyTime)
	each := (heapNow() - before) / sessions
	t.Logf("a session: %d bytes", each)
	require.Less(t, each, int64(700))
	require.Equal(t, sessions, ep.Stats().Sessions)
	require.NoError(t, ep.Shutdown(limited(t)))
}

// TestHalfOpenMemory measures what a handshake costs that waits for the client's second flight, by kind.
func TestHalfOpenMemory(t *testing.T) { // alone: it measures the heap
	certs := newTestCerts(t)
	for name, conf := range map[string]*Config{
		"PSK":         {PSK: testPSK, PSKInMemory: true},
		"certificate": {Certificate: present(certs.server), Verify: trust(certs.ca)},
	} {
		hellos := make(chan []byte, 16)
		n := &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet {
			if r, _, ok := record.Parse(p.Data, cidLength); ok && isClientHello(r) {
				hellos <- p.Data
			}
			return nil
		}}
		client, _ := startOn(t, &Config{PSK: conf.PSK, Certificate: conf.Certificate, Verify: conf.Verify, Handler: silent{}}, n.Listen(clientAddr))
		id := PeerID{Kind: KindPSK, ID: testIdentity}
		if conf.PSK == nil {
			id = PeerIDOf(certs.server.Cert)
		}
		go func() { _, _ = client.Dial(t.Context(), netip.MustParseAddrPort(serverAddr), id) }()
		hello := <-hellos
		require.NoError(t, client.Shutdown(limited(t)))

		conf.Handler = silent{}
		conf.Limits.HandshakesPerPrefix = 1 << 20
		ep, err := New(conf, (&simnet.Net{}).Listen(serverAddr))
		require.NoError(t, err)
		ep.socks[0].transport = nowhere{}
		h, ok := handshake.ParseHello(hello[record.HeaderLen:])
		require.True(t, ok)
		const handshakes = 2000
		before := heapNow()
		for i := range handshakes {
			ep.accept(&packet{from: ep.socks[0].key(numbered(i * 100))}, h, 1, &arrival{time: time.Now()})
		}
		require.Eventually(t, func() bool {
			ep.crypto.mu.Lock()
			defer ep.crypto.mu.Unlock()
			return ep.crypto.running == 0
		}, 20*time.Second, time.Millisecond)
		held := ep.Stats().HalfOpen
		require.Greater(t, held, 200)
		each := (heapNow() - before) / int64(held)
		t.Logf("%s: a half-open handshake: %d bytes, %d of them", name, each, held)
		require.Less(t, each, int64(8<<10))
		require.NoError(t, ep.Shutdown(limited(t)))
	}
}
