//go:build interop

package compare

// acmeDifferences are all in which a device's answers differ from those that ACME gives directly.
func acmeDifferences() []expected {
	return append(everywhere(), []expected{
		known(nil, "media", "", "application/json",
			"ACME names a media type without a body; a Content-Format says what a payload is (RFC 7252, 5.5.1)"),
		known([]string{"Accept XML"}, "media", "", "application/xml", "the same"),
		known([]string{"Accept unknown"}, "media", "", "none",
			"the bridge refuses; ACME has no such media type and answers without a body"),
		known([]string{"Accept unknown"}, "rsc", "5207", "2000", "TS-0008, 6.2.2.2: an unknown Accept is 4.06"),
		known([]string{"fan-out create", "fan-out update", "fan-out delete"}, "code", "2.04", "<of the tables>",
			"TS-0008 has 2.05 for 2000 to a RETRIEVE; to a method that changes something RFC 7252 has 2.04"),
		inPart([]string{hears}, "content", `"poa":["<ears>"],`, `"poa": ["<ears>"], `, notCalled),
		known([]string{toEars}, "rsc", "4000", "2000", notCalled),
		known([]string{toEars}, "content", `{"m2m:dbg": "cannot determine target details…`, "", notCalled),
		known([]string{toEars}, "told", absent, "…", notCalled),
		known([]string{"discovery: lbl, that reads as two"}, "rsc", "4000", "2000", twoPairs),
		known([]string{"discovery: lbl, that reads as two"}, "content",
			`{"m2m:dbg": "invalid arguments/attributes: attribute: c…`,
			`{"m2m:uril": []}`, twoPairs),
		known([]string{"name that can't be"}, "content", `{"m2m:dbg": "Invalid ID: ri: cnt…`,
			`{"m2m:dbg": "Invalid ID: ri: cnt…`,
			"ACME's text names the identifier that it had drawn for a resource that it did not make"),

		known([]string{"Content-Type text", "Content-Type SenML"}, "rsc", "4015", "…",
			"TS-0008, 6.2.2.2: no media type of oneM2M; ACME tries to read it as JSON, or fails"),
		known([]string{"Content-Type SenML", "not an object"}, "code", "<of the tables>", "500", htmlAnswer),
		known([]string{"Content-Type SenML", "not an object"}, "content", "", "<!doctype html>…", htmlAnswer),
		known([]string{"Content-Type SenML", "not an object"}, "media", "", "text/html; charset=utf-8", htmlAnswer),
		known([]string{"Content-Type SenML", "not an object"}, "rqi", "<asked>", absent, htmlAnswer),
		known([]string{"not an object"}, "rvi", "3", absent, htmlAnswer),
		known([]string{"not an object"}, "rsc", "5000", absent, htmlAnswer),

		known(unreadJSON(), "code", "5.02", "<of the tables>", noneAsked),
		known(unreadJSON(), "rsc", "5000", "4000", noneAsked),
		known([]string{"Content-Type text", "Content-Type JSON, but it isn't", "Content-Type CBOR, but it isn't"},
			"rqi", "<asked>", "None", noneAsked),
		known([]string{"Content-Type JSON, but it isn't", "Content-Type CBOR, but it isn't", "Content-Type text", "Content-Type SenML",
			"RQI is missing"}, "rvi", "3", absent, "ACME leaves out what it was asked when it can't read the request"),
		known([]string{"RVI of release 1"}, "rvi", "1", absent, "ACME leaves out the indicator of release 1"),
		known([]string{"RQI is missing"}, "rqi", absent, "None",
			"ACME answers the text None where there was no Request Identifier"),
		known([]string{"Content-Type CBOR, but it isn't"}, "content", "", `{"m2m:dbg"…`,
			"the bridge looks into it for Originators, and can't read it either"),
		known(unreadJSON(), "content", "", `{"m2m:dbg"…`, noneAsked),
		known(unreadJSON(), "ot", absent, "<now+0h,6 digits>", noneAsked),
	}...)
}

const (
	hears     = "AE create, that hears"
	toEars    = "notify to who hears"
	notCalled = "here ACME doesn't call the bridge: it isn't told of any address, and the device is shown its own (S42)"

	htmlAnswer = "ACME's web framework answers for it, without one oneM2M header; the device gets a oneM2M answer"
	noneAsked  = "ACME answers a body that it can't read to the Request Identifier None: that isn't an answer to this request (S44)"
)

func unreadJSON() []string { return []string{"Content-Type JSON, but it isn't"} }
