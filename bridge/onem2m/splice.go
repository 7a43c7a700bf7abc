package onem2m

import (
	"bytes"
	"strings"
)

// MapLists hands every list of strings in content that is a member called name, at any depth, to f in document order, and
// puts what f returns in its place; changed false leaves it as it is, and a nil list takes the member out. A string stands
// for a list of one, null for nil; in XML the list is the text of an element of that local name (TS-0004, 8.3: blanks
// separate it). Every other byte is kept. What stands under con is the application's, and not looked into.
//
// f is called after the whole content has been read. The error is an *Error: 4000 when content is malformed, past a bound,
// has two members of one name, or a member called name that is no list of strings; 4015 for a serialisation that can't be
// read. Content that can't hold the name is returned without being read further; content itself is never changed.
func MapLists(content []byte, media, name string, f func(list []string) (to []string, changed bool)) ([]byte, error) {
	serialisation := familyOf(media)
	if lacksName(content, serialisation, name) {
		return content, nil
	}
	if serialisation == familyXML {
		return mapXMLLists(content, name, f)
	}
	spans, err := spansOf(content, serialisation)
	if err != nil {
		return nil, err
	}
	found, err := findLists(content, serialisation, spans, name)
	if err != nil {
		return nil, err
	}
	var edits []edit
	for _, l := range found {
		to, changed := f(l.list)
		if !changed {
			continue
		}
		if to == nil {
			edits = appendRemoval(edits, content, serialisation, spans, l.at)
			continue
		}
		with, err := appendListLike(nil, serialisation, &spans[l.at], to)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{spans[l.at].start, spans[l.at].end, with})
	}
	return apply(content, edits), nil
}

// SetPOA makes poa the pointOfAccess of the AE that content represents, under the root m2m:ae or ae; a nil poa takes the
// attribute out. An AE without one gets it as its first member; in XML behind the attributes that the schema puts before it
// (CDT-AE: those common to resources, apn, api and aei). Every other byte is kept. The error is an *Error with 4000 when
// content isn't exactly one AE, or can't be read as MapLists says.
func SetPOA(content []byte, media string, poa []string) ([]byte, error) {
	f := familyOf(media)
	if f == familyXML {
		return setXMLPOA(content, poa)
	}
	spans, err := spansOf(content, f)
	if err != nil {
		return nil, err
	}
	const ae = 1
	if spans[0].kind != kindObject || len(spans) == 1 || spans[ae].next != len(spans) || spans[ae].kind != kindObject ||
		spans[ae].key != "m2m:ae" && spans[ae].key != "ae" {
		return nil, badRequest("content is no AE")
	}
	at := memberOf(spans, ae, attributePOA)
	switch {
	case at < 0 && poa == nil:
		return content, nil
	case at < 0:
		edits, err := appendInsertion(nil, content, f, &spans[ae], attributePOA, poa)
		if err != nil {
			return nil, err
		}
		return apply(content, edits), nil
	case poa == nil:
		return apply(content, appendRemoval(nil, content, f, spans, at)), nil
	}
	with, err := appendListLike(nil, f, &spans[at], poa)
	if err != nil {
		return nil, err
	}
	return apply(content, []edit{{spans[at].start, spans[at].end, with}}), nil
}

const (
	attributePOA     = "poa" // pointOfAccess
	attributeContent = "con" // of a contentInstance
)

// lacksName reports whether no reader finds a member called name in content: its bytes are not there, nor anything that could
// stand for them. NUL is in every text of UTF-16 and UTF-32, which some readers tell by it.
func lacksName(content []byte, f family, name string) bool {
	if len(content) == 0 {
		return true
	}
	switch f {
	case familyJSON:
		return !hasQuoted(content, name) && bytes.IndexByte(content, 0) < 0 && escapesInValuesOnly(content)
	case familyCBOR:
		const chunked = 0x7f // a text in pieces
		return !containsName(content, name) && bytes.IndexByte(content, chunked) < 0
	case familyXML: // a declaration can name an encoding or hide a name in an entity
		return !containsName(content, name) && bytes.IndexByte(content, 0) < 0 && !bytes.Contains(content, []byte("<!")) &&
			!bytes.Contains(content, []byte("<?"))
	}
	return false
}

func containsName(content []byte, name string) bool {
	for len(content) >= len(name) {
		i := bytes.IndexByte(content, name[0])
		if i < 0 || len(content)-i < len(name) {
			return false
		}
		if string(content[i:i+len(name)]) == name {
			return true
		}
		content = content[i+1:]
	}
	return false
}

func hasQuoted(content []byte, name string) bool {
	for {
		i := bytes.IndexByte(content, '"')
		if i < 0 || len(content)-i < len(name)+2 {
			return false
		}
		content = content[i+1:]
		if content[len(name)] == '"' && string(content[:len(name)]) == name {
			return true
		}
	}
}

// escapesInValuesOnly reports whether every backslash of JSON stands in a string that is certainly no name: what follows the
// string is a comma or a closing bracket, and not a colon, or a comment that only some readers know.
func escapesInValuesOnly(content []byte) bool {
	for i := 0; i < len(content); i++ {
		switch content[i] {
		case '\\':
			return false
		case '"':
			escaped := false
			for i++; i < len(content) && content[i] != '"'; i++ {
				if content[i] == '\\' {
					escaped = true
					i++
				}
			}
			if !escaped {
				continue
			}
			r := jsonReader{b: content, i: min(i+1, len(content))}
			if c := r.next(); c != ',' && c != '}' && c != ']' {
				return false
			}
		}
	}
	return true
}

// foundList is a list, and the index of its span.
type foundList struct {
	list []string
	at   int
}

func findLists(content []byte, f family, spans []span, name string) ([]foundList, error) {
	var found []foundList
	for i := 0; i < len(spans); {
		v := &spans[i]
		switch {
		case v.member && v.key == name:
			list, ok := listOf(content, f, spans, i)
			if !ok || len(found) == maxLists {
				return nil, badRequest("member is no list of strings, or there are too many")
			}
			found = append(found, foundList{list, i})
			i = v.next
		case v.member && v.key == attributeContent:
			i = v.next
		default:
			i++
		}
	}
	return found, nil
}

// listOf returns the list that spans[at] is.
func listOf(content []byte, f family, spans []span, at int) ([]string, bool) {
	switch v := &spans[at]; v.kind {
	case kindNull:
		return nil, true
	case kindText:
		s, ok := textOf(content, f, v)
		return []string{s}, ok
	case kindArray:
		list := make([]string, 0, min(v.next-at-1, maxMembers))
		for i := at + 1; i < v.next; i++ {
			s, ok := textOf(content, f, &spans[i])
			if !ok || len(list) == maxMembers {
				return nil, false
			}
			list = append(list, s)
		}
		return list, true
	}
	return nil, false
}

// appendListLike appends list as the sender of v writes it: one who wrote a string gets a list of one as a string.
func appendListLike(b []byte, f family, v *span, list []string) ([]byte, error) {
	if v.kind == kindText && len(list) == 1 {
		return appendText(b, f, list[0])
	}
	return appendList(b, f, list)
}

// appendRemoval appends the edits that take the member spans[at] out.
func appendRemoval(edits []edit, content []byte, f family, spans []span, at int) []edit {
	v := &spans[at]
	if f == familyCBOR {
		return append(edits, headEdit(content, &spans[v.parent], -1), edit{v.keyStart, v.end, nil})
	}
	before := len(bytes.TrimRight(content[:v.keyStart], " \t\r\n")) - 1
	if content[before] == ',' {
		return append(edits, edit{before, v.end, nil})
	}
	if r := (jsonReader{b: content, i: v.end}); r.take(',') {
		return append(edits, edit{v.keyStart, r.i, nil})
	}
	return append(edits, edit{v.keyStart, v.end, nil})
}

// headEdit changes the number of members in the head of a map of CBOR.
func headEdit(content []byte, v *span, by int) edit {
	s := spanReader{b: content, i: v.start}
	_, argument, _ := s.head()
	return edit{v.start, s.i, appendCBORHead(nil, cborMap, argument+uint64(by))}
}

// appendInsertion appends the edits that give the map v a first member.
func appendInsertion(edits []edit, content []byte, f family, v *span, name string, list []string) ([]edit, error) {
	with, err := appendText(nil, f, name)
	if err != nil {
		return nil, err
	}
	if f != familyCBOR {
		with = append(with, ':')
	}
	if with, err = appendList(with, f, list); err != nil {
		return nil, err
	}
	if f == familyCBOR {
		head := headEdit(content, v, 1)
		head.with = append(head.with, with...)
		return append(edits, head), nil
	}
	if r := (jsonReader{b: content, i: v.start + 1}); r.next() != '}' {
		with = append(with, ',')
	}
	return append(edits, edit{v.start + 1, v.start + 1, with}), nil
}

// fieldsOf splits the text of a list in XML.
func fieldsOf(text string) []string {
	if list := strings.Fields(text); list != nil {
		return list
	}
	return []string{}
}
