package onem2m

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// An element is one element of XML content, and where it stands in it. Elements are in document order, as spans are.
type element struct {
	name                   string // local
	start, inner           int    // of the start tag, and behind it
	innerEnd, end          int    // of the end tag, and behind it; with "<a/>" both are inner
	next, parent, children int    // children: how many it holds directly
	text                   []byte // of one that was asked for
}

// elementsOf reads content by the bounds of limits.go. Declarations of types and entities, and encodings but UTF-8, are
// refused; the text of elements called name is kept.
func elementsOf(content []byte, name string) ([]element, error) {
	bad := badRequest("XML is malformed, or past a bound")
	if len(content) > maxScan || !utf8.Valid(content) {
		return nil, bad
	}
	decoder := xml.NewDecoder(bytes.NewReader(content))
	var elements []element
	open, depth := -1, 0
	for nodes := 0; ; nodes++ {
		start := int(decoder.InputOffset())
		token, err := decoder.Token()
		if err == io.EOF && open < 0 && len(elements) > 0 {
			return elements, nil
		}
		if err != nil || nodes > maxNodes {
			return nil, bad
		}
		offset := int(decoder.InputOffset())
		switch token := token.(type) {
		case xml.Directive:
			return nil, bad
		case xml.StartElement:
			if depth++; depth > maxDepth || open < 0 && len(elements) > 0 {
				return nil, bad
			}
			if open >= 0 {
				elements[open].children++
			}
			elements = append(elements, element{name: token.Name.Local, start: start, inner: offset, parent: open})
			open = len(elements) - 1
		case xml.CharData:
			if open >= 0 && elements[open].name == name {
				elements[open].text = append(elements[open].text, token...)
			}
		case xml.EndElement:
			if open < 0 {
				return nil, bad
			}
			depth--
			e := &elements[open]
			e.innerEnd, e.end, e.next = start, offset, len(elements)
			open = e.parent
		}
	}
}

// twice reports whether the parent of elements[at] has an earlier child of the same name, of which readers would differ in
// the one that they take. seen has the parents that there are already.
func twice(seen map[int]bool, parent int) bool {
	before := seen[parent]
	seen[parent] = true
	return before
}

func mapXMLLists(content []byte, name string, f func([]string) ([]string, bool)) ([]byte, error) {
	elements, err := elementsOf(content, name)
	if err != nil {
		return nil, err
	}
	var found []int
	seen := map[int]bool{}
	for i := 0; i < len(elements); {
		e := &elements[i]
		switch {
		case e.name == name:
			if e.children > 0 || len(found) == maxLists || len(fieldsOf(string(e.text))) > maxMembers || twice(seen, e.parent) {
				return nil, badRequest("element is no list of strings, stands there twice, or there are too many")
			}
			found = append(found, i)
			i = e.next
		case e.name == attributeContent:
			i = e.next
		default:
			i++
		}
	}
	var edits []edit
	for _, i := range found {
		to, changed := f(fieldsOf(string(elements[i].text)))
		if !changed {
			continue
		}
		change, err := elements[i].edit(content, to)
		if err != nil {
			return nil, err
		}
		edits = append(edits, change)
	}
	return apply(content, edits), nil
}

// edit returns what makes list the text of e, or takes e out when list is nil.
func (e *element) edit(content []byte, list []string) (edit, error) {
	if list == nil {
		return edit{e.start, e.end, nil}, nil
	}
	text, err := xmlList(list)
	if err != nil {
		return edit{}, err
	}
	if e.selfClosing(content) {
		return edit{e.inner - len("/>"), e.inner, e.closed(content, text)}, nil
	}
	return edit{e.inner, e.innerEnd, text}, nil
}

func (e *element) selfClosing(content []byte) bool { return e.innerEnd == e.inner && e.end == e.inner }

// closed is what stands for the "/>" of e when it holds inner.
func (e *element) closed(content, inner []byte) []byte {
	tag := content[e.start+1 : e.inner]
	tag = tag[:bytes.IndexAny(tag, " \t\r\n/>")]
	b := append([]byte{'>'}, inner...)
	return append(append(append(b, '<', '/'), tag...), '>')
}

// xmlList is list as the text of an element (XML Schema, list types).
func xmlList(list []string) ([]byte, error) {
	var b bytes.Buffer
	for i, s := range list {
		if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return isControl(r) || r == utf8.RuneError }) ||
			len(strings.Fields(s)) != 1 || len(strings.Fields(s)[0]) != len(s) {
			return nil, badRequest("text can't stand in a list of XML")
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		if err := xml.EscapeText(&b, []byte(s)); err != nil {
			return nil, refuse(StatusInternalServerError, "text can't be written")
		}
	}
	return b.Bytes(), nil
}

// beforePOA are the elements that TS-0004's schema of an AE has before poa: those of every resource, and its own first ones.
var beforePOA = [...]string{"ty", "ri", "pi", "ct", "lt", "lbl", "rn", "acpi", "et", "daci", "at", "aa", "ast", "loc", "cr", "cstn",
	"apn", "api", "aei"}

func setXMLPOA(content []byte, poa []string) ([]byte, error) {
	elements, err := elementsOf(content, attributePOA)
	if err != nil {
		return nil, err
	}
	root := &elements[0]
	if root.name != "ae" {
		return nil, badRequest("content is no AE")
	}
	insert, at := root.inner, -1
	for i := 1; i < len(elements); i = elements[i].next {
		switch e := &elements[i]; {
		case e.name == attributePOA && (at >= 0 || e.children > 0):
			return nil, badRequest("AE has two pointOfAccess, or one that is no list")
		case e.name == attributePOA:
			at = i
		case slices.Contains(beforePOA[:], e.name):
			insert = e.end
		}
	}
	switch {
	case at >= 0:
		change, err := elements[at].edit(content, poa)
		if err != nil {
			return nil, err
		}
		return apply(content, []edit{change}), nil
	case poa == nil:
		return content, nil
	}
	text, err := xmlList(poa)
	if err != nil {
		return nil, err
	}
	with := append(append([]byte("<poa>"), text...), "</poa>"...)
	if root.selfClosing(content) {
		return apply(content, []edit{{root.inner - len("/>"), root.inner, root.closed(content, with)}}), nil
	}
	return apply(content, []edit{{insert, insert, with}}), nil
}
