package coap

import (
	"context"
	"errors"
	"time"
)

// EndReason says why an observation of a peer's ended.
type EndReason uint8

// The reasons.
const (
	EndCancelled EndReason = iota // a GET with Observe 1, or our own End (RFC 7641, Section 3.6)
	EndReset                      // a Reset to a notification (RFC 7641, Section 3.6)
	EndTimeout                    // a Confirmable notification was never acknowledged (RFC 7641, Section 4.5)
	EndReplaced                   // the same token observes something else now
	EndClosed                     // the peer is gone
)

// ObserveOptions say how the notifications of one observation are sent. The zero value of a field is its default.
type ObserveOptions struct {
	// ConfirmEvery makes one of so many notifications Confirmable (1, the default: all).
	ConfirmEvery int
	// ConfirmAfter is after which time since the last Confirmable notification the next one is one, at most 24 h (RFC 7641,
	// Section 4.5).
	ConfirmAfter time.Duration
	// Ended is called once, when the observation is over, from any goroutine and under no lock. It must not block.
	Ended func(*Observation, EndReason)
}

// Observation is one entry in the list of observers (RFC 7641, Section 4.1).
type Observation struct{}

var errNotYet = errors.New("coap: not yet")

// Observes reports whether x asks to be told of changes: a GET or FETCH with Observe 0 (RFC 7641, Section 3.1).
func (x *Exchange) Observes() bool { return false }

// RespondObserve is Respond with a first notification: it enters the requester into the list of observers.
func (x *Exchange) RespondObserve(m *Message, o ObserveOptions) (*Observation, error) {
	return nil, errNotYet
}

// Peer is who observes.
func (o *Observation) Peer() *Peer { return nil }

// Notify sends the new state of what is observed. What it overtakes is not sent any more (RFC 7641, Section 4.5.2).
func (o *Observation) Notify(m *Message) error { return errNotYet }

// End sends a last notification, an error, and removes the observer (RFC 7641, Section 4.2). nil sends nothing.
func (o *Observation) End(m *Message) error { return errNotYet }

// Observed is an observation of ours of a peer's resource.
type Observed struct{}

// Observe registers at p for the resource that m, a GET or FETCH, names, and returns the first answer. notify is called for
// each fresh notification, whole, in order, from any goroutine and under no lock; it must not block. An *Observed of nil
// with an answer: the peer doesn't take observers for it.
func (e *Endpoint) Observe(ctx context.Context, p *Peer, m *Message, notify func(*Message)) (*Message, *Observed, error) {
	return nil, nil, errNotYet
}

// Cancel ends the observation: it is forgotten, and the next notification answered with a Reset (RFC 7641, Section 3.6).
func (o *Observed) Cancel() {}

// Fresh reports whether x carries an Echo value that this Endpoint gave to this peer not longer than within ago (RFC 9175,
// Section 2.3).
func (x *Exchange) Fresh(within time.Duration) bool { return false }

// Challenge answers x with 4.01 and an Echo value, which the peer has to repeat the request with (RFC 9175, Section 2.3). It
// is Respond for the rest.
func (x *Exchange) Challenge() error { return errNotYet }

// ErrorMessage is an answer with an error code: problem details (RFC 9290) with the title where request accepts them, else
// the title as a diagnostic payload (RFC 7252, Section 5.5.2).
func ErrorMessage(request *Message, code Code, title string) *Message { return &Message{Code: code} }
