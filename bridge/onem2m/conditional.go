package onem2m

import (
	"encoding/hex"
	"slices"
	"strings"

	"coapbridge/coap"
)

// Condition says what became of a request's IfMatch or IfNoneMatch.
type Condition uint8

// The outcomes. TS-0004 has no Response Status Code for the last two: 2.03 and 304 go with 2000, 4.12 and 412 with 4105
// where the answer has no status of its own.
const (
	ConditionNone      Condition = iota // nothing was asked, or it held
	NotModified                         // a RETRIEVE: what the requester has is what there is
	PreconditionFailed                  // nothing was done
)

// anyTag stands for any representation (RFC 9110, Section 13.1.1).
const anyTag = "*"

// Entity tags. HTTP's are printable and of any length, CoAP's are 1 to 8 bytes of any value (RFC 7252, Section 5.10.6). A tag
// goes from one to the other only in a form that comes back as the same tag: text of up to 8 bytes as it is, and bytes that
// aren't text as lower-case hexadecimal, with a prefix where that alone would be text of up to 8 bytes again. Any other tag is
// not handed on, which costs a transfer and never a wrong answer.

// tagPrefix and two digits are more than 8 bytes.
const tagPrefix = "octets:"

// tagToCoAP returns the bytes of a strong entity tag in HTTP's form.
func tagToCoAP(tag string) ([]byte, bool) {
	text, ok := opaque(tag)
	if !ok || text == "" {
		return nil, false
	}
	if len(text) <= maxTag {
		return []byte(text), true
	}
	if b, err := hex.DecodeString(strings.TrimPrefix(text, tagPrefix)); err == nil && len(b) <= maxTag && tagFromCoAP(b) == tag {
		return b, true
	}
	return nil, false
}

// tagFromCoAP is the inverse.
func tagFromCoAP(b []byte) string {
	if tag := `"` + string(b) + `"`; strongTag(tag) {
		return tag
	}
	digits := hex.EncodeToString(b)
	if len(digits) <= maxTag {
		digits = tagPrefix + digits
	}
	return `"` + digits + `"`
}

// opaque returns what stands between the quotes of a strong entity tag (RFC 9110, Section 8.8.3), as far as validText goes.
func opaque(tag string) (string, bool) {
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return "", false
	}
	text := tag[1 : len(tag)-1]
	for i := range len(text) {
		if text[i] <= ' ' || text[i] == '"' || text[i] > '~' {
			return "", false
		}
	}
	return text, len(text) <= maxText
}

func strongTag(tag string) bool {
	_, ok := opaque(tag)
	return ok
}

// parseTags reads the value of If-Match or If-None-Match (RFC 9110, Section 13.1). Weak tags match nothing in If-Match, and
// what the strong one does in If-None-Match.
func parseTags(value string, weak bool) ([]string, error) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return nil, nil
	}
	if value == anyTag {
		return []string{anyTag}, nil
	}
	tags := []string{}
	for value != "" {
		isWeak := strings.HasPrefix(value, "W/")
		value = strings.TrimPrefix(value, "W/")
		end := strings.IndexByte(value[min(1, len(value)):], '"') + 2
		if value[0:min(1, len(value))] != `"` || end < 2 || !strongTag(value[:end]) || len(tags) == maxTags {
			return nil, badRequest("entity tag is malformed, or there are too many")
		}
		if weak || !isWeak {
			tags = append(tags, value[:end])
		}
		value = strings.TrimLeft(value[end:], " \t")
		if value == "" {
			break
		}
		rest, ok := strings.CutPrefix(value, ",")
		if rest = strings.TrimLeft(rest, " \t"); !ok || rest == "" {
			return nil, badRequest("list of entity tags is malformed")
		}
		value = rest
	}
	if len(tags) == 0 {
		tags = append(tags, noTag)
	}
	return tags, nil
}

// noTag is the entity tag that stands where none of those asked for can match. It has no form in CoAP.
const noTag = `""`

// checkConditions judges IfMatch and IfNoneMatch. A RETRIEVE asks for what is not as the requester knows it; "if there is
// none" is for whatever changes something (RFC 7252, Section 5.10.8.2).
func (r *Request) checkConditions() error {
	for _, tags := range [...][]string{r.IfMatch, r.IfNoneMatch} {
		if len(tags) > maxTags {
			return badRequest("too many entity tags")
		}
		for _, tag := range tags {
			if tag == anyTag && len(tags) == 1 {
				continue
			}
			if !strongTag(tag) {
				return badRequest("entity tag is malformed")
			}
		}
	}
	if len(r.IfNoneMatch) > 0 && (r.Operation == Retrieve) == (r.IfNoneMatch[0] == anyTag) {
		return notCarried("If-None-Match has no meaning for the operation in the other binding")
	}
	return nil
}

// dependsOnConditions reports whether r may only be executed by a Receiver that looks at its conditions. One that doesn't answers a
// RETRIEVE with more than was asked for, and changes what must not be changed.
func (r *Request) dependsOnConditions() bool {
	return len(r.IfMatch) > 0 || len(r.IfNoneMatch) > 0 && r.Operation != Retrieve
}

// conditionsFromCoAP is for a request whose operation is known. It takes If-Match, If-None-Match and ETag. Of more ETags than there is room for the first ones count: it is
// an elective option.
func (r *Request) conditionsFromCoAP(m *coap.Message) error {
	for i := range m.Options {
		switch o := &m.Options[i]; {
		case o.ID == coap.IfMatch && len(o.Value) == 0:
			r.IfMatch = []string{anyTag}
		case o.ID == coap.IfMatch && len(o.Value) <= maxTag && len(r.IfMatch) < maxTags:
			if !slices.Equal(r.IfMatch, []string{anyTag}) {
				r.IfMatch = append(r.IfMatch, tagFromCoAP(o.Value))
			}
		case o.ID == coap.IfMatch, o.ID == coap.IfNoneMatch && (len(o.Value) > 0 || r.IfNoneMatch != nil):
			return badRequest("conditional option is malformed, repeated, or there are too many")
		case o.ID == coap.IfNoneMatch:
			r.IfNoneMatch = []string{anyTag}
		}
	}
	if r.IfNoneMatch != nil || r.Operation != Retrieve {
		return nil
	}
	for i := range m.Options {
		o := &m.Options[i]
		if o.ID == coap.ETag && len(o.Value) > 0 && len(o.Value) <= maxTag && len(r.IfNoneMatch) < maxTags {
			r.IfNoneMatch = append(r.IfNoneMatch, tagFromCoAP(o.Value))
		}
	}
	return nil
}

// addConditions is the inverse. A tag that CoAP can't say is none that the device gave out, and matches nothing: If-Match of
// nothing else has no form.
func (r *Request) addConditions(options coap.Options) (coap.Options, error) {
	matches := len(r.IfMatch) == 0
	for _, tag := range r.IfMatch {
		if b, ok := tagToCoAP(tag); ok || tag == anyTag {
			options, matches = options.Add(coap.IfMatch, b), true
		}
	}
	if !matches {
		return nil, notCarried("no entity tag of If-Match has a form in CoAP")
	}
	for _, tag := range r.IfNoneMatch {
		if tag == anyTag {
			options = options.Add(coap.IfNoneMatch, nil)
		} else if b, ok := tagToCoAP(tag); ok {
			options = options.Add(coap.ETag, b)
		}
	}
	return options, nil
}

// answers reports whether c can be the outcome of req: what nobody asked for is no answer.
func (c Condition) answers(req *Request) bool {
	switch {
	case c == ConditionNone:
		return true
	case req == nil:
		return false
	case c == NotModified:
		return req.Operation == Retrieve && len(req.IfNoneMatch) > 0
	}
	return len(req.IfMatch) > 0 || len(req.IfNoneMatch) > 0
}

// takeCondition completes an answer of 2.03, 304, 4.12 or 412 to a request that was conditional; tag is its entity tag.
func (s *Response) takeCondition(c Condition, req *Request, tag string) error {
	s.Condition = c
	if c == PreconditionFailed {
		if s.Status == 0 {
			s.Status = StatusConflict
		}
		if s.Status.Success() {
			return badRequest("success is reported, and a condition that failed")
		}
		return nil
	}
	if s.Status == 0 {
		s.Status = StatusOK
	}
	if tag == "" && len(req.IfNoneMatch) == 1 {
		tag = req.IfNoneMatch[0]
	}
	s.ETag = strings.TrimPrefix(tag, "W/")
	if s.Status != StatusOK || !slices.Contains(req.IfNoneMatch, s.ETag) {
		return badRequest("nothing is said to be modified, and not of which entity tag, or another status")
	}
	return nil
}

// maxAge returns how long HTTP says that an answer is fresh, in seconds (RFC 9111, Section 4.2); 0 when it doesn't say, or
// says that it isn't.
func maxAge(cacheControl, age string) uint32 {
	var fresh uint32
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.Trim(directive, " \t"), "=")
		switch {
		case strings.EqualFold(name, "no-store"), strings.EqualFold(name, "no-cache"):
			return 0
		case strings.EqualFold(name, "max-age"):
			v, ok := parseNumber(strings.Trim(value, `"`))
			if !ok || fresh != 0 { // two of them: nobody knows
				return 0
			}
			fresh = v
		}
	}
	if age == "" {
		return fresh
	}
	spent, ok := parseNumber(age)
	if !ok || spent >= fresh {
		return 0
	}
	return fresh - spent
}

func conditionOfCode(c coap.Code) Condition {
	switch c {
	case coap.Valid:
		return NotModified
	case coap.PreconditionFailed:
		return PreconditionFailed
	}
	return ConditionNone
}

func conditionOfHTTP(status int) Condition {
	switch status {
	case 304:
		return NotModified
	case 412:
		return PreconditionFailed
	}
	return ConditionNone
}
