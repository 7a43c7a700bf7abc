package dtls

import (
	"context"
	"crypto/x509"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

// S50: when all places are taken, a session that was not used for long gives way to a new one.
func TestSessionsGiveWayByLastUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		seen := newRecorder(false)
		anybody := func(context.Context, PSKQuery) ([]byte, error) { return []byte(testKey), nil }
		server, addr := startOn(t, &Config{PSK: anybody, Handler: seen, Limits: Limits{Sessions: 3}}, n.Listen(serverAddr))
		dial := func(i int) *Conn {
			client, _ := startOn(t, &Config{PSK: anybody, Handler: newRecorder(false)}, n.Listen(fmt.Sprintf("198.51.100.7:%d", i)))
			c, err := client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: fmt.Sprint("device-", i)})
			require.NoError(t, err)
			synctest.Wait()
			return c
		}
		var conns []*Conn
		for i := 1; i <= 3; i++ {
			conns = append(conns, dial(i))
			time.Sleep(time.Minute)
		}
		require.NoError(t, conns[0].Send([]byte("still here"))) // so the second one was not used for longest
		synctest.Wait()
		dial(4)
		synctest.Wait()
		s := server.Stats()
		require.Equal(t, 3, s.Sessions)
		require.EqualValues(t, 1, s.Closed[ReasonEvicted])
		require.Equal(t, ReasonEvicted, seen.closed[seen.conns[1]])
	})
}

// Two new sessions at the limit take the places of two others, though neither of those has left yet.
func TestNoSessionGivesWayTwice(t *testing.T) {
	t.Parallel()
	ep, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false), Limits: Limits{Sessions: 2}}, (&simnet.Net{}).Listen(serverAddr))
	enter := func(i int) []leaving {
		ep.mu.Lock()
		defer ep.mu.Unlock()
		peer := Peer{ID: PeerID{Kind: KindPSK, ID: fmt.Sprint(i)}}
		return ep.enterLocked(&Conn{ep: ep, peer: peer, at: ep.socks[0].key(numbered(i))})
	}
	require.Empty(t, enter(1))
	require.Empty(t, enter(2))
	third, fourth := enter(3), enter(4)
	require.Len(t, third, 1)
	require.Len(t, fourth, 1)
	require.NotSame(t, third[0].conn, fourth[0].conn)
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.leaveLocked(third[0].conn)
	ep.leaveLocked(fourth[0].conn)
	require.Equal(t, 2, ep.sessions)
	require.Zero(t, ep.doomed)
	ep.tables = newTables() // nobody serves these
}

// S18: a handshake beyond the number of places takes that of the oldest, which ends and gives all back.
func TestH20OldestHandshakeGivesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		gate := make(chan struct{})
		psk := func(ctx context.Context, q PSKQuery) ([]byte, error) {
			if q.Peer.ID != testIdentity {
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return []byte(testKey), nil
		}
		server, addr := startOn(t, &Config{PSK: psk, Handler: newRecorder(true), Limits: Limits{HalfOpen: 4}}, n.Listen(serverAddr))
		dial := func(i int, id string) error {
			client, _ := startOn(t, &Config{PSK: func(context.Context, PSKQuery) ([]byte, error) { return []byte(testKey), nil },
				Handler: newRecorder(false)}, n.Listen(fmt.Sprintf("198.51.%d.7:40", i)))
			_, err := client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: id})
			return err
		}
		for i := range 4 {
			go func() { _ = dial(i, fmt.Sprint("slow-", i)) }()
			synctest.Wait()
		}
		require.Equal(t, 4, server.Stats().HalfOpen)
		require.NoError(t, dial(99, testIdentity))
		require.EqualValues(t, 1, server.Stats().Handshakes[OutcomeEvicted])
		close(gate)
		time.Sleep(time.Minute)
		synctest.Wait()
		server.mu.Lock()
		defer server.mu.Unlock()
		require.Zero(t, server.held)
		require.Empty(t, server.sites)
		require.Empty(t, server.pending)
		require.Nil(t, server.oldest)
		require.Nil(t, server.newest)
	})
}

// A device that restarts within a handshake doesn't wait for the end of the old one, whose flights are still repeated.
func TestDeviceRestartsWithinAHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lost atomic.Bool
		n := &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet {
			r, _, ok := record.Parse(p.Data, cidLength)
			const helloVerifyRequest = 3
			if ok && lost.Load() && (p.From.String() == clientAddr && r.Payload[0] != msgClientHello ||
				p.From.String() == serverAddr && r.Payload[0] != helloVerifyRequest) {
				return nil // the handshake stands still after the hello that brought the cookie
			}
			return []simnet.Packet{p}
		}}
		server, addr := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(serverAddr))
		id := PeerID{Kind: KindPSK, ID: testIdentity}
		lost.Store(true)
		first, err := New(&Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(clientAddr))
		require.NoError(t, err)
		serving := make(chan error, 1)
		go func() { serving <- first.Serve() }()
		go func() { _, _ = first.Dial(t.Context(), addr, id) }()
		time.Sleep(1100 * time.Millisecond)
		require.Equal(t, 1, server.Stats().HalfOpen)
		require.NoError(t, first.Shutdown(limited(t)))
		require.NoError(t, <-serving)
		lost.Store(false)
		again, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(clientAddr))
		begin := time.Now()
		_, err = again.Dial(limited(t), addr, id)
		require.NoError(t, err)
		require.Less(t, time.Since(begin), 3*time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, server.Stats().Handshakes[OutcomeSuperseded])
	})
}

// S50: a source prefix begins so many handshakes a second, and others are not touched by it.
func TestHandshakeRateOfAPrefix(t *testing.T) {
	t.Parallel()
	r := rates{perSecond: 10, seed: maphash.MakeSeed()}
	now := time.Now()
	loud, quiet := [8]byte{1, 2, 3}, [8]byte{1, 2, 4}
	allowed := func(site [8]byte, n int) (got int) {
		for range n {
			if r.allow(site, now) {
				got++
			}
		}
		return got
	}
	require.Equal(t, 20, allowed(loud, 100), "two seconds' worth at once")
	require.Equal(t, 5, allowed(quiet, 5))
	now = now.Add(time.Second)
	require.Equal(t, 10, allowed(loud, 100))
	now = now.Add(time.Hour)
	require.Equal(t, 20, allowed(loud, 100))
}

// A queue of public-key operations that is full sheds handshakes that begin before those under way.
func TestCryptoQueueShedsBeginners(t *testing.T) {
	t.Parallel()
	ep, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, (&simnet.Net{}).Listen(serverAddr))
	ep.crypto.running = cryptoWorkers() // none of them takes anything
	ep.crypto.queue = make([]task, maxCrypto/2)
	begin := func(port uint16) *negotiation {
		n := ep.newNegotiation(ep.socks[0].key(netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), port)), localAddr{}, RoleClient)
		require.True(t, ep.admit(n))
		return n
	}
	beginner := begin(1)
	ep.run(beginner, &handshake.Job{})
	require.True(t, beginner.over)
	underWay := begin(2)
	underWay.records = 1
	ep.run(underWay, &handshake.Job{})
	require.False(t, underWay.over)
	require.Len(t, ep.crypto.queue, maxCrypto/2+1)
	ep.crypto.queue = append(ep.crypto.queue, make([]task, maxCrypto/2)...)
	full := begin(3)
	full.records = 1
	ep.run(full, &handshake.Job{})
	require.True(t, full.over)
	require.EqualValues(t, 2, ep.Stats().Handshakes[OutcomeLimit])
	underWay.cancel(errGivenUp)
	ep.crypto.queue, ep.crypto.running = nil, 0
}

// S3: the extended master secret is required, but of the peers that Policy exempts.
func TestExtendedMasterSecretExemption(t *testing.T) {
	t.Parallel()
	policy := func(id PeerID) Policy { return Policy{NoExtendedMasterSecret: id.ID == testIdentity} }
	anybody := func(context.Context, PSKQuery) ([]byte, error) { return []byte(testKey), nil }
	ep, addr := start(t, &Config{PSK: anybody, Policy: policy, Handler: newRecorder(true)})
	old := pion.WithExtendedMasterSecret(pion.DisableExtendedMasterSecret)
	conn, err := pionDial(t, addr, append(pionPSK(testIdentity, testKey), old)...)
	require.NoError(t, err)
	echo(t, conn, "hello")
	_, err = pionDial(t, addr, append(pionPSK("device-2", testKey), old)...)
	require.Error(t, err)
	require.EqualValues(t, 1, settledCount(t, ep, OutcomeNoExtendedMasterSecret))
}

// A session has ciphers only while it is busy.
func TestIdleSessionsKeepNoCiphers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.answers(t)
		c := b.serverSeen.conns[0]
		require.NotNil(t, c.busy.Load())
		time.Sleep(busyTime + 2*sessionTick)
		synctest.Wait()
		require.Nil(t, c.busy.Load())
		require.Empty(t, b.server.busy)
		b.answers(t)
	})
}

// A chain that was accepted is not judged again, until CloseWhere says that trust may have changed or it runs out.
func TestVerifiedChainIsRemembered(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	judged := 0
	verify := trust(certs.ca)
	conf := &Config{Certificate: present(certs.server), Handler: newRecorder(true)}
	conf.Verify = func(chain PeerChain) (*x509.Certificate, error) {
		judged++
		return verify(chain)
	}
	ep, addr := start(t, conf)
	dial := func() {
		_, err := pionDial(t, addr, pionCertificate(certs.client.TLS())...)
		require.NoError(t, err)
		settledCount(t, ep, OutcomeCompletedCertificate)
	}
	dial()
	dial()
	require.Equal(t, 1, judged)
	ep.CloseWhere(func(*Peer) bool { return false }, ReasonLocal)
	dial()
	require.Equal(t, 2, judged)
}
