package request

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

func created() *Answer {
	return &Answer{
		Code:    coap.Created,
		Options: coap.Options{}.AddUint(coap.ContentFormat, 50).Add(coap.ETag, []byte{1, 2}),
		Content: []byte(`{"m2m:ae":{"aei":"Ca","n":12345678901234567890}}`),
		Elapsed: 12345678 * time.Nanosecond,
		Response: &onem2m.Response{Status: onem2m.StatusCreated, RequestID: "r", ReleaseVersion: "3",
			Created: "cse-in/ae"},
	}
}

func TestAnswerJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   *Answer
		want string
	}{
		{"oneM2M", created(), `{"code":"2.01","rsc":2001,"rscName":"CREATED","rqi":"r","rvi":"3","created":"cse-in/ae",` +
			`"etag":"0102","contentFormat":50,"mediaType":"application/json",` +
			`"content":{"m2m:ae":{"aei":"Ca","n":12345678901234567890}},"elapsed":0.012346}`},
		{"plain text", &Answer{Code: coap.Content, Options: coap.Options{{ID: coap.ContentFormat}}, Content: []byte("21.5")},
			`{"code":"2.05","contentFormat":0,"mediaType":"text/plain","content":"21.5","elapsed":0}`},
		{"binary", &Answer{Code: coap.Content, Content: []byte{0xff, 0}},
			`{"code":"2.05","contentBase64":"/wA=","elapsed":0}`},
		{"what says that it is JSON, and is not", &Answer{Code: coap.Content, Options: coap.Options{{ID: coap.ContentFormat, Value: []byte{50}}}, Content: []byte("{")},
			`{"code":"2.05","contentFormat":50,"mediaType":"application/json","content":"{","elapsed":0}`},
		{"a number that says nothing", &Answer{Code: coap.Content, Content: []byte("21.5")},
			`{"code":"2.05","content":"21.5","elapsed":0}`},
		{"an object that says nothing", &Answer{Code: coap.Content, Content: []byte(`{"a":1}`)},
			`{"code":"2.05","content":{"a":1},"elapsed":0}`},
		{"plain created", &Answer{Code: coap.Created, Options: coap.Options{{ID: coap.LocationPath, Value: []byte("a")}, {ID: coap.LocationPath, Value: []byte("b")}}},
			`{"code":"2.01","created":"/a/b","elapsed":0}`},
		{"unknown RSC", &Answer{Code: coap.BadRequest, Response: &onem2m.Response{Status: 4999}},
			`{"code":"4.00","rsc":4999,"elapsed":0}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			require.NoError(t, tt.in.WriteJSON(&b))
			require.Equal(t, tt.want+"\n", b.String())
			require.True(t, json.Valid(b.Bytes()))
		})
	}
}

func TestAnswerPretty(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, created().WritePretty(&b))
	require.Equal(t, `2001 CREATED  (CoAP 2.01 Created, 12.3ms)
Request Identifier: r
Release Version:    3
Created:            cse-in/ae
Content-Format:     50 application/json
ETag:               0x0102

{
  "m2m:ae": {
    "aei": "Ca",
    "n": 12345678901234567890
  }
}
`, b.String())
	b.Reset()
	a := &Answer{Code: coap.NotFound, Options: coap.Options{{ID: coap.MaxAge, Value: []byte{5}}}, Content: []byte{0, 1}}
	require.NoError(t, a.WritePretty(&b))
	require.Contains(t, b.String(), "4.04 Not Found  (no ResponseStatusCode")
	require.Contains(t, b.String(), "Max-Age:            5 s")
	require.Contains(t, b.String(), `\u0000\u0001`)
	b.Reset()
	a.Content = []byte{0xff, 0xfe}
	require.NoError(t, a.WritePretty(&b))
	require.Contains(t, b.String(), "00000000  ff fe")
}

// TestO01TerminalIsSafe: nothing that a server sends drives the terminal, wherever it stands in the answer.
func TestO01TerminalIsSafe(t *testing.T) {
	t.Parallel()
	hostile := "\x1b]0;x\x07\u009b2J\u202e\r\x00"
	quoted, err := json.Marshal(hostile)
	require.NoError(t, err)
	for _, content := range []string{hostile, string(quoted), "\"\u009b2J\u202e\"", "\xff" + hostile} {
		a := &Answer{Code: coap.Content, Content: []byte(content),
			Response: &onem2m.Response{Status: 2000, RequestID: hostile, Created: hostile, VendorInformation: hostile}}
		var b bytes.Buffer
		require.NoError(t, a.WritePretty(&b))
		for _, bad := range []string{"\x1b", "\x07", "\u009b", "\u202e", "\r", "\x00"} {
			require.NotContains(t, b.String(), bad)
		}
	}
	require.Equal(t, "a\tb\nü \u00a0", printable("a\tb\nü \u00a0"))
}

func TestSuccess(t *testing.T) {
	t.Parallel()
	require.True(t, (&Answer{Code: coap.Changed}).Success())
	require.False(t, (&Answer{Code: coap.NotFound}).Success())
	require.True(t, (&Answer{Code: coap.Created, Response: &onem2m.Response{Status: 1001}}).Success())
	require.False(t, (&Answer{Code: coap.Content, Response: &onem2m.Response{Status: 4103}}).Success(), "the RSC is the truth")
}
