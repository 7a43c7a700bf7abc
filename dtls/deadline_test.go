package dtls

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

// blocked is a PSKFunc whose look-up has no end of its own.
func blocked(ctx context.Context, _ PSKQuery) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// H20 and S18: a look-up that hangs ends with the handshake's time, and its place is free again, in either role.
func TestH20BlockedLookupEndsWithTheHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		server, addr := startOn(t, &Config{
			Handler: newRecorder(true), PSK: blocked, Limits: Limits{HandshakeTimeout: 5 * time.Second},
		}, n.Listen(serverAddr))
		client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(clientAddr))
		go func() { _, _ = client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity}) }()
		<-time.After(time.Second)
		require.Equal(t, 1, server.Stats().HalfOpen)
		<-time.After(5 * time.Second)
		require.Zero(t, server.Stats().HalfOpen)
		require.EqualValues(t, 1, server.Stats().Handshakes[OutcomeTimeout])
	})
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		client, _ := startOn(t, &Config{
			Handler: newRecorder(false), PSK: blocked, Limits: Limits{HandshakeTimeout: 5 * time.Second},
		}, n.Listen(clientAddr))
		begin := time.Now()
		_, err := client.Dial(limited(t), netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
		var failed *HandshakeError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.Zero(t, client.Stats().HalfOpen)
	})
}

// H20 and S18: so does the look-up of a credential that is asked for again, after CloseWhere, and Shutdown doesn't wait for it.
func TestH20BlockedRecheckEndsWithTheHandshake(t *testing.T) {
	t.Parallel()
	for _, shut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := &simnet.Net{}
			var server *Endpoint
			again := false
			conf := &Config{Handler: newRecorder(true), Limits: Limits{HandshakeTimeout: 5 * time.Second}}
			conf.PSK = func(ctx context.Context, q PSKQuery) ([]byte, error) {
				if again {
					return blocked(ctx, q)
				}
				again = true
				server.CloseWhere(func(*Peer) bool { return false }, ReasonLocal)
				return testPSK(ctx, q)
			}
			var addr netip.AddrPort
			server, addr = startOn(t, conf, n.Listen(serverAddr))
			client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(clientAddr))
			go func() { _, _ = client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity}) }()
			<-time.After(time.Second)
			require.Equal(t, 1, server.Stats().HalfOpen)
			if shut {
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.NoError(t, server.Shutdown(ctx))
				require.Zero(t, time.Since(begin))
				return
			}
			<-time.After(5 * time.Second)
			require.Zero(t, server.Stats().HalfOpen)
			require.Zero(t, server.Stats().Sessions)
			require.EqualValues(t, 1, server.Stats().Handshakes[OutcomeRevoked])
		})
	}
}

// A step of the system's clock ends no session: idle times and stale handshakes are told by the time since the endpoint's
// start, which has no date in it.
func TestIdleTimeHasNoDate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	n := b.server.newNegotiation(b.serverSeen.conns[0].path(), localAddr{}, RoleClient)
	b.answers(t)
	require.Less(t, b.serverSeen.conns[0].lastSeen.Load(), uint32(3600))
	require.Less(t, n.expires, time.Hour)
}

// RFC 6347, Section 4.2.4.1: a peer behind a slow network is given the time that its Policy says, and flights are repeated as
// slowly.
func TestDialWithPolicyTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		silent := n.Listen(serverAddr)
		client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false), Policy: func(PeerID) Policy {
			return Policy{FlightTimeout: 20 * time.Second, HandshakeTimeout: 5 * time.Minute}
		}}, n.Listen(clientAddr))
		begin := time.Now()
		hellos := 0
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			b := make([]byte, 2048)
			for {
				if _, _, err := silent.ReadFrom(b); err != nil {
					return
				}
				hellos++
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := client.Dial(ctx, netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
		var failed *HandshakeError
		took := time.Since(begin)
		require.NoError(t, silent.Close())
		<-heard
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 5*time.Minute, took.Truncate(time.Second))
		require.Equal(t, 6, hellos, "at 0, 20, 60, 120, 180, 240 s: 60 s is the longest wait (RFC 6347, Section 4.2.4.1)")
	})
}

// A peer that isn't there is no peer with another key: who reads the log would give a device new keys that is only switched off.
func TestDialSilence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		all  bool // nothing of the server arrives; else only its last flight does not
		want Outcome
	}{
		{"nobody answers", true, OutcomeTimeout},
		{"nobody answers our Finished", false, OutcomePSKFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &simnet.Net{}
				n.Wire = func(p simnet.Packet) []simnet.Packet {
					last := len(p.Data) > 0 && p.Data[0] == byte(record.TypeChangeCipherSpec)
					if p.From.String() == serverAddr && (tt.all || last) {
						return nil
					}
					return []simnet.Packet{p}
				}
				startOn(t, &Config{PSK: testPSK, Handler: newRecorder(true)}, n.Listen(serverAddr))
				client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(clientAddr))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := client.Dial(ctx, netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
				var failed *HandshakeError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, tt.want, failed.Outcome)
			})
		})
	}
}
