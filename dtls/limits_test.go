package dtls

import (
	"context"
	"crypto/x509"
	"fmt"
	"hash/maphash"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
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
