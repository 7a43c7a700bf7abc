package onem2m

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata/onem2m")

// golden compares got with the file of that name, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "onem2m", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	was, is := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range min(len(was), len(is)) {
		require.Equal(t, was[i], is[i], "line %d of %s; after a change on purpose, refresh with -update and review it", i+1, path)
	}
	require.Len(t, is, len(was), path)
}

// coapText is a message as golden files show it.
func coapText(m *coap.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "coap %s\n", m.Code)
	for _, o := range m.Options {
		if numeric(o.ID) {
			v, _ := coap.Options{o}.Uint(o.ID)
			fmt.Fprintf(&b, "  %d %d (%x)\n", o.ID, v, o.Value)
			continue
		}
		fmt.Fprintf(&b, "  %d %q\n", o.ID, o.Value)
	}
	if len(m.Payload) > 0 {
		fmt.Fprintf(&b, "  payload %q\n", m.Payload)
	}
	return b.String()
}

func numeric(id coap.OptionID) bool {
	switch id {
	case coap.ContentFormat, coap.Accept, coap.MaxAge, 267, 303, 307, 319, 323, 264, 265, 268, 269:
		return true
	}
	return false
}

func httpText(h *HTTPRequest) string {
	return "http " + h.Method + " " + h.Target + "\n" + headerText(h.Header, h.Body)
}

func httpResponseText(h *HTTPResponse) string {
	return "http " + strconv.Itoa(h.Status) + "\n" + headerText(h.Header, h.Body)
}

func headerText(header []HeaderField, body []byte) string {
	var b strings.Builder
	for _, f := range header {
		fmt.Fprintf(&b, "  %s: %s\n", f.Name, f.Value)
	}
	if len(body) > 0 {
		fmt.Fprintf(&b, "  body %q\n", body)
	}
	return b.String()
}

func errorText(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Sprintf("refused %d, %s\n", e.Status, e.Detail)
	}
	return "error of another type\n"
}

// request returns a RETRIEVE, or what change makes of it.
func request(change func(*Request)) *Request {
	r := &Request{Operation: Retrieve, To: "cse-in/ae", From: "Cae", RequestID: "r1", ReleaseVersion: "3"}
	if change != nil {
		change(r)
	}
	return r
}

// bothWays returns the golden text of r in both bindings, and checks that each reads back as r.
func bothWays(t *testing.T, r *Request, p CoAPProfile) string {
	t.Helper()
	var text string
	if m, err := r.CoAP(p); err != nil {
		text += "coap " + errorText(err)
	} else {
		text += coapText(m)
		back, err := RequestFromCoAP(m, p)
		require.NoError(t, err)
		require.Equal(t, r, back)
	}
	if h, err := r.HTTP(HTTPProfile{}); err != nil {
		text += "http " + errorText(err)
	} else {
		text += httpText(h)
		back, err := RequestFromHTTP(h)
		require.NoError(t, err)
		require.Equal(t, r, back)
	}
	return text
}

func responseBothWays(t *testing.T, s *Response, req *Request, p CoAPProfile) string {
	t.Helper()
	var text string
	if m, err := s.CoAP(req, p); err != nil {
		text += "coap " + errorText(err)
	} else {
		text += coapText(m)
		back, err := ResponseFromCoAP(m, req, p)
		require.NoError(t, err)
		require.Equal(t, s, back)
	}
	h, err := s.HTTP(req)
	if err != nil {
		return text + "http " + errorText(err)
	}
	back, err := ResponseFromHTTP(h, req)
	require.NoError(t, err)
	require.Equal(t, s, back)
	return text + httpResponseText(h)
}

// requestRows has one request for each row of TS-0008, table 6.2.2.4.0-1 and TS-0009, 6.4 that a request can carry.
func requestRows() []row[Request] {
	return []row[Request]{
		{"ot", func(r *Request) { r.OriginatingTimestamp = "20261123T083531" }},
		{"ot with a fraction", func(r *Request) { r.OriginatingTimestamp = "20261123T083531,648186" }},
		{"nu", func(r *Request) {
			r.ResponseType, r.NotificationURIs = NonBlockingAsynch, []string{"/id-in/Cnote", "https://host/a?b=c"}
		}},
		{"nu, empty", func(r *Request) { r.ResponseType, r.NotificationURIs = NonBlockingAsynch, []string{} }},
		{"ty", func(r *Request) { create(r, TypeContainer) }},
		{"rvi", func(r *Request) { r.ReleaseVersion = "2a" }},
		{"rvi, absent", func(r *Request) { r.ReleaseVersion = "" }},
		{"fr, absent", func(r *Request) { create(r, TypeAE); r.From = "" }},
		{"fr", func(r *Request) { r.From = "/id-in/Cother" }},
		{"rqi", func(r *Request) { r.RequestID = "/id-in/0002bf63 #1" }},
		{"rqet", func(r *Request) { r.RequestExpiration = "3600000" }},
		{"rset", func(r *Request) { r.ResultExpiration = "20261123T083531" }},
		{"oet", func(r *Request) { r.OperationExecutionTime = "20261123T083531" }},
		{"ec", func(r *Request) { r.EventCategory = 4 }},
		{"ec of 2 bytes", func(r *Request) { r.EventCategory = 999 }},
		{"gid", func(r *Request) { r.GroupRequestID = "g1" }},
		{"vsi", func(r *Request) { r.VendorInformation = "some: vendor, information" }},
		{"grtm", func(r *Request) { r.GroupRequestTargets = "Ca+Cb" }},
		{"aus", func(r *Request) { r.AuthorizationSignature = "i6watmQQQ1y3GB-VsWq5==+IWijxQjUrcXB==" }},
		{"omr", func(r *Request) { r.OntologyMapping = "omr1" }},
		{"prpi", func(r *Request) { r.PrimitiveProfile = "prpi1" }},
		{"msu", func(r *Request) { r.ServiceUser = "msu1" }},
		{"tkns", func(r *Request) { r.Tokens = []string{"eyJ0.eyJp.dBjf", "eyJ1.eyJq..5eym.Sdi"} }},
		{"accept", func(r *Request) { r.Accept = []string{"application/cbor"} }},
	}
}

type row[P any] struct {
	name   string
	change func(*P)
}

func create(r *Request, ty ResourceType) {
	r.Operation, r.ResourceType, r.To = Create, ty, "cse-in"
	r.Content, r.MediaType = []byte(`{"m2m:cnt":{"rn":"c"}}`), "application/json"
}

// TestGoldenRequestOptions is TS-0008, table 6.2.2.4.0-1 and TS-0009, 6.4, one row at a time, in both directions.
func TestGoldenRequestOptions(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	covered := map[coap.OptionID]bool{}
	for _, c := range requestRows() {
		r := request(c.change)
		m, err := r.CoAP(CoAPProfile{})
		require.NoError(t, err)
		for _, o := range m.Options {
			covered[o.ID] = true
		}
		fmt.Fprintf(&b, "# %s\n%s", c.name, bothWays(t, r, CoAPProfile{}))
	}
	for i := range parameters {
		if q := &parameters[i]; q.request.text != nil || q.request.number != nil {
			require.True(t, covered[q.option], "no row for option %d", q.option)
		}
	}
	golden(t, "request-options", b.String())
}

// TestGoldenLegacyOptions is the same with the option numbers from before TS-0008 V3.7.0.
func TestGoldenLegacyOptions(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, c := range requestRows() {
		fmt.Fprintf(&b, "# %s\n%s", c.name, bothWays(t, request(c.change), CoAPProfile{Legacy: true}))
	}
	for _, c := range responseRows() {
		fmt.Fprintf(&b, "# response, %s\n%s", c.name, responseBothWays(t, response(c.change), request(nil), CoAPProfile{Legacy: true}))
	}
	golden(t, "legacy-options", b.String())
}

func response(change func(*Response)) *Response {
	s := &Response{Status: StatusOK, RequestID: "r1", ReleaseVersion: "3"}
	if change != nil {
		change(s)
	}
	return s
}

func responseRows() []row[Response] {
	offset, far := uint32(0), uint32(70000)
	return []row[Response]{
		{"rsc", nil},
		{"ot", func(s *Response) { s.OriginatingTimestamp = "20261123T083531,648186" }},
		{"rvi", func(s *Response) { s.ReleaseVersion = "4" }},
		{"fr", func(s *Response) { s.From = "/id-in" }},
		{"rset", func(s *Response) { s.ResultExpiration = "20261123T083531" }},
		{"ec", func(s *Response) { s.EventCategory = 3 }},
		{"cnot, zero", func(s *Response) { s.ContentStatus, s.ContentOffset = 1, &offset }},
		{"cnot beyond 2 bytes", func(s *Response) { s.ContentStatus, s.ContentOffset = 2, &far }},
		{"ati", func(s *Response) { s.AssignedTokenIDs = "lti-value1:tkid-value1 + lti-value2:tkid-value2" }},
		{"tqf in the payload of an error", func(s *Response) {
			s.Status, s.Content, s.MediaType = StatusOriginatorHasNoPrivilege, []byte(`{"m2m:tqf":{}}`), "application/json"
		}},
		{"asri", func(s *Response) { s.Status, s.AuthSignatureRequest = StatusOriginatorHasNoPrivilege, "asri1" }},
		{"vsi", func(s *Response) { s.VendorInformation = "vendor" }},
		{"content", func(s *Response) { s.Content, s.MediaType = []byte(`{"m2m:cnt":{}}`), "application/json" }},
		{"created, CSE-relative", func(s *Response) { s.Status, s.Created = StatusCreated, "cse-in/ae/c" }},
		{"created, SP-relative", func(s *Response) { s.Status, s.Created = StatusCreated, "/id-in/cse-in/ae/c" }},
		{"created, Absolute", func(s *Response) { s.Status, s.Created = StatusCreated, "//sp.org/id-in/cse-in/ae/c" }},
	}
}

// TestGoldenResponseOptions is the response's side of the same tables.
func TestGoldenResponseOptions(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, c := range responseRows() {
		fmt.Fprintf(&b, "# %s\n%s", c.name, responseBothWays(t, response(c.change), request(nil), CoAPProfile{}))
	}
	golden(t, "response-options", b.String())
}

// TestGoldenMethods is TS-0008, table 6.2.1-1 and 6.3.1 to 6.3.4 beside TS-0009, table 6.2.1-1: each operation with each
// Response Type; CoAP has POST and op= where HTTP keeps the method.
func TestGoldenMethods(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for op := Create; op <= Notify; op++ {
		for rt := ResponseType(0); rt <= NoResponse; rt++ {
			r := request(func(r *Request) {
				r.Operation, r.ResponseType = op, rt
				switch op {
				case Create:
					create(r, TypeContentInstance)
				case Update, Notify:
					r.Content, r.MediaType = []byte(`{}`), "application/json"
				}
			})
			fmt.Fprintf(&b, "# %s, rt %d\n%s", op, rt, bothWays(t, r, CoAPProfile{}))
			m, err := r.CoAP(CoAPProfile{MethodOnly: true})
			require.NoError(t, err)
			require.Equal(t, methodCode(op), m.Code)
			back, err := RequestFromCoAP(m, CoAPProfile{})
			require.NoError(t, err)
			require.Equal(t, r, back)
		}
	}
	golden(t, "methods", b.String())
}

// TestGoldenTargets is TS-0008, table 6.2.2.3-1 and TS-0009, table 6.2.2.1-1.
func TestGoldenTargets(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, to := range []string{
		"CSEBase/ae12/cont27/contInst696", "cin00856", "-/ae12/la",
		"/CSE178/CSEBase/ae12/cont27/contInst696", "/CSE178/cin00856", "/CSE178",
		"//mym2msp.org/CSE178/CSEBase/ae12/cont27/contInst696", "//mym2msp.org/CSE178/cin00856",
		"cse/a b", "cse/ünï", "cse/a?b=c&d", "cse/a#b", "cse/a%41", "cse/100%", "cse/a+b", "cse/~", "cse/_", "/~/_", "cse/...",
	} {
		fmt.Fprintf(&b, "# %s\n%s", to, bothWays(t, request(func(r *Request) { r.To = to }), CoAPProfile{}))
	}
	golden(t, "targets", b.String())
}

// TestGoldenQuery is TS-0009, table 6.2.2.2-1 and TS-0008, 6.2.2.3: each key.
func TestGoldenQuery(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, q := range []Parameter{
		{"rp", "P1Y2M3DT10H1M0S"}, {"da", "true"}, {"rcn", "4"}, {"drt", "1"},
		{"crb", "20261123T083531"}, {"cra", "20261123T083531"}, {"ms", "20261123T083531"}, {"us", "20261123T083531"},
		{"exb", "20261123T083531"}, {"exa", "20261123T083531"}, {"sts", "4"}, {"stb", "2"}, {"sza", "10"}, {"szb", "20"},
		{"lbl", "room:kitchen+floor"}, {"ty", "3+4"}, {"cty", "application/json"}, {"fu", "1"}, {"fo", "2"},
		{"cr", "Sam"}, {"c.rn", "sub"}, {"p.lbl", "a"}, {"lim", "10"}, {"lvl", "2"}, {"ofst", "5"},
		{"cfs", "1"}, {"cfq", "a > 1"}, {"smf", "SELECT ?car WHERE { ?car rdf:type <http://a/b#Car> }"},
		{"atrl", "ri+lbl+rr"}, {"tids", "t1+t2"}, {"ltids", "l1"}, {"rids", "r1@sp"}, {"tqi", "true"}, {"auri", "true"},
		{"asi", "true"}, {"sqi", "true"}, {"arp", "a/b"},
		{"lbl", "blank and ünï ? # / % & = ; ,"}, {"lbl", ""}, {"smf", "a && b"}, {"smf", "a=b&c=d"}, {"lbl", "50%25"},
	} {
		r := request(func(r *Request) { r.Query = []Parameter{q, {"fu", "1"}} })
		fmt.Fprintf(&b, "# %s=%s\n%s", q.Key, q.Value, bothWays(t, r, CoAPProfile{}))
	}
	golden(t, "query", b.String())
}

// TestGoldenStatus is TS-0008, table 6.2.4-1 beside TS-0009, table 6.3.2-1, each row in both directions, and the statuses
// that neither has.
func TestGoldenStatus(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	line := func(s StatusCode, op Operation, created string) {
		req := request(func(r *Request) {
			if r.Operation = op; op == Create {
				create(r, TypeContainer)
			}
		})
		in := &Response{Status: s, RequestID: "r1", ReleaseVersion: "3", Created: created}
		m, err := in.CoAP(req, CoAPProfile{})
		require.NoError(t, err)
		v, ok := m.Options.Uint(307) // always there
		require.True(t, ok)
		require.Equal(t, uint32(s), v)
		back, err := ResponseFromCoAP(m, req, CoAPProfile{})
		require.NoError(t, err)
		require.Equal(t, in, back)
		h, err := in.HTTP(req)
		require.NoError(t, err)
		back, err = ResponseFromHTTP(h, req)
		require.NoError(t, err)
		require.Equal(t, in, back)
		fmt.Fprintf(&b, "%s | %s | %s | %d\n", s, op, m.Code, h.Status)
	}
	for i := range statuses {
		line(statuses[i].status, Retrieve, "")
		require.NotEqual(t, statuses[i].later, statuses[i].status.Release3())
		if i > 0 {
			require.Less(t, statuses[i-1].status, statuses[i].status, "the table is searched by halves")
		}
	}
	for op := Create; op <= Notify; op++ {
		line(StatusOK, op, "")
	}
	for _, s := range []StatusCode{StatusAccepted, StatusAcceptedNonBlockingSynch, StatusAcceptedNonBlockingAsynch, StatusCreated} {
		line(s, Create, "cse-in/req1")
	}
	for _, s := range []StatusCode{1003, 2999, 4999, 5999, 6999, 3000, 9999} {
		line(s, Retrieve, "")
	}
	golden(t, "status", b.String())
}

// TestNotifyAnswerIsEmpty is TS-0008, table 6.2.4-1 and 6.3.2: 2.04 without a payload for 2000 to a NOTIFY, whatever the
// answer holds; any other status keeps its content.
func TestNotifyAnswerIsEmpty(t *testing.T) {
	t.Parallel()
	req := request(func(r *Request) { r.Operation = Notify })
	for status, want := range map[StatusCode]coap.Code{StatusOK: coap.Changed, StatusBadRequest: coap.BadRequest} {
		m, err := response(func(s *Response) {
			s.Status, s.Content, s.MediaType = status, []byte("{}"), "application/json"
		}).CoAP(req, CoAPProfile{})
		require.NoError(t, err)
		require.Equal(t, want, m.Code)
		_, hasFormat := m.Options.Find(coap.ContentFormat)
		require.Equal(t, status != StatusOK, hasFormat)
		require.Equal(t, status != StatusOK, len(m.Payload) > 0)
	}
}

// TestGoldenFallback is what an answer without a Response Status Code means.
func TestGoldenFallback(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	requests := []*Request{
		request(nil),
		request(func(r *Request) { r.Operation = Update }),
		request(func(r *Request) { r.Operation = Delete }),
		request(func(r *Request) { r.Operation = Notify }),
		request(func(r *Request) { r.ResponseType = NonBlockingSynch }),
		request(func(r *Request) { r.ResponseType = NonBlockingAsynch }),
	}
	for _, r := range requests {
		fmt.Fprintf(&b, "# %s, rt %d\n", r.Operation, r.ResponseType)
		for c := coap.Code(0); c < 6<<5; c++ {
			if c.String() == "2.31" {
				continue
			}
			if s, err := ResponseFromCoAP(&coap.Message{Code: c}, r, CoAPProfile{}); err == nil && (c.Class() == 2 || !generic(s.Status)) {
				fmt.Fprintf(&b, "%s %s\n", c, s.Status)
			}
		}
		for status := 100; status < 600; status++ {
			if s, err := ResponseFromHTTP(&HTTPResponse{Status: status}, r); err == nil && !generic(s.Status) {
				fmt.Fprintf(&b, "%d %s\n", status, s.Status)
			}
		}
	}
	golden(t, "fallback", b.String())
	for _, status := range []int{0, 100, 199, 301, 304, 399, 600} {
		_, err := ResponseFromHTTP(&HTTPResponse{Status: status}, request(nil))
		requireStatus(t, StatusInternalServerError, err)
	}
	for _, c := range []coap.Code{coap.Empty, coap.GET, 1 << 5, 3 << 5, 7 << 5, coap.Continue} {
		_, err := ResponseFromCoAP(&coap.Message{Code: c}, request(nil), CoAPProfile{})
		requireStatus(t, StatusInternalServerError, err)
	}
}

func generic(s StatusCode) bool { return s == StatusBadRequest || s == StatusInternalServerError }

// TestGoldenFormats is TS-0008, table 6.2.2.2-1 with the later synonyms, as Content-Format and as Accept.
func TestGoldenFormats(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	content := []byte{0xa0, 0x00, 0xff, '{', '}'} // no byte of it is looked at
	for _, f := range formats {
		m, err := request(func(r *Request) { r.Operation = Update }).CoAP(CoAPProfile{})
		require.NoError(t, err)
		m.Options = m.Options.AddUint(coap.ContentFormat, uint32(f.id)).AddUint(coap.Accept, uint32(f.id))
		m.Payload = content
		r, err := RequestFromCoAP(m, CoAPProfile{})
		require.NoError(t, err)
		require.Equal(t, content, r.Content)
		require.Equal(t, []string{f.media}, r.Accept)
		h, err := r.HTTP(HTTPProfile{})
		require.NoError(t, err)
		require.Equal(t, content, h.Body)
		back, err := RequestFromHTTP(h)
		require.NoError(t, err)
		requireSame(t, r, back)
		out, err := back.CoAP(CoAPProfile{})
		require.NoError(t, err)
		require.Equal(t, content, out.Payload)
		sent, _ := out.Options.Uint(coap.ContentFormat)
		answer, err := (&Response{Status: StatusUpdated, Content: content, MediaType: f.media}).CoAP(r, CoAPProfile{})
		require.NoError(t, err)
		answered, _ := answer.Options.Uint(coap.ContentFormat)
		require.Equal(t, uint32(f.id), answered, "RFC 7252, Section 5.10.4: what was asked for, or 4.06")
		again, err := r.CoAP(CoAPProfile{})
		require.NoError(t, err)
		accepted, _ := again.Options.Uint(coap.Accept)
		require.Equal(t, uint32(f.id), accepted)
		fmt.Fprintf(&b, "%d %s | request to a device %d | answer to who accepts it %d\n", f.id, r.MediaType, sent, answered)
	}
	golden(t, "formats", b.String())
}

func requireStatus(t *testing.T, want StatusCode, err error) {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, want, e.Status, e.Detail)
}

// TestNumbersOfHTTP: a number of 4 bytes in an option is one in a header, and nothing else is (TS-0009, 6.4).
func TestNumbersOfHTTP(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint32{"0": 0, "007": 7, "65536": 65536, "999999999": 999999999, "4294967295": 4294967295} {
		s, err := ResponseFromHTTP(&HTTPResponse{Header: []HeaderField{{"X-M2M-RSC", "2000"}, {"X-M2M-CTO", text}}}, nil)
		require.NoError(t, err, text)
		require.Equal(t, want, *s.ContentOffset)
	}
	for _, text := range []string{"", "4294967296", "9999999999", "18446744073709551616", "-1", "+1", "1.0", "0x1", "1_0", "१", " 1"} {
		_, err := ResponseFromHTTP(&HTTPResponse{Header: []HeaderField{{"X-M2M-RSC", "2000"}, {"X-M2M-CTO", text}}}, nil)
		requireStatus(t, StatusInternalServerError, err)
	}
}
