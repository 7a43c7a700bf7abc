// Package latency records durations and gives their percentiles, and paces an open loop.
//
// The times of an open loop are corrected for coordinated omission: a request counts from the moment at which the schedule
// wanted it to leave, whether or not the generator was able to send it then. So a server that stalls for a second is seen by
// every request that was due in that second and not just by the one that was under way.
package latency

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	subBits = 6 // 64 steps in each power of two: an error of at most 1.6 %
	buckets = (64 - subBits) << subBits
)

// Recorder counts durations. The zero value is ready; it is safe for concurrent use.
type Recorder struct {
	counts [buckets]atomic.Uint64
	n      atomic.Uint64
	sum    atomic.Uint64 // ns
	max    atomic.Int64
}

// bucket returns where v nanoseconds are counted: values below 64 exactly, above that by their first 7 bits.
func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// highest returns the largest value that bucket i counts.
func highest(i int) uint64 {
	if i < 1<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(1<<subBits-1))+1<<subBits+1)<<shift - 1
}

// Record counts d; below zero it is zero.
func (r *Recorder) Record(d time.Duration) {
	d = max(d, 0)
	r.counts[min(bucket(uint64(d)), buckets-1)].Add(1)
	r.n.Add(1)
	r.sum.Add(uint64(d))
	for old := r.max.Load(); int64(d) > old && !r.max.CompareAndSwap(old, int64(d)); old = r.max.Load() {
	}
}

// Summary is what was recorded. Percentiles are upper bounds of at most 1.6 % above the value.
type Summary struct {
	Count uint64        `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
	P50   time.Duration `json:"p50_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Max   time.Duration `json:"max_ns"`
}

// Summary returns what was recorded until now.
func (r *Recorder) Summary() Summary {
	s := Summary{
		Count: r.n.Load(), P50: r.Percentile(50), P95: r.Percentile(95), P99: r.Percentile(99), P999: r.Percentile(99.9),
		Max: time.Duration(r.max.Load()),
	}
	if s.Count > 0 {
		s.Mean = time.Duration(r.sum.Load() / s.Count)
	}
	return s
}

// Percentile returns a value that p per cent of all records don't exceed; 0 when there are none.
func (r *Recorder) Percentile(p float64) time.Duration {
	n := r.n.Load()
	if n == 0 {
		return 0
	}
	rank := max(uint64(p/100*float64(n)+0.999999), 1) // rounded up: of 10 records, p99 is the last
	var seen uint64
	for i := range r.counts {
		seen += r.counts[i].Load()
		if seen >= rank {
			return min(time.Duration(highest(i)), time.Duration(r.max.Load()))
		}
	}
	return time.Duration(r.max.Load())
}

// String returns the percentiles in one line.
func (s Summary) String() string {
	if s.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p95 %s, p99 %s, p99.9 %s, max %s", Round(s.P50), Round(s.P95), Round(s.P99), Round(s.P999), Round(s.Max))
}

// Round returns d with three digits at most.
func Round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
