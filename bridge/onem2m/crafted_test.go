package onem2m

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// deviceRequest is a RETRIEVE as a device sends it, with the given Uri-Path.
func deviceRequest(path ...string) *coap.Message {
	m := &coap.Message{Code: coap.GET}
	for _, s := range path {
		m.Options = m.Options.AddString(coap.URIPath, s)
	}
	m.Options = m.Options.AddString(279, "Cae").AddString(283, "r1").AddString(271, "3")
	return m
}

func with(m *coap.Message, id coap.OptionID, value string) *coap.Message {
	m.Options = m.Options.Remove(id).AddString(id, value)
	return m
}

func repeatPath(n int) *coap.Message {
	path := make([]string, n)
	for i := range path {
		path[i] = "a"
	}
	return deviceRequest(path...)
}

// TestW01Crafted sends what could change the HTTP request: the raw request equals the golden one, or there is none and the
// answer is 4000.
func TestW01Crafted(t *testing.T) {
	t.Parallel()
	crafted := []struct {
		name string
		m    *coap.Message
	}{
		{"path: CR LF", deviceRequest("cse", "a\r\nX-M2M-Origin: Cother")},
		{"path: encoded CR LF", deviceRequest("cse", "a%0d%0aX: y")},
		{"path: NUL", deviceRequest("cse", "a\x00b")},
		{"path: DEL", deviceRequest("cse", "a\x7fb")},
		{"path: C1 control", deviceRequest("cse", "a\u0085b")},
		{"path: line separator", deviceRequest("cse", "a\u2028b")},
		{"path: .", deviceRequest("cse", ".", "b")},
		{"path: ..", deviceRequest("cse", "..", "b")},
		{"path: ..\\", deviceRequest("cse", "..\\b")},
		{"path: %2e%2e", deviceRequest("cse", "%2e%2e", "b")},
		{"path: %2E.", deviceRequest("cse", "%2E.", "b")},
		{"path: %252e%252e", deviceRequest("cse", "%252e%252e", "b")},
		{"path: %25252e", deviceRequest("cse", "%25252e", "b")},
		{"path: slash in a segment", deviceRequest("cse", "a/b")},
		{"path: %2f", deviceRequest("cse", "a%2fb")},
		{"path: %252F", deviceRequest("cse", "a%252Fb")},
		{"path: %5c", deviceRequest("cse", "a%5cb")},
		{"path: %00", deviceRequest("cse", "a%00b")},
		{"path: %ff", deviceRequest("cse", "a%ffb")},
		{"path: ?", deviceRequest("cse", "a?rcn=0")},
		{"path: #", deviceRequest("cse", "a#b")},
		{"path: ;", deviceRequest("cse", "..;", "b")},
		{"path: % alone", deviceRequest("cse", "100%")},
		{"path: bad UTF-8", deviceRequest("cse", "a\xff\xfeb")},
		{"path: overlong UTF-8", deviceRequest("cse", "\xc0\xae\xc0\xae")},
		{"path: surrogate", deviceRequest("cse", "\xed\xa0\x80")},
		{"path: empty segment", deviceRequest("cse", "", "b")},
		{"path: trailing slash", deviceRequest("cse", "b", "")},
		{"path: none", deviceRequest()},
		{"path: only the root", deviceRequest("")},
		{"path: ~ alone", deviceRequest("~")},
		{"path: _ alone", deviceRequest("_", "sp")},
		{"path: ~ and an empty segment", deviceRequest("~", "", "cse")},
		{"path: _ twice", deviceRequest("_", "_", "cse")},
		{"path: 64 segments", repeatPath(64)},
		{"path: 65 segments", repeatPath(65)},
		{"path: 300 segments", repeatPath(300)},
		{"path: segment of 255 bytes", deviceRequest("cse", strings.Repeat("x", 255))},
		{"path: segment of 256 bytes", deviceRequest("cse", strings.Repeat("x", 256))},
		{"path: an absolute URL", deviceRequest("http:", "", "evil", "x")},
		{"path: an absolute URL in one", deviceRequest("http://evil/x")},
		{"query: CR LF", with(deviceRequest("cse"), coap.URIQuery, "lbl=a\r\nHost: evil")},
		{"query: NUL", with(deviceRequest("cse"), coap.URIQuery, "lbl=a\x00")},
		{"query: encoded CR LF", with(deviceRequest("cse"), coap.URIQuery, "lbl=a%0d%0ab")},
		{"query: #", with(deviceRequest("cse"), coap.URIQuery, "lbl=a#b")},
		{"query: ? and /", with(deviceRequest("cse"), coap.URIQuery, "lbl=../?x")},
		{"query: blank", with(deviceRequest("cse"), coap.URIQuery, "lbl=a HTTP/1.1")},
		{"query: bad UTF-8", with(deviceRequest("cse"), coap.URIQuery, "lbl=\xff")},
		{"query: no key", with(deviceRequest("cse"), coap.URIQuery, "=a")},
		{"query: no value", with(deviceRequest("cse"), coap.URIQuery, "lbl")},
		{"query: key with a blank", with(deviceRequest("cse"), coap.URIQuery, "l bl=a")},
		{"query: key with %", with(deviceRequest("cse"), coap.URIQuery, "l%62l=a")},
		{"query: two pairs in one option", with(deviceRequest("cse"), coap.URIQuery, "fu=1&lbl=a")},
		{"query: encoded &", with(deviceRequest("cse"), coap.URIQuery, "lbl=a%26rt=2")},
		{"query: rt twice", with(deviceRequest("cse"), coap.URIQuery, "rt=1&rt=2")},
		{"query: rt unknown", with(deviceRequest("cse"), coap.URIQuery, "rt=6")},
		{"query: op against the method", with(deviceRequest("cse"), coap.URIQuery, "op=4")},
		{"query: token with a header", with(deviceRequest("cse"), coap.URIQuery, "tkns=a.b.c\r\nX: y")},
		{"query: token with a scheme", with(deviceRequest("cse"), coap.URIQuery, "tkns=Bearer x")},
		{"query: 65 pairs", with(deviceRequest("cse"), coap.URIQuery, strings.Repeat("a=1&", 64)+"a=1")},
		{"RQI: CR LF", with(deviceRequest("cse"), 283, "r\r\nX-M2M-Origin: Cother")},
		{"RQI: LF", with(deviceRequest("cse"), 283, "r\n")},
		{"RQI: NUL", with(deviceRequest("cse"), 283, "r\x00")},
		{"RQI: obs-text", with(deviceRequest("cse"), 283, "r\xe9")},
		{"RQI: blank at the end", with(deviceRequest("cse"), 283, "r ")},
		{"RQI: empty", with(deviceRequest("cse"), 283, "")},
		{"RQI: 1024 bytes", with(deviceRequest("cse"), 283, strings.Repeat("r", 1024))},
		{"RQI: 1025 bytes", with(deviceRequest("cse"), 283, strings.Repeat("r", 1025))},
		{"From: CR LF", with(deviceRequest("cse"), 279, "C\r\n")},
		{"From: empty", with(deviceRequest("cse"), 279, "")},
		{"vsi: CR LF", with(deviceRequest("cse"), 331, "v\r\nContent-Length: 0")},
		{"grtm", with(deviceRequest("cse"), 335, "Ca+Cb")},
		{"option repeated", func() *coap.Message {
			m := deviceRequest("cse")
			m.Options = m.Options.AddString(279, "Cother")
			return m
		}()},
		{"unknown critical option", with(deviceRequest("cse"), 2053, "")},
		{"unknown elective option", with(deviceRequest("cse"), 2054, "")},
		{"If-Match", with(deviceRequest("cse"), coap.IfMatch, "x")},
		{"If-Match: CR LF and a quote", with(deviceRequest("cse"), coap.IfMatch, "\"\r\nX: y")},
		{"If-Match: a comma", with(deviceRequest("cse"), coap.IfMatch, "a,*")},
		{"If-Match: 9 bytes", with(deviceRequest("cse"), coap.IfMatch, "123456789")},
		{"If-None-Match of a RETRIEVE", with(deviceRequest("cse"), coap.IfNoneMatch, "")},
		{"If-None-Match: a value", with(deviceRequest("cse"), coap.IfNoneMatch, "x")},
		{"ETag", with(deviceRequest("cse"), coap.ETag, "x\r\n")},
		{"response's option", with(deviceRequest("cse"), 307, "\x07\xd0")},
		{"rvi unknown", with(deviceRequest("cse"), 271, "9")},
		{"ty on GET", with(deviceRequest("cse"), 267, "\x02")},
		{"ec of 5 bytes", with(deviceRequest("cse"), 303, "\x00\x00\x00\x00\x01")},
		{"ec 0", with(deviceRequest("cse"), 303, "")},
		{"Accept unknown", with(deviceRequest("cse"), coap.Accept, "\x2a")},
		{"Accept of 5 bytes", with(deviceRequest("cse"), coap.Accept, "\x00\x00\x00\x00\x32")},
	}
	var b strings.Builder
	for _, c := range crafted {
		fmt.Fprintf(&b, "# %s\n", c.name)
		r, err := RequestFromCoAP(c.m, CoAPProfile{})
		if err != nil {
			require.Nil(t, r)
			b.WriteString(errorText(err))
			continue
		}
		h, err := r.HTTP(HTTPProfile{})
		if err != nil {
			b.WriteString("http " + errorText(err))
			continue
		}
		requireCleanHTTP(t, r, h)
		b.WriteString(httpText(h))
	}
	golden(t, "crafted", strings.ReplaceAll(b.String(), strings.Repeat("r", 1024), "r, 1024 times"))
}

// TestW02CraftedAnswers is a CSE's answer that can't be trusted (S44): 5000, never a wrong primitive.
func TestW02CraftedAnswers(t *testing.T) {
	t.Parallel()
	const json = "application/json"
	good := []HeaderField{{"x-m2m-rsc", "2000"}, {"X-M2m-Ri", "r1"}, {"CONTENT-TYPE", "application/json;charset=utf-8"}}
	s, err := ResponseFromHTTP(&HTTPResponse{Status: 200, Header: good, Body: []byte("{}")}, request(nil))
	require.NoError(t, err, "names in any case, TS-0009, 5.1")
	require.Equal(t, &Response{Status: StatusOK, RequestID: "r1", Content: []byte("{}"), MediaType: json}, s)

	for name, h := range map[string]*HTTPResponse{
		"RI of another request": {Status: 200, Header: []HeaderField{{"X-M2M-RSC", "2000"}, {"X-M2M-RI", "r2"}}},
		"RI twice":              {Status: 200, Header: []HeaderField{{"X-M2M-RI", "r1"}, {"X-M2M-RI", "r1"}}},
		"RSC is text":           {Status: 200, Header: []HeaderField{{"X-M2M-RSC", "OK"}}},
		"RSC out of range":      {Status: 200, Header: []HeaderField{{"X-M2M-RSC", "20000"}}},
		"RSC of 3 digits":       {Status: 200, Header: []HeaderField{{"X-M2M-RSC", "200"}}},
		"CR LF":                 {Status: 200, Header: []HeaderField{{"X-M2M-RSC", "2000"}, {"X-M2M-VSI", "a\r\nb"}}},
		"ETag with CR LF":       {Status: 200, Header: []HeaderField{{"X-M2M-RSC", "2000"}, {"ETag", "a\r\nb"}}},
		"no media type":         {Status: 200, Header: []HeaderField{{"X-M2M-RSC", "2000"}}, Body: []byte("{}")},
		"redirect":              {Status: 302, Header: []HeaderField{{"Location", "http://evil/"}}},
		"created above": {Status: 201, Header: []HeaderField{
			{"X-M2M-RSC", "2001"}, {"Content-Location", "/cse/%2e%2e/x"}}},
		"created with a query": {Status: 201, Header: []HeaderField{{"X-M2M-RSC", "2001"}, {"Content-Location", "/cse/x?y"}}},
	} {
		_, err := ResponseFromHTTP(h, request(nil))
		requireStatus(t, StatusInternalServerError, err)
		require.NotContains(t, err.Error(), "evil", name)
	}

	// A page of a proxy is no content of a primitive.
	s, err = ResponseFromHTTP(&HTTPResponse{Status: 502, Header: []HeaderField{{"Content-Type", "text/html"}}, Body: []byte("<html>")},
		request(nil))
	require.NoError(t, err)
	require.Equal(t, &Response{Status: StatusRemoteEntityNotReachable, RequestID: "r1"}, s)
}

// TestCreatedForms reads the URI of a created resource in the forms that CSEs write.
func TestCreatedForms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/cse-in/ae":                       "cse-in/ae",
		"cse-in/ae":                        "cse-in/ae",
		"/~/id-in/cse-in/ae":               "/id-in/cse-in/ae",
		"/_/sp/id-in/cse-in/ae":            "//sp/id-in/cse-in/ae",
		"//sp/id-in/ae":                    "//sp/id-in/ae",
		"https://host:8443/~/id-in/cse/ae": "/id-in/cse/ae",
		"/cse-in/a%20b":                    "cse-in/a b",
	} {
		header := []HeaderField{{"X-M2M-RSC", "2001"}, {"Content-Location", in}}
		s, err := ResponseFromHTTP(&HTTPResponse{Status: 201, Header: header}, request(nil))
		require.NoError(t, err, in)
		require.Equal(t, want, s.Created)
	}
	m := &coap.Message{Code: coap.Created}
	m.Options = m.Options.AddString(coap.LocationPath, "cse-in/ae/c") // not split, as one CSE sends it
	s, err := ResponseFromCoAP(m, request(nil), CoAPProfile{})
	require.NoError(t, err)
	require.Equal(t, "cse-in/ae/c", s.Created)
}

// TestHTTPCrafted is what may not come down from a CSE.
func TestHTTPCrafted(t *testing.T) {
	t.Parallel()
	header := func(more ...HeaderField) []HeaderField {
		return append([]HeaderField{{"X-M2M-RI", "r1"}, {"X-M2M-Origin", "/id-in"}}, more...)
	}
	body := []byte("{}")
	for name, c := range map[string]struct {
		h    HTTPRequest
		want StatusCode
	}{
		"method":          {HTTPRequest{"PATCH", "/a", header(), nil}, StatusOperationNotAllowed},
		"target":          {HTTPRequest{"GET", "/a/%2e%2e/b", header(), nil}, StatusBadRequest},
		"encoding":        {HTTPRequest{"GET", "/a/%2", header(), nil}, StatusBadRequest},
		"fragment":        {HTTPRequest{"GET", "/a#b", header(), nil}, StatusBadRequest},
		"absolute form":   {HTTPRequest{"GET", "http://evil/b", header(), nil}, StatusBadRequest},
		"op in the query": {HTTPRequest{"GET", "/a?op=2", header(), nil}, StatusBadRequest},
		"query encoding":  {HTTPRequest{"GET", "/a?lbl=%0a", header(), nil}, StatusBadRequest},
		"body of GET":     {HTTPRequest{"GET", "/a", header(HeaderField{"Content-Type", "application/json"}), body}, StatusBadRequest},
		"no media type":   {HTTPRequest{"POST", "/a", header(), body}, StatusUnsupportedMediaType},
		"media type":      {HTTPRequest{"POST", "/a", header(HeaderField{"Content-Type", "text/plain"}), body}, StatusUnsupportedMediaType},
		"ty":              {HTTPRequest{"POST", "/a", header(HeaderField{"Content-Type", "application/json;ty=x"}), body}, StatusBadRequest},
		"ty twice":        {HTTPRequest{"POST", "/a", header(HeaderField{"Content-Type", "application/json;ty=3;ty=4"}), body}, StatusBadRequest},
		"accept":          {HTTPRequest{"GET", "/a", header(HeaderField{"Accept", "text/html"}), nil}, StatusNotAcceptable},
		"accept, weight 0": {HTTPRequest{"GET", "/a", header(HeaderField{"Accept", "application/json;q=0"}), nil},
			StatusNotAcceptable},
		"no origin":  {HTTPRequest{"GET", "/a", []HeaderField{{"X-M2M-RI", "r1"}}, nil}, StatusBadRequest},
		"no RI":      {HTTPRequest{"GET", "/a", []HeaderField{{"X-M2M-Origin", "C"}}, nil}, StatusBadRequest},
		"RVI":        {HTTPRequest{"GET", "/a", header(HeaderField{"X-M2M-RVI", "9"}), nil}, StatusReleaseVersionNotSupported},
		"RI twice":   {HTTPRequest{"GET", "/a", header(HeaderField{"x-m2m-ri", "r1"}), nil}, StatusBadRequest},
		"type twice": {HTTPRequest{"POST", "/a", header(HeaderField{"Content-Type", "a"}, HeaderField{"content-type", "b"}), body}, StatusBadRequest},
		"tokens":     {HTTPRequest{"GET", "/a", header(HeaderField{"Authorization", "a.b.c+d,e"}), nil}, StatusBadRequest},
		"EC":         {HTTPRequest{"GET", "/a", header(HeaderField{"X-M2M-EC", "2.0"}), nil}, StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := RequestFromHTTP(&c.h)
			requireStatus(t, c.want, err)
			require.Nil(t, r)
		})
	}

	// What CSEs are known to send: no slash at the start, names in any case, a credential for the hop, weights, an empty
	// path.
	r, err := RequestFromHTTP(&HTTPRequest{"POST", "TinyIoT/tt/c", []HeaderField{
		{"x-m2m-origin", "/tinyiot"}, {"X-M2m-Ri", "notify"}, {"Authorization", "Basic YTpi+w=="},
		{"Accept", "application/xml;q=0.5, application/json, text/html, */*;q=0.1"},
		{"Content-Type", "application/json"}, {"X-Other", "a\r\nb"},
	}, body})
	require.NoError(t, err)
	require.Equal(t, &Request{Operation: Notify, To: "TinyIoT/tt/c", From: "/tinyiot", RequestID: "notify", Content: body,
		MediaType: "application/json", Accept: []string{"application/json", "application/xml"}}, r)
	r, err = RequestFromHTTP(&HTTPRequest{"POST", "/", header(HeaderField{"Authorization", "a.b.c+ d.e.f"}), nil})
	require.NoError(t, err)
	require.Equal(t, "", r.To)
	require.Equal(t, []string{"a.b.c", "d.e.f"}, r.Tokens) // the blank of TS-0009, 6.4.19's example
	_, err = r.HTTP(HTTPProfile{})
	requireStatus(t, StatusBadRequest, err)
}

// TestNotCarried is what one binding has no place for: 5001, never dropped.
func TestNotCarried(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 256)
	for name, c := range map[string]struct {
		change     func(*Request)
		coap, http StatusCode
		p          HTTPProfile
	}{
		"grtm":                    {func(r *Request) { r.GroupRequestTargets = "a" }, 0, StatusNotImplemented, HTTPProfile{}},
		"omr":                     {func(r *Request) { r.OntologyMapping = "a" }, 0, StatusNotImplemented, HTTPProfile{}},
		"prpi":                    {func(r *Request) { r.PrimitiveProfile = "a" }, 0, StatusNotImplemented, HTTPProfile{}},
		"msu":                     {func(r *Request) { r.ServiceUser = "a" }, 0, StatusNotImplemented, HTTPProfile{}},
		"vsi past its option":     {func(r *Request) { r.VendorInformation = long }, StatusNotImplemented, 0, HTTPProfile{}},
		"query past its option":   {func(r *Request) { r.Query = []Parameter{{"smf", long}} }, StatusNotImplemented, 0, HTTPProfile{}},
		"tokens past an option":   {func(r *Request) { r.Tokens = []string{long} }, StatusNotImplemented, 0, HTTPProfile{}},
		"nu with a separator":     {func(r *Request) { r.NotificationURIs = []string{"a&b"} }, StatusNotImplemented, StatusNotImplemented, HTTPProfile{}},
		"tokens beside ours":      {func(r *Request) { r.Tokens = []string{"a"} }, 0, StatusNotImplemented, HTTPProfile{AuthorizationTaken: true}},
		"tokens in the query":     {func(r *Request) { r.Tokens = []string{"a"} }, 0, 0, HTTPProfile{AuthorizationTaken: true, TokensInQuery: true}},
		"unknown accept":          {func(r *Request) { r.Accept = []string{"text/html"} }, StatusNotAcceptable, 0, HTTPProfile{}},
		"accept with a header":    {func(r *Request) { r.Accept = []string{"a\r\nb"} }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"rt hidden in the query":  {func(r *Request) { r.Query = []Parameter{{"rt", "1"}} }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"key with a separator":    {func(r *Request) { r.Query = []Parameter{{"a=1&b", "1"}} }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"token with a blank":      {func(r *Request) { r.Tokens = []string{"Basic x"} }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"From with CR LF":         {func(r *Request) { r.From = "C\r\n" }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"To with a marker":        {func(r *Request) { r.To = "~/a" }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"To above":                {func(r *Request) { r.To = "a/../b" }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"To of slashes":           {func(r *Request) { r.To = "///" }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"no operation":            {func(r *Request) { r.Operation = 0 }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"unknown rt":              {func(r *Request) { r.ResponseType = 6 }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"content without a type":  {func(r *Request) { r.Operation, r.Content = Update, []byte("x") }, StatusUnsupportedMediaType, StatusUnsupportedMediaType, HTTPProfile{}},
		"CREATE without a type":   {func(r *Request) { r.Operation = Create }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"type outside a CREATE":   {func(r *Request) { r.ResourceType = 2 }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"RETRIEVE with content":   {func(r *Request) { r.Content, r.MediaType = []byte("x"), "application/json" }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"too many members of nu":  {func(r *Request) { r.NotificationURIs = make([]string, 65) }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
		"From of another request": {func(r *Request) { r.From = "" }, StatusBadRequest, StatusBadRequest, HTTPProfile{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(c.change)
			_, err := r.CoAP(CoAPProfile{})
			requireRefused(t, c.coap, err)
			_, err = r.HTTP(c.p)
			requireRefused(t, c.http, err)
		})
	}
	for _, s := range []*Response{
		{Status: StatusOK, RequestID: "r1", Content: []byte("x"), MediaType: "text/html"},
		{Status: StatusOK, RequestID: "r\r\n1"},
		{Status: StatusCreated, RequestID: "r1", Created: "a/../b"},
	} {
		_, err := s.CoAP(request(nil), CoAPProfile{})
		requireStatus(t, StatusInternalServerError, err)
		_, err = s.HTTP(request(nil))
		requireStatus(t, StatusInternalServerError, err)
	}
	_, err := (&Response{Status: StatusUpdated, RequestID: "r1", Created: "a"}).CoAP(nil, CoAPProfile{})
	requireStatus(t, StatusInternalServerError, err)
}

func requireRefused(t *testing.T, want StatusCode, err error) {
	t.Helper()
	if want == 0 {
		require.NoError(t, err)
		return
	}
	requireStatus(t, want, err)
}
