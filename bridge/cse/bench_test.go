package cse_test

import (
	"io"
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
