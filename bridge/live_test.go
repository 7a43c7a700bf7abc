package bridge

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// watcher is a Poller that remembers whom it is to ask for.
type watcher struct {
	mu  sync.Mutex // guards the following field
	now map[string]bool
}

func (w *watcher) Watch(_ Upstream, aei string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now[aei] = true
}

func (w *watcher) Forget(_ Upstream, aei string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.now, aei)
}

func (w *watcher) watched() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// polls is a CSE whose polling channels the watcher is told of.
func polls(w *watcher) func(*Config) {
	return func(c *Config) {
		cse := testCSE
		cse.Downlink = DownlinkPoll
		c.CSEs, c.Poller = []CSE{cse}, w
	}
}

// TestPolling: the polling channel of an AE is asked as long as its device can be reached: from its registration, or from a new
// session, until its last session ends or it is deleted; what comes by it is delivered by AE-ID.
func TestPolling(t *testing.T) {
	t.Parallel()
	w := &watcher{now: map[string]bool{}}
	f := start(t, oneM2MDevice, polls(w))
	require.Empty(t, w.watched())
	status := onem2m.StatusCreated
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		resp := ok(r, status)
		resp.Content, resp.MediaType = []byte(`{"m2m:ae":{"aei":"Cd"}}`), "application/json"
		return resp, nil
	}
	f.oneM2M(register(`{"m2m:ae":{"api":"N1"}}`, "application/json"))
	require.Equal(t, map[string]bool{"Cd": true}, w.watched())
	resp, err := f.bridge.Deliver(t.Context(), Downstream{CSE: "in", AEI: "Cd"}, notification("1", "{}"))
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusOK, resp.Status)

	second, opened := f.bridge.open(loop{func([]byte) {}}, psk("dev"))
	require.True(t, opened)
	f.bridge.ended(f.served)
	require.Len(t, w.watched(), 1, "another session is there")
	f.bridge.ended(second)
	require.Empty(t, w.watched())

	third, _ := f.bridge.open(loop{func([]byte) {}}, psk("dev"))
	require.Len(t, w.watched(), 1)
	f.bridge.ended(third)
	require.Empty(t, w.watched())

	status = onem2m.StatusDeleted
	w.Watch(Upstream{}, "Cd")
	f.oneM2M(&onem2m.Request{Operation: onem2m.Delete, To: "cse-in/Cd", From: "Cd", RequestID: "2", ReleaseVersion: "3"})
	require.Empty(t, w.watched())
}

// TestLiveOtherSession: a session on which nothing was registered is known from its next request on, when its device's AE came by
// another one.
func TestLiveOtherSession(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice)
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cd", Access{}))
	require.Nil(t, f.bridge.live.of("d"))
	f.oneM2M(retrieve("1"))
	require.Equal(t, f.served, f.bridge.live.of("d"))
}

// listing is a directory that tells which AEs there are.
type listing struct {
	*directory
	bound []Reachable
}

func (l listing) EachBound() iter.Seq[Reachable] { return slices.Values(l.bound) }

// TestPollingDialled: the channels of devices that can be dialled are asked from the start, and without a session.
func TestPollingDialled(t *testing.T) {
	t.Parallel()
	w := &watcher{now: map[string]bool{}}
	at := Device{Name: "d", Address: deviceAddr}
	f := start(t, at, polls(w), func(c *Config) {
		c.Dial = func(context.Context, netip.AddrPort, dtls.PeerID) (*dtls.Conn, error) { return nil, dtls.ErrClosed }
		c.Directory = listing{c.Directory.(*directory), []Reachable{
			{Device: &at, CSE: "in", AEI: "Cat"}, {Device: &oneM2MDevice, CSE: "in", AEI: "Cd"}, {Device: &at, CSE: "gone", AEI: "Cx"}}}
	})
	f.bridge.watchDialled()
	require.Equal(t, map[string]bool{"Cat": true}, w.watched())
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cat", Access{}))
	p, _ := f.bridge.open(loop{func([]byte) {}}, psk("dev"))
	f.bridge.ended(p)
	require.Len(t, w.watched(), 1)
}

// TestLiveSessions: the newest session counts, one that ended never comes back, and nothing stays behind.
func TestLiveSessions(t *testing.T) {
	t.Parallel()
	e := coap.New(&coap.Config{})
	peer := func() *coap.Peer {
		p := e.NewPeer(loop{func([]byte) {}}, coap.Profile{})
		p.SetOwner(&session{peer: psk("dev")})
		return p
	}
	var l liveSessions
	a, b := peer(), peer()
	l.add("d", a)
	l.add("d", b)
	require.Equal(t, b, l.of("d"))
	l.add("d", a)
	require.Equal(t, a, l.of("d"), "it spoke last")
	name, last := l.remove(a)
	require.Equal(t, "d", name)
	require.False(t, last)
	l.add("d", a)
	require.Equal(t, b, l.of("d"))
	_, last = l.remove(b)
	require.True(t, last)
	_, last = l.remove(b)
	require.False(t, last)
	require.Empty(t, l.names)
	require.Empty(t, l.byDevice)
}

// TestC07DeviceLosesRight: a device whose entry has gone, or is another one's now, is not delivered to on the session that it has.
func TestC07DeviceLosesRight(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	known, _ := f.directory.Reachable(testToken)
	f.directory.mu.Lock()
	f.directory.devices[psk("dev").ID] = Device{Name: "another"}
	f.directory.mu.Unlock()
	_, err := f.bridge.reach(t.Context(), known.Device)
	require.ErrorIs(t, err, errNoSession)
	f.directory.remove(psk("dev").ID)
	_, err = f.bridge.reach(t.Context(), known.Device)
	require.ErrorIs(t, err, errNoSession)
}
