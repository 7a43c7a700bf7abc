package request

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// Spec is one request as a person asks for it. A field's zero value means that the parameter is not sent, unless the field
// says otherwise.
type Spec struct {
	Operation onem2m.Operation
	Target    Target
	Plain     bool // plain CoAP: no oneM2M option at all

	// Primitive holds the oneM2M parameters; Operation, To and the content's fields are set from the other fields, and the
	// URI's query comes before its own. An empty RequestID becomes a random one, an empty ReleaseVersion "3".
	Primitive onem2m.Request

	Data          []byte
	ContentFormat string // number or media type of Data; "" is JSON for JSON in a oneM2M request, and none otherwise
	Accept        string // number or media type

	Profile        onem2m.CoAPProfile // option numbers that the server takes
	NonConfirmable bool
	Extra          coap.Options // added to what the rest makes
}

const (
	defaultReleaseVersion = "3"
	jsonMedia             = "application/json"
	binaryMedia           = "application/octet-stream"
)

// NewRequestID returns a Request Identifier that no other request has (TS-0001, 8.1.2: unique per Originator).
func NewRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Message builds the CoAP request. In a oneM2M request it also returns the primitive that the message carries.
func (s *Spec) Message() (*coap.Message, *onem2m.Request, error) {
	var m *coap.Message
	var r *onem2m.Request
	var err error
	if s.Plain {
		m, err = s.plain()
	} else {
		m, r, err = s.onem2m()
	}
	if err != nil {
		return nil, nil, err
	}
	if !s.Target.Addr.IsValid() {
		m.Options = m.Options.AddString(coap.URIHost, strings.ToLower(s.Target.Host)) // RFC 7252, Section 6.4, step 5
	}
	for _, o := range s.Extra {
		m.Options = m.Options.Add(o.ID, o.Value)
	}
	if s.NonConfirmable {
		m.Type = coap.NonConfirmable
	}
	return m, r, nil
}

// plain builds a request without oneM2M.
func (s *Spec) plain() (*coap.Message, error) {
	segments, arguments, err := s.Target.Options()
	if err != nil {
		return nil, err
	}
	m := &coap.Message{Code: method(s.Operation), Payload: s.Data}
	for _, segment := range segments {
		m.Options = m.Options.AddString(coap.URIPath, segment)
	}
	for _, argument := range arguments {
		m.Options = m.Options.AddString(coap.URIQuery, argument)
	}
	for _, p := range s.Primitive.Query {
		m.Options = m.Options.AddString(coap.URIQuery, p.Key+"="+p.Value)
	}
	return m, s.addFormats(m)
}

// method is an operation's method (TS-0008, 6.2.1).
func method(op onem2m.Operation) coap.Code {
	switch op {
	case onem2m.Retrieve:
		return coap.GET
	case onem2m.Update:
		return coap.PUT
	case onem2m.Delete:
		return coap.DELETE
	}
	return coap.POST
}

// onem2m builds a request primitive and binds it to CoAP.
func (s *Spec) onem2m() (*coap.Message, *onem2m.Request, error) {
	r := s.Primitive
	r.Operation = s.Operation
	var err error
	var query []onem2m.Parameter
	if r.To, query, err = s.Target.Resource(); err != nil {
		return nil, nil, err
	}
	r.Query = append(query, s.Primitive.Query...)
	if r.RequestID == "" {
		r.RequestID = NewRequestID()
	}
	if r.ReleaseVersion == "" {
		r.ReleaseVersion = defaultReleaseVersion
	}
	// The binding knows the formats of oneM2M; addFormats sets any other one, and exactly the number that was asked for.
	r.Content = s.Data
	if len(s.Data) > 0 {
		r.MediaType = jsonMedia
		if s.ContentFormat == "" && !json.Valid(s.Data) {
			return nil, nil, errors.New("the data is no JSON; say what it is with --content-format")
		}
	}
	m, err := r.CoAP(s.Profile)
	if err != nil {
		return nil, nil, err
	}
	return m, &r, s.addFormats(m)
}

// addFormats sets Content-Format and Accept where they were asked for.
func (s *Spec) addFormats(m *coap.Message) error {
	for _, o := range []struct {
		id   coap.OptionID
		text string
	}{{coap.ContentFormat, s.ContentFormat}, {coap.Accept, s.Accept}} {
		if o.text == "" {
			continue
		}
		number, err := parseFormat(o.text)
		if err != nil {
			return err
		}
		m.Options = m.Options.Remove(o.id).AddUint(o.id, number)
	}
	return nil
}

// parseFormat reads a Content-Format: its number, its media type, or one of the short names that coap-client knows.
func parseFormat(text string) (uint32, error) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return uint32(n), nil
	}
	short := map[string]string{
		"text": "text/plain", "json": jsonMedia, "cbor": "application/cbor", "xml": "application/xml",
		"binary": binaryMedia, "octets": binaryMedia, "link": "application/link-format",
		"senml": "application/senml+json",
	}
	if media, ok := short[text]; ok {
		text = media
	}
	if n, ok := onem2m.ContentFormatOf(text); ok {
		return n, nil
	}
	return 0, fmt.Errorf("content format %q: write its number, or a media type such as application/json", text)
}

// ParseParameter reads k=v, one part of the query.
func ParseParameter(text string) (onem2m.Parameter, error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return onem2m.Parameter{}, fmt.Errorf("query %q: write KEY=VALUE", text)
	}
	return onem2m.Parameter{Key: key, Value: value}, nil
}

// ParseOption reads NUM,VALUE as coap-client does: VALUE is text, or hexadecimal after 0x. A missing VALUE is an empty one.
func ParseOption(text string) (coap.Option, error) {
	number, value, _ := strings.Cut(text, ",")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return coap.Option{}, fmt.Errorf("option %q: write NUMBER,VALUE, the number between 0 and 65535", text)
	}
	b := []byte(value)
	if digits, ok := bytes.CutPrefix(b, []byte("0x")); ok {
		if b, err = hex.DecodeString(string(digits)); err != nil {
			return coap.Option{}, fmt.Errorf("option %q: after 0x come two hexadecimal digits for each byte", text)
		}
	}
	if len(b) > maxOption {
		return coap.Option{}, fmt.Errorf("option %d: its value is longer than %d bytes", n, maxOption)
	}
	return coap.Option{ID: coap.OptionID(n), Value: b}, nil
}

// ParseOperation reads an operation, or the CoAP method that stands for it.
func ParseOperation(text string) (onem2m.Operation, error) {
	switch strings.ToLower(text) {
	case "create", "post":
		return onem2m.Create, nil
	case "retrieve", "get":
		return onem2m.Retrieve, nil
	case "update", "put":
		return onem2m.Update, nil
	case "delete":
		return onem2m.Delete, nil
	case "notify":
		return onem2m.Notify, nil
	}
	return 0, fmt.Errorf("operation %q: write create, retrieve, update, delete or notify", text)
}

// literal reports whether addr is the host itself, so that no name needs to be looked up.
func (t Target) literal() (netip.AddrPort, bool) {
	return netip.AddrPortFrom(t.Addr.Unmap(), t.Port), t.Addr.IsValid()
}
