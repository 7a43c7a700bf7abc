package onem2m

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// TestGoldenDownlink is the way of a CSE's request to a device, and of the answer back: as CSEs were seen to write it, and
// what they must not.
func TestGoldenDownlink(t *testing.T) {
	t.Parallel()
	const (
		sgn   = `{"m2m:sgn":{"nev":{"rep":{"m2m:cin":{"con":"21","ty":4}},"net":3},"sur":"/id-in/sub1"}}`
		vrq   = `{"m2m:sgn":{"vrq":true,"sur":"/id-in/sub1","cr":"Cother"}}`
		agn   = `{"m2m:agn":{"m2m:sgn":[{"nev":{"net":3},"sur":"s"},{"nev":{"net":3},"sur":"s"}]}}`
		rsp   = `{"m2m:rsp":{"rsc":2001,"rqi":"r7","rvi":"3","pc":{"m2m:cnt":{"ri":"cnt1"}}}}`
		inXML = `<?xml version="1.0"?><m2m:sgn xmlns:m2m="http://www.onem2m.org/xml/protocols"><vrq>true</vrq><sur>s</sur></m2m:sgn>`
	)
	post := func(target, body string, fields ...string) *HTTPRequest {
		h := &HTTPRequest{Method: "POST", Target: target, Body: []byte(body)}
		for i := 0; i < len(fields); i += 2 {
			h.Header = append(h.Header, HeaderField{fields[i], fields[i+1]})
		}
		return h
	}
	acme := []string{"X-M2M-Origin", "/id-in", "X-M2M-RI", "17", "X-M2M-RVI", "4", "X-M2M-OT", "20261123T083531,648186", "Content-Type", "application/json"}
	var b strings.Builder
	for _, c := range []struct {
		name string
		h    *HTTPRequest
		to   string // what the bridge makes of an empty To
	}{
		{"ACME, notification", post("/~/id-in/Cdev", sgn, acme...), ""},
		{"ACME, retargeted", post("/cse-in/dev", sgn, acme...), ""},
		{"ACME, verification", post("/", vrq, acme...), "/id-in/Cdev"},
		{"Mobius4, no release", post("/", sgn, "X-M2M-Origin", "/Mobius4", "X-M2M-RI", "http-noti-1", "Content-Type", "application/json; charset=utf-8"), "/Mobius4/Cdev"},
		{"tinyIoT, floats and no slash", post("TinyIoT/tt/c", `{"m2m:sgn":{"nev":{"net":3.0,"rep":{"m2m:cin":{"ty":4.0}}}}}`,
			"X-M2M-Origin", "/tinyiot", "X-M2M-RI", "notify", "X-M2M-RVI", "3", "Content-Type", "application/json"), ""},
		{"batch", post("/", agn, "x-m2m-origin", "/id-in", "x-m2m-ri", "2", "x-m2m-rvi", "3", "content-type", "application/vnd.onem2m-ntfy+json"), ""},
		{"asynchronous result", post("/", rsp, "X-M2M-Origin", "/id-in", "X-M2M-RI", "3", "X-M2M-RVI", "3", "Content-Type", "application/vnd.onem2m-prsp+json"), ""},
		{"CBOR", post("/", toCBOR(t, `{"m2m:sgn":{"vrq":true}}`), "X-M2M-Origin", "/id-in", "X-M2M-RI", "4", "X-M2M-RVI", "3", "Content-Type", "application/cbor"), ""},
		{"XML", post("/", inXML, "X-M2M-Origin", "/id-in", "X-M2M-RI", "5", "X-M2M-RVI", "3", "Content-Type", "application/xml"), ""},
		{"with an expiry", post("/", sgn, "X-M2M-Origin", "/id-in", "X-M2M-RI", "6", "X-M2M-RVI", "3", "X-M2M-RET", "20261123T083531", "X-M2M-EC", "4", "Content-Type", "application/json"), ""},
		{"no notification content", post("/", "", "X-M2M-Origin", "/id-in", "X-M2M-RI", "7", "X-M2M-RVI", "3"), ""},

		{"no Request Identifier", post("/", sgn, "X-M2M-Origin", "/id-in", "Content-Type", "application/json"), ""},
		{"no Originator", post("/", sgn, "X-M2M-RI", "8", "Content-Type", "application/json"), ""},
		{"unknown release", post("/", sgn, "X-M2M-Origin", "/id-in", "X-M2M-RI", "9", "X-M2M-RVI", "9", "Content-Type", "application/json"), ""},
		{"no Content-Type", post("/", sgn, "X-M2M-Origin", "/id-in", "X-M2M-RI", "10"), ""},
		{"Content-Type of another kind", post("/", sgn, "X-M2M-Origin", "/id-in", "X-M2M-RI", "11", "Content-Type", "text/html"), ""},
		{"Request Identifier twice", post("/", sgn, "X-M2M-Origin", "/id-in", "X-M2M-RI", "12", "X-M2M-RI", "13", "Content-Type", "application/json"), ""},
		{"Originator with CR LF", post("/", sgn, "X-M2M-Origin", "/id-in\r\nX: y", "X-M2M-RI", "14", "Content-Type", "application/json"), ""},
		{"path above", post("/~/%2e%2e/x", sgn, acme...), ""},
		{"method of nobody's", &HTTPRequest{Method: "PATCH", Target: "/"}, ""},
	} {
		fmt.Fprintf(&b, "# %s\n", c.name)
		r, err := RequestFromHTTP(c.h)
		if err != nil {
			b.WriteString(errorText(err))
			continue
		}
		if r.To == "" {
			r.To = c.to
		}
		m, err := r.CoAP(CoAPProfile{})
		require.NoError(t, err)
		require.Equal(t, string(c.h.Body), string(m.Payload), "nothing is written anew")
		b.WriteString(coapText(m))
		for _, code := range []coap.Code{coap.Changed, coap.NotFound} { // of a device that knows no RSC
			s, err := ResponseFromCoAP(&coap.Message{Code: code}, r, CoAPProfile{})
			require.NoError(t, err)
			h, err := s.HTTP(r)
			require.NoError(t, err)
			b.WriteString(httpResponseText(h))
		}
	}
	golden(t, "downlink", b.String())
}

// TestDownlinkAnswers: what a device answers reaches the CSE with its own status, and nothing of it as another header.
func TestDownlinkAnswers(t *testing.T) {
	t.Parallel()
	r := request(func(r *Request) { r.Operation = Notify })
	message := func(code coap.Code, rsc uint32, change func(*coap.Message)) *coap.Message {
		m := &coap.Message{Code: code, Options: coap.Options{}.AddUint(307, rsc).AddString(283, "r1")}
		if change != nil {
			change(m)
		}
		return m
	}
	for _, c := range []struct {
		name   string
		m      *coap.Message
		status int // 0: 5000
		rsc    string
	}{
		{"done", message(coap.Changed, 2000, nil), 200, "2000"},
		{"done, as 2.05", message(coap.Content, 2000, nil), 200, "2000"},
		{"refused", message(coap.Forbidden, 4103, nil), 403, "4103"},
		{"another RI", message(coap.Changed, 2000, func(m *coap.Message) { m.Options = m.Options.Remove(283).AddString(283, "r2") }), 0, ""},
		{"RI with CR LF", message(coap.Changed, 2000, func(m *coap.Message) { m.Options = m.Options.Remove(283).AddString(283, "r1\r\n") }), 0, ""},
		{"RSC of nothing", message(coap.Changed, 7, nil), 0, ""},
		{"From with CR LF", message(coap.Changed, 2000, func(m *coap.Message) { m.Options = m.Options.AddString(279, "C\r\nX: y") }), 0, ""},
		{"content of no kind", message(coap.Changed, 2000, func(m *coap.Message) { m.Payload = []byte("x") }), 0, ""},
		{"a request", message(coap.POST, 2000, func(m *coap.Message) { m.Options = m.Options.Remove(307) }), 0, ""},
	} {
		s, err := ResponseFromCoAP(c.m, r, CoAPProfile{})
		if c.status == 0 {
			requireStatus(t, StatusInternalServerError, err)
			continue
		}
		require.NoError(t, err, c.name)
		h, err := s.HTTP(r)
		require.NoError(t, err, c.name)
		require.Equal(t, c.status, h.Status, c.name)
		require.Contains(t, h.Header, HeaderField{"X-M2M-RSC", c.rsc}, c.name)
		require.Contains(t, h.Header, HeaderField{"X-M2M-RI", "r1"}, c.name)
		require.Contains(t, h.Header, HeaderField{"X-M2M-RVI", "3"}, c.name)
	}
}
