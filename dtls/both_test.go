package dtls

import (
	"context"
	"encoding/binary"
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

// H19 and R1: both sides begin at once, on the same two addresses, over a network that loses, delays and doubles; both get a
// session, and it is usable in both directions.
func TestSimultaneousStarts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &simnet.Net{Wire: lossy(seed)}
				a, b := newRecorder(false), newRecorder(false)
				left, _ := startOn(t, &Config{PSK: testPSK, Handler: a}, n.Listen(serverAddr))
				right, _ := startOn(t, &Config{PSK: testPSK, Handler: b}, n.Listen(clientAddr))
				id := PeerID{Kind: KindPSK, ID: testIdentity}
				var both sync.WaitGroup
				dial := func(ep *Endpoint, to string) {
					c, err := ep.Dial(t.Context(), netip.MustParseAddrPort(to), id)
					if err == nil {
						err = c.Send([]byte("x"))
					}
					require.NoError(t, err)
				}
				both.Go(func() { dial(left, clientAddr) })
				both.Go(func() { dial(right, serverAddr) })
				both.Wait()
				n.Calm()
				<-time.After(time.Minute)
				require.Equal(t, 1, left.Stats().Sessions)
				require.Equal(t, 1, right.Stats().Sessions)
				for _, ep := range []*Endpoint{left, right} {
					to := map[*Endpoint]string{left: clientAddr, right: serverAddr}[ep]
					c, err := ep.Dial(t.Context(), netip.MustParseAddrPort(to), id)
					require.NoError(t, err)
					before := len(a.all()) + len(b.all())
					require.NoError(t, c.Send([]byte("y")))
					synctest.Wait()
					require.Greater(t, len(a.all())+len(b.all()), before)
				}
			})
		})
	}
}

// lossy is a wire that loses a fifth and doubles a tenth.
func lossy(seed uint64) func(simnet.Packet) []simnet.Packet {
	rng := rand.New(rand.NewPCG(seed, 1))
	return func(p simnet.Packet) []simnet.Packet {
		switch x := rng.IntN(100); {
		case x < 20:
			return nil
		case x < 30:
			return []simnet.Packet{p, p}
		}
		return []simnet.Packet{p}
	}
}

// keyed is a recorder that remembers the keys of every session.
type keyed struct {
	*recorder
	mu   sync.Mutex // guards the following field
	keys []record.Key
}

func (k *keyed) HandleConn(c *Conn) {
	c.mu.Lock()
	k.mu.Lock()
	k.keys = append(k.keys, c.write)
	k.mu.Unlock()
	c.mu.Unlock()
	k.recorder.HandleConn(c)
}

// D08 and S25: somebody who has all keys finds no pair of key and nonce twice, over retransmissions, new sessions at the same
// address, simultaneous starts and repeated last flights.
func TestD08NoNonceTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wire := lossy(7)
		var sent []simnet.Packet
		n := &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet {
			sent = append(sent, p) // one call at a time
			return wire(p)
		}}
		ends := []*keyed{{recorder: newRecorder(false)}, {recorder: newRecorder(false)}}
		left, _ := startOn(t, &Config{PSK: testPSK, Handler: ends[0]}, n.Listen(serverAddr))
		right, _ := startOn(t, &Config{PSK: testPSK, Handler: ends[1]}, n.Listen(clientAddr))
		id := PeerID{Kind: KindPSK, ID: testIdentity}
		for round := range 40 {
			var both sync.WaitGroup
			dial := func(ep *Endpoint, to string) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if c, err := ep.Dial(ctx, netip.MustParseAddrPort(to), id); err == nil {
					for range 5 {
						_ = c.Send([]byte("x"))
					}
				}
			}
			both.Go(func() { dial(left, clientAddr) })
			if round%2 == 0 {
				both.Go(func() { dial(right, serverAddr) })
			}
			both.Wait()
			left.CloseWhere(func(*Peer) bool { return true }, ReasonLocal)
			<-time.After(10 * time.Second)
			right.CloseWhere(func(*Peer) bool { return round%3 == 0 }, ReasonLocal)
			<-time.After(10 * time.Second)
		}
		synctest.Wait()
		type use struct {
			key   int
			nonce uint64
		}
		seen := map[use]string{}
		opened := 0
		keys := append(ends[0].keys, ends[1].keys...)
		for _, p := range sent {
			for rest := p.Data; len(rest) > 0; {
				r, next, ok := record.Parse(rest, cidLength)
				require.True(t, ok)
				rest = next
				if r.Epoch == 0 || len(r.Payload) < 8 {
					continue
				}
				for i := range keys {
					copied := r
					copied.Payload = append([]byte(nil), r.Payload...)
					if _, _, ok := record.NewCipher(&keys[i]).Open(copied); !ok {
						continue
					}
					opened++
					u := use{i, binary.BigEndian.Uint64(r.Payload)} // the explicit nonce
					require.Empty(t, seen[u], "a key and nonce came twice")
					seen[u] = string(r.Raw)
				}
			}
		}
		require.Greater(t, opened, 300)
		t.Logf("%d keys, %d sealed records, no nonce twice", len(keys), opened)
	})
}
