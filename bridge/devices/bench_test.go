package devices

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/dtls"
)

const many = 100_000

func manyDevices() string {
	var b strings.Builder
	b.WriteString("version: 1\ndevices:\n")
	for i := range many {
		fmt.Fprintf(&b, "  - name: dev-%d\n    psk: {identity: dev-%d, up: \"hex:%032x\"}\n    originators: [\"Cdev-%d\"]\n", i, i, uint64(i+1)*0x9e3779b97f4a7c15, i)
	}
	return b.String()
}

func BenchmarkLookups(b *testing.B) {
	s, file := open(b, manyDevices(), Options{})
	peers := make([]*dtls.Peer, 1024)
	for i := range peers {
		peers[i] = &dtls.Peer{ID: psk(fmt.Sprintf("dev-%d", i*97))}
	}
	b.Run("Device", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			if _, ok := s.Device(peers[i%len(peers)]); !ok {
				b.Fatal("not found")
			}
		}
	})
	// S5: known and unknown take the same time.
	for name, format := range map[string]string{"PSKKnown": "dev-%d", "PSKUnknown": "vde-%d"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			queries := make([]dtls.PSKQuery, 1024)
			for i := range queries {
				queries[i] = dtls.PSKQuery{Peer: psk(fmt.Sprintf(format, i*97)), Role: dtls.RoleClient}
			}
			i := 0
			for b.Loop() {
				i++
				_, _ = s.PSK(b.Context(), queries[i%len(queries)])
			}
		})
	}
	b.Run("ReloadOneChanged", func(b *testing.B) {
		content := manyDevices()
		i := 0
		for b.Loop() {
			i++
			put(b, file, strings.Replace(content, "name: dev-500\n", fmt.Sprintf("name: new-%d\n", i), 1))
			c, err := s.Reload()
			require.NoError(b, err)
			require.Len(b, c.Added, 1)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	devicesFile, bindingsFile := folder(b, manyDevices())
	for b.Loop() {
		s, err := Open(devicesFile, bindingsFile, Options{})
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}

func BenchmarkBind(b *testing.B) {
	s, _ := open(b, sample, Options{})
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{}); err != nil {
				b.Error(err)
			}
			if err := s.Unbind(psk("kitchen-1"), "", "C1"); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkAccess measures what a bound AE costs in memory, its strings included: 311 bytes, and 517 with a token and one
// address (amd64, 100,000 AEs of a device each).
func BenchmarkAccess(b *testing.B) {
	for name, access := range map[string]func(i int) bridge.Access{
		"None": func(int) bridge.Access { return bridge.Access{} },
		"Token": func(i int) bridge.Access {
			return bridge.Access{Token: fmt.Sprintf("%022d", i), POA: []string{fmt.Sprintf("coap://192.0.2.7:%d", i)}}
		},
	} {
		b.Run(name, func(b *testing.B) {
			before := heap()
			var held *bindings
			for b.Loop() {
				held = newBindings("")
				for i := range many {
					a := access(i)
					c := change{bind: true, key: binding{aei: fmt.Sprintf("Cdev-%d", i)}, of: holder{fmt.Sprintf("dev-%d", i), credential{kindPSK, fmt.Sprintf("dev-%d", i)}}}
					if !a.IsZero() {
						c.access = &a
					}
					held.applyLocked(c)
				}
			}
			b.ReportMetric(float64(heap()-before)/many, "bytes/AE")
			runtime.KeepAlive(held)
		})
	}
	s, _ := open(b, sample, Options{})
	require.NoError(b, s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{Token: token("a")}))
	for name, tok := range map[string]string{"ReachableKnown": token("a"), "ReachableUnknown": token("b")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Reachable(tok)
			}
		})
	}
}

// heap returns the bytes that are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
