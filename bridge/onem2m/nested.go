package onem2m

import (
	"bytes"
	"encoding/xml"
	"io"
	"reflect"
	"slices"
	"strings"
)

var mapType = reflect.TypeFor[map[string]any]()

// opaqueTypes are the resource types whose representation can't hold a primitive that somebody would execute, with the name
// of their representation. Content of any other resource that is created or updated is looked into.
func opaqueType(ty ResourceType, root string) bool {
	switch root {
	case "m2m:acp":
		return ty == TypeACP
	case "m2m:ae":
		return ty == TypeAE
	case "m2m:cnt":
		return ty == TypeContainer
	case "m2m:cin":
		return ty == TypeContentInstance
	case "m2m:grp":
		return ty == TypeGroup
	case "m2m:pch":
		return ty == TypePollingChannel
	case "m2m:sub":
		return ty == TypeSubscription
	case "m2m:ts":
		return ty == 29
	case "m2m:tsi":
		return ty == 30
	}
	return false
}

// NestedOriginators returns the From of every primitive that stands in r's Content (S41): in a NOTIFY, as m2m:rqp or m2m:rsp
// to a polling channel, in one notification or a batch of them; in a CREATE or UPDATE, in the resources that hold requests
// for later, such as delivery, transaction and action. Content that can hold none, which is that of contentInstances,
// containers and the like, is not looked into beyond its root's name. The error is an *Error with 4000, or 4015 when the
// serialisation can't be read.
func NestedOriginators(r *Request) ([]string, error) {
	if len(r.Content) == 0 || r.Operation != Notify && r.Operation != Create && r.Operation != Update {
		return nil, nil
	}
	f := familyOf(r.MediaType)
	if r.Operation != Notify && knownOpaque(r, f) {
		return nil, nil
	}
	if f == familyXML {
		return xmlOriginators(r.Content)
	}
	tree, err := parseTree(r.Content, f)
	if err != nil {
		return nil, err
	}
	var w originators
	if !w.walk(tree, false) {
		return nil, badRequest("nested primitive has a malformed From, or there are too many")
	}
	return w.found, nil
}

// knownOpaque reads no further than the name of the root in a CREATE, whose Resource Type says which root counts. UPDATE has
// none: what the target is decides which root the Receiver reads, so there may be no second one beside the known (S41).
func knownOpaque(r *Request, f family) bool {
	root := rootName(r.Content, f)
	if r.Operation == Create {
		return opaqueType(r.ResourceType, root)
	}
	for ty := TypeACP; ty <= 30; ty++ {
		if opaqueType(ty, root) {
			return f == familyCBOR || soleMember(r.Content) // rootName takes a map of one member only from CBOR
		}
	}
	return false
}

// soleMember reports whether JSON content is an object of one member.
func soleMember(content []byte) bool {
	tree, err := parseJSON(content)
	members, ok := tree.(map[string]any)
	return err == nil && ok && len(members) == 1
}

// rootName returns the name of the only or first member of JSON or CBOR content; "" when it can't be told cheaply.
func rootName(content []byte, f family) string {
	switch f {
	case familyJSON:
		r := jsonReader{b: content}
		if !r.take('{') || r.next() != '"' {
			return ""
		}
		name, ok := r.text()
		if !ok {
			return ""
		}
		return name
	case familyCBOR:
		const oneMember, text = 0xa1, 0x60 // RFC 8949, Section 3.1
		if len(content) < 2 || content[0] != oneMember || content[1]&^0x1f != text {
			return ""
		}
		n := int(content[1] & 0x1f)
		if n > 23 || len(content) < 2+n {
			return ""
		}
		return string(content[2 : 2+n])
	}
	return ""
}

// originators collects From.
type originators struct{ found []string }

// walk looks at every object. One is a primitive when it stands under the name of one, or when it has a From beside what no
// primitive is without: Request Identifier, or Operation and To.
func (w *originators) walk(v any, primitive bool) bool {
	switch v := v.(type) {
	case []any:
		return !slices.ContainsFunc(v, func(member any) bool { return !w.walk(member, primitive) })
	case map[string]any:
		from, hasFrom := v["fr"]
		_, hasRQI := v["rqi"]
		_, hasOp := v["op"]
		_, hasTo := v["to"]
		if hasFrom && (primitive || hasRQI || hasOp && hasTo) && !w.add(from) {
			return false
		}
		for name, member := range v {
			if !w.walk(member, primitiveName(name)) {
				return false
			}
		}
	}
	return true
}

func (w *originators) add(from any) bool {
	s, ok := from.(string)
	if !ok || !validText(s) || len(w.found) == maxNested {
		return false
	}
	w.found = append(w.found, s)
	return true
}

// primitiveName reports whether name is that of a primitive or a list of them, in any namespace.
func primitiveName(name string) bool {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	switch name {
	case "rqp", "rqps", "agrp", "rsp", "rsps", "apv", "orq", "requestPrimitive", "responsePrimitive":
		return true
	}
	return false
}

// xmlOriginators is NestedOriginators for XML. Declarations of types and entities are refused; encoding/xml resolves nothing
// from outside.
func xmlOriginators(content []byte) ([]string, error) {
	const bad = "XML is malformed, or past a bound"
	if len(content) > maxScan {
		return nil, badRequest("content is too long to be looked into")
	}
	type frame struct {
		from                 string
		text                 []byte
		primitive, isFrom    bool
		hasFrom, rqi, op, to bool
	}
	var w originators
	var stack []frame
	decoder := xml.NewDecoder(bytes.NewReader(content))
	roots := 0
	for nodes := 0; ; nodes++ {
		token, err := decoder.Token()
		if err == io.EOF && len(stack) == 0 && roots == 1 {
			return w.found, nil
		}
		if err != nil || nodes > maxNodes {
			return nil, badRequest(bad)
		}
		switch token := token.(type) {
		case xml.Directive:
			return nil, badRequest(bad)
		case xml.StartElement:
			if len(stack) > maxDepth {
				return nil, badRequest(bad)
			}
			f := frame{primitive: primitiveName(token.Name.Local), isFrom: token.Name.Local == "fr"}
			if n := len(stack); n == 0 {
				roots++
			} else {
				if stack[n-1].isFrom {
					return nil, badRequest(bad)
				}
				switch token.Name.Local {
				case "rqi":
					stack[n-1].rqi = true
				case "op":
					stack[n-1].op = true
				case "to":
					stack[n-1].to = true
				}
			}
			stack = append(stack, f)
		case xml.CharData:
			if n := len(stack); n > 0 && stack[n-1].isFrom {
				stack[n-1].text = append(stack[n-1].text, token...)
			}
		case xml.EndElement:
			n := len(stack) - 1
			if n < 0 {
				return nil, badRequest(bad)
			}
			top := stack[n]
			stack = stack[:n]
			if top.hasFrom && (top.primitive || top.rqi || top.op && top.to) && !w.add(top.from) {
				return nil, badRequest("nested primitive has a malformed From, or there are too many")
			}
			if top.isFrom && n > 0 {
				if stack[n-1].hasFrom { // receivers differ in which one they take
					return nil, badRequest("nested primitive has two From")
				}
				stack[n-1].from, stack[n-1].hasFrom = strings.TrimSpace(string(top.text)), true
			}
		}
	}
}
