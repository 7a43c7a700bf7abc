package cse_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/cse/csetest"
	"coapbridge/bridge/onem2m"
)

// polled stands for the bridge in which Cdev, C0, C1 ... are devices.
type polled struct {
	mu     sync.Mutex
	seen   map[string][]onem2m.Request // by AE-ID
	some   chan struct{}               // filled by each request
	answer func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error)
}

func newPolled() *polled {
	return &polled{seen: make(map[string][]onem2m.Request), some: make(chan struct{}, 10_000)}
}

func (p *polled) Deliver(ctx context.Context, from bridge.Downstream, r *onem2m.Request) (*onem2m.Response, error) {
	if from.CSE != "up" || from.Token != "" {
		return nil, bridge.ErrNoAccess
	}
	p.mu.Lock()
	p.seen[from.AEI] = append(p.seen[from.AEI], *r)
	answer := p.answer
	p.mu.Unlock()
	p.some <- struct{}{}
	if answer == nil {
		return &onem2m.Response{Status: onem2m.StatusOK}, nil
	}
	return answer(ctx, r)
}

func (p *polled) of(aei string) []onem2m.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]onem2m.Request(nil), p.seen[aei]...)
}

// startPoller serves until the test ends.
func startPoller(t testing.TB, c *cse.Client, d cse.Deliverer) *cse.Poller {
	t.Helper()
	p := cse.NewPoller(cse.PollerConfig{Client: c})
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(d) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, p.Shutdown(ctx))
		require.NoError(t, <-ended)
	})
	return p
}

// register makes AEs that can't be called.
func register(t testing.TB, c *cse.Client, stems ...string) {
	t.Helper()
	for _, stem := range stems {
		resp, err := do(t, c, &onem2m.Request{
			Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in", From: stem, RequestID: "reg", ReleaseVersion: "3",
			Content: fmt.Appendf(nil, `{"m2m:ae":{"rn":"n%s","api":"N.a","rr":false}}`, stem), MediaType: "application/json",
		})
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusCreated, resp.Status, string(resp.Content))
	}
}

// notify is a NOTIFY by another to the AE, which its CSE hands on.
func notify(t testing.TB, c *cse.Client, stem, content string) (*onem2m.Response, error) {
	t.Helper()
	return c.Do(t.Context(), bridge.Upstream{}, notice(stem, content))
}

func notice(stem, content string) *onem2m.Request {
	return &onem2m.Request{
		Operation: onem2m.Notify, To: stem, From: "CAdmin", RequestID: "to " + stem, ReleaseVersion: "3",
		Content: []byte(content), MediaType: "application/json",
	}
}

// TestPollerDelivers: a request that waits in an AE's channel reaches it, with its content byte for byte, and the answer
// reaches who asked. The channel is made once.
func TestPollerDelivers(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSE(t, p)
	c := newClient(t, p, url, nil)
	register(t, c, "Cdev")
	device := newPolled()
	device.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		if r.RequestID != "to Cdev" {
			return &onem2m.Response{Status: onem2m.StatusOK}, nil
		}
		return &onem2m.Response{Status: onem2m.StatusNotAcceptable, RequestID: "another", Content: []byte(`{"a":1e400}`), MediaType: "application/json"}, nil
	}
	poller := startPoller(t, c, device)
	poller.Watch(bridge.Upstream{}, "Cdev")
	poller.Watch(bridge.Upstream{CSE: "up"}, "Cdev") // the same
	poller.Watch(bridge.Upstream{CSE: "unknown"}, "Cdev")
	poller.Watch(bridge.Upstream{CSE: "up", Client: "unknown"}, "Cdev")
	awaitPoll(t, peer, "Cdev")

	resp, err := notify(t, c, "Cdev", `{"m2m:sgn":{"net":3.0,"x":-0}}`)
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusNotAcceptable, resp.Status)
	require.Equal(t, `{"a":1e400}`, string(resp.Content))
	r := device.of("Cdev")[0]
	require.Equal(t, onem2m.Notify, r.Operation)
	require.Equal(t, "to Cdev", r.RequestID)
	require.Equal(t, `{"m2m:sgn":{"net":3.0,"x":-0}}`, string(r.Content))

	for n, what := range []*onem2m.Request{
		{To: "nCdev", ResourceType: onem2m.TypeContainer, Content: []byte(`{"m2m:cnt":{"rn":"d"}}`)},
		{To: "nCdev/d", ResourceType: onem2m.TypeSubscription, Content: []byte(`{"m2m:sub":{"nu":["Cdev"],"enc":{"net":[3]}}}`)},
		{To: "nCdev/d", ResourceType: onem2m.TypeContentInstance, Content: []byte(`{"m2m:cin":{"con":"1"}}`)},
		{To: "nCdev/d", ResourceType: onem2m.TypeContentInstance, Content: []byte(`{"m2m:cin":{"con":"2"}}`)},
	} {
		what.Operation, what.From, what.RequestID, what.ReleaseVersion, what.MediaType = onem2m.Create, "Cdev", rqi(n), "3", "application/json"
		what.To = "cse-in/" + what.To
		resp, err := do(t, c, what)
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusCreated, resp.Status, string(resp.Content))
	}
	require.Eventually(t, func() bool { sent, _ := peer.Notifications(); return sent == 2 }, patience, time.Millisecond)
	require.Contains(t, string(device.of("Cdev")[1].Content), `"con":"1"`, "in their order")
	require.Contains(t, string(device.of("Cdev")[2].Content), `"con":"2"`)

	poller.Forget(bridge.Upstream{}, "Cdev")
	poller.Forget(bridge.Upstream{}, "Cdev")
	require.Eventually(t, func() bool {
		s := poller.Stats()[0]
		return s.Polling+s.Delivering == 0
	}, patience, time.Millisecond)
	s := poller.Stats()[0]
	require.Equal(t, "up", s.CSE)
	require.Zero(t, s.Watched)
	require.EqualValues(t, 3, s.Requests)
	require.EqualValues(t, 3, s.Polls[cse.PollDelivered])
	require.LessOrEqual(t, s.Polls[cse.PollCancelled], uint64(1))
	require.EqualValues(t, 2, s.Answers[2])
	require.EqualValues(t, 1, s.Answers[5])

	again := startPoller(t, c, device) // after a restart, the channel is found
	again.Watch(bridge.Upstream{}, "Cdev")
	_, err = notify(t, c, "Cdev", `{}`)
	require.NoError(t, err)
	require.Equal(t, 1, peerHas(peer, "POST", "/Cdev?rcn=2"))
}

// peerHas counts the requests that the CSE got.
func peerHas(peer *csetest.CSE, method, target string) int {
	n := 0
	for _, r := range peer.Requests() {
		if r.Method == method && r.Target == target {
			n++
		}
	}
	return n
}

// awaitPoll returns when the AE is polled for, so that a request to it can wait at its channel.
func awaitPoll(t testing.TB, peer *csetest.CSE, stem string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(peer.Requests(), func(r csetest.RecordedRequest) bool {
			return r.Method == http.MethodGet && r.Header.Get("X-M2M-Origin") == stem && strings.Contains(r.Target, "/pcu")
		})
	}, patience, time.Millisecond)
}

// TestPollerBounds: more AEs than polls take turns, and requests of the bridge are not held up by polls that wait.
func TestPollerBounds(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSE(t, p)
	var now, most atomic.Int32
	peer.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/pcu") {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			defer now.Add(-1)
		}
		next.ServeHTTP(w, r)
	})
	c := newClient(t, p, url, func(conf *cse.CSE) {
		conf.MaxConns, conf.MaxPolls, conf.PollTimeout = 1, 2, 20*time.Millisecond
	})
	const many = 12
	device := newPolled()
	poller := startPoller(t, c, device)
	var stems []string
	for n := range many {
		stems = append(stems, fmt.Sprintf("C%d", n))
	}
	register(t, c, stems...)
	for _, stem := range stems {
		poller.Watch(bridge.Upstream{}, stem)
	}
	for _, stem := range stems {
		awaitPoll(t, peer, stem)
	}
	for range 3 {
		for _, stem := range stems {
			sub := onem2m.Request{
				Operation: onem2m.Create, ResourceType: onem2m.TypeSubscription, To: stem, From: stem, RequestID: "s", ReleaseVersion: "3",
				Content: []byte(`{"m2m:sub":{"nu":["` + stem + `"],"enc":{"net":[3]}}}`), MediaType: "application/json",
			}
			resp, err := do(t, c, &sub) // each child notifies the subscriptions before it
			require.NoError(t, err)
			require.Equal(t, onem2m.StatusCreated, resp.Status)
		}
	}
	for _, stem := range stems {
		require.Eventually(t, func() bool {
			return poller.Stats()[0].Polling <= 2 && len(device.of(stem)) == 3
		}, patience, 5*time.Millisecond, stem)
	}
	require.EqualValues(t, 2, most.Load())
	require.Equal(t, many, poller.Stats()[0].Watched)
}

// TestPollerGoneAndBack: an AE that is deleted is forgotten; a CSE that is gone is asked less and less, and polled on when it
// is back.
func TestPollerGoneAndBack(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSEAt(t, p, csetest.Loopback)
	c := newClient(t, p, url, func(conf *cse.CSE) { conf.PollTimeout = 50 * time.Millisecond })
	register(t, c, "Cdev", "Cgone")
	device := newPolled()
	poller := startPoller(t, c, device)
	poller.Watch(bridge.Upstream{}, "Cdev")
	poller.Watch(bridge.Upstream{}, "Cgone")
	poller.Watch(bridge.Upstream{}, "Cnever")
	require.Eventually(t, func() bool { return poller.Stats()[0].Polls[cse.PollEmpty] > 2 }, patience, time.Millisecond)
	require.EqualValues(t, 1, poller.Stats()[0].Polls[cse.PollGone], "one was never there")
	_, err := do(t, c, &onem2m.Request{Operation: onem2m.Delete, To: "Cgone", From: "Cgone", RequestID: "d", ReleaseVersion: "3"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return poller.Stats()[0].Watched == 1 }, patience, time.Millisecond)

	peer.Stop()
	require.Eventually(t, func() bool { return poller.Stats()[0].Polls[cse.PollUnreachable] > 0 }, patience, time.Millisecond)
	_, err = peer.Start(url[len("https://"):])
	require.NoError(t, err)
	_, err = notify(t, c, "Cdev", `{}`)
	require.NoError(t, err)
	require.Less(t, poller.Stats()[0].Polls[cse.PollUnreachable], uint64(5), "no storm")
}

// TestW02PollerHostileAnswers: whatever a CSE hands out is a counted failure; no device gets it, the channel of another AE
// goes on, and an AE whose polls fail isn't polled without end.
func TestW02PollerHostileAnswers(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	deep := strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000)
	for name, evil := range map[string]func(r received) string{
		"no primitive":  func(r received) string { return r.good("200 OK", "2000", `{"m2m:cnt":{}}`) },
		"no JSON":       func(r received) string { return r.good("200 OK", "2000", `{"m2m:rqp":`) },
		"too deep":      func(r received) string { return r.good("200 OK", "2000", `{"m2m:rqp":`+deep+`}`) },
		"no identifier": func(r received) string { return r.good("200 OK", "2000", `{"m2m:rqp":{"op":5,"fr":"/x","rvi":"3"}}`) },
		"operation 9":   func(r received) string { return r.good("200 OK", "2000", `{"m2m:rqp":{"op":9,"fr":"/x","rqi":"1"}}`) },
		"CR LF in a member": func(r received) string {
			return r.good("200 OK", "2000", `{"m2m:rqp":{"op":5,"fr":"/x\r\nX: y","rqi":"1"}}`)
		},
		"wrong RI": func(r received) string {
			return strings.Replace(r.good("200 OK", "2000", `{"m2m:rqp":{"op":5,"fr":"/x","rqi":"1"}}`), "X-M2M-RI: ", "X-M2M-RI: x", 1)
		},
		"redirect": func(received) string {
			return "HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
		},
		"100 MB": func(received) string {
			return "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nContent-Length: 104857600\r\n\r\n"
		},
		"5000": func(r received) string { return r.good("500 Internal Server Error", "5000", "") },
		"channel that is none": func(r received) string {
			return r.good("404 Not Found", "4004", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var evils atomic.Int32
			var good atomic.Int32
			srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
				from := r.header("X-M2M-Origin")
				switch {
				case strings.HasPrefix(r.head, "GET /"+from+"?"):
					return write(w, r.good("200 OK", "2000", `{"m2m:uril":["ch-`+from+`"]}`))
				case strings.HasPrefix(r.head, "POST "):
					return write(w, r.good("200 OK", "2000", ""))
				case from == "Cevil":
					evils.Add(1)
					return write(w, evil(r))
				case good.Add(1) > 20:
					return write(w, r.good("504 Gateway Timeout", "4008", ""))
				}
				return write(w, r.good("200 OK", "2000", `{"m2m:rqp":{"op":5,"fr":"/x","to":"C0","rqi":"1","pc":{"m2m:sgn":{}}}}`))
			})
			c := newClient(t, p, srv.url, func(conf *cse.CSE) { conf.MaxPolls, conf.PollTimeout = 1, 50*time.Millisecond })
			device := newPolled()
			poller := startPoller(t, c, device)
			poller.Watch(bridge.Upstream{}, "Cevil")
			poller.Watch(bridge.Upstream{}, "C0")
			require.Eventually(t, func() bool { return len(device.of("C0")) >= 20 && evils.Load() > 0 }, patience, time.Millisecond)
			require.Empty(t, device.of("Cevil"))
			require.Less(t, evils.Load(), int32(8), "no storm")
		})
	}
}

// TestPollerNoLongPolls: a CSE that says at once that nothing waits, whatever rqet was, isn't asked again at once.
func TestPollerNoLongPolls(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for name, empty := range map[string]func(r received) string{
		"4008":         func(r received) string { return r.good("504 Gateway Timeout", "4008", "") },
		"2000 of none": func(r received) string { return r.good("200 OK", "2000", "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			polls := make(chan time.Time, 10_000)
			srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
				if strings.HasPrefix(r.head, "GET /Cdev?") {
					return write(w, r.good("200 OK", "2000", `{"m2m:uril":["ch"]}`))
				}
				polls <- time.Now()
				return write(w, empty(r))
			})
			poller := startPoller(t, newClient(t, p, srv.url, nil), newPolled())
			poller.Watch(bridge.Upstream{}, "Cdev")
			first := <-polls
			<-polls
			require.GreaterOrEqual(t, (<-polls).Sub(first), time.Second)
		})
	}
}

// TestPollerEnds: Serve ends with Shutdown, which cuts polls, and waits for deliveries as long as it may.
func TestPollerEnds(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSE(t, p)
	c := newClient(t, p, url, nil)
	register(t, c, "Cdev", "C1")
	device := newPolled()
	device.answer = func(ctx context.Context, _ *onem2m.Request) (*onem2m.Response, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	poller := cse.NewPoller(cse.PollerConfig{Client: c})
	poller.Watch(bridge.Upstream{}, "Cdev") // before Serve
	poller.Watch(bridge.Upstream{}, "C1")
	ended := make(chan error, 1)
	go func() { ended <- poller.Serve(device) }()
	awaitPoll(t, peer, "Cdev")
	var asked sync.WaitGroup
	asking, stop := context.WithCancel(t.Context())
	asked.Go(func() {
		_, _ = c.Do(asking, bridge.Upstream{}, notice("Cdev", `{}`)) // it is never answered
	})
	<-device.some
	require.ErrorIs(t, poller.Serve(device), cse.ErrPollerClosed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, poller.Shutdown(ctx), context.Canceled)
	require.NoError(t, <-ended)
	stop()
	asked.Wait()
	poller.Watch(bridge.Upstream{}, "C2")
	require.Equal(t, 0, poller.Stats()[0].Polling+poller.Stats()[0].Delivering)
	require.ErrorIs(t, poller.Serve(device), cse.ErrPollerClosed)
}
