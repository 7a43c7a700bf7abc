package dtls

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/simnet"
)

// H06: one datagram begins one handshake, however many hellos it holds.
func TestH06OneDatagramBeginsOneHandshake(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hello := b.helloOf(t)
	var datagram []byte
	hellos := 0
	for ; len(datagram)+len(hello) <= maxDatagram; hellos++ {
		another := bytes.Clone(hello)
		binary.BigEndian.PutUint32(another[recordHeader+handshakeHeader+2:], uint32(hellos)) // of the random
		datagram = append(datagram, another...)
	}
	b.reset()
	before := b.server.Stats()
	b.attack("203.0.113.5:999", datagram)
	require.Eventually(t, func() bool { return len(b.packets(serverAddr)) > 0 }, 5*time.Second, time.Millisecond)
	s := b.server.Stats()
	require.Zero(t, s.Handshakes[OutcomeSuperseded])
	require.Equal(t, 1, s.HalfOpen)
	require.EqualValues(t, hellos-1, s.Dropped[DropUnexpected]-before.Dropped[DropUnexpected])
}

// H06: a flood of hellos from forged sources keeps no honest peer out, neither where it fills all places nor where it
// fills those of the peer's own prefix. A handshake whose cookie came back keeps its place however slow it is.
func TestH06FloodOfHellosEvictsItself(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limits Limits
		source func(i uint32) [4]byte
	}{
		"all places":   {Limits{HalfOpen: 16}, func(i uint32) [4]byte { return [4]byte{10, byte(i >> 8), byte(i), 1} }},
		"one prefix's": {Limits{HalfOpenPerPrefix: 16}, func(i uint32) [4]byte { return [4]byte{198, 51, 100, byte(i%200) + 50} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hello := newBench(t).helloOf(t)
			synctest.Test(t, func(t *testing.T) {
				n := &simnet.Net{}
				entered, gate := make(chan struct{}), make(chan struct{})
				psk := func(ctx context.Context, q PSKQuery) ([]byte, error) {
					if q.Peer.ID == "slow" {
						close(entered)
						<-gate
						return []byte(testKey), nil
					}
					return testPSK(ctx, q)
				}
				server, addr := startOn(t, &Config{PSK: psk, Handler: newRecorder(false), Limits: tt.limits}, n.Listen(serverAddr))
				any := func(context.Context, PSKQuery) ([]byte, error) { return []byte(testKey), nil }
				dial := func(port int, id string) error {
					sock := n.Listen(netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(port)).String())
					client, _ := startOn(t, &Config{PSK: any, Handler: newRecorder(false)}, sock)
					_, err := client.Dial(limited(t), addr, PeerID{Kind: KindPSK, ID: id})
					return err
				}
				slow := make(chan error, 1)
				go func() { slow <- dial(999, "slow") }()
				<-entered
				sent := uint32(0)
				for second := range 15 {
					for range 25 { // a second, where 16 places in 500 ms are 32
						forged := bytes.Clone(hello)
						sent++
						binary.BigEndian.PutUint32(forged[recordHeader+handshakeHeader+2:], sent)
						n.Inject(simnet.Packet{
							From: netip.AddrPortFrom(netip.AddrFrom4(tt.source(sent)), 1000+uint16(sent)), To: addr, Data: forged,
						})
						<-time.After(40 * time.Millisecond)
					}
					begin := time.Now()
					require.NoError(t, dial(1000+second, testIdentity))
					require.Less(t, time.Since(begin), time.Second, "the first hello was taken")
				}
				close(gate)
				require.NoError(t, <-slow)
				s := server.Stats()
				t.Logf("%d forged hellos: %d evicted, %d refused", sent, s.Handshakes[OutcomeEvicted], s.Handshakes[OutcomeLimit])
				require.NotZero(t, s.Handshakes[OutcomeEvicted])
				require.Zero(t, s.Handshakes[OutcomeLimit])
				<-time.After(cookieTimeout)
				synctest.Wait()
				require.Zero(t, server.Stats().HalfOpen)
				require.Zero(t, server.open.places)
				require.Empty(t, server.sites)
			})
		})
	}
}
