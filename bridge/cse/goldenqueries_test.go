package cse_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse"
	"coapbridge/coap"
)

// TestGoldenWireQuery is TS-0008, 6.2.2.3 with TS-0009, table 6.2.2.2-1: each key of the query, and filter criteria
// flat, joined, repeated and in each way that devices write them.
func TestGoldenWireQuery(t *testing.T) {
	var rows []exchange
	for _, q := range []string{
		"rt=3", "rp=P1Y2M3DT10H1M0S", "da=true", "da=1",
		"rcn=0", "rcn=1", "rcn=2", "rcn=3", "rcn=4", "rcn=5", "rcn=6", "rcn=7", "rcn=8", "rcn=9", "rcn=10", "rcn=12",
		"drt=1", "drt=2",
		"crb=20261123T083531", "cra=20261123T083531", "ms=20261123T083531", "us=20261123T083531", "exb=20261123T083531",
		"exa=20261123T083531,648186", "sts=4", "stb=2", "sza=10", "szb=20",
		"lbl=room:kitchen+floor", "ty=3+4", "cty=application/json", "lim=10", "lvl=2", "ofst=5",
		"fu=1", "fu=2", "fo=1", "fo=2", "fo=3",
		"cfs=1", "cfq=$.a > 1", "smf=SELECT ?car WHERE { ?car rdf:type <http://a/b#Car> }",
		"cr=Sam", "c.rn=sub", "p.lbl=a", "arp=a/b", "atrl=ri+lbl+rr",
		"tids=t1+t2", "ltids=l1", "rids=r1@sp.org", "tqi=true", "auri=true", "asi=true", "sqi=true",
		"lbl=", "lbl=blank and ünï ? # / % = ; ,", "lbl=50%25", "lbl=a%26b", "lbl=\"x\"", "smf=a && b",
		"lbl", "=a", "lbl=a\nb", "lbl=\xff", "op=2",
	} {
		rows = append(rows, exchange{name: strconv.Quote(q), in: message(coap.GET, query(q))})
	}
	rows = append(rows,
		exchange{name: "discovery, each pair an option",
			in: message(coap.GET, query("fu=1", "ty=3", "ty=4", "lbl=a", "lbl=b", "fo=2", "lim=5"))},
		exchange{name: "discovery, pairs in one option", in: message(coap.GET, query("fu=1&ty=3+4&lbl=a&fo=2&lim=5"))},
		exchange{name: "atrl twice", in: message(coap.GET, query("atrl=ri", "atrl=lbl"))},
		exchange{name: "filter criteria on UPDATE", in: message(coap.PUT, query("fu=2", "lbl=a"), body(50, "{}"))},
		exchange{name: "filter criteria on DELETE", in: message(coap.DELETE, query("fu=2", "cty=application/json"))},
		exchange{name: "rcn on CREATE", in: message(coap.POST, container(), query("rcn=3"))},
		exchange{name: "filter criteria on CREATE", in: message(coap.POST, container(), query("lbl=a"))},
	)
	testGoldens(t, "query", rows)
}

// TestGoldenWireReleases is TS-0004, 6.3.4.2.60: each Release Version Indicator, kept as it is.
func TestGoldenWireReleases(t *testing.T) {
	rows := []exchange{
		{name: "absent", in: message(coap.GET, without(optionRVI))},
		{name: "absent, the CSE knows no Release 1", in: message(coap.GET, without(optionRVI)),
			edit: func(c *cse.CSE) { c.NeedsRVI = true }},
	}
	for _, v := range []string{"1", "2", "2a", "3", "4", "5", "9", "3 ", "v3"} {
		rows = append(rows, exchange{name: strconv.Quote(v), in: message(coap.GET, text(optionRVI, v))})
	}
	rows = append(rows,
		exchange{name: "the CSE answers in another", in: message(coap.GET, text(optionRVI, "2a")),
			answer: "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nX-M2M-RVI: 5\r\nContent-Length: 0\r\n\r\n"},
		exchange{name: "the CSE answers without", in: message(coap.GET, text(optionRVI, "2a")),
			answer: "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Length: 0\r\n\r\n"},
		exchange{name: "the CSE answers in none that there is", in: message(coap.GET),
			answer: "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nX-M2M-RVI: x\r\nContent-Length: 0\r\n\r\n"},
	)
	testGoldens(t, "releases", rows)
}

// contentFormats is TS-0008, table 6.2.2.2-1 with the two later synonyms.
var contentFormats = []struct {
	id    uint32
	media string
}{
	{41, "application/xml"}, {50, "application/json"}, {60, "application/cbor"},
	{10001, "application/vnd.onem2m-res+json"}, {10002, "application/vnd.onem2m-ntfy+xml"},
	{10003, "application/vnd.onem2m-ntfy+json"},
	{10006, "application/vnd.onem2m-preq+xml"}, {10007, "application/vnd.onem2m-preq+json"},
	{10008, "application/vnd.onem2m-prsp+xml"}, {10009, "application/vnd.onem2m-prsp+json"},
	{10010, "application/vnd.onem2m-res+cbor"}, {10011, "application/vnd.onem2m-ntfy+cbor"},
	{10012, "application/vnd.onem2m-preq+cbor"}, {10013, "application/vnd.onem2m-prsp+cbor"},
	{10014, "application/vnd.onem2m-res+xml"},
	{10015, "application/vnd.onem2m-res+json"}, {10016, "application/vnd.onem2m-ntfy+xml"},
}

// TestGoldenWireFormats is TS-0008, table 6.2.2.2-1: each Content-Format and each Accept, on the way up as a media type
// and on the way back as a number. No byte of the content is looked at.
func TestGoldenWireFormats(t *testing.T) {
	content := "\xa1\x00\xff{\"a\": 1.0}\r\n"
	var rows []exchange
	for _, f := range contentFormats {
		label := fmt.Sprintf("%d %s", f.id, f.media)
		answer := "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2004\r\nX-M2M-RI: {rqi}\r\nX-M2M-RVI: 3\r\nContent-Type: " + f.media +
			"\r\nContent-Length: " + strconv.Itoa(len(content)) + "\r\n\r\n" + content
		rows = append(rows,
			exchange{name: "Content-Format and Accept " + label, answer: answer,
				in: message(coap.PUT, body(f.id, content), number(coap.Accept, f.id))},
			exchange{name: "Content-Format " + label + " on CREATE", in: message(coap.POST, container(), body(f.id, content))},
			exchange{name: "answered in " + label + " without Accept", answer: answer, answerOnly: true,
				in: message(coap.PUT, body(50, "{}"))},
		)
	}
	rows = append(rows,
		exchange{name: "Content-Format unknown", in: message(coap.PUT, body(42, "x"))},
		exchange{name: "Content-Format missing", in: message(coap.PUT, body(50, "{}"), without(coap.ContentFormat))},
		exchange{name: "Content-Format without payload", in: message(coap.GET, number(coap.ContentFormat, 50))},
		exchange{name: "Accept unknown", in: message(coap.GET, number(coap.Accept, 0))},
		exchange{name: "CBOR refused by the CSE", in: message(coap.PUT, body(60, "\xa0")),
			answer: reply("415 Unsupported Media Type", 4015, "", "")},
		exchange{name: "Accept refused by the CSE", in: message(coap.GET, number(coap.Accept, 41)),
			answer: reply("406 Not Acceptable", 5207, "", "")},
		exchange{name: "answered in another serialisation than asked for", in: message(coap.GET, number(coap.Accept, 60))},
	)
	testGoldens(t, "formats", rows)
}

// fetches are whole primitives of Release 5 (TS-0008, 6.6), in JSON.
var fetches = []struct{ name, primitive string }{
	{"least", `{"op":2,"to":"cse-in/ae","fr":"Cae","rqi":"r1","rvi":"5"}`},
	{"with its root", `{"m2m:rqp":{"op":2,"to":"/id-in/cse-in","fr":"Cae","rqi":"r1","rvi":"5"}}`},
	{"Absolute", `{"op":2,"to":"//sp.org/id-in/cse-in/ae","fr":"Cae","rqi":"r1","rvi":"5"}`},
	{"every parameter", `{"op":2,"to":"cse-in","fr":"Cae","rqi":"r1","rvi":"5","ot":"20261123T083531","rqet":"1000",` +
		`"rset":3000,"oet":"20261123T083531","ec":4,"gid":"g","vsi":"v","aus":["a==","b=="],"rt":{"rtv":3},"rp":"P1D",` +
		`"da":true,"rcn":4,"drt":2,"tids":["t1","t2"],"ltids":["l"],"rids":["r"],"tqi":true,"auri":false,"asi":true,` +
		`"sqi":true,"tkns":["a.b.c","d.e.f"]}`},
	{"flat filter criteria", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"fu":1,"fo":2,"ty":[3,4],"lbl":["a b","c"],` +
		`"cty":["application/json"],"crb":"20261123T083531","cra":"20261123T083531","ms":"20261123T083531",` +
		`"us":"20261123T083531","exb":"20261123T083531","exa":"20261123T083531","sts":1,"stb":2,"sza":3,"szb":4,` +
		`"lim":10,"lvl":2,"ofst":5,"smf":["SELECT ?x"],"cfs":1,"cfq":"q","arp":"a/b"}}`},
	{"nested filter criteria", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{` +
		`"atr":[{"nm":"cr","val":"Sam"},{"nm":"cs","val":5}],"catr":[{"nm":"rn","val":"x"},{"nm":"ty","val":4}],` +
		`"patr":{"nm":"lbl","val":"y"}}}`},
	{"#attribute of To", `{"to":"cse-in/ae#lbl","fr":"Cae","rqi":"r1"}`},
	{"list of attributes", `{"to":"cse-in/ae","fr":"Cae","rqi":"r1","pc":{"m2m:atrl":["ri","lbl","rr"]}}`},
	{"non-blocking", `{"to":"cse-in/ae","fr":"Cae","rqi":"r1","rt":{"rtv":2,"nu":["/id-in/C1","C2"]}}`},
	{"nobody to notify", `{"to":"cse-in/ae","fr":"Cae","rqi":"r1","rt":{"rtv":2,"nu":[]}}`},
	{"parameter without a header", `{"to":"cse-in/ae","fr":"Cae","rqi":"r1","prpi":"p"}`},
	{"another operation", `{"op":4,"to":"cse-in/ae","fr":"Cae","rqi":"r1"}`},
	{"no To", `{"fr":"Cae","rqi":"r1"}`},
	{"CR LF", `{"to":"cse-in","fr":"C\r\nX: y","rqi":"r1"}`},
}

// TestGoldenWireFetch is TS-0008, 6.6: a FETCH with a whole primitive in JSON and in CBOR is a GET at the CSE, with
// filter criteria flat and nested, and is answered in the classic form.
func TestGoldenWireFetch(t *testing.T) {
	bare := func(edits ...edit) *coap.Message {
		m := &coap.Message{Code: coap.FETCH, MessageID: 0x1234, Token: []byte{0xa1, 0xb2}}
		for _, e := range edits {
			e(m)
		}
		return m
	}
	var rows []exchange
	for _, f := range fetches {
		rows = append(rows,
			exchange{name: f.name, in: bare(body(10007, f.primitive))},
			exchange{name: f.name + ", CBOR", in: bare(body(10012, inCBOR(t, f.primitive)))},
		)
	}
	least := fetches[0].primitive
	rows = append(rows,
		exchange{name: "with options that say the same", in: message(coap.FETCH, text(optionRVI, "5"), body(10007, least))},
		exchange{name: "with an option that contradicts", in: message(coap.FETCH, text(optionFR, "Cb"), body(10007, least))},
		exchange{name: "with one more key in Uri-Query", in: bare(query("rcn=4"), body(10007, least))},
		exchange{name: "with a key that contradicts",
			in: bare(query("rcn=1"), body(10007, `{"to":"cse-in","fr":"Cae","rqi":"r1","rcn":4}`))},
		exchange{name: "of Release 3", in: bare(body(10007, `{"to":"cse-in","fr":"Cae","rqi":"r1","rvi":"3"}`))},
		exchange{name: "as application/json", in: bare(body(50, least))},
		exchange{name: "XML", in: bare(body(10006, "<m2m:rqp/>"))},
		exchange{name: "no payload", in: bare()},
		exchange{name: "no primitive", in: bare(body(10007, "[1]"))},
	)
	testGoldens(t, "fetch", rows)
}

// inCBOR returns the JSON text's data model in CBOR, the shorter names first (RFC 8949, Section 4.2.3).
func inCBOR(t *testing.T, text string) string {
	t.Helper()
	mode, err := cbor.EncOptions{Sort: cbor.SortLengthFirst}.EncMode()
	require.NoError(t, err)
	var model any // numbers become floats, as tinyIoT writes them
	require.NoError(t, json.Unmarshal([]byte(text), &model))
	raw, err := mode.Marshal(model)
	require.NoError(t, err)
	return string(raw)
}

// TestW01GoldenWireCrafted sends what could change the HTTP request: the raw request at the CSE equals the golden one, or
// there is none and the answer is 4000 (S40).
func TestW01GoldenWireCrafted(t *testing.T) {
	var rows []exchange
	add := func(what, value string, e edit) {
		rows = append(rows, exchange{name: what + " " + strconv.Quote(value), in: message(coap.GET, e)})
	}
	for _, s := range []string{
		"a\r\nX-M2M-Origin: Cother", "a%0d%0aX: y", "a\x00b", "a\x7fb", "a\u0085b", "a\u2028b", ".", "..", "..;",
		". ", "%2e%2e", "%252e%252e", "%25252e", "%c0%ae", "a/b", "a%2fb", "a%252Fb", "a\\b", "a%5cb", "a%00b", "a%ffb",
		"a?rcn=0", "a#b", "a b HTTP/1.1", "a%", "a%4", "http:", "\xc0\xae\xc0\xae", "\xed\xa0\x80", "ünï", "a;b=c", "@evil", "a:80", "*",
	} {
		add("segment", s, path("cse", s, "b"))
	}
	for _, s := range []string{
		"lbl=a\r\nHost: evil", "lbl=a%0d%0ab", "lbl=a\x00", "lbl=a\u2028b", "lbl=a#b", "lbl=../?x", "lbl=a HTTP/1.1",
		"lbl=a%26rt=2", "l bl=a", "l%62l=a", "lbl=a&X=\r\n", "rt=1&rt=2", "rt=1\r\n", "tkns=Bearer x", "fr=Cother",
		"rqi=r2", "to=x", "X-M2M-Origin=CAdmin",
	} {
		add("query", s, query(s))
	}
	for _, s := range []string{
		"r\r\nX-M2M-Origin: Cother", "r\n", "r\x00", "r\xe9", "r ", " r", "r\t", "", "r, s", "r;s", "r%0d%0a", "r\"",
		strings.Repeat("r", 1025),
	} {
		add("RQI", s, text(optionRQI, s))
		add("From", s, text(optionFR, s))
		add("vendor text", s, text(331, s))
	}
	testGoldens(t, "crafted", rows)
}
