package bridge

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsZero reports whether a says nothing of how the AE is reached.
func (a Access) IsZero() bool { return a.Token == "" && a.POA == nil }

// Equal reports whether both say the same. A list without members is another one than none.
func (a Access) Equal(other Access) bool {
	return a.Token == other.Token && (a.POA == nil) == (other.POA == nil) && slices.Equal(a.POA, other.POA)
}

// Valid reports whether a can be kept: the token has 128 bits or more in the alphabet of base64url (RFC 4648, Section 5), and the
// device's list is as long as a list of addresses is.
func (a Access) Valid() bool {
	if a.Token != "" && (len(a.Token) < minAccessToken || len(a.Token) > maxAccessToken || strings.Trim(a.Token, base64url) != "") {
		return false
	}
	if len(a.POA) > maxPOA {
		return false
	}
	for _, p := range a.POA {
		if len(p) > maxPOALen || !utf8.ValidString(p) || strings.IndexFunc(p, unicode.IsControl) >= 0 {
			return false
		}
	}
	return true
}

const base64url = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// Format implements fmt.Formatter: the token is a secret, and the addresses are the device's (S46).
func (Access) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue implements slog.LogValuer.
func (Access) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText implements encoding.TextMarshaler, which JSON and YAML go by.
func (Access) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }
