package csetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"reflect"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// format is a serialization of the content.
type format int

const (
	noFormat format = iota
	formatJSON
	formatCBOR
)

func formatOf(media string) format {
	switch media {
	case "application/json", "application/vnd.onem2m-res+json", "application/vnd.onem2m-ntfy+json":
		return formatJSON
	case "application/cbor", "application/vnd.onem2m-res+cbor", "application/vnd.onem2m-ntfy+cbor":
		return formatCBOR
	}
	return noFormat
}

// parseAccept returns the first format of the Accept fields that this CSE has. Weights are not read: the order counts.
func parseAccept(fields []string) (format, error) {
	if len(fields) == 0 {
		return noFormat, nil
	}
	for one := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		media, _, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		if media == "*/*" || media == "application/*" {
			return noFormat, nil
		}
		if f := formatOf(media); f != noFormat {
			return f, nil
		}
	}
	return noFormat, refuse(notAcceptable, "no media type of Accept is supported")
}

func (f format) media() string {
	if f == formatCBOR {
		return "application/cbor"
	}
	return "application/json"
}

// attributes are an object's members, each value byte for byte as it came.
type attributes map[string]json.RawMessage

// parseResource returns the members of the one resource that content holds under the name root.
func parseResource(content []byte, f format, root string) (attributes, error) {
	if f == formatCBOR {
		var err error
		if content, err = cborToJSON(content); err != nil {
			return nil, refuse(badRequest, "content is not CBOR of a JSON model")
		}
	}
	var outer attributes
	if err := json.Unmarshal(content, &outer); err != nil {
		return nil, refuse(badRequest, "content is not a JSON object")
	}
	inner, has := outer[root]
	if !has || len(outer) != 1 {
		return nil, refuse(badRequest, "content doesn't hold exactly one "+root)
	}
	var attrs attributes
	if err := json.Unmarshal(inner, &attrs); err != nil || attrs == nil {
		return nil, refuse(badRequest, root+" is not an object")
	}
	return attrs, nil
}

func cborToJSON(content []byte) ([]byte, error) {
	mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, DefaultMapType: reflect.TypeFor[map[string]any]()}.DecMode()
	if err != nil {
		return nil, err
	}
	var v any
	if err := mode.Unmarshal(content, &v); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// jsonToCBOR turns the JSON model into CBOR with definite lengths, as ACME sends it.
func jsonToCBOR(content []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("csetest: data after the JSON value")
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	return mode.Marshal(plainNumbers(v))
}

// plainNumbers replaces json.Number, which CBOR would take for a text, by integers and floats.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			v[k] = plainNumbers(m)
		}
	case []any:
		for i, m := range v {
			v[i] = plainNumbers(m)
		}
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	}
	return v
}

// quote returns s as a JSON string without HTML's escapes.
func quote(s string) json.RawMessage {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("csetest: a string has no JSON form: " + err.Error())
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// member is one name and value of an object, in the order of the output.
type member struct {
	name  string
	value json.RawMessage
}

// appendObject writes the members as they are: encoding/json would compact and escape the values.
func appendObject(dst []byte, members []member) []byte {
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, quote(m.name)...)
		dst = append(dst, ':')
		dst = append(dst, m.value...)
	}
	return append(dst, '}')
}

// object is appendObject of a single member.
func object(name string, value json.RawMessage) json.RawMessage {
	return appendObject(nil, []member{{name, value}})
}

func appendArray(dst []byte, values []json.RawMessage) []byte {
	dst = append(dst, '[')
	dst = append(dst, bytes.Join(rawSlices(values), []byte(","))...)
	return append(dst, ']')
}

func rawSlices(values []json.RawMessage) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
