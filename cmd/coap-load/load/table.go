package load

import (
	"fmt"
	"maps"
	"slices"

	"coapbridge/cmd/coap-load/measure"
	"coapbridge/cmd/coap-load/report"
)

// Table returns the result as people read it.
func (r *Result) Table() *report.Table {
	t := &report.Table{Header: []string{r.Mode, ""}}
	t.Add("done", fmt.Sprintf("%d in %.2f s: %s a second", r.Done, r.Seconds, report.Digits(r.Rate)))
	t.Add("failed", fmt.Sprint(r.Failed))
	for _, name := range slices.Sorted(maps.Keys(r.Failures)) {
		t.Add("  "+name, fmt.Sprint(r.Failures[name]))
	}
	if r.Latency.Count > 0 {
		kind := "latency (closed loop: from sending)"
		if r.Open {
			kind = "latency (from the moment that was meant)"
		}
		t.Add(kind, r.Latency.String())
	}
	if q := r.Requests; q != nil {
		t.Add("refused, lost, repeated, not sent", fmt.Sprintf("%d, %d, %d, %d", q.Refused, q.Lost, q.Repeats, q.Unsent))
	}
	r.addSpecial(t)
	if c := r.Cost; c != nil {
		t.Add("server CPU", fmt.Sprintf("%s each, %s in all, %.0f %% of a core (user %s, system %s)", report.Micros(c.PerOp),
			report.Duration(c.CPU), 100*c.Share, report.Duration(c.After.User-c.Before.User), report.Duration(c.After.System-c.Before.System)))
		if c.Allocs > 0 {
			t.Add("server allocations", report.Digits(c.Allocs)+" each")
		}
		t.Add("server memory before", memory(c.Before))
		t.Add("server memory after", memory(c.After))
	}
	return t
}

func (r *Result) addSpecial(t *report.Table) {
	if i := r.Idle; i != nil {
		t.Add("resident memory a session", report.Bytes(i.PerSession))
		if i.PerAfter != 0 {
			t.Add("the same after a request", report.Bytes(i.PerAfter))
		}
		t.Add("idle", fmt.Sprintf("%.2f %% of a core", 100*i.CPU))
		t.Add("server CPU a handshake, first and last", report.Micros(i.First)+", "+report.Micros(i.Last))
		t.Add("server memory, empty", memory(i.Empty))
		t.Add("server memory, all sessions", memory(i.Held))
		if !i.After.At.IsZero() {
			t.Add("server memory, after a request each", memory(i.After))
		}
	}
	if f := r.Flood; f != nil {
		if f.Blind {
			t.Add("answers", "not read")
		} else {
			t.Add("answered", fmt.Sprintf("%d of %d: %.2f %%", f.Answered, f.Sent, 100*float64(f.Answered)/float64(max(f.Sent, 1))))
			t.Add("other datagrams", fmt.Sprint(f.Others))
			t.Add("bytes sent, received", fmt.Sprintf("%d, %d", f.BytesOut, f.BytesIn))
			t.Add("server CPU an answer", report.Micros(f.PerReply))
			t.Add("memory kept an answer", report.Bytes(f.Kept))
		}
		if f.Devices.Count > 0 || f.Failed > 0 {
			t.Add("devices that connected", fmt.Sprintf("%d, %d failed: %s", f.Devices.Count, f.Failed, f.Devices))
		}
		t.Add("server memory, a while later", memory(f.After))
	}
	if p := r.Replay; p != nil {
		t.Add("records", fmt.Sprintf("%d, replayed %d times", p.Recorded, p.Sent))
		t.Add("provoked", fmt.Sprintf("%d datagrams, %d bytes for %d", p.Provoked, p.BytesIn, p.BytesOut))
		t.Add("all sessions alive afterwards", fmt.Sprint(p.Alive))
	}
	if m := r.Move; m != nil {
		t.Add("moves, requests, repeats", fmt.Sprintf("%d, %d, %d", m.Moves, m.Requests, m.Repeats))
	}
}

func memory(s measure.Sample) string {
	if s.At.IsZero() {
		return "not measured"
	}
	text := fmt.Sprintf("%s resident (%s its own), %d threads", report.Bytes(int64(s.RSS)), report.Bytes(int64(s.Private)), s.Threads)
	if s.Goroutines > 0 {
		text += fmt.Sprintf(", %d goroutines", s.Goroutines)
	}
	return text
}
