// Package measure reads what a process costs: its processor time, memory, threads and, where it says so, goroutines. It
// looks from outside, in /proc, so that every server is measured alike. Linux only.
package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock is the last part of a clock's number that makes it the processor time of a process (clock_getcpuclockid(3)).
const cpuClock = 2

// clockTick is the unit of times in /proc/PID/stat, 1/USER_HZ; it is 100 on every Linux architecture that Go has.
const clockTick = 10 * time.Millisecond

// maxMetrics bounds what is read from a metrics address.
const maxMetrics = 8 << 20

// Process is a process that is measured.
type Process struct {
	pid     int
	root    string // of proc(5)
	metrics string // http://host:port/path, or unix:/path/of/socket; "" has none
}

// Sample is what a process had cost at one moment.
type Sample struct {
	At         time.Time     `json:"at"`
	CPU        time.Duration `json:"cpu_ns"`  // user and system, all threads, those that ended included
	User       time.Duration `json:"user_ns"` // in steps of 10 ms, as System
	System     time.Duration `json:"system_ns"`
	RSS        uint64        `json:"rss_bytes"`
	PSS        uint64        `json:"pss_bytes"`     // shared pages by their share
	Private    uint64        `json:"private_bytes"` // pages of this process alone
	Threads    int           `json:"threads"`
	Goroutines int           `json:"goroutines"` // 0: it doesn't say
	Heap       uint64        `json:"go_heap_bytes,omitempty"`
	Mallocs    uint64        `json:"go_mallocs,omitempty"` // allocations since its start
}

// Open finds the process pid. metrics is where its Prometheus metrics are: a URL, "unix:" and the path of a socket that
// serves /metrics, or nothing.
func Open(pid int, metrics string) (*Process, error) {
	p := &Process{pid: pid, root: "/proc", metrics: metrics}
	if _, err := p.Sample(context.Background()); err != nil {
		return nil, err
	}
	return p, nil
}

// Sample measures now.
func (p *Process) Sample(ctx context.Context) (Sample, error) {
	s := Sample{At: time.Now()}
	stat, err := os.ReadFile(p.file("stat"))
	if err != nil {
		return Sample{}, fmt.Errorf("measure: process %d: %w", p.pid, err)
	}
	if err := s.parseStat(stat); err != nil {
		return Sample{}, fmt.Errorf("measure: process %d: %w", p.pid, err)
	}
	rollup, err := os.ReadFile(p.file("smaps_rollup"))
	if err != nil {
		return Sample{}, fmt.Errorf("measure: process %d: %w", p.pid, err)
	}
	s.parseRollup(rollup)
	if s.CPU, err = p.CPU(); err != nil {
		return Sample{}, err
	}
	if p.metrics != "" {
		if err := s.scrape(ctx, p.metrics); err != nil {
			return Sample{}, err
		}
	}
	return s, nil
}

// CPU measures the processor time alone: by the process's own clock, which counts nanoseconds where /proc counts hundredths of
// a second.
func (p *Process) CPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid<<3|cpuClock), &t); err != nil {
		return 0, fmt.Errorf("measure: processor time of process %d: %w", p.pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// RSS measures resident memory alone, without a word to the process.
func (p *Process) RSS() (uint64, error) {
	rollup, err := os.ReadFile(p.file("smaps_rollup"))
	if err != nil {
		return 0, fmt.Errorf("measure: process %d: %w", p.pid, err)
	}
	var s Sample
	s.parseRollup(rollup)
	return s.RSS, nil
}

func (p *Process) file(name string) string { return p.root + "/" + strconv.Itoa(p.pid) + "/" + name }

// parseStat reads proc(5)'s /proc/PID/stat: after the name, which stands in parentheses and may hold anything, utime is the
// 12th field, stime the 13th and num_threads the 18th.
func (s *Sample) parseStat(stat []byte) error {
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 18 {
		return errors.New("its stat file is not proc(5)'s")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	threads, err3 := strconv.Atoi(fields[17])
	s.User, s.System, s.Threads = time.Duration(user)*clockTick, time.Duration(system)*clockTick, threads
	return errors.Join(err1, err2, err3)
}

// parseRollup reads proc(5)'s /proc/PID/smaps_rollup.
func (s *Sample) parseRollup(rollup []byte) {
	for line := range strings.Lines(string(rollup)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "Rss":
			s.RSS = kib << 10
		case "Pss":
			s.PSS = kib << 10
		case "Private_Clean", "Private_Dirty":
			s.Private += kib << 10
		}
	}
}

// scrape reads the Go runtime's own figures as client_golang exposes them.
func (s *Sample) scrape(ctx context.Context, address string) error {
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	where := address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		where = "http://localhost/metrics"
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	} else if _, err := url.Parse(address); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("measure: metrics: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMetrics))
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("measure: metrics: %s", resp.Status), err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "go_goroutines":
			s.Goroutines = int(v)
		case "go_memstats_heap_alloc_bytes":
			s.Heap = uint64(v)
		case "go_memstats_mallocs_total":
			s.Mallocs = uint64(v)
		}
	}
	return nil
}
