package devices

import "time"

// The limits of this package, each with what it stops.
const (
	minKey      = 16   // bytes; a shorter PSK can be guessed from one recorded handshake (S6)
	maxKey      = 64   // bytes; RFC 4279, Section 5.3, asks for support of keys up to 64 octets
	maxIdentity = 128  // bytes; RFC 4279, Section 5.3
	maxName     = 64   // bytes of a device's name, which becomes a resource name on the CSE
	maxPattern  = 256  // bytes of one Originator, target or AE-ID, in the file and in a binding
	maxObserve  = 16   // resources of one device that the bridge observes: each costs the device an entry in its list of observers
	maxPatterns = 1024 // Originators or targets of one device; each request is compared with them

	maxWarnings = 100 // of a kind that are told; the others are counted: of 100,000 devices with the same fault each would be a line

	maxFile        = 256 << 20 // bytes of a devices file: some 800,000 devices
	maxBindings    = 256 << 20 // bytes of a bindings file
	maxBound       = 4096      // AE-IDs of one device: one that creates AEs without end must not fill the disk
	maxMaxPayload  = 16 << 20  // bytes; a larger maxPayload is a slip of the pen
	maxSeen        = 1 << 18   // certificates whose names are remembered; beyond it an arbitrary one is forgotten
	minTextEntropy = 80        // bits by frequency; below it a printable key was probably chosen by a person

	compactSlack = 1024 // dead lines in the bindings file before it is written anew

	watchQuiet  = 100 * time.Millisecond // a burst of writes counts as one change
	watchAtMost = 400 * time.Millisecond // a change is taken within a second, however long the burst
	lockWait    = 10 * time.Second       // how long an edit waits for another one
)
