package dtls

import "sync/atomic"

// Outcome says how a handshake ended, or why one was not begun. Its String is fit for a metric's label.
type Outcome uint8

// The outcomes of handshakes.
const (
	OutcomeCompletedPSK           Outcome = iota // authenticated by PSK
	OutcomeCompletedCertificate                  // authenticated by certificates
	OutcomePSKFailed                             // unknown identity or wrong key: one counter (S5)
	OutcomeCertificateUntrusted                  // not issued by the CA of that role, or not valid at all
	OutcomeCertificateExpired                    // its time, or an issuer's, is over
	OutcomeCertificateNotYetValid                // its time, or an issuer's, has not come
	OutcomeCertificateWrongUsage                 // key usage, extended key usage, or a CA's certificate
	OutcomeCertificateNoName                     // no usable subjectAltName, or not the one that was dialled
	OutcomeCertificateRevoked                    // on a list
	OutcomeCertificateRefused                    // trusted, but Config.Verify has no entry for it
	OutcomeNoCertificate                         // the peer presented none
	OutcomeNoCommonSuite                         // no suite in common
	OutcomeNoExtendedMasterSecret                // the peer lacks RFC 7627
	OutcomeOwnCertificate                        // Config.Certificate had none to present
	OutcomeVersion                               // another version of DTLS
	OutcomeProtocolError                         // a message was malformed, misplaced or didn't verify
	OutcomePeerAlert                             // the peer gave up with an alert
	OutcomeNotDTLS                               // plain CoAP on the port
	OutcomeMirrored                              // a hello with a random of our own (S7)
	OutcomeFragmentedHello                       // a ClientHello in pieces
	OutcomeStaleCookie                           // a ClientHello whose cookie is old or forged; it is asked for another
	OutcomeCookieSent                            // a ClientHello without a cookie; it is asked for one
	OutcomeEvicted                               // its place was needed for newer handshakes
	OutcomeTimeout                               // the peer stopped in the middle
	OutcomeLimit                                 // a limit on handshakes, sessions or bytes
	OutcomeClock                                 // certificates wait for the clock
	OutcomeCancelled                             // the dialler gave up
	OutcomeSuperseded                            // a newer hello of the same address took its place
	OutcomeRevoked                               // the credential was withdrawn meanwhile
	OutcomeShutdown                              // the endpoint closed
	outcomes                                     // their number
)

// String implements fmt.Stringer.
func (o Outcome) String() string {
	names := [outcomes]string{
		"completed_psk", "completed_certificate", "psk_failed", "certificate_untrusted", "certificate_expired",
		"certificate_not_yet_valid", "certificate_wrong_usage", "certificate_no_name", "certificate_revoked",
		"certificate_refused", "no_certificate", "no_common_suite", "no_extended_master_secret", "own_certificate",
		"version", "protocol_error", "peer_alert", "not_dtls", "mirrored", "fragmented_hello", "stale_cookie",
		"cookie_sent", "evicted", "timeout", "limit", "clock", "cancelled", "superseded", "revoked", "shutdown",
	}
	if o < outcomes {
		return names[o]
	}
	return "unknown"
}

// Drop says why a record or datagram was dropped. Its String is fit for a metric's label.
type Drop uint8

// The reasons for dropping.
const (
	DropEpoch0OnLive    Drop = iota // epoch 0 on an established session (S21)
	DropUnknownType                 // not a content type of RFC 6347
	DropUnknownEpoch                // an epoch that this version never uses
	DropUnexpected                  // a known type or message that is not legal in this state (S15)
	DropMalformed                   // cut off, an impossible length or version
	DropTooLong                     // beyond what a session takes
	DropReplay                      // inside the window and seen, or a ClientHello that made a session before
	DropTooOld                      // older than the window
	DropNotAuthentic                // did not open
	DropNoSession                   // no session and no handshake at this address
	DropUnknownCID                  // a Connection ID that is nobody's
	DropHandshakeBudget             // beyond what one handshake may send
	DropBusy                        // a hello where a handshake is under way
	DropUnproven                    // one of ours, to an address on trial that had its share (S28)
	DropNotSent                     // one of ours that the system did not take
	drops                           // their number
)

// String implements fmt.Stringer.
func (d Drop) String() string {
	names := [drops]string{
		"epoch0_on_live", "unknown_type", "unknown_epoch", "unexpected", "malformed", "too_long", "replay",
		"too_old", "not_authentic", "no_session", "unknown_cid", "handshake_budget", "busy", "unproven", "not_sent",
	}
	if d < drops {
		return names[d]
	}
	return "unknown"
}

// Reason says why a session ended. Its String is fit for a metric's label.
type Reason uint8

// The reasons for a session's end.
const (
	ReasonPeerClosed Reason = iota // the peer sent close_notify
	ReasonPeerAlert                // the peer sent a fatal alert
	ReasonIdle                     // nothing came for Limits.IdleTimeout
	ReasonExpired                  // the peer's certificate ran out
	ReasonRevoked                  // its credential was withdrawn
	ReasonReplaced                 // the peer made a newer session at the same address
	ReasonSurplus                  // the peer has more sessions than it may: one credential in several devices?
	ReasonEvicted                  // its place was needed, and it was not used for long
	ReasonKeyLimit                 // the key has done its work (S24)
	ReasonShutdown                 // the endpoint closed
	ReasonLocal                    // this side has no more use for it
	reasons                        // their number
)

// String implements fmt.Stringer.
func (r Reason) String() string {
	names := [reasons]string{
		"peer_closed", "peer_alert", "idle", "expired", "revoked", "replaced", "surplus", "evicted", "key_limit", "shutdown", "local",
	}
	if r < reasons {
		return names[r]
	}
	return "unknown"
}

// Stats is a snapshot of an endpoint's counters. The maps hold every key, with 0 for what never happened; all counters
// only grow.
type Stats struct {
	Sessions    int // live now
	HalfOpen    int // handshakes under way now, dialled ones included
	Handshakes  map[Outcome]uint64
	Dropped     map[Drop]uint64
	Closed      map[Reason]uint64
	RecordsIn   uint64 // authentic application records delivered
	RecordsOut  uint64 // application records sent
	ReadErrors  uint64 // errors of the sockets that did not end them
	KernelDrops uint64 // datagrams that the kernel dropped because a socket's buffer was full; 0 where it doesn't tell
	Moves       uint64 // sessions that went on at another address
	Reverts     uint64 // of those, that went back because the address was not proven
}

// counters is the live form of Stats.
type counters struct {
	handshakes                  [outcomes]atomic.Uint64
	dropped                     [drops]atomic.Uint64
	closed                      [reasons]atomic.Uint64
	in, out                     atomic.Uint64
	readErrors                  atomic.Uint64
	kernelDrops, moves, reverts atomic.Uint64
}

func (c *counters) drop(d Drop) { c.dropped[d].Add(1) }

func (c *counters) snapshot() Stats {
	s := Stats{
		Handshakes:  make(map[Outcome]uint64, outcomes),
		Dropped:     make(map[Drop]uint64, drops),
		Closed:      make(map[Reason]uint64, reasons),
		RecordsIn:   c.in.Load(),
		RecordsOut:  c.out.Load(),
		ReadErrors:  c.readErrors.Load(),
		KernelDrops: c.kernelDrops.Load(),
		Moves:       c.moves.Load(),
		Reverts:     c.reverts.Load(),
	}
	for i := range c.handshakes {
		s.Handshakes[Outcome(i)] = c.handshakes[i].Load()
	}
	for i := range c.dropped {
		s.Dropped[Drop(i)] = c.dropped[i].Load()
	}
	for i := range c.closed {
		s.Closed[Reason(i)] = c.closed[i].Load()
	}
	return s
}
