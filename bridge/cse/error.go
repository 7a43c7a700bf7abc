package cse

import (
	"context"
	"errors"
	"net"
	"os"
	"reflect"
)

// Reason says what became of a request; it is a closed set, fit for a metric's label.
type Reason string

// The reasons. Those from ReasonUnknown to ReasonClosed are of requests that were certainly not executed.
const (
	ReasonAnswered  Reason = "answered"   // with a response primitive of any ResponseStatusCode
	ReasonUnknown   Reason = "unknown"    // no such CSE or client is configured
	ReasonBusy      Reason = "busy"       // every connection was taken until the deadline
	ReasonConnect   Reason = "connect"    // no TCP connection
	ReasonTLS       Reason = "tls"        // handshake failed, on either side's account
	ReasonClosed    Reason = "closed"     // the Client was closed, or the request given up, before it was sent
	ReasonTimeout   Reason = "timeout"    // sent, and no whole answer by the deadline
	ReasonCancelled Reason = "cancelled"  // sent, and given up by the caller
	ReasonBroken    Reason = "broken"     // sent, and the connection ended before any byte of an answer
	ReasonTruncated Reason = "truncated"  // the connection ended within an answer
	ReasonMalformed Reason = "malformed"  // not HTTP/1.1
	ReasonTooLarge  Reason = "too_large"  // header or content beyond the limits
	ReasonRedirect  Reason = "redirect"   // 3xx, or an upgrade nobody asked for; never followed (S42)
	ReasonSurplus   Reason = "surplus"    // bytes after the answer: the connection is out of step
	ReasonRequestID Reason = "request_id" // X-M2M-RI is missing though there is an X-M2M-RSC
	ReasonVersion   Reason = "version"    // X-M2M-RVI is none of oneM2M
	ReasonPrimitive Reason = "primitive"  // the binding refused it: foreign X-M2M-RI, repeated header, unknown media type
)

// Error is a failed request. It unwraps to one of bridge's ErrUnreachable, ErrTimeout and ErrBadAnswer, and to the cause
// where that has no bytes of an answer in it (S46).
type Error struct {
	CSE    string // name in the configuration
	Reason Reason
	kind   error
	cause  error // nil where its text could quote the CSE
}

// Error implements error.
func (e *Error) Error() string {
	s := "cse: " + e.CSE + ": " + string(e.Reason) + ": " + e.kind.Error()
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap implements errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// errTooLarge is what reading gives beyond a limit.
var errTooLarge = errors.New("cse: answer is too large")

// isTimeout reports whether err is a deadline's, of a connection or a context.
func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// refusedCertificate reports whether err is the peer's alert that it doesn't take our certificate. In TLS 1.3 it comes
// after our side of the handshake is done, in place of an answer (RFC 8446, Section 4.4.2.4).
func refusedCertificate(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	v := reflect.ValueOf(op.Err) // crypto/tls doesn't export the type of an alert: it is a uint8
	if v.Kind() != reflect.Uint8 {
		return false
	}
	switch v.Uint() {
	case 40, // handshake_failure, RFC 8446, Section 6.2
		42, 43, 44, 45, 46, // bad_, unsupported_, _revoked, _expired, certificate_unknown
		48, 49, // unknown_ca, access_denied
		51, 116: // decrypt_error, certificate_required
		return true
	}
	return false
}
