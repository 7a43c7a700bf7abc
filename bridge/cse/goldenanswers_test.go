package cse_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"coapbridge/bridge/cse"
	"coapbridge/coap"
)

// statusRow is a row of TS-0008, table 6.2.4-1 beside TS-0009, table 6.3.2-1.
type statusRow struct {
	rsc  int
	coap string
	http int
}

// statusRows has the rows whose CoAP code does not depend on the request, and 4128, which is TS-0004's alone.
var statusRows = [...]statusRow{
	{2001, "2.01", 201}, {2002, "2.02", 200}, {2004, "2.04", 200}, {4000, "4.00", 400}, {4001, "5.01", 501},
	{4004, "4.04", 404}, {4005, "4.05", 405}, {4008, "5.04", 504}, {4015, "4.15", 415}, {4101, "4.03", 403},
	{4102, "4.00", 400}, {4103, "4.03", 403}, {4104, "4.00", 409}, {4105, "4.03", 409}, {4106, "4.03", 403},
	{4107, "4.03", 403}, {4108, "4.03", 403}, {4109, "4.03", 403}, {4110, "4.00", 400}, {4111, "4.03", 403},
	{4112, "4.03", 403}, {4113, "4.03", 403}, {4114, "4.03", 403}, {4115, "4.03", 403}, {4116, "4.03", 403},
	{4117, "4.03", 403}, {4118, "4.04", 404}, {4119, "4.04", 404}, {4120, "4.02", 400}, {4121, "4.04", 404},
	{4122, "4.02", 400}, {4123, "4.00", 400}, {4124, "4.00", 409}, {4125, "5.01", 501}, {4126, "4.03", 403},
	{4127, "4.03", 403}, {4128, "4.03", 403}, {4143, "4.00", 400}, {5000, "5.00", 500}, {5001, "5.01", 501},
	{5103, "4.04", 404}, {5105, "4.03", 403}, {5106, "4.00", 409}, {5107, "4.04", 404}, {5203, "4.03", 403},
	{5204, "5.00", 500}, {5205, "4.03", 403}, {5206, "5.01", 501}, {5207, "4.06", 406}, {5208, "4.03", 403},
	{5209, "5.00", 500}, {5210, "5.00", 500}, {5211, "5.00", 500}, {5212, "5.00", 500}, {5214, "4.03", 403},
	{5215, "4.03", 403}, {5216, "5.00", 500}, {5217, "5.00", 500}, {5218, "4.03", 403}, {5219, "4.00", 409},
	{5220, "4.00", 409}, {5221, "5.00", 500}, {5222, "4.03", 403}, {6003, "4.04", 404}, {6005, "4.04", 404},
	{6010, "4.00", 400}, {6020, "5.00", 500}, {6021, "5.00", 500}, {6022, "4.00", 400}, {6023, "4.00", 400},
	{6024, "4.00", 400}, {6025, "5.00", 500}, {6026, "5.00", 500}, {6028, "4.00", 409}, {6029, "4.00", 409},
	{6030, "5.04", 504}, {6031, "5.04", 504},
}

// TestGoldenWireStatus is TS-0008, table 6.2.4-1 beside TS-0009, table 6.3.2-1: each Response Status Code with its HTTP
// status on the way in and its CoAP code on the way out, and 1000 to 2000, whose code depends on the request.
func TestGoldenWireStatus(t *testing.T) {
	get, put, del := message(coap.GET), message(coap.PUT, body(50, "{}")), message(coap.DELETE)
	post, notify := message(coap.POST, container()), message(coap.POST, body(50, "{}"))
	var rows []exchange
	for _, s := range statusRows {
		rows = append(rows, exchange{
			name: fmt.Sprintf("%d is %s", s.rsc, s.coap), in: get, answerOnly: true,
			answer: reply(fmt.Sprintf("%d %s", s.http, http.StatusText(s.http)), s.rsc, "", ""),
			holds:  []string{"coap< ACK " + s.coap + " ", fmt.Sprintf("coap< 307 oneM2M-RSC %d ", s.rsc)},
		})
	}
	const located = "Content-Location: /cse-in/req1\r\n"
	for _, c := range []struct {
		name string
		in   *coap.Message
	}{{"CREATE", post}, {"RETRIEVE", get}, {"UPDATE", put}, {"DELETE", del}, {"NOTIFY", notify}} {
		for _, s := range []struct {
			name, answer string
		}{
			{"2000", reply("200 OK", 2000, "", `{"a":1}`)},
			{"1000", reply("202 Accepted", 1000, "", "")},
			{"1001", reply("202 Accepted", 1001, located, "")},
			{"1002", reply("202 Accepted", 1002, "", "")},
			{"1002 with a request resource", reply("202 Accepted", 1002, located, "")},
		} {
			rows = append(rows, exchange{name: s.name + " to " + c.name, in: c.in, answer: s.answer, answerOnly: true})
		}
	}
	for _, rsc := range []int{2999, 3000, 4142, 4999, 5999, 6033, 6999, 999, 10000} { // of later releases, and of none
		rows = append(rows, exchange{
			name: strconv.Itoa(rsc), in: get, answer: reply("500 Internal Server Error", rsc, "", ""), answerOnly: true,
		})
	}
	testGoldens(t, "status", rows)
}

// TestGoldenWireFallback is what HTTP statuses without X-M2M-RSC mean: those of a proxy before the CSE, whose body is no
// Content. A success of theirs is none of the CSE.
func TestGoldenWireFallback(t *testing.T) {
	var rows []exchange
	for _, status := range []int{
		200, 201, 202, 204, 206, 300, 301, 304, 307, 400, 401, 403, 404, 405, 406, 407, 409, 413, 415, 418, 429,
		500, 501, 502, 503, 504, 505, 599,
	} {
		page := "Content-Type: text/html\r\nContent-Length: 11\r\n\r\n<p>busy</p>"
		if status == 204 || status == 304 {
			page = "\r\n"
		}
		rows = append(rows, exchange{
			name: strconv.Itoa(status), in: message(coap.GET), answerOnly: true,
			answer: fmt.Sprintf("HTTP/1.1 %d Status\r\n%s", status, page),
		})
	}
	testGoldens(t, "fallback", rows)
}

// TestGoldenWireAnswers is TS-0009, 6.3 and 6.4 beside TS-0008, 6.2.3: each header of an answer, in any case, beside
// others that mean nothing here; what can't be an answer to the request is refused.
func TestGoldenWireAnswers(t *testing.T) {
	ok := func(more string) string { return reply("200 OK", 2000, more, "") }
	bare := func(head string) string { return "HTTP/1.1 200 OK\r\n" + head + "Content-Length: 0\r\n\r\n" }
	typed := func(media string) string {
		return "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\n" + media + "Content-Length: 2\r\n\r\n{}"
	}
	created := func(uri string) string {
		return reply("201 Created", 2001, "Content-Location: "+uri+"\r\n", `{"m2m:cnt":{"rn":"new"}}`)
	}
	get, post := message(coap.GET), message(coap.POST, container())
	unnamed := func(c *cse.CSE) { c.NoRequestID = true }
	rows := []exchange{
		{name: "least", in: get, answer: bare("X-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\n")},
		{name: "in lower case, without blanks", in: get, answer: bare("x-m2m-rsc:2000\r\nx-m2m-ri:r1\r\nx-m2m-rvi:3\r\n")},
		{name: "as Go spells them", in: get, answer: bare("X-M2m-Rsc: 2000\r\nX-M2m-Ri: r1\r\nX-M2m-Rvi: 3\r\n")},
		{name: "X-M2M-Origin", in: get, answer: ok("X-M2M-Origin: /id-in\r\n")},
		{name: "X-M2M-OT", in: get, answer: ok("X-M2M-OT: 20261123T083531,648186\r\n")},
		{name: "X-M2M-RST", in: get, answer: ok("X-M2M-RST: 20261123T083531\r\n")},
		{name: "X-M2M-EC", in: get, answer: ok("X-M2M-EC: 100\r\n")},
		{name: "X-M2M-ATI", in: get, answer: ok("X-M2M-ATI: lti-value1:tkid-value1 + lti-value2:tkid-value2\r\n")},
		{name: "X-M2M-CTS and X-M2M-CTO", in: get, answer: ok("X-M2M-CTS: 1\r\nX-M2M-CTO: 0\r\n")},
		{name: "X-M2M-CTS 2", in: get, answer: ok("X-M2M-CTS: 2\r\nX-M2M-CTO: 65535\r\n")},
		{name: "X-M2M-CTO beyond 2 bytes", in: get, answer: ok("X-M2M-CTS: 1\r\nX-M2M-CTO: 65536\r\n")},
		{name: "X-M2M-VSI", in: get, answer: ok("X-M2M-VSI: vendor=\"a b\"\r\n")},
		{name: "X-M2M-ASRI on an error", in: get, answer: reply("403 Forbidden", 4103, "X-M2M-ASRI: asri1\r\n", "")},
		{name: "a request's headers", in: get,
			answer: ok("X-M2M-RET: 1\r\nX-M2M-GID: g\r\nX-M2M-RTU: u\r\nX-M2M-OET: 1\r\nX-M2M-AS: a\r\n")},
		{name: "headers that mean nothing", in: get,
			answer: ok("Server: x\r\nDate: Mon, 23 Nov 2026 20:00:00 GMT\r\nSet-Cookie: a=b\r\nVary: *\r\n")},
		{name: "ETag", in: get, answer: ok("ETag: \"abc\"\r\n")},
		{name: "ETag, weak", in: get, answer: ok("ETag: W/\"abc\"\r\n")},
		{name: "error with a text of the CSE", in: get, answer: reply("404 Not Found", 4004, "", `{"m2m:dbg":"no such"}`)},
		{name: "HTTP status contradicts X-M2M-RSC", in: get, answer: reply("200 OK", 4103, "", "")},
		{name: "chunked", in: get, answer: "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\n" +
			"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n5\r\na\":1}\r\n0\r\n\r\n"},
		{name: "100 before it", in: get, answer: "HTTP/1.1 100 Continue\r\n\r\n" + strings.ReplaceAll(ok(""), "{rqi}", "r1")},
		{name: "Content-Type with a charset", in: get, answer: typed("Content-Type: Application/JSON; charset=utf-8\r\n")},

		{name: "created, CSE-relative", in: post, answer: created("cse-in/ae/new")},
		{name: "created, a path", in: post, answer: created("/cse-in/ae/new")},
		{name: "created, SP-relative", in: post, answer: created("/~/id-in/cse-in/ae/new")},
		{name: "created, Absolute", in: post, answer: created("/_/sp.org/id-in/cse-in/ae/new")},
		{name: "created, Absolute with slashes", in: post, answer: created("//sp.org/id-in/cse-in/ae/new")},
		{name: "created, a URL", in: post, answer: created("https://10.0.0.1:8443/cse-in/ae/new")},
		{name: "created, encoded", in: post, answer: created("/cse-in/ae/a%20b%C3%BC")},
		{name: "created, without Content-Location", in: post, answer: reply("201 Created", 2001, "", "")},
		{name: "created, unstructured", in: post, answer: created("/cnt0815")},
		{name: "created, above", in: post, answer: created("/cse-in/../x")},
		{name: "created, with a query", in: post, answer: created("/cse-in/x?y=z")},
		{name: "Content-Location on 2000", in: get, answer: ok("Content-Location: /cse-in/ae\r\n")},

		{name: "X-M2M-RI of another request", in: get, answer: bare("X-M2M-RSC: 2000\r\nX-M2M-RI: r2\r\n")},
		{name: "no X-M2M-RI", in: get, answer: bare("X-M2M-RSC: 2000\r\n")},
		{name: "no X-M2M-RI, as configured", in: get, edit: unnamed, answer: bare("X-M2M-RSC: 2000\r\n")},
		{name: "X-M2M-RSC twice", in: get, answer: bare("X-M2M-RSC: 2000\r\nX-M2M-RSC: 4004\r\nX-M2M-RI: r1\r\n")},
		{name: "X-M2M-RSC is no number", in: get, answer: bare("X-M2M-RSC: OK\r\nX-M2M-RI: r1\r\n")},
		{name: "X-M2M-CTS 3", in: get, answer: ok("X-M2M-CTS: 3\r\n")},
		{name: "header with a control", in: get, answer: ok("X-M2M-VSI: a\tb\r\n")},
		{name: "header of 1025 bytes", in: get, answer: ok("X-M2M-VSI: " + strings.Repeat("v", 1025) + "\r\n")},
		{name: "header of 256 bytes", in: get, answer: ok("X-M2M-VSI: " + strings.Repeat("v", 256) + "\r\n")},
		{name: "body without Content-Type", in: get, answer: typed("")},
		{name: "body of an unknown type", in: get, answer: typed("Content-Type: text/html\r\n")},
		{name: "ESPrim, bit by bit", in: get,
			answer: reply("200 OK", 2000, "", `{ "m2m:espr" : "eyJ.a..b.c", "x":1.0,"x":1e0 }`+"\n")},
	}
	for i := range rows {
		rows[i].answerOnly = true
	}
	testGoldens(t, "answers", rows)
}
