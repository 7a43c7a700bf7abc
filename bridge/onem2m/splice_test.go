package onem2m

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	jsonMedia = "application/json"
	cborMedia = "application/cbor"
	xmlMedia  = "application/xml"
)

// to returns the function that gives list for every list.
func to(list []string) func([]string) ([]string, bool) {
	return func([]string) ([]string, bool) { return list, true }
}

func TestMapListsJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		list     []string // what the list becomes
		want     string
	}{
		{"alone", `{"m2m:ae":{"poa":["coap://10.0.0.1"]}}`, []string{"https://b/t"}, `{"m2m:ae":{"poa":["https://b/t"]}}`},
		{"numbers, blanks and escapes are kept", "{ \"m2m:ae\" :\t{\"a\":1e400, \"b\":3.0,\"c\": -0 , \"\\u0064\":\"\\/\\u0041\",\r\n \"poa\" : [ \"x\" , \"y\" ] ,\"z\":0.10}} \n",
			[]string{"n"}, "{ \"m2m:ae\" :\t{\"a\":1e400, \"b\":3.0,\"c\": -0 , \"\\u0064\":\"\\/\\u0041\",\r\n \"poa\" : [\"n\"] ,\"z\":0.10}} \n"},
		{"name with an escape", `{"m2m:ae":{"po\u0061":["x"],"api":"N"}}`, []string{"n"}, `{"m2m:ae":{"po\u0061":["n"],"api":"N"}}`},
		{"a string", `{"poa":"x"}`, []string{"n"}, `{"poa":"n"}`},
		{"a string becomes two", `{"poa":"x"}`, []string{"n", "m"}, `{"poa":["n","m"]}`},
		{"null", `{"poa":null}`, []string{"n"}, `{"poa":["n"]}`},
		{"empty", `{"poa":[ ]}`, []string{"n"}, `{"poa":["n"]}`},
		{"becomes empty", `{"poa":["x"]}`, []string{}, `{"poa":[]}`},
		{"no escapes for HTML", `{"poa":["x"]}`, []string{"a&b<\"\\ü"}, `{"poa":["a&b<\"\\ü"]}`},
		{"removed, alone", `{"m2m:ae":{ "poa":["x"] }}`, nil, `{"m2m:ae":{  }}`},
		{"removed, first", `{"poa":["x"] , "b":1}`, nil, `{ "b":1}`},
		{"removed, last", `{"a":1 , "poa":["x"] }`, nil, `{"a":1  }`},
		{"removed, in the middle", `{"a":1, "poa":["x"], "b":2}`, nil, `{"a":1, "b":2}`},
		{"in a list of resources", `[{"poa":["x"]},{"a":[{"poa":["y"]}]}]`, []string{"n"}, `[{"poa":["n"]},{"a":[{"poa":["n"]}]}]`},
		{"in con", `{"m2m:cin":{"con":{"poa":["x"]}}}`, []string{"n"}, `{"m2m:cin":{"con":{"poa":["x"]}}}`},
		{"in a string", `{"m2m:cin":{"con":"{\"poa\":[\"x\"]}"}}`, []string{"n"}, `{"m2m:cin":{"con":"{\"poa\":[\"x\"]}"}}`},
		{"as a value", `{"lbl":["poa"],"a":"poa"}`, []string{"n"}, `{"lbl":["poa"],"a":"poa"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := []byte(c.in)
			got, err := MapLists(in, jsonMedia, "poa", to(c.list))
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
			require.Equal(t, c.in, string(in), "the input is the caller's")
			same, err := MapLists(in, jsonMedia, "poa", func([]string) ([]string, bool) { return nil, false })
			require.NoError(t, err)
			require.Equal(t, c.in, string(same))
		})
	}
}

func TestMapListsOrder(t *testing.T) {
	t.Parallel()
	const in = `{"b":{"nu":["1","2"]},"a":[{"nu":null},{"nu":"\u0033"}],"nu":[]}`
	var got [][]string
	_, err := MapLists([]byte(in), jsonMedia, "nu", func(list []string) ([]string, bool) {
		got = append(got, list)
		return nil, false
	})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"1", "2"}, nil, {"3"}, {}}, got)
}

func TestMapListsRefuses(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`"x",`, maxMembers)
	for name, in := range map[string]string{
		"a name twice":              `{"poa":["x"],"poa":["y"]}`,
		"a name twice, escaped":     `{"poa":["x"],"po\u0061":["y"]}`,
		"a parent twice":            `{"m2m:ae":{"poa":["x"]},"m2m:ae":{}}`,
		"number":                    `{"poa":1}`,
		"list of lists":             `{"poa":[["x"]]}`,
		"list of a number":          `{"poa":["x",1]}`,
		"map":                       `{"poa":{"a":"x"}}`,
		"too many":                  `{"poa":[` + many + `"x"]}`,
		"too many lists":            `[` + strings.Repeat(`{"poa":[]},`, maxLists) + `{"poa":[]}]`,
		"too deep":                  strings.Repeat(`[`, 100) + `{"poa":[]}` + strings.Repeat(`]`, 100),
		"too long":                  `{"poa":[],"a":"` + strings.Repeat("x", maxScan) + `"}`,
		"cut":                       `{"poa":["x"]`,
		"more behind":               `{"poa":["x"]}{}`,
		"no UTF-8":                  "{\"poa\":[\"\xff\"]}",
		"comment":                   `{"po\u0061"/**/:["x"]}`,
		"comment with a quote":      `{/*"*/"po\u0061":["x"]}`,
		"UTF-16":                    "{\x00\"\x00p\x00o\x00a\x00\"\x00:\x00[\x00]\x00}\x00",
		"lone surrogate beside":     `{"a":"\ud800","poa":[]}`,
		"escape outside a string":   `{po\u0061:[]}`,
		"backslash at the end":      `{"a":"\`,
		"string with escape at end": `"\""`[:3],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := MapLists([]byte(in), jsonMedia, "poa", func([]string) ([]string, bool) {
				t.Error("f is called for content that is refused")
				return nil, false
			})
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, StatusBadRequest, e.Status)
		})
	}
	_, err := MapLists([]byte(`{"poa":[]}`), jsonMedia, "poa", to([]string{"\xff"}))
	require.Error(t, err)
	_, err = MapLists([]byte(`poa`), "text/plain", "poa", to(nil))
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, StatusUnsupportedMediaType, e.Status)
}

// TestMapListsLacks: the content that nearly every request has costs nothing.
func TestMapListsLacks(t *testing.T) { // not parallel: AllocsPerRun
	for _, c := range []struct{ media, in string }{
		{jsonMedia, `{"m2m:cin":{"con":"{\"t\":21.5,\"poa\":\"\\\\\"}","lbl":["poas","xpoa"]}}`},
		{cborMedia, "\xa1\x67m2m:cin\xa1\x63con\x61x"},
		{xmlMedia, `<m2m:cin xmlns:m2m="http://www.onem2m.org/xml/protocols"><con>po&#97;</con></m2m:cin>`},
		{"", ""},
	} {
		in := []byte(c.in)
		allocs := testing.AllocsPerRun(100, func() {
			got, err := MapLists(in, c.media, "poa", to(nil))
			if err != nil || string(got) != c.in {
				t.Error("content is not the same")
			}
		})
		require.Zero(t, allocs, c.media)
	}
}

func TestMapListsCBOR(t *testing.T) {
	t.Parallel()
	in := "\xa1\x66m2m:ae\xa3\x63api\x62N1\x63poa\x82\x61x\x61y\x61f\xfb\x40\x08\x00\x00\x00\x00\x00\x00"
	got, err := MapLists([]byte(in), cborMedia, "poa", to([]string{"https://b"}))
	require.NoError(t, err)
	require.Equal(t, "\xa1\x66m2m:ae\xa3\x63api\x62N1\x63poa\x81\x69https://b\x61f\xfb\x40\x08\x00\x00\x00\x00\x00\x00", string(got))
	got, err = MapLists([]byte(in), cborMedia, "poa", to(nil))
	require.NoError(t, err)
	require.Equal(t, "\xa1\x66m2m:ae\xa2\x63api\x62N1\x61f\xfb\x40\x08\x00\x00\x00\x00\x00\x00", string(got))

	for name, in := range map[string]string{
		"indefinite map":        "\xbf\x63poa\x80\xff",
		"indefinite list":       "\xa1\x63poa\x9f\xff",
		"name in pieces":        "\xa1\x7f\x61p\x62oa\xff\x80",
		"a name twice":          "\xa2\x63poa\x80\x63poa\x80",
		"tag":                   "\xa1\x63poa\xc0\x61x",
		"cut":                   "\xa1\x63poa\x82\x61x",
		"number":                "\xa1\x63poa\x01",
		"bytes":                 "\xa1\x63poa\x81\x41x",
		"huge":                  "\xa1\x63poa\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
		"name of another type":  "\xa2\x01\x02\x63poa\x80",
		"name is a byte string": "\xa1\x43poa\x80",
	} {
		_, err := MapLists([]byte(in), cborMedia, "poa", to(nil))
		var e *Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, StatusBadRequest, e.Status, name)
	}
}

func TestMapListsXML(t *testing.T) {
	t.Parallel()
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\r\n"
	for _, c := range []struct {
		name, in string
		list     []string
		want     string
	}{
		{"list", head + `<m2m:ae xmlns:m2m="u" rn="a&amp;b"><api>N1</api><poa> x
 y </poa><!-- c --><rr>true</rr></m2m:ae>`, []string{"n", "m?a=1&b=2"},
			head + `<m2m:ae xmlns:m2m="u" rn="a&amp;b"><api>N1</api><poa>n m?a=1&amp;b=2</poa><!-- c --><rr>true</rr></m2m:ae>`},
		{"prefix and attribute", `<a><p:poa q="1">x</p:poa></a>`, []string{"n"}, `<a><p:poa q="1">n</p:poa></a>`},
		{"closed itself", `<a><poa x="/>"/></a>`, []string{"n"}, `<a><poa x="/>">n</poa></a>`},
		{"removed", `<a> <poa>x</poa> <b/></a>`, nil, `<a>  <b/></a>`},
		{"removed, closed itself", `<a><poa/></a>`, nil, `<a></a>`},
		{"in con", `<a><con><poa>x</poa></con></a>`, []string{"n"}, `<a><con><poa>x</poa></con></a>`},
		{"in CDATA", `<a><b><![CDATA[<poa>x</poa>]]></b></a>`, []string{"n"}, `<a><b><![CDATA[<poa>x</poa>]]></b></a>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := MapLists([]byte(c.in), xmlMedia, "poa", to(c.list))
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	var lists [][]string
	_, err := MapLists([]byte(`<a><poa> x&#97;&#x20;<!-- no -->y </poa><b><poa/></b></a>`), xmlMedia, "poa", func(list []string) ([]string, bool) {
		lists = append(lists, list)
		return nil, false
	})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"xa", "y"}, {}}, lists)
	for name, in := range map[string]string{
		"twice":                 `<a><poa>x</poa><poa>y</poa></a>`,
		"child":                 `<a><poa>x<b/></poa></a>`,
		"entity":                `<!DOCTYPE a [<!ENTITY e "<p&#111;a>x</p&#111;a>">]><a>&e;</a>`,
		"encoding":              `<?xml version="1.0" encoding="UTF-7"?><a>+ADw-p</a>`,
		"cut":                   `<a><poa>x</poa>`,
		"two roots":             `<a><poa>x</poa></a><a/>`,
		"too deep":              strings.Repeat(`<a>`, 100) + `<poa/>` + strings.Repeat(`</a>`, 100),
		"unknown":               `<a><poa>&x;</poa></a>`,
		"no UTF-8":              "<a><poa>\xff</poa></a>",
		"wrong end tag":         `<a><poa>x</b></a>`,
		"document type":         `<!DOCTYPE a><a><poa>x</poa></a>`,
		"no UTF-8 in a comment": "<a><!-- \xff --><poa>x</poa></a>",
	} {
		_, err := MapLists([]byte(in), xmlMedia, "poa", to(nil))
		var e *Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, StatusBadRequest, e.Status, name)
	}
	for _, s := range []string{"", "a b", "a\x01", "\xff", "a\n"} {
		_, err := MapLists([]byte(`<a><poa/></a>`), xmlMedia, "poa", to([]string{s}))
		require.Error(t, err, "%q", s)
	}
}

func TestSetPOA(t *testing.T) {
	t.Parallel()
	poa := []string{"https://b/t"}
	for _, c := range []struct{ name, media, in, want string }{
		{"JSON, added", jsonMedia, `{"m2m:ae": { "api":"N1"} }`, `{"m2m:ae": {"poa":["https://b/t"], "api":"N1"} }`},
		{"JSON, added to nothing", jsonMedia, `{"m2m:ae":{ }}`, `{"m2m:ae":{"poa":["https://b/t"] }}`},
		{"JSON, replaced", jsonMedia, `{"ae":{"api":"N1","poa":["coap://a","x"],"n":3.0}}`, `{"ae":{"api":"N1","poa":["https://b/t"],"n":3.0}}`},
		{"JSON, null", jsonMedia, `{"m2m:ae":{"poa":null}}`, `{"m2m:ae":{"poa":["https://b/t"]}}`},
		{"JSON, of any type", jsonMedia, `{"m2m:ae":{"poa":[{"a":1}]}}`, `{"m2m:ae":{"poa":["https://b/t"]}}`},
		{"JSON, a child's stays", jsonMedia, `{"m2m:ae":{"ch":{"poa":["x"]}}}`, `{"m2m:ae":{"poa":["https://b/t"],"ch":{"poa":["x"]}}}`},
		{"CBOR, added", cborMedia, "\xa1\x66m2m:ae\xa1\x63api\x61N", "\xa1\x66m2m:ae\xa2\x63poa\x81\x6bhttps://b/t\x63api\x61N"},
		{"CBOR, replaced", cborMedia, "\xa1\x66m2m:ae\xa1\x63poa\x80", "\xa1\x66m2m:ae\xa1\x63poa\x81\x6bhttps://b/t"},
		{"XML, added", xmlMedia, `<m2m:ae xmlns:m2m="u"><lbl>a</lbl><api>N</api> <rr>true</rr></m2m:ae>`,
			`<m2m:ae xmlns:m2m="u"><lbl>a</lbl><api>N</api><poa>https://b/t</poa> <rr>true</rr></m2m:ae>`},
		{"XML, added first", xmlMedia, `<ae><rr>true</rr></ae>`, `<ae><poa>https://b/t</poa><rr>true</rr></ae>`},
		{"XML, root closes itself", xmlMedia, `<m2m:ae rn="x" />`, `<m2m:ae rn="x" ><poa>https://b/t</poa></m2m:ae>`},
		{"XML, replaced", xmlMedia, `<ae><poa>a b</poa></ae>`, `<ae><poa>https://b/t</poa></ae>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := SetPOA([]byte(c.in), c.media, poa)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	got, err := SetPOA([]byte(`{"m2m:ae":{"poa":[],"api":"N"}}`), jsonMedia, nil)
	require.NoError(t, err)
	require.Equal(t, `{"m2m:ae":{"api":"N"}}`, string(got))
	for media, contents := range map[string][]string{
		jsonMedia: {``, `{}`, `[]`, `1`, `{"m2m:cnt":{}}`, `{"m2m:ae":[]}`, `{"m2m:ae":{},"m2m:cnt":{}}`, `{"m2m:ae":{"poa":1,"poa":2}}`,
			`[{"m2m:ae":{}}]`, `{"a":{"m2m:ae":{}}}`, `{"m2m:ae":{}`},
		cborMedia: {"", "\xa0", "\x80", "\xa2\x66m2m:ae\xa0\x61a\xa0", "\xbf\x66m2m:ae\xa0\xff"},
		xmlMedia:  {"", "<a/>", "<a><ae/></a>", "<ae><poa/><poa/></ae>", "<ae>", "<ae/><ae/>"},
	} {
		for _, in := range contents {
			_, err := SetPOA([]byte(in), media, poa)
			var e *Error
			require.ErrorAs(t, err, &e, "%q", in)
			require.Equal(t, StatusBadRequest, e.Status, "%q", in)
		}
	}
}
