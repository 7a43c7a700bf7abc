package dtls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Alert descriptions (RFC 5246, Section 7.2; RFC 4279, Section 2).
const (
	alertBadRecordMAC         = 20
	alertHandshakeFailure     = 40
	alertNoCertificate        = 41
	alertDecryptError         = 51
	alertProtocolVersion      = 70
	alertInsufficientSecurity = 71
	alertUnknownPSKIdentity   = 115
)

// HandshakeError is what Dial returns for a handshake that failed.
type HandshakeError struct {
	Outcome Outcome
	Err     error // what Config.Certificate, Config.Verify or Config.PSK said; nil otherwise
}

// Error implements error.
func (e *HandshakeError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("dtls: handshake failed (%s): %v", e.Outcome, e.Err)
	}
	return fmt.Sprintf("dtls: handshake failed (%s): %s", e.Outcome, e.Outcome.remedy())
}

// Unwrap returns the error underneath.
func (e *HandshakeError) Unwrap() error { return e.Err }

// outcome says how a handshake failed, from what was seen of it: pion's own errors are not exported.
func (h *handshake) outcome(err, cause error) Outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range []struct {
		err error
		is  Outcome
	}{
		{errSuperseded, OutcomeSuperseded}, {errEnding, OutcomeShutdown}, {errWithdrawn, OutcomeRevoked},
		{errPSKFailed, OutcomePSKFailed}, {errNoCookie, OutcomeNoCookie}, {errEvicted, OutcomeEvicted},
		{errGivenUp, OutcomeCancelled},
	} {
		if errors.Is(err, known.err) || errors.Is(cause, known.err) {
			return known.is
		}
	}
	var refused *CertificateError
	var lookup *lookupError
	switch {
	case errors.As(err, &lookup):
		return OutcomePSKFailed
	case h.failure != nil && h.ownFault:
		return OutcomeOwnCertificate
	case errors.As(h.failure, &refused):
		return refused.Outcome
	case h.failure != nil:
		return OutcomeCertificateRefused
	case errors.Is(err, errNotAsked):
		return OutcomeProtocolError
	case h.alertIn >= 0:
		return h.peerAlert()
	case h.alertOut >= 0:
		return h.ownAlert()
	case errors.Is(cause, errDeadline) || errors.Is(cause, context.DeadlineExceeded):
		if h.repeat.keyed && !h.verified.Load() || h.dial != nil && h.repeat.keyed {
			return OutcomePSKFailed
		}
		return OutcomeTimeout
	}
	return OutcomeProtocolError
}

// peerAlert reads the alert with which the peer gave up.
func (h *handshake) peerAlert() Outcome {
	switch h.alertIn {
	case alertBadRecordMAC, alertDecryptError, alertUnknownPSKIdentity:
		if h.peer.Kind == KindPSK {
			return OutcomePSKFailed
		}
	case alertInsufficientSecurity, alertHandshakeFailure:
		if h.dial != nil {
			return OutcomeNoCommonSuite
		}
	}
	return OutcomePeerAlert
}

// ownAlert reads the alert with which pion gave up.
func (h *handshake) ownAlert() Outcome {
	switch h.alertOut {
	case alertNoCertificate:
		return OutcomeNoCertificate
	case alertProtocolVersion:
		return OutcomeVersion
	case alertInsufficientSecurity, alertHandshakeFailure:
		_, common := choose(h.ep.order, h.hello.suites, h.ep.conf.PSK != nil, h.ep.conf.Certificate != nil)
		switch {
		case h.role == RoleServer || !common:
			return OutcomeNoCommonSuite
		case !h.hello.ems:
			return OutcomeNoExtendedMasterSecret
		}
	}
	return OutcomeProtocolError
}

// remedy is what an operator can do about an outcome.
func (o Outcome) remedy() string {
	switch o {
	case OutcomePSKFailed:
		return "identity or key differ between the device and its entry; provision the key again"
	case OutcomeCertificateUntrusted:
		return "the certificate is not of the CA configured for this role"
	case OutcomeCertificateExpired:
		return "renew the peer's certificate, and check both clocks"
	case OutcomeCertificateNotYetValid:
		return "the certificate's time has not come; check both clocks"
	case OutcomeCertificateWrongUsage:
		return "the certificate needs key usage digitalSignature and, if any, the extended key usage of its role"
	case OutcomeCertificateNoName:
		return "the certificate needs a subjectAltName without wildcard that matches; the common name is not read"
	case OutcomeCertificateRevoked, OutcomeRevoked:
		return "the credential was withdrawn"
	case OutcomeCertificateRefused:
		return "the certificate has no entry; add the device"
	case OutcomeNoCertificate:
		return "the peer presented no certificate; give it one, or a key"
	case OutcomeNoCommonSuite:
		return "the peer needs an AEAD suite for the credentials configured here, such as TLS_PSK_WITH_AES_128_CCM_8"
	case OutcomeNoExtendedMasterSecret:
		return "the peer's DTLS library lacks the extended master secret (RFC 7627); update it"
	case OutcomeOwnCertificate:
		return "there is no usable certificate to present; configure one"
	case OutcomeVersion:
		return "the peer does not speak DTLS 1.2"
	case OutcomePeerAlert:
		return "the peer refused; its log says why"
	case OutcomeTimeout, OutcomeNoCookie:
		return "the peer stopped answering; check the network and firewalls on the way"
	case OutcomeLimit, OutcomeEvicted:
		return "a limit was reached; see Limits"
	case OutcomeClock:
		return "certificates wait until the clock is set"
	}
	return "the handshake did not follow RFC 6347"
}

// failed logs a handshake that failed, and tells the dialler.
func (ep *Endpoint) failed(h *handshake, o Outcome, err error) {
	h.mu.Lock()
	peer, said := h.peer, h.failure
	h.mu.Unlock()
	level := slog.LevelInfo
	switch o {
	case OutcomeNoCookie, OutcomeEvicted, OutcomeSuperseded, OutcomeShutdown, OutcomeCancelled:
		level = slog.LevelDebug // nobody proved anything, or nobody is to blame
	}
	if level == slog.LevelDebug || ep.logLimit.Allow() {
		ep.conf.Log.Log(context.Background(), level, "DTLS handshake failed", "device", ep.pseudonym(peer),
			"reason", o.String(), "remedy", o.remedy(), "dialled", h.dial != nil)
	}
	if h.dial == nil {
		return
	}
	ep.forget(h.dial)
	var own *lookupError
	if errors.As(err, &own) {
		said = own.err
	}
	h.dial.err = &HandshakeError{Outcome: o, Err: said}
	close(h.dial.done)
}

// logLookup says that Config.PSK could not look a key up, which no peer may see.
func (ep *Endpoint) logLookup(peer PeerID, err error) {
	if ep.logLimit.Allow() {
		ep.conf.Log.Error("PSK look-up failed", "device", ep.pseudonym(peer), "err", err)
	}
}

func (ep *Endpoint) pseudonym(peer PeerID) string {
	if peer == (PeerID{}) {
		return ""
	}
	return ep.conf.Pseudonym(peer)
}
