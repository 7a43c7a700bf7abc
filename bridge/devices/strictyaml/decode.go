// Package strictyaml reads YAML (1.2) that an operator wrote into plain structs, and finds every fault at once: an unknown
// or repeated field, a value of the wrong type, a syntax error, each with its file, line, field and remedy.
//
// A struct's field is named by its tag `yaml:"name"`. Known types are string, bool, the integers, float64, time.Duration
// ("30s"), whatever implements encoding.TextUnmarshaler, and structs, pointers to structs, slices and maps with string
// keys of them. An absent field and an empty value leave the struct as it was, so that defaults can be set before.
//
// It doesn't do anchors, aliases, merge keys, tags or several documents in one file: a reader of the file has to see what
// holds, and an alias can make a small file huge. A Document is used by one goroutine at a time.
package strictyaml

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxDepth bounds the nesting of a file before the parser recurses into it; ours need five levels.
const maxDepth = 64

// Document is one decoded piece of a file: where each field stands, and what was wrong.
type Document struct {
	file     string
	first    int // line of the file on which the piece begins
	parsed   bool
	lines    map[string]int
	problems Problems
	warnings Problems
}

// Decode reads data, which begins at line first (1 for a whole file) of file, into the struct that into points to. Field
// names in problems begin with prefix.
func Decode(file string, first int, data []byte, prefix string, into any) *Document {
	d := &Document{file: file, first: first, lines: map[string]int{}}
	body, ok := d.parse(data)
	d.parsed = ok
	if !ok || body == nil {
		return d
	}
	d.value(body, reflect.ValueOf(into).Elem(), prefix)
	return d
}

// DecodeItem is Decode for a piece that is one item of a block sequence ("- name: x").
func DecodeItem(file string, first int, data []byte, prefix string, into any) *Document {
	d := &Document{file: file, first: first, lines: map[string]int{}}
	body, ok := d.parse(data)
	d.parsed = ok
	if !ok || body == nil {
		return d
	}
	items, ok := body.(*ast.SequenceNode)
	if !ok || len(items.Values) != 1 {
		d.problem(d.line(body), prefix, "is no single item of a list", `begin each item with "- "`)
		return d
	}
	d.value(items.Values[0], reflect.ValueOf(into).Elem(), prefix)
	return d
}

// Has reports whether the file has the field.
func (d *Document) Has(field string) bool { _, ok := d.lines[field]; return ok }

// Parsed reports whether the piece is YAML at all; when it isn't, nothing about its fields can be said.
func (d *Document) Parsed() bool { return d.parsed }

// Failed reports whether a problem of the field, or of one within it, was found.
func (d *Document) Failed(field string) bool {
	for _, p := range d.problems {
		if rest, ok := strings.CutPrefix(p.Field, field); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// Line returns the line of a field, or that of the nearest field around it, or 0.
func (d *Document) Line(field string) int {
	for field != "" {
		if n, ok := d.lines[field]; ok {
			return n
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return d.lines[""]
}

// Report adds a problem that the caller found in a field.
func (d *Document) Report(field, message, remedy string) {
	d.problem(d.Line(field), field, message, remedy)
}

// Warn adds something that doesn't stop the start.
func (d *Document) Warn(field, message, remedy string) {
	d.warnings = append(d.warnings, Problem{d.file, d.Line(field), field, message, remedy})
}

// Problems returns all that was found so far, by line.
func (d *Document) Problems() Problems { d.problems.Sort(); return d.problems }

// Warnings returns all warnings so far, by line.
func (d *Document) Warnings() Problems { d.warnings.Sort(); return d.warnings }

func (d *Document) problem(line int, field, message, remedy string) {
	d.problems = append(d.problems, Problem{d.file, line, field, message, remedy})
}

// parse returns the body of the only document; nil and true for an empty one.
func (d *Document) parse(data []byte) (body ast.Node, ok bool) {
	// A daemon reads its files again while they are being written; a parser that panics on half a file must not end it.
	defer func() {
		if recover() != nil {
			d.problem(d.first, "", "is no YAML", "check the quotes and the indentation")
			body, ok = nil, false
		}
	}()
	if line, bad := tooDeep(data); bad {
		d.problem(d.first+line, "", "is nested too deeply", "check the brackets and the indentation")
		return nil, false
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil, false
	}
	switch {
	case len(file.Docs) == 0:
		return nil, true
	case len(file.Docs) > 1:
		d.problem(d.first, "", "holds more than one YAML document", `remove the "---" lines`)
		return nil, false
	}
	return file.Docs[0].Body, true
}

// syntax takes over the parser's message and line, not its excerpt of the source: that may show a key.
func (d *Document) syntax(err error) {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		d.problem(d.first-1+at.GetToken().Position.Line, "", "is no YAML: "+at.GetMessage(), "check the quotes and the indentation")
		return
	}
	d.problem(d.first, "", "is no YAML", "check the quotes and the indentation")
}

// tooDeep bounds flow nesting and indentation, the two ways to make a recursive parser deep.
func tooDeep(data []byte) (line int, bad bool) {
	depth := 0
	for i, text := range strings.Split(string(data), "\n") {
		depth += strings.Count(text, "[") + strings.Count(text, "{") - strings.Count(text, "]") - strings.Count(text, "}")
		body := strings.TrimLeft(text, " ")
		if depth > maxDepth || strings.Count(text, "[")+strings.Count(text, "{") > maxDepth ||
			len(text)-len(body) > 2*maxDepth || strings.Count(text, "- ") > maxDepth {
			return i, true
		}
	}
	return 0, false
}

func (d *Document) line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return d.first - 1 + t.Position.Line
	}
	return d.first
}

// wrongType reports a value that doesn't fit its field.
func (d *Document) wrongType(n ast.Node, field, want string) {
	d.problem(d.line(n), field, fmt.Sprintf("is %s", describe(n)), "write "+want)
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a group of fields"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "empty"
	case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode, *ast.TagNode:
		return "an anchor, alias or tag"
	}
	return "a text"
}
