package onem2m

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// A span is one value of JSON or CBOR content, and where it stands in it. A content's spans are in document order: the
// members of a map or an array follow it, up to its next. They are there so that parts can be taken out or put in without
// the rest being written anew.
type span struct {
	kind       kind
	member     bool
	key        string // of a member, decoded
	keyStart   int    // of a member: where its name begins
	start, end int    // of the value
	next       int    // index of the first span behind this one and all that it holds
	parent     int    // index; -1 of the root
}

type kind uint8

const (
	kindOther kind = iota
	kindNull
	kindText
	kindArray
	kindObject
)

// spansOf reads content as parseTree does, by the same bounds.
func spansOf(content []byte, f family) ([]span, error) {
	if _, err := parseTree(content, f); err != nil {
		return nil, err
	}
	s := spanReader{b: content}
	ok := false
	if f == familyCBOR {
		ok = s.cbor(span{parent: -1})
	} else {
		ok = s.json(span{parent: -1})
	}
	if !ok || len(s.spans) == 0 {
		return nil, badRequest("content is malformed")
	}
	return s.spans, nil
}

// spanReader goes through content that parseTree has read.
type spanReader struct {
	b     []byte
	i     int
	spans []span
}

// open appends v, which begins at i, and returns its index.
func (s *spanReader) open(v span, k kind) int {
	v.kind, v.start = k, s.i
	s.spans = append(s.spans, v)
	return len(s.spans) - 1
}

func (s *spanReader) close(at int) {
	s.spans[at].end, s.spans[at].next = s.i, len(s.spans)
}

// json appends the value that is next; v has what its parent knows of it.
func (s *spanReader) json(v span) bool {
	r := jsonReader{b: s.b, i: s.i}
	c := r.next()
	s.i = r.i
	at, ok := 0, true
	switch c {
	case '{', '[':
		at = s.open(v, kindObject)
		if c == '[' {
			s.spans[at].kind = kindArray
		}
		s.i++
		ok = s.jsonMembers(at)
	case '"':
		at = s.open(v, kindText)
		_, ok = r.text()
		s.i = r.i
	default:
		k := kindOther
		if c == 'n' {
			k = kindNull
		}
		at = s.open(v, k)
		for s.i < len(s.b) && !bytes.ContainsRune([]byte(",]} \t\r\n"), rune(s.b[s.i])) {
			s.i++
		}
	}
	s.close(at)
	return ok
}

func (s *spanReader) jsonMembers(at int) bool {
	object := s.spans[at].kind == kindObject
	end := byte(']')
	if object {
		end = '}'
	}
	r := jsonReader{b: s.b, i: s.i}
	if r.take(end) {
		s.i = r.i
		return true
	}
	for {
		v := span{parent: at}
		if object {
			r.blanks()
			v.member, v.keyStart = true, r.i
			var ok bool
			if v.key, ok = r.text(); !ok || !r.take(':') {
				return false
			}
		}
		s.i = r.i
		if !s.json(v) {
			return false
		}
		r.i = s.i
		if r.take(end) {
			s.i = r.i
			return true
		}
		if !r.take(',') {
			return false
		}
	}
}

// The major types of CBOR (RFC 8949, Section 3.1).
const (
	cborUnsigned = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple
)

// head takes the head of an item with a definite length. The argument of a float is its bits.
func (s *spanReader) head() (major byte, argument uint64, ok bool) {
	if s.i >= len(s.b) {
		return 0, 0, false
	}
	major, argument = s.b[s.i]>>5, uint64(s.b[s.i]&0x1f)
	s.i++
	if argument < 24 {
		return major, argument, true
	}
	if argument > 27 {
		return 0, 0, false
	}
	n := 1 << (argument - 24)
	if len(s.b)-s.i < n {
		return 0, 0, false
	}
	argument = 0
	for _, c := range s.b[s.i : s.i+n] {
		argument = argument<<8 | uint64(c)
	}
	s.i += n
	return major, argument, true
}

// cbor is json for CBOR.
func (s *spanReader) cbor(v span) bool {
	at := s.open(v, kindOther)
	initial := byte(0)
	if s.i < len(s.b) {
		initial = s.b[s.i]
	}
	major, argument, ok := s.head()
	if !ok {
		return false
	}
	switch major {
	case cborBytes, cborText:
		if argument > uint64(len(s.b)-s.i) {
			return false
		}
		s.i += int(argument)
		if major == cborText {
			s.spans[at].kind = kindText
		}
	case cborArray:
		s.spans[at].kind = kindArray
		for range argument {
			if !s.cbor(span{parent: at}) {
				return false
			}
		}
	case cborMap:
		s.spans[at].kind = kindObject
		for range argument {
			m := span{parent: at, member: true, keyStart: s.i}
			if m.key, ok = s.cborText(); !ok || !s.cbor(m) {
				return false
			}
		}
	case cborSimple:
		const null, undefined = 0xf6, 0xf7
		if initial == null || initial == undefined {
			s.spans[at].kind = kindNull
		}
	}
	s.close(at)
	return true
}

func (s *spanReader) cborText() (string, bool) {
	major, argument, ok := s.head()
	if !ok || major != cborText || argument > uint64(len(s.b)-s.i) {
		return "", false
	}
	start := s.i
	s.i += int(argument)
	return string(s.b[start:s.i]), true
}

// textOf returns the string that v is.
func textOf(content []byte, f family, v *span) (string, bool) {
	if v.kind != kindText {
		return "", false
	}
	if f == familyCBOR {
		s := spanReader{b: content, i: v.start}
		return s.cborText()
	}
	r := jsonReader{b: content, i: v.start}
	return r.text()
}

// memberOf returns the index of the member of spans[at] that is called name; -1 when there is none.
func memberOf(spans []span, at int, name string) int {
	if spans[at].kind != kindObject {
		return -1
	}
	for i := at + 1; i < spans[at].next; i = spans[i].next {
		if spans[i].key == name {
			return i
		}
	}
	return -1
}

// appendCBORHead appends the shortest head (RFC 8949, Section 4.2.1).
func appendCBORHead(b []byte, major byte, argument uint64) []byte {
	major <<= 5
	switch {
	case argument < 24:
		return append(b, major|byte(argument))
	case argument <= 0xff:
		return append(b, major|24, byte(argument))
	case argument <= 0xffff:
		return append(b, major|25, byte(argument>>8), byte(argument))
	case argument <= 0xffffffff:
		return append(b, major|26, byte(argument>>24), byte(argument>>16), byte(argument>>8), byte(argument))
	}
	b = append(b, major|27)
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(argument>>shift))
	}
	return b
}

// appendText appends s as a string of f.
func appendText(b []byte, f family, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, badRequest("text is no UTF-8")
	}
	if f == familyCBOR {
		return append(appendCBORHead(b, cborText, uint64(len(s))), s...), nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return nil, refuse(StatusInternalServerError, "text can't be written")
	}
	return append(b, bytes.TrimRight(text.Bytes(), "\n")...), nil
}

// appendList appends list as an array of f.
func appendList(b []byte, f family, list []string) ([]byte, error) {
	if f == familyCBOR {
		b = appendCBORHead(b, cborArray, uint64(len(list)))
	} else {
		b = append(b, '[')
	}
	for i, s := range list {
		if f != familyCBOR && i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendText(b, f, s); err != nil {
			return nil, err
		}
	}
	if f != familyCBOR {
		b = append(b, ']')
	}
	return b, nil
}

// edit puts with in the place of the bytes from start to end.
type edit struct {
	start, end int
	with       []byte
}

// apply returns a copy of content with the edits made, which don't overlap; content itself when there are none.
func apply(content []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return content
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	size := len(content)
	for i := range edits {
		size += len(edits[i].with)
	}
	b, done := make([]byte, 0, size), 0
	for i := range edits {
		b = append(append(b, content[done:edits[i].start]...), edits[i].with...)
		done = edits[i].end
	}
	return append(b, content[done:]...)
}
