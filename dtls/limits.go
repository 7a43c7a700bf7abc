package dtls

import "time"

// Limits bounds what peers may cost. The zero value of a field is its default.
type Limits struct {
	Sessions          int           // live sessions; a hello beyond it is dropped. Default 10,000 (about 500 MB)
	SessionsPerPeer   int           // live sessions of one PeerID; beyond it the oldest is closed. Default 4
	HalfOpen          int           // handshakes under way that a peer began. Default 2048 (18 KB each before the cookie)
	HalfOpenPerPrefix int           // of those, from one IPv4 /24 or IPv6 /56. Default 512
	HandshakeTimeout  time.Duration // from first ClientHello to Finished. Default 30 s
	IdleTimeout       time.Duration // without an authentic record from the peer; Policy may differ. Default 2 h
	MTU               int           // bytes of an IP packet, headers included. Default 1280, IPv6's minimum (RFC 8200, Section 5)
}

// The defaults of Limits.
const (
	defaultSessions          = 10_000
	defaultSessionsPerPeer   = 4
	defaultHalfOpen          = 2048
	defaultHalfOpenPerPrefix = 512
	defaultHandshakeTimeout  = 30 * time.Second // five flights of a client: 1+2+4+8+15 s
	defaultIdleTimeout       = 2 * time.Hour
	defaultMTU               = 1280
)

// Limits that are nobody's choice.
const (
	// minMTU leaves room for a CoAP message with 256-byte blocks; maxMTU is Ethernet's.
	minMTU, maxMTU = 576, 1500

	// headersIPv6 are the bytes of an IPv6 and a UDP header; IPv4's are fewer.
	headersIPv6 = 40 + 8

	// maxDatagram is the longest datagram that is read: pion's buffer holds as much, and no flight of ours or of an honest
	// peer needs it.
	maxDatagram = 8192

	// maxControl holds the control messages that are asked for: one of at most 40 bytes.
	maxControl = 128

	// maxPlaintext is the longest record that a live session takes. CoAP fits into 1152 bytes (RFC 7252, Section 4.6); a
	// longer record than Ethernet carries can't be meant for us.
	maxPlaintext = 2048

	// maxLiveDatagram and maxLiveRecords bound what one datagram may bring to a live session: Ethernet's frame, and some
	// records that were packed together. Without them one spoofed datagram would cost as many failed opens (maxFailedOpens)
	// as headers fit into it.
	maxLiveDatagram = 1500
	maxLiveRecords  = 4

	// replayWindow is the receive window in records (RFC 6347, Section 4.1.2.6: at least 32, should be 64). Twice that
	// forgives reordering between the paths of a mobile network.
	replayWindow = 128

	// pipeDepth bounds the datagrams that wait for one session or handshake; further ones are dropped (S21).
	pipeDepth = 64

	// maxHandshakeBytes and maxHandshakeRecords bound what one handshake may be sent (S17): a flight with a chain of four
	// certificates is 4 KB, and it may be repeated some times.
	maxHandshakeBytes   = 64 << 10
	maxHandshakeRecords = 256

	// cookieTimeout ends a handshake whose cookie doesn't come back: its source is forged or gone (S13). Round trips over
	// NB-IoT take up to this long.
	cookieTimeout = 10 * time.Second

	// evictAfter is how long a handshake keeps its place for its cookie while others need it: a round trip over all but the
	// slowest networks. Shorter, honest peers would be evicted; longer, a smaller flood keeps new ones out: HalfOpen places
	// in evictAfter are 4096 hellos a second.
	evictAfter = 500 * time.Millisecond

	// queueSlack is how many handshakes a queue of half-open ones holds in vain before they are swept out of it.
	queueSlack = 16

	// staleHandshake is when a handshake in which nothing moves gives way to a new hello of the same address (a device that
	// restarted in the middle). Earlier, a forged hello could break into one.
	staleHandshake = 3 * time.Second

	// finishedLifetime is how long the peer may ask for our last flight again: 2 MSL (RFC 6347, Section 4.2.4).
	finishedLifetime = 240 * time.Second

	// maxRepeats is how often, in sealed records: a client repeats its Finished after 1, 2, 4 s and so on, at most each 60 s.
	maxRepeats = 16

	// flightInterval is the first retransmission timeout (RFC 6347, Section 4.2.4.1).
	flightInterval = time.Second

	// sweepInterval is the precision of idle limits and certificate expiry.
	sweepInterval = time.Second

	// maxIdentity is the longest PSK identity that is looked up (RFC 4279, Section 5.3).
	maxIdentity = 128

	// maxChain is the longest chain, leaf and trust anchor included: depth 3 (S8). maxChainBytes and maxNames stop a
	// certificate that is meant to cost (H17).
	maxChain      = 4
	maxChainBytes = 16 << 10
	maxNames      = 64

	// failureLogRate and failureLogBurst keep the log readable while somebody knocks (lines a second).
	failureLogRate  = 1
	failureLogBurst = 10

	// Limits of one key, then the session ends and a new handshake makes another (S24): records sealed, and records that
	// did not open. CCM 2^23, GCM 2^24.5 (RFC 9147, Section 4.5.3); 2^23 serves all. An 8-byte tag falls to a guess in 2^64:
	// 2^20 tries leave odds of 2^-44.
	maxSeals       = 1 << 23
	maxFailedOpens = 1 << 20

	// readErrorPause keeps a socket that fails at once from taking a core.
	readErrorPause = 10 * time.Millisecond
)

// withDefaults returns l with its zero fields filled.
func (l Limits) withDefaults() Limits {
	fill(&l.Sessions, defaultSessions)
	fill(&l.SessionsPerPeer, defaultSessionsPerPeer)
	fill(&l.HalfOpen, defaultHalfOpen)
	fill(&l.HalfOpenPerPrefix, defaultHalfOpenPerPrefix)
	fill(&l.HandshakeTimeout, defaultHandshakeTimeout)
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
