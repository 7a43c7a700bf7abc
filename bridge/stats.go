package bridge

import (
	"maps"
	"sync"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// Refusal says why the bridge itself refused a request or failed to carry it. The values are metric labels.
type Refusal string

// The refusals.
const (
	RefusedOriginator   Refusal = "originator"          // From is not this credential's: 4106
	RefusedOperation    Refusal = "operation"           // outside the device's policy: 4004
	RefusedTarget       Refusal = "target"              // outside the device's policy: 4004
	RefusedMalformed    Refusal = "malformed"           // not a oneM2M primitive, or not a path that can be carried
	RefusedSize         Refusal = "size"                // beyond the device's largest payload: 4.13
	RefusedProfile      Refusal = "profile"             // oneM2M options from a plain device, or none from a oneM2M device
	RefusedMethod       Refusal = "method"              // a method the plain profile does not have
	RefusedExpired      Refusal = "expired"             // rqet in the past, or the deadline passed in the queue: 4008
	RefusedBusy         Refusal = "queue_full"          // the queue is full: 5.03
	RefusedDevice       Refusal = "device_busy"         // the device has too many requests in progress: 4.29
	RefusedUnknown      Refusal = "unknown_device"      // the credential's entry has gone
	RefusedBinding      Refusal = "binding"             // the AE-ID belongs to another credential
	FailedUnreachable   Refusal = "cse_unreachable"     // 5.03, 5107
	FailedTimeout       Refusal = "cse_timeout"         // 5.04, 4008
	FailedAnswer        Refusal = "cse_bad_answer"      // 5.02, 5000
	FailedBindingWrite  Refusal = "binding_not_written" // the binding could not be put on disk: 5.00
	RefusedShutdown     Refusal = "shutdown"            // the bridge is ending: 5.03
	RefusedRegistration Refusal = "registration"        // an AE CREATE whose answer would not tell the AE-ID: 5001
	RefusedReuse        Refusal = "request_id_reused"   // the same Request Identifier with other content: 4000
	RefusedReplayFull   Refusal = "replay_memory_full"  // no room to remember the request: 5.03
	RefusedFreshness    Refusal = "not_fresh"           // a state change that may be old: 4.01 with Echo
	RefusedHopLimit     Refusal = "hop_limit"           // Hop-Limit reached: 5.08
	RefusedURL          Refusal = "notification_url"    // a CSE would be told to notify a URL that is not the device's own: 4000
	RefusedNotified     Refusal = "notification_target" // or another device of this bridge: 4000
	RefusedPOA          Refusal = "point_of_access"     // addresses for another resource than the device's own AE, or too many: 4000
)

// Delivery says how a request of a CSE to a device ended. The values are metric labels.
type Delivery string

// The deliveries.
const (
	DeliveryAnswered   Delivery = "answered"           // the device answered, whatever it was
	DeliveryTaken      Delivery = "taken"              // a notification that the bridge itself had subscribed for
	DeliveryRepeated   Delivery = "repeated"           // got the answer of an equal request
	DeliveryNoAccess   Delivery = "no_access"          // unknown token or AE-ID, or another CSE's
	DeliveryMalformed  Delivery = "malformed"          // can't be carried over CoAP
	DeliveryTarget     Delivery = "target"             // names another device's AE: 4004
	DeliveryExpired    Delivery = "expired"            // its rqet had passed when it came: 4008
	DeliveryBusy       Delivery = "busy"               // too many requests under way: 5103
	DeliveryPlain      Delivery = "plain_device"       // the device doesn't speak oneM2M: 4005
	DeliveryNoSession  Delivery = "no_session"         // no live session and no address: 5103
	DeliveryNotDialled Delivery = "dial_failed"        // no handshake at the entry's address: 5103, or 4008 where its time was up first
	DeliveryWrongPeer  Delivery = "dialled_other_peer" // another device's credential at the entry's address: 5103
	DeliverySilent     Delivery = "silent"             // no answer in time: 4008
	DeliveryClosed     Delivery = "session_closed"     // the session ended before the answer: 4008
	DeliveryReset      Delivery = "reset"              // the device rejected the message: 5103
	DeliveryBadAnswer  Delivery = "bad_answer"         // the device's answer can't be read, or is to another request: 5000
)

// Answer is one kind of answer: the CoAP code, and the ResponseStatusCode where the device speaks oneM2M (else 0).
type Answer struct {
	Code   coap.Code
	Status onem2m.StatusCode
}

// Stats is a snapshot of what the bridge has done since it started.
type Stats struct {
	Requests map[Profile]uint64 // taken from devices, by the profile that they were answered in
	Refusals map[Refusal]uint64
	Answers  map[Answer]uint64
	Unsent   uint64 // answers that no session took any more
	Repeated uint64 // requests answered from what an equal one with their Request Identifier was answered
	Replays  int    // remembered requests
	Queued   int
	Active   int // at the Service Layer now

	Deliveries  map[Delivery]uint64 // requests of CSEs to devices
	Delivering  int                 // now
	DownReplays int                 // of those that are remembered, answered or not

	Observed map[ObserveEvent]uint64
	// Observers is how many there are of plain devices' containers, Subscriptions how many of those are observed.
	Observers, Subscriptions int
}

type counters struct {
	mu       sync.Mutex // guards the following fields
	requests map[Profile]uint64
	refusals map[Refusal]uint64
	answers  map[Answer]uint64
	unsent   uint64
	repeated uint64

	deliveries map[Delivery]uint64
	events     map[ObserveEvent]uint64
}

func newCounters() *counters {
	return &counters{requests: map[Profile]uint64{}, refusals: map[Refusal]uint64{}, answers: map[Answer]uint64{},
		deliveries: map[Delivery]uint64{}, events: map[ObserveEvent]uint64{}}
}

func (c *counters) deliver(d Delivery) {
	c.mu.Lock()
	c.deliveries[d]++
	c.mu.Unlock()
}

func (c *counters) request(p Profile) {
	c.mu.Lock()
	c.requests[p]++
	c.mu.Unlock()
}

func (c *counters) refuse(r Refusal) {
	c.mu.Lock()
	c.refusals[r]++
	c.mu.Unlock()
}

func (c *counters) answer(a Answer, sent bool) {
	c.mu.Lock()
	c.answers[a]++
	if !sent {
		c.unsent++
	}
	c.mu.Unlock()
}

func (c *counters) repeat() {
	c.mu.Lock()
	c.repeated++
	c.mu.Unlock()
}

func (c *counters) observed(e ObserveEvent) {
	c.mu.Lock()
	c.events[e]++
	c.mu.Unlock()
}

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Requests: maps.Clone(c.requests),
		Refusals: maps.Clone(c.refusals),
		Answers:  maps.Clone(c.answers),
		Unsent:   c.unsent,
		Repeated: c.repeated,

		Deliveries: maps.Clone(c.deliveries),
		Observed:   maps.Clone(c.events),
	}
}
