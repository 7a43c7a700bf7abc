package cse_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
)

// BenchmarkDo is one CREATE over a kept connection of TLS 1.3, both sides in one process; the server is a loop without
// net/http. Run with -cpu 1,2 to tell latency from throughput.
func BenchmarkDo(b *testing.B) {
	p := newPKI(b)
	srv := newRawServer(b, p.serverTLS(), func(w io.Writer, r received) bool {
		return write(w, r.good("201 Created", "2001", `{"m2m:cin":{}}`))
	})
	c := newClient(b, p, srv.url, nil)
	r := create("rqi-1")
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Do(ctx, bridge.Upstream{}, r); err != nil {
			require.NoError(b, err)
		}
	}
}

// BenchmarkVersions sends 64 requests at a time to one server of net/http over mutual TLS, as a bridge under load does: by
// HTTP/1.1 on kept connections and by HTTP/2 on one, both of net/http on both sides. What differs is the version.
func BenchmarkVersions(b *testing.B) {
	p := newPKI(b)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"m2m:cin":{}}`)
	}))
	srv.TLS = p.serverTLS()
	srv.EnableHTTP2 = true
	srv.StartTLS()
	b.Cleanup(srv.Close)
	for _, v := range []struct {
		name  string
		http2 bool
	}{{"HTTP1", false}, {"HTTP2", true}} {
		b.Run(v.name, func(b *testing.B) {
			conf := &tls.Config{RootCAs: p.ca.Pool(), Certificates: []tls.Certificate{p.client.TLS()}, MinVersion: tls.VersionTLS13}
			transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: v.http2, MaxIdleConnsPerHost: 64}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			b.SetParallelism(64 / 2)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Post(srv.URL, "application/json;ty=4", bytes.NewReader([]byte(`{"m2m:cin":{"con":"21.5"}}`)))
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			})
		})
	}
}
