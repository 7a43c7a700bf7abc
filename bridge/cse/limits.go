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
)
