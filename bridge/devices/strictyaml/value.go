package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// value decodes n into v, which can be set.
func (d *Document) value(n ast.Node, v reflect.Value, field string) {
	if _, ok := d.lines[field]; !ok {
		d.lines[field] = d.line(n)
	}
	if _, empty := n.(*ast.NullNode); empty {
		return // "field:" without a value leaves the default
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(n, u, field)
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(n, v, field)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		d.value(n, fresh.Elem(), field)
		v.Set(fresh)
	case reflect.Struct:
		d.structure(n, v, field)
	case reflect.Slice:
		d.list(n, v, field)
	case reflect.Map:
		d.table(n, v, field)
	default:
		d.scalar(n, v, field)
	}
}

func (d *Document) scalar(n ast.Node, v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := plain(n); ok {
			v.SetString(s)
			return
		}
		d.wrongType(n, field, "a text")
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
			return
		}
		d.wrongType(n, field, "true or false")
	case reflect.Int, reflect.Int32, reflect.Int64:
		if i, ok := integer(n); ok && !v.OverflowInt(i) {
			v.SetInt(i)
			return
		}
		d.wrongType(n, field, "a whole number")
	case reflect.Float64:
		if i, ok := integer(n); ok {
			v.SetFloat(float64(i))
			return
		}
		if f, ok := n.(*ast.FloatNode); ok {
			v.SetFloat(f.Value)
			return
		}
		d.wrongType(n, field, "a number")
	default:
		panic("strictyaml: no decoder for " + v.Type().String())
	}
}

// plain returns a scalar's text as it stands in the file, so that "up: text:0123" and an identity of digits need no quotes.
func plain(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		return strings.TrimSpace(n.GetToken().Value), true
	}
	return "", false
}

func integer(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch x := i.Value.(type) {
	case int64:
		return x, true
	case uint64:
		return int64(x), x <= math.MaxInt64
	}
	return 0, false
}

func (d *Document) text(n ast.Node, u encoding.TextUnmarshaler, field string) {
	s, ok := plain(n)
	if !ok {
		d.wrongType(n, field, "a text")
		return
	}
	err := u.UnmarshalText([]byte(s))
	var invalid *Invalid
	switch {
	case err == nil:
	case errors.As(err, &invalid):
		d.problem(d.line(n), field, invalid.Message, invalid.Remedy)
	default:
		d.problem(d.line(n), field, err.Error(), "")
	}
}

func (d *Document) duration(n ast.Node, v reflect.Value, field string) {
	if s, ok := n.(*ast.StringNode); ok {
		if t, err := time.ParseDuration(s.Value); err == nil {
			v.SetInt(int64(t))
			return
		}
		d.problem(d.line(n), field, fmt.Sprintf("%q is no duration", s.Value), "write a number with its unit, such as 30s, 5m or 24h")
		return
	}
	d.wrongType(n, field, "a number with its unit, such as 30s, 5m or 24h")
}

func (d *Document) list(n ast.Node, v reflect.Value, field string) {
	items, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrongType(n, field, `a list: [a, b], or one "- " line for each`)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(items.Values), len(items.Values))
	for i, item := range items.Values {
		d.value(item, out.Index(i), field+"["+strconv.Itoa(i)+"]")
	}
	v.Set(out)
}

func (d *Document) table(n ast.Node, v reflect.Value, field string) {
	pairs, ok := pairs(n)
	if !ok {
		d.wrongType(n, field, "fields with a value each")
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(pairs))
	for _, pair := range pairs {
		name, at, fresh := d.key(pair, field)
		if !fresh {
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(pair.Value, item, at)
		out.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), item)
	}
	v.Set(out)
}

func (d *Document) structure(n ast.Node, v reflect.Value, field string) {
	pairs, ok := pairs(n)
	if !ok {
		d.wrongType(n, field, "fields: "+strings.Join(slices.Sorted(maps.Keys(fieldsOf(v.Type()))), ", "))
		return
	}
	known := fieldsOf(v.Type())
	for _, pair := range pairs {
		name, at, fresh := d.key(pair, field)
		if !fresh {
			continue
		}
		index, ok := known[name]
		if !ok {
			d.problem(d.line(pair.Key), at, "unknown field", unknownRemedy(name, known))
			continue
		}
		d.value(pair.Value, v.Field(index), at)
	}
}

// key returns a pair's name and its path, and records its line; false when the pair can't be used, which is reported.
func (d *Document) key(pair *ast.MappingValueNode, field string) (name, at string, ok bool) {
	key, isText := pair.Key.(*ast.StringNode)
	if !isText {
		d.problem(d.line(pair.Key), field, "has a field name that is no plain text", "write plain field names; anchors, aliases and merge keys are not used here")
		return "", "", false
	}
	at = key.Value
	if field != "" {
		at = field + "." + key.Value
	}
	if first, again := d.lines[at]; again {
		d.problem(d.line(pair.Key), at, fmt.Sprintf("stands here again after line %d", first), "remove one of the two")
		return "", "", false
	}
	d.lines[at] = d.line(pair.Key)
	return key.Value, at, true
}

// pairs returns the fields of a mapping; one field alone is a node of its own kind in some forms.
func pairs(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// fieldsOf maps the YAML names of a struct to the indices of its fields; "-" marks one that no file sets.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup("yaml"); ok && name != "-" {
			fields[name] = i
		}
	}
	return fields
}

// unknownRemedy names the field that was probably meant, or all that there are.
func unknownRemedy(name string, known map[string]int) string {
	names := slices.Sorted(maps.Keys(known))
	for _, candidate := range names {
		if strings.EqualFold(squash(name), squash(candidate)) ||
			distance(strings.ToLower(name), strings.ToLower(candidate)) <= (len(candidate)-1)/3 {
			return fmt.Sprintf("did you mean %q?", candidate)
		}
	}
	return "known here are " + strings.Join(names, ", ")
}

// squash removes what spellings of one word differ in: max_payload, max-payload, maxPayload.
func squash(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(s) }

// distance is the Levenshtein distance of two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
