package bridge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// core asks f for /.well-known/core with the queries.
func core(f *fixture, queries ...string) string {
	f.t.Helper()
	m := plain(coap.GET, ".well-known/core", "")
	for _, q := range queries {
		m.Options = m.Options.AddString(coap.URIQuery, q)
	}
	answer := f.do(m)
	require.Equal(f.t, coap.Content, answer.Code)
	require.Equal(f.t, linkFormat, formatNumber(answer))
	return string(answer.Payload)
}

// found has the CSE answer every discovery with these addresses.
func found(f *fixture, uril string) {
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		resp := ok(r, onem2m.StatusOK)
		resp.Content = []byte(`{"m2m:uril":` + uril + `}`)
		return resp, nil
	}
}

// TestPlainDiscovery: a plain device sees its own containers, as the paths by which it can ask for them (RFC 6690, Section 2).
func TestPlainDiscovery(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"})
	require.Empty(t, core(f))
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cmeter1", Access{}))
	found(f, `["cse-in/meter1/a","/id-in/cse-in/meter1/a/b","cse-in/other/c","cse-in/meter1/x>","cse-in/meter1/ä;\"","cse-in/meter1/la",
		"cse-in/meter1/../other/d","cse-in/meter1/%2e%2e","cse-in/meter10/e","//sp.example/id-in/cse-in/meter1/f","cse-in/meter1/"]`)
	require.Equal(t, `</a>,</a/b>,</x%3E>,</%C3%A4%3B%22>,</f>`, core(f))
	found(f, `"cse-in/meter1/a cse-in/meter1/b"`)
	require.Equal(t, "</a>,</b>", core(f))
	for _, bad := range []string{`7`, `[7]`, `{}`, `null`, `"`} {
		found(f, bad)
		require.Empty(t, core(f), bad)
	}
}

// TestDiscoveryFilter: RFC 6690, Section 4.1.
func TestDiscoveryFilter(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"}, func(c *Config) { c.CSEs[0].Downlink, c.CSEs[0].POA = DownlinkListen, "https://gw" })
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cmeter1", Access{}))
	found(f, `["cse-in/meter1/a","cse-in/meter1/ab/ä","cse-in/meter1/b"]`)
	all := "</a>;obs,</ab/%C3%A4>;obs,</b>;obs"
	for query, want := range map[string]string{
		"href=/a":          "</a>;obs",
		"href=/a*":         "</a>;obs,</ab/%C3%A4>;obs",
		"href=/ab/ä":       "</ab/%C3%A4>;obs",
		"href=/ab/%C3%A4":  "</ab/%C3%A4>;obs",
		"href=*":           all,
		"href=a":           "",
		"href=":            "",
		"href":             "",
		"obs":              all,
		"obs=*":            all,
		"obs=1":            "",
		"rt=temperature":   "",
		"rt=*":             "",
		"ct=50":            "",
		"HREF=/a":          "",
		"unknown=x":        "",
		"=":                "",
		"href=/a&rt=x":     "",
		"href=/../other/*": "",
	} {
		require.Equal(t, want, core(f, query), query)
	}
	require.Equal(t, "</b>;obs", core(f, "href=/b", "obs"), "each of several")
}

// TestDiscoveryByIdentity: whoever is no plain device sees the CSEBase, or where its entry has targets those, without the CSE
// being asked.
func TestDiscoveryByIdentity(t *testing.T) {
	t.Parallel()
	const ct = `;ct="50 60 41"`
	for name, c := range map[string]struct {
		dev   Device
		query string
		want  string
	}{
		"oneM2M device": {Device{Name: "d", Profile: ProfileOneM2M}, "", "</cse-in>" + ct},
		"entity":        {Device{Name: "d", Entity: true}, "", "</cse-in>" + ct},
		"targets": {Device{Name: "d", Entity: true, Targets: []string{"/id-in/cse-in/a b/", "-/c", "cse-in/c", "/other/base"}}, "",
			"</cse-in/a%20b>" + ct + ",</cse-in/c>" + ct + ",</~/other/base>" + ct},
		"ct, one of its values": {Device{Name: "d", Entity: true}, "ct=60", "</cse-in>" + ct},
		"ct, prefix":            {Device{Name: "d", Entity: true}, "ct=4*", "</cse-in>" + ct},
		"ct, whole":             {Device{Name: "d", Entity: true}, "ct=50 60 41", "</cse-in>" + ct},
		"ct, another":           {Device{Name: "d", Entity: true}, "ct=0", ""},
		"href":                  {Device{Name: "d", Entity: true, Targets: []string{"cse-in/c", "cse-in/d"}}, "href=/cse-in/d", "</cse-in/d>" + ct},
		"plain, may not read":   {Device{Name: "d", Operations: 1 << onem2m.Create}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, c.dev)
			var queries []string
			if c.query != "" {
				queries = []string{c.query}
			}
			require.Equal(t, c.want, core(f, queries...))
			require.Empty(t, f.layer.requests())
		})
	}
}
