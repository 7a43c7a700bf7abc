package coap

import "time"

// record is what is remembered of one Message ID of a peer (RFC 7252, Section 4.5).
type record struct {
	next    *record // in its fifo
	hash    uint64  // keyed hash of the whole datagram: another one is a new message
	answer  []byte  // the datagram that answered it; nil: see below
	expires uint32  // Endpoint.seconds; 0 while it is not answered
	mid     uint16
	non     bool // Non-confirmable: repetitions are dropped
	acked   bool // an empty acknowledgement was sent: repetitions get it again, and the answer is a separate response
}

// fifo is a list of records in the order of their expiry.
type fifo struct{ head, tail *record }

func (f *fifo) push(r *record) {
	if f.tail == nil {
		f.head = r
	} else {
		f.tail.next = r
	}
	f.tail = r
}

// recordLocked remembers m as in progress; nil when there is no room. A record of an older message with the same Message ID
// is replaced: its exchange, if it still runs, can only be answered separately from now on.
func (p *Peer) recordLocked(m *Message, hash uint64) *record {
	e, st := p.endpoint, p.stateLocked()
	if st.recordBytes+recordCost > e.config.Limits.MaxRecordBytes ||
		!reserve(&e.count.recordBytes, recordCost, e.config.Limits.MaxRecordBytesTotal) {
		return nil
	}
	e.count.records.Add(1)
	st.recordBytes += recordCost
	if old := st.records[m.MessageID]; old != nil {
		old.acked = true
		p.freeAnswerLocked(old)
		if old.expires == 0 { // in progress, so in no list that would account for it later
			p.uncountLocked()
		}
	}
	if st.records == nil {
		st.records = make(map[uint16]*record)
	}
	r := &record{hash: hash, mid: m.MessageID, non: m.Type == NonConfirmable}
	st.records[m.MessageID] = r
	return r
}

// keepLocked ends r's time in progress: repetitions get answer, for the lifetime of a Message ID. It counts from now and
// not from the request, which is later than need be and keeps the lists in order.
func (p *Peer) keepLocked(r *record, answer []byte, now time.Time) {
	st := p.state
	if st.records[r.mid] != r || r.expires != 0 {
		return // replaced
	}
	life, list := p.profile.exchangeLifetime, &st.answered[0] // EXCHANGE_LIFETIME, RFC 7252, Section 4.8.2
	if r.non {
		answer = nil                                        // a repetition gets none
		life, list = p.profile.nonLifetime, &st.answered[1] // NON_LIFETIME
	}
	r.answer = answer
	st.recordBytes += len(answer)
	p.endpoint.count.recordBytes.Add(int64(len(answer)))
	r.expires = p.endpoint.seconds(now) + lifetimeSeconds(life)
	list.push(r)
	p.sweepByLocked(now.Add(life + maxSweepInterval))
}

// forgetLocked drops a record in progress whose request may be executed again.
func (p *Peer) forgetLocked(r *record) {
	if p.state.records[r.mid] != r || r.expires != 0 {
		return
	}
	delete(p.state.records, r.mid)
	p.uncountLocked()
}

func (p *Peer) uncountLocked() {
	p.state.recordBytes -= recordCost
	p.endpoint.count.recordBytes.Add(-recordCost)
	p.endpoint.count.records.Add(-1)
}

func (p *Peer) freeAnswerLocked(r *record) {
	p.state.recordBytes -= len(r.answer)
	p.endpoint.count.recordBytes.Add(int64(-len(r.answer)))
	r.answer = nil
}

// sweepRecordsLocked forgets expired records and returns when the next one expires; 0: there is none.
func (p *Peer) sweepRecordsLocked(sec uint32) (next uint32) {
	st := p.state
	for i := range st.answered {
		list := &st.answered[i]
		for r := list.head; r != nil && r.expires < sec; r = list.head {
			list.head = r.next
			if list.head == nil {
				list.tail = nil
			}
			p.freeAnswerLocked(r)
			p.uncountLocked()
			if st.records[r.mid] == r {
				delete(st.records, r.mid)
			}
		}
		if h := list.head; h != nil && (next == 0 || h.expires+1 < next) {
			next = h.expires + 1
		}
	}
	if len(st.records) == 0 {
		st.records = nil // a map keeps the memory of its largest size
	}
	return next
}

// recordCount is how many records are accounted for, replaced ones included.
func (st *state) recordCount() (n int) {
	for _, r := range st.records {
		if r.expires == 0 {
			n++
		}
	}
	for i := range st.answered {
		for r := st.answered[i].head; r != nil; r = r.next {
			n++
		}
	}
	return n
}
