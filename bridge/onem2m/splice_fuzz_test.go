package onem2m

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// spliceSeeds are contents with every form that a list can have.
func spliceSeeds(f *testing.F) {
	for _, s := range []string{
		`{"m2m:ae":{"api":"N1","poa":["coap://a","x"],"n":-0.10e5}}`, `{"poa":"x"}`, `{"poa":null,"b":1}`, `[{"poa":[]},{"p\u006fa":["x"]}]`,
		`{"con":{"poa":["x"]},"a":"\"poa\""}`, `{ "a" : [ 1e400 , true ] , "poa" : [ "\u00e9\/" ] , "z":{} }`, `{"m2m:ae":{}}`, `{"ae":{"z":1}}`,
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(toCBOR(f, strings.ReplaceAll(s, "1e400", "1"))), uint8(1))
	}
	for _, s := range []string{
		`<m2m:ae xmlns:m2m="u"><api>N</api><poa>a b</poa><rr>true</rr></m2m:ae>`, `<ae><poa/></ae>`, `<ae x="&lt;"/>`, `<a><p:poa>a<!-- c -->b</p:poa></a>`,
		`<a><con><poa>x</poa></con><![CDATA[<poa>]]><b><poa>y</poa></b></a>`,
	} {
		f.Add([]byte(s), uint8(2))
	}
}

// FuzzMapLists: what is spliced differs in the lists only, and in every list.
func FuzzMapLists(f *testing.F) {
	spliceSeeds(f)
	list := []string{"https://b/t", "q"}
	f.Fuzz(func(t *testing.T, in []byte, which uint8) {
		media := []string{jsonMedia, cborMedia, xmlMedia}[which%3]
		serialisation := familyOf(media)
		before := bytes.Clone(in)
		lists := 0
		same, err := MapLists(in, media, "poa", func(l []string) ([]string, bool) { lists++; return nil, false })
		require.Equal(t, before, in)
		if err != nil {
			requireError(t, err)
			require.Zero(t, lists)
			return
		}
		require.True(t, bytes.Equal(in, same))
		for k := range lists {
			n := 0
			var was []string
			out, err := MapLists(in, media, "poa", func(l []string) ([]string, bool) {
				if n++; n == k+1 {
					was = l
				}
				return list, n == k+1
			})
			require.NoError(t, err)
			requireOnePlace(t, in, out, serialisation, list, was)
		}
		all, err := MapLists(in, media, "poa", func([]string) ([]string, bool) { return list, true })
		require.NoError(t, err)
		again := 0
		_, err = MapLists(all, media, "poa", func(l []string) ([]string, bool) { again++; require.Equal(t, list, l); return nil, false })
		require.NoError(t, err)
		require.Equal(t, lists, again)
		none, err := MapLists(in, media, "poa", func([]string) ([]string, bool) { return nil, true })
		require.NoError(t, err)
		_, err = MapLists(none, media, "poa", func([]string) ([]string, bool) { t.Error("a list is left"); return nil, false })
		require.NoError(t, err)
		if lists == 0 {
			return
		}
		requireMapped(t, in, all, none, serialisation, list)
	})
}

// requireOnePlace checks that out is in with one stretch of bytes replaced, by no more than list takes.
func requireOnePlace(t *testing.T, in, out []byte, f family, list, was []string) {
	t.Helper()
	head := 0
	for head < min(len(in), len(out)) && in[head] == out[head] {
		head++
	}
	tail := 0
	for tail < min(len(in), len(out))-head && in[len(in)-1-tail] == out[len(out)-1-tail] {
		tail++
	}
	if f == familyXML {
		require.True(t, len(out)-head-tail <= len("></>")+len("https://b/t q")+len(in), "the text, and an end tag")
		return
	}
	with, err := appendList(nil, f, list)
	require.NoError(t, err)
	require.Contains(t, string(with), string(out[head:len(out)-tail]))
	if slices.Equal(list, was) {
		require.LessOrEqual(t, head+tail, len(in))
	}
}

// requireMapped compares the trees of what became of in: in all every list is list, and in none there is none.
func requireMapped(t *testing.T, in, all, none []byte, f family, list []string) {
	t.Helper()
	if f == familyXML {
		require.Equal(t, xmlTokens(t, in), xmlTokens(t, all))
		return
	}
	want, err := parseTree(in, f)
	require.NoError(t, err)
	got, err := parseTree(all, f)
	require.NoError(t, err)
	require.Equal(t, mapped(want, list), got)
	want, err = parseTree(in, f)
	require.NoError(t, err)
	got, err = parseTree(none, f)
	require.NoError(t, err)
	require.Equal(t, mapped(want, nil), got)
}

// mapped is MapLists of a tree.
func mapped(v any, list []string) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = mapped(v[i], list)
		}
	case map[string]any:
		for name := range v {
			switch {
			case name == "poa" && list == nil:
				delete(v, name)
			case name == "poa":
				v[name] = []any{list[0], list[1]}
			case name != "con":
				v[name] = mapped(v[name], list)
			}
		}
	}
	return v
}

// xmlTokens returns every token but the text of lists.
func xmlTokens(t *testing.T, content []byte) (tokens []xml.Token) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(content))
	inList, con := false, 0
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return tokens
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "con" || con > 0 {
				con++
			}
			inList = inList || token.Name.Local == "poa" && con == 0
		case xml.EndElement:
			if con > 0 {
				con--
			} else if token.Name.Local == "poa" {
				inList = false
			}
		default:
			if inList {
				continue
			}
		}
		tokens = append(tokens, xml.CopyToken(token))
	}
}

// FuzzSetPOA: an AE has the pointOfAccess that was set, in whatever way it is looked for, and is otherwise what it was.
func FuzzSetPOA(f *testing.F) {
	spliceSeeds(f)
	poa := []string{"https://b/t", "q"}
	f.Fuzz(func(t *testing.T, in []byte, which uint8) {
		media := []string{jsonMedia, cborMedia, xmlMedia}[which%3]
		before := bytes.Clone(in)
		out, err := SetPOA(in, media, poa)
		require.Equal(t, before, in)
		if err != nil {
			requireError(t, err)
			return
		}
		twice, err := SetPOA(out, media, poa)
		require.NoError(t, err)
		require.True(t, bytes.Equal(out, twice))
		without, err := SetPOA(out, media, nil)
		require.NoError(t, err)
		back, err := SetPOA(in, media, nil)
		require.NoError(t, err)
		if media == xmlMedia {
			return
		}
		serialisation := familyOf(media)
		got, err := parseTree(without, serialisation)
		require.NoError(t, err)
		want, err := parseTree(back, serialisation)
		require.NoError(t, err)
		require.Equal(t, want, got)
		got, err = parseTree(out, serialisation)
		require.NoError(t, err)
		for _, ae := range got.(map[string]any) {
			require.Equal(t, []any{poa[0], poa[1]}, ae.(map[string]any)["poa"])
		}
	})
}

// FuzzParsePrimitive: nothing that a CSE puts into a polling channel ends in a panic, its pc is a part of what came, and what
// is taken can be written as CoAP or refused.
func FuzzParsePrimitive(f *testing.F) {
	for _, s := range []string{
		`{"m2m:rqp":{"fr":"/id-in","to":"Cpol","op":5,"rqi":"1","drt":1,"pc":{"m2m:sgn":{"vrq":true,"sur":"s"}}}}`,
		`{"op":2,"to":"cse/a","fr":"C","rqi":"r","pc":{"m2m:atrl":["rn"]},"fc":{"lbl":["a"]},"rt":{"rtv":3,"nu":["a"]}}`,
		`{"m2m:agrp":[{"m2m:rqp":{"rqi":"r"}}]}`, `{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{}},"net":3.0},"sur":"s","cr":"c","sud":true}}`,
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(toCBOR(f, s)), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, inCBOR bool) {
		media := jsonMedia
		if inCBOR {
			media = cborMedia
		}
		before := bytes.Clone(in)
		if n, ok := DecodeNotification(in, media); ok {
			require.True(t, bytes.Contains(in, n.Representation))
		}
		parts, err := SplitPrimitives(in, media)
		if err != nil {
			requireError(t, err)
			return
		}
		for _, part := range parts {
			id := RequestIDFromPrimitive(part, media)
			require.True(t, validText(id))
			r, err := ParsePrimitive(part, media)
			if err != nil {
				requireError(t, err)
				continue
			}
			require.Equal(t, id, r.RequestID)
			require.True(t, bytes.Contains(part, r.Content))
			if _, err := r.CoAP(CoAPProfile{}); err != nil {
				requireError(t, err)
			}
			answer, err := (&Response{Status: StatusOK, Content: r.Content, MediaType: r.MediaType}).Primitive(r, media)
			require.NoError(t, err)
			requireAnswer(t, answer, media, r)
		}
		require.Equal(t, before, in)
	})
}

// requireAnswer checks that the answer holds the content of r under pc, and its Request Identifier once.
func requireAnswer(t *testing.T, answer []byte, media string, r *Request) {
	t.Helper()
	f, spans, root, err := wholeSpans(answer, media, "rsp")
	if err != nil { // the answer's own root is one level more than content may have
		requireError(t, err)
		return
	}
	require.Equal(t, 1, root)
	reader := memberReader{content: answer, f: f, spans: spans}
	require.Equal(t, r.RequestID, reader.text(root, "rqi"))
	require.EqualValues(t, StatusOK, reader.number(root, "rsc"))
	pc := memberOf(spans, root, "pc")
	require.Equal(t, len(r.Content) > 0, pc >= 0)
	if pc >= 0 {
		require.Equal(t, string(r.Content), string(answer[spans[pc].start:spans[pc].end]))
	}
}
