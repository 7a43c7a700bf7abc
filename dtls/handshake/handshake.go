// Package handshake does DTLS 1.2 handshakes (RFC 6347) in either role: with pre-shared keys (RFC 4279, RFC 5489) or with
// certificates of both sides (RFC 8422), extended master secret (RFC 7627) and Connection ID (RFC 9146). It also makes the
// stateless cookies that come before a handshake (RFC 6347, Section 4.2.1).
//
// A [Machine] is one handshake as data: records and the time in; datagrams, a deadline and a [Result] out. It has no goroutine,
// timer or socket and is not safe for concurrent use; only [Job.Run], in which look-ups and public-key operations happen, may
// run on another goroutine meanwhile. [Config] and [Budget] are shared by all handshakes; [Cookies] belong to one goroutine.
//
// It resumes no session and renegotiates none, knows neither DTLS 1.0 nor suites without AEAD, doesn't judge certificates
// ([Callbacks] does) and doesn't limit how many handshakes there are or how long one takes: that is its caller's.
package handshake

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"time"

	"coapbridge/dtls/record"
)

// Config is what all handshakes of an endpoint share. It is read only once the first began.
type Config struct {
	Suites      []Suite         // that we agree to, best first: our order decides. nil: Suites()
	PSK         bool            // we have pre-shared keys
	Certificate bool            // we have a certificate
	MaxDatagram int             // bytes of UDP payload that our flights are split to. 0: 1152; at least 128
	Random      func() [32]byte // of hellos. nil: crypto/rand
	Memory      *Budget         // of what all handshakes hold of their peers' fragments (S17). nil: no common limit
}

// Callbacks is what one handshake asks. All are called from [Job.Run] only, so on whatever goroutine that is. Slices passed in
// are the handshake's: not to be changed, nor kept after the return.
type Callbacks interface {
	// PSK returns the key of an identity: as a server, of the peer's, up to 128 bytes; as a client, of ours. A server's PSK
	// always returns a key: one derived from a secret and the identity when that is unknown (S5). Up to 64 bytes; an empty or
	// longer key ends the handshake as a failed one does. serverName is the client's SNI, "" when there is none. The key is
	// read during Run, not changed, not kept.
	PSK(ctx context.Context, identity []byte, serverName string) []byte
	// Certificate returns our chain, leaf first, in DER, and the leaf's key: ECDSA on P-256 or P-384. An error, or as a
	// server an empty chain, ends the handshake with ReasonOwnCertificate; a client that returns an empty chain sends none,
	// and the server decides.
	Certificate(serverName string) (chain [][]byte, key crypto.Signer, err error)
	// Verify parses and judges the peer's chain, leaf first, and returns the leaf's key; serverName is as for Certificate. An
	// *Error chooses the alert by its Alert field; any other error sends bad_certificate. Either is found in
	// the Err of ReasonCertificate. What the chain holds is the machine's: a copy may be kept.
	Verify(chain [][]byte, serverName string) (*ecdsa.PublicKey, error)
	// NoEMS reports whether the peer may do without extended master secret (S3). It is asked only when the peer didn't offer
	// or take it: as a server with the client's identity or chain, as a client with our own identity or the server's chain.
	NoEMS(identity []byte, chain [][]byte) bool
}

// Timers are the retransmission timeouts of a flight (RFC 6347, Section 4.2.4.1).
type Timers struct {
	First time.Duration // before the first retransmission; it doubles. 0: 1 s
	Max   time.Duration // 0: 60 s
}

// ClientParams says how a client presents itself.
type ClientParams struct {
	ServerName  string // SNI; "" sends none
	PSKIdentity []byte // nil: certificates
	LocalCID    []byte // that the server is to put into its records; nil: no Connection ID at all; empty: only in ours
}

// Result is a finished handshake. When the client repeats its last flight, a server sends its own again, which was lost: a
// ChangeCipherSpec of epoch 0 and LastFinished, sealed anew (RFC 6347, Section 4.2.4).
type Result struct {
	Suite        Suite
	Read, Write  record.Key     // of epoch 1
	Open, Seal   *record.Cipher // of these keys; the caller's from now on
	LocalCID     []byte         // in the records that come; nil: none
	RemoteCID    []byte         // in the records that we send; nil: none
	NextSeq      uint64         // of our next record in epoch 1
	Window       record.Window  // of epoch 1; what came is marked
	ClearSeq     uint64         // of our next record in epoch 0
	LastFinished []byte         // server: plaintext of our Finished; nil for the client
	Identity     string         // PSK identity: the client's; "" with certificates
	Chain        [][]byte       // the peer's certificates in DER, leaf first; nil with PSK
	ServerName   string         // SNI, "" for none
	EMS          bool           // with extended master secret
	Asked        bool           // client: the server asked for our certificate
}

// Reason is why a handshake failed. It is a closed set, fit for a counter's label.
type Reason uint8

// The reasons.
const (
	ReasonPSKFailed              Reason = 1 + iota // the client's Finished didn't open twice: unknown identity or wrong key (S5)
	ReasonNoCommonSuite                            // no suite, curve or signature algorithm in common
	ReasonNoExtendedMasterSecret                   // the peer lacks it and NoEMS said no
	ReasonVersion                                  // the peer doesn't speak DTLS 1.2
	ReasonNoCertificate                            // the peer sent none
	ReasonCertificate                              // Verify refused it; its error is inside
	ReasonOwnCertificate                           // Callbacks.Certificate failed, or its key doesn't fit; its error is inside
	ReasonPeerAlert                                // the peer sent a fatal alert
	ReasonProtocol                                 // the peer broke the protocol
	ReasonBudget                                   // the peer's messages are too long or too many (S17)
	ReasonSignature                                // a signature, or the Finished of a handshake with certificates, is wrong
	ReasonAborted                                  // Abort
)

// String returns a word for logs and labels.
func (r Reason) String() string {
	names := [...]string{
		ReasonPSKFailed: "psk_failed", ReasonNoCommonSuite: "no_common_suite",
		ReasonNoExtendedMasterSecret: "no_extended_master_secret", ReasonVersion: "version",
		ReasonNoCertificate: "no_certificate", ReasonCertificate: "certificate", ReasonOwnCertificate: "own_certificate",
		ReasonPeerAlert: "peer_alert", ReasonProtocol: "protocol", ReasonBudget: "budget", ReasonSignature: "signature",
		ReasonAborted: "aborted",
	}
	if int(r) >= len(names) || names[r] == "" {
		return "unknown"
	}
	return names[r]
}
