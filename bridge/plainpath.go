package bridge

import "strings"

// IsPlainPath reports whether path, "a/b", names a container below a plain device's AE, as its Uri-Path has to: no empty or
// virtual resource, no dots, and not deeper than one may be.
func IsPlainPath(path string) bool {
	segments := strings.Split(path, "/")
	if len(segments) > maxPlainSegments {
		return false
	}
	for _, s := range segments {
		if len(s) > maxPlainSegment || !isPlainSegment([]byte(s)) {
			return false
		}
	}
	return true
}
