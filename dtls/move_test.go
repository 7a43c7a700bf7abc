package dtls

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

// nat gives the client another address from time to time, and forgets the old one.
type nat struct {
	mu    sync.Mutex // guards the following field
	outer netip.AddrPort
}

func newNAT() *nat { return &nat{outer: netip.MustParseAddrPort("192.0.2.99:1000")} }

func (n *nat) move(to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.outer = netip.MustParseAddrPort(to)
}

func (n *nat) out(p *simnet.Packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.From == netip.MustParseAddrPort(clientAddr) {
		p.From = n.outer
	}
}

// in reports whether somebody is at the destination.
func (n *nat) in(p *simnet.Packet) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.To == n.outer {
		p.To = netip.MustParseAddrPort(clientAddr)
		return true
	}
	return p.To == netip.MustParseAddrPort(serverAddr)
}

// newMovingBench has a client with a Connection ID behind a NAT.
func newMovingBench(t testing.TB) (*bench, *nat, *Conn) {
	n := newNAT()
	b := newBenchOf(t, Config{OfferConnectionID: true}, n)
	c := b.serverSeen.conns[0]
	require.True(t, c.ConnectionID())
	require.True(t, b.conn.ConnectionID())
	return b, n, c
}

// sentTo returns how many bytes and datagrams went to an address.
func (b *bench) sentTo(addr string) (size, count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.wire {
		if p.To.String() == addr {
			size += len(p.Data)
			count++
		}
	}
	return size, count
}

// D10, RFC 9146: the session follows its device to a thousand addresses, loses nothing and makes no new handshake.
func TestD10SessionFollowsItsDevice(t *testing.T) {
	t.Parallel()
	b, n, c := newMovingBench(t)
	for i := range 1000 {
		n.move(fmt.Sprintf("192.0.%d.%d:%d", i%7+3, i%200+1, 1000+i))
		b.answers(t)
	}
	require.Len(t, b.serverSeen.all(), 1000)
	require.Len(t, b.clientSeen.all(), 1000)
	s := b.server.Stats()
	require.EqualValues(t, 1, s.Handshakes[OutcomeCompletedPSK])
	require.EqualValues(t, 1000, s.Moves)
	require.Equal(t, 1, s.Sessions)
	require.True(t, c.Unproven())
	challenge, ok := c.Challenge()
	require.True(t, ok)
	c.Prove([8]byte{})
	require.True(t, c.Unproven(), "another challenge proves nothing")
	c.Prove(challenge)
	require.False(t, c.Unproven())
	_, ok = c.Challenge()
	require.False(t, ok)
}

// D10, C08, S28: a record that was captured and raced ahead takes the session to the attacker's address, where at most three times
// its bytes go; the next record of the device brings it back.
func TestD10C08RacedRecordBuysThreeTimesItsBytes(t *testing.T) {
	t.Parallel()
	b, _, c := newMovingBench(t)
	b.answers(t)
	home := c.RemoteAddr()
	const attacker = "203.0.113.66:666"
	b.setCut(true)
	b.reset()
	require.NoError(t, b.conn.Send([]byte("captured")))
	captured := b.packets(home.String())[0].Data
	b.setCut(false)
	b.attack(attacker, captured)
	b.serverSeen.wait(t, func() bool { return b.serverSeen.records[len(b.serverSeen.records)-1] == "captured" })
	require.Equal(t, attacker, c.RemoteAddr().String())
	refused := 0
	for range 100 {
		if err := c.Send([]byte("0123456789")); err != nil {
			require.ErrorIs(t, err, ErrUnproven)
			refused++
		}
	}
	require.Eventually(t, func() bool { // it may leave with the reader's batch
		_, count := b.sentTo(attacker)
		return count == 100-refused
	}, 5*time.Second, time.Millisecond)
	size, _ := b.sentTo(attacker)
	require.LessOrEqual(t, size, 3*len(captured))
	require.NotZero(t, size)
	require.EqualValues(t, refused, b.server.Stats().Dropped[DropUnproven])
	b.answers(t)
	require.Equal(t, home, c.RemoteAddr())
	require.EqualValues(t, 1, b.server.Stats().Reverts)
	require.False(t, c.Unproven())
}

// D10: copies of records move nothing, from wherever they come, and neither do Connection IDs that are unknown or cut.
func TestD10ReplaysMoveNothing(t *testing.T) {
	t.Parallel()
	b, _, c := newMovingBench(t)
	home := c.RemoteAddr()
	b.reset()
	for range 10 {
		b.answers(t)
	}
	captured := b.packets(home.String())
	require.Len(t, captured, 10)
	before := b.server.Stats()
	for i, p := range captured {
		b.attack(fmt.Sprintf("203.0.113.66:%d", 600+i), p.Data)
		unknown := bytes.Clone(p.Data)
		unknown[record.HeaderLen-2] ^= 1 // the first byte of the Connection ID
		b.attack("203.0.113.66:666", unknown)
		plain := record.NewCipher(&b.conn.write).Seal(nil, record.TypeApplicationData, 1, uint64(1000+i), nil, []byte("x"))
		b.attack(home.String(), plain) // RFC 9146, Section 3: without its Connection ID it is not the session's
	}
	b.answers(t)
	after := b.server.Stats()
	require.EqualValues(t, 10, after.Dropped[DropReplay]-before.Dropped[DropReplay])
	require.EqualValues(t, 10, after.Dropped[DropUnknownCID]-before.Dropped[DropUnknownCID])
	require.EqualValues(t, 10, after.Dropped[DropNoSession]-before.Dropped[DropNoSession], "no session is found by the address")
	require.Zero(t, after.Moves)
	require.Equal(t, home, c.RemoteAddr())
}

// S28: an address that is not proven within a minute is given up.
func TestD10TrialEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, n, c := newMovingBench(t)
		b.answers(t)
		home := c.RemoteAddr()
		n.move("192.0.2.3:3")
		b.answers(t)
		require.NotEqual(t, home, c.RemoteAddr())
		<-time.After(maxTrial + time.Second)
		require.False(t, c.Unproven())
		require.Equal(t, home, c.RemoteAddr())
		b.answers(t) // the device is still at the new one: the next trial
		require.NotEqual(t, home, c.RemoteAddr())
	})
}

// A device with a Connection ID that begins again at its address replaces its session; another device that got its address
// from the network doesn't end it.
func TestConnectionIDOutlivesItsAddress(t *testing.T) {
	t.Parallel()
	b, n, c := newMovingBench(t)
	outer := n.outer.String()
	n.move("192.0.2.7:7")
	b.answers(t)
	other, err := New(&Config{Handler: newRecorder(false), PSK: testPSK}, b.net.Listen(outer))
	require.NoError(t, err)
	serve(t, other)
	go func() {
		_, _ = other.Dial(limited(t), netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: "nobody"})
	}()
	b.answers(t)
	require.True(t, c.isOpen())
	require.EqualValues(t, binary.BigEndian.Uint64(b.conn.moving.remote), c.moving.local)
}
