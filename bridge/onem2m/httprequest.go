package onem2m

import (
	"slices"
	"strconv"
	"strings"
)

// HTTP writes r as an HTTP request (TS-0009, 6.2). The error is an *Error: 4000 for what is invalid, 5001 for what HTTP has
// no place for.
func (r *Request) HTTP(p HTTPProfile) (*HTTPRequest, error) {
	if err := r.checkOutgoing(); err != nil {
		return nil, err
	}
	if r.To == "" {
		return nil, badRequest("To is missing")
	}
	if len(r.Tokens) > 0 && p.AuthorizationTaken && !p.TokensInQuery {
		return nil, notCarried("Tokens have no place beside the bridge's own Authorization")
	}
	if p.Unconditional && r.dependsOnConditions() {
		return nil, notCarried("CSE doesn't look at the request's conditions")
	}
	target, err := AppendPath(make([]byte, 0, len(r.To)+32*len(r.Query)+16), r.To)
	if err != nil {
		return nil, err
	}
	target = r.appendHTTPQuery(target, p.TokensInQuery)
	if len(target) > maxTarget {
		return nil, badRequest("request-target is too long")
	}
	h := &HTTPRequest{Method: methodName(r.Operation), Target: string(target), Body: r.Content,
		Header: make([]HeaderField, 0, 10)}
	for i := range parameters {
		if h.Header, err = appendHeader(h.Header, &parameters[i], parameters[i].request, r); err != nil {
			return nil, err
		}
	}
	if media := r.contentType(); media != "" {
		h.Header = append(h.Header, HeaderField{headerContentType, media})
	}
	if len(r.Accept) > 0 {
		h.Header = append(h.Header, HeaderField{headerAccept, strings.Join(r.Accept, ", ")})
	}
	if len(r.IfMatch) > 0 {
		h.Header = append(h.Header, HeaderField{headerIfMatch, strings.Join(r.IfMatch, ", ")})
	}
	if len(r.IfNoneMatch) > 0 {
		h.Header = append(h.Header, HeaderField{headerIfNoneMatch, strings.Join(r.IfNoneMatch, ", ")})
	}
	if len(r.Tokens) > 0 && !p.TokensInQuery { // TS-0009, 6.4
		h.Header = append(h.Header, HeaderField{headerAuthorization, strings.Join(r.Tokens, "+")})
	}
	return h, nil
}

// contentType is the value of Content-Type: ty stands in it on CREATE, and tells it from NOTIFY (TS-0009, 6.4.2).
func (r *Request) contentType() string {
	media := r.MediaType
	if len(r.Content) == 0 {
		media = "application/json" // only a CREATE without Content needs it: to carry ty
	}
	switch {
	case r.ResourceType != 0:
		return media + ";ty=" + strconv.FormatUint(uint64(r.ResourceType), 10)
	case len(r.Content) > 0:
		return media
	}
	return ""
}

// methodName is TS-0009, table 6.2.1-1.
func methodName(op Operation) string {
	switch op {
	case Retrieve:
		return "GET"
	case Update:
		return "PUT"
	case Delete:
		return "DELETE"
	}
	return "POST"
}

// RequestFromHTTP reads a request primitive (TS-0009, 6.2). The error is an *Error. An empty path is an empty To: whoever
// gave out the URL knows what it stands for.
func RequestFromHTTP(h *HTTPRequest) (*Request, error) {
	r := &Request{}
	var headers httpHeaders
	err := headers.read(h.Header, func(row *parameter, value string) bool { return setHeader(row.request, r, value) })
	if err != nil {
		return nil, err
	}
	var query []Parameter
	if r.To, query, err = ParseTarget(h.Target); err != nil {
		return nil, err
	}
	op, err := r.takeQuery(query)
	if err != nil {
		return nil, err
	}
	if op != 0 {
		return nil, badRequest("op is CoAP's") // TS-0009, 6.2.2.2
	}
	media, ty, err := parseContentType(headers.contentType, len(h.Body) > 0)
	if err != nil {
		return nil, err
	}
	switch h.Method { // TS-0009, table 6.2.1-1
	case "POST":
		if r.Operation, r.ResourceType = Notify, ty; ty != 0 {
			r.Operation = Create
		}
	case "GET":
		r.Operation = Retrieve
	case "PUT":
		r.Operation = Update
	case "DELETE":
		r.Operation = Delete
	default:
		return nil, refuse(StatusOperationNotAllowed, "method stands for no operation")
	}
	if len(h.Body) > 0 {
		r.Content, r.MediaType = h.Body, media
	}
	if r.IfMatch, err = parseTags(headers.ifMatch, false); err != nil {
		return nil, err
	}
	if r.IfNoneMatch, err = parseTags(headers.ifNoneMatch, true); err != nil {
		return nil, err
	}
	if r.Accept, err = parseAccept(headers.accept); err != nil {
		return nil, err
	}
	if r.Tokens, err = appendAuthorization(r.Tokens, headers.authorization); err != nil {
		return nil, err
	}
	if err = r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// appendAuthorization appends the Tokens of an Authorization header (TS-0009, 6.4.19). Blanks around the "+" are forgiven, as
// that clause's own example has one. Deviation: a scheme and a blank before the first token make it a credential for the
// hop, such as Basic or Bearer (TS-0009, 7.1), and none of the primitive's business.
func appendAuthorization(tokens []string, value string) ([]string, error) {
	if value == "" {
		return tokens, nil
	}
	parts := strings.Split(value, "+")
	if len(parts) > maxTokens {
		return nil, badRequest("too many tokens")
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if strings.IndexByte(parts[0], ' ') >= 0 {
		return tokens, nil
	}
	return appendTokens(tokens, strings.Join(parts, "+"))
}

// parseContentType returns the media type and its ty.
func parseContentType(s string, needed bool) (media string, ty ResourceType, err error) {
	media, parameters := bareMedia(s)
	for q := range strings.SplitSeq(parameters, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(q), "=")
		if !strings.EqualFold(key, "ty") {
			continue
		}
		v, ok := parseNumber(value)
		if !ok || v == 0 || v > maxResourceType || ty != 0 {
			return "", 0, badRequest("ty of Content-Type is malformed or repeated")
		}
		ty = ResourceType(v)
	}
	if needed && formatOfMedia(media) == nil {
		return "", 0, refuse(StatusUnsupportedMediaType, "Content-Type is missing or unknown")
	}
	return media, ty, nil
}

// parseAccept returns the media types of an Accept header that this binding knows, the preferred one first (RFC 9110,
// Section 12.5.1). Wildcards are no preference; nothing acceptable beside them is 5207.
func parseAccept(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if strings.Count(s, ",") >= maxAccept {
		return nil, badRequest("Accept has too many media types")
	}
	type choice struct {
		media   string
		quality int
	}
	var choices []choice
	wildcard := false
	for part := range strings.SplitSeq(s, ",") {
		media, parameters := bareMedia(part)
		switch q := quality(parameters); {
		case q == 0:
		case media == "*/*", media == "application/*":
			wildcard = true
		case formatOfMedia(media) != nil:
			choices = append(choices, choice{media, q})
		}
	}
	if choices == nil && !wildcard {
		return nil, refuse(StatusNotAcceptable, "no media type of Accept is known")
	}
	slices.SortStableFunc(choices, func(a, b choice) int { return b.quality - a.quality })
	var accept []string
	for _, c := range choices {
		accept = append(accept, c.media)
	}
	return accept, nil
}

// quality returns the weight q of a media type in thousandths: 1000 when there is none, 0 when it is malformed.
func quality(parameters string) int {
	for p := range strings.SplitSeq(parameters, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(key, "q") {
			continue
		}
		whole, fraction, _ := strings.Cut(value, ".")
		v, ok := parseNumber(whole + (fraction + "000")[:3])
		if !ok || len(whole) != 1 || len(fraction) > 3 || v > 1000 {
			return 0
		}
		return int(v)
	}
	return 1000
}
