package logging

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"coapbridge/cmd/coap-bridge/secret"
	"coapbridge/dtls"
)

const (
	logKeyBytes    = 32 // as long as the digest: a longer key adds nothing (RFC 2104, Section 3)
	minLogKeyBytes = 16 // below it an identity can be found by trying keys
	pseudonymBytes = 4  // 8 hex digits: short enough to read, and two of 1,000 devices share one with odds of 1 to 8,600
)

// ErrShortKey is returned for a log key of less than 16 bytes.
var ErrShortKey = errors.New("log key is shorter than 16 bytes")

// Pseudonymizer turns the identity of a device into the name that it has in logs. Who holds the log key can find a known
// device's lines; who does not learns nothing but that two lines are of one device.
type Pseudonymizer struct {
	key secret.Bytes
}

// NewPseudonymizer returns a Pseudonymizer for a log key of 16 bytes or more.
func NewPseudonymizer(key secret.Bytes) (*Pseudonymizer, error) {
	if key.Len() < minLogKeyBytes {
		return nil, ErrShortKey
	}
	return &Pseudonymizer{key: key}, nil
}

// LoadPseudonymizer reads the log key from path, which it creates (0600) when it is missing, so that pseudonyms are the
// same after a restart. Deleting the file makes the old logs' pseudonyms meaningless.
func LoadPseudonymizer(path string) (*Pseudonymizer, error) {
	key, err := secret.ReadOrCreate(path, logKeyBytes)
	if err != nil {
		return nil, fmt.Errorf("load log key: %w", err)
	}
	p, err := NewPseudonymizer(key)
	if err != nil {
		return nil, fmt.Errorf("load log key: read %s: %w; remove the file and it is made anew", path, err)
	}
	return p, nil
}

// Device returns the pseudonym of id: the first 8 hex digits of HMAC-SHA256 over its kind, in one byte, and its ID. A PSK
// identity and a certificate of equal spelling have two pseudonyms (S11).
func (p *Pseudonymizer) Device(id dtls.PeerID) string {
	mac := hmac.New(sha256.New, p.key.Reveal())
	mac.Write([]byte{byte(id.Kind)})
	mac.Write([]byte(id.ID))
	return hex.EncodeToString(mac.Sum(nil)[:pseudonymBytes])
}
