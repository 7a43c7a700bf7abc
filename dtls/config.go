package dtls

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
)

// Config configures an Endpoint. It is checked by New and must not be changed afterwards. Handler and at least one of PSK
// and Certificate are required.
type Config struct {
	// PSK looks up the key of an identity. Nil: PSK suites are not offered and not taken. ErrUnknownIdentity and every
	// other error look to the peer like a wrong key (S5).
	PSK PSKFunc

	// PSKInMemory says that PSK never blocks. It is called on the goroutine that reads the socket then, which saves each
	// handshake a goroutine and lets its answer leave with others.
	PSKInMemory bool

	// Certificate returns what this endpoint presents to a peer that asked for serverName (server), or to the server of
	// that name (client); "" when there was none. The key must be ECDSA on P-256 or P-384. It must not
	// block: nothing ends it. Nil: no certificate suites.
	Certificate func(serverName string) (Certificate, error)

	// Verify decides whether a peer's certificate is trusted in its role; possession of the key is proved before anything is
	// delivered. It returns the trust anchor, for Peer.Anchor; nil where that is of no interest. A *CertificateError gives
	// the reason for the counters; any other error counts as OutcomeCertificateRefused. What it accepted is remembered until
	// the shortest validity in the chain ends, or until CloseWhere is called. It must not block: nothing ends it. Nil: every
	// certificate is refused. Trust.Verify is the chain part of it.
	Verify func(PeerChain) (*x509.Certificate, error)

	// Policy returns what one peer is allowed beyond the default. Nil: the default for all.
	Policy func(PeerID) Policy

	Handler Handler
	Limits  Limits

	// Log receives one rate-limited line for each handshake that failed, without identity or address. Nil: no log.
	Log *slog.Logger

	// Pseudonym names a peer in the log. Nil: it stays unnamed.
	Pseudonym func(PeerID) string

	// OfferConnectionID makes the sessions that we dial carry Connection IDs (RFC 9146), if the peer has them, so that they
	// survive a change of either address. Peers that dial us get one whenever they offer the extension.
	OfferConnectionID bool

	// ClockOK says whether the system's clock can be trusted. While it says false, handshakes with certificates are not
	// begun (the client's repeats wait for it) and PSK works. Nil: always.
	ClockOK func() bool
}

// check returns a copy with defaults filled in, or every fault at once.
func (c *Config) check() (*Config, error) {
	if c == nil {
		return nil, errors.New("dtls: no Config")
	}
	conf := *c
	conf.Limits = c.Limits.withDefaults()
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	if conf.Pseudonym == nil {
		conf.Pseudonym = func(PeerID) string { return "" }
	}
	if conf.ClockOK == nil {
		conf.ClockOK = func() bool { return true }
	}
	if conf.Policy == nil {
		conf.Policy = func(PeerID) Policy { return Policy{} }
	}
	if conf.Verify == nil {
		conf.Verify = func(PeerChain) (*x509.Certificate, error) {
			return nil, &CertificateError{Outcome: OutcomeCertificateUntrusted, Err: errors.New("Config.Verify is not set")}
		}
	}
	var faults []error
	if conf.Handler == nil {
		faults = append(faults, errors.New("dtls: Config.Handler is not set"))
	}
	if conf.PSK == nil && conf.Certificate == nil {
		faults = append(faults, errors.New("dtls: neither Config.PSK nor Config.Certificate is set"))
	}
	l := conf.Limits
	if l.MTU < minMTU || l.MTU > maxMTU {
		faults = append(faults, fmt.Errorf("dtls: Limits.MTU is %d, it must be from %d to %d", l.MTU, minMTU, maxMTU))
	}
	if min(l.Sessions, l.SessionsPerPeer, l.HalfOpen, l.HalfOpenPerPrefix, l.HandshakesPerPrefix) < 0 ||
		min(l.HandshakeTimeout, l.IdleTimeout, l.FlightTimeout) < 0 {
		faults = append(faults, errors.New("dtls: a limit is negative"))
	}
	return &conf, errors.Join(faults...)
}
