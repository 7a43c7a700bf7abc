package compare

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/internal/testpki"
)

// TestCompareCSETest makes the same rows towards the in-memory CSE. What that doesn't have, it has to refuse alike.
func TestCompareCSETest(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "CSE")
	own := testpki.NewCA(t, "bridge")
	cse := csetest.New(csetest.Config{Certificate: ca.Server(t, "127.0.0.1").TLS(), ClientCAs: ca.Pool(),
		NotifyCertificate: ca.Client(t, "urn:test:cse").TLS(), NotifyCAs: own.Pool()})
	url, err := cse.Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cse.Close)
	device, http := twins(t, url, ca, own, true)
	judge(t, run(t, rowsOfCSETest(t), device, http, newest(cse)), csetestDifferences())
	require.Equal(t, [2]int{2, 1}, [2]int{device.told, http.told}, "notifications that were compared")
}

// newest returns the request that came since it was called before, as it stood on the wire but for what belongs to the hop;
// "" when none came.
func newest(cse *csetest.CSE) func() string {
	count := 0
	return func() string {
		before := count
		if count = cse.Count(); count == before {
			return ""
		}
		all := cse.Requests()
		return wire(&all[len(all)-1])
	}
}

func wire(r *csetest.RecordedRequest) string {
	lines := []string{r.Method + " " + r.Target}
	for name, values := range r.Header {
		switch name {
		case "Accept-Encoding", "Connection", "Content-Length", "Host", "User-Agent":
		default:
			lines = append(lines, name+": "+strings.Join(values, " and "))
		}
	}
	slices.Sort(lines[1:])
	return strings.Join(append(lines, string(r.Body)), "\n")
}

// rowsOfCSETest are all rows, with the statuses of the in-memory CSE where they aren't ACME's.
func rowsOfCSETest(t *testing.T) []row {
	t.Helper()
	others := map[string]int{}
	for status, names := range csetestStatuses() {
		for _, name := range names {
			require.NotContains(t, others, name)
			others[name] = status
		}
	}
	all := rows()
	for i := range all {
		r := &all[i]
		if status, other := others[r.name]; other {
			require.NotEqual(t, r.want, status, "%s: it answers what ACME does", r.name)
			r.want = status
			delete(others, r.name)
			continue
		}
		switch {
		case r.op == create && slices.Contains([]int{acp, grp, mgo, nod, fcn, ts, tsi, 999}, r.ty):
			r.want = 5001 // it has no such type
		case ofMissingType(r.name):
			r.want = 4004 // and so no such resource
		}
	}
	require.Empty(t, others, "there are no such rows")
	return all
}

// ofMissingType reports whether a row is about a resource of a type that the in-memory CSE doesn't have.
func ofMissingType(name string) bool {
	first, rest, _ := strings.Cut(name, " ")
	switch first {
	case "ACP", "flexContainer", "fan-out", "timeSeries", "timeSeriesInstance", "node", "group",
		"fwr", "swr", "mem", "ani", "andi", "bat", "dvi", "dvc", "rbo", "evl":
		return true
	}
	return first == "container" && rest == "delete under the ACP"
}

// csetestStatuses are the rows that it answers with another status than ACME, by that status.
func csetestStatuses() map[int][]string {
	return map[int][]string{
		// It looks for the target when it executes the request, which it has accepted then.
		1001: {"nonBlockingRequestSynch of nothing"},
		// It reads more into a request than ACME does.
		2000: {
			"discovery: ty, unknown", "discovery: attribute of a child", "discovery: attribute of the parent",
			"discovery: attribute, unknown", "discovery: drt, unknown", "discovery: rcn 1 with fu",
			"filter usage, unknown",
			"RVI is missing", "ot, no timestamp", "da", "discovery: chty", "discovery: pty", "token identifiers",
			"local token identifiers", "role identifiers", "token request indicator", "semantic query indicator",
			"authorization relationship indicator",
		},
		// It is stricter, or refuses what it doesn't have.
		4000: {
			"container under the ACP", "contentInstance create without con", "subscription update", "retrieve rcn 12",
			"delete rcn 4", "delete rcn 5", "delete rcn 6", "delete rcn 8", "not an object",
			"filter criteria in a CREATE",
			"update of another type",
		},
		4001: {"rvi 5"},
		4004: {"AE retrieve, absolute"},
		4005: {"notify to a container"},
		4015: {"Content-Type text", "Content-Type SenML"},
		4103: {"discovery: by a stranger", "delete of the CSEBase"},
		5001: {
			"discovery: exb, future", "discovery: exb, past", "discovery: exa, future", "discovery: exa, past",
			"discovery: sts", "discovery: stb", "discovery: sts and stb", "discovery: sza", "discovery: szb",
			"discovery: sza and szb", "discovery: cty", "discovery: cty, two", "discovery: fo AND", "discovery: fo OR",
			"discovery: fo XOR", "discovery: fo, unknown", "discovery: cfs and cfq", "discovery: arp",
			"discovery: arp below every match", "discovery: smf", "blocking subscription", "blocking subscription, second",
		},
		4108: {"target not subscribable", "target not subscribable, an instance"},
		5103: {"notify to an AE"},
		5207: {"Accept XML", "Accept unknown"},
	}
}

// csetestDifferences are all in which a device's answers differ from those that the in-memory CSE gives directly.
func csetestDifferences() []expected {
	refused := "the bridge refuses it itself, and says no more than the ResponseStatusCode"
	const called = "the CSE is told of the bridge, which reaches the device, and never of an address that this wrote (S42)"
	const unsupported = `{"m2m:dbg":"filter criterion …`
	order := known([]string{"discovery: sts and stb", "discovery: sza and szb", "discovery: cfs and cfq"}, "content",
		unsupported, unsupported, "it refuses one of two criteria, whichever it meets first")
	order.sometimes = true
	return append(everywhere(), []expected{
		order,
		inPart([]string{
			"AE create", "AE create again", "AE create, name taken", "AE create, AE-ID of the CSE's choice",
			"AE create, guest", "AE create without api",
		}, "request", `"poa":["<the bridge>"],`, "", called),
		inPart([]string{"AE create, that hears"}, "request", `"<the bridge>"`, `"<ears>"`, called),
		known([]string{"notify to an AE"}, "rsc", "2000", "5103", called),
		known([]string{"notify to an AE"}, "content", "", `{"m2m:dbg":"the AE can't be reached"}`, called),
		known([]string{"notify to an AE"}, "told", "…", absent, called),
		known(append([]string{"Accept unknown", "Content-Type CBOR, but it isn't",
			"Content-Type SenML", nobodyThere}, refusedByBridge()...),
			"request", absent, "…", "the bridge refuses it itself: it never came to the CSE"),
		known([]string{"discovery: lbl, that reads as two"}, "request", "GET /cse-in/SIDE/d?fu=1&lbl=a&c=d…",
			"GET /cse-in/SIDE/d?fu=1&lbl=a%26c%3Dd…", twoPairs),
		known(nil, "media", "", "application/json", refused),
		known([]string{"Content-Type CBOR, but it isn't"}, "media", "", "application/cbor", refused),
		known([]string{"Content-Type CBOR, but it isn't"}, "content", "", "\xa1gm2m:dbg…", refused),
		known([]string{"Accept unknown", "Content-Type SenML"}, "content", "", `{"m2m:dbg"…`, refused),
		known([]string{"Content-Type SenML"}, "ot", absent, "<now+0h,6 digits>", refused),
		known([]string{"RVI of no release"}, "rvi", absent, "9", "the same"),
	}...)
}
