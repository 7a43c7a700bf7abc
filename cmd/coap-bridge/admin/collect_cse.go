package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"coapbridge/bridge/cse"
)

// NewCSECollector returns the metrics of a cse.Client, whose Stats method is the snapshot. The label cse is the CSE's name
// in the configuration.
func NewCSECollector(snapshot func() []cse.Stats) prometheus.Collector {
	type S = []cse.Stats
	duration := prometheus.NewDesc("coapbridge_cse_request_duration_seconds",
		"How long requests to a CSE took, answered or not. cse: the configured CSEs.", []string{"cse"}, nil)
	return &cseCollector{duration: duration, rest: statsCollector[S]{snapshot: snapshot, metrics: []statsMetric[S]{
		counter("cse_requests_total", "Requests to a CSE by what became of them. cse: the configured CSEs. outcome: "+textSet(outcomes())+".",
			[]string{"cse", "outcome"}, func(all S, add func(float64, ...string)) {
				for i := range all {
					for _, r := range outcomes() {
						add(float64(all[i].Outcomes[r]), all[i].CSE, string(r))
					}
				}
			}),
		counter("cse_answers_total",
			"Answers of a CSE. cse: the configured CSEs. rsc: the ResponseStatusCodes of TS-0004, other for a number that is not "+
				"among them.",
			[]string{"cse", "rsc"}, sendStatuses),
		perCSE("cse_connections_total", "Connections opened to a CSE. cse: the configured CSEs.",
			func(s *cse.Stats) float64 { return float64(s.Dialled) }),
		perCSE("cse_connection_reuses_total", "Requests that found a kept connection. cse: the configured CSEs.",
			func(s *cse.Stats) float64 { return float64(s.Reused) }),
		perCSE("cse_repeated_requests_total", "Requests that were sent a second time. cse: the configured CSEs.",
			func(s *cse.Stats) float64 { return float64(s.Repeated) }),
		asGauge(perCSE("cse_requests_in_flight", "Requests to a CSE that are not finished. cse: the configured CSEs.",
			func(s *cse.Stats) float64 { return float64(s.InFlight) })),
		asGauge(perCSE("cse_open_connections", "Connections to a CSE now, idle ones included. cse: the configured CSEs.",
			func(s *cse.Stats) float64 { return float64(s.Open) })),
	}}}
}

// outcomes are the values of cse.Reason: present from the start, so that an alert sees the first of each.
func outcomes() []cse.Reason {
	return []cse.Reason{
		cse.ReasonAnswered, cse.ReasonUnknown, cse.ReasonBusy, cse.ReasonConnect, cse.ReasonTLS, cse.ReasonClosed,
		cse.ReasonTimeout, cse.ReasonCancelled, cse.ReasonBroken, cse.ReasonTruncated, cse.ReasonMalformed,
		cse.ReasonTooLarge, cse.ReasonRedirect, cse.ReasonSurplus, cse.ReasonRequestID, cse.ReasonVersion,
		cse.ReasonPrimitive,
	}
}

// perCSE describes a counter with one value for each CSE.
func perCSE(name, help string, value func(*cse.Stats) float64) statsMetric[[]cse.Stats] {
	return counter(name, help, []string{"cse"}, func(all []cse.Stats, add func(float64, ...string)) {
		for i := range all {
			add(value(&all[i]), all[i].CSE)
		}
	})
}

func asGauge[T any](m statsMetric[T]) statsMetric[T] {
	m.kind = prometheus.GaugeValue
	return m
}

func sendStatuses(all []cse.Stats, add func(float64, ...string)) {
	for i := range all {
		sums := make(map[string]float64, len(all[i].Statuses))
		for status, n := range all[i].Statuses {
			label := "other"
			if status.Known() {
				label = strconv.Itoa(int(status))
			}
			sums[label] += float64(n)
		}
		for label, n := range sums {
			add(n, all[i].CSE, label)
		}
	}
}

// cseCollector adds the histogram, which statsCollector has no kind for.
type cseCollector struct {
	rest     statsCollector[[]cse.Stats]
	duration *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *cseCollector) Describe(ch chan<- *prometheus.Desc) {
	c.rest.Describe(ch)
	ch <- c.duration
}

// Collect implements prometheus.Collector.
func (c *cseCollector) Collect(ch chan<- prometheus.Metric) {
	all := c.rest.snapshot()
	c.rest.send(all, ch)
	for i := range all {
		s := &all[i]
		var count uint64
		for _, n := range s.Outcomes {
			count += n
		}
		buckets := make(map[float64]uint64, len(s.LatencyBuckets))
		for _, b := range s.LatencyBuckets {
			buckets[b.UpTo.Seconds()] = b.Count
		}
		ch <- prometheus.MustNewConstHistogram(c.duration, count, s.LatencySum.Seconds(), buckets, s.CSE)
	}
}
