package bridge

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
	"coapbridge/internal/simnet"
)

func testKeys(context.Context, dtls.PSKQuery) ([]byte, error) { return []byte("0123456789abcdef"), nil }

// station is a device's end: CoAP over DTLS at an address of its own.
type station struct {
	coap *coap.Endpoint
	dtls *dtls.Endpoint
	deviceSide

	mu   sync.Mutex // guards the following field
	peer *coap.Peer // the latest session
}

func (s *station) HandleConn(c *dtls.Conn) {
	p := s.coap.NewPeer(c, coap.Profile{})
	c.SetOwner(p)
	s.mu.Lock()
	s.peer = p
	s.mu.Unlock()
}

func (s *station) HandleRecord(c *dtls.Conn, b []byte) { s.coap.Receive(c.Owner().(*coap.Peer), b) }

func (s *station) HandleClosed(c *dtls.Conn, _ dtls.Reason) { s.coap.ClosePeer(c.Owner().(*coap.Peer)) }

// network is a gateway with a running Bridge, and the devices around it.
type network struct {
	net      *simnet.Net
	gateway  *dtls.Endpoint
	stations []*station
	dialled  []netip.AddrPort
	running  sync.WaitGroup
	muted    atomic.Bool // what is sent is lost
	*fixture
}

const gatewayAddr = "192.0.2.1:5684"

// startNetwork runs a bridge whose sessions are real ones. Its directory knows dev by psk("dev").
func startNetwork(t *testing.T, wire func(simnet.Packet) []simnet.Packet, dev Device, edit ...func(*Config)) *network {
	t.Helper()
	n := &network{fixture: &fixture{t: t, layer: &layer{}}}
	n.net = &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet {
		switch {
		case n.muted.Load():
			return nil
		case wire == nil:
			return []simnet.Packet{p}
		}
		return wire(p)
	}}
	n.directory = &directory{devices: map[dtls.PeerID]Device{psk("dev").ID: dev}, bound: map[string]dtls.PeerID{}}
	cfg := Config{Directory: n.directory, ServiceLayer: n.layer, Limits: Limits{Workers: 4},
		Dial: func(ctx context.Context, to netip.AddrPort, id dtls.PeerID) (*dtls.Conn, error) {
			n.dialled = append(n.dialled, to)
			return n.gateway.Dial(ctx, to, id)
		}}
	listens(&cfg)
	for _, e := range edit {
		e(&cfg)
	}
	var err error
	n.bridge, err = New(cfg)
	require.NoError(t, err)
	n.gateway, err = dtls.New(&dtls.Config{PSK: testKeys, PSKInMemory: true, Handler: n.bridge}, n.net.Listen(gatewayAddr))
	require.NoError(t, err)
	n.running.Go(func() { _ = n.bridge.Serve() })
	n.running.Go(func() { _ = n.gateway.Serve() })
	return n
}

// stop ends everything; in a bubble, before its function returns.
func (n *network) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(n.t, n.bridge.Shutdown(ctx))
	require.NoError(n.t, n.gateway.Shutdown(ctx))
	for _, s := range n.stations {
		s.stop(ctx)
	}
	n.running.Wait()
}

func (s *station) stop(ctx context.Context) {
	_ = s.dtls.Shutdown(ctx)
	_ = s.coap.Shutdown(ctx)
}

// station begins a device's life at an address.
func (n *network) station(addr string) *station {
	s := &station{}
	s.coap = coap.New(&coap.Config{Handler: &s.deviceSide, Understands: func(_ *coap.Peer, id coap.OptionID) bool {
		return onem2m.IsOption(id, onem2m.CoAPProfile{})
	}})
	var err error
	s.dtls, err = dtls.New(&dtls.Config{PSK: testKeys, PSKInMemory: true, Handler: s}, n.net.Listen(addr))
	require.NoError(n.t, err)
	n.stations = append(n.stations, s)
	n.running.Go(func() { _ = s.coap.Serve() })
	n.running.Go(func() { _ = s.dtls.Serve() })
	return s
}

var deviceAddr = netip.MustParseAddrPort("192.0.2.7:5684")

// reachableDevice listens at deviceAddr.
func reachableDevice() Device {
	dev := oneM2MDevice
	dev.Address, dev.DialID = deviceAddr, psk("dev").ID
	return dev
}

// TestDeliverDials: a device without a session is reached at its entry's address (TS-0003, 8.2.1: SA2), once: the session stays.
func TestDeliverDials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNetwork(t, nil, reachableDevice())
		defer n.stop()
		require.NoError(t, n.directory.Bind(psk("dev").ID, "in", "Cd", Access{Token: testToken, POA: []string{"coap://127.0.0.1:1/x"}}))
		device := n.station(deviceAddr.String())
		for _, rqi := range []string{"1", "2"} {
			resp, err := n.bridge.Deliver(t.Context(), fromCSE, notification(rqi, "{}"))
			require.NoError(t, err)
			require.Equal(t, onem2m.StatusOK, resp.Status)
		}
		require.Len(t, device.requests(), 2)
		require.Equal(t, []netip.AddrPort{deviceAddr}, n.dialled, "and nowhere that the device wrote (S42)")
	})
}

// TestDeliverDialledOther: who answers at the address of an entry with another entry's credential gets nothing, and its session
// ends.
func TestDeliverDialledOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dev := reachableDevice()
		dev.DialID = psk("other").ID
		n := startNetwork(t, nil, dev)
		defer n.stop()
		n.directory.devices[psk("other").ID] = Device{Name: "other"}
		require.NoError(t, n.directory.Bind(psk("dev").ID, "in", "Cd", Access{Token: testToken}))
		device := n.station(deviceAddr.String())
		resp, err := n.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusTargetNotReachable, resp.Status)
		require.EqualValues(t, 1, n.bridge.Stats().Deliveries[DeliveryWrongPeer])
		synctest.Wait()
		require.Empty(t, device.requests())
		require.Zero(t, n.gateway.Stats().Sessions)
	})
}

// TestB05DialStaleSession: a session whose credential is another device's by now takes nothing that was meant for the one before, also
// when the address is busy.
func TestB05DialStaleSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dev := reachableDevice()
		f := startBound(t, dev, func(c *Config) {
			c.Dial = func(context.Context, netip.AddrPort, dtls.PeerID) (*dtls.Conn, error) { return nil, dtls.ErrBusy }
		})
		f.directory.change(psk("dev").ID, func(d *Device) { d.Name = "other" })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.bridge.reach(ctx, &dev)
		require.ErrorIs(t, err, errDial)
	})
}

// TestDeliverNobodyThere: nobody at the address of the entry is 4008 in time, and the next one tries again.
func TestDeliverNobodyThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var audit strings.Builder // of goroutines that do one request after the other
		n := startNetwork(t, nil, reachableDevice(), func(c *Config) {
			c.Log, c.Pseudonym = slog.New(slog.NewTextHandler(&audit, nil)), func(id dtls.PeerID) string { return "a-" + id.ID }
		})
		defer n.stop()
		require.NoError(t, n.directory.Bind(psk("dev").ID, "in", "Cd", Access{Token: testToken}))
		began := time.Now()
		resp, err := n.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
		require.Equal(t, defaultDownlinkTimeout, time.Since(began))
		require.EqualValues(t, 1, n.bridge.Stats().Deliveries[DeliveryNotDialled], "which nothing was sent to")
		require.Contains(t, audit.String(), `msg="request of a CSE not delivered" device=a-dev reason=dial_failed`)
		require.NotContains(t, audit.String(), testToken)
		n.station(deviceAddr.String())
		resp, err = n.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusOK, resp.Status)
	})
}

// TestDeliverAfterRestart: a device that lost its session is silent once; then the bridge begins another one. The one that was
// silent is not sent again: it may have been done.
func TestDeliverAfterRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNetwork(t, nil, reachableDevice())
		defer n.stop()
		require.NoError(t, n.directory.Bind(psk("dev").ID, "in", "Cd", Access{Token: testToken}))
		first := n.station(deviceAddr.String())
		_, err := n.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
		require.NoError(t, err)

		n.cut(first)
		second := n.station(deviceAddr.String())
		<-time.After(time.Second)
		resp, err := n.bridge.Deliver(t.Context(), fromCSE, notification("2", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
		resp, err = n.bridge.Deliver(t.Context(), fromCSE, notification("2", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status, "a repeat")
		resp, err = n.bridge.Deliver(t.Context(), fromCSE, notification("3", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusOK, resp.Status)
		require.Equal(t, "3", second.request(t).RequestID)
	})
}

// cut ends a device's life without a word to the bridge.
func (n *network) cut(s *station) {
	n.muted.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.stop(ctx)
	n.muted.Store(false)
}
