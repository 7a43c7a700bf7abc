// Package dtls carries datagrams between authenticated peers: every DTLS 1.2 connection (RFC 6347) of an endpoint, in both
// roles, over a few UDP sockets. Peers authenticate each other by pre-shared keys (RFC 4279, RFC 6655, RFC 5487) or by
// ECDSA certificates (RFC 7251, RFC 8422, RFC 7905); only AEAD suites exist here, the extended master secret (RFC 7627) is
// required, and the replay window (RFC 6347, Section 4.1.2.6) is always on. None of that can be configured away.
//
// An Endpoint owns its sockets. One goroutine reads each socket, judges every record by its clear header, and hands it to
// the Conn of its address; what is forged, stale or misplaced is dropped and counted, never answered (S21, S22). All
// methods may be called from any goroutine; the calls of a Handler for one Conn never overlap.
//
// A session is data: keys, counters, window, address and identity, some 520 bytes with its places in the tables. It has no goroutine,
// timer or buffer, and its ciphers are expanded only while it is busy. Before a client's cookie came back (RFC 6347, Section
// 4.2.1), nothing is kept of it. Peers that want one get a Connection ID (RFC 9146), so that their sessions survive a change
// of address. The package does no resumption and no DTLS 1.3, and it doesn't know what the datagrams hold.
//
// Records are parsed and sealed by package record, handshakes are the state machines of package handshake; the sockets, the
// clock, the tables and the limits stand here.
package dtls

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net/netip"
	"time"
)

// Kind says what authenticated a peer.
type Kind uint8

// The kinds of credentials. A PSK identity, a certificate and a raw public key of equal spelling are three peers (S11).
const (
	KindPSK Kind = iota + 1
	KindCertificate
	KindRawPublicKey
)

// PeerID names who was authenticated. It is comparable and serves as a map key. For a PSK, ID is the identity; for a
// certificate the SHA-256 of its DER, for a raw public key that of its SubjectPublicKeyInfo, both in lower-case hex.
type PeerID struct {
	Kind Kind
	ID   string
}

// Role is the role of the other side in a handshake.
type Role uint8

// RoleClient: the peer dialled us (its key for the upward direction is asked for). RoleServer: we dialled the peer.
const (
	RoleClient Role = iota + 1
	RoleServer
)

// NameType is the type of a subjectAltName (RFC 5280, Section 4.2.1.6).
type NameType uint8

// The name types that this package reads.
const (
	NameDNS NameType = iota + 1
	NameURI
	NameIP
	NameOther // otherName, as OID "=" value
)

// Name is one subjectAltName. Names are compared exactly, type and value (S9).
type Name struct {
	Type  NameType
	Value string
}

// Peer is an authenticated peer. It is not changed after the handshake.
type Peer struct {
	ID          PeerID
	Role        Role             // RoleClient: it dialled us
	ServerName  string           // SNI of the handshake, or ""
	CipherSuite string           // the suite's IANA name
	Certificate *PeerCertificate // what is known of its certificate; nil for a PSK
}

// PeerCertificate is what stays of a peer's certificate when the handshake is over. Sessions of one certificate share it.
type PeerCertificate struct {
	Names    []Name    // its subjectAltNames
	NotAfter time.Time // end of its life
	// Anchor is the trust anchor that Config.Verify named, so that a change of the CAs can be followed.
	Anchor *x509.Certificate
}

// Names returns the subjectAltNames of the peer's certificate; none for a PSK.
func (p *Peer) Names() []Name {
	if p.Certificate == nil {
		return nil
	}
	return p.Certificate.Names
}

// PSKQuery asks for one key. Peer and Remote are unauthenticated at this point.
type PSKQuery struct {
	Peer       PeerID
	ServerName string
	Remote     netip.AddrPort
	Role       Role // which key: RoleClient the one for their direction (up), RoleServer the one for ours (down)
}

// ErrUnknownIdentity is returned by Config.PSK for an identity that has no key. The handshake goes on with a derived key
// and fails as one with a wrong key does (S5).
var ErrUnknownIdentity = errors.New("dtls: unknown PSK identity")

// Certificate is what this endpoint presents. Key may live in a TPM or behind PKCS #11.
type Certificate struct {
	Chain [][]byte // DER, leaf first
	Key   crypto.Signer
}

// PeerChain is the parsed chain that a peer presented; possession of Leaf's key is proved before anything is delivered.
type PeerChain struct {
	Leaf          *x509.Certificate
	Intermediates []*x509.Certificate
	Role          Role
	ServerName    string // what we dialled or they asked for
	Expected      PeerID // the peer that we dialled by its fingerprint, and Leaf is it; zero otherwise
}

// Policy is what one peer is allowed beyond the default. The zero value is the default.
type Policy struct {
	IdleTimeout time.Duration // 0: Limits.IdleTimeout

	// FlightTimeout is the first retransmission timeout of handshakes that we begin with this peer, 0 for
	// Limits.FlightTimeout. Who begins one with us is not known until its last flight.
	FlightTimeout time.Duration

	// HandshakeTimeout is for the whole of such a handshake, 0 for Limits.HandshakeTimeout.
	HandshakeTimeout time.Duration

	// NoExtendedMasterSecret lets a peer do without RFC 7627, whose library is too old for it. Without it, who knows a
	// session's keys can make another session that has the same ones.
	NoExtendedMasterSecret bool
}

// Handler receives an endpoint's events. HandleRecord is called on the goroutine that read the datagram, the others on that or
// another; none may block. HandleConn comes first, HandleClosed last, and no two calls for one Conn run at once.
type Handler interface {
	HandleConn(*Conn)
	HandleRecord(c *Conn, plaintext []byte) // plaintext is valid until return
	HandleClosed(*Conn, Reason)
}

// PSKFunc looks a key up. It may block; other handshakes go on meanwhile. It returns when its context ends, which is at
// Limits.HandshakeTimeout at the latest: until it returned, the handshake counts against Limits.HalfOpen.
type PSKFunc func(context.Context, PSKQuery) ([]byte, error)
