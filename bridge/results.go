package bridge

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"coapbridge/bridge/onem2m"
)

// results are the <request> resources of non-blocking requests (TS-0001, 9.6.12) that CSEs gave to devices whose policy names
// targets: each may read the ones that it was given, wherever they are, and nobody else's. They don't outlive the process.
type results struct {
	mu       sync.Mutex // guards the following fields
	byDevice map[string][]result
	total    int
}

type result struct {
	cse     *CSE
	to      string // in the form of CSE.relative
	expires time.Time
}

// accepted reports whether s tells of a result that is to come.
func accepted(s onem2m.StatusCode) bool {
	return s == onem2m.StatusAccepted || s == onem2m.StatusAcceptedNonBlockingSynch || s == onem2m.StatusAcceptedNonBlockingAsynch
}

// add remembers where a result is going to be. A device's older ones give way to its newer ones.
func (r *results) add(dev *Device, cse *CSE, resp *onem2m.Response) {
	to := resp.Created
	if to == "" {
		to = resultURI(resp)
	}
	if _, err := onem2m.Segments(to); to == "" || err != nil || len(dev.Targets) == 0 {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byDevice == nil {
		r.byDevice = make(map[string][]result)
	}
	if r.total >= maxResults {
		for name := range r.byDevice {
			r.trimLocked(name, now, maxResultsPerDevice)
		}
	}
	r.trimLocked(dev.Name, now, maxResultsPerDevice-1)
	if r.total >= maxResults {
		return
	}
	r.byDevice[dev.Name] = append(r.byDevice[dev.Name], result{cse, cse.relative(to), now.Add(resultLifetime)})
	r.total++
}

// trimLocked leaves a device's newest results, and none that are over.
func (r *results) trimLocked(device string, now time.Time, most int) {
	all := r.byDevice[device]
	first := max(0, len(all)-most)
	for first < len(all) && !all[first].expires.After(now) {
		first++
	}
	r.total -= first
	if first == len(all) {
		delete(r.byDevice, device)
		return
	}
	r.byDevice[device] = slices.Delete(all, 0, first)
}

// has reports whether q reads or deletes a result that dev was given.
func (r *results) has(dev *Device, cse *CSE, q *onem2m.Request) bool {
	if q.Operation != onem2m.Retrieve && q.Operation != onem2m.Delete {
		return false
	}
	to, now := cse.relative(q.To), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.byDevice[dev.Name], func(known result) bool {
		return known.cse == cse && known.to == to && known.expires.After(now)
	})
}

// resultURI is the m2m:uri of JSON content; "" when there is none.
func resultURI(resp *onem2m.Response) string {
	var body struct {
		URI string `json:"m2m:uri"`
	}
	if len(resp.Content) > maxResultURI || json.Unmarshal(resp.Content, &body) != nil {
		return ""
	}
	return body.URI
}
