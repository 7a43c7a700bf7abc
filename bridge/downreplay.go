package bridge

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"coapbridge/bridge/onem2m"
)

// downReplays remembers the requests of CSEs, so that one which comes again is not delivered again: over a new connection after
// a timeout, or by a polling channel as well. CSEs differ in what they put into a Request Identifier, one always the same text,
// so that it says nothing by itself: what is equal is CSE, AE, Request Identifier, operation, addresses, and content.
//
// When it is full, the oldest answers go first: a repeat of one of those is delivered again. What is under way is never
// forgotten; Limits.DownlinkConcurrent bounds it.
type downReplays struct {
	limits Limits

	mu       sync.Mutex // guards the following fields
	entries  map[[sha256.Size]byte]*downEntry
	finished list.List // of *downEntry, oldest first
	bytes    int
}

type downEntry struct {
	key     [sha256.Size]byte
	expires time.Time
	bytes   int

	done chan struct{} // closed when the following fields are set, which then don't change
	resp *onem2m.Response
	err  error
}

// answerTo is the answer to another request that is equal to the first one.
func (e *downEntry) answerTo(r *onem2m.Request) *onem2m.Response {
	if e.resp == nil {
		return nil
	}
	resp := *e.resp
	resp.ReleaseVersion = r.ReleaseVersion
	return &resp
}

// begin enters a request; isNew false: it is there already, answered or not.
func (m *downReplays) begin(key [sha256.Size]byte, now time.Time) (e *downEntry, isNew bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireLocked(now)
	if e, ok := m.entries[key]; ok {
		return e, false
	}
	if m.entries == nil {
		m.entries = make(map[[sha256.Size]byte]*downEntry)
	}
	e = &downEntry{key: key, done: make(chan struct{})}
	m.entries[key] = e
	return e, true
}

// finish answers whoever waits for e. What was certainly not executed is forgotten: a repeat is a new request.
func (m *downReplays) finish(e *downEntry, out delivery, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.resp, e.err = out.resp, out.err
	close(e.done)
	if !out.kept {
		delete(m.entries, e.key)
		return
	}
	e.expires = now.Add(downReplayLifetime)
	e.bytes = downEntryCost + responseSize(e.resp)
	m.bytes += e.bytes
	m.finished.PushBack(e)
	for m.finished.Len() > m.limits.DownlinkReplays || m.bytes > m.limits.DownlinkReplayBytes {
		m.dropLocked(m.finished.Front())
	}
}

func (m *downReplays) expireLocked(now time.Time) {
	for first := m.finished.Front(); first != nil && !first.Value.(*downEntry).expires.After(now); first = m.finished.Front() {
		m.dropLocked(first)
	}
}

func (m *downReplays) dropLocked(at *list.Element) {
	e := m.finished.Remove(at).(*downEntry)
	delete(m.entries, e.key)
	m.bytes -= e.bytes
}

// size returns the number of entries.
func (m *downReplays) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

func responseSize(r *onem2m.Response) int {
	return len(r.Content) + len(r.RequestID) + len(r.From) + len(r.Created) + len(r.ETag) + len(r.VendorInformation)
}

// downKey is what makes two requests of CSEs the same.
func downKey(d destination, r *onem2m.Request) [sha256.Size]byte {
	h := sha256.New()
	writeString(h, d.cse.Name)
	writeString(h, d.dev.Name)
	writeString(h, d.aei)
	writeString(h, r.RequestID)
	writeString(h, r.From)
	digest := digestOf(r)
	h.Write(digest[:])
	return [sha256.Size]byte(h.Sum(nil))
}
