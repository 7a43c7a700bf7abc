package compare

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/testpki"
)

// headers are TS-0009, 6.4: the header of each parameter by its short name.
func headers() map[string]string {
	return map[string]string{
		"fr": "X-M2M-Origin", "rqi": "X-M2M-RI", "gid": "X-M2M-GID", "nu": "X-M2M-RTU", "ot": "X-M2M-OT",
		"rset": "X-M2M-RST", "rqet": "X-M2M-RET", "oet": "X-M2M-OET", "ec": "X-M2M-EC", "rsc": "X-M2M-RSC",
		"ati": "X-M2M-ATI", "cnst": "X-M2M-CTS", "cnot": "X-M2M-CTO", "rvi": "X-M2M-RVI", "vsi": "X-M2M-VSI",
		"aus": "X-M2M-AS", "asri": "X-M2M-ASRI", "tkns": "Authorization",
		"created": "Content-Location", "etag": "ETag",
	}
}

// direct returns a client that makes requests by TS-0009 with nothing but net/http, over mutual TLS.
func direct(t *testing.T, base string, ca *testpki.CA) func(*testing.T, *request) *answer {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Client(t).TLS()}, MinVersion: tls.VersionTLS12,
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	return func(t *testing.T, r *request) *answer {
		t.Helper()
		method := map[int]string{
			create: http.MethodPost, retrieve: http.MethodGet, update: http.MethodPut, remove: http.MethodDelete,
			notify: http.MethodPost,
		}[r.op] // TS-0009, table 6.2.1-1
		req, err := http.NewRequestWithContext(t.Context(), method, base+httpTarget(r), bytes.NewReader([]byte(r.body)))
		require.NoError(t, err)
		for _, p := range append([][2]string{{"fr", r.from}, {"rqi", r.rqi}, {"rvi", r.rvi}}, r.more...) {
			if p[1] != absent {
				req.Header[headers()[p[0]]] = []string{p[1]} // Set would change the spelling
			}
		}
		media := r.media
		if r.ty != 0 {
			if media == "" {
				media = "application/json"
			}
			media += ";ty=" + strconv.Itoa(r.ty) // TS-0009, 6.4.3
		}
		if media != "" {
			req.Header.Set("Content-Type", media)
		}
		if r.accept != "" {
			req.Header.Set("Accept", r.accept)
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		a := &answer{code: strconv.Itoa(resp.StatusCode), params: map[string]string{}, media: resp.Header.Get("Content-Type")}
		a.content, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		a.params = parametersOf(t, resp.Header)
		return a
	}
}

// parametersOf reads the headers of an answer. A header that belongs neither to the hop nor to oneM2M is shown as it is.
func parametersOf(t *testing.T, h http.Header) map[string]string {
	t.Helper()
	names := map[string]string{}
	for short, name := range headers() {
		names[http.CanonicalHeaderKey(name)] = short
	}
	params := map[string]string{}
	for name, values := range h {
		switch name {
		case "Content-Length", "Content-Type", "Date", "Server", "Connection",
			"Transfer-Encoding": // the hop's, or taken above
			continue
		}
		require.Len(t, values, 1, name)
		short := names[name]
		switch short {
		case "":
			short = "header " + name
		case "created":
			values[0] = fromPath(t, values[0])
		}
		params[short] = values[0]
	}
	return params
}

// httpTarget is the request-target of TS-0009, 6.2.2, made with net/url alone.
func httpTarget(r *request) string {
	to := r.to
	switch {
	case strings.HasPrefix(to, "//"):
		to = "_/" + to[2:]
	case strings.HasPrefix(to, "/"):
		to = "~" + to
	}
	u := url.URL{Path: "/" + to}
	target := u.EscapedPath()
	for i, q := range r.query {
		key, value, _ := strings.Cut(q, "=")
		value = strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(value), "+", "%20"), "%2B", "+")
		target += map[bool]string{true: "?", false: "&"}[i == 0] + url.QueryEscape(key) + "=" + value
	}
	return target
}

// fromPath is the way back: the To that a Content-Location holds.
func fromPath(t *testing.T, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	require.NoError(t, err)
	switch path := u.Path; {
	case strings.HasPrefix(path, "/_/"):
		return "/" + path[2:]
	case strings.HasPrefix(path, "/~/"):
		return path[2:]
	default:
		return path
	}
}
