package dtls

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
)

// sealedNoise returns a datagram full of records of epoch 1 that nobody sealed, each with a body of that many bytes.
func sealedNoise(body, size int) []byte {
	var datagram []byte
	for i := 0; len(datagram)+record.HeaderLen+body <= size; i++ {
		datagram = append(datagram, byte(record.TypeApplicationData), 0xfe, 0xfd)
		datagram = binary.BigEndian.AppendUint64(datagram, 1<<48|1<<40+uint64(i))
		datagram = binary.BigEndian.AppendUint16(datagram, uint16(body))
		datagram = append(datagram, make([]byte, body)...)
	}
	return datagram
}

// D07 and S24: what a spoofer pays, in datagrams, to use up the failed opens of a session. Records that are too short to
// be sealed cost nothing, and one datagram buys few attempts, however many records it holds.
func TestD07FailedOpensCostDatagrams(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body, size int  // of the records, beyond nonce and tag, and of their datagram
		opens      int  // that one datagram costs the session
		drop       Drop // of what costs nothing
	}{
		"records without nonce and tag": {-15, 1232, 0, DropMalformed},
		"one byte less than both":       {-1, 1232, 0, DropMalformed},
		"shortest records":              {0, 1232, maxLiveRecords, DropTooLong},
		"longer than a packet":          {0, 4000, 0, DropTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			live := b.serverSeen.conns[0]
			const datagrams = 200
			for range datagrams {
				b.receive(sealedNoise(live.aead.Overhead()+tt.body, tt.size))
			}
			b.answers(t)
			require.EqualValues(t, datagrams*tt.opens, live.failedOpens())
			require.NotZero(t, b.server.Stats().Dropped[tt.drop])
		})
	}
}

// D07: the limit is met at its number and not before, and ends the session.
func TestD07FailedOpensEndTheKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	live := b.serverSeen.conns[0]
	const left = 1000
	limit := live.aead.MaxFailedOpens()
	live.mu.Lock()
	live.unopened = uint32(limit - left)
	live.mu.Unlock()
	datagrams := 0
	for ; live.isOpen(); datagrams++ {
		b.receive(sealedNoise(24, 1232))
		require.Less(t, datagrams, 2000)
	}
	t.Logf("%d failed opens cost %d datagrams; %d would cost %d", left, datagrams, limit, limit/maxLiveRecords)
	require.GreaterOrEqual(t, datagrams, left/maxLiveRecords)
	b.serverSeen.wait(t, func() bool { return b.serverSeen.closed[live] == ReasonKeyLimit && len(b.serverSeen.closed) == 1 })
}

// D07 and S24: failed opens count while a handshake runs at the same address too, or whoever begins one would try for free.
func TestD07FailedOpensCountBesideAHandshake(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	live := b.serverSeen.conns[0]
	n := b.server.newNegotiation(live.path(), localAddr{}, RoleServer)
	n.machine = handshake.NewClient(b.server.handshakes, n, handshake.Timers{}, handshake.ClientParams{PSKIdentity: []byte("x")}, time.Now())
	require.True(t, b.server.admit(n))
	defer n.cancel(errGivenUp)
	const forged = 50
	for range forged {
		b.attack(clientAddr, sealedNoise(24, record.HeaderLen+24))
	}
	b.answers(t)
	require.EqualValues(t, forged, live.failedOpens())
	require.EqualValues(t, forged, b.server.Stats().Dropped[DropNotAuthentic])
}

func (c *Conn) failedOpens() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unopened
}
