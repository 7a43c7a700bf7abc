package onem2m

import (
	"strings"

	"coapbridge/coap"
)

// field reaches one parameter of a primitive P. Either text or number is set, or neither when the parameter has no place in
// P.
type field[P any] struct {
	text   *textField[P]
	number *numberField[P]
}

type textField[P any] struct {
	get func(*P) (value string, present bool)
	set func(*P, string) bool // false: malformed
}

type numberField[P any] struct {
	get func(*P) (value uint32, present bool)
	set func(*P, uint32) bool // false: out of range
}

// parameter is one row of TS-0008, table 6.2.2.4.0-1 beside TS-0009, 6.4: the parameters that have an option and mostly a
// header of their own. Both bindings read this one table.
type parameter struct {
	name   string        // short name, TS-0004, table 8.2.2-1
	option coap.OptionID // since TS-0008 V3.7.0
	legacy coap.OptionID // before; 0 means the same as option
	header string        // "" when TS-0009 has none
	max    int           // bytes of a text when it is sent to a device

	timestamp bool
	request   field[Request]
	response  field[Response]
}

func requestText(at func(*Request) *string) field[Request] {
	return field[Request]{text: plainText(at)}
}
func responseText(at func(*Response) *string) field[Response] {
	return field[Response]{text: plainText(at)}
}

func plainText[P any](at func(*P) *string) *textField[P] {
	return &textField[P]{
		get: func(p *P) (string, bool) { return *at(p), *at(p) != "" },
		set: func(p *P, s string) bool { *at(p) = s; return true },
	}
}

// plainNumber is a number for which 0 means absent.
func plainNumber[P any](at func(*P) *uint32, highest uint32) field[P] {
	return field[P]{number: &numberField[P]{
		get: func(p *P) (uint32, bool) { return *at(p), *at(p) != 0 },
		set: func(p *P, v uint32) bool { *at(p) = v; return v > 0 && v <= highest },
	}}
}

// parameters is in ascending order of option.
var parameters = [...]parameter{
	{
		name: "ot", option: 259, header: "X-M2M-OT", max: maxOptionString, timestamp: true,
		request:  requestText(func(r *Request) *string { return &r.OriginatingTimestamp }),
		response: responseText(func(s *Response) *string { return &s.OriginatingTimestamp }),
	},
	{
		name: "nu", option: 263, header: "X-M2M-RTU", max: maxOptionString,
		request: field[Request]{text: &textField[Request]{get: notificationURIs, set: setNotificationURIs}},
	},
	{
		name: "ty", option: 267, // HTTP: the parameter ty of Content-Type
		request: plainNumber(func(r *Request) *uint32 { return (*uint32)(&r.ResourceType) }, maxResourceType),
	},
	{
		name: "rvi", option: 271, header: "X-M2M-RVI", max: maxOptionString,
		request:  requestText(func(r *Request) *string { return &r.ReleaseVersion }),
		response: responseText(func(s *Response) *string { return &s.ReleaseVersion }),
	},
	{
		name: "asri", option: 275, header: "X-M2M-ASRI", max: maxOptionString,
		response: responseText(func(s *Response) *string { return &s.AuthSignatureRequest }),
	},
	{
		name: "fr", option: 279, legacy: 256, header: "X-M2M-Origin", max: maxOptionString,
		request:  requestText(func(r *Request) *string { return &r.From }),
		response: responseText(func(s *Response) *string { return &s.From }),
	},
	{
		// An answer repeats what the device chose, however long.
		name: "rqi", option: optionRQI, legacy: legacyRQI, header: "X-M2M-RI", max: maxText,
		request:  requestText(func(r *Request) *string { return &r.RequestID }),
		response: responseText(func(s *Response) *string { return &s.RequestID }),
	},
	{
		name: "rqet", option: 291, legacy: 260, header: "X-M2M-RET", max: maxOptionString, timestamp: true,
		request: requestText(func(r *Request) *string { return &r.RequestExpiration }),
	},
	{
		name: "rset", option: 295, legacy: 261, header: "X-M2M-RST", max: maxOptionString, timestamp: true,
		request:  requestText(func(r *Request) *string { return &r.ResultExpiration }),
		response: responseText(func(s *Response) *string { return &s.ResultExpiration }),
	},
	{
		name: "oet", option: 299, legacy: 262, header: "X-M2M-OET", max: maxOptionString, timestamp: true,
		request: requestText(func(r *Request) *string { return &r.OperationExecutionTime }),
	},
	{
		name: "ec", option: 303, legacy: 264, header: "X-M2M-EC",
		request:  plainNumber(func(r *Request) *uint32 { return &r.EventCategory }, maxEventCategory),
		response: plainNumber(func(s *Response) *uint32 { return &s.EventCategory }, maxEventCategory),
	},
	{
		name: "rsc", option: 307, legacy: 265, header: "X-M2M-RSC",
		response: field[Response]{number: &numberField[Response]{
			get: func(s *Response) (uint32, bool) { return uint32(s.Status), true },
			set: func(s *Response, v uint32) bool { s.Status = StatusCode(v); return v >= 1000 && v <= 9999 },
		}},
	},
	{
		name: "gid", option: 311, legacy: 266, header: "X-M2M-GID", max: maxOptionString,
		request: requestText(func(r *Request) *string { return &r.GroupRequestID }),
	},
	{
		name: "cnot", option: 319, legacy: 268, header: "X-M2M-CTO",
		response: field[Response]{number: &numberField[Response]{
			get: func(s *Response) (uint32, bool) {
				if s.ContentOffset == nil {
					return 0, false
				}
				return *s.ContentOffset, true
			},
			set: func(s *Response, v uint32) bool { s.ContentOffset = &v; return true },
		}},
	},
	{
		name: "cnst", option: 323, legacy: 269, header: "X-M2M-CTS",
		response: plainNumber(func(s *Response) *uint32 { return &s.ContentStatus }, 2),
	},
	{
		name: "ati", option: 327, legacy: 270, header: "X-M2M-ATI", max: maxOptionString,
		response: responseText(func(s *Response) *string { return &s.AssignedTokenIDs }),
	},
	{
		name: "vsi", option: 331, header: "X-M2M-VSI", max: maxOptionString,
		request:  requestText(func(r *Request) *string { return &r.VendorInformation }),
		response: responseText(func(s *Response) *string { return &s.VendorInformation }),
	},
	{
		name: "grtm", option: 335, max: 512,
		request: requestText(func(r *Request) *string { return &r.GroupRequestTargets }),
	},
	{
		name: "aus", option: 339, header: "X-M2M-AS", max: maxOptionString,
		request: requestText(func(r *Request) *string { return &r.AuthorizationSignature }),
	},
	{
		name: "omr", option: 343, max: maxOptionString,
		request: requestText(func(r *Request) *string { return &r.OntologyMapping }),
	},
	{
		name: "prpi", option: 347, max: maxOptionString,
		request: requestText(func(r *Request) *string { return &r.PrimitiveProfile }),
	},
	{
		name: "msu", option: 351, max: maxOptionString,
		request: requestText(func(r *Request) *string { return &r.ServiceUser }),
	},
}

// The Request Identifier's option, which is looked for even in a message that can't be read otherwise.
const (
	optionRQI coap.OptionID = 283
	legacyRQI coap.OptionID = 257
	legacyFR  coap.OptionID = 256
)

// number returns the parameter's option number in profile p.
func (q *parameter) number(p CoAPProfile) coap.OptionID {
	if p.Legacy && q.legacy != 0 {
		return q.legacy
	}
	return q.option
}

// parameterOf returns the row of an option, and its index; nil when id is no option of oneM2M in profile p.
func parameterOf(id coap.OptionID, p CoAPProfile) (*parameter, int) {
	if id < legacyFR || id > parameters[len(parameters)-1].option {
		return nil, 0
	}
	for i := range parameters {
		if parameters[i].number(p) == id {
			return &parameters[i], i
		}
	}
	return nil, 0
}

// notificationURIs joins the list as X-M2M-RTU has it (TS-0009, 6.4.5). TS-0008 leaves the separator open.
func notificationURIs(r *Request) (string, bool) {
	return strings.Join(r.NotificationURIs, "&"), r.NotificationURIs != nil
}

func setNotificationURIs(r *Request, s string) bool {
	if s == "" { // present and without a member: no notification is wanted, TS-0001, 8.1.2
		r.NotificationURIs = []string{}
		return true
	}
	if strings.Count(s, "&") >= maxMembers {
		return false
	}
	r.NotificationURIs = strings.Split(s, "&")
	for _, uri := range r.NotificationURIs {
		if uri == "" {
			return false
		}
	}
	return true
}
