package request

import (
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, host, shown, to string
		port                uint16
		literal             bool
		query               []onem2m.Parameter
	}{
		{in: "coaps://localhost/cse-in", host: "localhost", port: 5684, shown: "coaps://localhost:5684", to: "cse-in"},
		{in: "coaps://127.0.0.1:7/cse-in/ae", host: "127.0.0.1", port: 7, shown: "coaps://127.0.0.1:7", to: "cse-in/ae", literal: true},
		{in: "coaps://[::1]:7/~/id-in/cse-in", host: "::1", port: 7, shown: "coaps://[::1]:7", to: "/id-in/cse-in", literal: true},
		{in: "coaps://[fe80::1%25lo]/x", host: "fe80::1%lo", port: 5684, shown: "coaps://[fe80::1%lo]:5684", to: "x", literal: true},
		{in: "coaps://h/_/sp.example/id/cse?fu=1&ty=3+4&lbl=a%20b", host: "h", port: 5684, shown: "coaps://h:5684",
			to: "//sp.example/id/cse", query: []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: "ty", Value: "3+4"}, {Key: "lbl", Value: "a b"}}},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := ParseTarget(tt.in)
			require.NoError(t, err)
			require.Equal(t, tt.host, got.Host)
			require.Equal(t, tt.port, got.Port)
			require.Equal(t, tt.shown, got.String())
			_, literal := got.literal()
			require.Equal(t, tt.literal, literal)
			to, query, err := got.Resource()
			require.NoError(t, err)
			require.Equal(t, tt.to, to)
			require.Equal(t, tt.query, query)
		})
	}
}

func TestParseTargetRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"coap://h/a":        "plain CoAP is not spoken",
		"https://h/a":       "write coaps://",
		"h/a":               "write coaps://",
		"coaps:///a":        "there is no host",
		"coaps://u:pw@h/a":  "use --psk-identity",
		"coaps://h/a#b":     "fragment",
		"coaps://h:0/a":     "between 1 and 65535",
		"coaps://h:65536/a": "between 1 and 65535",
		"coaps://h:x/a":     "invalid port",
		"coaps://h/%zz":     "invalid URL escape",
		"coaps://h/a\r\nb":  "invalid control character",
		"coaps://[::1/a":    "missing ']'",
		"coaps://\x7f/":     "invalid",
	} {
		_, err := ParseTarget(in)
		require.ErrorContains(t, err, want, "%q", in)
	}
	for in, want := range map[string]string{"coaps://h": "names no resource", "coaps://h/": "names no resource",
		"coaps://h/a/../b": "relative reference", "coaps://h/a%2fb": "separator"} {
		target, err := ParseTarget(in)
		require.NoError(t, err)
		_, _, err = target.Resource()
		require.ErrorContains(t, err, want, "%q", in)
	}
}

// TestOptions: the plain view decodes each segment once (RFC 7252, Section 6.4).
func TestOptions(t *testing.T) {
	t.Parallel()
	target, err := ParseTarget("coaps://h/a%2Fb/%C3%A9//c?x=1+2&y%3D=%26&z")
	require.NoError(t, err)
	segments, arguments, err := target.Options()
	require.NoError(t, err)
	require.Equal(t, []string{"a/b", "é", "", "c"}, segments)
	require.Equal(t, []string{"x=1+2", "y==&", "z"}, arguments)
	target, err = ParseTarget("coaps://h")
	require.NoError(t, err)
	segments, arguments, err = target.Options()
	require.NoError(t, err)
	require.Empty(t, segments)
	require.Empty(t, arguments)
	target, err = ParseTarget("coaps://h/.well-known/core?a=%zz")
	require.NoError(t, err)
	_, _, err = target.Options()
	require.ErrorContains(t, err, "invalid URL escape")
}

// FuzzParseTarget: no URI makes it panic, and what it takes names a host and a port.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"coaps://localhost/cse-in", "coaps://[::1]:7/~/a/b?x=1&y", "coap://h", "coaps://h/%zz?%", "coaps://h:0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		target, err := ParseTarget(uri)
		if err != nil {
			return
		}
		require.NotEmpty(t, target.Host)
		require.NotZero(t, target.Port)
		_, _, _ = target.Resource()
		_, _, _ = target.Options()
	})
}
