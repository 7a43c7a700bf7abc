package dtls

import "time"

// Limits bounds what peers may cost. The zero value of a field is its default.
type Limits struct {
	Sessions            int           // live sessions; beyond it one of the least recently used ends. Default 100,000
	SessionsPerPeer     int           // live sessions of one PeerID; beyond it the oldest is closed. Default 4
	HalfOpen            int           // handshakes under way whose cookie came back; beyond it the oldest ends. Default 4096 (2.4 KB each with a key, 3.8 with certificates)
	HalfOpenPerPrefix   int           // of those, from one IPv4 /24 or IPv6 /56. Default 2048
	HandshakesPerPrefix int           // begun in a second from one such prefix, twice as many at once. Default 4000
	HandshakeTimeout    time.Duration // from the cookie to Finished. Default 30 s
	FlightTimeout       time.Duration // first retransmission timeout of a handshake (RFC 6347, Section 4.2.4.1). Default 1 s; NB-IoT and satellites want 9 s
	IdleTimeout         time.Duration // without an authentic record from the peer; Policy may differ. Default 2 h
	MTU                 int           // bytes of an IP packet, headers included. Default 1280, IPv6's minimum (RFC 8200, Section 5)
}

// The defaults of Limits.
const (
	defaultSessions            = 100_000
	defaultSessionsPerPeer     = 4
	defaultHalfOpen            = 4096
	defaultHalfOpenPerPrefix   = 2048
	defaultHandshakesPerPrefix = 4000
	defaultHandshakeTimeout    = 30 * time.Second // five flights of a client: 1+2+4+8+15 s
	defaultFlightTimeout       = time.Second      // RFC 6347, Section 4.2.4.1
	defaultIdleTimeout         = 2 * time.Hour
	defaultMTU                 = 1280
)

// Limits that are nobody's choice.
const (
	// minMTU leaves room for a CoAP message with 256-byte blocks; maxMTU is Ethernet's.
	minMTU, maxMTU = 576, 1500

	// headersIPv6 are the bytes of an IPv6 and a UDP header; IPv4's are fewer.
	headersIPv6 = 40 + 8

	// maxDatagram is the longest datagram that is read: no flight of an honest peer needs more.
	maxDatagram = 8192

	// batchSize is how many datagrams one system call reads or writes: a prototype saw no gain beyond it.
	batchSize = 32

	// maxControl holds the control messages that are asked for: a packet information and a count of drops.
	maxControl = 128

	// maxPlaintext is the longest record that a live session takes. CoAP fits into 1152 bytes (RFC 7252, Section 4.6); a
	// longer record than Ethernet carries can't be meant for us.
	maxPlaintext = 2048

	// maxLiveDatagram and maxLiveRecords bound what one datagram may bring to a live session: Ethernet's frame, and some
	// records that were packed together. Without them one spoofed datagram would cost as many failed opens (S24) as headers
	// fit into it.
	maxLiveDatagram = 1500
	maxLiveRecords  = 4

	// maxHandshakeBytes and maxHandshakeRecords bound what one handshake may be sent (S17): a flight with a chain of four
	// certificates is 4 KB, and it may be repeated some times.
	maxHandshakeBytes   = 64 << 10
	maxHandshakeRecords = 256

	// maxFragmentMemory bounds what fragments of all handshakes hold, in bytes (S17).
	maxFragmentMemory = 64 << 20

	// maxFlightRecords is how many records of one datagram a handshake takes: a client's flight with certificates is five, and
	// some fragments. Without it one spoofed datagram of empty records would spend the whole budget of a handshake under way.
	maxFlightRecords = 16

	// spentLifetime is how long a cookie that made a session is known at least: for as long as one is good. maxSpent bounds how
	// many are, twice that number at 16 bytes each: 1,000 handshakes a second for a minute. Beyond it the oldest are forgotten.
	spentLifetime = 60 * time.Second
	maxSpent      = 1 << 15

	// cidLength is that of our Connection IDs: 64 random bits can't be guessed (S27).
	cidLength = 8

	// finishedLifetime is how long the peer may ask for our last flight again: 2 MSL (RFC 6347, Section 4.2.4).
	finishedLifetime = 240 * time.Second

	// maxRepeats is how often: a client repeats its Finished after 1, 2, 4 s and so on, at most each 60 s.
	maxRepeats = 16

	// handshakeTick and sessionTick are the precision of timers: retransmissions, and idle limits and certificate expiry.
	// Times the slots they reach some 16 s and 2 h.
	handshakeTick, handshakeSlots = 64 * time.Millisecond, 256
	sessionTick, sessionSlots     = 4 * time.Second, 2048

	// maxBusy is how many sessions keep their ciphers expanded, and busyTime for how long without a record. An AES key that
	// is expanded anew for each record costs some 0.2 us and 1 KB of garbage.
	maxBusy  = 4096
	busyTime = 8 * time.Second

	// maxTrial is how long a new address may be on trial before the session reverts to the old one, and trialFactor what may
	// go there meanwhile, in bytes for each that came from it (S28; RFC 9146, Section 6).
	maxTrial    = time.Minute
	trialFactor = 3

	// maxIdentity is the longest PSK identity that is looked up (RFC 4279, Section 5.3).
	maxIdentity = 128

	// maxChain is the longest chain, leaf and trust anchor included: depth 3 (S8). maxChainBytes and maxNames stop a
	// certificate that is meant to cost (H17).
	maxChain      = 4
	maxChainBytes = 16 << 10
	maxNames      = 64

	// maxCachedChains is how many chains are remembered as verified, some 6 KB each.
	maxCachedChains = 1024

	// maxCrypto bounds the public-key operations that wait: at 150 us each they are done within 100 ms. Handshakes that begin
	// may fill half of it, so that those under way are not held up by new ones.
	maxCrypto = 512

	// prefixSlots is how many source prefixes are told apart where their rates are limited; those that meet share a rate.
	prefixSlots = 4096

	// evictionSample is how many sessions are looked at to find one that was not used for long.
	evictionSample = 32

	// failureLogRate and failureLogBurst keep the log readable while somebody knocks (lines a second).
	failureLogRate  = 1
	failureLogBurst = 10

	// readErrorPause keeps a socket that fails at once from taking a core.
	readErrorPause = 10 * time.Millisecond
)

// withDefaults returns l with its zero fields filled.
func (l Limits) withDefaults() Limits {
	fill(&l.Sessions, defaultSessions)
	fill(&l.SessionsPerPeer, defaultSessionsPerPeer)
	fill(&l.HalfOpen, defaultHalfOpen)
	fill(&l.HalfOpenPerPrefix, defaultHalfOpenPerPrefix)
	fill(&l.HandshakesPerPrefix, defaultHandshakesPerPrefix)
	fill(&l.HandshakeTimeout, defaultHandshakeTimeout)
	fill(&l.FlightTimeout, defaultFlightTimeout)
	fill(&l.IdleTimeout, defaultIdleTimeout)
	fill(&l.MTU, defaultMTU)
	return l
}

func fill[T int | time.Duration](field *T, def T) {
	if *field == 0 {
		*field = def
	}
}

// payload is the room for DTLS in one packet.
func (l Limits) payload() int { return l.MTU - headersIPv6 }
