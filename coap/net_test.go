package coap

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// recorder is a Conn that keeps what is sent.
type recorder struct {
	mu   sync.Mutex
	sent []Message
	at   []time.Time
	size int // MaxPlaintext; 0: 1152
	fail error
}

func (r *recorder) Send(b []byte) error {
	if r.fail != nil {
		return r.fail
	}
	m, err := Parse(append([]byte(nil), b...))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, m)
	r.at = append(r.at, time.Now())
	return nil
}

func (r *recorder) MaxPlaintext() int {
	if r.size != 0 {
		return r.size
	}
	return 1152
}

// take returns what was sent since the last call.
func (r *recorder) take() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.sent
	r.sent, r.at = nil, nil
	return m
}

// all returns what was sent since the last take, and when.
func (r *recorder) all() ([]Message, []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent), slices.Clone(r.at)
}

// one returns the only message that was sent since the last call.
func (r *recorder) one(t *testing.T) Message {
	t.Helper()
	m := r.take()
	require.Len(t, m, 1)
	return m[0]
}

// handlerFunc is a Handler.
type handlerFunc func(*Exchange)

func (f handlerFunc) ServeCoAP(x *Exchange) { f(x) }

// respond answers every request with code and the request's payload.
func respond(code Code) handlerFunc {
	return func(x *Exchange) { _ = x.Respond(&Message{Code: code, Payload: x.Request().Payload}) }
}

// serve runs an Endpoint's timers until the test ends.
func serve(t *testing.T, c *Config) *Endpoint {
	t.Helper()
	e := New(c)
	done := make(chan error)
	go func() { done <- e.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Shutdown(ctx)
		if err := <-done; err != nil { // the test ended before Serve began
			require.ErrorIs(t, err, ErrShutdown)
		}
	})
	return e
}

// wire returns m's datagram.
func wire(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := m.AppendBinary(nil)
	require.NoError(t, err)
	return b
}

// path returns Uri-Path options.
func path(segments ...string) (o Options) {
	for _, s := range segments {
		o = o.AddString(URIPath, s)
	}
	return o
}

// faults says what a link does to datagrams. Each copy of each datagram is delayed on its own, so that they overtake.
type faults struct {
	loss, duplicate float64
	delay           time.Duration // at most
}

// link carries datagrams to the peer to of the Endpoint at.
type link struct {
	at     *Endpoint
	to     *Peer
	faults faults
	mu     sync.Mutex
	random *rand.Rand
	size   int
	from   *Peer
}

// MaxPlaintext and Send ask for something that needs the peer's lock: nothing may be called with it held.
func (l *link) MaxPlaintext() int {
	l.from.Owner()
	return l.size
}

func (l *link) Send(b []byte) error {
	l.from.Owner()
	l.mu.Lock()
	defer l.mu.Unlock()
	copies := 1
	if l.random.Float64() < l.faults.duplicate {
		copies++
	}
	for range copies {
		if l.random.Float64() < l.faults.loss {
			continue
		}
		datagram := append([]byte(nil), b...)
		delay := time.Duration(l.random.Int64N(int64(l.faults.delay) + 1))
		time.AfterFunc(delay, func() { l.at.Receive(l.to, datagram) })
	}
	return nil
}

// connect joins two Endpoints and returns a's peer b and b's peer a.
func connect(a, b *Endpoint, prof Profile, f faults, seed uint64) (toB, toA *Peer) {
	ab := &link{at: b, faults: f, random: rand.New(rand.NewPCG(seed, 1)), size: 1152}
	ba := &link{at: a, faults: f, random: rand.New(rand.NewPCG(seed, 2)), size: 1152}
	toB, toA = a.NewPeer(ab, prof), b.NewPeer(ba, prof)
	ab.to, ba.to = toA, toB
	ab.from, ba.from = toB, toA
	return toB, toA
}

// bubble runs f in virtual time.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
