package dtls

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
	"coapbridge/internal/simnet"
)

// echoes is a Handler that says when a record came.
type echoes struct {
	back bool
	came chan struct{}
}

func (*echoes) HandleConn(*Conn)           {}
func (*echoes) HandleClosed(*Conn, Reason) {}
func (e *echoes) HandleRecord(c *Conn, b []byte) {
	if e.back {
		_ = c.Send(b)
		return
	}
	e.came <- struct{}{}
}

// A full PSK handshake with both sides in this process, an echo (so that the server has its session too), and its end.
func BenchmarkPSKHandshake(b *testing.B) {
	_, addr := start(b, &Config{PSK: testPSK, Handler: &echoes{back: true}})
	client := &echoes{came: make(chan struct{}, 1)}
	dialler, _ := start(b, &Config{PSK: testPSK, Handler: client})
	b.ReportAllocs()
	for b.Loop() {
		conn, err := dialler.Dial(context.Background(), addr, PeerID{Kind: KindPSK, ID: testIdentity})
		if err != nil {
			b.Fatal(err)
		}
		if err := conn.Send([]byte("x")); err != nil {
			b.Fatal(err)
		}
		<-client.came
		conn.Close(ReasonLocal)
	}
}

func BenchmarkEcho(b *testing.B) {
	_, addr := start(b, &Config{PSK: testPSK, Handler: &echoes{back: true}})
	client := &echoes{came: make(chan struct{}, 1)}
	dialler, _ := start(b, &Config{PSK: testPSK, Handler: client})
	conn, err := dialler.Dial(context.Background(), addr, PeerID{Kind: KindPSK, ID: testIdentity})
	require.NoError(b, err)
	text := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if err := conn.Send(text); err != nil {
			b.Fatal(err)
		}
		<-client.came
	}
}

// The filter alone, for a forged record in the clear on a live session.
func BenchmarkFilter(b *testing.B) {
	bench := newBench(b)
	record := epoch0()["application data"]
	g, p, now := &greeter{cookies: handshake.NewCookies()}, &packet{from: bench.serverSeen.conns[0].path(), data: record}, time.Now()
	b.ReportAllocs()
	for b.Loop() {
		bench.server.receive(g, p, now)
	}
}

// Finding one of 100,000 sessions, by address and by Connection ID.
func BenchmarkLookUp(b *testing.B) {
	ep, err := New(&Config{PSK: testPSK, Handler: silent{}}, (&simnet.Net{}).Listen(serverAddr))
	require.NoError(b, err)
	const sessions = 100_000
	at := make([]pathKey, sessions)
	cids := make([][]byte, sessions)
	for i := range sessions {
		at[i] = ep.socks[0].key(numbered(i))
		cid, text := ep.newCID()
		cids[i] = text
		c := &Conn{ep: ep}
		ep.live[at[i]], ep.cids[cid] = c, c
	}
	for name, find := range map[string]func(i int) *Conn{
		"Address":      func(i int) *Conn { return ep.liveAt(at[i]) },
		"ConnectionID": func(i int) *Conn { return ep.byCID(cids[i]) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i = (i + 7919) % sessions {
				if find(i) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}
