package onem2m

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGoldenPrimitive reads request primitives as polling channels hand them out (TS-0001, 10.2.5.16), and shows what becomes
// of them in both bindings.
func TestGoldenPrimitive(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, c := range []struct{ name, json string }{
		{"as ACME writes it", `{"m2m:rqp":{"fr":"/id-in","to":"Cpol","op":5,"rqi":"1","drt":1,"pc":{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{"con":"21"}},"net":3},"sur":"/id-in/s"}}}}`},
		{"without a root", `{"op":5,"to":"/id-in/Cpol","fr":"/id-in","rqi":"r","rvi":"4","pc":{"m2m:sgn":{"vrq":true,"sur":"s","cr":"Cx"}}}`},
		{"without To", `{"m2m:rqp":{"op":5,"fr":"/id-in","rqi":"r"}}`},
		{"no namespace", `{"rqp":{"op":5,"fr":"/id-in","rqi":"r"}}`},
		{"floats", `{"m2m:rqp":{"op":5.0,"to":"C","fr":"/tinyiot","rqi":"notify","rvi":"3","ec":3.0,"pc":{"m2m:sgn":{"nev":{"net":3.0}}}}}`},
		{"create", `{"op":1,"to":"cse/a","fr":"C","rqi":"r","ty":4,"pc":{"m2m:cin":{"con":1.50}}}`},
		{"create of an AE without From", `{"op":1,"to":"cse","rqi":"r","ty":2,"pc":{"m2m:ae":{}}}`},
		{"retrieve", `{"op":2,"to":"cse/a","fr":"C","rqi":"r","pc":{"m2m:atrl":["rn","lbl"]},"fc":{"fu":1,"lbl":["a","b"]}}`},
		{"delete", `{"op":4,"to":"cse/a","fr":"C","rqi":"r","pc":null}`},
		{"every parameter", `{"op":3,"to":"cse-in","fr":"Cae","rqi":"r1","rvi":"5","ot":"20261123T083531","rqet":"1000","rset":3000,
			"oet":"20261123T083531","ec":4,"gid":"g","vsi":"v","aus":["a==","b=="],"rt":{"rtv":2,"nu":["/id-in/C1","C2"]},"rp":"P1D",
			"da":true,"rcn":4,"drt":2,"tids":["t1","t2"],"ltids":["l"],"rids":["r"],"tqi":true,"auri":false,"asi":true,"sqi":true,
			"tkns":["a.b.c","d.e.f"],"pc":{"m2m:ae":{"lbl":null}}}`},

		{"no op", `{"to":"C","fr":"/id-in","rqi":"r"}`},
		{"op that there is not", `{"op":6,"to":"C","fr":"/id-in","rqi":"r"}`},
		{"op of another type", `{"op":[5],"to":"C","fr":"/id-in","rqi":"r"}`},
		{"no RQI", `{"op":5,"to":"C","fr":"/id-in"}`},
		{"no From", `{"op":5,"to":"C","rqi":"r"}`},
		{"RQI twice", `{"op":5,"to":"C","fr":"/id-in","rqi":"r","rqi":"s"}`},
		{"RQI with CR LF", `{"op":5,"to":"C","fr":"/id-in","rqi":"r\r\n"}`},
		{"unknown release", `{"op":5,"to":"C","fr":"/id-in","rqi":"r","rvi":"9"}`},
		{"To above", `{"op":5,"to":"cse/../x","fr":"/id-in","rqi":"r"}`},
		{"unknown parameter", `{"op":5,"to":"C","fr":"/id-in","rqi":"r","xyz":1}`},
		{"a response's parameter", `{"op":5,"to":"C","fr":"/id-in","rqi":"r","rsc":2000}`},
		{"a response", `{"m2m:rsp":{"rsc":2000,"rqi":"r"}}`},
		{"two roots", `{"m2m:rqp":{"op":5,"to":"C","fr":"/id-in","rqi":"r"},"m2m:rsp":{}}`},
		{"content of a DELETE", `{"op":4,"to":"cse/a","fr":"C","rqi":"r","pc":{"a":1}}`},
		{"content of a RETRIEVE", `{"op":2,"to":"cse/a","fr":"C","rqi":"r","pc":{"m2m:cin":{}}}`},
		{"Resource Type of a NOTIFY", `{"op":5,"to":"C","fr":"/id-in","rqi":"r","ty":4}`},
		{"list", `[1]`},
		{"nothing", `null`},
		{"cut", `{"op":5,"to":`},
	} {
		fmt.Fprintf(&b, "# %s\n", c.name)
		r, err := ParsePrimitive([]byte(c.json), jsonMedia)
		if err != nil {
			require.Nil(t, r)
			b.WriteString(errorText(err))
			continue
		}
		inCBOR := toCBOR(t, c.json)
		fromCBOR, err := ParsePrimitive([]byte(inCBOR), "application/vnd.onem2m-preq+cbor")
		require.NoError(t, err)
		if len(r.Content) > 0 {
			require.Contains(t, c.json, string(r.Content), "byte for byte")
			require.Contains(t, inCBOR, string(fromCBOR.Content))
			fromCBOR.Content, fromCBOR.MediaType = r.Content, r.MediaType
		}
		require.Equal(t, r, fromCBOR)
		if r.To == "" {
			r.To = "poa"
		}
		b.WriteString(bothWays(t, r, CoAPProfile{}))
	}
	golden(t, "primitive", b.String())
}

func TestParsePrimitiveMedia(t *testing.T) {
	t.Parallel()
	for _, media := range []string{"application/xml", "application/vnd.onem2m-preq+xml", "text/plain", ""} {
		_, err := ParsePrimitive([]byte(`{"op":5}`), media)
		requireStatus(t, StatusUnsupportedMediaType, err)
		_, err = SplitPrimitives([]byte(`{"op":5}`), media)
		requireStatus(t, StatusUnsupportedMediaType, err)
		_, err = response(nil).Primitive(nil, media)
		requireStatus(t, StatusUnsupportedMediaType, err)
	}
}

// TestPrimitiveContentIsKept: nothing in pc goes through a number, a map or another spelling.
func TestPrimitiveContentIsKept(t *testing.T) {
	t.Parallel()
	for _, pc := range []string{
		`{ "a":1e400,"b" : -0, "c":3.0,"d":[12345678901234567890.10] ,"\u0065":"\/\u00e9"}`, `[]`, `"text"`, `1E+2`, `true`, `{}`,
	} {
		in := []byte(`{"rqi":"r", "pc" :` + pc + "\n,\"op\":5,\"to\":\"C\",\"fr\":\"/id\"}")
		r, err := ParsePrimitive(in, jsonMedia)
		require.NoError(t, err)
		require.Equal(t, pc, string(r.Content))
		require.Equal(t, cap(r.Content), len(r.Content), "an append can't run into what follows")
		require.Equal(t, jsonMedia, r.MediaType)
	}
}

func TestRequestIDFromPrimitive(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"m2m:rqp":{"rqi":"r","op":9}}`: "r", `{"rqi":"r"}`: "r", `{"rqi":1}`: "1", `{"rqi":{}}`: "", `{"rqi":"a\nb"}`: "", `{"rqi":"r"`: "", `[]`: "", ``: "",
	} {
		require.Equal(t, want, RequestIDFromPrimitive([]byte(in), jsonMedia), in)
	}
	require.Empty(t, RequestIDFromPrimitive([]byte(`<rqi>r</rqi>`), xmlMedia))
}

func TestSplitPrimitives(t *testing.T) {
	t.Parallel()
	const one, two = `{"m2m:rqp":{"rqi":"1"}}`, `{ "rqi":2.0 }`
	for in, want := range map[string][]string{
		`{"m2m:agrp":[` + one + `, ` + two + `]}`:            {one, two},
		`{"m2m:agrp":{"m2m:rqp":[` + one + `,` + two + `]}}`: {one, two},
		`{"m2m:agrp":[]}`: nil,
		one:               {one},
		`[1]`:             {`[1]`},
	} {
		got, err := SplitPrimitives([]byte(in), jsonMedia)
		require.NoError(t, err, in)
		require.Len(t, got, len(want), in)
		for i := range want {
			require.Equal(t, want[i], string(got[i]))
		}
	}
	for _, in := range []string{`{"m2m:agrp":1}`, `{"m2m:agrp":[],"m2m:rqp":{}}`, `{"m2m:agrp":{}}`, `{"m2m:agrp":{"a":[],"b":[]}}`,
		`{"m2m:agrp":[` + strings.Repeat("{},", maxAggregated) + `{}]}`, `{"m2m:agrp":[`} {
		_, err := SplitPrimitives([]byte(in), jsonMedia)
		requireStatus(t, StatusBadRequest, err)
	}
	got, err := SplitPrimitives([]byte(toCBOR(t, `{"m2m:agrp":[{"rqi":"1"},{"rqi":"2"}]}`)), cborMedia)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, "2", RequestIDFromPrimitive(got[1], cborMedia))
}

// TestGoldenResponsePrimitive writes each parameter of a response.
func TestGoldenResponsePrimitive(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	rows := append(responseRows(),
		row[Response]{"content in CBOR", func(s *Response) { s.Content, s.MediaType = []byte("\xa0"), cborMedia }},
		row[Response]{"content that would stand beside pc", func(s *Response) {
			s.Content, s.MediaType = []byte(`{}},"m2m:rsp":{"rsc":2000`), jsonMedia
		}},
		row[Response]{"text with a line end", func(s *Response) { s.VendorInformation = "a\nb" }},
		row[Response]{"From that looks like JSON", func(s *Response) { s.From = `","rsc":2000,"x":"<&` }},
	)
	for _, c := range rows {
		fmt.Fprintf(&b, "# %s\n", c.name)
		s := response(c.change)
		inJSON, err := s.Primitive(request(nil), "application/vnd.onem2m-prsp+json")
		if err != nil {
			b.WriteString(errorText(err))
			continue
		}
		fmt.Fprintf(&b, "%s\n", inJSON)
		tree, err := parseJSON(inJSON)
		require.NoError(t, err)
		require.Len(t, tree.(map[string]any), 1)
		if s.MediaType == jsonMedia {
			s.Content, s.MediaType = []byte(toCBOR(t, string(s.Content))), cborMedia
		}
		inCBOR, err := s.Primitive(request(nil), cborMedia)
		require.NoError(t, err)
		fromCBOR, err := parseCBOR(inCBOR)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(tree), fmt.Sprint(fromCBOR))
	}
	golden(t, "response-primitive", b.String())
	got, err := (&Response{Status: StatusOK}).Primitive(request(nil), jsonMedia)
	require.NoError(t, err)
	require.JSONEq(t, `{"m2m:rsp":{"rsc":2000,"rqi":"r1","rvi":"3"}}`, string(got), "completed from the request")
	got, err = (&Response{Status: StatusOK}).Primitive(nil, jsonMedia)
	require.NoError(t, err)
	require.JSONEq(t, `{"m2m:rsp":{"rsc":2000}}`, string(got))
}
