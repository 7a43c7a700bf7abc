package bridge

import (
	"context"
	"errors"
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

// roughWire loses a fifth of all datagrams, repeats a tenth, and delays each copy by up to 2 s on its own, so that they
// overtake each other.
func roughWire(seed uint64) *simnet.Net {
	random := rand.New(rand.NewPCG(seed, 20))
	wire := &simnet.Net{}
	wire.Wire = func(p simnet.Packet) []simnet.Packet { // one call at a time
		copies := 1
		if random.IntN(10) == 0 {
			copies = 2
		}
		for range copies {
			if random.IntN(5) > 0 {
				time.AfterFunc(time.Duration(random.Int64N(int64(2*time.Second))), func() { wire.Inject(p) })
			}
		}
		return nil
	}
	return wire
}

// ledger is a Service Layer that counts how often each request is executed. It takes its time, and now and then it can't be
// reached.
type ledger struct {
	mu       sync.Mutex // guards the following fields
	random   *rand.Rand
	executed map[string]int
	refused  int
}

// Do implements ServiceLayer.
func (l *ledger) Do(_ context.Context, _ Upstream, r *onem2m.Request) (*onem2m.Response, error) {
	l.mu.Lock()
	away, patience := l.random.IntN(50) == 0, time.Duration(l.random.Int64N(int64(4*time.Second)))
	if away {
		l.refused++
	} else {
		l.executed[r.From+" "+r.RequestID]++
	}
	n := len(l.executed)
	l.mu.Unlock()
	if away {
		return nil, ErrUnreachable
	}
	<-time.After(patience)
	resp := ok(r, onem2m.StatusCreated)
	resp.Content, resp.MediaType = fmt.Appendf(nil, `{"n":%d}`, n), "application/json"
	return resp, nil
}

// persistent is a device that repeats each request, under its Request Identifier, until it is answered: on the session that it
// has, or on another one. It is not patient at first.
type persistent struct {
	*member
	id       dtls.PeerID
	repeated int
	sessions int
}

// ask returns the answer.
func (p *persistent) ask(t *testing.T, r *onem2m.Request) *onem2m.Response {
	m, err := r.CoAP(onem2m.CoAPProfile{})
	require.NoError(t, err)
	for attempt := range 50 {
		if attempt > 0 {
			p.repeated++
		}
		for p.conn == nil {
			if p.conn, err = p.dtls.Dial(t.Context(), netip.MustParseAddrPort(gatewayAddr), p.id); err == nil {
				p.sessions++
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(4+8*attempt)*time.Second)
		answer, err := p.coap.Do(ctx, p.conn.Owner().(*coap.Peer), m)
		cancel()
		switch {
		case err == nil && answer.Code == coap.Created:
			resp, err := onem2m.ResponseFromCoAP(answer, r, onem2m.CoAPProfile{})
			require.NoError(t, err)
			return resp
		case err == nil: // it is asked to come again
			require.Equal(t, coap.ServiceUnavailable, answer.Code)
			<-time.After(busyRetry)
		case errors.Is(err, context.DeadlineExceeded) && attempt%2 == 0: // again on the same session
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, coap.ErrTimeout), errors.Is(err, coap.ErrClosed):
			p.leave()
		default:
			require.NoError(t, err)
		}
	}
	require.Fail(t, "no answer", "%s %s", r.From, r.RequestID)
	return nil
}

// leave ends the session.
func (p *persistent) leave() {
	if p.conn != nil {
		p.conn.Close(dtls.ReasonLocal)
	}
	p.conn = nil
}

// TestExactlyOnceInLoss: 100 devices make 100 requests each, and repeat each one under its Request Identifier until it is
// answered, through a network that loses, repeats and reorders datagrams and delays them by up to 2 s: the Service Layer
// executes each one exactly once, and each one gets the answer of its execution. DTLS and CoAP are the real ones at both ends;
// time is virtual.
func TestExactlyOnceInLoss(t *testing.T) {
	t.Parallel()
	const devices, requests = 100, 100
	synctest.Test(t, func(t *testing.T) {
		wire := roughWire(6)
		known := &fleet{Directory: &directory{}, devices: map[dtls.PeerID]*Device{}}
		for i := range devices {
			name := "d" + strconv.Itoa(i)
			known.devices[psk(name).ID] = &Device{Name: name, Profile: ProfileOneM2M, Bound: []string{"C" + name}}
		}
		sl := &ledger{random: rand.New(rand.NewPCG(6, 21)), executed: map[string]int{}}
		b, err := New(Config{Directory: known, ServiceLayer: sl, CSEs: []CSE{testCSE}})
		require.NoError(t, err)
		gateway, err := dtls.New(&dtls.Config{PSK: testKeys, PSKInMemory: true, Handler: b,
			Limits: dtls.Limits{HandshakesPerPrefix: 1000 * devices, HalfOpenPerPrefix: 100 * devices}}, wire.Listen(gatewayAddr))
		require.NoError(t, err)
		var running, calls sync.WaitGroup
		running.Go(func() { _ = b.Serve() })
		running.Go(func() { _ = gateway.Serve() })

		all := make([]*persistent, devices)
		for i := range all {
			name := "d" + strconv.Itoa(i)
			p := &persistent{member: newMember(t, wire, i, &running), id: psk(name).ID}
			all[i] = p
			calls.Go(func() {
				answers := map[string]bool{}
				for n := range requests {
					r := instance(strconv.Itoa(n), `{"m2m:cin":{"con":"`+name+`"}}`)
					r.From = "C" + name
					answers[string(p.ask(t, r).Content)] = true
					if n%20 == 19 {
						p.leave()
					}
				}
				require.Len(t, answers, requests, "an answer of another request")
			})
		}
		calls.Wait()

		repeated, sessions := 0, 0
		for _, p := range all {
			repeated, sessions = repeated+p.repeated, sessions+p.sessions
		}
		require.Len(t, sl.executed, devices*requests)
		for key, n := range sl.executed {
			require.Equal(t, 1, n, "%s", key)
		}
		require.Greater(t, repeated, devices*requests/100, "nothing was repeated")
		require.Greater(t, sessions, devices*requests/20)
		require.Greater(t, sl.refused, devices)
		require.Greater(t, b.Stats().Repeated, uint64(devices*requests/10))
		t.Logf("%d repeated, %d sessions, %d answered from memory, %d retransmissions, %d duplicates", repeated, sessions,
			b.Stats().Repeated, b.CoAPStats().Retransmissions, b.CoAPStats().Duplicates)

		waits, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		_ = b.Shutdown(waits) // a device that left acknowledges nothing any more, so that it may take the whole minute
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, gateway.Shutdown(ctx))
		for _, p := range all {
			_ = p.dtls.Shutdown(ctx)
			_ = p.coap.Shutdown(ctx)
		}
		running.Wait()
	})
}
