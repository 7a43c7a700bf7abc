// Package session makes DTLS 1.2 sessions as the devices of a fleet would: full handshakes with a pre-shared key or a
// certificate, with or without Connection ID, and records. Like the server that it is meant for, it keeps a session as data:
// no goroutine, timer or buffer each, so that 100,000 of them leave the machine to the server.
//
// A Client is safe for concurrent use, and so is a Session. Its Events are called on the goroutines that read, and must not
// block. Public-key operations run there as well: one core at most goes into them.
package session

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"coapbridge/cmd/coap-load/fleet"
)

// Credential is what one client authenticates with: a key under an identity, or a certificate.
type Credential struct {
	Identity    string
	Key         []byte
	Certificate *tls.Certificate // nil: the key
}

// Config says what a Client's sessions are like.
type Config struct {
	// Credential returns what client i authenticates with.
	Credential func(i int) (Credential, error)
	// Roots are the CAs that a server's certificate may come from.
	Roots *x509.CertPool
	// ServerName is the name that a server's certificate must have, and what is sent as SNI.
	ServerName string
	// Suites are the numbers of the cipher suites that are offered; nil is one of each kind: PSK_WITH_AES_128_CCM_8, and
	// ECDHE_ECDSA_WITH_AES_128_GCM_SHA256.
	Suites []uint16
	// ConnectionID offers one (RFC 9146): none for us, and the server's for it.
	ConnectionID bool
	// Timeout ends a handshake; 0 is 30 s.
	Timeout time.Duration
	Events  Events
}

// Events is who uses the sessions. out is sent when the call has returned.
type Events interface {
	// Established is called when a handshake is done.
	Established(out *fleet.Batch, s *Session)
	// Received is called for each record with application data; b is the Client's again on return.
	Received(out *fleet.Batch, s *Session, b []byte)
	// Failed is called when the handshake of client i failed.
	Failed(out *fleet.Batch, i int, err error)
	// Ended is called when the server ended an established session.
	Ended(out *fleet.Batch, s *Session, err error)
}

const (
	pskCCM8        = 0xc0a8 // TLS_PSK_WITH_AES_128_CCM_8
	ecdsaGCM       = 0xc02b // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	defaultTimeout = 30 * time.Second
	tick           = 20 * time.Millisecond // how exactly flights are repeated and handshakes end
)
