package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// Check is one condition of readiness: the clock, a certificate's end, whether a CSE answers, the devices file.
type Check struct {
	// Name is lower case with underscores; it is a metric label.
	Name string
	// Probe returns nil, what is wrong, or a Warning. It reads state that is kept anyway: it must not wait or do I/O,
	// must be safe for concurrent use, and its text shows no secret and no identity.
	Probe func() error
}

// Warning is what a Probe returns for something that an operator should see to while requests are still served, such as a
// certificate that ends next week.
type Warning struct{ Err error }

// Error implements error.
func (w Warning) Error() string { return w.Err.Error() }

// Unwrap returns the error underneath.
func (w Warning) Unwrap() error { return w.Err }

// Names of a check's state in the answer of /readyz.
const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateFailed  = "failed"
)

// report is the answer of /readyz.
type report struct {
	Ready  bool     `json:"ready"`
	Checks []status `json:"checks"`
}

type status struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// readiness runs the checks, for /readyz and as a collector for /metrics.
type readiness struct {
	checks []Check
}

func (r *readiness) run() report {
	out := report{Ready: true, Checks: make([]status, 0, len(r.checks))}
	for _, c := range r.checks {
		s := status{Name: c.Name, State: stateOK}
		if err := probe(c); err != nil {
			s.State, s.Reason = stateFailed, err.Error()
			if errors.As(err, new(Warning)) {
				s.State = stateWarning
			}
		}
		out.Ready = out.Ready && s.State != stateFailed
		out.Checks = append(out.Checks, s)
	}
	return out
}

// probe turns a panic into a failed check: a defect in a check must not take the operator's window away.
func probe(c Check) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the check itself failed (%T)", p) // its type only: a value may hold anything
		}
	}()
	return c.Probe()
}

// ServeHTTP answers 200 when every check holds or only warns, 503 otherwise, and says why as JSON. encoding/json escapes
// what HTML would read as markup (O03).
func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	rep := r.run()
	w.Header().Set("Content-Type", "application/json")
	if !rep.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(rep)
}

// readyDesc describes the metric of a check.
func readyDesc() *prometheus.Desc {
	return prometheus.NewDesc("coapbridge_admin_check_state",
		"State of each condition of readiness: 1 for the state that it is in, 0 for the others. check: the conditions that "+
			"/readyz lists. state: ok, warning, failed.", []string{"check", "state"}, nil)
}

// Describe implements prometheus.Collector.
func (r *readiness) Describe(ch chan<- *prometheus.Desc) { ch <- readyDesc() }

// Collect implements prometheus.Collector.
func (r *readiness) Collect(ch chan<- prometheus.Metric) {
	desc := readyDesc()
	for _, s := range r.run().Checks {
		for _, state := range []string{stateOK, stateWarning, stateFailed} {
			value := 0.0
			if s.State == state {
				value = 1
			}
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.Name, state)
		}
	}
}
