// Package secret holds values that must never be printed (S46) and reads them from the files that keep them (S47).
//
// Values are immutable and safe for concurrent use. The package does not erase memory: that is best effort in Go (S48)
// and the business of whoever owns the bytes.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every way of printing a secret yields.
const redacted = "[redacted]"

// Bytes is a secret. Whatever prints, logs or encodes it writes "[redacted]". The zero value is the absence of a secret.
//
// The bytes stand behind a function, because fmt can't call methods on an unexported field of another struct and prints
// what such a field holds, pointers followed: of a function it knows the address only.
type Bytes struct {
	reveal func() []byte // nil: no secret. The slice is never changed.
}

// New returns a secret that holds a copy of b. An empty b yields the zero value.
func New(b []byte) Bytes {
	if len(b) == 0 {
		return Bytes{}
	}
	c := append([]byte(nil), b...)
	return Bytes{reveal: func() []byte { return c }}
}

// IsZero reports whether there is no secret.
func (s Bytes) IsZero() bool { return s.reveal == nil }

// Len is the secret's length in bytes.
func (s Bytes) Len() int {
	if s.reveal == nil {
		return 0
	}
	return len(s.reveal())
}

// Reveal returns a copy of the secret's bytes: nil for the zero value.
func (s Bytes) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return append([]byte(nil), s.reveal()...)
}

// Equal reports whether b is the secret, in a time that depends on neither of them (S49). The zero value equals nothing.
func (s Bytes) Equal(b []byte) bool {
	if s.reveal == nil {
		return false
	}
	want, got := sha256.Sum256(s.reveal()), sha256.Sum256(b) // digests, so that lengths do not tell either
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// Format implements fmt.Formatter for every verb.
func (Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (Bytes) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Bytes) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (Bytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and so covers JSON, XML and YAML.
func (Bytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }
