package handshake

import (
	"bytes"
	"crypto/elliptic"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// FuzzParseHello: no panic; what is a hello is made of its parts, and has one cookie.
func FuzzParseHello(f *testing.F) {
	fragment, c, addr := flood(f)
	f.Add(fragment)
	mine, _ := newSides(f, elliptic.P256())
	for _, id := range []uint16{pskSuite, 0xd003, certSuite} {
		s := suite(f, id)
		p := paramsFor(s)
		p.LocalCID = []byte("12345678")
		m := NewClient(only(s), mine, Timers{}, p, start0)
		r, _, _ := record.Parse(AppendHelloVerifyRequest(nil, 0, 0, make([]byte, 32)), 0)
		m.Receive(r, start0)
		for _, d := range m.Output() {
			f.Add(records(d, 0)[0].Payload)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h, ok := ParseHello(b)
		require.Equal(t, before, b)
		if !ok {
			return
		}
		n := headerLen + 2 + 32 + 1 + len(h.SessionID) + 1 + len(h.Cookie) + 2 + len(h.Suites) + 1 + len(h.Compression)
		if h.Extensions != nil {
			n += 2 + len(h.Extensions)
		}
		require.Equal(t, len(b), n)
		_, _, _, _ = h.EMS(), h.ServerName(), h.DTLS12(), doubled(h.Extensions)
		_, _, _ = h.connectionID()
		_, _ = h.renegotiation()
		h.Cookie = c.Append(nil, addr, h)
		require.True(t, c.Valid(addr, h))
		require.LessOrEqual(t, len(AppendHelloVerifyRequest(nil, 0, h.MessageSeq, h.Cookie)), record.HeaderLen+len(b))
	})
}

// fuzzSides are made once: keys take long.
var fuzzSides = sync.OnceValues(func() (*side, *side) { return newSides(quiet{}, elliptic.P256()) })

// quiet is a testing.TB for what can't fail.
type quiet struct{ testing.TB }

func (quiet) Helper()               {}
func (quiet) Errorf(string, ...any) {}
func (quiet) FailNow()              { panic("the fuzz target's certificates") }

// fuzzed gives a machine what the fuzzer makes: the first byte says how far an honest handshake goes before, and each record
// of the rest is given to it, honest records between them.
func fuzzed(t *testing.T, b []byte, client bool) {
	if len(b) < 2 {
		return
	}
	ids := []uint16{pskSuite, 0xd003, certSuite}
	mine, theirs := fuzzSides()
	s := newSceneOf(t, suite(t, ids[int(b[0])%len(ids)]), mine.clone(), theirs.clone())
	memory := NewBudget(1 << 20)
	s.client.fragments.memory, s.server.conf.Memory = memory, memory
	s.server.cid = []byte("12345678")
	if b[0]&0x40 != 0 {
		p := paramsFor(suite(t, ids[int(b[0])%len(ids)]))
		p.LocalCID = []byte("87654321")
		s.client = NewClient(s.client.conf, s.client.cb, Timers{}, p, s.now)
	}
	var honest []record.Record
	victim := s.client
	if client {
		honest = s.begin()
	} else {
		honest = s.flight()
		victim = s.server.m
	}
	n := int(b[1]) % (len(honest) + 1)
	s.deliver(victim, honest[:n])
	s.deliver(victim, records(b[2:], 8))
	s.now = s.now.Add(time.Second)
	victim.Tick(s.now)
	s.deliver(victim, records(b[2:], 8))
	s.deliver(victim, honest[n:])
	require.LessOrEqual(t, memory.Taken(), maxHandshakeBytes)
	require.LessOrEqual(t, len(victim.out), 64)
	for _, d := range victim.Output() {
		require.LessOrEqual(t, len(d), defaultMaxDatagram)
		require.NotEmpty(t, records(d, 8))
	}
	if res, err := victim.Done(); res != nil || err != nil {
		require.True(t, res == nil || err == nil)
		require.Nil(t, victim.Job())
	}
	victim.Release()
	if other := s.server.m; other != nil {
		other.Release()
	}
	s.client.Release()
	require.Zero(t, memory.Taken())
}

func seed(f *testing.F) {
	f.Helper()
	for i, id := range []uint16{pskSuite, 0xd003, certSuite} {
		for n := range byte(5) {
			s := newScene(f, suite(f, id))
			b := []byte{byte(i), n}
			for _, r := range s.begin() {
				b = append(b, r.Raw...)
			}
			f.Add(b)
			s = newScene(f, suite(f, id))
			b = []byte{byte(i) | 0x40, n}
			for _, r := range s.flight() {
				b = append(b, r.Raw...)
			}
			f.Add(b)
		}
	}
}

// FuzzServer gives a server's machine anything, in each of its states.
func FuzzServer(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) { fuzzed(t, b, false) })
}

// FuzzClient gives a client's machine anything, in each of its states.
func FuzzClient(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) { fuzzed(t, b, true) })
}
