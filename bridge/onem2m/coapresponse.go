package onem2m

import (
	"strings"

	"coapbridge/coap"
)

// ResponseFromCoAP reads the response primitive to req. The error is an *Error with 5000: the answer can't be trusted. An
// answer without a Response Status Code option has the status that its code stands for.
func ResponseFromCoAP(m *coap.Message, req *Request, p CoAPProfile) (*Response, error) {
	s := &Response{}
	o := coapOptions{response: true}
	if err := o.read(m, p, func(row *parameter, value []byte) bool { return setField(row.response, s, value) }); err != nil {
		return nil, badAnswer(err)
	}
	if s.Status == 0 {
		var ok bool
		if s.Status, ok = StatusOfCode(m.Code, req); !ok {
			return nil, badAnswer(badRequest("code is no final response"))
		}
	}
	media, err := o.content(m)
	if err != nil {
		return nil, badAnswer(err)
	}
	if len(m.Payload) > 0 {
		s.Content, s.MediaType = m.Payload, media
	}
	if len(o.path) == 1 && strings.Contains(o.path[0], "/") { // a CSE is known not to split it
		s.Created, err = parseCreated(o.path[0])
	} else {
		s.Created, err = JoinSegments(o.path)
	}
	if err != nil {
		return nil, badAnswer(err)
	}
	return s, s.match(req)
}

// CoAP writes s as the CoAP response to req (TS-0008, 6.2.3); req may be nil. The Response Status Code option is always
// there, since several statuses share a code. The error is an *Error.
func (s *Response) CoAP(req *Request, p CoAPProfile) (*coap.Message, error) {
	answer, op, want := s.completed(req)
	code := s.Status.codeFor(op, s.Created != "")
	m := &coap.Message{Code: code, Options: make(coap.Options, 0, 10)}
	segments, err := Segments(s.Created)
	if err != nil {
		return nil, badAnswer(err)
	}
	if len(segments) > 0 && code != coap.Created { // RFC 7252, Section 5.10.7
		return nil, badAnswer(badRequest("nothing was created, and yet there is its URI"))
	}
	for _, segment := range segments {
		m.Options = m.Options.AddString(coap.LocationPath, segment)
	}
	if len(s.Content) > 0 && !(op == Notify && s.Status == StatusOK) { // TS-0008, table 6.2.4-1: no payload
		id, ok := contentFormat(s.MediaType, want)
		if !ok {
			return nil, badAnswer(notCarried("media type has no Content-Format"))
		}
		m.Options, m.Payload = m.Options.AddUint(coap.ContentFormat, id), s.Content
	}
	if code == coap.Content { // TS-0008, 6.4: what is not cached is never stale, and there is no ETag to revalidate
		m.Options = m.Options.AddUint(coap.MaxAge, 0)
	}
	for i := range parameters {
		if m.Options, err = appendField(m.Options, &parameters[i], parameters[i].response, &answer, p); err != nil {
			return nil, badAnswer(err)
		}
	}
	return m, nil
}
