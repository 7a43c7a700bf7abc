// Package load puts load on a CoAP server over DTLS and measures what that costs the server: handshakes, requests, idle
// sessions, forged ClientHellos, replayed records and moving addresses.
//
// A Load is one server's clients. Its modes run one after the other; none of them is safe for concurrent use with another.
package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/latency"
	"coapbridge/cmd/coap-load/measure"
	"coapbridge/cmd/coap-load/session"
)

// Config says against what, and as whom.
type Config struct {
	Target netip.AddrPort
	// Clients is how many addresses there will be; it matters only off loopback.
	Clients int
	// Devices is how many different credentials there are; client i has that of device i modulo Devices. 0 is one for each.
	Devices int
	// Session says what sessions are like; Events is ignored, and Credential gets a device's number.
	Session session.Config
	// Server is the server's process; nil: it is not measured.
	Server *measure.Process
	// Progress gets a line now and then; nil: nobody.
	Progress func(string)
}

// Load is the clients of one server.
type Load struct {
	conf     Config
	fleet    *fleet.Fleet
	client   *session.Client
	hooks    atomic.Pointer[hooks]
	serving  sync.WaitGroup
	sessions []*session.Session // that Connect made
	next     int                // client that was not used yet
	lost     atomic.Uint64      // established sessions that the server ended
}

// hooks are what a mode hears of its sessions.
type hooks struct {
	established func(out *fleet.Batch, s *session.Session)
	received    func(out *fleet.Batch, s *session.Session, b []byte)
	failed      func(out *fleet.Batch, i int, err error)
}

// New opens the sockets. Close closes them.
func New(conf Config) (*Load, error) {
	l := &Load{conf: conf}
	f, err := fleet.Open(conf.Target, max(conf.Clients, 1))
	if err != nil {
		return nil, err
	}
	l.fleet = f
	l.hooks.Store(&hooks{})
	of := conf.Session.Credential
	devices := conf.Devices
	conf.Session.Credential = func(i int) (session.Credential, error) {
		if devices > 0 {
			i %= devices
		}
		return of(i)
	}
	conf.Session.Events = (*events)(l)
	if l.client, err = session.New(f, conf.Session); err != nil {
		f.Close()
		return nil, err
	}
	l.serving.Go(func() { f.Serve(context.Background(), l.client.Receive) })
	return l, nil
}

// Close ends all sessions without a word.
func (l *Load) Close() {
	l.client.Close()
	l.fleet.Close()
	l.serving.Wait()
}

// Reuse makes the clients that follow the same as the first ones again: same addresses, same credentials.
func (l *Load) Reuse() { l.next = 0 }

// events is a Load as the session's listener.
type events Load

// Established implements session.Events.
func (l *events) Established(out *fleet.Batch, s *session.Session) {
	if f := l.hooks.Load().established; f != nil {
		f(out, s)
	}
}

// Received implements session.Events.
func (l *events) Received(out *fleet.Batch, s *session.Session, b []byte) {
	if f := l.hooks.Load().received; f != nil {
		f(out, s, b)
	}
}

// Failed implements session.Events.
func (l *events) Failed(out *fleet.Batch, i int, err error) {
	if f := l.hooks.Load().failed; f != nil {
		f(out, i, err)
	}
}

// Ended implements session.Events.
func (l *events) Ended(*fleet.Batch, *session.Session, error) { l.lost.Add(1) }

// Cost is what a stretch of time cost the server.
type Cost struct {
	CPU    time.Duration  `json:"cpu_ns"`                  // user and system
	PerOp  time.Duration  `json:"per_op_ns"`               // CPU for each operation that ended well
	Allocs float64        `json:"allocs_per_op,omitempty"` // of a Go server that says it
	Share  float64        `json:"share"`                   // CPU by time: 1 is one core
	Before measure.Sample `json:"before"`
	After  measure.Sample `json:"after"`
}

// stretch measures from now on.
func (l *Load) stretch(ctx context.Context) (end func(operations uint64) (*Cost, error), err error) {
	if l.conf.Server == nil {
		return func(uint64) (*Cost, error) { return nil, nil }, nil
	}
	before, err := l.conf.Server.Sample(ctx)
	if err != nil {
		return nil, err
	}
	if before.CPU, err = l.conf.Server.CPU(); err != nil { // what the server did for the sample is not counted
		return nil, err
	}
	before.At = time.Now()
	return func(operations uint64) (*Cost, error) {
		after, err := l.conf.Server.Sample(ctx)
		if err != nil {
			return nil, err
		}
		c := &Cost{Before: before, After: after, CPU: after.CPU - before.CPU}
		if operations > 0 {
			c.PerOp = c.CPU / time.Duration(operations)
			c.Allocs = float64(after.Mallocs-before.Mallocs) / float64(operations)
		}
		c.Share = float64(c.CPU) / float64(after.At.Sub(before.At))
		return c, nil
	}, nil
}

// tally counts by name.
type tally struct {
	mu sync.Mutex // guards the following fields
	n  map[string]uint64
}

func newTally() *tally { return &tally{n: map[string]uint64{}} }

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.n) < 16 || t.n[name] > 0 {
		t.n[name]++
	} else {
		t.n["others"]++
	}
}

func (t *tally) all() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}

// progress reports text every second until the returned function is called.
func (l *Load) progress(text func() string) (stop func()) {
	if l.conf.Progress == nil {
		return func() {}
	}
	ended := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		began := time.Now()
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		var cpu time.Duration
		if l.conf.Server != nil {
			cpu, _ = l.conf.Server.CPU()
		}
		for {
			select {
			case <-ended:
				return
			case now := <-ticker.C:
				line := fmt.Sprintf("%4.0f s  %s", now.Sub(began).Seconds(), text())
				if l.conf.Server != nil {
					total, err := l.conf.Server.CPU()
					if err == nil {
						line += fmt.Sprintf(", server %.0f %% of a core", 100*(total-cpu).Seconds())
						cpu = total
					}
				}
				l.conf.Progress(line)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(ended)
		reporter.Wait()
	})
}

// wait waits for d, or less when ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Result is what a mode measured. What a mode doesn't know is absent.
type Result struct {
	Mode     string            `json:"mode"`
	Seconds  float64           `json:"seconds"`
	Rate     float64           `json:"per_second"`
	Done     uint64            `json:"done"`
	Failed   uint64            `json:"failed"`
	Failures map[string]uint64 `json:"failures,omitempty"` // by error, or by response code
	Latency  latency.Summary   `json:"latency"`
	Open     bool              `json:"open_loop"` // latencies count from the moment that was meant
	Requests *Requests         `json:"requests,omitempty"`
	Cost     *Cost             `json:"server,omitempty"`
	Idle     *Idle             `json:"idle,omitempty"`
	Flood    *Flood            `json:"flood,omitempty"`
	Replay   *Replay           `json:"replay,omitempty"`
	Move     *Move             `json:"move,omitempty"`
}

// finish fills in what follows from the rest.
func (r *Result) finish(took time.Duration, end func(uint64) (*Cost, error)) error {
	r.Seconds = took.Seconds()
	r.Rate = float64(r.Done) / r.Seconds
	cost, err := end(r.Done)
	r.Cost = cost
	return err
}

// errNone says that nothing was measured because nothing worked.
func (r *Result) errNone() error {
	if r.Done > 0 || r.Failed == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(r.Failures))
	return errors.New("load: nothing succeeded: " + fmt.Sprint(names))
}
