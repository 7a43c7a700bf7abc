package dtls

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// seal makes a record of epoch 1 of the bench's client, which thereby sends what no client should.
func (b *bench) seal(typ record.Type, payload []byte) []byte {
	b.conn.mu.Lock()
	defer b.conn.mu.Unlock()
	return b.conn.sealLocked(nil, typ, payload)
}

// handshakeMessage is one handshake message, whole.
func handshakeMessage(typ uint8, seq uint16, body []byte) []byte {
	b := []byte{typ, 0, byte(len(body) >> 8), byte(len(body))}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, 0, 0, 0, 0, byte(len(body)>>8), byte(len(body)))
	return append(b, body...)
}

// H18 and S4: what would begin a renegotiation, properly sealed by the peer itself, is dropped and counted, and the session
// goes on as it was.
func TestH18RenegotiationIsDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hello := b.helloOf(t)
	for name, payload := range map[string][]byte{
		"HelloRequest": handshakeMessage(0, 3, nil),
		"ClientHello":  hello[record.HeaderLen:],
		"Certificate":  handshakeMessage(11, 3, make([]byte, 100)),
	} {
		b.answers(t)
		b.reset()
		before := b.server.Stats().Dropped[DropUnexpected]
		b.attack(clientAddr, b.seal(record.TypeHandshake, payload))
		b.answers(t)
		require.Equal(t, before+1, b.server.Stats().Dropped[DropUnexpected], name)
		require.Len(t, b.packets(serverAddr), 1, "%s: only the answer was sent", name)
	}
	require.Equal(t, 1, b.server.Stats().Sessions)
	require.Zero(t, b.server.Stats().HalfOpen)
}

// H12: an authenticated peer can't park fragments of messages that are far ahead in its session, nor make us repeat our last
// flight without end.
func TestH12SealedFragmentsAreNotKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const fragments = 1200
	for seq := range uint64(fragments) {
		typ := byte(11) // Certificate
		if seq%2 == 0 {
			typ = 20 // Finished
		}
		fragment := handshakeMessage(typ, 100+uint16(seq), make([]byte, 1000))
		fragment[2] = 0x20 // of 8 KB
		b.receive(b.seal(record.TypeHandshake, fragment))
	}
	require.EqualValues(t, fragments-maxRepeats, b.server.Stats().Dropped[DropUnexpected])
	b.answers(t)
}
