package dtls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"coapbridge/dtls/handshake"
)

// Alert descriptions (RFC 5246, Section 7.2; RFC 4279, Section 2).
const (
	alertBadRecordMAC         = 20
	alertHandshakeFailure     = 40
	alertDecryptError         = 51
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

// outcome says how a handshake failed.
func (n *negotiation) outcome(err error) Outcome {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, known := range []struct {
		err error
		is  Outcome
	}{
		{errSuperseded, OutcomeSuperseded}, {errEnding, OutcomeShutdown}, {errWithdrawn, OutcomeRevoked},
		{errEvicted, OutcomeEvicted}, {errOverload, OutcomeLimit}, {errGivenUp, OutcomeCancelled},
		{errLookup, OutcomePSKFailed}, {errNotAsked, OutcomeProtocolError},
	} {
		if errors.Is(err, known.err) {
			return known.is
		}
	}
	if errors.Is(err, errDeadline) {
		if n.keyed && n.machine != nil && n.machine.Unproven() {
			return OutcomePSKFailed
		}
		return OutcomeTimeout
	}
	var failed *handshake.Error
	if !errors.As(err, &failed) {
		return OutcomeProtocolError
	}
	return n.reasonLocked(failed)
}

// reasonLocked gives the state machine's reason its counter.
func (n *negotiation) reasonLocked(failed *handshake.Error) Outcome {
	switch failed.Reason {
	case handshake.ReasonPSKFailed:
		return OutcomePSKFailed
	case handshake.ReasonNoCommonSuite:
		return OutcomeNoCommonSuite
	case handshake.ReasonNoExtendedMasterSecret:
		return OutcomeNoExtendedMasterSecret
	case handshake.ReasonVersion:
		return OutcomeVersion
	case handshake.ReasonNoCertificate:
		return OutcomeNoCertificate
	case handshake.ReasonOwnCertificate:
		return OutcomeOwnCertificate
	case handshake.ReasonCertificate:
		var refused *CertificateError
		if errors.As(n.failure, &refused) {
			return refused.Outcome
		}
		return OutcomeCertificateRefused
	case handshake.ReasonPeerAlert:
		return n.peerAlertLocked(failed.Alert)
	case handshake.ReasonBudget:
		return OutcomeLimit
	}
	return OutcomeProtocolError
}

// peerAlertLocked reads the alert with which the peer gave up.
func (n *negotiation) peerAlertLocked(alert uint8) Outcome {
	switch alert {
	case alertBadRecordMAC, alertDecryptError, alertUnknownPSKIdentity:
		if n.peer.Kind == KindPSK {
			return OutcomePSKFailed
		}
	case alertInsufficientSecurity, alertHandshakeFailure:
		if n.role == RoleServer {
			return OutcomeNoCommonSuite
		}
	}
	return OutcomePeerAlert
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
	case OutcomeTimeout:
		return "the peer stopped answering; check the network and firewalls on the way"
	case OutcomeLimit, OutcomeEvicted:
		return "a limit was reached; see Limits"
	case OutcomeClock:
		return "certificates wait until the clock is set"
	case OutcomeCancelled, OutcomeSuperseded, OutcomeShutdown:
		return "it was given up on this side, and nothing is wrong"
	}
	return "the handshake did not follow RFC 6347"
}

// failed logs a handshake that failed, and tells the dialler.
func (ep *Endpoint) failed(n *negotiation, o Outcome) {
	n.mu.Lock()
	peer, said := n.peer, n.failure
	n.mu.Unlock()
	level := slog.LevelInfo
	switch o {
	case OutcomeEvicted, OutcomeSuperseded, OutcomeShutdown, OutcomeCancelled:
		level = slog.LevelDebug // nobody is to blame
	}
	if level == slog.LevelDebug || ep.logLimit.Allow() {
		ep.conf.Log.Log(context.Background(), level, "DTLS handshake failed", "device", ep.pseudonym(peer),
			"reason", o.String(), "remedy", o.remedy(), "dialled", n.role == RoleServer)
	}
	ep.answer(n, nil, &HandshakeError{Outcome: o, Err: said})
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
