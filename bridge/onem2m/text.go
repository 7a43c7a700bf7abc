package onem2m

import (
	"strings"
	"unicode/utf8"
)

// refuse returns the error for a primitive that is answered with status. detail is constant text.
func refuse(status StatusCode, detail string) error { return &Error{Status: status, Detail: detail} }

func badRequest(detail string) error { return refuse(StatusBadRequest, detail) }

// notCarried is the answer for what the other binding has no place for: never dropped.
func notCarried(detail string) error { return refuse(StatusNotImplemented, detail) }

// validText reports whether s may stand in a header and in a string option: an allow list of bytes, so that no CR, LF, NUL
// or other control ever reaches a header (S40). Blanks at the ends are refused too, because HTTP would strip them.
func validText(s string) bool {
	if len(s) > maxText {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}

// validValue reports whether s may be the value of a query parameter: UTF-8 without controls.
func validValue(s string) bool {
	return len(s) <= maxQueryValue && utf8.ValidString(s) && !strings.ContainsFunc(s, isControl)
}

// isControl reports whether r is in C0, DEL or C1, or one of the two separators that some readers take for an end of line.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || r == '\u2028' || r == '\u2029'
}

// validToken reports whether s is made of the bytes of a JWS or JWE in compact form (RFC 7515, Section 7.1).
func validToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !unreserved(c) || c == '~' {
			return false
		}
	}
	return true
}

// unreserved reports whether c is one of RFC 3986, Section 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

const upperHex = "0123456789ABCDEF"

// appendEscaped appends s with every byte but the unreserved ones and keep percent-encoded (RFC 3986, Section 2.1); keep 0
// keeps none. It is the only encoder of paths and queries (S40).
func appendEscaped(b []byte, s string, keep byte) []byte {
	for i := range len(s) {
		if c := s[i]; unreserved(c) || c == keep && keep != 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// unescape decodes every percent-encoded byte of s once. ok is false for a "%" without two hexadecimal digits behind it.
func unescape(s string) (_ string, ok bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		high, low := fromHex(s[i+1]), fromHex(s[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b = append(b, byte(high<<4|low))
		i += 2
	}
	return string(b), true
}

func fromHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
