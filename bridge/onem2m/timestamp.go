package onem2m

import (
	"strconv"
	"strings"
	"time"
)

// timestampLayout is the basic format of ISO 8601 in UTC (TS-0004, 6.3.3, m2m:timestamp).
const timestampLayout = "20060102T150405"

// maxRelative bounds a relative timestamp, so that no arithmetic wraps: ten years in milliseconds.
const maxRelative = 10 * 365 * 24 * 3600 * 1000

// IsRelative reports whether an m2m:absRelTimestamp is relative to the time at which it is read.
func IsRelative(s string) bool { return strings.IndexByte(s, 'T') < 0 }

// ParseTimestamp reads an m2m:absRelTimestamp (TS-0004, 6.3.3): YYYYMMDDThhmmss in UTC with an optional fraction, or
// milliseconds from now. The error is an *Error with 4000.
func ParseTimestamp(s string, now time.Time) (time.Time, error) {
	const bad = "timestamp is malformed"
	if IsRelative(s) {
		ms, err := strconv.ParseInt(s, 10, 64)
		if err != nil || ms < -maxRelative || ms > maxRelative {
			return time.Time{}, badRequest(bad)
		}
		return now.Add(time.Duration(ms) * time.Millisecond), nil
	}
	whole, fraction := s, ""
	if i := strings.IndexAny(s, ",."); i >= 0 {
		whole, fraction = s[:i], s[i+1:]
		if fraction == "" || len(fraction) > 9 {
			return time.Time{}, badRequest(bad)
		}
	}
	at, err := time.ParseInLocation(timestampLayout, whole, time.UTC)
	if err != nil {
		return time.Time{}, badRequest(bad)
	}
	ns := 0
	for i := range 9 { // hundred millions first
		ns *= 10
		if i < len(fraction) {
			if fraction[i] < '0' || fraction[i] > '9' {
				return time.Time{}, badRequest(bad)
			}
			ns += int(fraction[i] - '0')
		}
	}
	return at.Add(time.Duration(ns)), nil
}

// strictTimestamp cuts the fraction of an absolute timestamp, which the option's 15 bytes have no place for.
func strictTimestamp(s string) string {
	if strings.IndexByte(s, 'T') >= 0 {
		if i := strings.IndexAny(s, ",."); i >= 0 {
			return s[:i]
		}
	}
	return s
}
