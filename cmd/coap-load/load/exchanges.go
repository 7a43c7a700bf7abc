package load

import (
	"sync"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/latency"
	"coapbridge/cmd/coap-load/session"
	"coapbridge/coap"
)

const (
	ackTimeout = 2 * time.Second       // ACK_TIMEOUT, RFC 7252, Section 4.8, without its random part
	maxSends   = 3                     // of one request: at 0, 2 and 6 s; beyond 14 s it is lost
	scanEvery  = 50 * time.Millisecond // how exactly
	minSlots   = 1 << 16               // more than ever are under way in a closed loop, for the sake of stragglers
	maxSlots   = 1 << 20               // requests under way; beyond it they are counted as not sent
)

// slot is one request under way.
type slot struct {
	seq   uint64 // 0: free
	s     *session.Session
	due   time.Time // when it was to leave
	next  time.Time // when it is sent again
	mid   uint16
	sends uint8
}

// messageID is one of a session's.
type messageID struct {
	s   *session.Session
	mid uint16
}

// exchanges matches answers with requests. It is safe for concurrent use.
type exchanges struct {
	template *template
	done     func(out *fleet.Batch, s *session.Session, ok bool) // after each end
	latency  *latency.Recorder
	codes    *tally

	mu      sync.Mutex // guards the following fields
	slots   []slot
	byMID   map[messageID]uint64 // slots by what an empty acknowledgement names
	seq     uint64
	oldest  uint64
	open    int
	counts  Requests
	counted bool // false: what ends now is not counted
	from    time.Time
}

// Requests are the ends of requests.
type Requests struct {
	Answered uint64 `json:"answered"` // by a success, 2.xx
	Refused  uint64 `json:"refused"`  // by another code, or RST
	Lost     uint64 `json:"lost"`     // no answer after all repeats
	Repeats  uint64 `json:"repeats"`  // sent again after 2 s
	Unsent   uint64 `json:"unsent"`   // too many under way
}

func newExchanges(t *template, under int) *exchanges {
	size := minSlots
	for size < under && size < maxSlots {
		size <<= 1
	}
	return &exchanges{
		template: t, slots: make([]slot, size), byMID: map[messageID]uint64{}, seq: 1, oldest: 1, latency: new(latency.Recorder),
		codes: newTally(),
	}
}

// start begins to count: requests that were due before are not.
func (e *exchanges) start(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counted, e.from, e.counts = true, now, Requests{}
}

func (e *exchanges) stop() Requests {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counted = false
	return e.counts
}

func (e *exchanges) snapshot() (Requests, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts, e.open
}

// send sends a new request on s; due is when it was to leave.
func (e *exchanges) send(out *fleet.Batch, s *session.Session, due time.Time) {
	e.mu.Lock()
	seq := e.seq
	at := &e.slots[seq%uint64(len(e.slots))]
	if at.seq != 0 {
		e.counts.Unsent++
		e.mu.Unlock()
		return
	}
	e.seq++
	e.open++
	mid := s.NextMessageID()
	*at = slot{seq: seq, s: s, due: due, next: time.Now().Add(ackTimeout), mid: mid, sends: 1}
	e.byMID[messageID{s, mid}] = seq
	e.mu.Unlock()
	e.transmit(out, s, mid, seq)
}

func (e *exchanges) transmit(out *fleet.Batch, s *session.Session, mid uint16, seq uint64) {
	var room [512]byte
	_ = s.Send(out, e.template.appendTo(room[:0], mid, seq)) // a session that ended is seen as a loss
}

// received takes a record from the server.
func (e *exchanges) received(out *fleet.Batch, s *session.Session, b []byte) {
	now := time.Now()
	a, ok := parseAnswer(b)
	if !ok {
		return
	}
	if a.kind == coap.Confirmable && a.code != coap.Empty {
		_ = s.Send(out, emptyAck(a.mid))
	}
	if a.code == coap.Empty && a.kind == coap.Acknowledgement {
		e.acknowledged(s, a.mid, now)
		return
	}
	if !a.ok {
		return
	}
	success := a.code.Class() == 2
	if !e.finish(a.token, s, now, success) {
		return
	}
	if e.codes != nil && !success {
		e.codes.add(a.code.String())
	}
	if e.done != nil {
		e.done(out, s, success)
	}
}

func (e *exchanges) finish(seq uint64, s *session.Session, now time.Time, success bool) bool {
	e.mu.Lock()
	at := &e.slots[seq%uint64(len(e.slots))]
	if at.seq != seq || at.s != s {
		e.mu.Unlock()
		return false
	}
	due := at.due
	e.freeLocked(at)
	counted := e.counted && !due.Before(e.from)
	if counted {
		if success {
			e.counts.Answered++
		} else {
			e.counts.Refused++
		}
	}
	e.mu.Unlock()
	if counted {
		e.latency.Record(now.Sub(due))
	}
	return true
}

func (e *exchanges) freeLocked(at *slot) {
	delete(e.byMID, messageID{at.s, at.mid})
	*at = slot{}
	e.open--
}

// acknowledged stops the repeats of a request whose answer comes later.
func (e *exchanges) acknowledged(s *session.Session, mid uint16, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if seq, ok := e.byMID[messageID{s, mid}]; ok {
		at := &e.slots[seq%uint64(len(e.slots))]
		at.next, at.sends = now.Add(ackTimeout<<maxSends), maxSends
	}
}

// scan sends again what is due again, and gives up what waited long enough.
func (e *exchanges) scan(out *fleet.Batch, now time.Time) {
	type again struct {
		s   *session.Session
		mid uint16
		seq uint64
	}
	var repeats []again
	var lost []*session.Session
	e.mu.Lock()
	for seq := e.oldest; seq < e.seq; seq++ {
		at := &e.slots[seq%uint64(len(e.slots))]
		switch {
		case at.seq != seq:
			if seq == e.oldest {
				e.oldest++
			}
			continue
		case at.next.After(now):
			if at.sends == 1 { // all behind it are younger
				seq = e.seq
			}
		case at.sends >= maxSends:
			lost = append(lost, at.s)
			if e.counted && !at.due.Before(e.from) {
				e.counts.Lost++
			}
			e.freeLocked(at)
		default:
			at.next = now.Add(ackTimeout << at.sends)
			at.sends++
			e.counts.Repeats++
			repeats = append(repeats, again{at.s, at.mid, at.seq})
		}
	}
	e.mu.Unlock()
	for _, r := range repeats {
		e.transmit(out, r.s, r.mid, r.seq)
	}
	for _, s := range lost {
		if e.done != nil {
			e.done(out, s, false)
		}
	}
}
