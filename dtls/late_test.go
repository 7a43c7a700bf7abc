package dtls

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

// rough is a network that repeats a fifth of all datagrams and delays each copy by up to 2 s on its own, so that they overtake each
// other. It loses one in twenty: of those that lose more, one client in 10,000 has lost nine last flights, or their answers,
// when the server repeats its own no more (finishedLifetime). Where split says so, each record travels alone, as OpenSSL and others send them.
func rough(seed uint64, split func(from netip.AddrPort) bool) *simnet.Net {
	n, rng := &simnet.Net{}, rand.New(rand.NewPCG(seed, 3))
	carry := func(p simnet.Packet) {
		for again := true; again; again = rng.IntN(5) == 0 {
			if rng.IntN(20) > 0 {
				time.AfterFunc(time.Duration(rng.Int64N(int64(2*time.Second))), func() { n.Inject(p) })
			}
		}
	}
	n.Wire = func(p simnet.Packet) []simnet.Packet {
		if !split(p.From) {
			carry(p)
			return nil
		}
		for rest := p.Data; len(rest) > 0; {
			r, next, ok := record.Parse(rest, cidLength)
			if !ok {
				break
			}
			carry(simnet.Packet{From: p.From, To: p.To, Data: r.Raw})
			rest = next
		}
		return nil
	}
	return n
}

// H05: over a network that repeats datagrams late each device with the right key gets one session, no handshake is begun beside
// it or behind it, and none is held against its key. Half of the devices have a Connection ID, half end their session at once.
func TestH05RoughNetworkBlamesNoKey(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const devices = 200
				patient := Limits{HandshakeTimeout: 5 * time.Minute, SessionsPerPeer: devices}
				n := rough(seed, func(from netip.AddrPort) bool { return from.Port()%8 < 4 })
				server, addr := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(true), Limits: patient}, n.Listen(serverAddr))
				var all sync.WaitGroup
				for i := range devices {
					client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false), OfferConnectionID: i%2 == 0, Limits: patient},
						n.Listen(fmt.Sprintf("198.51.100.7:%d", 1024+i)))
					all.Go(func() {
						c, err := client.Dial(t.Context(), addr, PeerID{Kind: KindPSK, ID: testIdentity})
						if err == nil {
							err = c.Send([]byte("x"))
						}
						require.NoError(t, err)
						if i%4 > 1 {
							c.Close(ReasonLocal)
						}
					})
				}
				all.Wait()
				<-time.After(10 * time.Minute) // what was begun for nobody has ended
				ended := server.Stats().Handshakes
				require.EqualValues(t, devices, ended[OutcomeCompletedPSK])
				for o, count := range ended {
					if o != OutcomeCompletedPSK && o != OutcomeCookieSent {
						require.Zero(t, count, o)
					}
				}
			})
		})
	}
}

// H05: copies of all that made a session, when it has had data and after its end: they begin nothing.
func TestH05LateCopiesBeginNothing(t *testing.T) {
	t.Parallel()
	for _, cid := range []bool{false, true} {
		t.Run(fmt.Sprint("Connection ID ", cid), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var wire []simnet.Packet
				n := &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet {
					wire = append(wire, p) // one call at a time
					return []simnet.Packet{p}
				}}
				server, addr := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(serverAddr))
				client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false), OfferConnectionID: cid}, n.Listen(clientAddr))
				c, err := client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
				require.NoError(t, err)
				require.NoError(t, c.Send([]byte("x")))
				synctest.Wait()
				late := func() {
					t.Helper()
					before := server.Stats()
					said := len(wire)
					for _, p := range wire[:said] {
						if p.From.String() == clientAddr {
							n.Inject(p)
							synctest.Wait()
						}
					}
					after := server.Stats()
					require.Zero(t, after.HalfOpen)
					require.Positive(t, after.Dropped[DropReplay]-before.Dropped[DropReplay])
					require.Equal(t, before.Handshakes[OutcomeCookieSent]+1, after.Handshakes[OutcomeCookieSent], "the first hello is asked for its cookie")
					require.Len(t, wire, said+1)
					wire = wire[:said]
				}
				late()
				c.Close(ReasonLocal)
				synctest.Wait()
				require.Zero(t, server.Stats().Sessions)
				late()
			})
		})
	}
}

// Spent cookies are known for as long as one is good, and few of them are kept.
func TestSpentCookies(t *testing.T) {
	t.Parallel()
	name := func(i int) cookie { return cookie{byte(i), byte(i >> 8), byte(i >> 16)} }
	var s spent
	s.add(name(1), time.Hour)
	require.True(t, s.has(name(1), time.Hour+spentLifetime))
	require.False(t, s.has(name(2), time.Hour+spentLifetime))
	require.False(t, s.has(name(1), time.Hour+2*spentLifetime))
	s.add(name(1), 2*time.Hour)
	require.False(t, s.has(name(1), 3*time.Hour))
	for i := range 5 * maxSpent {
		s.add(name(i), 4*time.Hour)
		require.True(t, s.has(name(max(0, i-maxSpent)), 4*time.Hour))
	}
	require.LessOrEqual(t, len(s.newer)+len(s.older), 2*maxSpent)
}

// Two hellos are asked for their cookies under two secrets, and the second request comes late: the client follows it, and the server
// goes with the client instead of waiting for an answer to the first (RFC 6347, Section 4.2.1).
func TestSecondCookieIsFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n *simnet.Net
		var requests []simnet.Packet
		hellos := 0
		n = &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet {
			r, _, ok := record.Parse(p.Data, cidLength)
			require.True(t, ok)
			switch {
			case p.From.String() == clientAddr && isClientHello(r):
				hellos++
			case p.From.String() == serverAddr && len(requests) < 2 && r.Payload[0] == 3: // HelloVerifyRequest
				if len(requests) == 0 || string(requests[0].Data[len(p.Data)-16:]) != string(p.Data[len(p.Data)-16:]) {
					requests = append(requests, p)
				}
				if len(requests) == 2 {
					time.AfterFunc(0, func() { n.Inject(requests[0]) })
				}
				return nil
			case p.From.String() == serverAddr && len(requests) == 2 && r.Payload[0] == 2: // ServerHello
				if second := requests[1]; second.Data != nil {
					requests[1].Data = nil
					time.AfterFunc(0, func() { n.Inject(second) })
					return nil
				}
			}
			return []simnet.Packet{p}
		}}
		patient := Limits{HandshakeTimeout: 5 * time.Minute}
		server, addr := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false), Limits: patient}, n.Listen(serverAddr))
		client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false), Limits: patient}, n.Listen(clientAddr))
		begin := time.Now()
		_, err := client.Dial(t.Context(), addr, PeerID{Kind: KindPSK, ID: testIdentity})
		require.NoError(t, err)
		require.Greater(t, time.Since(begin), 30*time.Second, "the secret was rotated")
		require.Less(t, time.Since(begin), 2*time.Minute)
		require.EqualValues(t, 1, server.Stats().Handshakes[OutcomeSuperseded])
		require.Greater(t, hellos, 3)
	})
}

// D04, D06: one datagram of whoever knows the 5-tuple, full of sealed records or of empty ones, ends no handshake, nor spends
// what it may be sent.
func TestD04D06OneForgedDatagramEndsNoHandshake(t *testing.T) {
	t.Parallel()
	forged := map[string]func(seq uint64) []byte{
		"sealed": func(seq uint64) []byte {
			b := record.AppendClear(nil, record.TypeHandshake, seq, make([]byte, 40))
			b[4] = 1 // the epoch
			return b
		},
		"sealed alerts": func(seq uint64) []byte {
			b := record.AppendClear(nil, record.TypeAlert, seq, make([]byte, 18))
			b[4] = 1
			return b
		},
		"ChangeCipherSpec": func(seq uint64) []byte { return record.AppendClear(nil, record.TypeChangeCipherSpec, seq, []byte{1}) },
		"short":            func(seq uint64) []byte { return record.AppendClear(nil, record.TypeHandshake, seq, []byte{16}) },
	}
	for name, one := range forged {
		for after := range 4 { // datagrams of the client, of which the third brings ClientKeyExchange alone
			t.Run(fmt.Sprint(name, " after ", after), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var junk []byte
					for seq := uint64(0); len(junk) < maxDatagram-100; seq++ {
						junk = append(junk, one(seq)...)
					}
					from, to := netip.MustParseAddrPort(clientAddr), netip.MustParseAddrPort(serverAddr)
					sent := 0
					n := &simnet.Net{}
					n.Wire = func(p simnet.Packet) (out []simnet.Packet) {
						if p.From != from {
							return []simnet.Packet{p}
						}
						for rest := p.Data; len(rest) > 0; sent++ {
							r, next, ok := record.Parse(rest, cidLength)
							require.True(t, ok)
							if sent == after {
								out = append(out, simnet.Packet{From: from, To: to, Data: junk})
							}
							out = append(out, simnet.Packet{From: from, To: to, Data: r.Raw})
							rest = next
						}
						return out
					}
					server, addr := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(serverAddr))
					client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(clientAddr))
					_, err := client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
					require.NoError(t, err)
					synctest.Wait()
					require.EqualValues(t, 1, server.Stats().Handshakes[OutcomeCompletedPSK])
					require.Zero(t, server.Stats().Handshakes[OutcomePSKFailed])
				})
			})
		}
	}
}
