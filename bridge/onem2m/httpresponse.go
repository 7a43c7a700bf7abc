package onem2m

import "strconv"

// HTTP writes s as the HTTP response to req (TS-0009, 6.3); req may be nil. X-M2M-RSC is always there.
func (s *Response) HTTP(req *Request) (*HTTPResponse, error) {
	answer, _, _ := s.completed(req)
	h := &HTTPResponse{Status: s.Status.HTTP(), Header: make([]HeaderField, 0, 8)}
	var err error
	for i := range parameters {
		if h.Header, err = appendHeader(h.Header, &parameters[i], parameters[i].response, &answer); err != nil {
			return nil, badAnswer(err)
		}
	}
	if s.Created != "" {
		path, err := AppendPath(nil, s.Created)
		if err != nil {
			return nil, badAnswer(err)
		}
		h.Header = append(h.Header, HeaderField{headerContentLocation, string(path)})
	}
	if s.ETag != "" {
		if !validText(s.ETag) {
			return nil, badAnswer(badRequest("ETag holds a byte that is not allowed"))
		}
		h.Header = append(h.Header, HeaderField{headerETag, s.ETag})
	}
	if s.MaxAge > 0 {
		h.Header = append(h.Header, HeaderField{headerCacheControl, "max-age=" + strconv.FormatUint(uint64(s.MaxAge), 10)})
	}
	switch {
	case !s.Condition.answers(req):
		return nil, badAnswer(badRequest("condition failed that nobody asked for"))
	case s.Condition == NotModified:
		h.Status = 304
		return h, nil
	case s.Condition == PreconditionFailed:
		h.Status = 412
	}
	if len(s.Content) > 0 {
		if formatOfMedia(s.MediaType) == nil {
			return nil, badAnswer(notCarried("media type is unknown"))
		}
		h.Body, h.Header = s.Content, append(h.Header, HeaderField{headerContentType, s.MediaType})
	}
	return h, nil
}

// ResponseFromHTTP reads the response primitive to req. The error is an *Error with 5000: the answer can't be trusted. An
// answer without X-M2M-RSC isn't a CSE's: it has the status that the HTTP status stands for, and its body is left out.
func ResponseFromHTTP(h *HTTPResponse, req *Request) (*Response, error) {
	s := &Response{}
	var headers httpHeaders
	if err := headers.read(h.Header, func(row *parameter, v string) bool { return setHeader(row.response, s, v) }); err != nil {
		return nil, badAnswer(err)
	}
	foreign := s.Status == 0
	if c := conditionOfHTTP(h.Status); c == NotModified && !c.answers(req) {
		return nil, badAnswer(badRequest("HTTP status is no final answer"))
	} else if c != ConditionNone && c.answers(req) {
		if err := s.takeCondition(c, req, headers.etag); err != nil {
			return nil, badAnswer(err)
		}
		foreign = foreign && c != NotModified
	}
	if s.Status == 0 {
		var ok bool
		if s.Status, ok = StatusOfHTTP(h.Status, req); !ok {
			return nil, badAnswer(badRequest("HTTP status is no final answer"))
		}
	}
	if err := s.match(req); err != nil {
		return nil, err
	}
	if len(h.Body) > 0 && s.Condition != NotModified {
		media, _, err := parseContentType(headers.contentType, !foreign)
		if err != nil {
			return nil, badAnswer(err)
		}
		if formatOfMedia(media) != nil {
			s.Content, s.MediaType = h.Body, media
		}
	}
	if !validText(headers.etag) {
		return nil, badAnswer(badRequest("ETag holds a byte that is not allowed"))
	}
	if s.ETag == "" {
		s.ETag = headers.etag
	}
	s.MaxAge = maxAge(headers.cacheControl, headers.age)
	if headers.contentLocation != "" && (s.Status == StatusCreated || s.Status < StatusOK) {
		var err error
		if s.Created, err = parseCreated(headers.contentLocation); err != nil {
			return nil, badAnswer(err)
		}
	}
	return s, nil
}
