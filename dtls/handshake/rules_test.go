package handshake

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// TestH06Cookies: a cookie is good for its hello, its address and its time (S13).
func TestH06Cookies(t *testing.T) {
	t.Parallel()
	fragment, c, addr := flood(t)
	h, ok := ParseHello(fragment)
	require.True(t, ok)
	c.Rotate(start0)
	h.Cookie = c.Append(nil, addr, h)
	require.True(t, c.Valid(addr, h))
	h.MessageSeq++ // rises when the hello comes again
	require.True(t, c.Valid(addr, h))
	require.False(t, NewCookies().Valid(addr, h))
	require.False(t, c.Valid(netip.AddrPortFrom(addr.Addr().Next(), addr.Port()), h))
	require.False(t, c.Valid(netip.AddrPortFrom(addr.Addr(), addr.Port()+1), h))
	for name, change := range map[string]func(h *Hello){
		"version":     func(h *Hello) { h.Version-- },
		"random":      func(h *Hello) { r := *h.Random; r[31] ^= 1; h.Random = &r },
		"session":     func(h *Hello) { h.SessionID = []byte{1} },
		"suites":      func(h *Hello) { h.Suites = h.Suites[2:] },
		"compression": func(h *Hello) { h.Compression = []byte{1, 0} },
		"extensions":  func(h *Hello) { h.Extensions = h.Extensions[:len(h.Extensions)-1] },
		"shifted":     func(h *Hello) { h.Suites, h.Extensions = h.Suites[:2], slices.Concat(h.Suites[2:], h.Extensions) },
		"cookie":      func(h *Hello) { h.Cookie = bytes.Clone(h.Cookie); h.Cookie[0] ^= 1 },
		"short":       func(h *Hello) { h.Cookie = h.Cookie[:cookieLen-1] },
		"none":        func(h *Hello) { h.Cookie = nil },
	} {
		changed := h
		change(&changed)
		require.False(t, c.Valid(addr, changed), name)
	}
	c.Rotate(start0.Add(cookieLifetime - 1))
	c.Rotate(start0.Add(cookieLifetime))
	require.True(t, c.Valid(addr, h), "of the previous secret")
	c.Rotate(start0.Add(2 * cookieLifetime))
	require.False(t, c.Valid(addr, h), "expired")
}

// TestH06AnswerIsShorter: never longer than the question (S14), even than the shortest hello there is.
func TestH06AnswerIsShorter(t *testing.T) {
	t.Parallel()
	body := slices.Concat([]byte{0xfe, 0xfd}, make([]byte, 32), []byte{0, 0, 0, 2, 0, 0xa8, 1, 0})
	hello := append(appendHeader(nil, typeClientHello, 3, len(body)), body...)
	h, ok := ParseHello(hello)
	require.True(t, ok)
	require.Nil(t, h.Extensions)
	answer := AppendHelloVerifyRequest(nil, 9, h.MessageSeq, NewCookies().Append(nil, testAddr, h))
	require.Less(t, len(answer), record.HeaderLen+len(hello))
	r, _, ok := record.Parse(answer, 0)
	require.True(t, ok)
	require.Equal(t, uint64(9), r.Seq)
	require.Equal(t, uint16(3), binary.BigEndian.Uint16(r.Payload[4:]))
}

// TestStaleCookie: a server whose secrets changed asks again, and the client follows (RFC 6347, Section 4.2.1), but not for ever.
func TestStaleCookie(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, pskSuite))
	s.server.receive(s.client.Output()[0], s.now)
	s.toClient(cut(s.server.output(), 0)...)
	s.server.cookies = NewCookies()
	shake(s.client, s.server, s.now)
	requireSame(t, s.client, s.server.m)

	s = newScene(t, suite(t, pskSuite))
	for i := range 100 {
		r, _, _ := record.Parse(AppendHelloVerifyRequest(nil, 0, 0, []byte{byte(i)}), 0)
		s.toClient(r, r)
	}
	require.Len(t, s.client.Output(), maxHellos)
}

// TestNoExtendedMasterSecret: only who is exempted does without (S3), and with PSK only who proved the key hears of it (S5).
func TestNoExtendedMasterSecret(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, 0xd003, certSuite} {
		for _, exempt := range []bool{false, true} {
			mine, theirs := newSides(t, elliptic.P256())
			mine.noEMS, theirs.noEMS = exempt, exempt
			s := suite(t, id)
			synctest.Test(t, func(t *testing.T) {
				f := &front{conf: bothKinds(), cb: mine}
				opts := append(pionOptions(s, theirs, testKey), pion.WithExtendedMasterSecret(pion.DisableExtendedMasterSecret))
				run, conn, err := pionClient(f, perfect, opts...)
				defer conn.Close()
				require.Equal(t, 1, mine.asked)
				if !exempt {
					require.Error(t, err)
					_, err = f.m.Done()
					var e *Error
					require.ErrorAs(t, err, &e)
					require.Equal(t, ReasonNoExtendedMasterSecret, e.Reason)
					return
				}
				require.NoError(t, err)
				res, _ := f.m.Done()
				require.False(t, res.EMS)
				requirePionTalk(t, run, conn, res)
			})
			mine.asked = 0
			synctest.Test(t, func(t *testing.T) {
				m := NewClient(only(s), mine, Timers{}, paramsFor(s), time.Now())
				opts := pionServerOptions(s, theirs, pion.WithExtendedMasterSecret(pion.DisableExtendedMasterSecret))
				run, conn, err := pionServer(m, perfect, opts...)
				defer conn.Close()
				require.Equal(t, 1, mine.asked)
				res, failed := m.Done()
				if !exempt {
					require.Error(t, err)
					require.Error(t, failed)
					return
				}
				require.NoError(t, err)
				require.False(t, res.EMS)
				requirePionTalk(t, run, conn, res)
			})
		}
	}
}

// TestConnectionIDsWithPion: each combination of who wants one (RFC 9146, Section 3).
func TestConnectionIDsWithPion(t *testing.T) {
	t.Parallel()
	for _, own := range [][]byte{nil, {}, {1, 2, 3, 4, 5, 6, 7, 8}} {
		for _, other := range [][]byte{nil, {}, {9, 9}} {
			mine, theirs := newSides(t, elliptic.P256())
			s := suite(t, pskSuite)
			var opts []pion.Option
			if other != nil {
				opts = append(opts, pion.WithConnectionIDGenerator(func() []byte { return other }),
					pion.WithPaddingLengthGenerator(func(uint) uint { return 7 }))
			}
			check := func(res *Result) {
				if own == nil || other == nil {
					require.Nil(t, res.LocalCID)
					require.Nil(t, res.RemoteCID)
					return
				}
				require.Equal(t, string(own), string(res.LocalCID))
				require.Equal(t, string(other), string(res.RemoteCID))
			}
			synctest.Test(t, func(t *testing.T) {
				f := &front{conf: bothKinds(), cb: mine, cid: own}
				run, conn, err := pionClient(f, perfect, append(pionOptions(s, theirs, testKey), opts...)...)
				require.NoError(t, err)
				defer conn.Close()
				res, err := f.m.Done()
				require.NoError(t, err)
				check(res)
				requirePionTalk(t, run, conn, res)
			})
			synctest.Test(t, func(t *testing.T) {
				p := paramsFor(s)
				p.LocalCID = own
				m := NewClient(only(s), mine, Timers{}, p, time.Now())
				run, conn, err := pionServer(m, perfect, pionServerOptions(s, theirs, opts...)...)
				require.NoError(t, err)
				defer conn.Close()
				res, err := m.Done()
				require.NoError(t, err)
				check(res)
				requirePionTalk(t, run, conn, res)
			})
		}
	}
}

// TestForeignCID: a sealed record under another Connection ID, or without ours, isn't looked at.
func TestForeignCID(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, pskSuite))
	p := paramsFor(suite(t, pskSuite))
	p.LocalCID = []byte{}
	s.client = NewClient(only(suite(t, pskSuite)), s.mine, Timers{}, p, s.now)
	s.server.cid = []byte("12345678")
	flight := s.flight()
	last := flight[len(flight)-1]
	require.Equal(t, record.TypeCID, last.Type)
	s.toServer(flight[:2]...)
	foreign := last
	foreign.CID = []byte("87654321")
	bare := last
	bare.Type, bare.CID = record.TypeHandshake, nil
	s.toServer(foreign, bare)
	requireUndone(t, s.server.m)
	require.False(t, s.server.m.failed)
	s.requireAlive(last)
}

// TestTimers: back-off, and a repeat of the peer's flight is answered at once but not often (RFC 6347, Section 4.2.4).
func TestTimers(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, pskSuite))
	s.server.timers = Timers{First: 9 * time.Second, Max: 30 * time.Second}
	hello := func() record.Record {
		return record.Record{Type: record.TypeHandshake, Payload: bytes.Clone(s.client.script.text)}
	}
	s.begin()
	m := s.server.m
	now := s.now
	for _, after := range []time.Duration{9, 18, 30, 30, 30} {
		require.Equal(t, now.Add(after*time.Second), m.Deadline())
		m.Tick(m.Deadline().Add(-1))
		require.Nil(t, m.Output())
		now = m.Deadline()
		m.Tick(now)
		require.Len(t, m.Output(), 1)
	}
	m.Receive(hello(), now.Add(minRepeat-1))
	require.Nil(t, m.Output())
	m.Receive(hello(), now.Add(minRepeat))
	require.Len(t, m.Output(), 1)
	m.Receive(hello(), now.Add(minRepeat+1))
	require.Nil(t, m.Output())
	require.Equal(t, now.Add(minRepeat+30*time.Second), m.Deadline())

	other := hello()
	other.Payload[headerLen+5] ^= 1
	m.Receive(other, now.Add(time.Hour))
	require.Nil(t, m.Output(), "another hello is another handshake")
}

// TestHeldWhileWorking: what comes while a job is out is looked at afterwards, and nothing is sent meanwhile.
func TestHeldWhileWorking(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, 0xd003, certSuite} {
		s := newScene(t, suite(t, id))
		memory := NewBudget(1 << 20)
		s.server.conf.Memory = memory
		flight := s.flight()
		m := s.server.m
		for _, r := range flight {
			m.Receive(r, s.now)
		}
		require.Equal(t, stateWork, m.state)
		require.NotZero(t, memory.Taken())
		require.True(t, m.Deadline().IsZero())
		m.Tick(s.now.Add(time.Hour))
		for range 1000 {
			for _, r := range flight {
				m.Receive(r, s.now)
			}
		}
		require.LessOrEqual(t, memory.Taken(), maxHandshakeBytes)
		j := m.Job()
		require.NotNil(t, j)
		require.Nil(t, m.Job(), "it is handed out once")
		require.Equal(t, suite(t, id).PSK, j.Blocking)
		require.Nil(t, m.Output())
		m.Resume(&Job{}, s.now)
		require.Equal(t, stateWork, m.state)
		j.Run(context.Background())
		m.Resume(j, s.now)
		work(m, s.now)
		s.requireAlive()
		require.Zero(t, memory.Taken())
	}
}

// TestReleasedWhileWorking: a job that is still out then comes back to nothing.
func TestReleasedWhileWorking(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, certSuite} {
		s := newScene(t, suite(t, id))
		for _, r := range s.flight() {
			s.server.m.Receive(r, s.now)
		}
		m := s.server.m
		j := m.Job()
		done := make(chan struct{})
		go func() {
			j.Run(context.Background())
			close(done)
		}()
		m.Abort(alertInternalError)
		m.Release()
		<-done
		m.Resume(j, s.now)
		res, err := m.Done()
		require.Nil(t, res)
		require.Error(t, err)
		require.Nil(t, m.Output())
		require.Nil(t, m.reader)
	}
}

// TestAlerts: a fatal one ends a handshake while the peer's records are in the clear; others don't.
func TestAlerts(t *testing.T) {
	t.Parallel()
	alert := func(b ...byte) record.Record { return record.Record{Type: record.TypeAlert, Payload: b} }
	s := newScene(t, suite(t, pskSuite))
	flight := s.flight()
	s.toServer(alert(1, 0), alert(1, 90), alert(2), alert(2, 40, 0), alert(3, 40), alert())
	requireUndone(t, s.server.m)
	s.toServer(flight[:2]...)
	s.toServer(alert(2, 40)) // the client's are sealed by now
	requireUndone(t, s.server.m)
	sealed := record.NewCipher(&s.client.write).Seal(nil, record.TypeAlert, 1, 9, nil, []byte{2, 80})
	s.toServer(records(sealed, 0)...)
	_, err := s.server.m.Done()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, Error{Reason: ReasonPeerAlert, Alert: 80, FromPeer: true}, *e)
	require.Nil(t, s.server.m.Output(), "an alert is not answered")

	s.toClient(alert(2, 51))
	_, err = s.client.Done()
	require.ErrorAs(t, err, &e)
	require.Equal(t, uint8(51), e.Alert)
}

// TestRefusedHellos: each under its own reason.
func TestRefusedHellos(t *testing.T) {
	t.Parallel()
	hello := func(version uint16, suites []uint16, extensions ...byte) Hello {
		b := binary.BigEndian.AppendUint16(nil, version)
		b = append(b, make([]byte, 34)...)
		b = binary.BigEndian.AppendUint16(b, uint16(2*len(suites)))
		for _, s := range suites {
			b = binary.BigEndian.AppendUint16(b, s)
		}
		b = append(b, 1, 0)
		if len(extensions) > 0 {
			b = binary.BigEndian.AppendUint16(b, uint16(len(extensions)))
			b = append(b, extensions...)
		}
		h, ok := ParseHello(append(appendHeader(nil, typeClientHello, 0, len(b)), b...))
		require.True(t, ok)
		return h
	}
	_, theirs := newSides(t, elliptic.P256())
	psk, cert := []uint16{pskSuite}, []uint16{certSuite}
	for name, tc := range map[string]struct {
		h      Hello
		reason Reason
		alert  uint8
	}{
		"DTLS 1.0":                {hello(versionDTLS10, psk), ReasonVersion, alertProtocolVersion},
		"TLS 1.2":                 {hello(0x0303, psk), ReasonVersion, alertProtocolVersion},
		"no suite":                {hello(versionDTLS12, []uint16{0xc037, 0x00ae}), ReasonNoCommonSuite, alertHandshakeFailure},
		"no signature algorithms": {hello(versionDTLS12, cert), ReasonNoCommonSuite, alertHandshakeFailure},
		"SHA-1 alone":             {hello(versionDTLS12, cert, 0, 13, 0, 4, 0, 2, 2, 3), ReasonNoCommonSuite, alertHandshakeFailure},
		"no group":                {hello(versionDTLS12, []uint16{0xd003}, 0, 10, 0, 4, 0, 2, 0, 19), ReasonNoCommonSuite, alertHandshakeFailure},
		"odd groups":              {hello(versionDTLS12, psk, 0, 10, 0, 3, 0, 1, 0), ReasonProtocol, alertDecodeError},
		"odd algorithms":          {hello(versionDTLS12, psk, 0, 13, 0, 3, 0, 1, 0), ReasonProtocol, alertDecodeError},
		"compressed points":       {hello(versionDTLS12, []uint16{0xd003}, 0, 11, 0, 2, 1, 1), ReasonProtocol, alertIllegalParameter},
		"a doubled extension":     {hello(versionDTLS12, psk, 0, 99, 0, 0, 0, 99, 0, 0), ReasonProtocol, alertIllegalParameter},
		"EMS with data":           {hello(versionDTLS12, psk, 0, 23, 0, 1, 0), ReasonProtocol, alertDecodeError},
		"odd Connection ID":       {hello(versionDTLS12, psk, 0, 54, 0, 1, 1), ReasonProtocol, alertDecodeError},
		"odd name":                {hello(versionDTLS12, psk, 0, 0, 0, 2, 0, 0), ReasonProtocol, alertDecodeError},
		"two names":               {hello(versionDTLS12, psk, 0, 0, 0, 10, 0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'), ReasonProtocol, alertDecodeError},
	} {
		m := NewServer(bothKinds(), theirs, Timers{}, tc.h, 5, nil, start0)
		requireFailed(t, m, tc.reason, tc.alert)
		require.Equal(t, [32]byte{}, m.ClientRandom(), name)
	}
	m := NewServer(&Config{Certificate: true}, theirs, Timers{}, hello(versionDTLS12, psk), 5, nil, start0)
	requireFailed(t, m, ReasonNoCommonSuite, alertHandshakeFailure)
	m = NewServer(bothKinds(), theirs, Timers{}, hello(0xfefc, psk, 0, 99, 0, 0), 5, nil, start0)
	requireUndone(t, m)
	answer := cut(m.Output(), 0)
	require.Equal(t, uint64(5), answer[0].Seq, "RFC 6347, Section 4.2.1")
}

// TestServersOrder: ours decides, and a client that offers both kinds gets PSK.
func TestServersOrder(t *testing.T) {
	t.Parallel()
	_, theirs := newSides(t, elliptic.P256())
	m := newMachine(bothKinds(), theirs, Timers{}, true)
	m.psk, m.serverName = false, "x"
	m.sendHello(start0)
	h, ok := ParseHello(m.script.text)
	require.True(t, ok)
	h.Suites = append(bytes.Clone(h.Suites), 0xc0, 0xa8, 0, 0xa8)
	server := newMachine(bothKinds(), theirs, Timers{}, false)
	require.Nil(t, server.choose(h, &offer{}))
	require.Equal(t, uint16(0x00a8), server.suite.ID)
}

// TestMaxDatagram: no datagram of ours is longer, whatever it carries (but a ClientHello, which isn't fragmented).
func TestMaxDatagram(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 1, minMaxDatagram, 200, 548, 1152, 1200} {
		s := newScene(t, suite(t, certSuite))
		s.server.conf.MaxDatagram = limit
		first := s.client.Output()
		s.server.receive(first[0], s.now)
		s.toClient(cut(s.server.output(), 0)...)
		s.server.receive(s.client.Output()[0], s.now)
		most := limit
		if limit == 0 {
			most = defaultMaxDatagram
		}
		for _, d := range s.server.output() {
			require.LessOrEqual(t, len(d), max(most, minMaxDatagram))
			s.toClient(records(d, 0)...)
		}
		requireUndone(t, s.client)
		require.Equal(t, stateChangeCipherSpec, s.client.state)
	}
}
