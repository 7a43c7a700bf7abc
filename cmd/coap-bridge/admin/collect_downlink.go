package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"coapbridge/bridge/cse"
)

// NewDownlinkCollector returns the metrics of a cse.Downlink, whose Stats method is the snapshot. The label cse is the CSE's
// name in the configuration.
func NewDownlinkCollector(snapshot func() cse.DownlinkStats) prometheus.Collector {
	type S = cse.DownlinkStats
	each := func(name, help string, value func(*cse.DownlinkCSEStats) float64) statsMetric[S] {
		return counter(name, help+" cse: the configured CSEs.", []string{"cse"}, func(s S, add func(float64, ...string)) {
			for i := range s.CSEs {
				add(value(&s.CSEs[i]), s.CSEs[i].CSE)
			}
		})
	}
	return &statsCollector[S]{snapshot: snapshot, metrics: []statsMetric[S]{
		counter("downlink_refused_total", "Connections and requests of CSEs, or of whoever called, that were refused. reason: "+
			textSet(cse.DownlinkReasons())+".", []string{"reason"}, func(s S, add func(float64, ...string)) {
			for _, r := range cse.DownlinkReasons() {
				add(float64(s.Refused[r]), string(r))
			}
		}),
		gauge("downlink_handshakes", "Connections that are not authenticated yet.", func(s S) float64 { return float64(s.Handshaking) }),
		each("downlink_connections_total", "Connections that a CSE opened.", func(s *cse.DownlinkCSEStats) float64 { return float64(s.Connections) }),
		each("downlink_requests_total", "Requests of a CSE.", func(s *cse.DownlinkCSEStats) float64 { return float64(s.Requests) }),
		answers("downlink_answers_total", "Answers to a CSE.", func(s S, add func(string, map[int]uint64)) {
			for i := range s.CSEs {
				add(s.CSEs[i].CSE, s.CSEs[i].Answers)
			}
		}),
		asGauge(each("downlink_open_connections", "Connections of a CSE now.", func(s *cse.DownlinkCSEStats) float64 { return float64(s.Open) })),
		asGauge(each("downlink_active_requests", "Requests of a CSE now.", func(s *cse.DownlinkCSEStats) float64 { return float64(s.InProgress) })),
	}}
}

// NewPollerCollector returns the metrics of a cse.Poller, whose Stats method is the snapshot.
func NewPollerCollector(snapshot func() []cse.PollerStats) prometheus.Collector {
	type S = []cse.PollerStats
	each := func(name, help string, value func(*cse.PollerStats) float64) statsMetric[S] {
		return counter(name, help+" cse: the configured CSEs.", []string{"cse"}, func(all S, add func(float64, ...string)) {
			for i := range all {
				add(value(&all[i]), all[i].CSE)
			}
		})
	}
	return &statsCollector[S]{snapshot: snapshot, metrics: []statsMetric[S]{
		counter("poller_polls_total", "Polls of polling channels, by what came of them. cse: the configured CSEs. outcome: "+
			textSet(cse.PollOutcomes())+".", []string{"cse", "outcome"}, func(all S, add func(float64, ...string)) {
			for i := range all {
				for _, o := range cse.PollOutcomes() {
					add(float64(all[i].Polls[o]), all[i].CSE, string(o))
				}
			}
		}),
		each("poller_requests_total", "Requests of a CSE that polls brought.", func(s *cse.PollerStats) float64 { return float64(s.Requests) }),
		each("poller_malformed_total", "Of them, those that can't be read.", func(s *cse.PollerStats) float64 { return float64(s.Malformed) }),
		answers("poller_answers_total", "Answers that a CSE took.", func(all S, add func(string, map[int]uint64)) {
			for i := range all {
				add(all[i].CSE, all[i].Answers)
			}
		}),
		each("poller_lost_answers_total", "Answers that a CSE did not take.", func(s *cse.PollerStats) float64 { return float64(s.Lost) }),
		asGauge(each("poller_watched", "AEs that a CSE is polled for.", func(s *cse.PollerStats) float64 { return float64(s.Watched) })),
		asGauge(each("poller_polls", "Polls at a CSE now.", func(s *cse.PollerStats) float64 { return float64(s.Polling) })),
		asGauge(each("poller_active_requests", "Requests at devices now that polls brought.", func(s *cse.PollerStats) float64 { return float64(s.Delivering) })),
	}}
}

// answers describes a counter of answers by the class of their ResponseStatusCode: present from the start.
func answers[T any](name, help string, each func(T, func(cse string, classes map[int]uint64))) statsMetric[T] {
	return counter(name, help+" cse: the configured CSEs. class: 1 to 6, the ResponseStatusCode's first digit; 0 for one that is none.",
		[]string{"cse", "class"}, func(s T, add func(float64, ...string)) {
			each(s, func(cse string, classes map[int]uint64) {
				for class := range 7 {
					add(float64(classes[class]), cse, strconv.Itoa(class))
				}
			})
		})
}
