package onem2m

import (
	"strings"
	"unicode/utf8"
)

// The first segments that stand for a form of To (TS-0008, 6.2.2.3; TS-0009, 6.2.2.1).
const (
	spRelativeSegment = "~"
	absoluteSegment   = "_"
)

// Segments returns the decoded path segments in which to travels, "~" or "_" first for the SP-relative and the Absolute
// form. An empty To has none. The error is an *Error with 4000 for any segment that a receiver could take for another one.
func Segments(to string) ([]string, error) {
	if to == "" {
		return nil, nil
	}
	if len(to) > maxTo {
		return nil, badRequest("To is too long")
	}
	marker, rest, least := "", to, 1
	switch {
	case strings.HasPrefix(to, "//"):
		marker, rest, least = absoluteSegment, to[2:], 2 // a service provider alone is no resource
	case strings.HasPrefix(to, "/"):
		marker, rest = spRelativeSegment, to[1:]
	}
	n := strings.Count(rest, "/") + 1
	if n > maxSegments || n < least {
		return nil, badRequest("To has too many or too few segments")
	}
	segments := make([]string, 0, n+1)
	if marker != "" {
		segments = append(segments, marker)
	}
	for s := range strings.SplitSeq(rest, "/") {
		if err := checkSegment(s); err != nil {
			return nil, err
		}
		if marker == "" && len(segments) == 0 && (s == spRelativeSegment || s == absoluteSegment) {
			return nil, badRequest("To starts with a segment that stands for another form of it")
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// JoinSegments is the inverse of Segments: it returns the To that travels in the decoded segments. Deviation: a single empty
// segment at the end, which is a trailing slash, is left out; it names the same resource.
func JoinSegments(segments []string) (string, error) {
	if n := len(segments); n > 0 && segments[n-1] == "" {
		segments = segments[:n-1]
	}
	if len(segments) == 0 {
		return "", nil
	}
	if len(segments) > maxSegments+1 {
		return "", badRequest("path has too many segments")
	}
	prefix, least := "", 1
	switch segments[0] {
	case spRelativeSegment:
		prefix, segments = "/", segments[1:]
	case absoluteSegment:
		prefix, segments, least = "//", segments[1:], 2
	}
	if len(segments) < least || len(segments) > maxSegments {
		return "", badRequest("path has too many or too few segments")
	}
	length := len(prefix)
	for _, s := range segments {
		if err := checkSegment(s); err != nil {
			return "", err
		}
		length += len(s) + 1
	}
	if length-1 > maxTo {
		return "", badRequest("path is too long")
	}
	var b strings.Builder
	b.Grow(length)
	b.WriteString(prefix)
	for i, s := range segments {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// checkSegment refuses a decoded segment that is empty, too long, no UTF-8, or that it or any receiver who decodes it again
// could take for the directory above, a separator or a control (S40): "..", "%2e%2e", "%252f".
func checkSegment(s string) error {
	if s == "" || len(s) > maxSegment {
		return badRequest("path segment is empty or too long")
	}
	for range maxSegment { // each decoding that changes s shortens it, so this ends before the bound
		if bare, _, _ := strings.Cut(s, ";"); isDots(strings.TrimSpace(bare)) { // some drop what follows ";", and blanks
			return badRequest("path segment is a relative reference")
		}
		if !utf8.ValidString(s) {
			return badRequest("path segment is no UTF-8")
		}
		if strings.ContainsFunc(s, isControl) || strings.ContainsAny(s, `/\`) {
			return badRequest("path segment holds a separator or a control")
		}
		next := unescapeLenient(s)
		if next == s {
			return nil
		}
		s = next
	}
	return badRequest("path segment is encoded too often")
}

func isDots(s string) bool { return s == "." || s == ".." }

// unescapeLenient decodes as the most careless receiver would: what is no percent-encoded byte stays.
func unescapeLenient(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if high, low := fromHex(s[i+1]), fromHex(s[i+2]); high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// AppendPath appends the HTTP path of to: "/" and the segments, each encoded once.
func AppendPath(b []byte, to string) ([]byte, error) {
	segments, err := Segments(to)
	if err != nil {
		return b, err
	}
	if len(segments) == 0 {
		return append(b, '/'), nil
	}
	for _, s := range segments {
		b = append(b, '/')
		b = appendEscaped(b, s, 0)
	}
	return b, nil
}

// ParseTarget reads an HTTP request-target: To, and the query in the sender's order. A missing slash at the start is
// forgiven, since a CSE is known to leave it out.
func ParseTarget(target string) (to string, query []Parameter, err error) {
	if len(target) > maxTarget || strings.IndexByte(target, '#') >= 0 {
		return "", nil, badRequest("request-target is too long or holds a fragment")
	}
	path, rawQuery, _ := strings.Cut(target, "?")
	if to, err = parsePath(path); err != nil {
		return "", nil, err
	}
	if query, err = parseHTTPQuery(rawQuery); err != nil {
		return "", nil, err
	}
	return to, query, nil
}

func parsePath(path string) (string, error) {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return "", nil
	}
	if strings.Count(path, "/") > maxSegments+1 {
		return "", badRequest("path has too many segments")
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		var ok bool
		if segments[i], ok = unescape(s); !ok {
			return "", badRequest("path holds a broken percent-encoding")
		}
	}
	return JoinSegments(segments)
}
