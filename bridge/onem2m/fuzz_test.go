package onem2m

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// messageFrom builds a message out of fuzzed bytes: code, then options of 2 bytes number and 2 bytes length, until one is
// number 0; the rest is the payload. The options come in ascending order, as the endpoint hands them over.
func messageFrom(b []byte) *coap.Message {
	m := &coap.Message{}
	if len(b) == 0 {
		return m
	}
	m.Code, b = coap.Code(b[0]), b[1:]
	for len(b) >= 4 {
		id, n := coap.OptionID(b[0])<<8|coap.OptionID(b[1]), int(b[2])<<8|int(b[3])
		b = b[4:]
		if id == 0 {
			break
		}
		n = min(n, len(b))
		m.Options, b = m.Options.Add(id, b[:n]), b[n:]
	}
	m.Payload = b
	return m
}

// bytesOf is the inverse of messageFrom.
func bytesOf(m *coap.Message) []byte {
	b := []byte{byte(m.Code)}
	for _, o := range m.Options {
		b = append(b, byte(o.ID>>8), byte(o.ID), byte(len(o.Value)>>8), byte(len(o.Value)))
		b = append(b, o.Value...)
	}
	return append(append(b, 0, 0, 0, 0), m.Payload...)
}

func requireError(t testing.TB, err error) {
	t.Helper()
	var e *Error
	require.True(t, errors.As(err, &e), "%v", err)
	require.True(t, e.Status.Known())
}

// FuzzRequestFromCoAP: no panic; what is read is written again as the same; and nothing in it changes the structure of the
// HTTP request (W01).
func FuzzRequestFromCoAP(f *testing.F) {
	for _, c := range requestRows() {
		for _, p := range []CoAPProfile{{}, {Legacy: true}} {
			m, err := request(c.change).CoAP(p)
			require.NoError(f, err)
			f.Add(bytesOf(m), p.Legacy)
		}
	}
	f.Add(bytesOf(deviceRequest("cse", "%2e%2e", "a\r\nb")), false)
	f.Add(bytesOf(with(deviceRequest("cse"), coap.URIQuery, "a=1&b=2&tkns=a.b+c")), false)
	f.Add(bytesOf(fetchMessage(10007, `{"to":"cse#lbl","fr":"C","rqi":"1","fc":{"atr":[{"nm":"cr","val":1}]}}`)), false)
	f.Add(bytesOf(fetchMessage(10012, "\xa3\x62to\x63cse\x62fr\x61C\x63rqi\x611")), false)
	f.Fuzz(func(t *testing.T, b []byte, legacy bool) {
		p := CoAPProfile{Legacy: legacy}
		m := messageFrom(b)
		UsesOptions(m)
		require.True(t, validText(RequestIDFromCoAP(m, p)))
		r, err := RequestFromCoAP(m, p)
		if err != nil {
			requireError(t, err)
			return
		}
		if _, err := NestedOriginators(r); err != nil {
			requireError(t, err)
		}
		if out, err := r.CoAP(p); err != nil {
			requireError(t, err)
		} else {
			back, err := RequestFromCoAP(out, p)
			require.NoError(t, err)
			requireSame(t, r, back)
		}
		h, err := r.HTTP(HTTPProfile{})
		if err != nil {
			requireError(t, err)
			return
		}
		requireCleanHTTP(t, r, h)
		back, err := RequestFromHTTP(h)
		require.NoError(t, err)
		requireSame(t, r, back)
	})
}

// requireSame compares two primitives; the media types of one serialisation are equal, as they are sent under one number.
func requireSame(t testing.TB, want, got *Request) {
	t.Helper()
	require.Equal(t, familyOf(want.MediaType), familyOf(got.MediaType))
	copied := *got
	copied.MediaType, copied.acceptID = want.MediaType, want.acceptID // HTTP has no synonyms of a media type
	require.Equal(t, want, &copied)
}

// FuzzResponseFromCoAP: no panic, and what is read is written again as the same.
func FuzzResponseFromCoAP(f *testing.F) {
	for _, c := range responseRows() {
		if m, err := response(c.change).CoAP(nil, CoAPProfile{}); err == nil {
			f.Add(bytesOf(m), false)
		}
	}
	f.Add([]byte("A\x01\x0c\x00A000"), true) // a Content Offset of 10 digits
	f.Fuzz(func(t *testing.T, b []byte, legacy bool) {
		p := CoAPProfile{Legacy: legacy}
		s, err := ResponseFromCoAP(messageFrom(b), request(nil), p)
		if err != nil {
			requireError(t, err)
			return
		}
		h, err := s.HTTP(nil)
		if err != nil {
			requireError(t, err)
			return
		}
		back, err := ResponseFromHTTP(h, nil)
		if s.Created != "" && s.Status >= StatusOK && s.Status != StatusCreated {
			return // a URI where nothing was created is not read again
		}
		require.NoError(t, err)
		require.Equal(t, s, back)
	})
}

// headersFrom reads "name: value" lines; a body follows an empty one.
func headersFrom(b []byte) (header []HeaderField, body []byte) {
	head, body, _ := bytes.Cut(b, []byte("\n\n"))
	for line := range strings.SplitSeq(string(head), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		header = append(header, HeaderField{name, value})
	}
	return header, body
}

func linesOf(header []HeaderField, body []byte) []byte {
	var b bytes.Buffer
	for _, f := range header {
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	return append(append(b.Bytes(), '\n'), body...)
}

// FuzzRequestFromHTTP: no panic, and what is read is written again as the same.
func FuzzRequestFromHTTP(f *testing.F) {
	for _, c := range requestRows() {
		if h, err := request(c.change).HTTP(HTTPProfile{}); err == nil {
			f.Add(h.Method, h.Target, linesOf(h.Header, h.Body))
		}
	}
	f.Fuzz(func(t *testing.T, method, target string, lines []byte) {
		header, body := headersFrom(lines)
		r, err := RequestFromHTTP(&HTTPRequest{Method: method, Target: target, Header: header, Body: body})
		if err != nil {
			requireError(t, err)
			return
		}
		if _, err := NestedOriginators(r); err != nil {
			requireError(t, err)
		}
		if m, err := r.CoAP(CoAPProfile{}); err != nil {
			requireError(t, err)
		} else {
			back, err := RequestFromCoAP(m, CoAPProfile{})
			require.NoError(t, err)
			if len(r.Accept) > 1 { // CoAP asks for one
				back.Accept = r.Accept
			}
			requireSame(t, r, back)
		}
		h, err := r.HTTP(HTTPProfile{})
		if err != nil {
			requireError(t, err)
			return
		}
		requireCleanHTTP(t, r, h)
		back, err := RequestFromHTTP(h)
		require.NoError(t, err)
		require.Equal(t, r, back)
	})
}

// FuzzResponseFromHTTP: no panic, and what is read is written again as the same.
func FuzzResponseFromHTTP(f *testing.F) {
	for _, c := range responseRows() {
		h, err := response(c.change).HTTP(nil)
		require.NoError(f, err)
		f.Add(h.Status, linesOf(h.Header, h.Body))
	}
	f.Add(201, []byte("X-M2M-RSC: 2001\nContent-Location: https://h/~/id/%63\n\n{}"))
	f.Fuzz(func(t *testing.T, status int, lines []byte) {
		header, body := headersFrom(lines)
		s, err := ResponseFromHTTP(&HTTPResponse{Status: status, Header: header, Body: body}, request(nil))
		if err != nil {
			requireError(t, err)
			return
		}
		_, _ = CreatedAEID(s)
		_, _, _ = DecodeContentInstance(s.Content)
		h, err := s.HTTP(nil)
		require.NoError(t, err)
		for _, f := range h.Header {
			require.True(t, validText(f.Value))
		}
		back, err := ResponseFromHTTP(h, nil)
		require.NoError(t, err)
		require.Equal(t, s, back)
		if m, err := s.CoAP(request(nil), CoAPProfile{}); err != nil {
			requireError(t, err)
		} else {
			_, err = ResponseFromCoAP(m, request(nil), CoAPProfile{})
			require.NoError(t, err)
		}
	})
}

// FuzzNested: no panic, no From that could not be a header, and a bounded number of them (C10).
func FuzzNested(f *testing.F) {
	for _, s := range []string{
		`{"m2m:rqp":{"op":1,"to":"cse","fr":"Cother","rqi":"2","ty":3,"pc":{"a":[1.5e3,true,null,"\u00e9"]}}}`,
		`<m2m:rqp xmlns:m2m="p"><op>1</op><to>a</to><fr>C</fr></m2m:rqp>`,
		"\xa1\x67m2m:rqp\xa2\x62fr\x61C\x62op\x01",
	} {
		for family := range byte(4) {
			f.Add([]byte(s), family, byte(Notify), uint16(0))
			f.Add([]byte(s), family, byte(Create), uint16(4))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, family, op byte, ty uint16) {
		media := []string{"application/json", "application/cbor", "application/xml", "text/html"}[family%4]
		r := &Request{Operation: Operation(op), ResourceType: ResourceType(ty), Content: content, MediaType: media}
		found, err := NestedOriginators(r)
		if err != nil {
			requireError(t, err)
			return
		}
		require.LessOrEqual(t, len(found), maxNested)
		for _, from := range found {
			require.True(t, validText(from))
		}
	})
}

// FuzzTarget: what is read from a request-target is written as one that reads the same, and has as many segments.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"/~/id-in/cse-in/a%20b?rcn=4&lbl=a+b", "/_/sp/id/x", "TinyIoT/tt/c", "/%252e%252e/x", "/a/..%2fb", "/a//b", "/a/?x=%41",
		"//a", "/" + strings.Repeat("a/", 300), "?a=" + strings.Repeat("\"", 4000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		to, query, err := ParseTarget(target)
		if err != nil {
			requireError(t, err)
			return
		}
		b, err := AppendPath(nil, to)
		require.NoError(t, err)
		segments, err := Segments(to)
		require.NoError(t, err)
		joined, err := JoinSegments(segments)
		require.NoError(t, err)
		require.Equal(t, to, joined)
		r := Request{Query: query}
		if b = r.appendHTTPQuery(b, false); len(b) > maxTarget {
			return // three times as long once it is encoded as it should be: Request.HTTP refuses it
		}
		back, query2, err := ParseTarget(string(b))
		require.NoError(t, err)
		require.Equal(t, to, back)
		require.Equal(t, query, query2)
	})
}

// FuzzTree: what is read of content keeps the bounds on its values and its depth, in JSON and in CBOR (C10).
func FuzzTree(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-2.5e3,true,null,"\u00e9"],"b":{}}`, "\xa2\x61a\x82\x01\xf6\x61b\xa0", "\x82\x99\x00\x02\xa0\xa0\x80", "\xb9\x7f\xff\x80",
		"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\x7a\x00\x00\x00\x02ab", "\x1c", "\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, text bool) {
		family := familyCBOR
		if text {
			family = familyJSON
		}
		tree, err := parseTree(b, family)
		if err != nil {
			requireError(t, err)
			return
		}
		values := 0
		var walk func(v any, depth int)
		walk = func(v any, depth int) {
			values++
			require.LessOrEqual(t, depth, maxDepth)
			switch v := v.(type) {
			case []any:
				for _, member := range v {
					walk(member, depth+1)
				}
			case map[string]any:
				for _, member := range v {
					walk(member, depth+1)
				}
			}
		}
		walk(tree, 0)
		require.LessOrEqual(t, values, maxNodes)
	})
}

// FuzzTimestamp: no panic, a moment that time can be reckoned with, and what is cut to 15 bytes is the same second.
func FuzzTimestamp(f *testing.F) {
	for _, s := range []string{"20261123T083531", "20261123T083531,648186", "20261123T083531.5", "3600000", "-1", "", "T", "00000101T000000", "99999999999"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 23, 8, 35, 31, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseTimestamp(s, now)
		if err != nil {
			requireError(t, err)
			return
		}
		if IsRelative(s) {
			require.Less(t, at.Sub(now).Abs(), 11*365*24*time.Hour)
			return
		}
		short := strictTimestamp(s)
		require.Len(t, short, 15)
		second, err := ParseTimestamp(short, now)
		require.NoError(t, err)
		require.Equal(t, at.Truncate(time.Second), second)
		require.Equal(t, short, at.Format(timestampLayout))
	})
}
