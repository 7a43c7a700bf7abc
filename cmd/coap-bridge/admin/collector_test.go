package admin

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// gather lints c's metrics and compares those of the given names.
func gather(t *testing.T, c prometheus.Collector, want string, names ...string) {
	t.Helper()
	reg, err := NewRegistry(Build{}, c)
	require.NoError(t, err)
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(want), names...))
}

func TestCoAPCollector(t *testing.T) {
	t.Parallel()
	c := NewCoAPCollector(func() coap.Stats {
		return coap.Stats{
			In: [4]uint64{1, 2, 3, 4}, Out: [4]uint64{5, 6, 7, 8}, Requests: 9, RecordBytes: 10,
			Responses: map[coap.Code]uint64{coap.Content: 11}, Refused: map[coap.Reason]uint64{coap.ReasonProxy: 12},
		}
	})
	gather(t, c, `
# HELP coapbridge_coap_messages_total CoAP messages, repetitions included. direction: in, out. type: CON, NON, ACK, RST.
# TYPE coapbridge_coap_messages_total counter
coapbridge_coap_messages_total{direction="in",type="ACK"} 3
coapbridge_coap_messages_total{direction="in",type="CON"} 1
coapbridge_coap_messages_total{direction="in",type="NON"} 2
coapbridge_coap_messages_total{direction="in",type="RST"} 4
coapbridge_coap_messages_total{direction="out",type="ACK"} 7
coapbridge_coap_messages_total{direction="out",type="CON"} 5
coapbridge_coap_messages_total{direction="out",type="NON"} 6
coapbridge_coap_messages_total{direction="out",type="RST"} 8
# HELP coapbridge_coap_requests_total Requests of peers that were handed on.
# TYPE coapbridge_coap_requests_total counter
coapbridge_coap_requests_total 9
# HELP coapbridge_coap_deduplication_bytes Memory of the remembered Message IDs and their answers.
# TYPE coapbridge_coap_deduplication_bytes gauge
coapbridge_coap_deduplication_bytes 10
# HELP coapbridge_coap_responses_total Responses to requests of peers, suppressed ones included. code: response codes of the CoRE registry, as c.dd.
# TYPE coapbridge_coap_responses_total counter
coapbridge_coap_responses_total{code="2.05"} 11
`, "coapbridge_coap_messages_total", "coapbridge_coap_requests_total", "coapbridge_coap_deduplication_bytes",
		"coapbridge_coap_responses_total")
	require.Equal(t, len(coap.Reasons()), testutil.CollectAndCount(c, "coapbridge_coap_refused_total"),
		"every reason is there from the start")
}

// TestBridgeCollector: the set of each label is closed, whatever number a CSE answers with.
func TestBridgeCollector(t *testing.T) {
	t.Parallel()
	c := NewBridgeCollector(func() bridge.Stats {
		return bridge.Stats{
			Requests: map[bridge.Profile]uint64{bridge.ProfilePlain: 1},
			Refusals: map[bridge.Refusal]uint64{bridge.RefusedOriginator: 2},
			Answers: map[bridge.Answer]uint64{
				{Code: coap.Created, Status: 2001}: 3, {Code: coap.BadRequest, Status: 4998}: 4,
				{Code: coap.BadRequest, Status: 4999}: 5, {Code: coap.Content}: 6,
			},
			Queued: 7,
		}
	})
	gather(t, c, `
# HELP coapbridge_bridge_answers_total Answers to devices. code: CoAP response codes, as c.dd. rsc: the ResponseStatusCodes of TS-0004, other for a number that is not among them, none for a plain device.
# TYPE coapbridge_bridge_answers_total counter
coapbridge_bridge_answers_total{code="2.01",rsc="2001"} 3
coapbridge_bridge_answers_total{code="2.05",rsc="none"} 6
coapbridge_bridge_answers_total{code="4.00",rsc="other"} 9
# HELP coapbridge_bridge_requests_total Requests of devices, by how they were answered. profile: onem2m, plain, undecided.
# TYPE coapbridge_bridge_requests_total counter
coapbridge_bridge_requests_total{profile="onem2m"} 0
coapbridge_bridge_requests_total{profile="plain"} 1
coapbridge_bridge_requests_total{profile="undecided"} 0
# HELP coapbridge_bridge_queued_requests Requests that wait for a worker.
# TYPE coapbridge_bridge_queued_requests gauge
coapbridge_bridge_queued_requests 7
`, "coapbridge_bridge_answers_total", "coapbridge_bridge_requests_total", "coapbridge_bridge_queued_requests")
}

func TestCSECollector(t *testing.T) {
	t.Parallel()
	c := NewCSECollector(func() []cse.Stats {
		return []cse.Stats{{
			CSE: "in", Outcomes: map[cse.Reason]uint64{cse.ReasonAnswered: 3, cse.ReasonTimeout: 1},
			Statuses:   map[onem2m.StatusCode]uint64{2001: 2, 0: 1},
			LatencySum: 1500 * time.Millisecond, InFlight: 5, Dialled: 6,
			LatencyBuckets: []cse.Bucket{{UpTo: time.Millisecond, Count: 1}, {UpTo: time.Second, Count: 3}},
		}, {CSE: "other"}}
	})
	gather(t, c, `
# HELP coapbridge_cse_answers_total Answers of a CSE. cse: the configured CSEs. rsc: the ResponseStatusCodes of TS-0004, other for a number that is not among them.
# TYPE coapbridge_cse_answers_total counter
coapbridge_cse_answers_total{cse="in",rsc="2001"} 2
coapbridge_cse_answers_total{cse="in",rsc="other"} 1
# HELP coapbridge_cse_connections_total Connections opened to a CSE. cse: the configured CSEs.
# TYPE coapbridge_cse_connections_total counter
coapbridge_cse_connections_total{cse="in"} 6
coapbridge_cse_connections_total{cse="other"} 0
# HELP coapbridge_cse_requests_in_flight Requests to a CSE that are not finished. cse: the configured CSEs.
# TYPE coapbridge_cse_requests_in_flight gauge
coapbridge_cse_requests_in_flight{cse="in"} 5
coapbridge_cse_requests_in_flight{cse="other"} 0
# HELP coapbridge_cse_request_duration_seconds How long requests to a CSE took, answered or not. cse: the configured CSEs.
# TYPE coapbridge_cse_request_duration_seconds histogram
coapbridge_cse_request_duration_seconds_bucket{cse="in",le="0.001"} 1
coapbridge_cse_request_duration_seconds_bucket{cse="in",le="1"} 3
coapbridge_cse_request_duration_seconds_bucket{cse="in",le="+Inf"} 4
coapbridge_cse_request_duration_seconds_sum{cse="in"} 1.5
coapbridge_cse_request_duration_seconds_count{cse="in"} 4
coapbridge_cse_request_duration_seconds_bucket{cse="other",le="+Inf"} 0
coapbridge_cse_request_duration_seconds_sum{cse="other"} 0
coapbridge_cse_request_duration_seconds_count{cse="other"} 0
`, "coapbridge_cse_answers_total", "coapbridge_cse_connections_total", "coapbridge_cse_requests_in_flight",
		"coapbridge_cse_request_duration_seconds")
	require.Equal(t, 2*len(outcomes()), testutil.CollectAndCount(c, "coapbridge_cse_requests_total"))
}

// declared returns the values of all constants of a string type in a file of the repository.
func declared(t *testing.T, name, kind string) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../../"+name, nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == kind {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			values = append(values, value)
		}
		return true
	})
	require.NotEmpty(t, values)
	return values
}

// TestEveryReasonIsCollected: a reason that another package gains must not be missing here.
func TestEveryReasonIsCollected(t *testing.T) {
	t.Parallel()
	require.Equal(t, strings.Join(declared(t, "bridge/stats.go", "Refusal"), ", "), textSet(refusals()))
	require.Equal(t, strings.Join(declared(t, "bridge/cse/error.go", "Reason"), ", "), textSet(outcomes()))
}

func TestDTLSCollector(t *testing.T) {
	t.Parallel()
	c := NewDTLSCollector(func() dtls.Stats {
		return dtls.Stats{
			Sessions: 1, RecordsIn: 2, RecordsOut: 3, Closed: map[dtls.Reason]uint64{dtls.ReasonIdle: 4},
			Handshakes: map[dtls.Outcome]uint64{dtls.OutcomePSKFailed: 5},
		}
	})
	gather(t, c, `
# HELP coapbridge_dtls_sessions Live sessions.
# TYPE coapbridge_dtls_sessions gauge
coapbridge_dtls_sessions 1
# HELP coapbridge_dtls_records_total Authentic application records. direction: in, out.
# TYPE coapbridge_dtls_records_total counter
coapbridge_dtls_records_total{direction="in"} 2
coapbridge_dtls_records_total{direction="out"} 3
# HELP coapbridge_dtls_closed_sessions_total Sessions that ended. reason: peer_closed, peer_alert, idle, expired, revoked, replaced, surplus, evicted, key_limit, shutdown, local.
# TYPE coapbridge_dtls_closed_sessions_total counter
coapbridge_dtls_closed_sessions_total{reason="expired"} 0
coapbridge_dtls_closed_sessions_total{reason="idle"} 4
coapbridge_dtls_closed_sessions_total{reason="key_limit"} 0
coapbridge_dtls_closed_sessions_total{reason="local"} 0
coapbridge_dtls_closed_sessions_total{reason="peer_alert"} 0
coapbridge_dtls_closed_sessions_total{reason="peer_closed"} 0
coapbridge_dtls_closed_sessions_total{reason="replaced"} 0
coapbridge_dtls_closed_sessions_total{reason="revoked"} 0
coapbridge_dtls_closed_sessions_total{reason="shutdown"} 0
coapbridge_dtls_closed_sessions_total{reason="evicted"} 0
coapbridge_dtls_closed_sessions_total{reason="surplus"} 0
`, "coapbridge_dtls_sessions", "coapbridge_dtls_records_total", "coapbridge_dtls_closed_sessions_total")
	require.Equal(t, int(dtls.OutcomeShutdown)+1, testutil.CollectAndCount(c, "coapbridge_dtls_handshakes_total"))
}

func TestDownlinkCollectors(t *testing.T) {
	t.Parallel()
	require.Equal(t, strings.Join(declared(t, "bridge/stats.go", "Delivery"), ", "), textSet(deliveries()))
	d := NewDownlinkCollector(func() cse.DownlinkStats {
		return cse.DownlinkStats{Refused: map[cse.DownlinkReason]uint64{cse.DownlinkNoAccess: 2}, Handshaking: 1, CSEs: []cse.DownlinkCSEStats{
			{CSE: "in", Connections: 3, Requests: 4, Answers: map[int]uint64{2: 3, 4: 1}, Open: 5, InProgress: 6},
		}}
	})
	gather(t, d, `
# HELP coapbridge_downlink_answers_total Answers to a CSE. cse: the configured CSEs. class: 1 to 6, the ResponseStatusCode's first digit; 0 for one that is none.
# TYPE coapbridge_downlink_answers_total counter
coapbridge_downlink_answers_total{class="0",cse="in"} 0
coapbridge_downlink_answers_total{class="1",cse="in"} 0
coapbridge_downlink_answers_total{class="2",cse="in"} 3
coapbridge_downlink_answers_total{class="3",cse="in"} 0
coapbridge_downlink_answers_total{class="4",cse="in"} 1
coapbridge_downlink_answers_total{class="5",cse="in"} 0
coapbridge_downlink_answers_total{class="6",cse="in"} 0
# HELP coapbridge_downlink_active_requests Requests of a CSE now. cse: the configured CSEs.
# TYPE coapbridge_downlink_active_requests gauge
coapbridge_downlink_active_requests{cse="in"} 6
# HELP coapbridge_downlink_connections_total Connections that a CSE opened. cse: the configured CSEs.
# TYPE coapbridge_downlink_connections_total counter
coapbridge_downlink_connections_total{cse="in"} 3
`, "coapbridge_downlink_answers_total", "coapbridge_downlink_active_requests", "coapbridge_downlink_connections_total")
	require.Equal(t, len(cse.DownlinkReasons()), testutil.CollectAndCount(d, "coapbridge_downlink_refused_total"))

	p := NewPollerCollector(func() []cse.PollerStats {
		return []cse.PollerStats{{CSE: "in", Watched: 7, Polls: map[cse.PollOutcome]uint64{cse.PollEmpty: 8}, Lost: 9}}
	})
	gather(t, p, `
# HELP coapbridge_poller_lost_answers_total Answers that a CSE did not take. cse: the configured CSEs.
# TYPE coapbridge_poller_lost_answers_total counter
coapbridge_poller_lost_answers_total{cse="in"} 9
# HELP coapbridge_poller_watched AEs that a CSE is polled for. cse: the configured CSEs.
# TYPE coapbridge_poller_watched gauge
coapbridge_poller_watched{cse="in"} 7
`, "coapbridge_poller_lost_answers_total", "coapbridge_poller_watched")
	require.Equal(t, len(cse.PollOutcomes()), testutil.CollectAndCount(p, "coapbridge_poller_polls_total"))
}
