package devices

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"

	"coapbridge/bridge/devices/strictyaml"
)

// redacted is what every way of printing a key shows (S46).
const redacted = "[redacted]"

// secret is a fixed array, so that it can be wiped and no copy is left by growth (S48).
type secret struct {
	n int
	b [maxKey]byte
}

// sealed keeps fmt out: with a verb that doesn't fit, it prints what a pointer in an unexported field points to, where it
// can't call our methods; but no pointer behind that.
type sealed struct{ at *secret }

// Key is a pre-shared key. However it is printed, logged or marshalled, it shows "[redacted]". The zero value is no key.
type Key struct{ s *sealed }

// NewKey takes a key of 16 to 64 bytes (S6). Its errors never show the key.
func NewKey(b []byte) (Key, error) {
	switch {
	case len(b) < minKey:
		return Key{}, &strictyaml.Invalid{
			Message: fmt.Sprintf("the key has %d bytes, which can be guessed from one recorded handshake", len(b)),
			Remedy:  fmt.Sprintf("use %d to %d random bytes", minKey, maxKey),
		}
	case len(b) > maxKey:
		return Key{}, &strictyaml.Invalid{
			Message: fmt.Sprintf("the key has %d bytes", len(b)),
			Remedy:  fmt.Sprintf("use %d to %d bytes", minKey, maxKey),
		}
	}
	s := &secret{n: len(b)}
	copy(s.b[:], b)
	return Key{&sealed{s}}, nil
}

// RandomKey returns a key of 128 random bits, spelled as 32 hexadecimal characters: the key is these characters, so that
// it can be pasted after coap-client's -k.
func RandomKey() Key {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the process instead (S12)
	k, err := NewKey([]byte(hex.EncodeToString(raw)))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	return k
}

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k.s == nil }

// Reveal returns a copy of the key's bytes, which the caller may wipe.
func (k Key) Reveal() []byte {
	if k.s == nil {
		return nil
	}
	return append([]byte(nil), k.bytes()...)
}

func (k Key) bytes() []byte { return k.s.at.b[:k.s.at.n] }

// Equal compares in constant time (S49).
func (k Key) Equal(other Key) bool {
	if k.s == nil || other.s == nil {
		return k.s == other.s
	}
	return subtle.ConstantTimeEq(int32(k.s.at.n), int32(other.s.at.n))&subtle.ConstantTimeCompare(k.s.at.b[:], other.s.at.b[:]) == 1
}

// spell returns the key as the devices file has it: as text where it can be pasted as text, else in hex.
func (k Key) spell() string {
	b := k.bytes()
	if printable(b) {
		return "text:" + string(b)
	}
	return "hex:" + hex.EncodeToString(b)
}

// UnmarshalText reads "hex:", "base64:" and "text:" (the bytes are the characters themselves, as libcoap takes them).
func (k *Key) UnmarshalText(text []byte) error {
	form, value, ok := strings.Cut(string(text), ":")
	var b []byte
	var err error
	switch {
	case ok && form == "text":
		b = []byte(value)
	case ok && form == "hex":
		b, err = hex.DecodeString(value)
	case ok && form == "base64":
		b, err = base64.StdEncoding.DecodeString(value)
	default:
		return &strictyaml.Invalid{Message: "the key doesn't say how it is written", Remedy: "put hex:, base64: or text: before it"}
	}
	if err != nil {
		return &strictyaml.Invalid{Message: "the key is no " + form, Remedy: "correct it, or write text: when the key is these characters"}
	}
	fresh, err := NewKey(b)
	if err != nil {
		return err
	}
	*k = fresh
	return nil
}

// String implements fmt.Stringer.
func (Key) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Key) GoString() string { return redacted }

// Format implements fmt.Formatter: no verb shows a key.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON and YAML go by.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// weakness says why a key of sufficient length may still be guessed, or "" (S6).
func (k Key) weakness() string {
	b := k.bytes()
	switch {
	case repeats(b):
		return "the key repeats itself"
	case printable(b) && entropy(b) < minTextEntropy:
		return "the key is printable text that a person may have chosen"
	}
	return ""
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

// repeats reports whether b is one pattern over and over, or has hardly any different bytes.
func repeats(b []byte) bool {
	var seen [256]bool
	different := 0
	for _, c := range b {
		if !seen[c] {
			seen[c], different = true, different+1
		}
	}
	if different <= 4 {
		return true
	}
	for period := 1; period <= len(b)/2; period++ {
		same := true
		for i := period; i < len(b) && same; i++ {
			same = b[i] == b[i-period]
		}
		if same {
			return true
		}
	}
	return false
}

// entropy estimates the bits in b from how often each byte occurs. 128 random bits in hex come to 90 and more, words to
// some 3 bits a character.
func entropy(b []byte) float64 {
	var count [256]float64
	for _, c := range b {
		count[c]++
	}
	bits := 0.0
	for _, n := range count {
		if n > 0 {
			bits -= n * math.Log2(n/float64(len(b)))
		}
	}
	return bits
}
