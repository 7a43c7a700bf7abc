package onem2m

import (
	"errors"
	"strings"
)

// badAnswer turns the fault of a response into 5000: the requester's primitive was right.
func badAnswer(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Status: StatusInternalServerError, Detail: "response: " + e.Detail}
	}
	return err
}

// match refuses an answer that isn't one to req (S44), and completes it.
func (s *Response) match(req *Request) error {
	if req == nil {
		return nil
	}
	if s.RequestID == "" {
		s.RequestID = req.RequestID
	}
	if s.RequestID != req.RequestID {
		return badAnswer(badRequest("Request Identifier is another request's"))
	}
	return nil
}

// completed returns a copy of s that has the parameters which every answer repeats from its request, and what an answer's
// form depends on.
func (s *Response) completed(req *Request) (answer Response, op Operation, want *format) {
	answer = *s
	if req == nil {
		return answer, 0, nil
	}
	if answer.RequestID == "" {
		answer.RequestID = req.RequestID
	}
	if answer.ReleaseVersion == "" {
		answer.ReleaseVersion = req.ReleaseVersion
	}
	return answer, req.Operation, req.wanted()
}

// parseCreated reads the URI of a created resource as an HTTP header or an unsplit option has it: percent-encoded or not, in
// the form of To or of a request-target. Deviation: a scheme and the authority of the CSE may stand before it, which nobody
// looks at (S42).
func parseCreated(s string) (string, error) {
	if i := strings.Index(s, "://"); i >= 0 && !strings.ContainsAny(s[:i], "/?") {
		_, rest, _ := strings.Cut(s[i+3:], "/")
		s = "/" + rest
	}
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		s = "/" + absoluteSegment + "/" + rest
	}
	if len(s) > maxTarget || strings.ContainsAny(s, "?#") {
		return "", badRequest("URI of the created resource is malformed")
	}
	return parsePath(s)
}
