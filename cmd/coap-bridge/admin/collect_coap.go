package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"coapbridge/coap"
)

// NewCoAPCollector returns the metrics of a coap.Endpoint, whose Stats method is the snapshot.
func NewCoAPCollector(snapshot func() coap.Stats) prometheus.Collector {
	type S = coap.Stats
	return &statsCollector[S]{snapshot: snapshot, metrics: []statsMetric[S]{
		counter("coap_messages_total",
			"CoAP messages, repetitions included. direction: in, out. type: CON, NON, ACK, RST.",
			[]string{"direction", "type"}, func(s S, add func(float64, ...string)) {
				for i := range s.In {
					add(float64(s.In[i]), "in", coap.Type(i).String())
					add(float64(s.Out[i]), "out", coap.Type(i).String())
				}
			}),
		total("coap_requests_total", "Requests of peers that were handed on.", func(s S) uint64 { return s.Requests }),
		counter("coap_responses_total",
			"Responses to requests of peers, suppressed ones included. code: response codes of the CoRE registry, as c.dd.",
			[]string{"code"}, func(s S, add func(float64, ...string)) {
				for code, n := range s.Responses {
					add(float64(n), code.String())
				}
			}),
		counter("coap_refused_total", "Messages dropped or refused. reason: "+labelSet(coap.Reasons())+".",
			[]string{"reason"}, func(s S, add func(float64, ...string)) {
				for _, r := range coap.Reasons() {
					add(float64(s.Refused[r]), r.String())
				}
			}),
		total("coap_duplicates_total", "Repeated messages that were recognised.", func(s S) uint64 { return s.Duplicates }),
		total("coap_retransmissions_total", "Confirmable messages of ours that were sent again.",
			func(s S) uint64 { return s.Retransmissions }),
		total("coap_timeouts_total", "Confirmable messages of ours that were never acknowledged, and requests never answered.",
			func(s S) uint64 { return s.Timeouts }),
		gauge("coap_deduplication_records", "Message IDs that are remembered.", func(s S) float64 { return float64(s.Records) }),
		gauge("coap_deduplication_bytes", "Memory of the remembered Message IDs and their answers.",
			func(s S) float64 { return float64(s.RecordBytes) }),
		gauge("coap_begun_bodies", "Request bodies of which blocks are missing.", func(s S) float64 { return float64(s.Bodies) }),
		gauge("coap_begun_bodies_bytes", "Memory of the begun request bodies.", func(s S) float64 { return float64(s.BodyBytes) }),
		gauge("coap_kept_bodies", "Response bodies that are kept until all their blocks are fetched.",
			func(s S) float64 { return float64(s.Kept) }),
		gauge("coap_kept_bodies_bytes", "Memory of the kept response bodies.", func(s S) float64 { return float64(s.KeptBytes) }),
		gauge("coap_observations", "Observations of peers.", func(s S) float64 { return float64(s.Observations) }),
		gauge("coap_observed", "Observations of ours at peers.", func(s S) float64 { return float64(s.Observed) }),
		total("coap_observations_started_total", "Registrations of peers that were taken.",
			func(s S) uint64 { return s.ObservationsStarted }),
		counter("coap_observations_ended_total", "Observations of peers that are over. reason: "+labelSet(coap.EndReasons())+".",
			[]string{"reason"}, func(s S, add func(float64, ...string)) {
				for _, r := range coap.EndReasons() {
					add(float64(s.ObservationsEnded[r]), r.String())
				}
			}),
		total("coap_notifications_total", "Notifications sent, without first ones and repetitions.",
			func(s S) uint64 { return s.Notifications }),
		gauge("coap_exchanges", "Requests of peers in progress.", func(s S) float64 { return float64(s.Exchanges) }),
		gauge("coap_calls", "Requests of ours in progress.", func(s S) float64 { return float64(s.Calls) }),
	}}
}
