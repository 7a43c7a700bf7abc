package bridge

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"sync"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// replayMemory remembers requests that change something, so that a Request Identifier that comes again, on the same
// session or on a new one, is executed once and gets the same answer. De-duplication by Message ID ends with a session;
// this does not (S32).
//
// What was done is remembered for its whole time; when a credential's share is full, its new work is refused. The content of
// answers is not as dear: of those the oldest of the same credential go first, and a repeat then learns the status alone.
type replayMemory struct {
	limits Limits

	mu      sync.Mutex // guards the following fields
	entries map[replayKey]*replayEntry
	expiry  replayHeap
	shares  map[dtls.PeerID]*replayShare
	bytes   int // of all answers
}

// replayKey is the digest of a credential, its Originator and the Request Identifier, which is unique for the two.
type replayKey [sha256.Size]byte

// replayShare is what one credential has remembered. From is the device's own choice, so it makes no share of its own.
type replayShare struct {
	entries int
	bytes   int            // of its answers
	answers []*replayEntry // those with content, oldest first
}

type replayEntry struct {
	key     replayKey
	peer    dtls.PeerID
	digest  [sha256.Size]byte
	expires time.Time
	index   int // in the heap

	waiting []*coap.Exchange // asked again while the first was on its way
	answer  *coap.Message    // nil while it is on its way
	bytes   int              // of the answer, where it is among the share's
	status  onem2m.StatusCode
}

// replayVerdict is what the memory says of a request.
type replayVerdict int

const (
	replayNew      replayVerdict = iota // go on, and finish or forget the entry
	replayAnswered                      // answer with the entry's answer
	replayWaiting                       // the first one's answer will answer this one
	replayMismatch                      // the same Request Identifier with other content
	replayFull                          // no room to remember it
)

func newReplayMemory(l Limits) *replayMemory {
	return &replayMemory{limits: l, entries: make(map[replayKey]*replayEntry), shares: make(map[dtls.PeerID]*replayShare)}
}

// changes reports whether r must not be executed twice. A RETRIEVE is executed again.
func changes(r *onem2m.Request) bool { return r.Operation != onem2m.Retrieve }

// begin looks r up and, when it is new, enters it until expires. x is kept when the verdict is replayWaiting.
func (m *replayMemory) begin(peer dtls.PeerID, r *onem2m.Request, x *coap.Exchange, now, expires time.Time) (*replayEntry, replayVerdict) {
	key, digest := keyOf(peer, r), digestOf(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireLocked(now)
	if e, ok := m.entries[key]; ok {
		switch {
		case e.digest != digest:
			return nil, replayMismatch
		case e.answer != nil:
			return e, replayAnswered
		case len(e.waiting) == maxReplayWaiters:
			return nil, replayFull
		}
		e.waiting = append(e.waiting, x)
		return e, replayWaiting
	}
	share := m.shares[peer]
	if share == nil {
		share = &replayShare{}
		m.shares[peer] = share
	}
	if share.entries >= m.limits.ReplayPerDevice || len(m.entries) >= m.limits.ReplayEntries {
		return nil, replayFull // refuse new work rather than forget what was done (S32)
	}
	share.entries++
	e := &replayEntry{key: key, peer: peer, digest: digest, expires: expires}
	m.entries[key] = e
	heap.Push(&m.expiry, e)
	return e, replayNew
}

// finish records the answer and returns who else waits for it.
func (m *replayMemory) finish(e *replayEntry, answer *coap.Message, status onem2m.StatusCode) []*coap.Exchange {
	kept := &coap.Message{Code: answer.Code, Options: answer.Options, Payload: answer.Payload}
	m.mu.Lock()
	defer m.mu.Unlock()
	e.answer, e.status = kept, status
	if m.entries[e.key] == e { // it may have expired meanwhile
		m.keepLocked(e)
	}
	waiting := e.waiting
	e.waiting = nil
	return waiting
}

// keepLocked charges e's answer to its credential, whose oldest answers give way.
func (m *replayMemory) keepLocked(e *replayEntry) {
	share := m.shares[e.peer]
	e.bytes = messageSize(e.answer)
	for len(share.answers) > 0 && (share.bytes+e.bytes > m.limits.ReplayBytes || m.bytes+e.bytes > m.limits.ReplayBytesTotal) {
		m.stripLocked(share, share.answers[0])
		share.answers = share.answers[1:]
	}
	share.bytes += e.bytes
	m.bytes += e.bytes
	if share.bytes > m.limits.ReplayBytes || m.bytes > m.limits.ReplayBytesTotal {
		m.stripLocked(share, e)
		return
	}
	share.answers = append(share.answers, e)
}

// stripLocked leaves of e's answer what says that it was done: the code, and the oneM2M options.
func (m *replayMemory) stripLocked(share *replayShare, e *replayEntry) {
	share.bytes -= e.bytes
	m.bytes -= e.bytes
	e.bytes = 0
	if e.answer == nil {
		return
	}
	short := &coap.Message{Code: e.answer.Code}
	for _, o := range e.answer.Options {
		if onem2m.IsOption(o.ID, onem2m.CoAPProfile{}) || onem2m.IsOption(o.ID, onem2m.CoAPProfile{Legacy: true}) {
			short.Options = append(short.Options, o)
		}
	}
	e.answer = short
}

// answerOf is a copy of e's answer, and its status.
func (m *replayMemory) answerOf(e *replayEntry) (*coap.Message, onem2m.StatusCode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	answer := *e.answer
	return &answer, e.status
}

// forget drops e, which was certainly not executed, and returns who waits for it: a repeat is a new request then.
func (m *replayMemory) forget(e *replayEntry) []*coap.Exchange {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[e.key] == e {
		heap.Remove(&m.expiry, e.index)
		m.dropLocked(e)
	}
	waiting := e.waiting
	e.waiting = nil
	return waiting
}

// size returns the number of entries.
func (m *replayMemory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

func (m *replayMemory) expireLocked(now time.Time) {
	for len(m.expiry) > 0 && !m.expiry[0].expires.After(now) {
		e := m.expiry[0]
		if e.answer == nil { // still on its way: its deadline is shorter than any expiry we set, but a clock may jump
			e.expires = now.Add(time.Second)
			heap.Fix(&m.expiry, 0)
			continue
		}
		heap.Pop(&m.expiry)
		m.dropLocked(e)
	}
}

func (m *replayMemory) dropLocked(e *replayEntry) {
	delete(m.entries, e.key)
	share := m.shares[e.peer]
	if e.bytes > 0 {
		m.stripLocked(share, e)
		share.answers = slices.DeleteFunc(share.answers, func(a *replayEntry) bool { return a == e })
	}
	if share.entries--; share.entries == 0 {
		delete(m.shares, e.peer)
	}
}

func messageSize(m *coap.Message) int {
	n := len(m.Payload)
	for _, o := range m.Options {
		n += 32 + len(o.Value) // an Option is 32 bytes on 64-bit machines
	}
	return n
}

// keyOf is what a request is known by.
func keyOf(peer dtls.PeerID, r *onem2m.Request) replayKey {
	h := sha256.New()
	writeUint(h, uint64(peer.Kind))
	writeString(h, peer.ID)
	writeString(h, r.From)
	writeString(h, r.RequestID)
	return replayKey(h.Sum(nil))
}

// digestOf is what makes two requests of one Request Identifier the same: operation, target, type, query, conditions and content.
func digestOf(r *onem2m.Request) [sha256.Size]byte {
	h := sha256.New()
	writeUint(h, uint64(r.Operation))
	writeUint(h, uint64(r.ResourceType))
	writeUint(h, uint64(r.ResponseType))
	writeString(h, r.To)
	writeUint(h, uint64(len(r.Query)))
	for _, p := range r.Query {
		writeString(h, p.Key)
		writeString(h, p.Value)
	}
	for _, conditions := range [][]string{r.IfMatch, r.IfNoneMatch} {
		writeUint(h, uint64(len(conditions)))
		for _, tag := range conditions {
			writeString(h, tag)
		}
	}
	writeString(h, r.MediaType)
	h.Write(r.Content)
	return [sha256.Size]byte(h.Sum(nil))
}

func writeUint(h hash.Hash, v uint64) { h.Write(binary.BigEndian.AppendUint64(nil, v)) }

func writeString(h hash.Hash, s string) { // with its length, so that no two lists of strings look alike
	writeUint(h, uint64(len(s)))
	h.Write([]byte(s))
}

// replayHeap orders entries by expiry.
type replayHeap []*replayEntry

func (h replayHeap) Len() int           { return len(h) }
func (h replayHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h replayHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *replayHeap) Push(x any) {
	e := x.(*replayEntry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *replayHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
