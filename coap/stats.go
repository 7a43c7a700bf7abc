package coap

import "sync/atomic"

// Reason says why a message was dropped or refused. The set is closed; its names serve as metric labels.
type Reason uint8

// The reasons.
const (
	ReasonFormat            Reason = iota // no CoAP message: see FormatError
	ReasonTooManyOptions                  // more options than this package reads
	ReasonTooManySegments                 // more path and query segments than this package takes
	ReasonUnmatchedACK                    // ACK for nothing that we sent, or with a response to nothing we asked
	ReasonUnmatchedReset                  // RST for nothing that we wait for
	ReasonUnsolicited                     // response that nobody waits for
	ReasonBadOption                       // critical option not understood, of illegal length, or repeated
	ReasonProxy                           // Proxy-Uri or Proxy-Scheme
	ReasonForeignHost                     // Uri-Host that is not ours
	ReasonMethod                          // unknown method
	ReasonRecordsFull                     // de-duplication memory full
	ReasonExchangesFull                   // too many unanswered requests
	ReasonBodiesFull                      // too many begun bodies, or their bytes
	ReasonTooLarge                        // body beyond the limit
	ReasonBadBlock                        // block option or block length illegal
	ReasonBlockGap                        // block that does not continue its body
	ReasonSizeMismatch                    // body of another length than announced
	ReasonBlockGone                       // follow-up request for a body that is no longer kept
	ReasonNotKept                         // response body that could not be kept for follow-up requests
	ReasonNoResponse                      // response that its requester did not want (RFC 7967)
	ReasonDraining                        // Shutdown has begun
	ReasonClosed                          // peer closed
	ReasonQueueFull                       // request of ours refused: too many wait for their turn
	ReasonMessageIDs                      // no Message ID of ours is free
	ReasonSend                            // Conn.Send failed
	ReasonHopLimit                        // Hop-Limit of 0
	ReasonObservationsFull                // Observe not taken: too many observations
	ReasonStale                           // notification older than one that came before
	ReasonNotificationsFull               // notification that a newer one overtook before it was handed on
	reasons
)

// String returns the reason's label.
func (r Reason) String() string {
	names := [reasons]string{
		"format", "too_many_options", "too_many_segments", "unmatched_ack", "unmatched_reset", "unsolicited", "bad_option",
		"proxy", "foreign_host", "method", "records_full", "exchanges_full", "bodies_full", "too_large", "bad_block",
		"block_gap", "size_mismatch", "block_gone", "not_kept", "no_response", "draining", "closed", "queue_full",
		"message_ids", "send", "hop_limit", "observations_full", "stale", "notifications_full",
	}
	if r >= reasons {
		return "unknown"
	}
	return names[r]
}

// Reasons returns all reasons.
func Reasons() []Reason {
	all := make([]Reason, reasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Stats are an Endpoint's counters since New, and its gauges. Messages are counted as they come and go, repetitions included.
type Stats struct {
	In, Out         [4]uint64         // messages by Type
	Requests        uint64            // requests handed to the Handler
	Responses       map[Code]uint64   // responses decided on for requests of peers, suppressed ones included
	Refused         map[Reason]uint64 // messages dropped or refused
	Duplicates      uint64            // repeated messages recognised
	Retransmissions uint64            // Confirmable messages of ours sent again
	Timeouts        uint64            // Confirmable messages of ours never acknowledged, and requests never answered

	ObservationsStarted uint64               // registrations of peers taken
	ObservationsEnded   map[EndReason]uint64 // and over
	Notifications       uint64               // sent, without the first ones and repetitions of the same state

	Records, RecordBytes int64 // remembered Message IDs, and what they cost
	Bodies, BodyBytes    int64 // request bodies begun
	Kept, KeptBytes      int64 // response bodies kept for follow-up requests; the bytes of notifications that wait as well
	Observations         int64 // of peers
	Observed             int64 // observations of ours
	Exchanges            int64 // requests of peers in progress
	Calls                int64 // requests of ours in progress
}

// counters are Stats in the making.
type counters struct {
	in, out                               [4]atomic.Uint64
	requests                              atomic.Uint64
	responses                             [256]atomic.Uint64
	refused                               [reasons]atomic.Uint64
	duplicates, retransmissions, timeouts atomic.Uint64
	records, recordBytes                  atomic.Int64
	bodies, bodyBytes                     atomic.Int64
	kept, keptBytes                       atomic.Int64
	exchanges, calls                      atomic.Int64
	observationsStarted, notifications    atomic.Uint64
	observationsEnded                     [endReasons]atomic.Uint64
	observations, observed                atomic.Int64
}

func (c *counters) refuse(r Reason) { c.refused[r].Add(1) }

// reserve adds n to total unless that exceeds limit.
func reserve(total *atomic.Int64, n, limit int) bool {
	if total.Add(int64(n)) > int64(limit) {
		total.Add(-int64(n))
		return false
	}
	return true
}

// Stats returns a copy of the counters. They are read one by one, not at one instant.
func (e *Endpoint) Stats() Stats {
	c := &e.count
	s := Stats{
		Requests:   c.requests.Load(),
		Responses:  make(map[Code]uint64),
		Refused:    make(map[Reason]uint64),
		Duplicates: c.duplicates.Load(), Retransmissions: c.retransmissions.Load(), Timeouts: c.timeouts.Load(),
		Records: c.records.Load(), RecordBytes: c.recordBytes.Load(),
		Bodies: c.bodies.Load(), BodyBytes: c.bodyBytes.Load(),
		Kept: c.kept.Load(), KeptBytes: c.keptBytes.Load(),
		Exchanges: c.exchanges.Load(), Calls: c.calls.Load(),
		ObservationsStarted: c.observationsStarted.Load(), ObservationsEnded: make(map[EndReason]uint64),
		Notifications: c.notifications.Load(), Observations: c.observations.Load(), Observed: c.observed.Load(),
	}
	for i := range c.observationsEnded {
		if n := c.observationsEnded[i].Load(); n > 0 {
			s.ObservationsEnded[EndReason(i)] = n
		}
	}
	for i := range s.In {
		s.In[i], s.Out[i] = c.in[i].Load(), c.out[i].Load()
	}
	for i := range c.responses {
		if n := c.responses[i].Load(); n > 0 {
			s.Responses[Code(i)] = n
		}
	}
	for i := range c.refused {
		if n := c.refused[i].Load(); n > 0 {
			s.Refused[Reason(i)] = n
		}
	}
	return s
}
