package cse_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse"
	"coapbridge/coap"
)

// oneM2MOption is a row of TS-0008, table 6.2.2.4.0-1, with the number from before V3.7.0 where it was another one, and
// the header of TS-0009, 6.4.
type oneM2MOption struct {
	name            string
	current, legacy coap.OptionID
	numeric         bool
	request         bool   // may stand in a request
	header          string // of a request; "" where there is none
}

var oneM2MOptions = [...]oneM2MOption{
	{"OT", 259, 0, false, true, "X-M2M-OT"},
	{"RTURI", 263, 0, false, true, "X-M2M-RTU"},
	{"TY", 267, 0, true, true, ""},
	{"RVI", 271, 0, false, true, "X-M2M-RVI"},
	{"ASRI", 275, 0, false, false, ""},
	{"FR", 279, 256, false, true, "X-M2M-Origin"},
	{"RQI", 283, 257, false, true, "X-M2M-RI"},
	{"RQET", 291, 260, false, true, "X-M2M-RET"},
	{"RSET", 295, 261, false, true, "X-M2M-RST"},
	{"OET", 299, 262, false, true, "X-M2M-OET"},
	{"EC", 303, 264, true, true, "X-M2M-EC"},
	{"RSC", 307, 265, true, false, ""},
	{"GID", 311, 266, false, true, "X-M2M-GID"},
	{"CTO", 319, 268, true, false, ""},
	{"CTS", 323, 269, true, false, ""},
	{"ATI", 327, 270, false, false, ""},
	{"VSI", 331, 0, false, true, "X-M2M-VSI"},
	{"GTM", 335, 0, false, true, ""},
	{"AUS", 339, 0, false, true, "X-M2M-AS"},
	{"OMR", 343, 0, false, true, ""},
	{"PRPI", 347, 0, false, true, ""},
	{"MSU", 351, 0, false, true, ""},
}

const (
	optionTY  coap.OptionID = 267
	optionRVI coap.OptionID = 271
	optionFR  coap.OptionID = 279
	optionRQI coap.OptionID = 283
)

type edit func(*coap.Message)

// message is a request of Cae to cse-in/ae in Release 3, or what edits make of it.
func message(code coap.Code, edits ...edit) *coap.Message {
	m := &coap.Message{Code: code, MessageID: 0x1234, Token: []byte{0xa1, 0xb2}}
	path("cse-in", "ae")(m)
	text(optionRVI, "3")(m)
	text(optionFR, "Cae")(m)
	text(optionRQI, "r1")(m)
	for _, e := range edits {
		e(m)
	}
	return m
}

func path(segments ...string) edit {
	return func(m *coap.Message) {
		m.Options = m.Options.Remove(coap.URIPath)
		for _, s := range segments {
			m.Options = m.Options.AddString(coap.URIPath, s)
		}
	}
}

// text sets an option to exactly these bytes.
func text(id coap.OptionID, value string) edit {
	return func(m *coap.Message) { m.Options = m.Options.Remove(id).AddString(id, value) }
}

func number(id coap.OptionID, v uint32) edit {
	return func(m *coap.Message) { m.Options = m.Options.Remove(id).AddUint(id, v) }
}

func without(id coap.OptionID) edit {
	return func(m *coap.Message) { m.Options = m.Options.Remove(id) }
}

func query(options ...string) edit {
	return func(m *coap.Message) {
		for _, o := range options {
			m.Options = m.Options.AddString(coap.URIQuery, o)
		}
	}
}

func body(format uint32, payload string) edit {
	return func(m *coap.Message) {
		number(coap.ContentFormat, format)(m)
		m.Payload = []byte(payload)
	}
}

// container makes the request a CREATE of one.
func container() edit {
	return func(m *coap.Message) {
		number(optionTY, 3)(m)
		body(50, `{"m2m:cnt":{"rn":"new"}}`)(m)
	}
}

// old renames the options to their numbers from before TS-0008 V3.7.0.
func old(m *coap.Message) *coap.Message {
	var renamed coap.Options
	for _, o := range m.Options {
		id := o.ID
		for _, row := range oneM2MOptions {
			if row.current == id && row.legacy != 0 {
				id = row.legacy
			}
		}
		renamed = renamed.Add(id, o.Value)
	}
	m.Options = renamed
	return m
}

// optionRows has each option of TS-0008, table 6.2.2.4.0-1 in a request, those that may only stand in an answer too.
func optionRows() []exchange {
	long := strings.Repeat("x", 255)
	rows := []exchange{
		{name: "OT", in: message(coap.GET, text(259, "20261123T083531"))},
		{name: "OT with a fraction, 22 bytes", in: message(coap.GET, text(259, "20261123T083531,648186"))},
		{name: "RTURI", in: message(coap.POST, query("rt=2", "op=2"), text(263, "/id-in/Cnote&coap://host/a"))},
		{name: "RTURI, empty: nobody to notify", in: message(coap.POST, query("rt=2", "op=2"), text(263, ""))},
		{name: "TY", in: message(coap.POST, container()), holds: []string{"http> Content-Type: application/json;ty=3\n"}},
		{name: "TY of 2 bytes", in: message(coap.POST, container(), number(267, 10003))},
		{name: "TY with a leading zero", in: message(coap.POST, container(), text(267, "\x00\x03"))},
		{name: "TY of 4 bytes", in: message(coap.POST, container(), number(267, 0x10003))},
		{name: "TY in another request than CREATE", in: message(coap.GET, number(267, 3))},
		{name: "RVI", in: message(coap.GET, text(271, "4"))},
		{name: "FR", in: message(coap.GET, text(279, "/id-in/Cother"))},
		{name: "FR, 255 bytes", in: message(coap.GET, text(279, long))},
		{name: "FR, absent on AE CREATE", in: message(coap.POST, container(), number(267, 2), without(279))},
		{name: "FR, empty on AE CREATE", in: message(coap.POST, container(), number(267, 2), text(279, ""))},
		{name: "FR, only S on AE CREATE", in: message(coap.POST, container(), number(267, 2), text(279, "S"))},
		{name: "FR, absent", in: message(coap.GET, without(279))},
		{name: "FR twice", in: message(coap.GET, func(m *coap.Message) { m.Options = m.Options.AddString(279, "Cb") })},
		{name: "RQI", in: message(coap.GET, text(283, "/id-in/0002bf63"))},
		{name: "RQI, 255 bytes", in: message(coap.GET, text(283, long))},
		{name: "RQI, absent", in: message(coap.GET, without(283))},
		{name: "RQET", in: message(coap.GET, text(291, "20261123T083531"))},
		{name: "RQET, relative", in: message(coap.GET, text(291, "3600000"))},
		{name: "RSET", in: message(coap.GET, text(295, "20261123T083531"))},
		{name: "RSET, relative", in: message(coap.GET, text(295, "-1"))},
		{name: "OET", in: message(coap.GET, text(299, "20261123T083531"))},
		{name: "EC, 1 byte", in: message(coap.GET, number(303, 4)), holds: []string{"http> X-M2M-EC: 4\n"}},
		{name: "EC, 2 bytes", in: message(coap.GET, number(303, 999)), holds: []string{"http> X-M2M-EC: 999\n"}},
		{name: "EC, out of range", in: message(coap.GET, number(303, 1000))},
		{name: "GID", in: message(coap.GET, text(311, "g1"))},
		{name: "VSI", in: message(coap.GET, text(331, "vendor: a, b; c=\"d\""))},
		{name: "GTM", in: message(coap.GET, text(335, "Ca+Cb"))},
		{name: "AUS", in: message(coap.GET, text(339, "i6watmQQQ1y3GB-VsWq5==+IWijxQjUrcXB=="))},
		{name: "OMR", in: message(coap.GET, text(343, "omr1"))},
		{name: "PRPI", in: message(coap.GET, text(347, "prpi1"))},
		{name: "MSU", in: message(coap.GET, text(351, "msu1"))},
	}
	for _, o := range oneM2MOptions {
		if !o.request {
			rows = append(rows, exchange{name: o.name + ", a response's", in: message(coap.GET, number(o.current, 1))})
		}
	}
	for i := range rows {
		rows[i].holds = append(rows[i].holds, headerOf(&rows[i])...)
	}
	return rows
}

// headerOf returns the line that TS-0009, 6.4 wants of a row whose name is that of an option with a header.
func headerOf(row *exchange) []string {
	for _, o := range oneM2MOptions {
		if value, there := row.in.Options.Find(o.current); there && o.name == row.name && o.header != "" {
			return []string{"http> " + o.header + ": " + string(value) + "\n"}
		}
	}
	return nil
}

// requireEveryOption fails when an option of the table is in no row.
func requireEveryOption(t *testing.T, rows []exchange, number func(oneM2MOption) coap.OptionID) {
	t.Helper()
	there := map[coap.OptionID]bool{}
	for _, row := range rows {
		for _, o := range row.in.Options {
			there[o.ID] = true
		}
	}
	for _, o := range oneM2MOptions {
		require.True(t, there[number(o)], "no row has oneM2M-%s", o.name)
	}
}

// TestGoldenWireOptions is TS-0008, table 6.2.2.4.0-1 beside TS-0009, 6.4, one option at a time.
func TestGoldenWireOptions(t *testing.T) {
	rows := optionRows()
	requireEveryOption(t, rows, func(o oneM2MOption) coap.OptionID { return o.current })
	testGoldens(t, "options", rows)
}

// TestGoldenWireLegacyOptions is the same with the numbers from before TS-0008 V3.7.0, and those that mean something
// else in the other profile.
func TestGoldenWireLegacyOptions(t *testing.T) {
	rows := optionRows()
	for i := range rows {
		rows[i].in, rows[i].legacy = old(rows[i].in), true
	}
	requireEveryOption(t, rows, func(o oneM2MOption) coap.OptionID {
		if o.legacy != 0 {
			return o.legacy
		}
		return o.current
	})
	rows = append(rows,
		exchange{name: "new numbers from an old device", in: message(coap.GET), legacy: true},
		exchange{name: "old numbers from a new device", in: old(message(coap.GET))},
		exchange{name: "258, No-Response since", in: old(message(coap.GET, text(258, "\x02"))), legacy: true},
	)
	testGoldens(t, "legacy-options", rows)
}

// TestGoldenWireMethods is TS-0008, 6.2.1 and 6.3.1 to 6.3.4 beside TS-0009, table 6.2.1-1: each operation with each
// Response Type; a device writes a non-blocking one with POST and op=, or with the method as HTTP does.
func TestGoldenWireMethods(t *testing.T) {
	var rows []exchange
	for _, op := range []struct {
		name, method string
		value        int
		code         coap.Code
		content      edit
	}{
		{"CREATE", "POST", 1, coap.POST, container()},
		{"RETRIEVE", "GET", 2, coap.GET, func(*coap.Message) {}},
		{"UPDATE", "PUT", 3, coap.PUT, body(50, `{"m2m:cnt":{"lbl":["a"]}}`)},
		{"DELETE", "DELETE", 4, coap.DELETE, func(*coap.Message) {}},
		{"NOTIFY", "POST", 5, coap.POST, body(50, `{"m2m:sgn":{"vrq":true,"sur":"cse-in/sub"}}`)},
	} {
		rows = append(rows, exchange{name: op.name, in: message(op.code, op.content),
			holds: []string{"http> " + op.method + " /cse-in/ae HTTP/1.1\n"}})
		for rt := 1; rt <= 5; rt++ {
			value := fmt.Sprintf("rt=%d", rt)
			// op is never in HTTP: TS-0009, 6.2.2.2.
			line := []string{"http> " + op.method + " /cse-in/ae?" + value + " HTTP/1.1\n"}
			rows = append(rows, exchange{
				name: fmt.Sprintf("%s, %s, its method", op.name, value),
				in:   message(op.code, op.content, query(value)), holds: line,
			}, exchange{
				name: fmt.Sprintf("%s, %s, POST and op=%d", op.name, value, op.value),
				in:   message(coap.POST, op.content, query(value, fmt.Sprintf("op=%d", op.value))), holds: line,
			})
		}
	}
	rows = append(rows,
		exchange{name: "RETRIEVE, rt=4, answered as a blocking one", in: message(coap.POST, query("rt=4", "op=2")),
			answer: reply("200 OK", 2000, "", `{"m2m:cnt":{"rn":"c"}}`)},
		exchange{name: "NOTIFY without Content", in: message(coap.POST)},
		exchange{name: "UPDATE without Content", in: message(coap.PUT)},
		exchange{name: "RETRIEVE with Content", in: message(coap.GET, body(50, "{}"))},
		exchange{name: "DELETE with Content", in: message(coap.DELETE, body(50, "{}"))},
		exchange{name: "CREATE without Content", in: message(coap.POST, number(optionTY, 3))},
		exchange{name: "RETRIEVE, op=4 contradicts GET", in: message(coap.GET, query("op=4"))},
		exchange{name: "CREATE without TY by op=1", in: message(coap.POST, query("op=1"), body(50, "{}"))},
		exchange{name: "op=6", in: message(coap.POST, query("op=6"))},
		exchange{name: "rt=6", in: message(coap.GET, query("rt=6"))},
		exchange{name: "PATCH", in: message(coap.PATCH, body(50, "{}"))},
		exchange{name: "iPATCH", in: message(coap.IPATCH, body(50, "{}"))},
	)
	testGoldens(t, "methods", rows)
}

// TestGoldenWirePlainOptions is RFC 7252, Section 5.4.1 for CoAP's own options: those of the hop and elective ones change
// nothing at the CSE; what a primitive has no parameter for is refused. The endpoint answers most of those before, with
// 4.02 or 5.05.
func TestGoldenWirePlainOptions(t *testing.T) {
	testGoldens(t, "plain-options", []exchange{
		{name: "Uri-Host and Uri-Port", in: message(coap.GET, text(coap.URIHost, "bridge.example"), number(coap.URIPort, 5684))},
		{name: "Block2", in: message(coap.GET, number(coap.Block2, 6))},
		{name: "Block1 and Size1", in: message(coap.PUT, body(50, "{}"), number(coap.Block1, 6), number(coap.Size1, 2))},
		{name: "Observe", in: message(coap.GET, number(coap.Observe, 0))},
		{name: "ETag", in: message(coap.GET, text(coap.ETag, "\x01\x02"))},
		{name: "No-Response", in: message(coap.GET, number(coap.NoResponse, 2))},
		{name: "Hop-Limit", in: message(coap.GET, number(coap.HopLimit, 8))},
		{name: "Echo", in: message(coap.GET, text(coap.Echo, "e"))},
		{name: "Request-Tag", in: message(coap.GET, text(coap.RequestTag, "t"))},
		{name: "unknown and elective", in: message(coap.GET, text(65000, "x"))},
		{name: "unknown and critical", in: message(coap.GET, text(65001, "x"))},
		{name: "If-Match", in: message(coap.PUT, body(50, "{}"), text(coap.IfMatch, "\x01"))},
		{name: "If-None-Match", in: message(coap.PUT, body(50, "{}"), text(coap.IfNoneMatch, ""))},
		{name: "Proxy-Uri", in: message(coap.GET, text(coap.ProxyURI, "http://evil.example/"))},
		{name: "Proxy-Scheme", in: message(coap.GET, text(coap.ProxyScheme, "http"))},
	})
}

// TestGoldenWireTargets is TS-0008, table 6.2.2.3-1 beside TS-0009, table 6.2.2.1-1: each form of To.
func TestGoldenWireTargets(t *testing.T) {
	var rows []exchange
	for _, p := range [][]string{
		{"CSEBase", "ae12", "cont27", "contInst696"}, {"cin00856"}, {"-"}, {"-", "ae12", "c"},
		{"CSEBase", "ae12", "c", "la"}, {"CSEBase", "ae12", "c", "ol"}, {"CSEBase", "grp", "fopt"},
		{"CSEBase", "ae12", "pch", "pcu"},
		{"~", "CSE178", "CSEBase", "ae12"}, {"~", "CSE178", "cin00856"}, {"~", "CSE178"}, {"~", "CSE178", "-", "ae12"},
		{"_", "mym2msp.org", "CSE178", "CSEBase", "ae12"}, {"_", "mym2msp.org", "CSE178", "cin00856"}, {"_", "mym2msp.org"},
		{"~"}, {"_"}, {"cse", "~"}, {"cse", "_"}, {"cse", "a b", "ü", "c?d", "e#f", "g+h", "100%", "i&j=k"},
		{"cse", "a", ""}, {"cse", "", "a"}, {"cse", "..", "a"}, {"cse", "%2e%2e"}, {"cse", "a/b"}, {"cse", "a\r\nb"},
		{"cse", "\xff"}, {},
	} {
		rows = append(rows, exchange{name: fmt.Sprintf("%q", p), in: message(coap.GET, path(p...))})
	}
	testGoldens(t, "targets", rows)
}

// TestGoldenWireTokens is TS-0009, 6.4.19: Tokens are tkns in CoAP's query, and Authorization in HTTP.
func TestGoldenWireTokens(t *testing.T) {
	inQuery := func(c *cse.CSE) { c.Binding.TokensInQuery = true }
	taken := func(c *cse.CSE) { c.Binding.AuthorizationTaken = true }
	testGoldens(t, "tokens", []exchange{
		{name: "one", in: message(coap.GET, query("tkns=eyJ0.eyJp.dBjf"))},
		{name: "two in one option", in: message(coap.GET, query("tkns=eyJ0.eyJp.dBjf+eyJ1.eyJq..5eym.Sdi"))},
		{name: "two options", in: message(coap.GET, query("tkns=eyJ0.eyJp.dBjf", "tkns=eyJ1.eyJq..5eym.Sdi"))},
		{name: "beside other keys",
			in: message(coap.GET, query("tkns=a.b.c", "tids=t1+t2", "ltids=l1+l2", "rids=r1@sp.org", "tqi=true"))},
		{name: "in the query of HTTP too", in: message(coap.GET, query("tkns=a.b.c+d.e.f", "rcn=4")), edit: inQuery},
		{name: "Authorization is the bridge's own", in: message(coap.GET, query("tkns=a.b.c")), edit: taken},
		{name: "none, Authorization is the bridge's own", in: message(coap.GET), edit: taken},
		{name: "no token", in: message(coap.GET, query("tkns="))},
		{name: "CR LF", in: message(coap.GET, query("tkns=a.b.c\r\nX-M2M-Origin: CAdmin"))},
		{name: "answer with Assigned Token Identifiers", in: message(coap.GET, query("tkns=a.b.c")),
			answer: reply("200 OK", 2000, "X-M2M-ATI: l1:t1 + l2:t2\r\n", "")},
		{name: "answer with Token Request Information", in: message(coap.GET, query("tqi=true")),
			answer: reply("403 Forbidden", 4103, "", `{"m2m:tqf":{"dt":[{"dasi":"//das.org"}]}}`)},
	})
}
