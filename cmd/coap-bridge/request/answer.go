package request

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// Answer is what came back.
type Answer struct {
	Code    coap.Code
	Options coap.Options
	Content []byte
	Elapsed time.Duration // from the request to the whole response, without the handshake

	// Response is the oneM2M view; nil when the answer carries no ResponseStatusCode, as that of a plain CoAP server.
	Response *onem2m.Response
}

// Success reports whether the request was taken: RSC 1xxx or 2xxx, or, without RSC, code 2.xx.
func (a *Answer) Success() bool {
	if a.Response != nil {
		return a.Response.Status.Success()
	}
	return a.Code.Class() == 2
}

// created is the URI of the created resource, or "".
func (a *Answer) created() string {
	if a.Response != nil {
		return a.Response.Created
	}
	var b strings.Builder
	for _, o := range a.Options {
		if o.ID == coap.LocationPath {
			b.WriteString("/" + string(o.Value))
		}
	}
	return b.String()
}

// contentFormat returns the Content-Format and its media type; ok is false when the answer has none.
func (a *Answer) contentFormat() (number uint32, media string, ok bool) {
	number, ok = a.Options.Uint(coap.ContentFormat)
	if !ok {
		return 0, "", false
	}
	media, _ = onem2m.MediaTypeOf(number)
	return number, media, true
}

// isJSON reports whether the content says that it is JSON, and is. Where it says nothing, only an object or an array is
// taken for JSON: a number or a word may be text.
func (a *Answer) isJSON() bool {
	_, media, ok := a.contentFormat()
	if ok && media != jsonMedia && !strings.HasSuffix(media, "+json") ||
		!ok && !bytes.HasPrefix(a.Content, []byte("{")) && !bytes.HasPrefix(a.Content, []byte("[")) {
		return false
	}
	return utf8.Valid(a.Content) && json.Valid(a.Content)
}

// document is an Answer as one JSON object. Members that have no value are absent.
type document struct {
	Code          string          `json:"code"`
	RSC           uint16          `json:"rsc,omitempty"`
	RSCName       string          `json:"rscName,omitempty"`
	RQI           string          `json:"rqi,omitempty"`
	RVI           string          `json:"rvi,omitempty"`
	Created       string          `json:"created,omitempty"`
	ETag          string          `json:"etag,omitempty"` // hex
	ContentFormat *uint32         `json:"contentFormat,omitempty"`
	MediaType     string          `json:"mediaType,omitempty"`
	Content       json.RawMessage `json:"content,omitempty"`
	ContentBase64 []byte          `json:"contentBase64,omitempty"`
	Elapsed       float64         `json:"elapsed"` // seconds
}

// WriteJSON writes a as one JSON object on one line.
func (a *Answer) WriteJSON(w io.Writer) error {
	d := document{Code: a.Code.String(), Created: a.created(), Elapsed: a.Elapsed.Round(time.Microsecond).Seconds()}
	if r := a.Response; r != nil {
		d.RSC, d.RQI, d.RVI = uint16(r.Status), r.RequestID, r.ReleaseVersion
		d.RSCName = statusName(r.Status)
	}
	if tag, ok := a.Options.Find(coap.ETag); ok {
		d.ETag = hex.EncodeToString(tag)
	}
	if number, media, ok := a.contentFormat(); ok {
		d.ContentFormat, d.MediaType = &number, media
	}
	switch {
	case len(a.Content) == 0:
	case a.isJSON():
		d.Content = a.Content
	case utf8.Valid(a.Content):
		text, err := json.Marshal(string(a.Content))
		if err != nil {
			return err
		}
		d.Content = text
	default:
		d.ContentBase64 = a.Content
	}
	return json.NewEncoder(w).Encode(d)
}

// statusName is an RSC's name alone; "" when the table has none.
func statusName(s onem2m.StatusCode) string {
	_, name, _ := strings.Cut(s.String(), " ")
	return name
}

// WritePretty writes a for a person: what happened, what came with it, and the content, indented when it is JSON. Nothing
// that the server sent can drive the terminal.
func (a *Answer) WritePretty(w io.Writer) error {
	var b bytes.Buffer
	elapsed := a.Elapsed.Round(100 * time.Microsecond)
	if a.Response != nil {
		fmt.Fprintf(&b, "%s  (CoAP %s, %s)\n", a.Response.Status, codeName(a.Code), elapsed)
	} else {
		fmt.Fprintf(&b, "%s  (no ResponseStatusCode, %s)\n", codeName(a.Code), elapsed)
	}
	for _, line := range a.details() {
		fmt.Fprintf(&b, "%-19s %s\n", line.name+":", printable(line.value))
	}
	if len(a.Content) > 0 {
		b.WriteByte('\n')
		a.writeContent(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

type detail struct{ name, value string }

func (a *Answer) details() []detail {
	var lines []detail
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, detail{name, value})
		}
	}
	if r := a.Response; r != nil {
		add("Request Identifier", r.RequestID)
		add("Release Version", r.ReleaseVersion)
		add("From", r.From)
		add("Originating Time", r.OriginatingTimestamp)
		add("Result Expiration", r.ResultExpiration)
		add("Event Category", nonZero(r.EventCategory))
		add("Content Status", nonZero(r.ContentStatus))
		if r.ContentOffset != nil {
			add("Content Offset", strconv.FormatUint(uint64(*r.ContentOffset), 10))
		}
		add("Assigned Tokens", r.AssignedTokenIDs)
		add("Authorization", r.AuthSignatureRequest)
		add("Vendor Information", r.VendorInformation)
	}
	add("Created", a.created())
	if number, media, ok := a.contentFormat(); ok {
		add("Content-Format", strings.TrimSpace(fmt.Sprintf("%d %s", number, media)))
	}
	if tag, ok := a.Options.Find(coap.ETag); ok {
		add("ETag", fmt.Sprintf("0x%x", tag))
	}
	if age, ok := a.Options.Uint(coap.MaxAge); ok {
		add("Max-Age", fmt.Sprintf("%d s", age))
	}
	return lines
}

func nonZero(v uint32) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(v), 10)
}

func (a *Answer) writeContent(b *bytes.Buffer) {
	switch {
	case a.isJSON():
		var indented bytes.Buffer
		if json.Indent(&indented, a.Content, "", "  ") == nil {
			b.WriteString(printable(indented.String()))
		}
	case utf8.Valid(a.Content):
		b.WriteString(printable(string(a.Content)))
	default:
		b.WriteString(strings.TrimSuffix(hex.Dump(a.Content), "\n"))
	}
	b.WriteByte('\n')
}

// printable shows control and format characters, of which a terminal takes some as commands, by their numbers.
func printable(s string) string {
	clean := true
	for _, r := range s {
		clean = clean && harmless(r)
	}
	if clean && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		if harmless(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func harmless(r rune) bool {
	return r == '\n' || r == '\t' || unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)
}

// codeName is a code with its name in RFC 7252, Section 12.1, RFC 7959, RFC 8516 or RFC 8768.
func codeName(c coap.Code) string {
	names := map[coap.Code]string{
		coap.Created: "Created", coap.Deleted: "Deleted", coap.Valid: "Valid", coap.Changed: "Changed",
		coap.Content: "Content", coap.Continue: "Continue", coap.BadRequest: "Bad Request",
		coap.Unauthorized: "Unauthorized", coap.BadOption: "Bad Option", coap.Forbidden: "Forbidden",
		coap.NotFound: "Not Found", coap.MethodNotAllowed: "Method Not Allowed", coap.NotAcceptable: "Not Acceptable",
		coap.RequestEntityIncomplete: "Request Entity Incomplete", coap.Conflict: "Conflict",
		coap.PreconditionFailed: "Precondition Failed", coap.RequestEntityTooLarge: "Request Entity Too Large",
		coap.UnsupportedContentFormat: "Unsupported Content-Format", coap.UnprocessableEntity: "Unprocessable Entity",
		coap.TooManyRequests: "Too Many Requests", coap.InternalServerError: "Internal Server Error",
		coap.NotImplemented: "Not Implemented", coap.BadGateway: "Bad Gateway",
		coap.ServiceUnavailable: "Service Unavailable", coap.GatewayTimeout: "Gateway Timeout",
		coap.ProxyingNotSupported: "Proxying Not Supported", coap.HopLimitReached: "Hop Limit Reached",
	}
	return strings.TrimSpace(c.String() + " " + names[c])
}
