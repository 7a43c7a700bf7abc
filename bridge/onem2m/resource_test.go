package onem2m

import (
	"encoding/json"
	"math/rand"
	"testing"
	"testing/quick"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCreatedAEID(t *testing.T) {
	t.Parallel()
	const js = `{"m2m:ae":{"ri":"Cri","aei":"C123","api":"Napp"}}`
	for name, c := range map[string]struct {
		media, content, want string
		status               StatusCode
	}{
		"JSON":                   {"application/json", js, "C123", StatusCreated},
		"JSON, oneM2M's label":   {"application/vnd.onem2m-res+json", js, "C123", StatusCreated},
		"CBOR":                   {"application/cbor", toCBOR(t, js), "C123", StatusCreated},
		"JSON with the address":  {"application/json", `{"m2m:rce":{"uri":"cse/ae","m2m:ae":{"aei":"S1"}}}`, "S1", StatusCreated},
		"XML":                    {"application/xml", `<m2m:ae xmlns:m2m="p" rn="x"><api>N</api><aei>C123</aei></m2m:ae>`, "C123", StatusCreated},
		"not created":            {"application/json", js, "", StatusConflict},
		"another resource":       {"application/json", `{"m2m:cnt":{"aei":"C123"}}`, "", StatusCreated},
		"address only":           {"application/json", `{"m2m:uri":"cse/ae"}`, "", StatusCreated},
		"no content":             {"", "", "", StatusCreated},
		"aei twice":              {"application/json", `{"m2m:ae":{"aei":"C1","aei":"C2"}}`, "", StatusCreated},
		"aei is a number":        {"application/json", `{"m2m:ae":{"aei":1}}`, "", StatusCreated},
		"aei is a wildcard":      {"application/json", `{"m2m:ae":{"aei":"C*"}}`, "", StatusCreated},
		"aei with CR LF":         {"application/json", `{"m2m:ae":{"aei":"C\r\n"}}`, "", StatusCreated},
		"XML with a declaration": {"application/xml", `<!DOCTYPE x><m2m:ae xmlns:m2m="p"><aei>C1</aei></m2m:ae>`, "", StatusCreated},
		"XML, nested elsewhere":  {"application/xml", `<x><y><z><ae><aei>C1</aei></ae></z></y></x>`, "", StatusCreated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := CreatedAEID(&Response{Status: c.status, Content: []byte(c.content), MediaType: c.media})
			if c.want == "" {
				requireStatus(t, StatusInternalServerError, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestEncodeResources(t *testing.T) {
	t.Parallel()
	b, err := EncodeAE(AE{Name: "d<1>", AppID: "Napp", Reachable: true, ReleaseVersions: []string{"3"}})
	require.NoError(t, err)
	require.Equal(t, `{"m2m:ae":{"rn":"d<1>","api":"Napp","rr":true,"srv":["3"]}}`, string(b))
	b, err = EncodeContainer(Container{Name: "temp", MaxInstances: 10, Labels: []string{"a"}})
	require.NoError(t, err)
	require.Equal(t, `{"m2m:cnt":{"rn":"temp","mni":10,"lbl":["a"]}}`, string(b))
}

// TestContentInstance is the table of how a plain device's payload is kept.
func TestContentInstance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ payload, media, want, back string }{
		"text without a format":   {"21.5 °C\n", "", `{"m2m:cin":{"con":"21.5 °C\n"}}`, ""},
		"text":                    {"21.5", "text/plain", `{"m2m:cin":{"cnf":"text/plain:0","con":"21.5"}}`, "text/plain"},
		"nothing":                 {"", "", `{"m2m:cin":{"con":""}}`, ""},
		"JSON":                    {`{"t":1}`, "application/json", `{"m2m:cin":{"cnf":"application/json:0","con":"{\"t\":1}"}}`, "application/json"},
		"CBOR":                    {"\xa1\x01\x02", "application/cbor", `{"m2m:cin":{"cnf":"application/cbor:1","con":"oQEC"}}`, "application/cbor"},
		"binary without a format": {"\x00\xff", "", `{"m2m:cin":{"cnf":"application/octet-stream:1","con":"AP8="}}`, octetStream},
		"text with a NUL":         {"a\x00", "text/plain", `{"m2m:cin":{"cnf":"text/plain:1","con":"YQA="}}`, "text/plain"},
		"replacement character":   {"\ufffd", "", `{"m2m:cin":{"cnf":"application/octet-stream:1","con":"77+9"}}`, octetStream},
		"line separator":          {"\u2028", "", `{"m2m:cin":{"cnf":"application/octet-stream:1","con":"4oCo"}}`, octetStream},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := EncodeContentInstance([]byte(c.payload), c.media)
			require.NoError(t, err)
			require.Equal(t, c.want, string(b))
			payload, media, ok := DecodeContentInstance(b)
			require.True(t, ok)
			require.Equal(t, c.payload, string(payload))
			require.Equal(t, c.back, media)
		})
	}
	_, err := EncodeContentInstance(nil, "a:b")
	requireStatus(t, StatusUnsupportedMediaType, err)

	// What other applications write.
	for in, want := range map[string]struct{ payload, media string }{
		`{"m2m:cin":{"con":21.5}}`:                                      {"21.5", "application/json"},
		`{"m2m:cin":{"con":{"t": 1},"cnf":"application/senml+json:0"}}`: {`{"t": 1}`, "application/senml+json"},
		`{"m2m:cin":{"con":"YQ==","cnf":"text/plain:2:1"}}`:             {"a", "text/plain"},
		`{"m2m:cin":{"con":"a","cnf":"text/plain"}}`:                    {"a", "text/plain"},
	} {
		payload, media, ok := DecodeContentInstance([]byte(in))
		require.True(t, ok, in)
		require.Equal(t, want.payload, string(payload))
		require.Equal(t, want.media, media)
	}
	for _, in := range []string{
		``, `{}`, `{"m2m:cin":{}}`, `{"m2m:cnt":{"con":"a"}}`, `{"m2m:cin":{"con":"!","cnf":"a/b:1"}}`, "{\"m2m:cin\":{\"con\":\"\xff\"}}",
	} {
		_, _, ok := DecodeContentInstance([]byte(in))
		require.False(t, ok, in)
	}
}

// TestContentInstanceRoundTrip is the property that any payload survives byte for byte, and its Content-Format with it.
func TestContentInstanceRoundTrip(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewSource(1))
	require.NoError(t, quick.Check(func(payload []byte, text string) bool {
		for _, p := range [][]byte{payload, []byte(text)} {
			f := plainFormats[rnd.Intn(len(plainFormats))]
			media, ok := MediaTypeOf(f.id)
			require.True(t, ok)
			b, err := EncodeContentInstance(p, media)
			require.NoError(t, err)
			require.True(t, json.Valid(b))
			back, media, ok := DecodeContentInstance(b)
			require.True(t, ok)
			require.Equal(t, string(p), string(back))
			id, ok := ContentFormatOf(media)
			require.True(t, ok)
			require.Equal(t, f.id, id)
		}
		return true
	}, nil))
	_, ok := MediaTypeOf(9999)
	require.False(t, ok)
	_, ok = ContentFormatOf("text/html")
	require.False(t, ok)
	id, ok := ContentFormatOf("Text/Plain; charset=utf-8")
	require.True(t, ok)
	require.Zero(t, id)
	media, ok := MediaTypeOf(10001)
	require.True(t, ok)
	require.Equal(t, "application/vnd.onem2m-res+json", media)
}

func TestParseTimestamp(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"20261123T083531":           time.Date(2026, 11, 23, 8, 35, 31, 0, time.UTC),
		"20261123T083531,648186":    time.Date(2026, 11, 23, 8, 35, 31, 648186000, time.UTC),
		"20261123T083531.5":         time.Date(2026, 11, 23, 8, 35, 31, 500000000, time.UTC),
		"20261123T083531,123456789": time.Date(2026, 11, 23, 8, 35, 31, 123456789, time.UTC),
		"3600000":                   now.Add(time.Hour),
		"0":                         now,
		"-1000":                     now.Add(-time.Second),
	} {
		got, err := ParseTimestamp(in, now)
		require.NoError(t, err, in)
		require.True(t, want.Equal(got), "%s: %s", in, got)
	}
	for _, in := range []string{
		"", "T", "20261123T", "20261123T0835", "20261323T083531", "20261123T083531Z", "20261123T083531,",
		"20261123T083531,x", "20261123T083531,1234567890", "20261123T083531,-1", "2026-11-23T08:35:31", "1.5", "x",
		"99999999999999999999", "9223372036854775807", "P1D",
	} {
		_, err := ParseTimestamp(in, now)
		require.Error(t, err, in)
		requireStatus(t, StatusBadRequest, err)
	}
	r := request(func(r *Request) {
		r.OriginatingTimestamp, r.RequestExpiration, r.VendorInformation = "20261123T083531,648186", "1500", "aT1,5"
	})
	m, err := r.CoAP(CoAPProfile{StrictTimestamps: true})
	require.NoError(t, err)
	for id, want := range map[uint16]string{259: "20261123T083531", 291: "1500", 331: "aT1,5"} {
		for _, o := range m.Options {
			if uint16(o.ID) == id {
				require.Equal(t, want, string(o.Value))
			}
		}
	}
}
