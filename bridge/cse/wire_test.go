package cse_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// TestW01OnTheWire: the bytes at the CSE are exactly these. Nothing is encoded twice or decoded, header names have the
// standard's spelling, and there is no header that nobody asked for.
func TestW01OnTheWire(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
		return write(w, r.good("200 OK", "2000", ""))
	})
	host := srv.url[len("https://"):]
	c := newClient(t, p, srv.url, nil)
	for _, tt := range []struct {
		name string
		r    *onem2m.Request
		want string
	}{
		{"retrieve", retrieve("r"),
			"GET /cse-in/dev HTTP/1.1\r\nHost: {host}\r\n{X-M2M-RVI: 3}{X-M2M-Origin: Cdev}{X-M2M-RI: r}\r\n"},
		{"create", create("r"), "POST /cse-in/dev/data HTTP/1.1\r\nHost: {host}\r\n" +
			"{X-M2M-RVI: 3}{X-M2M-Origin: Cdev}{X-M2M-RI: r}{Content-Type: application/json;ty=4}{Content-Length: 23}\r\n" +
			`{"m2m:cin":{"con":"1"}}`},
		{"SP-relative, characters, query", &onem2m.Request{
			Operation: onem2m.Retrieve, To: "/id-in/cse-in/a b%é?#+", From: "Cdev", RequestID: "r",
			Query: []onem2m.Parameter{{Key: "lbl", Value: "a+b&c=d"}, {Key: "fu", Value: "1"}},
		}, "GET /~/id-in/cse-in/a%20b%25%C3%A9%3F%23%2B?lbl=a+b%26c%3Dd&fu=1 HTTP/1.1\r\nHost: {host}\r\n{X-M2M-Origin: Cdev}{X-M2M-RI: r}\r\n"},
		{"Absolute", &onem2m.Request{Operation: onem2m.Delete, To: "//sp.example/id-in/x", From: "C1", RequestID: "r"},
			"DELETE /_/sp.example/id-in/x HTTP/1.1\r\nHost: {host}\r\n{X-M2M-Origin: C1}{X-M2M-RI: r}\r\n"},
	} {
		_, err := do(t, c, tt.r)
		require.NoError(t, err, tt.name)
		seen := srv.seen()
		got := seen[len(seen)-1].head + seen[len(seen)-1].body
		want := strings.NewReplacer("{host}", host, "{X", "X", "{C", "C", "3}", "3\r\n", "r}", "r\r\n", "dev}", "dev\r\n",
			"C1}", "C1\r\n", "=4}", "=4\r\n", `"1"}}`, `"1"}}`).Replace(tt.want)
		require.Equal(t, want, got, tt.name)
	}
}

// TestW01Refused: what could end a line or leave the path is refused before a connection is used.
func TestW01Refused(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	srv := newRawServer(t, p.serverTLS(), func(io.Writer, received) bool { return false })
	c := newClient(t, p, srv.url, nil)
	for name, edit := range map[string]func(*onem2m.Request){
		"CR LF in From":       func(r *onem2m.Request) { r.From = "C\r\nX-M2M-Origin: CAdmin" },
		"LF in RQI":           func(r *onem2m.Request) { r.RequestID = "a\nb" },
		"NUL in RQI":          func(r *onem2m.Request) { r.RequestID = "a\x00" },
		"CR in vendor text":   func(r *onem2m.Request) { r.VendorInformation = "a\r" },
		"dot-dot":             func(r *onem2m.Request) { r.To = "cse-in/../x" },
		"CR LF in To":         func(r *onem2m.Request) { r.To = "cse-in/a HTTP/1.1\r\nHost: x" },
		"invalid UTF-8 in To": func(r *onem2m.Request) { r.To = "cse-in/\xff" },
	} {
		r := retrieve("r")
		edit(r)
		_, err := do(t, c, r)
		var e *onem2m.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, onem2m.StatusBadRequest, e.Status, name)
		require.False(t, errors.Is(err, bridge.ErrUnreachable))
	}
	require.Zero(t, c.Stats()[0].Dialled)
}

// TestConditionalAnswer: 304 is an answer to a RETRIEVE that asked for it, with or without X-M2M-RSC, and leaves the connection
// in step (RFC 9110, Section 15.4.5).
func TestConditionalAnswer(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, header := range []string{"", "X-M2M-RSC: 2000\r\nX-M2M-RI: r\r\n"} {
		srv := newRawServer(t, p.serverTLS(), func(w io.Writer, _ received) bool {
			return write(w, "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n"+header+"\r\n")
		})
		c := newClient(t, p, srv.url, nil)
		r := retrieve("r")
		r.IfNoneMatch = []string{`"1"`}
		for range 2 {
			resp, err := do(t, c, r)
			require.NoError(t, err)
			require.Equal(t, onem2m.NotModified, resp.Condition)
		}
		require.EqualValues(t, 1, c.Stats()[0].Dialled)
	}
}
