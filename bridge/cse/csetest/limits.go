package csetest

import "time"

const (
	maxBody           = 1 << 20 // bytes of one request; stops a client that sends without end
	maxTarget         = 8 << 10 // bytes of a request target; stops paths that only cost time
	maxSegments       = 64      // path segments; no tree of a test is deeper
	maxInstances      = 10_000  // contentInstances of a container without mni: a demo that runs for weeks stays small
	maxDiscovery      = 10_000  // resources that one discovery names, when the request has no lim
	maxQueued         = 1024    // notifications that wait; further ones are lost and counted
	maxRequests       = 1000    // <request> resources; the oldest goes
	maxNotifyAnswer   = 64 << 10
	defaultRecord     = 1000     // requests that Requests keeps
	maxRecordBytes    = 16 << 20 // bytes of bodies that Requests keeps
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 60 * time.Second // of a kept connection
	defaultNotify     = 10 * time.Second // to wait for a notified entity; ACME waits as long
)
