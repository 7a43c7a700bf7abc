package dtls

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/pion/dtls/v3/pkg/protocol"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/stretchr/testify/require"
)

// seal makes a record of epoch 1 of the bench's client, which thereby sends what pion never would.
func (b *bench) seal(t testing.TB, typ uint8, seq uint64, payload []byte) []byte {
	t.Helper()
	// pion keeps the session's keys to itself.
	field := reflect.ValueOf(b.conn.pion).Elem().FieldByName("state").FieldByName("cipherSuite")
	suite := reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Interface().(interface {
		Encrypt(*recordlayer.RecordLayer, []byte) ([]byte, error)
	})
	raw := []byte{typ, 0xfe, 0xfd}
	raw = binary.BigEndian.AppendUint64(raw, 1<<48|seq)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(payload)))
	header := recordlayer.Header{
		ContentType: protocol.ContentType(typ), Version: protocol.Version1_2, Epoch: 1, SequenceNumber: seq,
	}
	sealed, err := suite.Encrypt(&recordlayer.RecordLayer{Header: header}, append(raw, payload...))
	require.NoError(t, err)
	return sealed
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
		"ClientHello":  hello[recordHeader:],
		"Certificate":  handshakeMessage(msgCertificate, 3, make([]byte, 100)),
	} {
		b.answers(t)
		b.reset()
		before := b.server.Stats().Dropped[DropUnexpected]
		b.attack(clientAddr, b.seal(t, typeHandshake, 1000, payload))
		b.answers(t)
		require.Equal(t, before+1, b.server.Stats().Dropped[DropUnexpected], name)
		require.Len(t, b.packets(serverAddr), 1, "%s: only the answer was sent", name)
	}
	require.Equal(t, 1, b.server.Stats().Sessions)
	require.Zero(t, b.server.Stats().HalfOpen)
}

// H12: an authenticated peer can't park fragments of messages that are far ahead in its session.
func TestH12SealedFragmentsAreNotKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	send := func(seq uint64, body int) {
		fragment := handshakeMessage(msgCertificate, 100+uint16(seq), make([]byte, body))
		fragment[2] = 0x20 // of 8 KB
		b.attack(clientAddr, b.seal(t, typeHandshake, 1000+seq, fragment))
		if seq%32 == 0 {
			b.drained(t)
		}
	}
	for seq := range uint64(1200) {
		body := 1000
		if seq%2 == 0 {
			body = finishedLength - handshakeHeader // as long as a Finished
		}
		send(seq, body)
	}
	require.Eventually(t, func() bool {
		return b.server.Stats().Dropped[DropUnexpected] == 1200-maxRepeats
	}, 5*time.Second, time.Millisecond)
	b.drained(t)
	buffer := reflect.ValueOf(b.serverSeen.conns[0].pion).Elem().FieldByName("fragmentBuffer").Elem()
	require.Less(t, buffer.FieldByName("totalBufferSize").Int(), int64(2<<10))
	require.NoError(t, b.conn.Send([]byte("still here")))
}
