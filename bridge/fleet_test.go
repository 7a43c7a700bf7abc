package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
	"coapbridge/internal/simnet"
)

// fleet is a Directory of many devices, each with an AE; it never changes.
type fleet struct {
	Directory
	devices map[dtls.PeerID]*Device
	tokens  map[string]*Device
}

func (f *fleet) Device(p *dtls.Peer) (*Device, bool) {
	dev, ok := f.devices[p.ID]
	return dev, ok
}

func (f *fleet) Reachable(token string) (Reachable, bool) {
	dev, ok := f.tokens[token]
	if !ok {
		return Reachable{}, false
	}
	return Reachable{Device: dev, CSE: "in", AEI: dev.Bound[0], Access: Access{Token: token}}, true
}

func (f *fleet) BelongsToOther(dev *Device, aei string) bool { return false }

// member is one device of a fleet: what it was notified of.
type member struct {
	coap *coap.Endpoint
	dtls *dtls.Endpoint
	conn *dtls.Conn

	mu  sync.Mutex // guards the following field
	got []string
}

func (m *member) ServeCoAP(x *coap.Exchange) {
	m.mu.Lock()
	m.got = append(m.got, string(x.Request().Payload))
	m.mu.Unlock()
	answerNotification(x, onem2m.StatusOK)
}

func (m *member) HandleConn(c *dtls.Conn) { c.SetOwner(m.coap.NewPeer(c, coap.Profile{})) }

func (m *member) HandleRecord(c *dtls.Conn, b []byte) { m.coap.Receive(c.Owner().(*coap.Peer), b) }

func (m *member) HandleClosed(c *dtls.Conn, _ dtls.Reason) { m.coap.ClosePeer(c.Owner().(*coap.Peer)) }

// TestNotificationsInLoss: 1,000 devices get 100 notifications each through a network that loses one of a hundred datagrams:
// every one is delivered once, and each device's in order. DTLS and CoAP at both ends are the real ones; time is virtual.
func TestNotificationsInLoss(t *testing.T) {
	t.Parallel()
	const devices, notifications = 1000, 100
	synctest.Test(t, func(t *testing.T) {
		random, lost := rand.New(rand.NewPCG(6, 100)), 0
		wire := &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet { // one call at a time
			if random.IntN(100) == 0 {
				lost++
				return nil
			}
			return []simnet.Packet{p}
		}}
		known := &fleet{devices: map[dtls.PeerID]*Device{}, tokens: map[string]*Device{}}
		for i := range devices {
			name := "d" + strconv.Itoa(i)
			id, dev := psk(name).ID, &Device{Name: name, Profile: ProfileOneM2M, Bound: []string{"C" + name}}
			known.devices[id], known.tokens["token-"+name] = dev, dev
		}
		cfg := Config{Directory: known, ServiceLayer: &layer{}}
		// Within the default of 20 s, one exchange in 7 has no time for a third repetition, and of those 8 in a million lose all
		// three messages: with 100,000 of them, every tenth run would have one that is never answered.
		cfg.Limits.DownlinkTimeout = 2 * time.Minute
		listens(&cfg)
		b, err := New(cfg)
		require.NoError(t, err)
		gateway, err := dtls.New(&dtls.Config{PSK: testKeys, PSKInMemory: true, Handler: b,
			Limits: dtls.Limits{HandshakesPerPrefix: 10 * devices, HalfOpenPerPrefix: devices}}, wire.Listen(gatewayAddr))
		require.NoError(t, err)
		var running, calls sync.WaitGroup
		running.Go(func() { _ = b.Serve() })
		running.Go(func() { _ = gateway.Serve() })

		members := make([]*member, devices)
		for i := range members {
			m := newMember(t, wire, i, &running)
			members[i] = m
			calls.Go(func() {
				name := "d" + strconv.Itoa(i)
				var err error
				m.conn, err = m.dtls.Dial(t.Context(), netip.MustParseAddrPort(gatewayAddr), psk(name).ID)
				require.NoError(t, err)
				for b.live.of(name) == nil { // the last flight may have been lost
					<-time.After(time.Second)
				}
				for n := range notifications {
					r := notification(name+"-"+strconv.Itoa(n), strconv.Itoa(n))
					resp, err := b.Deliver(t.Context(), Downstream{CSE: "in", Token: "token-" + name}, r)
					require.NoError(t, err)
					require.Equal(t, onem2m.StatusOK, resp.Status)
				}
			})
		}
		calls.Wait()
		want := make([]string, notifications)
		for n := range want {
			want[n] = strconv.Itoa(n)
		}
		for i, m := range members {
			require.Equal(t, want, m.got, "device %d", i)
		}
		require.Greater(t, lost, devices*notifications*2/100/2)
		require.EqualValues(t, devices*notifications, b.Stats().Deliveries[DeliveryAnswered])
		require.Greater(t, b.CoAPStats().Retransmissions, uint64(devices*notifications/100))

		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, b.Shutdown(ctx))
		require.NoError(t, gateway.Shutdown(ctx))
		for _, m := range members {
			_ = m.dtls.Shutdown(ctx)
			_ = m.coap.Shutdown(ctx)
		}
		running.Wait()
	})
}

// newMember begins the life of the device of number i.
func newMember(t *testing.T, wire *simnet.Net, i int, running *sync.WaitGroup) *member {
	m := &member{}
	m.coap = coap.New(&coap.Config{Handler: m, Understands: func(_ *coap.Peer, id coap.OptionID) bool {
		return onem2m.IsOption(id, onem2m.CoAPProfile{})
	}})
	var err error
	m.dtls, err = dtls.New(&dtls.Config{PSK: testKeys, PSKInMemory: true, Handler: m},
		wire.Listen(fmt.Sprintf("10.0.%d.%d:5684", i/250, i%250+1)))
	require.NoError(t, err)
	running.Go(func() { _ = m.coap.Serve() })
	running.Go(func() { _ = m.dtls.Serve() })
	return m
}
