package coap

import "time"

// Transmission parameters (RFC 7252, Section 4.8), for a peer whose Profile says nothing else.
const (
	ackTimeout      = 2 * time.Second   // ACK_TIMEOUT, RFC 7252, Section 4.8
	ackRandomFactor = 1.5               // ACK_RANDOM_FACTOR, RFC 7252, Section 4.8
	maxRetransmit   = 4                 // MAX_RETRANSMIT, RFC 7252, Section 4.8
	probingRate     = 1                 // PROBING_RATE, bytes a second, RFC 7252, Section 4.7
	defaultNStart   = 1                 // NSTART, RFC 7252, Section 4.7
	maxLatency      = 100 * time.Second // MAX_LATENCY, RFC 7252, Section 4.8.2
)

// More retransmissions than this, or longer time-outs, make lifetimes of days.
const (
	maxMaxRetransmit = 10
	maxAckTimeout    = 10 * time.Minute
)

// Limits of the format.
const (
	headerLen      = 4        // RFC 7252, Section 3
	maxTokenLen    = 8        // RFC 7252, Section 3; RFC 8974 is not spoken
	payloadMarker  = 0xff     // RFC 7252, Section 3
	maxOptionValue = 65804    // 269 + 65535: what Option Length can express (RFC 7252, Section 3.1)
	maxSZX         = 6        // 1024 bytes; 7 is reserved on datagrams (RFC 7959, Section 2.2)
	maxBlockNum    = 0xffff_f // 20 bits (RFC 7959, Section 2.2)
)

// Limits of ours on one message. They bound the work that a message causes before anything looks at it (S38).
const (
	maxOptions  = 64 // option instances; oneM2M's longest request has about 40
	maxSegments = 32 // Uri-Path and Uri-Query instances, each
)

// Costs that are counted for what a map entry, its struct and its list links take, so that many small things are as bounded
// as few large ones. Measured by TestPeerMemory.
const (
	recordCost = 96
	bodyCost   = 256
)

// Of observations.
const (
	maxSequence          = 1<<24 - 1              // RFC 7641, Section 3.4
	freshnessWindow      = 128 * time.Second      // RFC 7641, Section 3.4: a later arrival is newer whatever its number
	sequenceUnit         = 50 * time.Millisecond  // of where an observation's numbers begin: 2^23 of them are nearly 5 days
	maxConfirmAfter      = 24 * time.Hour         // RFC 7641, Section 4.5
	minNotifyGap         = 100 * time.Millisecond // between Non-confirmable notifications: a round trip on a LAN would be no limit
	recentNotifications  = 4                      // Message IDs to which a late Reset still ends the observation
	maxAgeDefault        = 60 * time.Second       // RFC 7252, Section 5.10.5
	minReregister        = 5 * time.Second        // after Max-Age, at random up to maxReregister (RFC 7641, Section 3.3.1)
	maxReregister        = 15 * time.Second       // so that not all clients ask at once
	maxObservedAge       = 24 * time.Hour         // a server that is gone is found out this late, whatever its Max-Age was
	maxWaitingNotes      = 16                     // notifications that wait to be handed on; older ones give way
	maxBackground        = 1024                   // goroutines that fetch notifications or re-register, one of a peer (C07)
	reregistrationsRetry = time.Second            // until another one is looked at again
)

const (
	defaultMaxObservations      = 16
	defaultMaxObservationsTotal = 100_000
	defaultMaxObserved          = 16

	defaultMaxBody        = 64 << 10
	defaultAckDelay       = time.Second
	defaultMaxRecordBytes = 2 << 20
	defaultMaxRecordTotal = 256 << 20
	defaultMaxExchanges   = 64
	defaultMaxBodies      = 4
	defaultMaxBodyTotal   = 64 << 20
	defaultMaxKeptBytes   = 256 << 10
	defaultMaxKeptTotal   = 64 << 20
	defaultMaxQueue       = 64
	defaultRetryAfter     = 5 * time.Second
	firstBodyAllocation   = 4 << 10          // what a body's first block allocates at most, whatever Size1 says (C05)
	keptLifetime          = 93 * time.Second // MAX_TRANSMIT_WAIT, RFC 7252, Section 4.8.2: no repetition comes later; or the Profile's
	maxProfiles           = 1024             // resolved Profiles that are remembered
	midBlocks             = 64               // Message IDs are aged in this many blocks of 1,024
	maxSweepInterval      = time.Second      // expired state is dropped at most this late and this often
	maxTransferRestarts   = 1                // of one Do, after 4.08 or another ETag
)

// Limits bounds what peers can make an Endpoint keep and do. The zero value of a field is its default. "Total" is the sum
// over all peers.
type Limits struct {
	// MaxBody is the largest request or response body that is put together from blocks, in bytes; larger ones are answered
	// with 4.13 (default 65536). It bounds what one body costs.
	MaxBody int
	// AckDelay is how long a Confirmable request waits for its response before it gets an empty acknowledgement (default
	// 1 s). It must stay below every client's ACK_TIMEOUT, or they repeat (RFC 7252, Section 5.2.2): at a peer whose
	// Profile.AckTimeout is below 2 s it is half of that.
	AckDelay time.Duration
	// MaxRecordBytes and MaxRecordBytesTotal bound the memory of the de-duplication: each remembered Message ID costs 96
	// bytes and its answer (defaults 2 MiB, about 15,000 small answers, and 256 MiB). When they are reached, new requests
	// get 5.03; nothing is forgotten early (S32).
	MaxRecordBytes, MaxRecordBytesTotal int
	// MaxExchanges is how many requests of one peer may be unanswered, or their separate responses unacknowledged (default
	// 64).
	MaxExchanges int
	// MaxBodies is how many request bodies one peer may have begun; MaxBodyBytesTotal bounds the bytes of all of them
	// (defaults 4 and 64 MiB; C05). At MaxBodies, a peer's own body that did not advance for MAX_TRANSMIT_WAIT gives way to
	// its new one, never another's.
	MaxBodies, MaxBodyBytesTotal int
	// MaxKeptBytes and MaxKeptBytesTotal bound the response bodies that are kept until all blocks are fetched (defaults
	// 256 KiB and 64 MiB). A peer's older bodies give way to its newer ones, never another's. It also is the largest
	// response body there can be.
	MaxKeptBytes, MaxKeptBytesTotal int
	// MaxQueue is how many calls of Do may wait for their turn at one peer, behind NSTART (default 64).
	MaxQueue int
	// MaxObservations is how many observations one peer may have, MaxObservationsTotal how many there may be (defaults 16 and
	// 100,000). Beyond them, a request with Observe is answered as one without.
	MaxObservations, MaxObservationsTotal int
	// MaxObserved is how many observations of ours there may be at one peer (default 16).
	MaxObserved int
	// RetryAfter is the Max-Age of a 5.03 (default 5 s).
	RetryAfter time.Duration
}

// withDefaults returns l with every zero field set to its default.
func (l Limits) withDefaults() Limits {
	set(&l.MaxBody, defaultMaxBody)
	set(&l.AckDelay, defaultAckDelay)
	set(&l.MaxRecordBytes, defaultMaxRecordBytes)
	set(&l.MaxRecordBytesTotal, defaultMaxRecordTotal)
	set(&l.MaxExchanges, defaultMaxExchanges)
	set(&l.MaxBodies, defaultMaxBodies)
	set(&l.MaxBodyBytesTotal, defaultMaxBodyTotal)
	set(&l.MaxKeptBytes, defaultMaxKeptBytes)
	set(&l.MaxKeptBytesTotal, defaultMaxKeptTotal)
	set(&l.MaxQueue, defaultMaxQueue)
	set(&l.MaxObservations, defaultMaxObservations)
	set(&l.MaxObservationsTotal, defaultMaxObservationsTotal)
	set(&l.MaxObserved, defaultMaxObserved)
	set(&l.RetryAfter, defaultRetryAfter)
	return l
}

func set[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}
