// Package bench measures coap-bridge and its peers with the same load in one run and sets the figures side by side: the
// shortest server of pion and go-coap (internal/baseline), and libcoap's coap-server with OpenSSL and with GnuTLS.
//
// Each server runs alone, as its own process, on loopback; the CSE that requests are carried to is another process, whose
// cost counts for nobody. Absolute figures depend on the machine and on what else it does; what can be compared is their
// ratio to the first column.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"coapbridge/cmd/coap-load/load"
)

// Config says how much is measured.
type Config struct {
	Bin          string        // folder with coap-bridge, coap-load and bench/baseline
	Servers      []string      // names; nil is all
	Rounds       int           // every figure is the median of as many
	Sessions     int           // idle sessions with pre-shared keys
	CertSessions int           // idle sessions with certificates
	Stretch      time.Duration // of each measurement with load
	Requesters   int           // sessions on which requests are sent
	FloodRate    float64       // forged ClientHellos a second
	FloodFor     time.Duration
	FloodDevices int           // that connect meanwhile
	Settle       time.Duration // until memory is read, and then how long idle sessions are watched
	Progress     func(string)  `json:"-"`
}

// Standard returns how much is measured by default: it takes about 20 minutes.
func Standard() Config {
	return Config{
		Rounds: 3, Sessions: 20_000, CertSessions: 5_000, Stretch: 10 * time.Second, Requesters: 1000,
		FloodRate: 100_000, FloodFor: 5 * time.Second, FloodDevices: 1000, Settle: 5 * time.Second,
	}
}

// Quick returns what takes less than five minutes and shows whether everything works.
func Quick() Config {
	return Config{
		Rounds: 1, Sessions: 2000, CertSessions: 500, Stretch: 3 * time.Second, Requesters: 200,
		FloodRate: 20_000, FloodFor: 3 * time.Second, FloodDevices: 100, Settle: 2 * time.Second,
	}
}

// figures are the values of one server: by row, one for each round. NaN: it could not be measured.
type figures map[string][]float64

// MarshalJSON implements json.Marshaler: what was not measured is null, and what never came is "none".
func (f figures) MarshalJSON() ([]byte, error) {
	all := map[string][]any{}
	for row, values := range f {
		for _, v := range values {
			switch {
			case math.IsNaN(v):
				all[row] = append(all[row], nil)
			case math.IsInf(v, 0):
				all[row] = append(all[row], "none")
			default:
				all[row] = append(all[row], v)
			}
		}
	}
	return json.Marshal(all)
}

// Report is what was measured.
type Report struct {
	Config  Config             `json:"config"`
	Machine Machine            `json:"machine"`
	Began   time.Time          `json:"began"`
	Took    time.Duration      `json:"took_ns"`
	Servers []string           `json:"servers"`
	Figures map[string]figures `json:"figures"` // by server, by row
	Floor   float64            `json:"udp_echo_ns"`
	Remarks []string           `json:"remarks"` // what could not be measured, and why
	Results []Measured         `json:"results"` // everything
}

// Measured is one result in its place.
type Measured struct {
	Server string       `json:"server"`
	Round  int          `json:"round"`
	What   string       `json:"what"`
	Result *load.Result `json:"result"`
}

// run is one Run under way.
type run struct {
	conf   Config
	place  *place
	report *Report
	round  int
}

// Run measures. It returns what it has, and an error when it could not go on.
func Run(ctx context.Context, conf Config) (*Report, error) {
	if conf.Progress == nil {
		conf.Progress = func(string) {}
	}
	dir, err := os.MkdirTemp("", "coap-load-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	conf.Progress(fmt.Sprintf("keys and certificates for %d and %d devices", conf.Sessions, conf.CertSessions))
	p, err := newPlace(ctx, conf, dir)
	if err != nil {
		return nil, err
	}
	defer p.close()
	r := &run{conf: conf, place: p, report: &Report{
		Config: conf, Machine: machine(), Began: time.Now(), Figures: map[string]figures{},
	}}
	peers := peers()
	if conf.Servers != nil {
		peers = slices.DeleteFunc(peers, func(p peer) bool { return !slices.Contains(conf.Servers, p.name) })
	}
	if len(peers) == 0 {
		return nil, errors.New("bench: none of these servers is known")
	}
	for _, peer := range peers {
		r.report.Servers = append(r.report.Servers, peer.name)
		r.report.Figures[peer.name] = figures{}
	}
	for r.round = 1; r.round <= conf.Rounds; r.round++ {
		for _, peer := range peers {
			r.measure(ctx, peer)
			if ctx.Err() != nil {
				return r.report, context.Cause(ctx)
			}
		}
	}
	r.floor(ctx)
	r.report.Took = time.Since(r.report.Began)
	return r.report, ctx.Err()
}

// set adds a value.
func (r *run) set(peer, row string, v float64) {
	f := r.report.Figures[peer]
	f[row] = append(f[row], v)
}

// remark notes what could not be measured.
func (r *run) remark(peer, what string, err error) {
	text := fmt.Sprintf("%s, round %d, %s: %v", peer, r.round, what, err)
	r.conf.Progress("!! " + text)
	r.report.Remarks = append(r.report.Remarks, text)
}

func (r *run) keep(peer, what string, result *load.Result) {
	r.report.Results = append(r.report.Results, Measured{peer, r.round, what, result})
}

// measure runs every measurement of one server; one that fails leaves its rows empty.
func (r *run) measure(ctx context.Context, p peer) {
	steps := []struct {
		what string
		kind kind
		do   func(context.Context, *bed) error
	}{
		{"idle sessions with keys", withKey, r.idleKeys},
		{"handshakes with keys, and requests", withKey, r.requests},
		{"forged ClientHellos", withKey, r.flood},
		{"idle sessions with certificates", withCertificate, r.idleCertificates},
		{"handshakes with certificates", withCertificate, r.certificates},
	}
	for _, step := range steps {
		if ctx.Err() != nil {
			return
		}
		r.conf.Progress(fmt.Sprintf("== round %d of %d: %s: %s", r.round, r.conf.Rounds, p.name, step.what))
		b, err := r.open(ctx, p, step.kind)
		if err != nil {
			r.remark(p.name, step.what, err)
			continue
		}
		if err := step.do(ctx, b); err != nil && ctx.Err() == nil {
			r.remark(p.name, step.what, err)
		}
		b.server.stop()
	}
}

func nanoseconds(c *load.Cost) float64 {
	if c == nil {
		return math.NaN()
	}
	return float64(c.PerOp)
}
