package onem2m

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// TestEntityTags: a tag that goes down comes back as the same one, and no two tags go down as one (RFC 7252, Section 5.10.6).
func TestEntityTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tag  string
		want []byte // nil: not handed down
	}{
		{`"a"`, []byte("a")}, {`"12345678"`, []byte("12345678")}, {`"*"`, []byte("*")}, {`"a,b"`, []byte("a,b")},
		{`"0001020304"`, []byte{0, 1, 2, 3, 4}}, {`"ffffffffffffffff"`, bytes.Repeat([]byte{0xff}, 8)},
		{`"FFFFFFFFFFFFFFFF"`, nil}, {`"6162636465"`, nil}, {`"ffffffffffffffffff"`, nil}, {`"00010203040"`, nil},
		{`""`, nil}, {`W/"a"`, nil}, {`a`, nil}, {``, nil}, {`"`, nil}, {`"a b"`, nil}, {`"a"b"`, nil}, {"\"a\x7f\"", nil}, {`*`, nil},
		{`"octets:01"`, []byte{1}}, {`"octets:61"`, nil}, {`"octets:0102030405"`, nil}, {`"octets:0"`, []byte("octets:0")}, {`"d41d8cd98f00b204e9800998ecf8427e"`, nil},
	} {
		got, ok := tagToCoAP(c.tag)
		require.Equal(t, c.want != nil, ok, c.tag)
		require.Equal(t, c.want, got, c.tag)
		if ok {
			require.Equal(t, c.tag, tagFromCoAP(got))
		}
	}
	require.Equal(t, `"octets:0d0a"`, tagFromCoAP([]byte("\r\n")))
	require.Equal(t, `"octets:2278"`, tagFromCoAP([]byte(`"x`)))
	seen := map[string]string{}
	for _, b := range []string{"01", "\x01", "\xff", "octets:1", "\x01\x02\x03\x04", "01020304", "\x01\x02\x03\x04\x05", "0102030", "\"", " "} {
		tag := tagFromCoAP([]byte(b))
		require.Empty(t, seen[tag], "%q", b)
		seen[tag] = b
		back, ok := tagToCoAP(tag)
		require.True(t, ok, tag)
		require.Equal(t, b, string(back))
	}
}

func TestParseTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		weak bool
		want []string
	}{
		{"", false, nil}, {" * ", false, []string{"*"}}, {`"a"`, false, []string{`"a"`}}, {`"a" ,	"b"`, false, []string{`"a"`, `"b"`}},
		{`"a,b","*"`, false, []string{`"a,b"`, `"*"`}}, {`W/"a", "b"`, true, []string{`"a"`, `"b"`}}, {`W/"a", "b"`, false, []string{`"b"`}},
		{`W/"a"`, false, []string{noTag}}, {`""`, false, []string{`""`}},
	} {
		got, err := parseTags(c.in, c.weak)
		require.NoError(t, err, c.in)
		require.Equal(t, c.want, got, c.in)
	}
	for _, in := range []string{`a`, `"a`, `"`, `W/`, `W/"`, `"a" "b"`, `"a",`, `,"a"`, `"a",*`, `*,"a"`, `"a b"`, "\"a\x00\"", `w/"a"`,
		strings.Repeat(`"a",`, maxTags) + `"a"`, `"` + strings.Repeat("a", maxText+1) + `"`} {
		_, err := parseTags(in, true)
		requireStatus(t, StatusBadRequest, err)
	}
}

// TestGoldenConditions is TS-0009, 6.4.6 beside RFC 7252, Sections 5.6.2, 5.10.6 and 5.10.8: requests and what may answer them.
func TestGoldenConditions(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	update := func(r *Request) {
		r.Operation, r.Content, r.MediaType = Update, []byte(`{}`), jsonMedia
	}
	for _, c := range []row[Request]{
		{"If-Match", func(r *Request) { update(r); r.IfMatch = []string{`"a"`, `"0001020304"`} }},
		{"If-Match, any", func(r *Request) { update(r); r.IfMatch = []string{"*"} }},
		{"If-None-Match", func(r *Request) { update(r); r.IfNoneMatch = []string{"*"} }},
		{"ETag of a RETRIEVE", func(r *Request) { r.IfNoneMatch = []string{`"a"`, `"b"`} }},
		{"ETag of a RETRIEVE that doesn't block", func(r *Request) { r.IfNoneMatch, r.ResponseType = []string{`"a"`}, NonBlockingSynch }},
		{"If-Match of a RETRIEVE", func(r *Request) { r.IfMatch = []string{`"a"`} }},
		{"If-None-Match of a RETRIEVE", func(r *Request) { r.IfNoneMatch = []string{"*"} }},
		{"ETag of an UPDATE", func(r *Request) { update(r); r.IfNoneMatch = []string{`"a"`} }},
		{"weak", func(r *Request) { update(r); r.IfMatch = []string{`W/"a"`} }},
		{"any and another", func(r *Request) { update(r); r.IfMatch = []string{"*", `"a"`} }},
		{"too many", func(r *Request) { update(r); r.IfMatch = make([]string, maxTags+1) }},
	} {
		fmt.Fprintf(&b, "# %s\n%s", c.name, bothWays(t, request(c.change), CoAPProfile{}))
	}
	asked := request(func(r *Request) { r.IfNoneMatch = []string{`"a"`, `"b"`} })
	changing := request(func(r *Request) { update(r); r.IfMatch = []string{`"a"`} })
	for _, c := range []struct {
		name   string
		change func(*Response)
		req    *Request
	}{
		{"fresh", func(s *Response) {
			s.ETag, s.MaxAge, s.Content, s.MediaType = `"c"`, 60, []byte(`{}`), jsonMedia
		}, asked},
		{"not modified", func(s *Response) { s.Condition, s.ETag, s.MaxAge = NotModified, `"b"`, 5 }, asked},
		{"failed", func(s *Response) { s.Condition, s.Status = PreconditionFailed, StatusConflict }, changing},
		{"failed, with a status of its own", func(s *Response) { s.Condition, s.Status = PreconditionFailed, StatusBadRequest }, changing},
	} {
		fmt.Fprintf(&b, "# response, %s\n%s", c.name, responseBothWays(t, response(c.change), c.req, CoAPProfile{}))
	}
	golden(t, "conditions", b.String())
}

// TestConditionsNotCarried: what CoAP can't say matches nothing there.
func TestConditionsNotCarried(t *testing.T) {
	t.Parallel()
	long := `"` + strings.Repeat("x", 9) + `"`
	r := request(func(r *Request) { r.Operation, r.IfMatch = Delete, []string{long, `"a"`} })
	m, err := r.CoAP(CoAPProfile{})
	require.NoError(t, err)
	require.Equal(t, []byte("a"), m.Options[0].Value)
	r.IfMatch = []string{long}
	_, err = r.CoAP(CoAPProfile{})
	requireStatus(t, StatusNotImplemented, err)
	r = request(func(r *Request) { r.IfNoneMatch = []string{long} })
	m, err = r.CoAP(CoAPProfile{})
	require.NoError(t, err)
	_, ok := m.Options.Find(coap.ETag)
	require.False(t, ok)
}

// TestUnconditional: a CSE that ignores conditions gets no request that depends on them.
func TestUnconditional(t *testing.T) {
	t.Parallel()
	p := HTTPProfile{Unconditional: true}
	for _, change := range []func(*Request){
		func(r *Request) { r.Operation, r.IfMatch = Delete, []string{`"a"`} },
		func(r *Request) { r.Operation, r.IfNoneMatch = Delete, []string{"*"} },
		func(r *Request) { r.IfMatch = []string{"*"} },
	} {
		_, err := request(change).HTTP(p)
		requireStatus(t, StatusNotImplemented, err)
	}
	_, err := request(func(r *Request) { r.IfNoneMatch = []string{`"a"`} }).HTTP(p)
	require.NoError(t, err)
}

func TestConditionalAnswers(t *testing.T) {
	t.Parallel()
	asked := request(func(r *Request) { r.IfNoneMatch = []string{`"a"`} })
	two := request(func(r *Request) { r.IfNoneMatch = []string{`"a"`, `"b"`} })
	changing := request(func(r *Request) { r.Operation, r.IfMatch = Delete, []string{`"a"`} })
	header := func(fields ...string) (h []HeaderField) {
		for i := 0; i < len(fields); i += 2 {
			h = append(h, HeaderField{fields[i], fields[i+1]})
		}
		return h
	}
	for _, c := range []struct {
		name string
		req  *Request
		h    HTTPResponse
		want *Response // nil: 5000
	}{
		{"304", asked, HTTPResponse{304, header("ETag", `"a"`), []byte("x")}, &Response{Status: StatusOK, Condition: NotModified, ETag: `"a"`}},
		{"304, weak", asked, HTTPResponse{304, header("etag", `W/"a"`), nil}, &Response{Status: StatusOK, Condition: NotModified, ETag: `"a"`}},
		{"304 without ETag", asked, HTTPResponse{304, nil, nil}, &Response{Status: StatusOK, Condition: NotModified, ETag: `"a"`}},
		{"304 of two without ETag", two, HTTPResponse{304, nil, nil}, nil},
		{"304 of another", asked, HTTPResponse{304, header("ETag", `"b"`), nil}, nil},
		{"304 with another status", asked, HTTPResponse{304, header("X-M2M-RSC", "2004"), nil}, nil},
		{"304 with an error", asked, HTTPResponse{304, header("X-M2M-RSC", "4004"), nil}, nil},
		{"304 unasked", request(nil), HTTPResponse{304, header("X-M2M-RSC", "2000"), nil}, nil},
		{"304 to a change", changing, HTTPResponse{304, nil, nil}, nil},
		{"304 to a change if there is none", request(func(r *Request) { r.Operation, r.IfNoneMatch = Delete, []string{"*"} }), HTTPResponse{304, header("ETag", "*"), nil}, nil},
		{"304 with the RI of another", asked, HTTPResponse{304, header("X-M2M-RI", "r2"), nil}, nil},
		{"302", asked, HTTPResponse{302, nil, nil}, nil},
		{"412", changing, HTTPResponse{412, nil, nil}, &Response{Status: StatusConflict, Condition: PreconditionFailed}},
		{"412 with a status", changing, HTTPResponse{412, header("X-M2M-RSC", "4102"), nil}, &Response{Status: StatusContentsUnacceptable, Condition: PreconditionFailed}},
		{"412 with success", changing, HTTPResponse{412, header("X-M2M-RSC", "2002"), nil}, nil},
		{"412 unasked", request(nil), HTTPResponse{412, nil, nil}, &Response{Status: StatusBadRequest}},
	} {
		got, err := ResponseFromHTTP(&c.h, c.req)
		if c.want == nil {
			requireStatus(t, StatusInternalServerError, err)
			continue
		}
		require.NoError(t, err, c.name)
		c.want.RequestID = "r1"
		require.Equal(t, c.want, got, c.name)
	}
	for _, s := range []*Response{{Condition: NotModified, Status: StatusOK, ETag: `"a"`}, {Condition: PreconditionFailed, Status: StatusConflict}} {
		_, err := s.CoAP(request(nil), CoAPProfile{})
		requireStatus(t, StatusInternalServerError, err)
		_, err = s.HTTP(request(nil))
		requireStatus(t, StatusInternalServerError, err)
	}
	_, err := (&Response{Condition: NotModified, Status: StatusOK}).CoAP(asked, CoAPProfile{})
	requireStatus(t, StatusInternalServerError, err)

	got, err := ResponseFromCoAP(&coap.Message{Code: coap.Valid, Options: coap.Options{}.AddString(coap.ETag, "a").AddUint(coap.MaxAge, 7)}, asked, CoAPProfile{})
	require.NoError(t, err)
	require.Equal(t, &Response{Status: StatusOK, Condition: NotModified, ETag: `"a"`, MaxAge: 7, RequestID: "r1"}, got)
	got, err = ResponseFromCoAP(&coap.Message{Code: coap.PreconditionFailed}, changing, CoAPProfile{})
	require.NoError(t, err)
	require.Equal(t, &Response{Status: StatusConflict, Condition: PreconditionFailed, RequestID: "r1"}, got)
}

// TestMaxAge is RFC 9111, Section 4.2.1: what isn't certainly fresh is not kept.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		control, age string
		want         uint32
	}{
		{"", "", 0}, {"max-age=60", "", 60}, {"private, Max-Age=60", "", 60}, {`max-age="60"`, "", 60}, {"max-age=60", "20", 40},
		{"max-age=60", "60", 0}, {"max-age=60", "90", 0}, {"max-age=60", "x", 0}, {"max-age=60, no-cache", "", 0}, {"no-store,max-age=60", "", 0},
		{"max-age=-1", "", 0}, {"max-age=99999999999", "", 0}, {"max-age", "", 0}, {"max-age=1,max-age=2", "", 0}, {"s-maxage=60", "", 0},
	} {
		require.Equal(t, c.want, maxAge(c.control, c.age), "%s, %s", c.control, c.age)
	}
}
