package bridge

import (
	"time"

	"coapbridge/coap"
)

// timing is what a Timing stands for.
type timing struct {
	ackTimeout    time.Duration // ACK_TIMEOUT, RFC 7252, Section 4.8
	maxRetransmit int           // MAX_RETRANSMIT, RFC 7252, Section 4.8
	flight        time.Duration // first retransmission of a DTLS flight that we begin; 0: as configured
	handshake     time.Duration // for a whole handshake that we begin; 0: as configured
	patience      time.Duration // for an answer to a request of ours that says nothing itself; 0: as configured
}

// timings are the numbers, which stand in docs/operations.md as well. ACK_RANDOM_FACTOR is 1.5 in all of them and NSTART 1.
// ACK_TIMEOUT has to be above the round trip, or every message is sent twice, and congestion is made worse by it (RFC 7252,
// Section 4.8.1).
var timings = [...]timing{
	TimingDefault: {}, // 2 s and 4: an unacknowledged message is given up after 93 s at the latest
	// 1 s is the least that Section 4.8.1 allows without a measured round trip. Given up after 46.5 s.
	TimingLAN: {ackTimeout: time.Second, maxRetransmit: 4},
	// A report from the edge of a cell may take 10 s, which is NB-IoT's aim (3GPP TR 45.820); the DTLS timer is the 9 s of RFC
	// 7925, Section 11. Given up after 225 s: a retransmission more would outlive most people's patience.
	TimingNBIoT: {ackTimeout: 10 * time.Second, maxRetransmit: 3, flight: 9 * time.Second, handshake: 2 * time.Minute, patience: time.Minute},
	// A pass or a queue at the ground station may hold a message for a minute. Given up after 630 s.
	TimingSatellite: {ackTimeout: time.Minute, maxRetransmit: 2, flight: 20 * time.Second, handshake: 5 * time.Minute, patience: 5 * time.Minute},
}

// profile is how a device is spoken to, for bodies of up to maxBody bytes.
func (t Timing) profile(maxBody int) coap.Profile {
	n := timings[t]
	return coap.Profile{MaxBody: maxBody, AckTimeout: n.ackTimeout, MaxRetransmit: n.maxRetransmit}
}

// patience is how long a device may take for a request that names no time itself, where otherwise is what is configured.
func (t Timing) patience(otherwise time.Duration) time.Duration {
	return max(timings[t].patience, otherwise)
}

// Handshake returns the first retransmission timeout (RFC 6347, Section 4.2.4.1) and the whole time of a DTLS handshake that
// the bridge begins with such a device; 0: what is configured for all.
func (t Timing) Handshake() (flight, whole time.Duration) {
	return timings[t].flight, timings[t].handshake
}

// MaxPatience is the longest that a device of any timing may take for a request that names no time itself, where otherwise
// is what is configured.
func MaxPatience(otherwise time.Duration) time.Duration {
	for t := range timings {
		otherwise = Timing(t).patience(otherwise)
	}
	return otherwise
}
