package onem2m

import (
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

func benchmarkMessage() *coap.Message {
	m := &coap.Message{Code: coap.POST, Payload: []byte(`{"m2m:cin":{"cnf":"text/plain:0","con":"21.5"}}`)}
	m.Options = m.Options.AddString(coap.URIPath, "cse-in").AddString(coap.URIPath, "ae").AddString(coap.URIPath, "temp").
		AddUint(coap.ContentFormat, 50).AddString(coap.URIQuery, "rcn=0").AddUint(267, 4).AddString(271, "3").
		AddString(279, "Cae1234567").AddString(283, "4f1d2c")
	return m
}

func BenchmarkRequestFromCoAP(b *testing.B) {
	m := benchmarkMessage()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := RequestFromCoAP(m, CoAPProfile{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequestHTTP(b *testing.B) {
	r, err := RequestFromCoAP(benchmarkMessage(), CoAPProfile{})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.HTTP(HTTPProfile{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResponseFromHTTP(b *testing.B) {
	r, err := RequestFromCoAP(benchmarkMessage(), CoAPProfile{})
	require.NoError(b, err)
	h := &HTTPResponse{Status: 201, Header: []HeaderField{{"X-M2M-RSC", "2001"}, {"X-M2M-RI", "4f1d2c"}, {"X-M2M-RVI", "3"},
		{"Content-Type", "application/json"}, {"Content-Location", "/cse-in/ae/temp/cin_1"}}, Body: []byte(`{}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ResponseFromHTTP(h, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResponseCoAP(b *testing.B) {
	r, err := RequestFromCoAP(benchmarkMessage(), CoAPProfile{})
	require.NoError(b, err)
	s := &Response{Status: StatusCreated, RequestID: "4f1d2c", ReleaseVersion: "3", Created: "cse-in/ae/temp/cin_1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.CoAP(r, CoAPProfile{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNestedOriginators(b *testing.B) {
	r := notify("application/json", `{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{"con":"x"}},"net":3},"sur":"cse/s","cr":"Cother"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NestedOriginators(r); err != nil {
			b.Fatal(err)
		}
	}
}
