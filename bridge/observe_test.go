package bridge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// observedCSE is a memoryCSE with subscriptions, whose notifications come by Deliver before the CREATE is answered.
type observedCSE struct {
	*memoryCSE
	f *fixture

	mu      sync.Mutex        // guards the following fields
	subs    map[string]string // resource ID, by structured address
	made    int
	updates []string                    // contents of UPDATEs of AEs
	before  func(*onem2m.Request)       // each request
	fail    func(*onem2m.Request) error // instead of an answer
}

func newObservedCSE(f *fixture) *observedCSE {
	c := &observedCSE{memoryCSE: newMemoryCSE(f), f: f, subs: map[string]string{}}
	f.layer.answers(c.answer)
	return c
}

func (c *observedCSE) answer(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) {
	c.mu.Lock()
	before, fail := c.before, c.fail
	c.mu.Unlock()
	if before != nil {
		before(r)
	}
	if fail != nil {
		if err := fail(r); err != nil {
			return nil, err
		}
	}
	switch {
	case r.Operation == onem2m.Create && r.ResourceType == onem2m.TypeSubscription:
		return c.subscribe(r), nil
	case r.Operation == onem2m.Update:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.updates = append(c.updates, string(r.Content))
		return ok(r, onem2m.StatusUpdated), nil
	}
	if resp := c.subscription(r); resp != nil {
		return resp, nil
	}
	resp, err := c.memoryCSE.answer(ctx, r)
	if err == nil && r.ResourceType == onem2m.TypeContentInstance && resp.Status == onem2m.StatusCreated {
		c.mu.Lock()
		var ids []string
		for to, id := range c.subs {
			if strings.HasPrefix(to, r.To+"/"+observePrefix) {
				ids = append(ids, id)
			}
		}
		c.mu.Unlock()
		for _, id := range ids {
			c.f.told(id, string(r.Content))
		}
	}
	return resp, err
}

func (c *observedCSE) subscribe(r *onem2m.Request) *onem2m.Response {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	id := fmt.Sprintf("sub%d", c.made)
	name := represented(r.Content).Name
	c.subs[r.To+"/"+name] = id
	resp := ok(r, onem2m.StatusCreated)
	resp.Content, resp.MediaType = []byte(`{"m2m:sub":{"rn":"`+name+`","ri":"`+id+`"}}`), "application/json"
	return resp
}

// subscription answers what addresses a subscription; nil: r does not.
func (c *observedCSE) subscription(r *onem2m.Request) *onem2m.Response {
	c.mu.Lock()
	defer c.mu.Unlock()
	for to, id := range c.subs {
		if r.To != to && r.To != id {
			continue
		}
		if r.Operation == onem2m.Delete {
			delete(c.subs, to)
			return ok(r, onem2m.StatusDeleted)
		}
		resp := ok(r, onem2m.StatusOK)
		resp.Content = []byte(`{"m2m:sub":{"rn":"` + to[strings.LastIndexByte(to, '/')+1:] + `","ri":"` + id + `"}}`)
		return resp
	}
	return nil
}

// counts are how many subscriptions were made, and are there.
func (c *observedCSE) counts() [2]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return [2]int{c.made, len(c.subs)}
}

func (c *observedCSE) set(fail func(*onem2m.Request) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// tell delivers a notification's m2m:sgn for the device's AE, and returns the status.
func (f *fixture) tell(sgn string) onem2m.StatusCode {
	r := &onem2m.Request{Operation: onem2m.Notify, To: "Cmeter1", From: "/id-in", RequestID: newRequestID(), ReleaseVersion: "3",
		MediaType: "application/json", Content: []byte(`{"m2m:sgn":` + sgn + `}`)}
	resp, err := f.bridge.Deliver(context.Background(), Downstream{CSE: "in", AEI: "Cmeter1"}, r)
	if err != nil {
		return 0
	}
	return resp.Status
}

// told is tell for a new contentInstance.
func (f *fixture) told(sub, instance string) onem2m.StatusCode {
	return f.tell(`{"nev":{"rep":` + instance + `,"net":3},"sur":"/id-in/` + sub + `"}`)
}

// seen is an observation by the client.
type seen struct {
	first    *coap.Message
	observed *coap.Observed
	told     chan *coap.Message
}

// observe registers the client for path.
func (f *fixture) observe(path string) *seen {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	s := &seen{told: make(chan *coap.Message, 2000)}
	var err error
	s.first, s.observed, err = f.client.Observe(ctx, f.peer, plain(coap.GET, path, ""), func(m *coap.Message) { s.told <- m })
	require.NoError(f.t, err)
	return s
}

func (f *fixture) post(path, payload string) {
	f.t.Helper()
	require.Equal(f.t, coap.Created, f.do(plain(coap.POST, path, payload)).Code)
}

// TestObservePlain: one subscription for all observers of a container; each new value; the end of the last one ends it
// (RFC 7641, Sections 3.1, 3.6, 4.2).
func TestObservePlain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens)
		cse := newObservedCSE(f)
		require.Equal(t, coap.NotFound, f.observe("a").first.Code)
		require.Equal(t, [2]int{}, cse.counts(), "no AE, nothing to observe")
		f.post("a", "1")
		none := f.observe("b")
		require.Equal(t, coap.NotFound, none.first.Code)
		require.Nil(t, none.observed, "an error registers nobody")
		require.Equal(t, [2]int{}, cse.counts())

		first := f.observe("a")
		require.Equal(t, "1", string(first.first.Payload))
		require.NotNil(t, first.observed)
		require.Equal(t, [2]int{1, 1}, cse.counts())
		second := f.observe("a")
		require.NotNil(t, second.observed)
		require.Equal(t, [2]int{1, 1}, cse.counts(), "shared")
		sub := cse.f.lastOf(onem2m.TypeSubscription)
		require.Equal(t, "Cmeter1", sub.From)
		require.Equal(t, "cse-in/meter1/a", sub.To)
		require.Contains(t, string(sub.Content), `"nu":["Cmeter1"]`)
		for i := 2; i < 6; i++ {
			f.post("a", fmt.Sprint(i))
			for _, s := range []*seen{first, second} {
				m := <-s.told
				require.Equal(t, coap.Content, m.Code)
				require.Equal(t, fmt.Sprint(i), string(m.Payload))
				age, _ := m.Options.Uint(coap.MaxAge)
				require.EqualValues(t, 900, age, "who is told needn't ask (RFC 7641, Section 3.3.1)")
			}
		}
		first.observed.Cancel()
		f.post("a", "6")
		require.Equal(t, "6", string((<-second.told).Payload))
		synctest.Wait()
		require.Equal(t, [2]int{1, 1}, cse.counts(), "somebody is left")
		second.observed.Cancel()
		f.post("a", "7") // its Reset is the end
		synctest.Wait()
		require.Equal(t, [2]int{1, 0}, cse.counts())
		stats := f.bridge.Stats()
		require.Zero(t, stats.Observers)
		require.Zero(t, stats.Subscriptions)
		require.EqualValues(t, 2, stats.Observed[ObserveReset])
		require.EqualValues(t, 1, stats.Observed[ObserveUnsubscribed])
		require.Empty(t, f.bridge.watches.named)

		require.NotNil(t, f.observe("a").observed, "and again")
		require.Equal(t, [2]int{2, 1}, cse.counts())
	})
}

// lastOf is the last CREATE of a type.
func (f *fixture) lastOf(ty onem2m.ResourceType) (last *onem2m.Request) {
	for _, r := range f.layer.requests() {
		if r.ResourceType == ty {
			last = r
		}
	}
	return last
}

// TestObserveNoDownlink: a CSE that can't reach the bridge tells nothing, so that Observe is ignored (RFC 7641, Section 4.1).
func TestObserveNoDownlink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"})
		cse := newObservedCSE(f)
		f.post("a", "1")
		s := f.observe("a")
		require.Equal(t, "1", string(s.first.Payload))
		require.Nil(t, s.observed)
		require.Equal(t, [2]int{}, cse.counts())
	})
}

// TestObserveReachable: an AE that was registered for nobody, or elsewhere, is told where it is reached, once.
func TestObserveReachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens)
		cse := newObservedCSE(f)
		cse.resources["cse-in/meter1"] = &onem2m.Request{Content: []byte(`{"m2m:ae":{"aei":"Cmeter1"}}`)}
		require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cmeter1", Access{}))
		f.post("a", "1")
		f.post("b", "1")
		require.NotNil(t, f.observe("a").observed)
		require.NotNil(t, f.observe("b").observed)
		access, _ := f.directory.Access("in", "Cmeter1")
		require.Len(t, access.Token, 22)
		require.Equal(t, []string{`{"m2m:ae":{"poa":["https://gw.example:8443/` + access.Token + `"],"rr":true}}`}, cse.updates)
		f.post("a", "2")
	})
}

// TestB03ObserveReachableOnce: containers that are observed at once make their AE reachable one after the other, so that the CSE has
// the token that the bridge knows.
func TestB03ObserveReachableOnce(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"}, listens)
	cse := newObservedCSE(f)
	f.post("a", "1")
	f.post("b", "1")
	f.bridge.reachable.Clear() // as after a restart
	f.directory.mu.Lock()
	f.directory.access = nil // of an older release
	f.directory.mu.Unlock()
	cse.before = func(r *onem2m.Request) {
		if r.Operation == onem2m.Update {
			f.bridge.homes.mu.Lock()
			defer f.bridge.homes.mu.Unlock()
			require.NotNil(t, f.bridge.homes.keys["meter1"], "another one could do the same now")
		}
	}
	for _, path := range []string{"a", "b"} {
		require.NotNil(t, f.observe(path).observed)
	}
	require.Len(t, cse.updates, 1)
	access, _ := f.directory.Access("in", "Cmeter1")
	require.Contains(t, cse.updates[0], access.Token)
}

// TestObserveReachableByPolls: an AE that its CSE knows a point of access of, from when it called the bridge, is told to be asked for.
func TestObserveReachableByPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, func(c *Config) {
			cse := testCSE
			cse.Downlink = DownlinkPoll
			c.CSEs = []CSE{cse}
		})
		cse := newObservedCSE(f)
		cse.resources["cse-in/meter1"] = &onem2m.Request{Content: []byte(`{"m2m:ae":{"aei":"Cmeter1"}}`)}
		require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cmeter1", Access{Token: testToken}))
		f.post("a", "1")
		f.post("b", "1")
		require.NotNil(t, f.observe("a").observed)
		require.NotNil(t, f.observe("b").observed)
		require.Equal(t, []string{`{"m2m:ae":{"rr":false}}`}, cse.updates, "once")
		access, _ := f.directory.Access("in", "Cmeter1")
		require.Equal(t, testToken, access.Token, "it may be called again one day")
	})
}

// TestObserveReachableAgain: an AE that was made anew is told to be reachable anew.
func TestObserveReachableAgain(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"}, listens)
	newObservedCSE(f)
	f.post("a", "1")
	at := subscriptionKey{"in", "Cmeter1"}
	_, done := f.bridge.reachable.Load(at)
	require.True(t, done, "its registration says so")
	f.bridge.named.Store(address{"meter1", "in", "cse-in/meter1"}, "Cmeter1") // as a CSE that answers with the name
	_, resp := f.oneM2M(&onem2m.Request{Operation: onem2m.Delete, To: "cse-in/meter1", From: "Cmeter1", RequestID: "2", ReleaseVersion: "3"})
	require.Equal(t, onem2m.StatusDeleted, resp.Status)
	_, done = f.bridge.reachable.Load(at)
	require.False(t, done)
}

// TestObserveEnds: a lost session, a lost right and a deleted container end the observation, and with it the subscription
// (S35, RFC 7641, Section 4.2).
func TestObserveEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   func(f *fixture)
		event ObserveEvent
		code  coap.Code // of the last notification; 0: none
		subs  int       // that are left, as far as the bridge has to see to it
	}{
		"session": {func(f *fixture) { f.bridge.coap.ClosePeer(f.served) }, ObserveClosed, 0, 0},
		"right": {func(f *fixture) {
			f.directory.change(psk("dev").ID, func(d *Device) { d.Targets = []string{"cse-in/meter1/b"} })
			f.told("sub1", `{"m2m:cin":{"con":"secret"}}`)
		}, ObserveForbidden, coap.NotFound, 0},
		"operation": {func(f *fixture) {
			f.directory.change(psk("dev").ID, func(d *Device) { d.Operations = 1 << onem2m.Create })
			f.told("sub1", `{"m2m:cin":{"con":"secret"}}`)
		}, ObserveForbidden, coap.NotFound, 0},
		"entry": {func(f *fixture) {
			f.told("sub1", `{"m2m:cin":{"con":"1"}}`)
			f.directory.remove(psk("dev").ID)
			b := f.bridge
			dev := &Device{Name: "meter1"}
			b.takeNotification(dev, b.cses["in"], "Cmeter1", &onem2m.Request{Operation: onem2m.Notify, MediaType: "application/json",
				Content: []byte(`{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{"con":"secret"}},"net":3},"sur":"sub1"}}`)})
		}, ObserveForbidden, coap.NotFound, 0},
		"container": {func(f *fixture) { require.Equal(f.t, coap.Deleted, f.do(plain(coap.DELETE, "a", "")).Code) },
			ObserveCancelled, coap.NotFound, 1},
		"container above": {func(f *fixture) { require.Equal(f.t, coap.Deleted, f.do(plain(coap.DELETE, "a", "")).Code) },
			ObserveCancelled, coap.NotFound, 1},
		"sud":    {func(f *fixture) { require.Equal(f.t, onem2m.StatusOK, f.tell(`{"sud":true,"sur":"sub1"}`)) }, ObserveCancelled, coap.NotFound, 1},
		"format": {func(f *fixture) { f.told("sub1", `{"m2m:cin":{"con":"1","cnf":"application/json:0"}}`) }, ObserveFormat, coap.NotAcceptable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Device{Name: "meter1", AllowDelete: true}, listens)
				cse := newObservedCSE(f)
				path := "a/x"
				if name == "container" {
					path = "a"
				}
				f.post(path, "1")
				s := f.observe(path)
				require.NotNil(t, s.observed)
				c.end(f)
				synctest.Wait()
				require.Equal(t, [2]int{1, c.subs}, cse.counts())
				stats := f.bridge.Stats()
				require.EqualValues(t, 1, stats.Observed[c.event], stats.Observed)
				require.Zero(t, stats.Observers)
				require.Zero(t, stats.Subscriptions)
				if c.code == 0 {
					return
				}
				var last *coap.Message
				for len(s.told) > 0 {
					last = <-s.told
					require.NotContains(t, string(last.Payload), "secret")
				}
				require.Equal(t, c.code, last.Code)
			})
		})
	}
}

// TestObserveVerification: a CSE that verifies the subscription while it is made (TS-0004, 7.4.8.2.1) is answered; for one that
// nobody makes it isn't.
func TestObserveVerification(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1", Profile: ProfilePlain}, listens)
		cse := newObservedCSE(f)
		f.post("a", "1")
		require.Equal(t, onem2m.StatusNotFound, f.tell(`{"vrq":true,"sur":"/id-in/sub1","cr":"Cmeter1"}`))
		cse.before = func(r *onem2m.Request) {
			if r.ResourceType == onem2m.TypeSubscription {
				require.Equal(t, onem2m.StatusOK, f.tell(`{"vrq":true,"sur":"/id-in/sub1","cr":"Cmeter1"}`))
			}
		}
		require.NotNil(t, f.observe("a").observed)
		require.Equal(t, onem2m.StatusOK, f.tell(`{"vrq":true,"sur":"/id-in/sub1","cr":"Cmeter1"}`))
		require.Equal(t, onem2m.StatusNotFound, f.tell(`{"vrq":true,"sur":"/id-in/sub2","cr":"Cother"}`))
	})
}

// TestObserveForDeviceMeanwhile: while an observation is made, a notification of a subscription of the device's own, which tells its
// name, still reaches the device.
func TestObserveForDeviceMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens)
		cse := newObservedCSE(f)
		f.post("a", "1")
		cse.before = func(r *onem2m.Request) {
			if r.ResourceType == onem2m.TypeSubscription {
				require.Equal(t, onem2m.StatusOK, f.tell(`{"nev":{"rep":{"m2m:cin":{"con":"x"}},"net":3},"sur":"cse-in/meter1/a/mine"}`))
			}
		}
		require.NotNil(t, f.observe("a").observed)
		require.Len(t, f.device.requests(), 1)
	})
}

// TestObserveDeletedMeanwhile: whose container is deleted while it is registered, and with it the subscription, is told so; it would
// wait for what nobody sends (RFC 7641, Section 4.2).
func TestObserveDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1", AllowDelete: true}, listens)
		cse := newObservedCSE(f)
		f.post("a", "1")
		reads := 0
		f.layer.answers(func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			resp, err := cse.answer(ctx, r)
			if strings.HasSuffix(r.To, "/la") {
				if reads++; reads == 2 { // after the subscription was made
					f.bridge.endWhere(func(*watch) bool { return true })
				}
			}
			return resp, err
		})
		s := f.observe("a")
		synctest.Wait()
		require.Len(t, s.told, 1)
		require.Equal(t, coap.NotFound, (<-s.told).Code)
		observers, watches := f.bridge.watches.size()
		require.Zero(t, observers)
		require.Zero(t, watches)
	})
}

// TestObserveStale: a subscription of the bridge's own that nobody knows any more is removed with its first notification; one
// of anybody else's isn't.
func TestObserveStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1", Profile: ProfilePlain}, listens)
		cse := newObservedCSE(f)
		f.post("a", "1")
		cse.subs["cse-in/meter1/a/"+observePrefix+"old"] = "sub7"
		cse.subs["cse-in/meter1/a/mine"] = "sub8"
		for _, sub := range []string{"sub7", "sub8", "sub9"} {
			require.Equal(t, onem2m.StatusNotFound, f.told(sub, `{"m2m:cin":{"con":"x"}}`))
		}
		synctest.Wait()
		require.Equal(t, map[string]string{"cse-in/meter1/a/mine": "sub8"}, cse.subs)
		require.EqualValues(t, 3, f.bridge.Stats().Observed[ObserveStale])
		require.Empty(t, f.bridge.watches.stale)
		require.Equal(t, onem2m.StatusOK, f.tell(`{"sud":true,"sur":"sub7"}`))
	})
}

// TestObserveForDevice: notifications of subscriptions that a device of both voices made itself go to the device.
func TestObserveForDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens)
		newObservedCSE(f)
		f.post("a", "1")
		dev, cse := &Device{Name: "meter1"}, f.bridge.cses["in"]
		r := &onem2m.Request{Operation: onem2m.Notify, MediaType: "application/json",
			Content: []byte(`{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{"con":"x"}},"net":3},"sur":"/id-in/sub99"}}`)}
		_, taken := f.bridge.takeNotification(dev, cse, "Cmeter1", r)
		require.False(t, taken)
		_, taken = f.bridge.takeNotification(&Device{Name: "meter1", Profile: ProfileOneM2M}, cse, "Cmeter1", r)
		require.False(t, taken)
		r.Content = []byte(`{"m2m:rsp":{"rsc":2000}}`)
		_, taken = f.bridge.takeNotification(dev, cse, "Cmeter1", r)
		require.False(t, taken)
	})
}

// TestObserveMeanwhile: a value that comes between the look and the entry into the list is told.
func TestObserveMeanwhile(t *testing.T) {
	t.Parallel()
	for _, at := range []int{1, 2} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Device{Name: "meter1"}, listens)
				cse := newObservedCSE(f)
				f.post("a", "1")
				reads := 0
				f.layer.answer = func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) {
					resp, err := cse.answer(ctx, r)
					if strings.HasSuffix(r.To, "/la") {
						if reads++; reads == at { // the answer is on its way when the next value comes
							later := plainRequest(onem2m.Create, "Cmeter1", "cse-in/meter1/a")
							later.ResourceType, later.Content = onem2m.TypeContentInstance, []byte(`{"m2m:cin":{"con":"2"}}`)
							_, err := cse.answer(ctx, later)
							require.NoError(t, err)
						}
					}
					return resp, err
				}
				s := f.observe("a")
				require.NotNil(t, s.observed)
				synctest.Wait()
				last := s.first
				for len(s.told) > 0 {
					last = <-s.told
				}
				require.Equal(t, "2", string(last.Payload))
			})
		})
	}
}

// TestObserveUnsubscribeRetry: the end of a subscription is tried a few times, and what is given up is counted.
func TestObserveUnsubscribeRetry(t *testing.T) {
	t.Parallel()
	for _, failures := range []int{2, 100} {
		t.Run(fmt.Sprint(failures), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := start(t, Device{Name: "meter1"}, listens)
				cse := newObservedCSE(f)
				f.post("a", "1")
				require.NotNil(t, f.observe("a").observed)
				tried := 0
				cse.set(func(r *onem2m.Request) error {
					if r.Operation == onem2m.Delete {
						if tried++; tried <= failures {
							return ErrUnreachable
						}
					}
					return nil
				})
				f.bridge.coap.ClosePeer(f.served)
				time.Sleep(2 * time.Hour)
				stats := f.bridge.Stats()
				require.Zero(t, stats.Subscriptions)
				if failures < maxUnsubscribe {
					require.Equal(t, [2]int{1, 0}, cse.counts())
					require.EqualValues(t, 1, stats.Observed[ObserveUnsubscribed])
					return
				}
				require.Equal(t, maxUnsubscribe, tried)
				require.EqualValues(t, 1, stats.Observed[ObserveUnsubscribeFailed])
			})
		})
	}
}

// TestObserveLost: a subscription that the CSE has lost is made again when a client registers again, which it does when it was told
// nothing for Max-Age (RFC 7641, Section 3.3.1).
func TestObserveLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens)
		cse := newObservedCSE(f)
		f.post("a", "1")
		s := f.observe("a")
		require.NotNil(t, s.observed)
		clear(cse.subs)
		f.post("a", "2")
		time.Sleep(20 * time.Minute)
		require.Equal(t, [2]int{2, 1}, cse.counts())
		require.Equal(t, "2", string((<-s.told).Payload))
		f.post("a", "3")
		require.Equal(t, "3", string((<-s.told).Payload))
		require.Equal(t, 1, f.bridge.Stats().Observers)
	})
}

// TestObserveFails: where no subscription can be had, the answer is a GET's.
func TestObserveFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens)
		cse := newObservedCSE(f)
		f.post("a", "1")
		for _, err := range []error{ErrUnreachable, ErrTimeout, ErrBadAnswer} {
			cse.set(func(r *onem2m.Request) error {
				if r.ResourceType == onem2m.TypeSubscription {
					return err
				}
				return nil
			})
			s := f.observe("a")
			require.Equal(t, "1", string(s.first.Payload))
			require.Nil(t, s.observed)
		}
		require.EqualValues(t, 3, f.bridge.Stats().Observed[ObserveFailed])
		require.Zero(t, f.bridge.Stats().Subscriptions)
	})
}

// TestObserveShutdown: a bridge that ends leaves no subscription behind.
func TestObserveShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cse *observedCSE
		t.Cleanup(func() { require.Equal(t, [2]int{3, 0}, cse.counts()) }) // after start's
		f := start(t, Device{Name: "meter1"}, listens)
		cse = newObservedCSE(f)
		for _, path := range []string{"a", "b", "c"} {
			f.post(path, "1")
			require.NotNil(t, f.observe(path).observed)
		}
	})
}

// TestC07Observations: the number of observations of a device is bounded, and what each leaves behind is nothing; a client that
// never acknowledges is no observer for long, nor is its subscription (S35).
func TestC07Observations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens, func(c *Config) { c.Limits.Observations = 5 })
		cse := newObservedCSE(f)
		for i := range 10 {
			f.post(fmt.Sprint("a", i), "1")
		}
		observed := 0
		for i := range 1000 {
			m := plain(coap.GET, fmt.Sprint("a", i%10), "")
			m.Options = m.Options.AddUint(coap.Observe, 0)
			answer := f.do(m) // each with a token of its own
			require.Equal(t, coap.Content, answer.Code)
			if _, ok := answer.Options.Find(coap.Observe); ok {
				observed++
			}
		}
		require.Equal(t, 5, observed)
		require.Equal(t, [2]int{5, 5}, cse.counts())
		require.EqualValues(t, 995, f.bridge.Stats().Observed[ObserveLimited])
		require.Equal(t, 5, f.bridge.Stats().Observers)

		f.mute.Store(true)
		for _, id := range []string{"sub1", "sub2", "sub3", "sub4", "sub5"} {
			f.told(id, `{"m2m:cin":{"con":"2"}}`)
		}
		time.Sleep(30 * time.Minute)
		require.Equal(t, [2]int{5, 0}, cse.counts())
		require.Zero(t, f.bridge.Stats().Observers)
		require.EqualValues(t, 5, f.bridge.Stats().Observed[ObserveTimeout])
	})
}

// TestC07ObserveFlood: a CSE that floods notifications costs a bounded queue; the observer ends up with the last state.
func TestC07ObserveFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"}, listens, func(c *Config) { c.Limits.DownlinkPerDevice = 2000 })
		newObservedCSE(f)
		f.post("a", "1")
		s := f.observe("a")
		require.NotNil(t, s.observed)
		var running sync.WaitGroup
		for i := range 1000 {
			running.Go(func() { f.told("sub1", fmt.Sprintf(`{"m2m:cin":{"con":"%d"}}`, i)) })
		}
		running.Wait()
		f.told("sub1", `{"m2m:cin":{"con":"last"}}`)
		time.Sleep(time.Minute)
		var last *coap.Message
		require.EqualValues(t, 1, f.bridge.Stats().Observed[ObserveRegistered])
		for len(s.told) > 0 {
			last = <-s.told
		}
		require.Equal(t, "last", string(last.Payload))
		w := f.bridge.watches.all[watchKey{"meter1", "in", "cse-in/meter1/a"}]
		require.Empty(t, w.queue)
		require.Nil(t, w.last, "no value is kept without need")
	})
}
