package cse

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
)

// TestW01LastCheck: each byte that could end a line, leave the path or frame a message is refused, alone and in place.
func TestW01LastCheck(t *testing.T) {
	t.Parallel()
	good := func() *onem2m.HTTPRequest {
		return &onem2m.HTTPRequest{Method: "GET", Target: "/a", Header: []onem2m.HeaderField{{Name: "X-M2M-RI", Value: "r"}}}
	}
	require.NoError(t, checkRequest(good()))
	for _, c := range "\x00\t\n\r \x1f#\\\x7f\u00e9" {
		h := good()
		h.Target = "/a" + string(c) + "b"
		require.Error(t, checkRequest(h), "target with %q", c)
	}
	for _, c := range "\x00\n\r\x1f\x7f" {
		h := good()
		h.Header[0].Value = "a" + string(c) + "b"
		require.Error(t, checkRequest(h), "value with %q", c)
	}
	for _, name := range []string{"", "a b", "a:", "a\r", "Host", "content-length", "Transfer-Encoding", "Connection", "Expect"} {
		h := good()
		h.Header[0].Name = name
		require.Error(t, checkRequest(h), "name %q", name)
	}
	for _, target := range []string{"", "a", "//host/a", "https://host/a", "*"} {
		h := good()
		h.Target = target
		require.Error(t, checkRequest(h), "target %q", target)
	}
	for _, method := range []string{"", "get", "CONNECT", "GET /x"} {
		h := good()
		h.Method = method
		require.Error(t, checkRequest(h), "method %q", method)
	}
}

// FuzzW01AppendRequest: a request that passes the last check is exactly one HTTP message with the target and the field it
// was given, whatever built it.
func FuzzW01AppendRequest(f *testing.F) {
	f.Add("GET", "/a?b=c", "X-M2M-RI", "r", "")
	f.Add("POST", "/~/id", "X-M2M-Origin", "C\r\nX: y", "body")
	f.Add("PUT", "//host/x", "Content-Length", "5", "")
	f.Add("GET /x HTTP/1.1\r\n", "/", "a b", "", "x")
	f.Add("DELETE", "/a b", "X", "\x00", "GET / HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, method, target, name, value, body string) {
		h := &onem2m.HTTPRequest{
			Method: method, Target: target, Header: []onem2m.HeaderField{{Name: name, Value: value}}, Body: []byte(body),
		}
		if checkRequest(h) != nil {
			return
		}
		br := bufio.NewReader(strings.NewReader(string(appendRequest(nil, h, "cse.example"))))
		r, err := http.ReadRequest(br)
		if err != nil {
			return // such as a target with a stray "%": the CSE's 400
		}
		require.Equal(t, method, r.Method)
		require.Equal(t, target, r.RequestURI)
		require.Equal(t, "cse.example", r.Host)
		require.Equal(t, strings.Trim(value, " \t"), r.Header.Get(name))
		got, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, body, string(got))
		_, err = br.ReadByte()
		require.ErrorIs(t, err, io.EOF, "one message")
	})
}

// FuzzW02ReadAnswer: whatever bytes come, the answer is within its limit and for this request, or a failure with a reason.
func FuzzW02ReadAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}",
		"HTTP/1.1 201 \r\nX-M2M-RSC: 2001\r\nX-M2M-RI: r\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\n{\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 103 \r\n\r\nHTTP/1.0 404 \r\n\r\n", "HTTP/1.1 302 \r\nLocation: /\r\n\r\n", "HTTP/1.1 204 \r\nKeep-Alive: timeout=5\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	const limit = 512
	t0 := &target{CSE: CSE{Name: "x", MaxAnswer: limit}}
	r := &onem2m.Request{Operation: onem2m.Retrieve, To: "a", From: "C", RequestID: "r"}
	f.Fuzz(func(t *testing.T, b []byte) {
		cn := &conn{in: inbound{from: bytes.NewReader(b)}}
		cn.reader = bufio.NewReader(&cn.in)
		cn.in.begin(maxHeader)
		answer, err := cn.readAnswer(&onem2m.HTTPRequest{Method: http.MethodGet}, limit)
		if err != nil {
			require.NotEmpty(t, cn.readFailure(err).report("x").Reason)
			require.False(t, cn.keep)
			return
		}
		require.LessOrEqual(t, len(answer.Body), limit)
		if resp, f := t0.judge(answer, r); f == nil {
			require.Equal(t, "r", resp.RequestID)
		}
	})
}
