package onem2m

import (
	"slices"
	"strconv"
	"strings"
)

// ParsePrimitive reads a whole request primitive in JSON or CBOR (TS-0004, 8.4 and 8.5), as a polling channel hands it out
// (TS-0001, 10.2.5.16): the short names of TS-0004, table 8.2.2-1, with or without the root m2m:rqp around them. Its pc becomes
// the Content byte for byte, a part of content. To may be absent, and then is empty: whose polling channel it was tells. The
// error is an *Error: 4000 for what is malformed or past a bound, 4001 for an unknown release, 5001 for a parameter that a
// Request has no place for, and 4015 for XML (a deviation, as with FETCH).
func ParsePrimitive(content []byte, media string) (*Request, error) {
	f, spans, root, err := wholeSpans(content, media, "rqp")
	if err != nil {
		return nil, err
	}
	r, pc := &Request{}, -1
	members := make([]int, 0, 16)
	for i := root + 1; i < spans[root].next; i = spans[i].next {
		members = append(members, i)
	}
	// In the order of their names, as FETCH reads them.
	slices.SortFunc(members, func(a, b int) int { return strings.Compare(spans[a].key, spans[b].key) })
	for _, i := range members {
		name := spans[i].key
		if name == "pc" {
			pc = i
			continue
		}
		v, err := parseTree(content[spans[i].start:spans[i].end], f)
		if err != nil {
			return nil, err
		}
		if name == keyOperation {
			s, ok := scalar(v)
			if !ok || len(s) != 1 || s[0] < '1' || s[0] > '5' { // TS-0004, 6.3.4.2.5
				return nil, badRequest("op is unknown")
			}
			r.Operation = Operation(s[0] - '0')
			continue
		}
		if err := r.fetchMember(name, v); err != nil {
			return nil, err
		}
	}
	if pc >= 0 {
		if err := r.takeContent(content, f, &spans[pc]); err != nil {
			return nil, err
		}
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// takeContent takes pc: of a RETRIEVE a list of attributes, as FETCH has it; of any other operation the Content.
func (r *Request) takeContent(content []byte, f family, pc *span) error {
	if pc.kind == kindNull {
		return nil
	}
	raw := content[pc.start:pc.end:pc.end]
	if r.Operation == Retrieve {
		v, err := parseTree(raw, f)
		if err != nil {
			return err
		}
		return r.fetchContent(v)
	}
	r.Content, r.MediaType = raw, mediaOf(f)
	return nil
}

// RequestIDFromPrimitive returns the Request Identifier of a primitive that ParsePrimitive refused, for the answer to it; ""
// when there is none that could be sent back.
func RequestIDFromPrimitive(content []byte, media string) string {
	f, spans, root, err := wholeSpans(content, media, "rqp")
	if err != nil {
		return ""
	}
	i := memberOf(spans, root, "rqi")
	if i < 0 {
		return ""
	}
	v, err := parseTree(content[spans[i].start:spans[i].end], f)
	if s, ok := joined(v); err == nil && ok && validText(s) { // as fetchParameter reads it
		return s
	}
	return ""
}

// SplitPrimitives returns the request primitives that content holds, each for ParsePrimitive and a part of content: those of
// an aggregated request (m2m:agrp, TS-0001, 9.6.21: requestAggregation), in their order, or content itself. The error is an
// *Error with 4000, or 4015 as ParsePrimitive has it.
func SplitPrimitives(content []byte, media string) ([][]byte, error) {
	f, err := wholeFamily(media)
	if err != nil {
		return nil, err
	}
	spans, err := spansOf(content, f)
	if err != nil {
		return nil, err
	}
	list := memberOf(spans, 0, "m2m:agrp")
	if list < 0 {
		return [][]byte{content}, nil
	}
	if spans[list].kind == kindObject && list+1 < spans[list].next && spans[list+1].next == spans[list].next {
		list++ // {"m2m:rqp": [...]}
	}
	if spans[list].kind != kindArray || spans[0].next != spans[list].next || spans[0].next != len(spans) {
		return nil, badRequest("aggregated request is no list")
	}
	var primitives [][]byte
	for i := list + 1; i < spans[list].next; i = spans[i].next {
		if len(primitives) == maxAggregated {
			return nil, badRequest("aggregated request has too many members")
		}
		primitives = append(primitives, content[spans[i].start:spans[i].end:spans[i].end])
	}
	return primitives, nil
}

// Primitive writes s, the answer to req, as a whole response primitive under the root m2m:rsp, in the serialisation of media
// (TS-0004, 8.4 and 8.5). req may be nil. Content stands under pc as it is; without any, the URI of what was created does, as
// m2m:uri. ETag and Max-Age have no parameter, and are left out. The error is an *Error: 4015 for XML, and 5000 when the
// Content isn't well-formed or of another serialisation, or when a parameter has no form here.
func (s *Response) Primitive(req *Request, media string) ([]byte, error) {
	f, err := wholeFamily(media)
	if err != nil {
		return nil, err
	}
	answer, _, _ := s.completed(req)
	w := memberWriter{f: f}
	for i := range parameters {
		row := &parameters[i]
		switch {
		case row.response.number != nil:
			if v, ok := row.response.number.get(&answer); ok {
				w.number(row.name, v)
			}
		case row.response.text != nil:
			v, ok := row.response.text.get(&answer)
			switch {
			case !ok:
				continue
			case !validText(v):
				return nil, badAnswer(badRequest("text parameter holds a byte that is not allowed, or is too long"))
			case row.name == "ati": // a structure, and no receiver of a CSE's request assigns tokens
				return nil, badAnswer(notCarried("Assigned Token Identifiers have no form in a whole primitive"))
			}
			w.text(row.name, v)
		}
	}
	switch {
	case len(answer.Content) > 0:
		if familyOf(answer.MediaType) != f {
			return nil, badAnswer(notCarried("Content is of another serialisation than the primitive"))
		}
		if _, err := parseTree(answer.Content, f); err != nil { // nothing in it may end up beside pc
			return nil, badAnswer(err)
		}
		w.raw("pc", answer.Content)
	case answer.Created != "":
		uri := memberWriter{f: f}
		uri.text("m2m:uri", answer.Created)
		w.raw("pc", uri.bytes())
	}
	root := memberWriter{f: f}
	root.raw("m2m:rsp", w.bytes())
	if w.bad {
		return nil, badAnswer(badRequest("text parameter is no UTF-8"))
	}
	return root.bytes(), nil
}

func wholeFamily(media string) (family, error) {
	f := familyOf(media)
	if f != familyJSON && f != familyCBOR {
		return f, refuse(StatusUnsupportedMediaType, "primitive is neither JSON nor CBOR")
	}
	return f, nil
}

// wholeSpans reads a primitive, and returns the index of the map of its parameters: that under the root's name, or the whole.
func wholeSpans(content []byte, media, name string) (f family, spans []span, root int, err error) {
	if f, err = wholeFamily(media); err != nil {
		return f, nil, 0, err
	}
	if spans, err = spansOf(content, f); err != nil {
		return f, nil, 0, err
	}
	if len(spans) > 1 && spans[1].next == len(spans) && spans[1].kind == kindObject &&
		(spans[1].key == "m2m:"+name || spans[1].key == name) {
		root = 1
	}
	if spans[root].kind != kindObject {
		return f, nil, 0, badRequest("payload is no primitive")
	}
	return f, spans, root, nil
}

func mediaOf(f family) string {
	if f == familyCBOR {
		return "application/cbor"
	}
	return "application/json"
}

// memberWriter writes a map of JSON or CBOR.
type memberWriter struct {
	f       family
	b       []byte
	members uint64
	bad     bool // a text was no UTF-8
}

func (w *memberWriter) raw(name string, value []byte) {
	if w.f != familyCBOR && w.members > 0 {
		w.b = append(w.b, ',')
	}
	w.members++
	w.appendText(name)
	if w.f != familyCBOR {
		w.b = append(w.b, ':')
	}
	w.b = append(w.b, value...)
}

func (w *memberWriter) appendText(s string) {
	b, err := appendText(w.b, w.f, s)
	if err != nil {
		w.bad = true
		return
	}
	w.b = b
}

func (w *memberWriter) text(name, value string) {
	w.raw(name, nil)
	w.appendText(value)
}

func (w *memberWriter) number(name string, value uint32) {
	w.raw(name, nil)
	if w.f == familyCBOR {
		w.b = appendCBORHead(w.b, cborUnsigned, uint64(value))
		return
	}
	w.b = strconv.AppendUint(w.b, uint64(value), 10)
}

func (w *memberWriter) bytes() []byte {
	if w.f == familyCBOR {
		return append(appendCBORHead(nil, cborMap, w.members), w.b...)
	}
	return append(append([]byte{'{'}, w.b...), '}')
}
