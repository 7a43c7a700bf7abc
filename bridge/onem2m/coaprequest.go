package onem2m

import "coapbridge/coap"

// RequestFromCoAP reads a request primitive (TS-0008, 6.2.2). The error is an *Error. m's payload becomes the Content.
func RequestFromCoAP(m *coap.Message, p CoAPProfile) (*Request, error) {
	op, ok := operationOf(m.Code)
	if !ok {
		return nil, refuse(StatusOperationNotAllowed, "method stands for no operation")
	}
	r := &Request{}
	var o coapOptions
	err := o.read(m, p, func(row *parameter, value []byte) bool { return setField(row.request, r, value) })
	if err != nil {
		return nil, err
	}
	explicit, err := r.takeQuery(o.query)
	if err != nil {
		return nil, err
	}
	if r.To, err = JoinSegments(o.path); err != nil {
		return nil, err
	}
	if o.hasAcc {
		f := formatOfID(o.accept)
		if f == nil {
			return nil, refuse(StatusNotAcceptable, "Accept is unknown") // TS-0008, 6.2.2.2
		}
		r.Accept = []string{f.media}
		if f != formatOfMedia(f.media) {
			r.acceptID = f.id
		}
	}
	media, err := o.content(m)
	if err != nil {
		return nil, err
	}
	r.Operation = op
	if m.Code != coap.FETCH {
		if r.Operation, err = r.resolve(m.Code, op, explicit); err != nil {
			return nil, err
		}
	}
	if err = r.conditionsFromCoAP(m); err != nil {
		return nil, err
	}
	if m.Code == coap.FETCH {
		return r.fetch(m.Payload, media, explicit)
	}
	r.Content, r.MediaType = m.Payload, media
	if len(m.Payload) == 0 {
		r.Content = nil
	}
	if err = r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// operationOf is TS-0008, table 6.2.1-1; POST is CREATE here, and resolve tells it from NOTIFY.
func operationOf(c coap.Code) (Operation, bool) {
	switch c {
	case coap.POST:
		return Create, true
	case coap.GET, coap.FETCH:
		return Retrieve, true
	case coap.PUT:
		return Update, true
	case coap.DELETE:
		return Delete, true
	}
	return 0, false
}

// resolve returns the operation of a request: the explicit one of op=, with POST or the operation's own method, else the
// method's; a POST without either is CREATE with a Resource Type and NOTIFY without (TS-0008, 6.2.1).
func (r *Request) resolve(code coap.Code, op, explicit Operation) (Operation, error) {
	if code != coap.POST {
		if explicit != 0 && explicit != op {
			return 0, badRequest("op contradicts the method")
		}
		return op, nil
	}
	switch {
	case explicit != 0:
		return explicit, nil
	case r.ResourceType == 0:
		return Notify, nil
	}
	return Create, nil
}

// CoAP writes r as a CoAP request (TS-0008, 6.2.2). Type, Message ID and Token are left to the endpoint. The error is an
// *Error: 4000 for what is invalid, 5001 for what CoAP has no place for.
func (r *Request) CoAP(p CoAPProfile) (*coap.Message, error) {
	if err := r.checkOutgoing(); err != nil {
		return nil, err
	}
	segments, err := Segments(r.To)
	if err != nil {
		return nil, err
	}
	m := &coap.Message{Payload: r.Content, Options: make(coap.Options, 0, len(segments)+len(r.Query)+12)}
	var explicit Operation
	if m.Code = methodCode(r.Operation); r.nonBlocking() && !p.MethodOnly {
		m.Code, explicit = coap.POST, r.Operation // TS-0008, 6.3.2 to 6.3.4
	}
	for _, s := range segments {
		m.Options = m.Options.AddString(coap.URIPath, s)
	}
	if len(r.Content) > 0 {
		id, _ := contentFormat(r.MediaType, nil) // check has seen that it is known
		m.Options = m.Options.AddUint(coap.ContentFormat, id)
	}
	if err := r.queryOptions(explicit, func(s string) { m.Options = m.Options.AddString(coap.URIQuery, s) }); err != nil {
		return nil, err
	}
	if m.Options, err = r.addAccept(m.Options); err != nil {
		return nil, err
	}
	if m.Options, err = r.addConditions(m.Options); err != nil {
		return nil, err
	}
	for i := range parameters {
		if m.Options, err = appendField(m.Options, &parameters[i], parameters[i].request, r, p); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func methodCode(op Operation) coap.Code {
	switch op {
	case Retrieve:
		return coap.GET
	case Update:
		return coap.PUT
	case Delete:
		return coap.DELETE
	}
	return coap.POST
}

// addAccept adds the first media type that has a number: CoAP can ask for one only (RFC 7252, Section 5.10.4).
func (r *Request) addAccept(options coap.Options) (coap.Options, error) {
	if f := r.wanted(); f != nil {
		return options.AddUint(coap.Accept, uint32(f.id)), nil
	}
	for _, media := range r.Accept {
		if f := formatOfMedia(media); f != nil {
			return options.AddUint(coap.Accept, uint32(f.id)), nil
		}
	}
	if len(r.Accept) > 0 {
		return nil, refuse(StatusNotAcceptable, "no media type of Accept has a Content-Format")
	}
	return options, nil
}
