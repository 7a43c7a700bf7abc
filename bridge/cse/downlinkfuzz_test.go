package cse

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// FuzzDownlinkRequest reads requests from any bytes: no panic, no more than was allowed, and what is taken has one meaning.
func FuzzDownlinkRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\n\r\n", "POST x/y HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n", "\n\n", "\r\n\r\n",
		"POST https://h/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n", "OPTIONS * HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n", "PUT ?x HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1024
		cn := &downConn{in: inbound{from: bytes.NewReader(b)}}
		cn.restored.in = &cn.in
		cn.reader = bufio.NewReaderSize(&cn.restored, maxHead)
		for range 8 {
			cn.in.begin(maxHead)
			r, err := cn.readHead()
			if err != nil {
				return
			}
			if _, both := r.Header["Content-Length"]; both && len(r.TransferEncoding) > 0 {
				t.Fatal("two lengths")
			}
			for name, values := range r.Header {
				if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") {
					t.Fatal("a header holds the end of a line")
				}
			}
			token, rest := cutToken(r.RequestURI)
			if strings.ContainsAny(token, "/?#") || rest != "" && !strings.ContainsAny(rest[:1], "/?#") {
				t.Fatalf("%q has the token %q and then %q", r.RequestURI, token, rest)
			}
			if r.ContentLength > limit || r.Header.Get("Expect") != "" {
				return
			}
			cn.in.begin(2*limit + maxHead)
			body, err := readBody(r.Body, r.ContentLength, limit)
			if err != nil {
				return
			}
			if len(body) > limit {
				t.Fatal("a content beyond the limit")
			}
		}
	})
}
