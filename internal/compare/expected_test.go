package compare

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// expected is a difference that is known and explained. A value that ends in an ellipsis stands for all that begin with it.
type expected struct {
	rows           []string // nil: any
	field          string
	device, direct string
	why            string
	alone          bool // device and direct are parts of the values, which are equal but for these
	sometimes      bool // it may also be gone
}

func known(rows []string, field, device, direct, why string) expected {
	return expected{rows: rows, field: field, device: device, direct: direct, why: why}
}

// inPart is a difference in nothing but a part of each value.
func inPart(rows []string, field, device, direct, why string) expected {
	return expected{rows: rows, field: field, device: device, direct: direct, alone: true, why: why}
}

func (e *expected) matches(d difference) bool {
	if e.rows != nil && !slices.Contains(e.rows, d.row) || e.field != d.field {
		return false
	}
	if e.alone {
		return strings.Contains(d.device, e.device) && strings.Contains(d.direct, e.direct) &&
			strings.Replace(d.device, e.device, "", 1) == strings.Replace(d.direct, e.direct, "", 1)
	}
	return fits(e.device, d.device) && fits(e.direct, d.direct)
}

func fits(pattern, value string) bool {
	start, open := strings.CutSuffix(pattern, "…")
	return value == pattern || open && strings.HasPrefix(value, start)
}

// judge holds a run against what was expected of it: the ResponseStatusCode of each row, every difference explained, and
// every explanation needed, in each of its rows.
func judge(t *testing.T, all []outcome, list []expected) {
	t.Helper()
	needed := map[string]bool{}
	explain := func(d difference) string {
		for i := range list {
			if list[i].matches(d) {
				needed[fmt.Sprint(i, d.row)], needed[fmt.Sprint(i)] = true, true
				return list[i].why
			}
		}
		return "NOT EXPLAINED"
	}
	t.Log(table(all, explain))
	names := map[string]bool{}
	for _, o := range all {
		require.False(t, names[o.row.name], "two rows are called %q", o.row.name)
		names[o.row.name] = true
		if o.rsc[1] != o.row.want {
			t.Errorf("%s: the CSE answers %d to the direct client, not %d: %.200s", o.row.name, o.rsc[1], o.row.want, o.content)
		}
		for _, d := range o.differences {
			if explain(d) == "NOT EXPLAINED" {
				t.Errorf("%s: %s is %q through the bridge and %q directly", d.row, d.field, d.device, d.direct)
			}
		}
	}
	for i, e := range list {
		if e.sometimes {
			continue
		}
		if e.rows == nil && !needed[fmt.Sprint(i)] {
			t.Errorf("a difference in %s (%s) is gone: take it from the list", e.field, e.why)
		}
		for _, name := range e.rows {
			if !needed[fmt.Sprint(i, name)] {
				t.Errorf("%s: the difference in %s (%s) is gone: take it from the list", name, e.field, e.why)
			}
		}
	}
}

// twoPairs is a documented deviation.
const twoPairs = "several clients put several pairs into one Uri-Query option, which is read as such (docs/conformance.md)"

// refusedByBridge are rows that the bridge answers itself where the CSE would refuse too.
func refusedByBridge() []string {
	return []string{
		"response type, unknown", "Content-Type text", "Originator that the device may not be",
		"From is missing", "RQI is missing", "RVI of no release", "rqet in the past", "rqet, no timestamp",
	}
}

// nobodyThere is a subscription with a URL as its target, and notDialled why that may not be.
const nobodyThere, notDialled = "subscription create, nobody there", "nothing that a device wrote is dialled: the notification target is an AE, and a URL is refused (S42)"

// everywhere are the differences that have nothing to do with which CSE it is.
func everywhere() []expected {
	own := refusedByBridge()
	return []expected{
		known(own, "content", "", `{"m2m:dbg"…`,
			"the bridge refuses it itself, and says no more than the ResponseStatusCode"),
		known(append([]string{"Accept unknown", "Content-Type CBOR, but it isn't"}, own...), "ot", absent,
			"<now+0h,6 digits>", "the same; Originating Timestamp is optional"),
		known([]string{nobodyThere}, "rsc", "4000", "5204", notDialled),
		known([]string{nobodyThere}, "content", "", `{"m2m:dbg"…`, notDialled),
		known([]string{nobodyThere}, "ot", absent, "<now+0h,6 digits>", notDialled),
		known(nil, "etag", "<8 bytes>", absent,
			"an answer that goes in several blocks has an ETag that holds them together (RFC 7959, 2.4)"),
		known([]string{"Accept vendor's JSON"}, "media", "application/vnd.onem2m-res+json", "application/json",
			"the bytes are one serialisation, and the device is answered by the number that it asked for"),
		known([]string{"Originator that the device may not be"}, "rsc", "4106", "4103",
			"the bridge knows who is at the other end, and refuses a foreign Originator; the CSE believes what it reads"),
	}
}
