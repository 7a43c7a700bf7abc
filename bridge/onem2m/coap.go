package onem2m

import (
	"slices"

	"coapbridge/coap"
)

// CoAPProfile says how a peer departs from TS-0008 V3.9.0. The zero value is the standard.
type CoAPProfile struct {
	// Legacy has the option numbers from before V3.7.0.
	Legacy bool
	// StrictTimestamps cuts the fraction of a timestamp that is sent, as the options' 15 bytes have no place for one.
	StrictTimestamps bool
	// MethodOnly writes a non-blocking request with the method of its operation, as HTTP does, for a peer that ignores
	// the op= of TS-0008, 6.2.1 (ACME does). Both forms are read in any profile.
	MethodOnly bool
}

// IsOption reports whether id is an option of oneM2M in profile p. All of them but the old even numbers are critical.
func IsOption(id coap.OptionID, p CoAPProfile) bool {
	row, _ := parameterOf(id, p)
	return row != nil
}

// UsesOptions reports whether m carries an option that only a oneM2M device sends: one of the current numbers, or From or
// Request Identifier under their old ones. The old numbers in between are other people's too (No-Response, Section 5 of
// RFC 7967) and tell nothing.
func UsesOptions(m *coap.Message) bool {
	return slices.ContainsFunc(m.Options, func(o coap.Option) bool {
		return o.ID == legacyFR || o.ID == legacyRQI || IsOption(o.ID, CoAPProfile{})
	})
}

// FetchesPrimitive reports whether m is a FETCH of Release 5: all that makes it oneM2M's may stand in its payload (TS-0008,
// 6.6), and nothing in its options.
func FetchesPrimitive(m *coap.Message) bool {
	id, _ := m.Options.Uint(coap.ContentFormat)
	f := formatOfID(id)
	return m.Code == coap.FETCH && f != nil && f.whole
}

// RequestIDFromCoAP returns the Request Identifier of m, for the answer to a request that can't be read; "" when there is
// none that could be sent back.
func RequestIDFromCoAP(m *coap.Message, p CoAPProfile) string { return salvage(m, p, "rqi") }

// ReleaseVersionFromCoAP returns the Release Version Indicator of m likewise, when it is one that has options.
func ReleaseVersionFromCoAP(m *coap.Message, p CoAPProfile) string {
	switch v := salvage(m, p, "rvi"); v {
	case "2a", "3", "4", "5":
		return v
	}
	return ""
}

// salvage returns a text parameter of a message whose other parameters may be broken: of its options, or of the primitive in
// a FETCH.
func salvage(m *coap.Message, p CoAPProfile, name string) string {
	for i := range m.Options {
		if row, _ := parameterOf(m.Options[i].ID, p); row != nil && row.name == name && validText(string(m.Options[i].Value)) {
			return string(m.Options[i].Value)
		}
	}
	if m.Code != coap.FETCH {
		return ""
	}
	id, _ := m.Options.Uint(coap.ContentFormat)
	media := ""
	if f := formatOfID(id); f != nil {
		media = f.media
	}
	members, err := wholePrimitive(m.Payload, media)
	if s, ok := members[name].(string); err == nil && ok && validText(s) {
		return s
	}
	return ""
}

// coapOptions are the options of one message, read but not yet judged together.
type coapOptions struct {
	path     []string // Uri-Path or Location-Path
	query    []Parameter
	format   uint32
	accept   uint32
	seen     uint32 // bit n: parameters[n]
	hasCF    bool
	hasAcc   bool
	response bool
}

// read takes the options of m, and hands each of oneM2M to set.
func (o *coapOptions) read(m *coap.Message, p CoAPProfile, set func(*parameter, []byte) bool) error {
	for i := range m.Options {
		opt := &m.Options[i]
		if row, n := parameterOf(opt.ID, p); row != nil {
			if o.seen&(1<<n) != 0 { // RFC 7252, Section 5.4.5
				return badRequest("oneM2M option is repeated")
			}
			o.seen |= 1 << n
			if !set(row, opt.Value) {
				return badRequest("oneM2M option is malformed or out of place")
			}
			continue
		}
		if err := o.readPlain(m, opt); err != nil {
			return err
		}
	}
	return nil
}

// readPlain takes one of CoAP's own options.
func (o *coapOptions) readPlain(m *coap.Message, opt *coap.Option) error {
	switch {
	case opt.ID == coap.URIPath && !o.response, opt.ID == coap.LocationPath && o.response:
		if len(o.path) > maxSegments+1 {
			return badRequest("path has too many segments")
		}
		o.path = append(o.path, string(opt.Value))
	case opt.ID == coap.URIQuery && !o.response:
		var err error
		o.query, err = appendOption(o.query, string(opt.Value))
		return err
	case opt.ID == coap.ContentFormat:
		var ok bool
		if o.format, ok = m.Options.Uint(coap.ContentFormat); !ok || o.hasCF {
			return refuse(StatusUnsupportedMediaType, "Content-Format is malformed or repeated")
		}
		o.hasCF = true
	case opt.ID == coap.Accept && !o.response:
		var ok bool
		if o.accept, ok = m.Options.Uint(coap.Accept); !ok || o.hasAcc {
			return refuse(StatusNotAcceptable, "Accept is malformed or repeated")
		}
		o.hasAcc = true
	case opt.ID == coap.URIHost, opt.ID == coap.URIPort, opt.ID == coap.Block1, opt.ID == coap.Block2:
		// the endpoint's, which has judged them
	case opt.ID == coap.IfMatch && !o.response, opt.ID == coap.IfNoneMatch && !o.response: // conditionsFromCoAP
	case opt.ID.Critical(): // RFC 7252, Section 5.4.1
		return badRequest("critical option is not understood")
	}
	return nil
}

// content returns the media type of m's payload.
func (o *coapOptions) content(m *coap.Message) (string, error) {
	if len(m.Payload) == 0 {
		return "", nil // a Content-Format without a payload says nothing; one CSE always sends it
	}
	if o.hasCF {
		if f := formatOfID(o.format); f != nil {
			return f.media, nil
		}
	}
	// Deviation: a missing Content-Format is refused too, since what the payload is can't be told to the CSE.
	return "", refuse(StatusUnsupportedMediaType, "Content-Format is missing or unknown") // TS-0008, 6.2.2.2
}

// setField stores an option's value, and reports whether it fits the parameter.
func setField[P any](f field[P], to *P, value []byte) bool {
	switch {
	case f.text != nil:
		// The length column of TS-0008, table 6.2.2.4.0-1 is not enforced. Deviation: senders exceed it.
		s := string(value)
		return validText(s) && f.text.set(to, s)
	case f.number != nil:
		if len(value) > 4 {
			return false
		}
		var v uint32
		for _, c := range value {
			v = v<<8 | uint32(c)
		}
		return f.number.set(to, v)
	}
	return false // the parameter has no place in this direction
}

// appendField appends the option of row, when the parameter is there.
func appendField[P any](options coap.Options, row *parameter, f field[P], from *P, p CoAPProfile) (coap.Options, error) {
	switch {
	case f.text != nil:
		s, ok := f.text.get(from)
		if !ok {
			return options, nil
		}
		if row.timestamp && p.StrictTimestamps {
			s = strictTimestamp(s)
		}
		if !validText(s) {
			return nil, badRequest("text parameter holds a byte that is not allowed, or is too long")
		}
		if len(s) > row.max { // the device would refuse the critical option, RFC 7252, Section 5.4.3
			return nil, notCarried("text parameter is too long for its option")
		}
		return options.AddString(row.number(p), s), nil
	case f.number != nil:
		v, ok := f.number.get(from)
		if !ok {
			return options, nil
		}
		if v > maxContentOffset {
			return nil, notCarried("number is too large for its option")
		}
		return options.AddUint(row.number(p), v), nil
	}
	return options, nil
}
