package bridge

import "time"

// Limits bound what the bridge holds. A zero field takes its default.
type Limits struct {
	Workers   int // requests at the Service Layer at once; what a slow CSE may occupy
	Queue     int // requests that wait for a worker; beyond it 5.03 at once
	PerDevice int // requests in progress of one device; one loud device can't take all workers (S50)

	MaxPayload     int           // bytes of a request's content where the device's entry says nothing
	RequestTimeout time.Duration // for the CSE's answer where neither rqet nor the CSE's entry says less

	ReplayLifetime time.Duration // how long a changing request is remembered where it names no rqet
	// ReplayPerDevice and ReplayEntries are how many requests are remembered, of one credential and in all, at some 300 bytes
	// each: what a credential may change a second is ReplayPerDevice / ReplayLifetime.
	ReplayPerDevice, ReplayEntries int
	// ReplayBytes and ReplayBytesTotal bound the answers that are kept for a repeat, of one credential and in all.
	ReplayBytes, ReplayBytesTotal int

	// DownlinkTimeout is how long a device may take for its answer to a request of a CSE, if its Timing does not give it
	// longer; a shorter rqet counts.
	DownlinkTimeout time.Duration
	// DownlinkPerDevice and DownlinkConcurrent are how many requests of CSEs are under way, or wait for the one before them,
	// to one device and in all; what a slow device, or a CSE that floods, may occupy.
	DownlinkPerDevice, DownlinkConcurrent int
	// DownlinkReplays and DownlinkReplayBytes bound the answers of devices that are kept for a CSE's repeat.
	DownlinkReplays, DownlinkReplayBytes int

	// Observations and ObservationsTotal are how many observations (RFC 7641) are kept, of one device's own resources and in
	// all; beyond them a GET with Observe is answered without it. Each container that is observed is a subscription at the CSE.
	Observations, ObservationsTotal int
	// ConfirmEvery makes one of so many notifications Confirmable, ConfirmAfter the next one after that time, 24 h at most
	// (RFC 7641, Section 4.5). 0: each is Confirmable.
	ConfirmEvery int
	ConfirmAfter time.Duration

	// FreshFor is how old the Echo value of an actuator's request may be (S33).
	FreshFor time.Duration
}

const (
	defaultWorkers        = 64
	defaultQueue          = 1024
	defaultPerDevice      = 8
	defaultMaxPayload     = 64 << 10
	defaultRequestTimeout = 10 * time.Second

	defaultReplayLifetime = 10 * time.Minute

	defaultReplayPerDevice  = 16_384  // 27 changes a second for ten minutes
	defaultReplayEntries    = 500_000 // 830 a second
	defaultReplayBytes      = 256 << 10
	defaultReplayBytesTotal = 64 << 20

	// maxReplayWaiters is how many repeats of a request on its way wait for its answer: one a session that a device may
	// have; beyond it a repeat is told to try later.
	maxReplayWaiters = 4

	// maxReplayLifetime bounds what a far rqet asks to be remembered for.
	maxReplayLifetime = 24 * time.Hour

	// busyRetry is the Max-Age of a 5.03: when a device may try again.
	busyRetry = 5 * time.Second

	// maxPlainSegments is how deep a plain device may nest its containers; each level costs one CREATE on first use.
	maxPlainSegments = 8

	// maxPlainSegment is the longest Uri-Path option, in bytes (RFC 7252, Section 5.10).
	maxPlainSegment = 255

	// What an Access may hold. minAccessToken is 16 bytes in base64url: a shorter token could be found by trying. The others
	// bound what a device makes the bindings file keep for an AE.
	minAccessToken = 22
	maxAccessToken = 64
	maxPOA         = 16  // addresses of one AE
	maxPOALen      = 512 // bytes of one of them

	// maxAttemptsPlain is how often a plain device's request goes to the CSE: once as it is, once after its AE and
	// containers were made.
	maxAttemptsPlain = 2

	defaultDownlinkTimeout     = 20 * time.Second
	defaultDownlinkPerDevice   = 16
	defaultDownlinkConcurrent  = 4096
	defaultDownlinkReplays     = 65_536 // 1,000 a second for a minute
	defaultDownlinkReplayBytes = 32 << 20

	// downReplayLifetime is how long a CSE's request is recognised when it comes again: longer than it waits for an answer.
	downReplayLifetime = 60 * time.Second

	// downEntryCost is what a remembered request takes beside its answer.
	downEntryCost = 400

	// maxResultsPerDevice and maxResults are how many non-blocking requests' results stay readable by devices whose policy names
	// their targets, of one device and in all, and resultLifetime for how long.
	maxResultsPerDevice = 16
	maxResults          = 65_536
	resultLifetime      = 24 * time.Hour
	maxResultURI        = 2048 // bytes of an answer that is looked into for one

	// maxNamesAsked is for how many notification targets of one request, which are named, the CSE is asked whose AEs they are: a
	// long list costs it no more.
	maxNamesAsked = 16

	// accessTokenSize is what a token of a point of access holds, in bytes: 128 bits can't be guessed (S43).
	accessTokenSize = 16

	// dialAgain is when a device is dialled again that is about to begin a session itself.
	dialAgain = 250 * time.Millisecond

	defaultObservations      = 16
	defaultObservationsTotal = 10_000

	// defaultFreshFor is a round trip of a slow network, with retransmissions: who holds a request longer holds it in vain.
	defaultFreshFor = 30 * time.Second

	// errandRunners is how much the bridge does on its own account at once, of each kind: at the CSE, and at devices.
	errandRunners = 4

	// maxEvents is how many notifications of a container wait while others are handed on; beyond it the oldest goes.
	maxEvents = 16

	// toldFor is the Max-Age of notifications: how long an observer believes in the last one, at most, when its subscription was
	// lost at the CSE.
	toldFor = 15 * time.Minute

	// checkSubscription is after which time a new observer of a container has its subscription looked at.
	checkSubscription = time.Minute

	// maxStale is how many unknown subscriptions are looked at: a CSE that makes them up costs no more.
	maxStale = 64

	// maxUnsubscribe is how often the end of a subscription is tried; unsubscribeRetry is when it is tried again the first time,
	// and after four times as long each further time.
	maxUnsubscribe   = 5
	unsubscribeRetry = 5 * time.Second

	// maxRelayed is how many notifications of an observed resource of a device wait for a worker; beyond it the oldest goes.
	maxRelayed = 16

	// maxRelayFailures is how often the time between two tries doubles.
	maxRelayFailures = 6

	// observeRetry and maxObserveRetry are how long after a failure a device's resource is asked for again: at first, and at
	// last. observeTimeout is how long it has to answer.
	observeRetry    = 10 * time.Second
	maxObserveRetry = 10 * time.Minute
	observeTimeout  = 2 * time.Minute

	// auditEvery and auditBurst limit the log lines of refused requests; the counters see every one.
	auditEvery = time.Second
	auditBurst = 20
)

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Workers, defaultWorkers)
	set(&l.Queue, defaultQueue)
	set(&l.PerDevice, defaultPerDevice)
	set(&l.MaxPayload, defaultMaxPayload)
	set(&l.ReplayPerDevice, defaultReplayPerDevice)
	set(&l.ReplayBytes, defaultReplayBytes)
	set(&l.ReplayBytesTotal, defaultReplayBytesTotal)
	set(&l.ReplayEntries, defaultReplayEntries)
	set(&l.DownlinkPerDevice, defaultDownlinkPerDevice)
	set(&l.DownlinkConcurrent, defaultDownlinkConcurrent)
	set(&l.DownlinkReplays, defaultDownlinkReplays)
	set(&l.DownlinkReplayBytes, defaultDownlinkReplayBytes)
	if l.DownlinkTimeout <= 0 {
		l.DownlinkTimeout = defaultDownlinkTimeout
	}
	set(&l.Observations, defaultObservations)
	set(&l.ObservationsTotal, defaultObservationsTotal)
	if l.FreshFor <= 0 {
		l.FreshFor = defaultFreshFor
	}
	if l.RequestTimeout <= 0 {
		l.RequestTimeout = defaultRequestTimeout
	}
	if l.ReplayLifetime <= 0 {
		l.ReplayLifetime = defaultReplayLifetime
	}
	return l
}
