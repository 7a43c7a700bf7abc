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
	tag := ""
	if b, ok := m.Options.Find(coap.ETag); ok && len(b) > 0 && len(b) <= maxTag {
		tag = tagFromCoAP(b)
	}
	s.ETag = tag
	s.MaxAge, _ = m.Options.Uint(coap.MaxAge)
	if c := conditionOfCode(m.Code); c != ConditionNone && c.answers(req) {
		if err := s.takeCondition(c, req, tag); err != nil {
			return nil, badAnswer(err)
		}
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
	switch {
	case !s.Condition.answers(req):
		return nil, badAnswer(badRequest("condition failed that nobody asked for"))
	case s.Condition == NotModified:
		code = coap.Valid
	case s.Condition == PreconditionFailed:
		code = coap.PreconditionFailed
	}
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
	if len(s.Content) > 0 && code != coap.Valid && !(op == Notify && s.Status == StatusOK) { // TS-0008, table 6.2.4-1: no payload
		id, ok := contentFormat(s.MediaType, want)
		if !ok {
			return nil, badAnswer(notCarried("media type has no Content-Format"))
		}
		m.Options, m.Payload = m.Options.AddUint(coap.ContentFormat, id), s.Content
	}
	if code == coap.Content || code == coap.Valid { // TS-0008, 6.4: what the CSE doesn't let a device keep is never stale
		m.Options = m.Options.AddUint(coap.MaxAge, s.MaxAge)
		if tag, ok := tagToCoAP(s.ETag); ok {
			m.Options = m.Options.Add(coap.ETag, tag)
		} else if code == coap.Valid { // RFC 7252, Section 5.9.1.3
			return nil, badAnswer(badRequest("nothing is modified, and the entity tag has no form in CoAP"))
		}
	}
	for i := range parameters {
		if m.Options, err = appendField(m.Options, &parameters[i], parameters[i].response, &answer, p); err != nil {
			return nil, badAnswer(err)
		}
	}
	return m, nil
}
