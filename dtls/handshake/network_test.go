package handshake

import (
	"container/heap"
	"context"
	"crypto/elliptic"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"
)

// handshakes is how many random handshakes a test makes: HANDSHAKES asks for more.
func handshakes(t testing.TB, n int) int {
	t.Helper()
	if s := os.Getenv("HANDSHAKES"); s != "" {
		more, err := strconv.Atoi(s)
		require.NoError(t, err, "HANDSHAKES is a number")
		return more
	}
	return n
}

// weather is a network's: chances in percent, and the longest delay.
type weather struct {
	loss, doubled int
	delay         time.Duration
}

func randomWeather(r *rand.Rand) weather {
	return weather{r.IntN(25), r.IntN(20), time.Duration(r.IntN(300)) * time.Millisecond}
}

// times returns after which delays a datagram arrives.
func (w weather) times(r *rand.Rand) (all []time.Duration) {
	if r.IntN(100) < w.loss {
		return nil
	}
	for again := true; again; again = r.IntN(100) < w.doubled {
		all = append(all, time.Duration(r.Int64N(int64(w.delay)+1)))
	}
	return all
}

// event is something that happens at a time.
type event struct {
	at time.Time
	n  int // in the order of their making, when times are equal
	do func(now time.Time)
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// world is a client and a server in a network whose time is simulated.
type world struct {
	r      *rand.Rand
	w      weather
	now    time.Time
	queue  events
	n      int
	client *Machine
	server *front
	work   time.Duration // the longest that a job takes

	repeated func([]byte, time.Time)
	sent     map[[2]uint64]bool // key and number of each record that was sealed: none twice (S25)
	twice    bool
}

func (w *world) at(d time.Duration, do func(time.Time)) {
	w.n++
	heap.Push(&w.queue, event{w.now.Add(d), w.n, do})
}

// jobs lets a machine's job take its time.
func (w *world) jobs(m *Machine) {
	if j := m.Job(); j != nil {
		w.at(time.Duration(w.r.Int64N(int64(w.work)+1)), func(now time.Time) {
			j.Run(context.Background())
			m.Resume(j, now)
			w.jobs(m)
		})
	}
}

func (w *world) carry(out [][]byte, cidLen int, from uint64, to func([]byte, time.Time)) {
	for _, d := range out {
		for _, r := range records(d, cidLen) {
			if id := [2]uint64{from, uint64(r.Epoch)<<48 | r.Seq}; w.sent[id] && r.Payload[0] != typeHelloVerifyRequest {
				w.twice = true
			} else {
				w.sent[id] = true
			}
		}
		for _, after := range w.w.times(w.r) {
			w.at(after, func(now time.Time) { to(append([]byte(nil), d...), now) })
		}
	}
}

// run goes on until both are done, or for ten minutes.
func (w *world) run() {
	w.sent = map[[2]uint64]bool{}
	w.repeated = repeatFinished(w.server)
	for end := w.now.Add(10 * time.Minute); w.now.Before(end); {
		w.carry(w.client.Output(), len(w.server.cid), 0, w.toServer)
		w.carry(w.server.output(), len(w.client.localCID), 1, w.toClient)
		next := w.client.Deadline()
		if m := w.server.m; m != nil && !m.Deadline().IsZero() && (next.IsZero() || m.Deadline().Before(next)) {
			next = m.Deadline()
		}
		if len(w.queue) > 0 && (next.IsZero() || !w.queue[0].at.After(next)) {
			e := heap.Pop(&w.queue).(event)
			w.now = e.at
			e.do(w.now)
			continue
		}
		if next.IsZero() {
			return
		}
		w.now = next
		w.client.Tick(w.now)
		if w.server.m != nil {
			w.server.m.Tick(w.now)
		}
	}
}

func (w *world) toClient(d []byte, now time.Time) {
	for _, r := range records(d, len(w.client.localCID)) {
		w.client.Receive(r, now)
		w.jobs(w.client)
	}
}

func (w *world) toServer(d []byte, now time.Time) {
	if w.server.m != nil {
		if res, _ := w.server.m.Done(); res == nil {
			for _, r := range records(d, len(w.server.cid)) {
				w.server.m.Receive(r, now)
				w.jobs(w.server.m)
			}
			return
		}
	}
	w.repeated(d, now)
}

func randomCID(r *rand.Rand) []byte {
	if r.IntN(3) == 0 {
		return nil
	}
	b := make([]byte, r.IntN(9))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestRandomNetworks shows that what a network loses, doubles, delays, reorders or takes in small pieces only does not stop a
// handshake, nor makes its ends differ (RFC 6347, Section 4.2), and that no record number serves twice (S25).
func TestRandomNetworks(t *testing.T) {
	t.Parallel()
	mine, theirs := newSides(t, elliptic.P256())
	all := Suites()
	for seed := range handshakes(t, 5000) {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		s := all[r.IntN(len(all))]
		memory := NewBudget(1 << 20)
		conf := only(s)
		conf.MaxDatagram, conf.Memory = 128+r.IntN(1100), memory
		serverConf := bothKinds()
		serverConf.MaxDatagram, serverConf.Memory = 128+r.IntN(1100), memory
		p := paramsFor(s)
		p.LocalCID = randomCID(r)
		w := &world{
			r: r, w: randomWeather(r), now: start0, work: time.Duration(r.IntN(200)) * time.Millisecond,
			client: NewClient(conf, mine.clone(), Timers{}, p, start0),
			server: &front{conf: serverConf, cb: theirs.clone(), cid: randomCID(r)},
		}
		w.run()
		name := fmt.Sprintf("seed %d, %s, %+v, %d and %d bytes", seed, s.Name, w.w, conf.MaxDatagram, serverConf.MaxDatagram)
		require.NotNil(t, w.server.m, name)
		require.False(t, w.twice, name)
		c, err := w.client.Done()
		require.NoError(t, err, name)
		require.NotNil(t, c, name)
		_, res := requireSame(t, w.client, w.server.m)
		require.Equal(t, s, res.Suite)
		require.Zero(t, memory.Taken(), name)
		if p.LocalCID != nil && w.server.cid != nil {
			require.Equal(t, string(p.LocalCID), string(c.LocalCID))
			require.Equal(t, string(w.server.cid), string(res.LocalCID))
		} else {
			require.Nil(t, c.LocalCID)
			require.Nil(t, res.LocalCID)
		}
	}
}

// pionNetwork is weather for a peer that has its own goroutines.
func pionNetwork(r *rand.Rand, w weather) network {
	return func(deliver func()) {
		for _, after := range w.times(r) {
			time.AfterFunc(after, deliver)
		}
	}
}

// TestRandomNetworksWithPion does the same with pion at the other end, in both roles.
func TestRandomNetworksWithPion(t *testing.T) {
	t.Parallel()
	mine, theirs := newSides(t, elliptic.P256())
	all := Suites()
	for seed := range handshakes(t, 5000) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 2))
			s := all[r.IntN(len(all))]
			w := weather{r.IntN(15), r.IntN(15), time.Duration(r.IntN(300)) * time.Millisecond}
			conf := only(s)
			conf.MaxDatagram = 300 + r.IntN(900)
			cid := randomCID(r)
			opts := []pion.Option{pion.WithMTU(300 + r.IntN(900))}
			if theirs := randomCID(r); theirs != nil {
				opts = append(opts, pion.WithConnectionIDGenerator(func() []byte { return theirs }))
			}
			name := fmt.Sprintf("seed %d, %s, %+v", seed, s.Name, w)
			if r.IntN(2) == 0 {
				f := &front{conf: conf, cb: mine, cid: cid}
				run, conn, err := pionClient(f, pionNetwork(r, w), append(pionOptions(s, theirs, testKey), opts...)...)
				require.NoError(t, err, name)
				defer conn.Close()
				res, err := f.m.Done()
				require.NoError(t, err, name)
				require.NotNil(t, res, name)
				requirePionTalk(t, run, conn, res)
				return
			}
			p := paramsFor(s)
			p.LocalCID = cid
			m := NewClient(conf, mine, Timers{}, p, time.Now())
			run, conn, err := pionServer(m, pionNetwork(r, w), pionServerOptions(s, theirs, opts...)...)
			require.NoError(t, err, name)
			defer conn.Close()
			res, err := m.Done()
			require.NoError(t, err, name)
			require.NotNil(t, res, name)
			requirePionTalk(t, run, conn, res)
		})
	}
}
