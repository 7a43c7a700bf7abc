package request

import "time"

const (
	defaultPort = 5684 // coaps, RFC 7252, Section 12.8

	// attemptDelay is the head start of one address over the next (Connection Attempt Delay, RFC 8305, Section 5): a
	// server that listens on one family only costs this much.
	attemptDelay = 250 * time.Millisecond
	maxAttempts  = 8 // addresses of one name that are tried; a name with more is a mistake or hostile

	maxPEMBytes = 1 << 20 // certificate files
	maxOption   = 1034    // longest value of an option that RFC 7252 defines (Proxy-Uri)
	maxBody     = 8 << 20 // response body
)

const (
	// handshakeTimeout bounds name and handshake: flights are repeated after 1, 3, 7 and 15 s (RFC 6347, Section 4.2.4.1),
	// and who has not answered by then does not.
	handshakeTimeout = 16 * time.Second
	closeTimeout     = 2 * time.Second // for the closing alert to leave
)
