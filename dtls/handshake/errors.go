package handshake

import (
	"errors"
	"fmt"
)

// Alerts that we send (RFC 5246, Section 7.2.2).
const (
	alertUnexpectedMessage      = 10
	alertHandshakeFailure       = 40
	alertBadCertificate         = 42
	alertUnsupportedCertificate = 43
	alertIllegalParameter       = 47
	alertDecodeError            = 50
	alertDecryptError           = 51
	alertProtocolVersion        = 70
	alertInternalError          = 80
	alertUnsupportedExtension   = 110

	alertLevelFatal = 2
)

// Error is why a handshake failed. It never holds key material, identities or what a peer wrote.
type Error struct {
	Reason   Reason
	Alert    uint8 // its description (RFC 5246, Section 7.2), sent, or received when FromPeer
	FromPeer bool
	Err      error // details, may be nil
}

// Error implements error.
func (e *Error) Error() string {
	from := "sent"
	if e.FromPeer {
		from = "received"
	}
	if e.Err != nil {
		return fmt.Sprintf("dtls handshake: %v (alert %d %s): %v", e.Reason, e.Alert, from, e.Err)
	}
	return fmt.Sprintf("dtls handshake: %v (alert %d %s)", e.Reason, e.Alert, from)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// failure makes an Error that is sent.
func failure(reason Reason, alert uint8, text string) *Error {
	return &Error{Reason: reason, Alert: alert, Err: errors.New(text)}
}

func malformed(what string) *Error {
	return failure(ReasonProtocol, alertDecodeError, what+" is malformed")
}

func illegal(what string) *Error { return failure(ReasonProtocol, alertIllegalParameter, what) }
