package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// refusals are the values of bridge.Refusal: present from the start, so that an alert sees the first of each.
func refusals() []bridge.Refusal {
	return []bridge.Refusal{
		bridge.RefusedOriginator, bridge.RefusedOperation, bridge.RefusedTarget, bridge.RefusedMalformed,
		bridge.RefusedSize, bridge.RefusedProfile, bridge.RefusedMethod, bridge.RefusedExpired, bridge.RefusedBusy,
		bridge.RefusedDevice, bridge.RefusedUnknown, bridge.RefusedBinding, bridge.FailedUnreachable,
		bridge.FailedTimeout, bridge.FailedAnswer, bridge.FailedBindingWrite, bridge.RefusedShutdown,
		bridge.RefusedRegistration, bridge.RefusedReuse, bridge.RefusedReplayFull,
		bridge.RefusedFreshness, bridge.RefusedHopLimit, bridge.RefusedURL, bridge.RefusedNotified, bridge.RefusedPOA,
	}
}

// deliveries are the values of bridge.Delivery, as refusals.
func deliveries() []bridge.Delivery {
	return []bridge.Delivery{
		bridge.DeliveryAnswered, bridge.DeliveryTaken, bridge.DeliveryRepeated, bridge.DeliveryNoAccess, bridge.DeliveryMalformed,
		bridge.DeliveryTarget, bridge.DeliveryExpired, bridge.DeliveryBusy, bridge.DeliveryPlain, bridge.DeliveryNoSession,
		bridge.DeliveryNotDialled, bridge.DeliveryWrongPeer, bridge.DeliverySilent, bridge.DeliveryClosed, bridge.DeliveryReset,
		bridge.DeliveryBadAnswer,
	}
}

// profileLabels are the profiles that a request can be answered in.
func profileLabels() map[bridge.Profile]string {
	return map[bridge.Profile]string{bridge.ProfileOneM2M: "onem2m", bridge.ProfilePlain: "plain", bridge.ProfileAuto: "undecided"}
}

// rscLabel keeps the label's set closed: a CSE may answer with any number.
func rscLabel(s onem2m.StatusCode) string {
	switch {
	case s == 0:
		return "none"
	case s.Known():
		return strconv.Itoa(int(s))
	}
	return "other"
}

// NewBridgeCollector returns the metrics of a bridge.Bridge, whose Stats method is the snapshot.
func NewBridgeCollector(snapshot func() bridge.Stats) prometheus.Collector {
	type S = bridge.Stats
	return &statsCollector[S]{snapshot: snapshot, metrics: []statsMetric[S]{
		counter("bridge_requests_total",
			"Requests of devices, by how they were answered. profile: onem2m, plain, undecided.",
			[]string{"profile"}, func(s S, add func(float64, ...string)) {
				for profile, label := range profileLabels() {
					add(float64(s.Requests[profile]), label)
				}
			}),
		counter("bridge_refusals_total", "Requests that the bridge refused or failed to carry. reason: "+textSet(refusals())+".",
			[]string{"reason"}, func(s S, add func(float64, ...string)) {
				for _, r := range refusals() {
					add(float64(s.Refusals[r]), string(r))
				}
			}),
		counter("bridge_answers_total",
			"Answers to devices. code: CoAP response codes, as c.dd. rsc: the ResponseStatusCodes of TS-0004, other for a number "+
				"that is not among them, none for a plain device.",
			[]string{"code", "rsc"}, sendAnswers),
		total("bridge_unsent_answers_total", "Answers that no session took any more.", func(s S) uint64 { return s.Unsent }),
		total("bridge_repeated_requests_total", "Requests answered from the answer to an equal one with their Request Identifier.",
			func(s S) uint64 { return s.Repeated }),
		gauge("bridge_remembered_requests", "Requests that are remembered so that none is executed twice.",
			func(s S) float64 { return float64(s.Replays) }),
		gauge("bridge_queued_requests", "Requests that wait for a worker.", func(s S) float64 { return float64(s.Queued) }),
		gauge("bridge_active_requests", "Requests at the Service Layer now.", func(s S) float64 { return float64(s.Active) }),
		counter("bridge_deliveries_total", "Requests of CSEs to devices, by how they ended. outcome: "+textSet(deliveries())+".",
			[]string{"outcome"}, func(s S, add func(float64, ...string)) {
				for _, d := range deliveries() {
					add(float64(s.Deliveries[d]), string(d))
				}
			}),
		counter("bridge_observe_events_total",
			"What happened to observations of plain devices (RFC 7641), and to those of the bridge at devices. event: "+textSet(bridge.ObserveEvents())+".",
			[]string{"event"}, func(s S, add func(float64, ...string)) {
				for _, e := range bridge.ObserveEvents() {
					add(float64(s.Observed[e]), string(e))
				}
			}),
		gauge("bridge_observers", "Observations of plain devices now.", func(s S) float64 { return float64(s.Observers) }),
		gauge("bridge_subscriptions", "Subscriptions at the CSEs for them.", func(s S) float64 { return float64(s.Subscriptions) }),
		gauge("bridge_active_deliveries", "Requests of CSEs to devices now.", func(s S) float64 { return float64(s.Delivering) }),
		gauge("bridge_remembered_deliveries", "Requests of CSEs that are remembered so that none reaches a device twice.",
			func(s S) float64 { return float64(s.DownReplays) }),
	}}
}

func sendAnswers(s bridge.Stats, add func(float64, ...string)) {
	type key struct{ code, rsc string }
	sums := make(map[key]float64, len(s.Answers))
	for a, n := range s.Answers {
		sums[key{a.Code.String(), rscLabel(a.Status)}] += float64(n)
	}
	for k, v := range sums {
		add(v, k.code, k.rsc)
	}
}
