package bench

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"

	"coapbridge/cmd/coap-load/report"
)

// The rows.
const (
	rowIdleKey    = "idle_psk"
	rowIdleAfter  = "idle_psk_after_request"
	rowIdleAll    = "idle_psk_everything"
	rowIdleCert   = "idle_cert"
	rowGoroutines = "goroutines"
	rowIdleCPU    = "idle_cpu"
	rowKey        = "handshake_psk"
	rowCertNew    = "handshake_cert_new"
	rowCertAgain  = "handshake_cert_again"
	rowRequest    = "request_saturated"
	rowThroughput = "request_throughput"
	rowHalf       = "request_half"
	rowHalfP99    = "request_half_p99"
	rowForward    = "request_forwarded"
	rowFirst      = "handshake_first"

	rowRequestAllocs = "request_allocations"
	rowForwardAllocs = "request_forwarded_allocations"

	rowLast      = "handshake_last"
	rowHello     = "hello"
	rowAnswered  = "hello_answered"
	rowReply     = "hello_answer"
	rowKept      = "hello_kept"
	rowQuiet     = "devices_quiet_p95"
	rowStorm     = "devices_flood_p95"
	rowConnected = "devices_flood_connected"
)

// row says how a row is shown.
type row struct {
	key, title string
	show       func(float64) string
}

func rows(c Config) []row {
	bytes := func(v float64) string { return report.Bytes(int64(v)) }
	time := func(v float64) string { return report.Duration(time.Duration(v)) }
	micros := func(v float64) string { return report.Digits(v/1e3) + " µs" }
	count := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	allocs := report.Digits
	percent := func(v float64) string { return fmt.Sprintf("%.2f %%", v) }
	title := fmt.Sprintf
	return []row{
		{rowIdleKey, title("resident memory, an idle PSK session of %d", c.Sessions), bytes},
		{rowIdleAfter, "the same, each after a request", bytes},
		{rowIdleAll, "the same, and the empty server and its device entries", bytes},
		{rowIdleCert, title("resident memory, an idle certificate session of %d", c.CertSessions), bytes},
		{rowGoroutines, title("goroutines at %d idle sessions", c.Sessions), count},
		{rowIdleCPU, "idle CPU of these, of a core", percent},
		{rowKey, title("PSK-CCM-8 handshake, %d in flight: CPU", inFlight), micros},
		{rowCertNew, "mutual ECDHE_ECDSA P-256 handshake, new device: CPU", micros},
		{rowCertAgain, "the same, a device that was here before: CPU", micros},
		{rowRequest, title("request answered by the server itself, %d sessions, saturated: CPU", c.Requesters), micros},
		{rowThroughput, "the same: requests a second", count},
		{rowRequestAllocs, "the same: allocations", allocs},
		{rowHalf, "the same at half of that rate: CPU", micros},
		{rowHalfP99, "the same: p99", time},
		{rowForward, "request carried to a CSE over HTTPS (libcoap: to plain CoAP), saturated: CPU", micros},
		{rowForwardAllocs, "the same: allocations", allocs},
		{rowFirst, "PSK handshake, the first sessions: CPU", micros},
		{rowLast, title("one more session at %d: CPU", c.Sessions), micros},
		{rowHello, title("spoofed ClientHello, %.0f a second offered: CPU", c.FloodRate), micros},
		{rowAnswered, "the same: answered", percent},
		{rowReply, "the same: CPU by those that were answered", micros},
		{rowKept, "the same: memory kept, by those that were answered", bytes},
		{rowQuiet, title("%d devices connecting: p95", c.FloodDevices), time},
		{rowStorm, "the same while spoofed ClientHellos come: p95", time},
		{rowConnected, "the same: connected", percent},
	}
}

// Table returns the figures: medians, and behind each its ratio to the first server's.
func (r *Report) Table() *report.Table {
	t := &report.Table{Header: append([]string{"figure"}, r.Servers...)}
	for _, row := range rows(r.Config) {
		cells := []string{row.title}
		base := math.NaN()
		for i, name := range r.Servers {
			v := report.Median(r.Figures[name][row.key])
			if i == 0 {
				base = v
			}
			cells = append(cells, cell(row, v, base, i > 0))
		}
		t.Add(cells...)
	}
	return t
}

func cell(row row, v, base float64, ratio bool) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case math.IsInf(v, 1):
		return "none"
	case !ratio || math.IsNaN(base) || math.IsInf(base, 0) || base <= 0:
		return row.show(v)
	}
	return fmt.Sprintf("%s (%s)", row.show(v), report.Digits(v/base))
}

// Text returns what stands beside the table.
func (r *Report) Text() string {
	var b strings.Builder
	c := r.Config
	fmt.Fprintf(&b, "%s, %d cores, %s, %s; %s. Medians of %d rounds of %s each; in parentheses the ratio to the first column. Took %s.\n",
		r.Machine.Processor, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Began.UTC().Format("2006-01-02 15:04"), c.Rounds, c.Stretch,
		r.Took.Round(time.Second))
	if r.Floor > 0 {
		fmt.Fprintf(&b, "A bare UDP echo with one HMAC in Go takes %s µs a datagram at the same rate.\n", report.Digits(r.Floor/1e3))
	}
	for _, remark := range r.Remarks {
		fmt.Fprintf(&b, "Not measured: %s.\n", remark)
	}
	return b.String()
}

// Machine is where it was measured.
type Machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
}

func machine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Processor: runtime.GOARCH, Kernel: runtime.GOOS}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.Processor = strings.TrimSpace(value)
			break
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(release))
	}
	return m
}
