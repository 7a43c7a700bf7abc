package onem2m

import (
	"math"
	"strconv"
	"strings"
)

// HeaderField is one header of HTTP. Names of ours are in the spelling of TS-0009, 6.4.
type HeaderField struct{ Name, Value string }

// HTTPRequest is a request without what belongs to the hop: Host, Content-Length, connection. Target is the request-target
// in origin form, encoded.
type HTTPRequest struct {
	Method, Target string
	Header         []HeaderField
	Body           []byte
}

// HTTPResponse is a response without what belongs to the hop.
type HTTPResponse struct {
	Status int
	Header []HeaderField
	Body   []byte
}

// HTTPProfile says how a CSE departs from TS-0009 V3.9.1. The zero value is the standard.
type HTTPProfile struct {
	// AuthorizationTaken says that the bridge needs the Authorization header for itself: a request with Tokens is 5001.
	AuthorizationTaken bool
	// TokensInQuery sends Tokens as tkns in the query, as CoAP does, and leaves Authorization alone.
	TokensInQuery bool
	// Unconditional says that it ignores If-Match and If-None-Match, which TS-0009, 6.4.6 asks only of a CSE that sends ETag: a
	// request that depends on them is 5001.
	Unconditional bool
}

// The headers that have no row in parameters.
const (
	headerContentType     = "Content-Type"
	headerAccept          = "Accept"
	headerAuthorization   = "Authorization"
	headerContentLocation = "Content-Location"
	headerETag            = "ETag"
	headerIfMatch         = "If-Match"
	headerIfNoneMatch     = "If-None-Match"
	headerCacheControl    = "Cache-Control"
	headerAge             = "Age"
)

// appendHeader appends the header of row, when the parameter is there.
func appendHeader[P any](header []HeaderField, row *parameter, f field[P], from *P) ([]HeaderField, error) {
	var value string
	switch {
	case f.text != nil:
		s, ok := f.text.get(from)
		if !ok {
			return header, nil
		}
		if !validText(s) {
			return nil, badRequest("text parameter holds a byte that is not allowed, or is too long")
		}
		value = s
	case f.number != nil:
		v, ok := f.number.get(from)
		if !ok || row.name == "ty" { // in Content-Type
			return header, nil
		}
		value = strconv.FormatUint(uint64(v), 10)
	default:
		return header, nil
	}
	if row.header == "" { // Deviation: TS-0009 V3.9.1 has no header for grtm, omr, prpi and msu
		return nil, notCarried("parameter has no header")
	}
	return append(header, HeaderField{row.header, value}), nil
}

// setHeader stores a header's value, and reports whether it fits the parameter.
func setHeader[P any](f field[P], to *P, value string) bool {
	switch {
	case f.text != nil:
		return validText(value) && f.text.set(to, value)
	case f.number != nil:
		v, ok := parseNumber(value)
		return ok && f.number.set(to, v)
	}
	return true // a header that has no meaning in this direction is ignored, TS-0009, 6.4.0
}

// parseNumber reads a decimal number of up to 10 digits, as far as an option of 4 bytes goes.
func parseNumber(s string) (v uint32, ok bool) {
	if s == "" || len(s) > len("4294967295") {
		return 0, false
	}
	var wide uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		wide = wide*10 + uint64(s[i]-'0')
	}
	return uint32(wide), wide <= math.MaxUint32
}

// httpHeaders are the headers of one message that have no row in parameters.
type httpHeaders struct {
	contentType, authorization, contentLocation, etag string
	accept, ifMatch, ifNoneMatch, cacheControl, age   string // may come in several fields
	seen                                              uint32 // bit n: parameters[n]
}

// read takes the headers, and hands each of oneM2M to set. Names are compared without case (TS-0009, 5.1), unknown ones are
// ignored (6.4.0).
func (h *httpHeaders) read(header []HeaderField, set func(*parameter, string) bool) error {
	for _, f := range header {
		if len(f.Name) > 6 && strings.EqualFold(f.Name[:6], "X-M2M-") {
			if err := h.readOneM2M(f, set); err != nil {
				return err
			}
			continue
		}
		for _, own := range [...]struct {
			name string
			at   *string
		}{
			{headerContentType, &h.contentType}, {headerAuthorization, &h.authorization}, {headerETag, &h.etag},
			{headerContentLocation, &h.contentLocation},
		} {
			if strings.EqualFold(f.Name, own.name) {
				if *own.at != "" {
					return badRequest("header is repeated")
				}
				*own.at = f.Value
			}
		}
		for _, list := range [...]struct {
			name string
			at   *string
		}{
			{headerAccept, &h.accept}, {headerIfMatch, &h.ifMatch}, {headerIfNoneMatch, &h.ifNoneMatch},
			{headerCacheControl, &h.cacheControl}, {headerAge, &h.age},
		} {
			if strings.EqualFold(f.Name, list.name) {
				*list.at = strings.TrimPrefix(*list.at+","+f.Value, ",")
			}
		}
	}
	return nil
}

func (h *httpHeaders) readOneM2M(f HeaderField, set func(*parameter, string) bool) error {
	for i := range parameters {
		if parameters[i].header == "" || !strings.EqualFold(f.Name, parameters[i].header) {
			continue
		}
		if h.seen&(1<<i) != 0 {
			return badRequest("oneM2M header is repeated")
		}
		h.seen |= 1 << i
		if !set(&parameters[i], f.Value) {
			return badRequest("oneM2M header is malformed")
		}
	}
	return nil
}
