package onem2m

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// A tree is the content of a JSON or CBOR serialisation (TS-0004, 8.4 and 8.5): map[string]any, []any, string, json.Number,
// bool or nil. Byte strings, which only CBOR has, are []byte.

// parseTree reads b as a whole. What is nested too deep, too much, has a name twice or isn't UTF-8 is refused in time and
// memory that grow with len(b) only (S38).
func parseTree(b []byte, f family) (any, error) {
	if len(b) > maxScan {
		return nil, badRequest("content is too long to be looked into")
	}
	switch f {
	case familyJSON:
		return parseJSON(b)
	case familyCBOR:
		return parseCBOR(b)
	}
	return nil, refuse(StatusUnsupportedMediaType, "content is neither JSON nor CBOR")
}

// cborMode has no indefinite lengths and no tags: oneM2M's CBOR is JSON's model with definite maps.
func cborMode() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  maxDepth,
		MaxArrayElements: maxNodes,
		MaxMapPairs:      maxNodes,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		DefaultMapType:   mapType,
	}.DecMode()
}

func parseCBOR(b []byte) (any, error) {
	if !fewValues(b) {
		return nil, badRequest("CBOR is malformed, or past a bound")
	}
	mode, err := cborMode()
	if err != nil {
		return nil, refuse(StatusInternalServerError, "CBOR decoder's options are wrong")
	}
	var v any
	if err := mode.Unmarshal(b, &v); err != nil {
		return nil, badRequest("CBOR is malformed, or past a bound")
	}
	return v, nil
}

// fewValues reports whether b has at most maxNodes values, before anything is made of them: the decoder bounds each array
// and map by itself, and an empty map of 1 byte takes some 60. It goes by heads alone (RFC 8949, Section 3); what it can't
// read, or lacks what a head announces, is the decoder's to refuse.
func fewValues(b []byte) bool {
	const byteString, textString, mapOfPairs, oneByte, eightBytes = 2, 3, 5, 24, 27
	for values := 0; len(b) > 0; {
		values++
		major, argument := b[0]>>5, uint64(b[0]&0x1f)
		b = b[1:]
		if argument >= oneByte && argument <= eightBytes {
			n := 1 << (argument - oneByte)
			if len(b) < n {
				return true
			}
			argument = 0
			for _, c := range b[:n] {
				argument = argument<<8 | uint64(c)
			}
			b = b[n:]
		}
		switch {
		case (major == byteString || major == textString) && argument > uint64(len(b)):
			return true
		case major == byteString || major == textString:
			b = b[argument:]
		case major == mapOfPairs && argument > maxNodes:
			return false
		case major == mapOfPairs:
			values -= int(argument) // its names, which come as items too
		}
		if values > maxNodes {
			return false
		}
	}
	return true
}

// jsonReader reads RFC 8259. encoding/json isn't used where a peer's content is judged: it takes the last of two equal
// names, replaces bad UTF-8, compares names without case, and goes 10,000 levels deep.
type jsonReader struct {
	b     []byte
	i     int
	nodes int
}

func parseJSON(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, badRequest("JSON is no UTF-8")
	}
	r := jsonReader{b: b}
	v, ok := r.value(0)
	if ok {
		r.blanks()
		ok = r.i == len(b)
	}
	if !ok {
		return nil, badRequest("JSON is malformed, or past a bound")
	}
	return v, nil
}

func (r *jsonReader) blanks() {
	for r.i < len(r.b) && (r.b[r.i] == ' ' || r.b[r.i] == '\t' || r.b[r.i] == '\n' || r.b[r.i] == '\r') {
		r.i++
	}
}

// next skips blanks and returns the byte that follows; 0 at the end.
func (r *jsonReader) next() byte {
	r.blanks()
	if r.i == len(r.b) {
		return 0
	}
	return r.b[r.i]
}

// take skips blanks and c, and reports whether c was there.
func (r *jsonReader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.i++
	return true
}

func (r *jsonReader) value(depth int) (any, bool) {
	if r.nodes++; depth > maxDepth || r.nodes > maxNodes {
		return nil, false
	}
	switch c := r.next(); {
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.array(depth)
	case c == '"':
		return r.text()
	case c == 't':
		return true, r.literal("true")
	case c == 'f':
		return false, r.literal("false")
	case c == 'n':
		return nil, r.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	}
	return nil, false
}

func (r *jsonReader) literal(s string) bool {
	if len(r.b)-r.i < len(s) || string(r.b[r.i:r.i+len(s)]) != s {
		return false
	}
	r.i += len(s)
	return true
}

func (r *jsonReader) object(depth int) (any, bool) {
	r.i++
	object := map[string]any{}
	if r.take('}') {
		return object, true
	}
	for {
		if r.next() != '"' {
			return nil, false
		}
		name, ok := r.text()
		if !ok || !r.take(':') {
			return nil, false
		}
		if _, twice := object[name]; twice {
			return nil, false
		}
		if object[name], ok = r.value(depth + 1); !ok {
			return nil, false
		}
		if r.take('}') {
			return object, true
		}
		if !r.take(',') {
			return nil, false
		}
	}
}

func (r *jsonReader) array(depth int) (any, bool) {
	r.i++
	array := []any{}
	if r.take(']') {
		return array, true
	}
	for {
		v, ok := r.value(depth + 1)
		if !ok {
			return nil, false
		}
		array = append(array, v)
		if r.take(']') {
			return array, true
		}
		if !r.take(',') {
			return nil, false
		}
	}
}

// text reads a string, of which the opening quote is next.
func (r *jsonReader) text() (string, bool) {
	start := r.i
	escaped := false
	for r.i++; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; {
		case c == '"':
			r.i++
			if !escaped {
				return string(r.b[start+1 : r.i-1]), true
			}
			var s string
			raw := r.b[start:r.i]
			if json.Unmarshal(raw, &s) != nil || loneSurrogate(s, raw) {
				return "", false
			}
			return s, true
		case c == '\\':
			escaped = true
			r.i++
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// loneSurrogate reports whether raw held half a surrogate pair, which encoding/json replaces by U+FFFD. A replacement
// character that was written as itself or as \ufffd is harmless, and refused with it where the two can't be told apart.
func loneSurrogate(s string, raw []byte) bool {
	count := func(text string) (n int) {
		for _, c := range text {
			if c == utf8.RuneError {
				n++
			}
		}
		return n
	}
	return count(s) > count(string(raw))
}

func (r *jsonReader) number() (any, bool) {
	start := r.i
	for r.i < len(r.b) {
		switch c := r.b[r.i]; {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			r.i++
			continue
		}
		break
	}
	n := r.b[start:r.i]
	return json.Number(n), json.Valid(n)
}
