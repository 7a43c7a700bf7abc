package dtls

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/simnet"
)

// onLog is a log that calls back.
type onLog func()

func (onLog) Enabled(context.Context, slog.Level) bool    { return true }
func (f onLog) Handle(context.Context, slog.Record) error { f(); return nil }
func (f onLog) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f onLog) WithGroup(string) slog.Handler             { return f }
func gated(gate chan struct{}, held string) PSKFunc {
	return func(ctx context.Context, q PSKQuery) ([]byte, error) {
		if q.Peer.ID == held && q.Role == RoleClient {
			select {
			case <-gate:
			case <-ctx.Done():
			}
		}
		return []byte(testKey), nil
	}
}

func anybody(context.Context, PSKQuery) ([]byte, error) { return []byte(testKey), nil }

// H20, S18: a handshake that is ended between its admission and its first step stays ended, and gives back what it took once.
func TestH20EndedBeforeItsFirstStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &simnet.Net{}
		var server *Endpoint
		var called atomic.Bool
		log := onLog(func() { // the first one gives way to the second one, which is admitted and not begun yet
			if called.Swap(true) {
				return
			}
			if second := server.pendingAt(server.socks[0].key(netip.MustParseAddrPort("198.51.2.7:40"))); second != nil {
				second.cancel(errEvicted)
			}
		})
		gate := make(chan struct{})
		server, addr := startOn(t, &Config{PSK: gated(gate, "slow"), Handler: newRecorder(true), Log: slog.New(log),
			Limits: Limits{HalfOpen: 1}}, n.Listen(serverAddr))
		dial := func(from, id string) error {
			client, _ := startOn(t, &Config{PSK: anybody, Handler: newRecorder(false)}, n.Listen(from))
			_, err := client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: id})
			return err
		}
		go func() { _ = dial("198.51.1.7:40", "slow") }()
		synctest.Wait()
		require.NoError(t, dial("198.51.2.7:40", testIdentity))
		close(gate)
		time.Sleep(time.Minute)
		require.Zero(t, server.Stats().HalfOpen)
		require.EqualValues(t, 2, server.Stats().Handshakes[OutcomeEvicted])
		require.Zero(t, server.Stats().Handshakes[OutcomeSuperseded])
	})
}

// begun starts a bridge, and a device whose handshake with it waits at the bridge until gate is closed.
func begun(t *testing.T, conf Config, gate chan struct{}) (bridge *Endpoint, device netip.AddrPort, done chan error) {
	n := &simnet.Net{}
	conf.PSK = gated(gate, testIdentity)
	bridge, addr := startOn(t, &conf, n.Listen(serverAddr))
	client, device := startOn(t, &Config{PSK: anybody, Handler: newRecorder(false)}, n.Listen(clientAddr))
	done = make(chan error, 1)
	go func() {
		_, err := client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity})
		done <- err
	}()
	synctest.Wait()
	require.Equal(t, 1, bridge.Stats().HalfOpen)
	return bridge, device, done
}

// S8, S9: whoever dials by name gets nobody who began a handshake at that address with a key.
func TestDialByNameTakesNoPeerThatBegan(t *testing.T) {
	t.Parallel()
	certs := newTestCerts(t)
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		bridge, device, done := begun(t, Config{Certificate: present(certs.client), Verify: trust(certs.ca), Handler: newRecorder(false)}, gate)
		type dialled struct {
			c   *Conn
			err error
		}
		got := make(chan dialled, 2)
		go func() {
			c, err := bridge.DialCertificate(limited(t), device, "bridge.test")
			got <- dialled{c, err}
		}()
		go func() {
			c, err := bridge.Dial(limited(t), device, PeerID{Kind: KindCertificate})
			got <- dialled{c, err}
		}()
		synctest.Wait()
		close(gate)
		require.NoError(t, <-done)
		for range 2 {
			d := <-got
			require.ErrorIs(t, d.err, ErrBusy)
			require.Nil(t, d.c)
		}
	})
}

// A dialler that gave up waiting for a handshake of the peer's own doesn't make the next one break it off.
func TestDialWaitsForPeerThatBeganOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		bridge, device, done := begun(t, Config{Handler: newRecorder(false)}, gate)
		ctx, cancel := context.WithCancel(t.Context())
		given := make(chan error, 1)
		go func() {
			_, err := bridge.Dial(ctx, device, PeerID{Kind: KindPSK, ID: testIdentity})
			given <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-given, context.Canceled)
		again := make(chan error, 1)
		go func() {
			_, err := bridge.Dial(limited(t), device, PeerID{Kind: KindPSK, ID: testIdentity})
			again <- err
		}()
		synctest.Wait()
		close(gate)
		require.NoError(t, <-again)
		require.NoError(t, <-done)
		require.Zero(t, bridge.Stats().Handshakes[OutcomeSuperseded])
		require.Equal(t, 1, bridge.Stats().Sessions)
	})
}

// S18: a second look-up of a credential, after CloseWhere, ends with the handshake's time and with Shutdown.
func TestSecondLookUpEnds(t *testing.T) {
	t.Parallel()
	for name, shutdown := range map[string]bool{"deadline": false, "shutdown": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &simnet.Net{}
				gate, asked := make(chan struct{}), 0
				psk := func(ctx context.Context, _ PSKQuery) ([]byte, error) {
					if asked++; asked == 1 {
						<-gate
						return []byte(testKey), nil
					}
					<-ctx.Done()
					return nil, ctx.Err()
				}
				server, addr := startOn(t, &Config{PSK: psk, Handler: newRecorder(true)}, n.Listen(serverAddr))
				client, _ := startOn(t, &Config{PSK: anybody, Handler: newRecorder(false)}, n.Listen(clientAddr))
				go func() { _, _ = client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: testIdentity}) }()
				synctest.Wait()
				server.CloseWhere(func(*Peer) bool { return false }, ReasonRevoked)
				close(gate)
				synctest.Wait()
				require.Equal(t, 2, asked)
				if shutdown {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					require.NoError(t, server.Shutdown(ctx))
				} else {
					time.Sleep(defaultHandshakeTimeout + time.Second)
				}
				require.Zero(t, server.Stats().HalfOpen)
				require.Zero(t, server.Stats().Sessions)
			})
		})
	}
}

// A certificate without a well-defined end (RFC 5280, Section 4.1.2.5) lets its session rest.
func TestEndlessCertificateIsNotInspectedAllTheTime(t *testing.T) {
	t.Parallel()
	ep, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, (&simnet.Net{}).Listen(serverAddr))
	end := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	c := &Conn{ep: ep, idle: 7200, peer: Peer{Certificate: &PeerCertificate{NotAfter: end}}}
	require.Equal(t, 2*time.Hour, ep.dueAt(c))
	c.peer.Certificate = &PeerCertificate{NotAfter: time.Now().Add(time.Minute)}
	require.InDelta(t, time.Minute, ep.dueAt(c), float64(2*time.Second))
}

// S28: a device whose trial is over goes on from where it is, with a trial of its own, and gets its answer there.
func TestD10NextTrialAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, n, c := newMovingBench(t)
		b.answers(t)
		n.move("192.0.2.3:3")
		b.answers(t)
		for range 3 {
			time.Sleep(maxTrial + time.Second)
			b.answers(t) // which fails when the answer goes to the old address
			require.True(t, c.Unproven())
		}
		require.EqualValues(t, 3, b.server.Stats().Reverts)
	})
}
