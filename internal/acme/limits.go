package acme

import "time"

const (
	// startTimeout is how long ACME may take until it answers: 3 s on an idle machine, more under the race detector
	// with other packages' tests beside it.
	startTimeout = 90 * time.Second
	// stopTimeout is how long a process may take to end after SIGTERM, before it is killed.
	stopTimeout = 10 * time.Second
	// pollInterval is the pause between two tries to reach ACME while it starts.
	pollInterval = 100 * time.Millisecond
	// maxStarts bounds the tries to start ACME: it takes a port number, not a socket, and another process may have taken
	// that port in between.
	maxStarts = 3
)
