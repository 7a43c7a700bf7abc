package handshake

import "time"

const (
	// defaultMaxDatagram is the UDP payload that CoAP takes as safe (RFC 7252, Section 4.6); minMaxDatagram holds a record's
	// header, a fragment's and the longest Finished that there is, with room to go forward.
	defaultMaxDatagram = 1152
	minMaxDatagram     = 128

	// defaultFirst and defaultMax are RFC 6347's timeouts (Section 4.2.4.1).
	defaultFirst = time.Second
	defaultMax   = 60 * time.Second

	// minRepeat is the time between two of our flights when the peer repeats its own: without it a forger who repeats a
	// hello had each answered with 1 to 4 KB.
	minRepeat = 250 * time.Millisecond

	// finishedGrace is how long a client's Finished may be behind the ClientKeyExchange of its flight when a record between them
	// does not open: they leave together. Without it who sends two forged records at the right time ended a handshake.
	finishedGrace = 500 * time.Millisecond

	// maxHandshakeBytes and maxFragments bound what one handshake holds of its peer's fragments and early records at a time
	// (S17): a flight with a chain of four certificates is 4 KB.
	maxHandshakeBytes = 16 << 10
	maxFragments      = 64

	// maxAhead is how many messages from the next one on are kept: a server's longest flight has five (RFC 5246, Section 7.3).
	maxAhead = 6

	// maxHeldClear and maxHeldSealed are how many records wait while a job is out or keys are missing: a flight in tiny
	// datagrams, and Finished with its retransmissions.
	maxHeldClear  = 16
	maxHeldSealed = 4

	// maxSealed is the longest record of epoch 1 that may be a Finished or an alert, padding included (RFC 9146, Section 4).
	// Longer ones are not worth the attempt to open them.
	maxSealed = 512

	// maxHellos is how often a client follows a HelloVerifyRequest. A server whose secret was rotated asks once more (RFC 6347,
	// Section 4.2.1); a forger could ask for ever.
	maxHellos = 5

	// maxExtensions is how many extensions a hello may have: no client sends more than 30, and looking for doubled ones takes
	// quadratic time.
	maxExtensions = 64

	// maxIdentity and maxKey are what RFC 4279, Section 5.3 asks for.
	maxIdentity = 128
	maxKey      = 64

	// maxServerName is that of a domain name (RFC 1035, Section 2.3.4).
	maxServerName = 255

	// maxChain is the longest chain that is handed to Verify; its rule is depth 3 (S8), leaf and root included it is 4.
	maxChain = 10

	// cookieLifetime is how long a cookie's secret is the current one; it is good for as long again (S13). Round trips of
	// satellites and NB-IoT take up to 10 s.
	cookieLifetime = 30 * time.Second

	// cookieLen is that of our cookies: 128 bits can't be guessed, and the HelloVerifyRequest of 44 bytes stays shorter than any
	// ClientHello, which has 67 (S14).
	cookieLen = 16

	// maxShared is the longest secret of a key exchange: P-384's.
	maxShared = 48

	// maxHelloSeq is the greatest message_seq of a hello that we answer. It rises by one for each HelloVerifyRequest.
	maxHelloSeq = 1 << 10

	// maxClearSeq leaves a server's flights and their retransmissions room below the end of sequence numbers: they go on from
	// the number of a hello, which a peer may choose (RFC 6347, Section 4.2.1).
	maxClearSeq = 1<<48 - 1<<24
)
