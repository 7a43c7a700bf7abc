package admin

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"coapbridge/dtls"
)

// NewDTLSCollector returns the metrics of a dtls.Endpoint, whose Stats method is the snapshot.
func NewDTLSCollector(snapshot func() dtls.Stats) prometheus.Collector {
	type S = dtls.Stats
	return &statsCollector[S]{snapshot: snapshot, metrics: []statsMetric[S]{
		gauge("dtls_sessions", "Live sessions.", func(s S) float64 { return float64(s.Sessions) }),
		gauge("dtls_half_open_handshakes", "Handshakes under way, dialled ones included.",
			func(s S) float64 { return float64(s.HalfOpen) }),
		byLabel("dtls_handshakes_total", "Handshakes that ended, or were not begun", "outcome",
			func(s S) map[dtls.Outcome]uint64 { return s.Handshakes }),
		byLabel("dtls_dropped_total", "Records and datagrams that were dropped", "reason",
			func(s S) map[dtls.Drop]uint64 { return s.Dropped }),
		byLabel("dtls_closed_sessions_total", "Sessions that ended", "reason",
			func(s S) map[dtls.Reason]uint64 { return s.Closed }),
		counter("dtls_records_total", "Authentic application records. direction: in, out.", []string{"direction"},
			func(s S, add func(float64, ...string)) {
				add(float64(s.RecordsIn), "in")
				add(float64(s.RecordsOut), "out")
			}),
		total("dtls_kernel_dropped_total", "Datagrams that the kernel dropped because a socket's buffer was full.",
			func(s S) uint64 { return s.KernelDrops }),
		counter("dtls_address_changes_total",
			"Sessions with a Connection ID that went on at another address. outcome: moved, reverted (of those, that went back, because the new address was not proven).",
			[]string{"outcome"}, func(s S, add func(float64, ...string)) {
				add(float64(s.Moves), "moved")
				add(float64(s.Reverts), "reverted")
			}),
		total("dtls_read_errors_total", "Errors of the sockets that did not end them.", func(s S) uint64 { return s.ReadErrors }),
	}}
}

// number is an enumeration that counts up from 0 and calls what is beyond its end "unknown".
type number interface {
	~uint8
	fmt.Stringer
	comparable
}

// enumeration returns every value of E.
func enumeration[E number]() (values []E) {
	for e := E(0); e.String() != "unknown"; e++ {
		values = append(values, e)
	}
	return values
}

// byLabel describes a counter whose only label is an enumeration.
func byLabel[S any, E number](name, help, label string, counts func(S) map[E]uint64) statsMetric[S] {
	all := enumeration[E]()
	return counter(name, help+". "+label+": "+labelSet(all)+".", []string{label},
		func(s S, add func(float64, ...string)) {
			m := counts(s)
			for _, e := range all {
				add(float64(m[e]), e.String())
			}
		})
}
