package bridge

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
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
)

// sensor is a device with one resource, t, that can be observed.
type sensor struct {
	mu          sync.Mutex // guards the following fields
	state       string
	refuse      bool // to be observed
	observation *coap.Observation
	asked       int
}

func (s *sensor) serve(x *coap.Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	path, _ := x.Request().Options.Find(coap.URIPath)
	m := &coap.Message{Code: coap.Content, Payload: []byte(s.state)}
	m.Options = m.Options.AddUint(coap.ContentFormat, 0)
	switch {
	case string(path) != "t":
		_ = x.Respond(&coap.Message{Code: coap.NotFound})
	case s.refuse || !x.Observes():
		_ = x.Respond(m)
	default:
		s.observation, _ = x.RespondObserve(m, coap.ObserveOptions{})
	}
}

// set changes the state, and tells whoever observes.
func (s *sensor) set(state string) {
	s.mu.Lock()
	s.state = state
	o := s.observation
	s.mu.Unlock()
	m := &coap.Message{Code: coap.Content, Payload: []byte(state)}
	m.Options = m.Options.AddUint(coap.ContentFormat, 0)
	if o != nil {
		_ = o.Notify(m)
	}
}

func (s *sensor) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// stored are the contents of the contentInstances that the CSE was asked to make, in order.
func (f *fixture) stored(to string) (all []string) {
	for _, r := range f.layer.requests() {
		if r.ResourceType != onem2m.TypeContentInstance {
			continue
		}
		if r.To == to {
			payload, _, _ := onem2m.DecodeContentInstance(r.Content)
			all = append(all, string(payload))
		}
	}
	return all
}

// observing starts a bridge that observes a sensor, which answers after its first refusal.
func observing(t *testing.T, s *sensor, dev Device, edit ...func(*Config)) *fixture {
	f := start(t, dev, edit...)
	f.device.mu.Lock()
	f.device.serve = s.serve
	f.device.mu.Unlock()
	newMemoryCSE(f)
	return f
}

// TestObserveDevice: each state of a device's resource becomes a contentInstance, in order (RFC 7641, Section 3.2).
func TestObserveDevice(t *testing.T) {
	t.Parallel()
	for _, container := range []string{"", "room/t"} {
		t.Run(container, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &sensor{state: "1"}
				f := observing(t, s, Device{Name: "meter1", Observe: []ObservedPath{{Path: "/t", Container: container}}})
				to := "cse-in/meter1/t"
				if container != "" {
					to = "cse-in/meter1/" + container
				}
				time.Sleep(time.Minute)
				require.Equal(t, []string{"1"}, f.stored(to))
				for i := 2; i < 6; i++ {
					s.set(fmt.Sprint(i))
					time.Sleep(time.Second)
				}
				require.Equal(t, []string{"1", "2", "3", "4", "5"}, f.stored(to))
				require.EqualValues(t, 1, f.bridge.Stats().Observed[RelayStarted])
				require.EqualValues(t, 5, f.bridge.Stats().Observed[RelayStored])
			})
		})
	}
}

// TestObserveDeviceFirst: a notification that comes right behind the answer to the registration is stored after it.
func TestObserveDeviceFirst(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := &sensor{state: "1"}
			f := start(t, Device{Name: "meter1", Observe: []ObservedPath{{Path: "t"}}})
			f.device.mu.Lock()
			f.device.serve = func(x *coap.Exchange) {
				s.serve(x)
				s.set("2")
			}
			f.device.mu.Unlock()
			newMemoryCSE(f)
			time.Sleep(time.Minute)
			require.Equal(t, []string{"1", "2"}, f.stored("cse-in/meter1/t"))
		})
	}
}

// TestObserveDeviceQueue: while the CSE is away the newest states wait, and the oldest go.
func TestObserveDeviceQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sensor{state: "0"}
		f := observing(t, s, Device{Name: "meter1", Observe: []ObservedPath{{Path: "t"}}})
		cse := newMemoryCSE(f)
		time.Sleep(time.Minute)
		var away atomic.Bool
		away.Store(true)
		f.layer.answers(func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			if away.Load() {
				return nil, ErrUnreachable
			}
			return cse.answer(ctx, r)
		})
		for i := 1; i <= 40; i++ {
			s.set(fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		f.layer.mu.Lock()
		f.layer.got = nil
		f.layer.mu.Unlock()
		away.Store(false)
		time.Sleep(time.Minute)
		var want []string
		for i := 40 - maxRelayed + 1; i <= 40; i++ {
			want = append(want, fmt.Sprint(i))
		}
		require.Equal(t, want, f.stored("cse-in/meter1/t"))
		require.EqualValues(t, 40-maxRelayed, f.bridge.Stats().Observed[RelayOvertaken])
		require.Zero(t, f.bridge.Stats().Queued)
	})
}

// TestObserveDeviceOnce: what the CSE may have stored is not stored again.
func TestObserveDeviceOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sensor{state: "0"}
		f := observing(t, s, Device{Name: "meter1", Observe: []ObservedPath{{Path: "t"}}})
		cse := newMemoryCSE(f)
		time.Sleep(time.Minute)
		f.layer.answers(func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			_, _ = cse.answer(ctx, r)
			return nil, ErrTimeout
		})
		s.set("1")
		time.Sleep(time.Minute)
		f.layer.answers(cse.answer)
		s.set("2")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"0", "1", "2"}, f.stored("cse-in/meter1/t"))
		require.EqualValues(t, 1, f.bridge.Stats().Observed[RelayLost])
	})
}

// TestObserveDeviceEnds: an entry that no longer asks for it, and a device that ends it, or takes no observers.
func TestObserveDeviceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sensor{state: "0"}
		f := observing(t, s, Device{Name: "meter1", Observe: []ObservedPath{{Path: "t"}}})
		time.Sleep(time.Minute)
		s.mu.Lock()
		observation := s.observation
		s.mu.Unlock()
		require.NoError(t, observation.End(&coap.Message{Code: coap.ServiceUnavailable}))
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, f.bridge.Stats().Observed[RelayStarted], "registered again")
		f.directory.change(psk("dev").ID, func(d *Device) { d.Observe = nil })
		before := len(f.stored("cse-in/meter1/t"))
		s.set("secret")
		time.Sleep(time.Minute)
		s.set("secret")
		time.Sleep(2 * time.Hour)
		require.Len(t, f.stored("cse-in/meter1/t"), before)
		require.EqualValues(t, 2, f.bridge.Stats().Observed[RelayEnded])
		require.Equal(t, 2, s.count(), "nobody asks any more")
	})
}

// TestObserveDeviceSessions: of several sessions of a device the newest is observed, so that no state is stored twice.
func TestObserveDeviceSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sensor{state: "0"}
		f := observing(t, s, Device{Name: "meter1", Observe: []ObservedPath{{Path: "t"}}})
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, f.bridge.Stats().Observed[RelayStarted])
		newer := f.raw() // it says nothing
		require.EqualValues(t, 1, f.bridge.Stats().Observed[RelayEnded])
		s.set("1")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"0"}, f.stored("cse-in/meter1/t"))
		f.bridge.coap.ClosePeer(newer.served)
		f.bridge.endRelays(newer.served)
		require.Empty(t, f.bridge.relays.now)
	})
}

// observedListing is a Directory that can tell which devices are to be observed.
type observedListing struct {
	*directory
	all []*Device
}

func (l observedListing) EachObserved() iter.Seq[*Device] { return slices.Values(l.all) }

// TestObserveDeviceDialled: a device with an address is dialled while it has no session, less and less often.
func TestObserveDeviceDialled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dialled atomic.Int32
		at := Device{Name: "meter1", Address: deviceAddr, Observe: []ObservedPath{{Path: "t"}}}
		nowhere := Device{Name: "meter2", Observe: []ObservedPath{{Path: "t"}}}
		f := start(t, at, func(c *Config) {
			c.Dial = func(context.Context, netip.AddrPort, dtls.PeerID) (*dtls.Conn, error) {
				dialled.Add(1)
				return nil, dtls.ErrClosed
			}
			c.Directory = observedListing{c.Directory.(*directory), []*Device{&at, &nowhere}}
		})
		newMemoryCSE(f)
		time.Sleep(time.Hour)
		require.Zero(t, dialled.Load(), "it has a session")
		f.bridge.coap.ClosePeer(f.served)
		f.bridge.endRelays(f.served)
		time.Sleep(time.Minute)
		require.InDelta(t, 3, dialled.Load(), 1)
		time.Sleep(time.Hour)
		require.InDelta(t, 12, dialled.Load(), 3)
		require.EqualValues(t, dialled.Load(), f.bridge.Stats().Observed[RelayUnreached])
		f.raw()
		before := dialled.Load()
		time.Sleep(time.Hour)
		require.Equal(t, before, dialled.Load())
	})
}

// TestObserveDeviceUnobservable: a device that takes no observers is asked now and then, not all the time.
func TestObserveDeviceUnobservable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sensor{state: "0", refuse: true}
		var audit strings.Builder
		f := observing(t, s, Device{Name: "meter1", Observe: []ObservedPath{{Path: "t"}, {Path: "missing"}, {Path: "../x"}, {Path: ""}}},
			func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&audit, nil)) })
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, why := range []ObserveEvent{RelayUnobservable, RelayFailed} {
			require.EqualValues(t, f.bridge.Stats().Observed[why], strings.Count(audit.String(), "reason="+string(why)), "each is in the log")
			require.NotZero(t, f.bridge.Stats().Observed[why])
		}
		require.InDelta(t, 6, float64(f.bridge.Stats().Observed[RelayUnobservable]), 1)
		require.Less(t, s.count(), 30)
		f.bridge.coap.ClosePeer(f.served)
		time.Sleep(time.Hour)
		asked := s.count()
		time.Sleep(time.Hour)
		require.Equal(t, asked, s.count(), "a session that is gone isn't asked")
	})
}

// TestC07ObservedDeviceSilent: a device that doesn't answer, whatever number of its resources are to be observed, and on however many
// sessions, keeps no other one waiting.
func TestC07ObservedDeviceSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := Device{Name: "silent"}
		for i := range 2 * errandRunners {
			silent.Observe = append(silent.Observe, ObservedPath{Path: fmt.Sprint("/r", i)})
		}
		f := start(t, silent)
		f.mute.Store(true)
		f.directory.change(psk("other").ID, func(d *Device) {
			*d = Device{Name: "other", Observe: []ObservedPath{{Path: "/t"}}}
		})
		var conns []pipe
		for range 100 {
			conns = append(conns, pipe{make(chan []byte, 64)})
			_, ok := f.bridge.open(conns[len(conns)-1], psk("dev"))
			require.True(t, ok)
		}
		synctest.Wait()
		f.bridge.relays.mu.Lock()
		require.LessOrEqual(t, len(f.bridge.relays.visiting["silent"]), len(silent.Observe))
		f.bridge.relays.mu.Unlock()
		last := conns[len(conns)-1]
		require.NotEmpty(t, last.to, "a session waits for none before it")
		asked := pipe{make(chan []byte, 64)}
		_, ok := f.bridge.open(asked, psk("other"))
		require.True(t, ok)
		synctest.Wait()
		require.NotEmpty(t, asked.to)
	})
}
