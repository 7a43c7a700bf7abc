package onem2m

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

func fetchMessage(format uint32, payload string) *coap.Message {
	m := &coap.Message{Code: coap.FETCH, Payload: []byte(payload)}
	m.Options = m.Options.AddUint(coap.ContentFormat, format)
	return m
}

// TestGoldenFetch reads the whole primitive of a Release 5 FETCH (TS-0008, 6.6), nested filter criteria included, and shows
// what it is in HTTP.
func TestGoldenFetch(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, c := range []struct{ name, json string }{
		{"least", `{"op":2,"to":"cse-in/ae","fr":"Cae","rqi":"r1","rvi":"5"}`},
		{"with a root", `{"m2m:rqp":{"op":2,"to":"/id-in/cse-in","fr":"Cae","rqi":"r1","rvi":"5"}}`},
		{"floats", `{"op":2.0,"to":"cse-in","fr":"Cae","rqi":"r1","rcn":4.0,"ec":3.0}`},
		{"every parameter", `{"to":"cse-in","fr":"Cae","rqi":"r1","rvi":"5","ot":"20261123T083531","rqet":"1000","rset":3000,
			"oet":"20261123T083531","ec":4,"gid":"g","vsi":"v","aus":["a==","b=="],"rt":{"rtv":2,"nu":["/id-in/C1","C2"]},"rp":"P1D",
			"da":true,"rcn":4,"drt":2,"tids":["t1","t2"],"ltids":["l"],"rids":["r"],"tqi":true,"auri":false,"asi":true,"sqi":true,
			"tkns":["a.b.c","d.e.f"]}`},
		{"nobody to notify", `{"to":"cse-in","fr":"Cae","rqi":"r1","rt":{"rtv":2,"nu":[]}}`},
		{"bare rt", `{"to":"cse-in","fr":"Cae","rqi":"r1","rt":1}`},
		{"flat and nested filter criteria", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"fu":1,"ty":[3,4],"lbl":["a b","c"],"crb":"20261123T083531",
			"lim":10,"atr":[{"nm":"cr","val":"Sam"},{"nm":"cs","val":5}],"catr":{"nm":"rn","val":"x"},"patr":[{"nm":"lbl","val":"y"}]}}`},
		{"attribute of To", `{"to":"cse-in/ae#lbl","fr":"Cae","rqi":"r1"}`},
		{"list of attributes", `{"to":"cse-in/ae","fr":"Cae","rqi":"r1","pc":{"m2m:atrl":["ri","lbl","rr"]}}`},
		{"parameters of Release 4", `{"to":"cse-in/ae","fr":"Cae","rqi":"r1","prpi":"p"}`},

		{"op of another method", `{"op":4,"to":"cse-in","fr":"Cae","rqi":"r1"}`},
		{"no From", `{"to":"cse-in","rqi":"r1"}`},
		{"no RQI", `{"to":"cse-in","fr":"Cae"}`},
		{"unknown release", `{"to":"cse-in","fr":"Cae","rqi":"r1","rvi":"9"}`},
		{"From of another type", `{"to":"cse-in","fr":{"a":1},"rqi":"r1"}`},
		{"From with CR LF", `{"to":"cse-in","fr":"C\r\n","rqi":"r1"}`},
		{"From twice", `{"to":"cse-in","fr":"Ca","fr":"Cb","rqi":"r1"}`},
		{"To above", `{"to":"cse-in/../x","fr":"Cae","rqi":"r1"}`},
		{"To with a query", `{"to":"cse-in?rcn=1","fr":"Cae","rqi":"r1"}`},
		{"a response's parameter", `{"to":"cse-in","fr":"Cae","rqi":"r1","rsc":2000}`},
		{"Resource Type", `{"to":"cse-in","fr":"Cae","rqi":"r1","ty":2}`},
		{"operation in the filter", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"op":4}}`},
		{"operation as an attribute", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"atr":[{"nm":"rt","val":"1"}]}}`},
		{"result content in the filter", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"rcn":1}}`},
		{"result content as an attribute", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"atr":[{"nm":"rcn","val":1}]}}`},
		{"limit as an attribute", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"atr":[{"nm":"lim","val":1}]}}`},
		{"label as an attribute", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"atr":[{"nm":"lbl","val":"a"}]}}`},
		{"result content as a child's attribute", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"catr":[{"nm":"rcn","val":1}]}}`},
		{"criterion outside the filter", `{"to":"cse-in","fr":"Cae","rqi":"r1","lbl":"a"}`},
		{"unknown parameter", `{"to":"cse-in","fr":"Cae","rqi":"r1","xyz":"a"}`},
		{"attribute without a value", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"atr":[{"nm":"cr"}]}}`},
		{"list with a separator", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"lbl":["a+b","c"]}}`},
		{"nested too deep", `{"to":"cse-in","fr":"Cae","rqi":"r1","fc":{"lbl":{"a":1}}}`},
		{"content of another kind", `{"to":"cse-in","fr":"Cae","rqi":"r1","pc":{"m2m:cin":{}}}`},
		{"list", `[1]`},
		{"nothing", `null`},
		{"cut", `{"to":`},
	} {
		fmt.Fprintf(&b, "# %s\n", c.name)
		r, err := RequestFromCoAP(fetchMessage(10007, c.json), CoAPProfile{})
		if err != nil {
			require.Nil(t, r)
			b.WriteString(errorText(err))
			continue
		}
		require.Equal(t, Retrieve, r.Operation)
		require.Empty(t, r.Content)
		fromCBOR, err := RequestFromCoAP(fetchMessage(10012, toCBOR(t, c.json)), CoAPProfile{})
		require.NoError(t, err)
		require.Equal(t, r, fromCBOR)
		b.WriteString(bothWays(t, r, CoAPProfile{}))
	}
	golden(t, "fetch", b.String())
}

// TestFetchOptions is a FETCH whose options say something too: the same, or 4000; and the serialisations it may have.
func TestFetchOptions(t *testing.T) {
	t.Parallel()
	const payload = `{"to":"cse-in","fr":"Cae","rqi":"r1","rvi":"5"}`
	good := fetchMessage(50, payload)
	good.Options = good.Options.AddString(279, "Cae").AddString(283, "r1").AddString(coap.URIPath, "cse-in")
	r, err := RequestFromCoAP(good, CoAPProfile{})
	require.NoError(t, err)
	require.Equal(t, &Request{Operation: Retrieve, To: "cse-in", From: "Cae", RequestID: "r1", ReleaseVersion: "5"}, r)
	for id, value := range map[coap.OptionID]string{
		279: "Cother", 283: "r2", coap.URIPath: "other", coap.URIQuery: "op=4",
	} {
		m := fetchMessage(50, payload)
		m.Options = m.Options.AddString(id, value)
		_, err := RequestFromCoAP(m, CoAPProfile{})
		requireStatus(t, StatusBadRequest, err)
	}
	const rich = `{"to":"cse-in","fr":"Cae","rqi":"r1","rcn":4,"rt":{"rtv":2,"nu":["Ca","Cb"]},"tkns":["a.b.c"],"fc":{"lbl":["x","y"]}}`
	for name, c := range map[string]struct {
		id     coap.OptionID
		values []string
		same   bool
	}{
		"one more key":                 {coap.URIQuery, []string{"lim=5"}, true},
		"the same rcn":                 {coap.URIQuery, []string{"rcn=4"}, true},
		"another rcn":                  {coap.URIQuery, []string{"rcn=1"}, false},
		"the same list":                {coap.URIQuery, []string{"lbl=x+y"}, true},
		"the same list, repeated keys": {coap.URIQuery, []string{"lbl=x", "lbl=y"}, true},
		"a shorter list":               {coap.URIQuery, []string{"lbl=x"}, false},
		"the same rt":                  {coap.URIQuery, []string{"rt=2"}, true},
		"another rt":                   {coap.URIQuery, []string{"rt=1"}, false},
		"the same token":               {coap.URIQuery, []string{"tkns=a.b.c"}, true},
		"another token":                {coap.URIQuery, []string{"tkns=d.e.f"}, false},
		"the same RTURI":               {263, []string{"Ca&Cb"}, true},
		"another RTURI":                {263, []string{"Cc"}, false},
		"nobody to notify":             {263, []string{""}, false},
	} {
		alone, err := RequestFromCoAP(fetchMessage(50, rich), CoAPProfile{})
		require.NoError(t, err)
		m := fetchMessage(50, rich)
		for _, v := range c.values {
			m.Options = m.Options.AddString(c.id, v)
		}
		r, err := RequestFromCoAP(m, CoAPProfile{})
		if !c.same {
			requireStatus(t, StatusBadRequest, err)
			continue
		}
		require.NoError(t, err, name)
		if name == "one more key" {
			alone.Query = append([]Parameter{{"lim", "5"}}, alone.Query...)
		}
		require.Equal(t, alone, r, name)
	}
	_, err = RequestFromCoAP(fetchMessage(10006, "<m2m:rqp/>"), CoAPProfile{})
	requireStatus(t, StatusUnsupportedMediaType, err)
	_, err = RequestFromCoAP(fetchMessage(50, strings.Repeat("[", 100000)), CoAPProfile{})
	requireStatus(t, StatusBadRequest, err) // C10
	_, err = RequestFromCoAP(&coap.Message{Code: coap.FETCH}, CoAPProfile{})
	requireStatus(t, StatusUnsupportedMediaType, err)
	_, err = RequestFromCoAP(&coap.Message{Code: coap.PATCH}, CoAPProfile{})
	requireStatus(t, StatusOperationNotAllowed, err)
}
