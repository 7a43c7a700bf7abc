package handshake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// cached is a side that has verified its peer's chain before.
type cached struct {
	*side
	key *ecdsa.PublicKey
}

func (c *cached) Verify(chain [][]byte, name string) (key *ecdsa.PublicKey, err error) {
	if c.key == nil {
		c.key, err = c.side.Verify(chain, name)
	}
	return c.key, err
}

// benchmarkServer measures the server's side of handshakes: that of the client is prepared off the clock.
func benchmarkServer(b *testing.B, s Suite) {
	mine, theirs := newSides(b, elliptic.P256())
	server := &cached{side: theirs}
	conf, clientConf := bothKinds(), only(s)
	cookies := NewCookies()
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		client := NewClient(clientConf, mine, Timers{}, paramsFor(s), start0)
		up := client.Output()[0]
		b.StartTimer()

		first := records(up, 0)[0]
		h, _ := ParseHello(first.Payload)
		if cookies.Valid(testAddr, h) {
			b.Fatal("there is no cookie yet")
		}
		var cookie [cookieLen]byte
		buf = AppendHelloVerifyRequest(buf[:0], first.Seq, h.MessageSeq, cookies.Append(cookie[:0], testAddr, h))

		b.StopTimer()
		client.Receive(records(buf, 0)[0], start0)
		up = client.Output()[0]
		b.StartTimer()

		r, _, _ := record.Parse(up, 0)
		h, _ = ParseHello(r.Payload)
		if !cookies.Valid(testAddr, h) {
			b.Fatal("the cookie is not valid")
		}
		m := NewServer(conf, server, Timers{}, h, r.Seq, nil, start0)
		work(m, start0)
		down := m.Output()

		b.StopTimer()
		for _, d := range down {
			for _, r := range records(d, 0) {
				client.Receive(r, start0)
				work(client, start0)
			}
		}
		flight := client.Output()
		b.StartTimer()

		for _, d := range flight {
			for len(d) > 0 {
				var r record.Record
				r, d, _ = record.Parse(d, 0)
				m.Receive(r, start0)
				work(m, start0)
			}
		}
		_ = m.Output()
		if res, err := m.Done(); res == nil || err != nil {
			b.Fatal(err)
		}
		m.Release()
	}
}

func BenchmarkServer(b *testing.B) {
	for _, id := range []uint16{0xc0a8, 0x00a8, 0xd003, 0xccac, 0xc0ae, 0xc02b} {
		s := suite(b, id)
		b.Run(s.Name, func(b *testing.B) { benchmarkServer(b, s) })
	}
}

func BenchmarkBothSides(b *testing.B) {
	for _, id := range []uint16{0xc0a8, 0xc0ae} {
		s := suite(b, id)
		b.Run(s.Name, func(b *testing.B) {
			mine, theirs := newSides(b, elliptic.P256())
			client, server := &cached{side: mine}, &cached{side: theirs}
			conf, clientConf, cookies := bothKinds(), only(s), NewCookies()
			b.ReportAllocs()
			for b.Loop() {
				f := &front{conf: conf, cb: server, cookies: cookies}
				m := NewClient(clientConf, client, Timers{}, paramsFor(s), start0)
				shake(m, f, start0)
				if res, err := f.m.Done(); res == nil || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// flood is a hello and what it takes to answer it.
func flood(t testing.TB) (fragment []byte, c *Cookies, addr netip.AddrPort) {
	t.Helper()
	mine, _ := newSides(t, elliptic.P256())
	m := NewClient(bothKinds(), mine, Timers{}, paramsFor(suite(t, 0xc0a8)), start0)
	return records(m.Output()[0], 0)[0].Payload, NewCookies(), netip.MustParseAddrPort("[2001:db8::1]:5684")
}

// answer is what a hello without a cookie costs.
func answer(buf, fragment []byte, c *Cookies, addr netip.AddrPort, now time.Time) []byte {
	h, ok := ParseHello(fragment)
	if !ok || c.Valid(addr, h) {
		panic("no")
	}
	c.Rotate(now)
	var cookie [cookieLen]byte
	return AppendHelloVerifyRequest(buf, 1, h.MessageSeq, c.Append(cookie[:0], addr, h))
}

func BenchmarkCookie(b *testing.B) {
	fragment, c, addr := flood(b)
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		answer(buf, fragment, c, addr, start0)
	}
}

func TestHellosAllocateNothing(t *testing.T) {
	fragment, c, addr := flood(t)
	buf := make([]byte, 0, 256)
	require.Zero(t, testing.AllocsPerRun(100, func() { answer(buf, fragment, c, addr, start0) }))
	h, ok := ParseHello(fragment)
	require.True(t, ok)
	withCookie := h
	withCookie.Cookie = c.Append(nil, addr, h)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if !c.Valid(addr, withCookie) || !h.EMS() || h.OffersSuite(1) {
			panic("no")
		}
	}))
}
