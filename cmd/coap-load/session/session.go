// Package session makes DTLS 1.2 sessions as the devices of a fleet would: full handshakes with a pre-shared key or a
// certificate, with or without Connection ID, and records.
//
// A Client is safe for concurrent use, and so is a Session. Its Events are called on the goroutines that read, several at
// once for different sessions, and must not block.
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
	// ServerName is the name that a server's certificate must have, and what is sent as SNI; "" is the target's address.
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
	// Ended is called when an established session ended without Close or Forget.
	Ended(out *fleet.Batch, s *Session, err error)
}

// The suites that are offered by default.
const (
	pskCCM8   = 0xc0a8 // TLS_PSK_WITH_AES_128_CCM_8
	ecdsaGCM  = 0xc02b // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	handshake = 30 * time.Second
)
