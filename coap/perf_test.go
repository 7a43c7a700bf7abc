package coap

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// oneM2MRequest is a CREATE as TS-0008 writes it: 8 options and a short content.
func oneM2MRequest(mid uint16) Message {
	return Message{
		Code: POST, MessageID: mid, Token: []byte("12345678"),
		Options: path("~", "id-in", "cse-in", "ae", "container").AddUint(ContentFormat, 50).AddUint(267, 4).
			AddString(271, "3").AddString(279, "CmyAE0001").AddString(283, "req-000001"),
		Payload: []byte(`{"m2m:cin":{"cnf":"text/plain:0","con":"21.5"}}`),
	}
}

// discard is a Conn to nowhere.
type discard struct{}

func (discard) Send([]byte) error { return nil }
func (discard) MaxPlaintext() int { return 1152 }

func understandsOneM2M(_ *Peer, id OptionID) bool { return id >= 259 && id%4 == 3 }

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestPeerMemory measures what an idle peer and a remembered Message ID cost: 88 and about 90 bytes beside the answer.
func TestPeerMemory(t *testing.T) {
	const n = 20_000
	e := New(&Config{Handler: respond(Changed), Understands: understandsOneM2M})
	before := heapBytes()
	peers := make([]*Peer, n)
	for i := range peers {
		peers[i] = e.NewPeer(discard{}, Profile{})
	}
	idle := (heapBytes() - before) / n
	t.Logf("an idle peer: %d bytes", idle)
	require.Less(t, idle, uint64(100))

	in := Message{Code: POST, Token: []byte("12345678")}
	before = heapBytes()
	const perPeer = 1000
	for i := range 20 {
		for mid := range uint16(perPeer) {
			in.MessageID = mid
			e.Receive(peers[i], wire(t, in))
		}
	}
	record := (heapBytes() - before) / (20 * perPeer)
	t.Logf("a record with an answer of 12 bytes: %d bytes; counted %d", record, recordCost+12)
	require.EqualValues(t, 20*perPeer, e.Stats().Records)
	require.LessOrEqual(t, record, uint64(recordCost+32))
	runtime.KeepAlive(peers)
}

// TestAllocations bounds the allocations of the paths that every datagram takes.
func TestAllocations(t *testing.T) {
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) { _ = x.Respond(&Message{Code: Changed}) }), Understands: understandsOneM2M})
	p := e.NewPeer(discard{}, Profile{})
	b := wire(t, oneM2MRequest(0))
	ack := []byte{0x60, 0, 1, 2}
	mid := uint16(0)
	for range 5000 { // let the map of records grow
		mid++
		b[2], b[3] = byte(mid>>8), byte(mid)
		e.Receive(p, b)
	}
	for _, tt := range []struct {
		name string
		max  float64
		run  func()
	}{
		// Exchange, record, answer; and now and then the growth of the map.
		{"request and response", 4, func() {
			mid++
			b[2], b[3] = byte(mid>>8), byte(mid)
			e.Receive(p, b)
		}},
		{"repetition", 0, func() { e.Receive(p, b) }},
		{"unmatched ACK", 0, func() { e.Receive(p, ack) }},
	} {
		got := testing.AllocsPerRun(1000, tt.run)
		t.Logf("%s: %v", tt.name, got)
		require.LessOrEqual(t, got, tt.max, tt.name)
	}
}

func BenchmarkParse(b *testing.B) {
	in := wire(b, oneM2MRequest(1))
	var s scratch
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.parse(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m := oneM2MRequest(1)
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.AppendBinary(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRequest is one request, its de-duplication and a piggybacked response, without a socket.
func BenchmarkRequest(b *testing.B) {
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) { _ = x.Respond(&Message{Code: Changed}) }), Understands: understandsOneM2M})
	in := wire(b, oneM2MRequest(1))
	p := e.NewPeer(discard{}, Profile{})
	mid := uint16(0)
	b.ReportAllocs()
	for b.Loop() {
		if mid++; mid%8192 == 0 { // before the peer's records are full
			e.ClosePeer(p)
			p = e.NewPeer(discard{}, Profile{})
		}
		in[2], in[3] = byte(mid>>8), byte(mid)
		e.Receive(p, in)
	}
	if n := e.Stats().Refused[ReasonRecordsFull]; n > 0 {
		b.Fatalf("%d refused", n)
	}
}
