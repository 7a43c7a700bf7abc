package onem2m

import "strings"

// family is a serialisation; the media types of one family differ in what they say of the content, not in its bytes.
type family uint8

const (
	familyNone family = iota
	familyJSON
	familyXML
	familyCBOR
)

// format is one row of TS-0008, table 6.2.2.2-1.
type format struct {
	id     uint16
	media  string
	family family
	whole  bool // a whole primitive, not its Content parameter
}

// formats holds the first number of a media type before its synonyms. 10015 and 10016 replace 10001 and 10002 in later
// practice, since IANA gave those to application/oscore and application/javascript; both are read.
var formats = [...]format{
	{50, "application/json", familyJSON, false},
	{60, "application/cbor", familyCBOR, false},
	{41, "application/xml", familyXML, false},
	{10001, "application/vnd.onem2m-res+json", familyJSON, false},
	{10002, "application/vnd.onem2m-ntfy+xml", familyXML, false},
	{10003, "application/vnd.onem2m-ntfy+json", familyJSON, false},
	{10006, "application/vnd.onem2m-preq+xml", familyXML, true},
	{10007, "application/vnd.onem2m-preq+json", familyJSON, true},
	{10008, "application/vnd.onem2m-prsp+xml", familyXML, true},
	{10009, "application/vnd.onem2m-prsp+json", familyJSON, true},
	{10010, "application/vnd.onem2m-res+cbor", familyCBOR, false},
	{10011, "application/vnd.onem2m-ntfy+cbor", familyCBOR, false},
	{10012, "application/vnd.onem2m-preq+cbor", familyCBOR, true},
	{10013, "application/vnd.onem2m-prsp+cbor", familyCBOR, true},
	{10014, "application/vnd.onem2m-res+xml", familyXML, false},
	{10015, "application/vnd.onem2m-res+json", familyJSON, false},
	{10016, "application/vnd.onem2m-ntfy+xml", familyXML, false},
}

// formatOfID returns the row of a Content-Format number, or nil.
func formatOfID(id uint32) *format {
	for i := range formats {
		if uint32(formats[i].id) == id {
			return &formats[i]
		}
	}
	return nil
}

// formatOfMedia returns the first row of a media type in lower case without parameters, or nil.
func formatOfMedia(media string) *format {
	for i := range formats {
		if formats[i].media == media {
			return &formats[i]
		}
	}
	return nil
}

func familyOf(media string) family {
	if f := formatOfMedia(media); f != nil {
		return f.family
	}
	return familyNone
}

// wanted returns the row that r prefers for its answer, or nil.
func (r *Request) wanted() *format {
	if len(r.Accept) == 0 {
		return nil
	}
	if f := formatOfID(uint32(r.acceptID)); f != nil && f.media == r.Accept[0] {
		return f
	}
	return formatOfMedia(r.Accept[0])
}

// contentFormat returns the number under which content of media is sent. Deviation: it is 41, 50 or 60, which every peer
// reads, unless the requester asked for another label of the same serialisation or it is a whole primitive.
func contentFormat(media string, want *format) (uint32, bool) {
	f := formatOfMedia(media)
	if f == nil {
		return 0, false
	}
	if f.whole {
		return uint32(f.id), true
	}
	if want != nil && want.family == f.family && !want.whole { // RFC 7252, Section 5.10.4
		return uint32(want.id), true
	}
	switch f.family {
	case familyXML:
		return 41, true
	case familyCBOR:
		return 60, true
	}
	return 50, true
}

// The Content-Formats outside oneM2M that a plain device may use (IANA, CoRE Parameters, CoAP Content-Formats).
var plainFormats = [...]struct {
	id    uint32
	media string
}{
	{0, "text/plain"}, // registered with charset=utf-8, which contentInfo has no place for
	{40, "application/link-format"},
	{41, "application/xml"},
	{42, "application/octet-stream"},
	{47, "application/exi"},
	{50, "application/json"},
	{51, "application/json-patch+json"},
	{52, "application/merge-patch+json"},
	{60, "application/cbor"},
	{61, "application/cwt"},
	{62, "application/multipart-core"},
	{63, "application/cbor-seq"},
	{110, "application/senml+json"},
	{111, "application/sensml+json"},
	{112, "application/senml+cbor"},
	{113, "application/sensml+cbor"},
	{114, "application/senml-exi"},
	{115, "application/sensml-exi"},
	{310, "application/senml+xml"},
	{311, "application/sensml+xml"},
	{432, "application/td+json"},
	{11542, "application/vnd.oma.lwm2m+tlv"},
	{11543, "application/vnd.oma.lwm2m+json"},
	{11544, "application/vnd.oma.lwm2m+cbor"},
}

// MediaTypeOf returns the media type of a CoAP Content-Format, oneM2M's included; ok is false for an unknown number.
func MediaTypeOf(contentFormat uint32) (media string, ok bool) {
	for i := range plainFormats {
		if plainFormats[i].id == contentFormat {
			return plainFormats[i].media, true
		}
	}
	if f := formatOfID(contentFormat); f != nil {
		return f.media, true
	}
	return "", false
}

// ContentFormatOf is the inverse of MediaTypeOf; parameters of media and its case are ignored.
func ContentFormatOf(media string) (contentFormat uint32, ok bool) {
	media, _ = bareMedia(media)
	for i := range plainFormats {
		if plainFormats[i].media == media {
			return plainFormats[i].id, true
		}
	}
	if f := formatOfMedia(media); f != nil {
		return uint32(f.id), true
	}
	return 0, false
}

// bareMedia splits a media type in lower case from its parameters.
func bareMedia(s string) (media, parameters string) {
	media, parameters, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(media)), parameters
}
