package bridge

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// layer is a ServiceLayer that records what it gets and answers as the test says.
type layer struct {
	mu     sync.Mutex // guards the following fields
	got    []*onem2m.Request
	answer func(context.Context, *onem2m.Request) (*onem2m.Response, error)
}

func (l *layer) Do(ctx context.Context, _ Upstream, r *onem2m.Request) (*onem2m.Response, error) {
	l.mu.Lock()
	l.got = append(l.got, r)
	answer := l.answer
	l.mu.Unlock()
	if answer == nil {
		return ok(r, onem2m.StatusOK), nil
	}
	return answer(ctx, r)
}

// answers has l answer with f from now on.
func (l *layer) answers(f func(context.Context, *onem2m.Request) (*onem2m.Response, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = f
}

func (l *layer) requests() []*onem2m.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// ok is an answer of the given status to r.
func ok(r *onem2m.Request, status onem2m.StatusCode) *onem2m.Response {
	return &onem2m.Response{Status: status, RequestID: r.RequestID, ReleaseVersion: r.ReleaseVersion}
}

// directory is a Directory in memory.
type directory struct {
	mu      sync.Mutex // guards the following fields
	devices map[dtls.PeerID]Device
	bound   map[string]dtls.PeerID
	access  map[string]Access
	fail    error // of Bind
}

func (d *directory) Device(p *dtls.Peer) (*Device, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dev, ok := d.devices[p.ID]
	for aei, owner := range d.bound {
		if owner == p.ID {
			dev.Bound = append(dev.Bound, aei)
		}
	}
	return &dev, ok
}

func (d *directory) Bind(id dtls.PeerID, _, aei string, access Access) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	if owner, taken := d.bound[aei]; taken && owner != id {
		return ErrBound
	}
	d.bound[aei] = id
	if access.Token != "" || access.POA != nil {
		if d.access == nil {
			d.access = make(map[string]Access)
		}
		d.access[aei] = access
	}
	return nil
}

func (d *directory) Access(_, aei string) (Access, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, bound := d.bound[aei]
	return d.access[aei], bound
}

func (d *directory) Reachable(token string) (Reachable, bool) {
	d.mu.Lock()
	aei := ""
	for a, access := range d.access {
		if access.Token == token {
			aei = a
		}
	}
	d.mu.Unlock()
	return d.Bound("in", aei)
}

func (d *directory) Bound(cse, aei string) (Reachable, bool) {
	d.mu.Lock()
	owner, access := d.bound[aei], d.access[aei]
	d.mu.Unlock()
	dev, ok := d.Device(&dtls.Peer{ID: owner})
	return Reachable{Device: dev, CSE: cse, AEI: aei, Access: access}, ok
}

func (d *directory) Unbind(id dtls.PeerID, _, aei string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bound[aei] == id {
		delete(d.bound, aei)
	}
	return nil
}

func (d *directory) BelongsToOther(dev *Device, aei string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	owner, taken := d.bound[aei]
	other, known := d.devices[owner]
	return taken && (!known || other.Name != dev.Name)
}

func (d *directory) change(id dtls.PeerID, edit func(*Device)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dev := d.devices[id]
	edit(&dev)
	d.devices[id] = dev
}

func (d *directory) remove(id dtls.PeerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.devices, id)
}

// fixture is a running Bridge with one device's session, whose other end is a coap.Endpoint of the test's.
type fixture struct {
	t         *testing.T
	bridge    *Bridge
	layer     *layer
	directory *directory
	client    *coap.Endpoint
	peer      *coap.Peer
	served    *coap.Peer  // the same session at the bridge's end
	device    deviceSide  // what the device does with requests
	mute      atomic.Bool // the client hears nothing any more
}

// pipe hands what is sent to the other end, in order, on a goroutine of its own.
type pipe struct{ to chan []byte }

func (p pipe) Send(b []byte) error {
	p.to <- slices.Clone(b)
	return nil
}

func (p pipe) MaxPlaintext() int { return 1200 }

var testCSE = CSE{Name: "in", ID: "/id-in", SP: "sp.example", Base: "cse-in", Default: true}

func psk(identity string) *dtls.Peer {
	return &dtls.Peer{ID: dtls.PeerID{Kind: dtls.KindPSK, ID: identity}}
}

// start runs a Bridge for dev, whose session is psk("dev"). cfg may change the configuration.
func start(t *testing.T, dev Device, edit ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{
		t:         t,
		layer:     &layer{},
		directory: &directory{devices: map[dtls.PeerID]Device{psk("dev").ID: dev}, bound: map[string]dtls.PeerID{}},
	}
	cfg := Config{Directory: f.directory, ServiceLayer: f.layer, CSEs: []CSE{testCSE}, Limits: Limits{Workers: 4}}
	for _, e := range edit {
		e(&cfg)
	}
	var err error
	f.bridge, err = New(cfg)
	require.NoError(t, err)
	f.client = coap.New(&coap.Config{Handler: &f.device, Understands: func(_ *coap.Peer, id coap.OptionID) bool {
		return onem2m.IsOption(id, onem2m.CoAPProfile{}) || onem2m.IsOption(id, onem2m.CoAPProfile{Legacy: true})
	}})
	var running sync.WaitGroup
	running.Go(func() { _ = f.bridge.Serve() })
	running.Go(func() { _ = f.client.Serve() })

	up, down := make(chan []byte, 64), make(chan []byte, 64)
	served, ok := f.bridge.open(pipe{down}, psk("dev"))
	require.True(t, ok)
	f.served = served
	f.peer = f.client.NewPeer(pipe{up}, coap.Profile{})
	running.Go(func() {
		for b := range up {
			f.bridge.coap.Receive(served, b)
		}
	})
	running.Go(func() {
		for b := range down {
			if !f.mute.Load() {
				f.client.Receive(f.peer, b)
			}
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, f.bridge.Shutdown(ctx))
		require.NoError(t, f.client.Shutdown(ctx))
		close(up)
		close(down)
		running.Wait()
	})
	return f
}

// do sends m and returns the answer.
func (f *fixture) do(m *coap.Message) *coap.Message {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	answer, err := f.client.Do(ctx, f.peer, m)
	require.NoError(f.t, err)
	return answer
}

// oneM2M sends r as a oneM2M device and returns the answer, read back.
func (f *fixture) oneM2M(r *onem2m.Request) (*coap.Message, *onem2m.Response) {
	f.t.Helper()
	m, err := r.CoAP(onem2m.CoAPProfile{})
	require.NoError(f.t, err)
	answer := f.do(m)
	resp, err := onem2m.ResponseFromCoAP(answer, r, onem2m.CoAPProfile{})
	require.NoError(f.t, err)
	return answer, resp
}

// plain makes a request for path, "a/b".
func plain(code coap.Code, path string, payload string) *coap.Message {
	m := &coap.Message{Code: code, Payload: []byte(payload)}
	for s := range strings.SplitSeq(path, "/") {
		if path != "" {
			m.Options = m.Options.AddString(coap.URIPath, s)
		}
	}
	return m
}
