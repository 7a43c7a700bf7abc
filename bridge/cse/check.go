package cse

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// checkRequest is the last look before a request becomes bytes: nothing in it may end its line or name another host,
// whatever built it (S40, W01).
func checkRequest(h *onem2m.HTTPRequest) error {
	switch h.Method {
	case "GET", "POST", "PUT", "DELETE":
	default:
		return refusal("method is none of the binding's")
	}
	if !strings.HasPrefix(h.Target, "/") || strings.HasPrefix(h.Target, "//") {
		return refusal("request target is not in origin form")
	}
	for i := range len(h.Target) {
		if c := h.Target[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '\\' {
			return refusal("request target holds a byte that is not allowed")
		}
	}
	for _, f := range h.Header {
		if !validName(f.Name) || strings.ContainsFunc(f.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return refusal("header holds a byte that is not allowed")
		}
	}
	return nil
}

// validName takes what the binding's names are made of, and refuses the names that frame a message.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	switch strings.ToLower(name) {
	case "", "host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect":
		return false
	}
	return true
}

func refusal(detail string) error {
	return &onem2m.Error{Status: onem2m.StatusBadRequest, Detail: detail}
}

// judge reads the answer's primitive and refuses one that can't be the CSE's answer to r (S44).
func (t *target) judge(answer *onem2m.HTTPResponse, r *onem2m.Request) (*onem2m.Response, *Error) {
	var hasStatus, hasID bool
	excused := t.ErrorsToNone && answer.Status >= 400 && dropNone(answer)
	for _, f := range answer.Header {
		hasStatus = hasStatus || strings.EqualFold(f.Name, "X-M2M-RSC")
		hasID = hasID || strings.EqualFold(f.Name, "X-M2M-RI")
	}
	// Without X-M2M-RSC it is the answer of something before the CSE, which knows nothing of identifiers.
	if hasStatus && !hasID && !t.NoRequestID && !excused { // TS-0009, 6.4
		return nil, &Error{CSE: t.Name, Reason: ReasonRequestID, kind: bridge.ErrBadAnswer}
	}
	resp, err := onem2m.ResponseFromHTTP(answer, r)
	if err == nil && !hasStatus && resp.Status.Success() && answer.Status != http.StatusNotModified {
		// Deviation: TS-0009, 6.3.2 reads a status without X-M2M-RSC. What stands before a CSE may answer 200 to anything,
		// and a device must not take that for its request's success; an error's status says enough.
		err = errNoStatus
	}
	if err != nil {
		return nil, &Error{CSE: t.Name, Reason: ReasonPrimitive, kind: bridge.ErrBadAnswer, cause: err}
	}
	// A CSE may answer in an older or newer release than it was asked in (ACME does), so only the form is checked.
	if !validVersion(resp.ReleaseVersion) {
		return nil, &Error{CSE: t.Name, Reason: ReasonVersion, kind: bridge.ErrBadAnswer}
	}
	return resp, nil
}

// dropNone removes an X-M2M-RI that holds the text None, and reports whether there was one.
func dropNone(answer *onem2m.HTTPResponse) bool {
	kept := slices.DeleteFunc(slices.Clone(answer.Header), func(f onem2m.HeaderField) bool {
		return strings.EqualFold(f.Name, "X-M2M-RI") && f.Value == "None"
	})
	dropped := len(kept) < len(answer.Header)
	answer.Header = kept
	return dropped
}

// errNoStatus refuses a success that names no ResponseStatusCode.
var errNoStatus = errors.New("cse: success without X-M2M-RSC")

// validVersion takes an absent indicator, or a digit with a letter after it: "1", "2a", "5" (TS-0004, 6.3.4.2.54).
func validVersion(v string) bool {
	switch len(v) {
	case 0:
		return true
	case 1:
		return v[0] >= '1' && v[0] <= '9'
	case 2:
		return v[0] >= '1' && v[0] <= '9' && v[1] >= 'a' && v[1] <= 'z'
	}
	return false
}
