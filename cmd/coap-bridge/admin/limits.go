package admin

import "time"

// The limits of the listener, each with what it stops.
const (
	readHeaderTimeout = 5 * time.Second  // a client that opens a connection and says nothing
	readTimeout       = 10 * time.Second // one that drips its request
	writeTimeout      = 20 * time.Second // one that does not read; a scrape of a busy gateway takes well under 1 s
	idleTimeout       = 60 * time.Second // kept connections; Prometheus scrapes every 15 to 60 s
	maxHeaderBytes    = 8 << 10          // memory a request; net/http adds 4 KiB of slack
	maxConns          = 32               // file descriptors and goroutines of a flood from one host
	maxScrapes        = 2                // collections at once; each walks every counter

	minTokenBytes = 16 // a token that can be guessed; 128 bits, when it is random

	// auditPerSecond and auditBurst bound the lines of refused requests: a log must not be filled from outside. The
	// counter of refusals sees every one.
	auditPerSecond = 1
	auditBurst     = 20

	maxSocketPath = 107 // sun_path less its NUL, unix(7)
)
