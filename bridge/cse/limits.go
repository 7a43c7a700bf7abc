package cse

import "time"

const (
	defaultTimeout     = 30 * time.Second // of a request whose context ends later: a device has given up by then
	defaultConnect     = 5 * time.Second  // TCP and TLS: a CSE that takes longer is as good as gone
	defaultIdleTimeout = 30 * time.Second // below what nginx (75 s) and Go (unlimited) keep; a shorter Keep-Alive is obeyed
	defaultMaxConns    = 64               // connections for each CSE and client: what a small CSE's worker pool takes
	defaultMaxAnswer   = 1 << 20          // bytes of content; stops a CSE that sends without end

	maxHeader       = 32 << 10               // bytes of status line and header; stops headers without end
	maxInterim      = 4                      // 1xx answers before the final one; stops a stream of them
	closeGrace      = 100 * time.Millisecond // for close_notify; a peer that reads nothing holds us no longer
	maxKeptBuffer   = 64 << 10               // bytes of a request's buffer that a connection keeps: a large body doesn't stay in memory
	maxCountedCodes = 256                    // ResponseStatusCodes that are counted one by one; the standard has about 90

	defaultDownlinkTimeout = 20 * time.Second // of a CSE's request: a sleepy device's retransmissions, within what CSEs wait
	defaultDownlinkConns   = 256              // authenticated connections in all, at some 40 KB each
	defaultDownlinkBody    = 1 << 20          // bytes of a request's content; no device takes more

	maxHandshakes         = 64               // at once, the oldest gives way; what strangers can hold of memory and processor
	maxHandshakesOfOrigin = 16               // at once from one address, so that one stranger doesn't hold them all
	downHandshakeTimeout  = 5 * time.Second  // a stranger's silence holds a place no longer
	downHeadTimeout       = 10 * time.Second // from a request's first byte to its head's end; stops a slow drip
	downBodyTimeout       = 20 * time.Second // from there to its content's end: 1 MiB at 50 KB/s
	downIdleTimeout       = 2 * time.Minute  // of a connection without a request; above what clients' pools keep (90 s)
	downWriteTimeout      = 10 * time.Second // of an answer; stops a client that doesn't read
	downLinger            = time.Second      // for a client that still sends to read why it was refused
	maxLinger             = 256 << 10        // bytes that it may still send
	maxHead               = 16 << 10         // bytes of request line and headers; each connection holds a buffer of it
	maxChain              = 4                // certificates that a client shows; a root beside depth 3 (S8)
	maxNames              = 64               // subjectAltNames that are looked at; stops a certificate of 10,000
	minAcceptPause        = 5 * time.Millisecond
	maxAcceptPause        = time.Second // after a failed accept, which may pass

	defaultPollTimeout = 60 * time.Second // below what proxies end a silent exchange after
	defaultMaxPolls    = 64               // a CSE may hold a thread for each
	shortPoll          = 2 * time.Second  // while AEs wait for their turn
	pollGrace          = 10 * time.Second // beyond rqet for the CSE to say that nothing came
	maxPollDeliveries  = 256              // requests at devices at once for one CSE; beyond it they hold their polls' places
	maxStreak          = 8                // turns in a row for an AE whose channel delivers, while others wait
	minPollPause       = time.Second      // after a failure, doubled up to maxPollPause; and after a poll that didn't wait
	maxPollPause       = time.Minute
	maxAnswerTries     = 3 // of a device's answer to a CSE that is not reached
)
