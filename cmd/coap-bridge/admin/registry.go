package admin

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Build says which build runs.
type Build struct {
	Version string    // of the release
	Commit  string    // of the source; "" when it is not known
	Date    time.Time // of the build; zero when it is not known
}

// NewRegistry returns a registry of this process alone (the module's global one is not used) with the metrics of the Go
// runtime, of the process, of the build, and of cs.
func NewRegistry(b Build, cs ...prometheus.Collector) (*prometheus.Registry, error) {
	reg := prometheus.NewPedanticRegistry() // it checks that collectors send what they described
	all := append([]prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newBuildInfo(b),
	}, cs...)
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("admin: register metrics: %w", err)
		}
	}
	return reg, nil
}

func newBuildInfo(b Build) prometheus.Collector {
	date := ""
	if !b.Date.IsZero() {
		date = b.Date.UTC().Format(time.RFC3339)
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "coapbridge_build_info",
		Help: "Always 1; its labels say which build runs. version, commit, date, goversion: one value each.",
		ConstLabels: prometheus.Labels{
			"version": b.Version, "commit": b.Commit, "date": date, "goversion": runtime.Version(),
		},
	}, func() float64 { return 1 })
}
