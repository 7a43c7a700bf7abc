package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"coapbridge/cmd/coap-load/load"
	"coapbridge/cmd/coap-load/measure"
	"coapbridge/cmd/coap-load/session"
)

const (
	inFlight = 16  // handshakes at a time where their cost is measured
	connect  = 32  // handshakes at a time where sessions are made
	saturate = 128 // requests under way at a time: what the smallest default socket buffer holds

	// floodTimeout ends a device's handshake during the flood: three repeats, after 1, 3 and 7 s.
	floodTimeout = 15 * time.Second

	// maxFloodLead is how long a flood goes on before the first device and after the last; minOffered is how much of its rate must have
	// been sent for the devices' times to be those of that rate.
	maxFloodLead = 500 * time.Millisecond
	minOffered   = 0.95

	// knownDevices is how many devices with certificates come again: more than any cache of a few.
	knownDevices = 500
)

// bed is a server that runs, and what devices it knows.
type bed struct {
	peer   peer
	server *server
	run    *run
	kind   kind
}

func (r *run) open(ctx context.Context, p peer, k kind) (*bed, error) {
	s, err := p.start(ctx, r.place, k)
	if err != nil {
		return nil, err
	}
	return &bed{p, s, r, k}, nil
}

// load returns devices for the server.
func (b *bed) load(devices int, timeout time.Duration) (*load.Load, error) {
	process, err := measure.Open(b.server.pid, b.server.metrics)
	if err != nil {
		return nil, err
	}
	conf := load.Config{
		Target: b.server.target, Clients: devices, Devices: devices, Server: process, Progress: b.run.conf.Progress,
		Session: session.Config{ServerName: "localhost", Timeout: timeout},
	}
	b.run.place.credentials(&conf.Session, b.kind)
	return load.New(conf)
}

func (r *run) idleKeys(ctx context.Context, b *bed) error {
	n := r.conf.Sessions
	if b.peer.sessions > 0 {
		n = min(n, b.peer.sessions)
	}
	idle, err := r.idle(ctx, b, n, &b.server.own)
	if err != nil {
		return err
	}
	r.set(b.peer.name, rowIdleKey, float64(idle.PerSession))
	r.set(b.peer.name, rowIdleAfter, float64(idle.PerAfter))
	r.set(b.peer.name, rowIdleAll, float64(idle.After.RSS)/float64(n))
	if idle.Held.Goroutines > 0 {
		r.set(b.peer.name, rowGoroutines, float64(idle.Held.Goroutines))
	}
	r.set(b.peer.name, rowIdleCPU, idle.CPU*100)
	r.set(b.peer.name, rowFirst, float64(idle.First))
	r.set(b.peer.name, rowLast, float64(idle.Last))
	return nil
}

func (r *run) idleCertificates(ctx context.Context, b *bed) error {
	idle, err := r.idle(ctx, b, r.conf.CertSessions, nil)
	if err != nil {
		return err
	}
	r.set(b.peer.name, rowIdleCert, float64(idle.PerSession))
	return nil
}

func (r *run) idle(ctx context.Context, b *bed, n int, request *load.Request) (*load.Idle, error) {
	l, err := b.load(n, 0)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	got, err := l.Hold(ctx, load.Hold{
		Sessions: n, InFlight: connect, Settle: r.conf.Settle, For: r.conf.Settle, Request: request, Step: min(n/10, 1000),
	})
	if err != nil {
		return nil, err
	}
	r.keep(b.peer.name, "idle", got)
	return got.Idle, nil
}

func (r *run) requests(ctx context.Context, b *bed) error {
	name := b.peer.name
	l, err := b.load(r.conf.Sessions, 0)
	if err != nil {
		return err
	}
	defer l.Close()
	// The first ones fill what fills once.
	if _, err := l.Handshake(ctx, load.Handshakes{Count: 200, InFlight: inFlight}); err != nil {
		return err
	}
	got, err := l.Handshake(ctx, load.Handshakes{Duration: r.conf.Stretch, InFlight: inFlight})
	if err != nil {
		return err
	}
	r.keep(name, "PSK handshakes", got)
	r.set(name, rowKey, nanoseconds(got.Cost))

	l.Reuse()
	if _, err := l.Connect(ctx, min(r.conf.Requesters, r.conf.Sessions), connect); err != nil {
		return err
	}
	full, err := l.Send(ctx, load.Stream{Request: b.server.own, InFlight: saturate, WarmUp: time.Second, Duration: r.conf.Stretch})
	if err != nil {
		return err
	}
	r.keep(name, "requests, saturated", full)
	r.set(name, rowRequest, nanoseconds(full.Cost))
	r.set(name, rowThroughput, full.Rate)
	r.setAllocs(name, rowRequestAllocs, full.Cost)

	half, err := l.Send(ctx, load.Stream{Request: b.server.own, Rate: full.Rate / 2, WarmUp: time.Second, Duration: r.conf.Stretch})
	if err != nil {
		return err
	}
	r.keep(name, "requests, half load", half)
	r.set(name, rowHalf, nanoseconds(half.Cost))
	r.set(name, rowHalfP99, float64(half.Latency.P99))

	if b.server.forward == nil {
		return nil
	}
	carried, err := l.Send(ctx, load.Stream{Request: *b.server.forward, InFlight: saturate, WarmUp: time.Second, Duration: r.conf.Stretch})
	if err != nil {
		return err
	}
	r.keep(name, "forwarded", carried)
	r.set(name, rowForward, nanoseconds(carried.Cost))
	r.setAllocs(name, rowForwardAllocs, carried.Cost)
	return nil
}

func (r *run) certificates(ctx context.Context, b *bed) error {
	n := r.conf.CertSessions
	l, err := b.load(n, 0)
	if err != nil {
		return err
	}
	defer l.Close()
	fresh, err := l.Handshake(ctx, load.Handshakes{Count: n, InFlight: inFlight})
	if err != nil {
		return err
	}
	r.keep(b.peer.name, "certificate handshakes, new devices", fresh)
	r.set(b.peer.name, rowCertNew, nanoseconds(fresh.Cost))

	known, err := b.load(min(knownDevices, n), 0)
	if err != nil {
		return err
	}
	defer known.Close()
	again, err := known.Handshake(ctx, load.Handshakes{Count: n, InFlight: inFlight})
	if err != nil {
		return err
	}
	r.keep(b.peer.name, "certificate handshakes, devices that were here before", again)
	r.set(b.peer.name, rowCertAgain, nanoseconds(again.Cost))
	return nil
}

func (r *run) flood(ctx context.Context, b *bed) error {
	name := b.peer.name
	l, err := b.load(r.conf.Sessions, floodTimeout)
	if err != nil {
		return err
	}
	defer l.Close()
	devices := min(r.conf.FloodDevices, r.conf.Sessions/2)
	quiet, err := l.Handshake(ctx, load.Handshakes{Count: devices, Rate: float64(devices) / r.conf.FloodFor.Seconds()})
	if err != nil {
		return err
	}
	r.keep(name, "devices without a flood", quiet)
	r.set(name, rowQuiet, late(quiet.Latency.P95, quiet.Failed, devices))

	alone, err := l.Flood(ctx, load.Storm{Rate: r.conf.FloodRate, Duration: r.conf.FloodFor})
	if err != nil {
		return err
	}
	r.keep(name, "flood", alone)
	r.set(name, rowHello, float64(alone.Flood.PerHello))
	r.set(name, rowReply, float64(alone.Flood.PerReply))
	r.set(name, rowKept, float64(alone.Flood.Kept))
	r.set(name, rowAnswered, 100*float64(alone.Flood.Answered)/float64(alone.Flood.Sent))

	both, err := r.floodBeside(ctx, b, func() (*load.Result, error) {
		return l.Handshake(ctx, load.Handshakes{Count: devices, Rate: float64(devices) / r.conf.FloodFor.Seconds()})
	})
	if err != nil {
		return err
	}
	r.keep(name, "flood, and devices", both)
	r.set(name, rowStorm, late(both.Flood.Devices.P95, both.Flood.Failed, devices))
	r.set(name, rowConnected, 100*(1-float64(both.Flood.Failed)/float64(devices)))
	return nil
}

// floodBeside measures devices while another process floods the server. That process reads no answers: who forges addresses gets
// none, and what it would take of this machine's processors is nothing that a server could help.
func (r *run) floodBeside(ctx context.Context, b *bed, devices func() (*load.Result, error)) (*load.Result, error) {
	lead := min(maxFloodLead, r.conf.FloodFor/2)
	cmd := exec.CommandContext(ctx, r.place.bin("coap-load"), "flood", "--blind", "--quiet", "--json", "--target", b.server.target.String(),
		"-u", identities, "-k", r.place.key, "--rate", fmt.Sprint(r.conf.FloodRate), "--settle", "0s",
		"--duration", (lead + r.conf.FloodFor + lead).String(), "--pid", strconv.Itoa(b.server.pid))
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	<-time.After(lead)
	connected, failure := devices()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("the flood: %w: %s", err, strings.TrimSpace(log.String()))
	}
	both := new(load.Result)
	if err := json.Unmarshal(out.Bytes(), both); err != nil {
		return nil, fmt.Errorf("the flood: %w", err)
	}
	if connected == nil {
		return nil, failure
	}
	if failure != nil { // no device at all
		r.remark(b.peer.name, "devices during the flood", failure)
	}
	both.Flood.Devices, both.Flood.Failed, both.Failures = connected.Latency, connected.Failed, connected.Failures
	if offered := both.Rate; offered < minOffered*r.conf.FloodRate {
		r.conf.Progress(fmt.Sprintf("!! %s: only %.0f hellos a second were sent beside the devices", b.peer.name, offered))
	}
	return both, nil
}

func (r *run) setAllocs(peer, row string, c *load.Cost) {
	if c != nil && c.Allocs > 0 {
		r.set(peer, row, c.Allocs)
	}
}

// late is the 95th percentile of all devices: those that failed are later than all others.
func late(p95 time.Duration, failed uint64, devices int) float64 {
	if float64(failed) > 0.05*float64(devices) {
		return math.Inf(1)
	}
	return float64(p95)
}

// floor measures what nothing that answers a hello can be below.
func (r *run) floor(ctx context.Context) {
	r.conf.Progress("== a UDP echo with one HMAC")
	s, err := startEcho(ctx, r.place)
	if err != nil {
		r.remark("echo", "floor", err)
		return
	}
	defer s.stop()
	l, err := (&bed{server: s, run: r, kind: withKey}).load(1, 0)
	if err == nil {
		var got *load.Result
		if got, err = l.Flood(ctx, load.Storm{Rate: r.conf.FloodRate, Duration: r.conf.FloodFor}); err == nil {
			r.report.Floor = float64(got.Flood.PerHello)
			r.keep("UDP echo", "flood", got)
		}
		l.Close()
	}
	if err != nil {
		r.remark("echo", "floor", err)
	}
}
