package request

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"coapbridge/dtls"
)

// ConnectError says that there was no session, or that it ended before an answer.
type ConnectError struct {
	Target string
	Err    error
	Hint   string // what to check, for a person
}

// Error implements error.
func (e *ConnectError) Error() string {
	s := "no answer from " + e.Target + ": " + describe(e.Err)
	if e.Hint != "" {
		s += "\n" + e.Hint
	}
	return s
}

// Unwrap returns the error underneath.
func (e *ConnectError) Unwrap() error { return e.Err }

// describe is err's text; of a failed handshake without the remedy, which speaks to who runs the server.
func describe(err error) string {
	var failed *dtls.HandshakeError
	switch {
	case errors.As(err, new(*untrustedServer)):
	case errors.As(err, &failed) && failed.Err == nil:
		return fmt.Sprintf("the handshake failed (%s)", failed.Outcome)
	case errors.Is(err, context.DeadlineExceeded):
		return "the server stayed silent"
	}
	return err.Error()
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// tellsMore returns that of two failed attempts which says more: a server that answered over one that did not, and that
// over a closed port.
func tellsMore(a, b error) error {
	if a == nil || rank(b) > rank(a) {
		return b
	}
	return a
}

func rank(err error) int {
	var route *net.OpError
	switch {
	case errors.As(err, new(*untrustedServer)):
		return 4
	case errors.Is(err, errPortClosed):
		return 1
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return 2
	case errors.As(err, &route): // no route in this family
		return 0
	}
	return 3
}

// hint says what to check after a failed handshake.
func hint(err error, t Target, cred *Credential) string {
	var failed *dtls.HandshakeError
	psk := cred.Roots == nil
	switch {
	case errors.As(err, new(*untrustedServer)):
		return "Check that --ca is the CA of this server, and that the URI's host, or --server-name, is in its certificate."
	case errors.Is(err, errPortClosed):
		return "Check that the bridge runs there, and on which port it listens."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		s := fmt.Sprintf("Check that the bridge runs there, and that UDP port %d is open on the way.", t.Port)
		if psk {
			s += " Some servers also stay silent when the identity or the key is wrong."
		}
		return s
	case errors.As(err, &failed) && failed.Outcome == dtls.OutcomeNoCommonSuite && psk:
		return "The server takes no pre-shared key with the suites offered; try a certificate (--cert, --key and --ca)."
	case errors.As(err, &failed) && failed.Outcome == dtls.OutcomeNoCommonSuite:
		return "The server takes no certificate with the suites offered; try a pre-shared key (--psk-identity and --psk-file)."
	case errors.As(err, &failed) && failed.Outcome == dtls.OutcomeOwnCertificate:
		return "Check --cert and --key: the key must be ECDSA on P-256 or P-384."
	case psk:
		return "Check the identity (--psk-identity) and the key: a wrong key and an unknown identity look the same from outside, " +
			"on purpose. The bridge's log names the reason; 'coap-bridge device list' shows whom it knows."
	}
	return "Check that this client's certificate is valid, for a client, and from a CA that the bridge trusts, and that its entry is " +
		"in the devices file. The bridge's log names the reason."
}
