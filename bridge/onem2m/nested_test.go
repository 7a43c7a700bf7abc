package onem2m

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

func notify(media, content string) *Request {
	return &Request{Operation: Notify, To: "/id-in/Cx", From: "Cae", RequestID: "r1", Content: []byte(content), MediaType: media}
}

func toCBOR(t testing.TB, json string) string {
	t.Helper()
	tree, err := parseJSON([]byte(json))
	require.NoError(t, err)
	b, err := cbor.Marshal(plainNumbers(tree))
	require.NoError(t, err)
	return string(b)
}

// plainNumbers turns json.Number, which CBOR would have as text, into float64.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case fmt.Stringer:
		var n uint64
		if _, err := fmt.Sscan(v.String(), &n); err == nil {
			return n
		}
		return v.String()
	}
	return v
}

// TestB01NestedOriginators finds every From that a device could slip in beside its own (S41), in each serialisation.
func TestB01NestedOriginators(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		json, xml string
		want      []string
	}{
		"notification": {
			`{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{"con":"x"}},"net":3},"sur":"cse/s","cr":"Cother"}}`,
			`<m2m:sgn xmlns:m2m="http://www.onem2m.org/xml/protocols"><nev><net>3</net></nev><cr>Cother</cr></m2m:sgn>`, nil,
		},
		"request to a polling channel": {
			`{"m2m:rqp":{"op":1,"to":"cse","fr":"Cother","rqi":"2","ty":3}}`,
			`<m2m:rqp xmlns:m2m="http://www.onem2m.org/xml/protocols"><op>1</op><to>cse</to><fr> Cother </fr></m2m:rqp>`,
			[]string{"Cother"},
		},
		"response to a polling channel": {
			`{"m2m:rsp":{"rsc":2000,"rqi":"2","fr":"Cother"}}`, `<m2m:rsp xmlns:m2m="p"><rsc>2000</rsc><fr>Cother</fr></m2m:rsp>`,
			[]string{"Cother"},
		},
		"without a root": {`{"op":1,"to":"cse","fr":"Cother"}`, `<x><op>1</op><to>c</to><fr>Cother</fr></x>`, []string{"Cother"}},
		"of any root":    {`{"x":{"y":{"rqi":"1","fr":"Cother"}}}`, `<x><y><rqi>1</rqi><fr>Cother</fr></y></x>`, []string{"Cother"}},
		"batch": {
			`{"m2m:agn":{"sgn":[{"nev":{"rep":{"m2m:rqp":{"fr":"Ca"}}}},{"nev":{"rep":{"m2m:rqp":{"fr":"Cb"}}}}]}}`,
			`<agn><sgn><rqp><fr>Ca</fr></rqp></sgn><sgn><rqp><fr>Cb</fr></rqp></sgn></agn>`, []string{"Ca", "Cb"},
		},
		"list of primitives": {
			`{"x":{"rqps":[{"fr":"Ca"},{"fr":"Cb"}]}}`, `<x><rqp><fr>Ca</fr></rqp><rqp><fr>Cb</fr></rqp></x>`,
			[]string{"Ca", "Cb"},
		},
		"aggregated request": {
			`{"m2m:agrp":[{"fr":"Ca"},{"m2m:rqp":{"fr":"Cb"}}]}`, `<agrp><rqp><fr>Ca</fr></rqp><rqp><fr>Cb</fr></rqp></agrp>`,
			[]string{"Ca", "Cb"},
		},
		"primitive in a primitive": {
			`{"m2m:rqp":{"fr":"Cae","pc":{"m2m:rqp":{"fr":"Cother"}}}}`,
			`<rqp><fr>Cae</fr><pc><rqp><fr>Cother</fr></rqp></pc></rqp>`, []string{"Cae", "Cother"},
		},
		"written with escapes": {
			`{"m2m:r\u0071p":{"\u0066r":"C\u006fther"}}`, `<rqp><fr>C&#111;<!-- -->ther</fr></rqp>`, []string{"Cother"},
		},
		"no primitive": {`{"x":{"fr":"Cother"}}`, `<x><fr>Cother</fr></x>`, nil},
		"empty From":   {`{"m2m:rqp":{"fr":""}}`, `<rqp><fr/></rqp>`, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for media, content := range map[string]string{
				"application/json": c.json, "application/vnd.onem2m-ntfy+json": c.json,
				"application/cbor": toCBOR(t, c.json), "application/xml": c.xml,
			} {
				got, err := NestedOriginators(notify(media, content))
				require.NoError(t, err, media)
				require.ElementsMatch(t, c.want, got, media)
			}
		})
	}
}

// TestB01NestedInResources looks into the resources that hold requests for later, and into no other.
func TestB01NestedInResources(t *testing.T) {
	t.Parallel()
	nested := `{"op":1,"to":"cse","fr":"Cother","rqi":"2"}`
	for name, c := range map[string]struct {
		op      Operation
		ty      ResourceType
		content string
		want    []string
	}{
		"contentInstance":             {Create, TypeContentInstance, `{"m2m:cin":{"con":` + nested + `}}`, nil},
		"contentInstance, not parsed": {Create, TypeContentInstance, `{"m2m:cin": anything`, nil},
		"AE":                          {Create, TypeAE, `{"m2m:ae":{"fr":"Cother","rqi":"x"}}`, nil},
		"delivery":                    {Create, 6, `{"m2m:dlv":{"arq":` + nested + `}}`, []string{"Cother"}},
		"transaction":                 {Create, 51, `{"m2m:tx":{"rqps":[` + nested + `]}}`, []string{"Cother"}},
		"action":                      {Create, 65, `{"m2m:actr":{"apv":` + nested + `}}`, []string{"Cother"}},
		"root that isn't the type's":  {Create, TypeContentInstance, `{"m2m:dlv":{"arq":` + nested + `}}`, []string{"Cother"}},
		"update of a container":       {Update, 0, `{"m2m:cnt":{"lbl":["a"]}}`, nil},
		"update of an action":         {Update, 0, `{"m2m:actr":{"apv":` + nested + `}}`, []string{"Cother"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := notify("application/json", c.content)
			r.Operation, r.ResourceType = c.op, c.ty
			got, err := NestedOriginators(r)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			if name != "contentInstance, not parsed" {
				r.Content, r.MediaType = []byte(toCBOR(t, c.content)), "application/cbor"
				got, err = NestedOriginators(r)
				require.NoError(t, err)
				require.Equal(t, c.want, got)
			}
		})
	}
	got, err := NestedOriginators(&Request{Operation: Retrieve, Content: []byte("x")})
	require.NoError(t, err)
	require.Nil(t, got)
}

// TestC10Hostile is content made to cost time or memory, or to be read in two ways: refused, in bounds.
func TestC10Hostile(t *testing.T) {
	t.Parallel()
	const json, cborType, xml = "application/json", "application/cbor", "application/xml"
	huge := binary.BigEndian.AppendUint64([]byte{0x9b}, 1<<40)
	for name, c := range map[string]struct{ media, content string }{
		"JSON, depth 100,000":             {json, strings.Repeat("[", 100000)},
		"JSON, closed depth 100,000":      {json, strings.Repeat("[", 100000) + strings.Repeat("]", 100000)},
		"JSON, objects of depth 100,000":  {json, strings.Repeat(`{"a":`, 100000)},
		"JSON, depth 40":                  {json, strings.Repeat("[", 40) + strings.Repeat("]", 40)},
		"CBOR, depth 40":                  {cborType, strings.Repeat("\x81", 40) + "\x01"},
		"JSON, name twice":                {json, `{"m2m:rqp":{"fr":"Cae","fr":"Cother"}}`},
		"JSON, name twice by escape":      {json, `{"m2m:rqp":{"fr":"Cae","\u0066r":"Cother"}}`},
		"JSON, bad UTF-8":                 {json, "{\"a\":\"\xff\"}"},
		"JSON, half a surrogate":          {json, `{"a":"\ud800"}`},
		"JSON, control in a string":       {json, "{\"a\":\"\n\"}"},
		"JSON, behind the end":            {json, `{} {}`},
		"JSON, cut":                       {json, `{"a":[1,`},
		"JSON, trailing comma":            {json, `{"a":1,}`},
		"JSON, comment":                   {json, `{/* */"a":1}`},
		"JSON, single quotes":             {json, `{'a':1}`},
		"JSON, broken number":             {json, `{"a":01}`},
		"JSON, byte order mark":           {json, "\ufeff{}"},
		"JSON, 1,000,000 values":          {json, "[" + strings.Repeat("1,", 500000) + "1]"},
		"JSON, 2 MiB":                     {json, `"` + strings.Repeat("x", 2<<20) + `"`},
		"JSON, From of another type":      {json, `{"m2m:rqp":{"fr":["Cae"]}}`},
		"JSON, From with CR LF":           {json, `{"m2m:rqp":{"fr":"C\r\n"}}`},
		"JSON, 300 primitives":            {json, `[` + strings.Repeat(`{"op":1,"to":"a","fr":"C"},`, 300) + `1]`},
		"JSON, empty":                     {json, " "},
		"CBOR, depth 100,000":             {cborType, strings.Repeat("\x81", 100000)},
		"CBOR, maps of depth 100,000":     {cborType, strings.Repeat("\xa1\x61a", 100000)},
		"CBOR, array of 2^40":             {cborType, string(huge)},
		"CBOR, text of 2^40":              {cborType, "\x7b\x00\x00\x01\x00\x00\x00\x00\x00"},
		"CBOR, 500,000 values":            {cborType, "\x90" + strings.Repeat("\x99\x7f\xff"+strings.Repeat("\xa0", 32767), 16)},
		"CBOR, map of 2^40":               {cborType, "\xbb\x00\x00\x01\x00\x00\x00\x00\x00"},
		"CBOR, name twice":                {cborType, "\xa2\x62fr\x61a\x62fr\x61b"},
		"CBOR, name no text":              {cborType, "\xa1\x01\x02"},
		"CBOR, bad UTF-8":                 {cborType, "\xa1\x61a\x61\xff"},
		"CBOR, indefinite length":         {cborType, "\x9f\x01\xff"},
		"CBOR, tag":                       {cborType, "\xc2\x41\x01"},
		"CBOR, behind the end":            {cborType, "\xa0\xa0"},
		"CBOR, cut":                       {cborType, "\xa1\x61a"},
		"XML, depth 100,000":              {xml, strings.Repeat("<a>", 100000)},
		"XML, entity":                     {xml, `<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`},
		"XML, external entity":            {xml, `<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>`},
		"XML, ends crossed":               {xml, `<a><b></a></b>`},
		"XML, cut":                        {xml, `<a>`},
		"XML, bad UTF-8":                  {xml, "<a>\xff</a>"},
		"XML, other charset":              {xml, `<?xml version="1.0" encoding="utf-7"?><a/>`},
		"XML, 100,000 elements":           {xml, "<a>" + strings.Repeat("<b/>", 100000) + "</a>"},
		"XML, From with a line":           {xml, "<rqp><fr>C\nD</fr></rqp>"},
		"XML, empty":                      {xml, ""},
		"XML, text only":                  {xml, "x"},
		"XML, a From within a From":       {xml, "<rqp><fr><fr>a</fr>\x7f</fr></rqp>"},
		"XML, two From in a primitive":    {xml, "<rqp><fr>Cae</fr><fr>Cother</fr></rqp>"},
		"CBOR, From is a string of bytes": {cborType, "\xa1\x67m2m:rqp\xa1\x62fr\x43Cae"},
	} {
		t.Run(name, func(t *testing.T) {
			if len(c.content) == 0 {
				c.content = "  "
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			got, err := NestedOriginators(notify(c.media, c.content))
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			requireStatus(t, StatusBadRequest, err)
			require.Nil(t, got)
			require.Less(t, took, 2*time.Second)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
		})
	}
}

// TestC10ValuesOfATree: the bound on the values of one tree is the same in JSON and CBOR, whatever arrays and maps they
// stand in.
func TestC10ValuesOfATree(t *testing.T) {
	t.Parallel()
	const half = maxNodes/2 - 1 // an array of two arrays of so many values has 1 + 2 + 2*half
	for name, c := range map[string]struct {
		family
		content string
		fits    bool
	}{
		"JSON, as many as may be":   {familyJSON, "[" + strings.Repeat("[],", maxNodes-2) + "1]", true},
		"JSON, one more":            {familyJSON, "[" + strings.Repeat("[],", maxNodes-1) + "1]", false},
		"CBOR, as many as may be":   {familyCBOR, "\x82" + arrayOf(half, "\xa0") + arrayOf(half-1, "\x80"), true},
		"CBOR, one more":            {familyCBOR, "\x82" + arrayOf(half, "\xa0") + arrayOf(half, "\x80"), false},
		"CBOR, a text is one":       {familyCBOR, "\x7a\x00\x01\x86\xa0" + strings.Repeat("\x00", 100000), true},
		"CBOR, a long number is":    {familyCBOR, arrayOf(maxNodes-1, "\x1b\x80\x80\x80\x80\x80\x80\x80\x80"), true},
		"CBOR, a name is none":      {familyCBOR, "\x81" + mapOf(maxNodes-2), true},
		"CBOR, one more beside it":  {familyCBOR, "\x83" + mapOf(maxNodes-3) + "\x01\x01", false},
		"CBOR, maps that lack them": {familyCBOR, strings.Repeat("\xb9\x7f\xff", 10) + strings.Repeat("\x80", 3*maxNodes), false},
	} {
		_, err := parseTree([]byte(c.content), c.family)
		if c.fits {
			require.NoError(t, err, name)
			continue
		}
		require.Error(t, err, name)
		requireStatus(t, StatusBadRequest, err)
	}
}

func arrayOf(n int, item string) string {
	return string(binary.BigEndian.AppendUint16([]byte{0x99}, uint16(n))) + strings.Repeat(item, n)
}

// mapOf is a map of n numbers by different names.
func mapOf(n int) string {
	b := binary.BigEndian.AppendUint16([]byte{0xb9}, uint16(n))
	for i := range n {
		b = append(b, 0x63, byte(i>>14)&0x7f, byte(i>>7)&0x7f, byte(i)&0x7f, 0x01)
	}
	return string(b)
}

// TestC10WithinBounds is what the bounds leave room for.
func TestC10WithinBounds(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":[`, maxDepth/2) + strings.Repeat(`]}`, maxDepth/2)
	_, err := NestedOriginators(notify("application/json", deep))
	require.NoError(t, err)
	_, err = NestedOriginators(notify("application/cbor", toCBOR(t, deep)))
	require.NoError(t, err)
	for in, want := range map[string]any{
		`"\ud83d\ude00"`: "😀", `"\ufffd"`: "\ufffd", `" \" \\ \/ \b \f \n \r \t"`: " \" \\ / \b \f \n \r \t",
		` [ ] `: []any{}, `{ }`: map[string]any{}, `true`: true, `false`: false, `null`: nil,
	} {
		got, err := parseJSON([]byte(in))
		if in == `"\ufffd"` { // not told apart from half a surrogate
			requireStatus(t, StatusBadRequest, err)
			continue
		}
		require.NoError(t, err, in)
		require.Equal(t, want, got)
	}
}

// TestB01SecondRoot: an UPDATE's harmless root hides no other one beside it, which a CSE that looks for its target's root
// would take (S41).
func TestB01SecondRoot(t *testing.T) {
	t.Parallel()
	const hidden = `"m2m:actr":{"apv":{"op":1,"to":"cse","fr":"Cother","rqi":"2"}}`
	for content, want := range map[string][]string{
		`{"m2m:cnt":{},` + hidden + `}`:               {"Cother"},
		`{` + hidden + `,"m2m:cnt":{}}`:               {"Cother"},
		`{` + hidden + `}`:                            {"Cother"},
		`{"m2m:cnt":{"x":{"fr":"Cother","rqi":"2"}}}`: nil, // what a container holds is nobody's primitive
	} {
		for media, text := range map[string]string{"application/json": content, "application/cbor": toCBOR(t, content)} {
			got, err := NestedOriginators(&Request{Operation: Update, To: "cse/x", From: "Cae", RequestID: "r1",
				Content: []byte(text), MediaType: media})
			require.NoError(t, err, content)
			require.Equal(t, want, got, "%s as %s", content, media)
		}
	}
	_, err := NestedOriginators(&Request{Operation: Update, Content: []byte(`{"m2m:cnt":{}}{` + hidden + `}`), MediaType: "application/json"})
	requireStatus(t, StatusBadRequest, err)
}
