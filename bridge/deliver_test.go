package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// deviceSide is a device that takes requests. Without serve it answers every one with 2000.
type deviceSide struct {
	mu    sync.Mutex // guards the following fields
	got   []*coap.Message
	serve func(*coap.Exchange)
}

func (d *deviceSide) ServeCoAP(x *coap.Exchange) {
	m := *x.Request()
	m.Options, m.Payload = append(coap.Options{}, m.Options...), append([]byte{}, m.Payload...)
	d.mu.Lock()
	d.got = append(d.got, &m)
	serve := d.serve
	d.mu.Unlock()
	if serve == nil {
		answerNotification(x, onem2m.StatusOK)
		return
	}
	serve(x)
}

func (d *deviceSide) requests() []*coap.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*coap.Message{}, d.got...)
}

// request returns the only request so far, read.
func (d *deviceSide) request(t *testing.T) *onem2m.Request {
	t.Helper()
	got := d.requests()
	require.Len(t, got, 1)
	r, err := onem2m.RequestFromCoAP(got[0], onem2m.CoAPProfile{})
	require.NoError(t, err)
	return r
}

func answerNotification(x *coap.Exchange, status onem2m.StatusCode) {
	r, err := onem2m.RequestFromCoAP(x.Request(), onem2m.CoAPProfile{})
	if err != nil {
		_ = x.Respond(&coap.Message{Code: coap.BadRequest})
		return
	}
	resp := onem2m.Response{Status: status, RequestID: r.RequestID, ReleaseVersion: r.ReleaseVersion}
	m, _ := resp.CoAP(r, onem2m.CoAPProfile{})
	_ = x.Respond(m)
}

const testToken = "MDEyMzQ1Njc4OWFiY2RlZg"

// listens is a CSE that calls the bridge.
func listens(c *Config) {
	cse := testCSE
	cse.Downlink, cse.POA = DownlinkListen, "https://gw.example:8443"
	c.CSEs = []CSE{cse, {Name: "other", ID: "/id-other", Base: "other", Downlink: DownlinkListen, POA: cse.POA}}
}

// startBound is start for a device whose AE "Cd" is reached under testToken.
func startBound(t *testing.T, dev Device, edit ...func(*Config)) *fixture {
	t.Helper()
	f := start(t, dev, append([]func(*Config){listens}, edit...)...)
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cd", Access{Token: testToken}))
	f.bridge.live.add(dev.Name, f.served)
	return f
}

var fromCSE = Downstream{CSE: "in", Token: testToken}

// notification is a request as ACME sends it for a subscription.
func notification(rqi, content string) *onem2m.Request {
	return &onem2m.Request{Operation: onem2m.Notify, To: "/id-in/Cd", From: "/id-in", RequestID: rqi, ReleaseVersion: "3",
		Content: []byte(content), MediaType: "application/json"}
}

// TestDeliver: a notification of the CSE reaches the device as a NOTIFY on its live session, and the device's answer goes back
// with the same RI and RVI (TS-0008, 6.2; TS-0003, 8.2.1).
func TestDeliver(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	content := `{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{"con":1e400,"x":3.0}}},"sur":"cse-in/Cd/c/s"}}`
	resp, err := f.bridge.Deliver(t.Context(), fromCSE, notification("r1", content))
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusOK, resp.Status)
	require.Equal(t, "r1", resp.RequestID)
	require.Equal(t, "3", resp.ReleaseVersion)

	got := f.device.request(t)
	require.Equal(t, onem2m.Notify, got.Operation)
	require.Equal(t, "/id-in/Cd", got.To)
	require.Equal(t, "/id-in", got.From)
	require.Equal(t, "r1", got.RequestID)
	require.Equal(t, content, string(got.Content))
	require.Empty(t, got.RequestExpiration, "only an actuator is told")
	require.EqualValues(t, 1, f.bridge.Stats().Deliveries[DeliveryAnswered])
}

// TestDeliverTo: what a device is told of To, by the path of the point of access that it wrote itself (TS-0008, 6.2.2.3).
func TestDeliverTo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		poa      []string
		to, want string
	}{
		"nothing":             {nil, "", "Cd"},
		"as the CSE says":     {nil, "/id-in/Cd", "/id-in/Cd"},
		"structured":          {nil, "cse-in/ae/x", "cse-in/ae/x"},
		"no path":             {[]string{"coap://192.0.2.1:5683"}, "", "Cd"},
		"a slash":             {[]string{"coaps://192.0.2.1/"}, "/id-in/Cd", "/id-in/Cd"},
		"a path":              {[]string{"coaps://192.0.2.1/notify"}, "", "notify"},
		"a path, and To":      {[]string{"COAP://[2001:db8::1]/a/b", "coap://x/c"}, "/id-in/Cd", "a/b/~/id-in/Cd"},
		"another scheme":      {[]string{"mqtt://192.0.2.1/notify"}, "", "Cd"},
		"a way out":           {[]string{"coap://192.0.2.1/../x"}, "", "Cd"},
		"another form's mark": {[]string{"coap://192.0.2.1/~/id-in"}, "", "Cd"},
	} {
		d := destination{aei: "Cd", access: Access{POA: c.poa}}
		got, err := d.to(c.to)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
}

// TestB05NoAccess: a guessed, cut or foreign token, another CSE's, and an AE-ID that is bound to nobody learn nothing (S43).
func TestB05NoAccess(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	for name, from := range map[string]Downstream{
		"guessed":             {CSE: "in", Token: "MDEyMzQ1Njc4OWFiY2RlZh"},
		"cut":                 {CSE: "in", Token: testToken[:21]},
		"nothing":             {CSE: "in"},
		"another CSE's":       {CSE: "other", Token: testToken},
		"an unknown CSE's":    {CSE: "nobody", Token: testToken},
		"nobody's AE-ID":      {CSE: "in", AEI: "Ce"},
		"another CSE's AE-ID": {CSE: "nobody", AEI: "Cd"},
	} {
		resp, err := f.bridge.Deliver(t.Context(), from, notification("1", "{}"))
		require.Equal(t, ErrNoAccess, err, name)
		require.Nil(t, resp, name)
	}
	f.directory.remove(psk("dev").ID)
	_, err := f.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
	require.Equal(t, ErrNoAccess, err, "the entry has gone")
	require.Empty(t, f.device.requests())
}

// TestB05ForeignTo: by one device's point of access nobody reaches another one's AE.
func TestB05ForeignTo(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	require.NoError(t, f.directory.Bind(psk("other").ID, "in", "Cother", Access{}))
	for _, to := range []string{"Cother", "cse-in/Cother/x", "/id-in/Cother", "//sp.example/id-in/-/Cother"} {
		r := notification("1", "{}")
		r.To = to
		resp, err := f.bridge.Deliver(t.Context(), fromCSE, r)
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusNotFound, resp.Status, to)
	}
	require.Empty(t, f.device.requests())
}

// TestDeliverSilence: a device that does not answer is 4008 when the time is over, whether it acknowledged or not, and nothing
// is sent to it afterwards.
func TestDeliverSilence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rqet string
		want time.Duration
	}{
		"no rqet":    {"", defaultDownlinkTimeout},
		"relative":   {"3000", 3 * time.Second},
		"a long one": {"900000", defaultDownlinkTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := startBound(t, oneM2MDevice)
			f.device.serve = func(*coap.Exchange) {}
			r := notification("1", "{}")
			r.RequestExpiration = c.rqet
			began := time.Now()
			resp, err := f.bridge.Deliver(t.Context(), fromCSE, r)
			require.NoError(t, err, name)
			require.Equal(t, onem2m.StatusRequestTimeout, resp.Status, name)
			require.Equal(t, c.want, time.Since(began), name)
			sent := f.bridge.CoAPStats().Retransmissions
			<-time.After(5 * time.Minute)
			require.Equal(t, sent, f.bridge.CoAPStats().Retransmissions, name)
			require.Len(t, f.device.requests(), 1, name)
			f.client.ClosePeer(f.peer)
		})
	}
}

// TestC03NotLate: a command whose rqet has passed is never sent, not even when it waited for another one's turn; an actuator gets
// a time with every command, absolute, so that it can tell for itself.
func TestC03NotLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dev := oneM2MDevice
		dev.Actuator = true
		f := startBound(t, dev)
		past := notification("0", "{}")
		past.RequestExpiration = "20000101T000000"
		resp, err := f.bridge.Deliver(t.Context(), fromCSE, past)
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)

		f.device.serve = func(*coap.Exchange) {} // holds the first one back
		var waiting sync.WaitGroup
		waiting.Go(func() { _, _ = f.bridge.Deliver(t.Context(), fromCSE, notification("1", `"open"`)) })
		synctest.Wait()
		late := notification("2", `"close"`)
		late.RequestExpiration = "2000"
		resp, err = f.bridge.Deliver(t.Context(), fromCSE, late)
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
		waiting.Wait()

		got := f.device.request(t)
		require.Equal(t, `"open"`, string(got.Content))
		at, err := onem2m.ParseTimestamp(got.RequestExpiration, time.Now())
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, time.Second, "the moment at which the bridge gave up")
		f.client.ClosePeer(f.peer)
	})
}

// TestDeliverOrder: requests to one device go one after the other in the order of the calls, and a slow device keeps no other
// one waiting.
func TestDeliverOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := startBound(t, oneM2MDevice)
		f.device.serve = func(x *coap.Exchange) {
			x.Detach()
			time.AfterFunc(time.Second+100*time.Millisecond, func() { answerNotification(x, onem2m.StatusOK) })
		}
		var calls sync.WaitGroup
		for i := range 10 {
			calls.Go(func() {
				resp, err := f.bridge.Deliver(t.Context(), fromCSE, notification(fmt.Sprint(i), fmt.Sprint(i)))
				require.NoError(t, err)
				require.Equal(t, onem2m.StatusOK, resp.Status)
			})
			synctest.Wait()
		}
		require.Equal(t, 10, f.bridge.Stats().Delivering)
		calls.Wait()
		for i, m := range f.device.requests() {
			require.Equal(t, fmt.Sprint(i), string(m.Payload))
		}
		require.Zero(t, f.bridge.Stats().Delivering)
	})
}

// TestB05DeliverMeanwhile: what waits for its turn is judged again then: an AE that is no more, or another device's by now, gets
// nothing on the session of the one that had it.
func TestB05DeliverMeanwhile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*directory){
		"unbound": func(d *directory) { require.NoError(t, d.Unbind(psk("dev").ID, "in", "Cd")) },
		"another device's": func(d *directory) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.devices[psk("other").ID], d.bound["Cd"] = Device{Name: "other"}, psk("other").ID
		},
		"no entry": func(d *directory) { d.remove(psk("dev").ID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := startBound(t, oneM2MDevice)
				f.device.serve = func(x *coap.Exchange) {
					x.Detach()
					time.AfterFunc(time.Second, func() { answerNotification(x, onem2m.StatusOK) })
				}
				var calls sync.WaitGroup
				calls.Go(func() { _, _ = f.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}")) })
				synctest.Wait()
				calls.Go(func() {
					_, err := f.bridge.Deliver(t.Context(), fromCSE, notification("2", "{}"))
					require.ErrorIs(t, err, ErrNoAccess)
				})
				synctest.Wait()
				change(f.directory)
				calls.Wait()
				require.Len(t, f.device.requests(), 1)
			})
		})
	}
}

// TestDeliverBounded: one device's queue and that of all have an end, which the CSE is told.
func TestDeliverBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := startBound(t, oneM2MDevice, func(c *Config) { c.Limits.DownlinkPerDevice = 2 })
		f.device.serve = func(*coap.Exchange) {}
		var calls sync.WaitGroup
		for i := range 2 {
			calls.Go(func() { _, _ = f.bridge.Deliver(t.Context(), fromCSE, notification(fmt.Sprint(i), "{}")) })
		}
		synctest.Wait()
		resp, err := f.bridge.Deliver(t.Context(), fromCSE, notification("3", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusTargetNotReachable, resp.Status)
		require.EqualValues(t, 1, f.bridge.Stats().Deliveries[DeliveryBusy])
		calls.Wait()
		f.client.ClosePeer(f.peer)
	})
}

// TestB03DownlinkRepeats: a CSE's repeat is not delivered again, on its way or after it; the same Request Identifier with another
// content, Originator or AE is another request (one CSE always sends the same).
func TestB03DownlinkRepeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := startBound(t, oneM2MDevice)
		f.device.serve = func(x *coap.Exchange) {
			x.Detach()
			time.AfterFunc(500*time.Millisecond, func() { answerNotification(x, onem2m.StatusOK) })
		}
		deliver := func(r *onem2m.Request) {
			resp, err := f.bridge.Deliver(t.Context(), fromCSE, r)
			require.NoError(t, err)
			require.Equal(t, onem2m.StatusOK, resp.Status)
			require.Equal(t, "notify", resp.RequestID)
		}
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() { deliver(notification("notify", "1")) })
		}
		calls.Wait()
		deliver(notification("notify", "1"))
		require.Len(t, f.device.requests(), 1)
		require.EqualValues(t, 3, f.bridge.Stats().Deliveries[DeliveryRepeated])

		deliver(notification("notify", "2"))
		other := notification("notify", "1")
		other.From = "/id-other"
		deliver(other)
		require.Len(t, f.device.requests(), 3)
		<-time.After(downReplayLifetime)
		deliver(notification("notify", "1"))
		require.Len(t, f.device.requests(), 4, "the memory has an end")
		require.Equal(t, 1, f.bridge.Stats().DownReplays)
	})
}

// TestDownReplaysBounded: the oldest answers give way by number and by bytes; what was certainly not executed is not kept, and
// what is under way is never forgotten.
func TestDownReplaysBounded(t *testing.T) {
	t.Parallel()
	m := downReplays{limits: Limits{DownlinkReplays: 2, DownlinkReplayBytes: 2 * downEntryCost}}
	now := time.Now()
	key := func(i byte) [32]byte { return [32]byte{i} }
	under, isNew := m.begin(key(0), now)
	require.True(t, isNew)
	for i := byte(1); i <= 3; i++ {
		e, isNew := m.begin(key(i), now)
		require.True(t, isNew)
		m.finish(e, delivery{resp: &onem2m.Response{}, kept: true}, now)
	}
	_, isNew = m.begin(key(3), now)
	require.False(t, isNew)
	e, isNew := m.begin(key(1), now)
	require.True(t, isNew, "the oldest has gone")
	m.finish(e, delivery{resp: &onem2m.Response{}}, now)
	_, isNew = m.begin(key(0), now)
	require.False(t, isNew)
	require.Equal(t, 3, m.size())

	e, _ = m.begin(key(4), now)
	m.finish(e, delivery{resp: &onem2m.Response{Content: make([]byte, 100)}, kept: true}, now)
	_, isNew = m.begin(key(2), now)
	require.True(t, isNew, "by bytes")
	m.finish(under, delivery{err: errors.New("x")}, now)
	m.expireLocked(now.Add(time.Hour))
	require.Zero(t, m.bytes)
}

// TestDeliverNotExecuted: what a device certainly did not get may come again.
func TestDeliverNotExecuted(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	f.bridge.ended(f.served)
	for range 2 {
		resp, err := f.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusTargetNotReachable, resp.Status)
	}
	require.EqualValues(t, 2, f.bridge.Stats().Deliveries[DeliveryNoSession])
}

// TestDeliverClosed: a session that ends under way leaves open whether the device did it: 4008, and no second time.
func TestDeliverClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := startBound(t, oneM2MDevice)
		f.device.serve = func(*coap.Exchange) {}
		time.AfterFunc(3*time.Second, func() {
			f.bridge.ended(f.served)
			f.bridge.coap.ClosePeer(f.served)
		})
		for range 2 {
			resp, err := f.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
			require.NoError(t, err)
			require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
		}
		stats := f.bridge.Stats()
		require.EqualValues(t, 1, stats.Deliveries[DeliveryClosed])
		require.EqualValues(t, 1, stats.Deliveries[DeliveryRepeated])
		f.client.ClosePeer(f.peer)
	})
}

// TestDeliverAnswers: what a device answers is judged: RI, From, code and options (S44).
func TestDeliverAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(*onem2m.Request) *coap.Message
		want   onem2m.StatusCode
		why    Delivery
	}{
		"only a code": {func(*onem2m.Request) *coap.Message { return &coap.Message{Code: coap.Changed} },
			onem2m.StatusOK, DeliveryAnswered},
		"a refusal in words": {func(*onem2m.Request) *coap.Message {
			return &coap.Message{Code: coap.NotFound, Payload: []byte("no such thing")}
		}, onem2m.StatusNotFound, DeliveryAnswered},
		"a refusal": {func(r *onem2m.Request) *coap.Message { return written(r, onem2m.StatusBadRequest, "") },
			onem2m.StatusBadRequest, DeliveryAnswered},
		"its own From": {func(r *onem2m.Request) *coap.Message { return written(r, onem2m.StatusOK, "/id-in/Cd") },
			onem2m.StatusOK, DeliveryAnswered},
		"a foreign From": {func(r *onem2m.Request) *coap.Message { return written(r, onem2m.StatusOK, "Cother") },
			onem2m.StatusInternalServerError, DeliveryBadAnswer},
		"another RI": {func(r *onem2m.Request) *coap.Message {
			other := *r
			other.RequestID = "other"
			return written(&other, onem2m.StatusOK, "")
		}, onem2m.StatusInternalServerError, DeliveryBadAnswer},
		"an unknown critical option": {func(*onem2m.Request) *coap.Message {
			return &coap.Message{Code: coap.Changed, Options: coap.Options{}.AddString(65001, "x")}
		}, onem2m.StatusInternalServerError, DeliveryBadAnswer},
	} {
		f := startBound(t, oneM2MDevice)
		f.device.serve = func(x *coap.Exchange) {
			r, err := onem2m.RequestFromCoAP(x.Request(), onem2m.CoAPProfile{})
			require.NoError(t, err)
			_ = x.Respond(c.answer(r))
		}
		resp, err := f.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
		require.NoError(t, err, name)
		require.Equal(t, c.want, resp.Status, name)
		require.Equal(t, "1", resp.RequestID, name)
		require.EqualValues(t, 1, f.bridge.Stats().Deliveries[c.why], name)
	}
}

func written(r *onem2m.Request, status onem2m.StatusCode, from string) *coap.Message {
	resp := onem2m.Response{Status: status, RequestID: r.RequestID, ReleaseVersion: r.ReleaseVersion, From: from}
	m, err := resp.CoAP(r, onem2m.CoAPProfile{})
	if err != nil {
		panic(err)
	}
	return m
}

// TestDeliverPlain: a device that doesn't speak oneM2M never gets a oneM2M option.
func TestDeliverPlain(t *testing.T) {
	t.Parallel()
	f := startBound(t, Device{Name: "dev", Profile: ProfilePlain})
	resp, err := f.bridge.Deliver(t.Context(), fromCSE, &onem2m.Request{Operation: onem2m.Retrieve, To: "/id-in/Cd", From: "Cx",
		RequestID: "1", ReleaseVersion: "3"})
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusOperationNotAllowed, resp.Status)
	require.Empty(t, f.device.requests())
}

// TestDeliverRetargeted: any operation that a CSE retargets to an AE reaches it, with its query and Resource Type.
func TestDeliverRetargeted(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	f.device.serve = func(x *coap.Exchange) { answerNotification(x, onem2m.StatusCreated) }
	resp, err := f.bridge.Deliver(t.Context(), fromCSE, &onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContainer,
		To: "cse-in/ae/x", From: "/id-in/Cx", RequestID: "1", ReleaseVersion: "4", Content: []byte("{}"),
		MediaType: "application/json", Query: []onem2m.Parameter{{Key: "rcn", Value: "1"}}})
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusCreated, resp.Status)
	got := f.device.request(t)
	require.Equal(t, onem2m.TypeContainer, got.ResourceType)
	require.Equal(t, []onem2m.Parameter{{Key: "rcn", Value: "1"}}, got.Query)
	require.Equal(t, "cse-in/ae/x", got.To)
}

// TestDeliverProfile: a device is spoken to as its entry says: with the old option numbers, and with timestamps without a fraction.
func TestDeliverProfile(t *testing.T) {
	t.Parallel()
	dev := oneM2MDevice
	dev.LegacyOptions, dev.StrictTimestamps = true, true
	f := startBound(t, dev)
	f.device.serve = func(x *coap.Exchange) { _ = x.Respond(&coap.Message{Code: coap.Changed}) }
	r := notification("r1", "{}")
	r.OriginatingTimestamp = "20261123T083531,648186"
	resp, err := f.bridge.Deliver(t.Context(), fromCSE, r)
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusOK, resp.Status)
	got, err := onem2m.RequestFromCoAP(f.device.requests()[0], onem2m.CoAPProfile{Legacy: true})
	require.NoError(t, err)
	require.Equal(t, "r1", got.RequestID)
	require.Equal(t, "20261123T083531", got.OriginatingTimestamp)
}

// TestDeliverUncarried: what CoAP has no place for is an error that says with which status to answer.
func TestDeliverUncarried(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	r := notification("1", "{}")
	r.MediaType = "application/octet-stream"
	_, err := f.bridge.Deliver(t.Context(), fromCSE, r)
	var refused *onem2m.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, onem2m.StatusUnsupportedMediaType, refused.Status)
	require.Zero(t, f.bridge.Stats().DownReplays)
}

// TestDeliverShutdown: what is under way when the bridge ends is answered.
func TestDeliverShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := startBound(t, oneM2MDevice)
		f.device.serve = func(*coap.Exchange) {}
		time.AfterFunc(time.Second, f.bridge.cancel)
		began := time.Now()
		resp, err := f.bridge.Deliver(context.Background(), fromCSE, notification("1", "{}"))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
		require.Equal(t, time.Second, time.Since(began))
		f.client.ClosePeer(f.peer)
	})
}

// FuzzPathOf: whatever a device wrote as its address, a request that goes to it has a path that it can be sent with, and one that
// leads nowhere else (S40).
func FuzzPathOf(f *testing.F) {
	for _, s := range []string{"coap://h/a/b?c=d", "coaps://[::1]:1/%2e%2e/x", "coap://h//", "coap://h/~/id/x", "coap://h/_/sp/x", "x://y/z"} {
		f.Add(s, "/id-in/Cd")
	}
	f.Fuzz(func(t *testing.T, uri, to string) {
		if _, err := onem2m.Segments(to); err != nil {
			return
		}
		d := destination{aei: "Cd", access: Access{POA: []string{uri}}}
		got, err := d.to(to)
		if err != nil {
			return
		}
		segments, err := onem2m.Segments(got)
		if err != nil {
			var refused *onem2m.Error
			require.ErrorAs(t, err, &refused) // too long together: the CSE is told
			return
		}
		require.NotContains(t, segments, "..")
	})
}
