package bridge

import (
	"errors"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// explain is the closed set of texts that say to a plain device's developer why a request failed, and what to do (RFC 7252,
// Section 5.5.2). They name no path, host or identity, and what is forbidden is told as what is absent (S36, B06).
func explain(why Refusal, code coap.Code) string {
	switch why {
	case RefusedProfile:
		return "this device's profile has no such request: see its entry in the devices file"
	case RefusedBinding:
		return "the AE of this device's name is another's: the operator has to settle it"
	case RefusedFreshness:
		return "repeat the request with the Echo option (RFC 9175)"
	case RefusedHopLimit:
		return "coap-bridge" // RFC 8768, Section 3: who found the limit reached
	case RefusedUnknown:
		return "this device is not known any more"
	}
	switch code {
	case coap.BadRequest:
		return "a path is 1 to 8 names, without query, and none of la, ol, fopt, pcu"
	case coap.BadOption:
		return "an option can't be obeyed in this request"
	case coap.NotFound:
		return "no such resource"
	case coap.MethodNotAllowed:
		return "not a method of this resource: GET, PUT or POST, and DELETE where the entry allows it"
	case coap.NotAcceptable:
		return "not kept in that Content-Format: ask without Accept"
	case coap.PreconditionFailed:
		return "If-Match or If-None-Match does not hold: GET the latest ETag"
	case coap.RequestEntityTooLarge:
		return "payload is too large: Size1 says what is taken"
	case coap.TooManyRequests:
		return "too many requests at once: wait for answers, retry after Max-Age"
	case coap.ServiceUnavailable:
		return "Service Layer not to be reached, or too busy: retry after Max-Age"
	case coap.GatewayTimeout:
		return "Service Layer did not answer in time: it may have done what was asked"
	case coap.BadGateway:
		return "Service Layer's answer can't be trusted: it may have done what was asked"
	case coap.Forbidden:
		return "Service Layer refused it: see the access control of this device's AE"
	case coap.InternalServerError:
		return "the gateway or the Service Layer failed"
	}
	return "refused"
}

// explained is an answer with an error code and its text, in the form that request accepts (RFC 9290).
func explained(request *coap.Message, code coap.Code, why Refusal) *coap.Message {
	return coap.ErrorMessage(request, code, explain(why, code))
}

// refusePlain answers without a oneM2M option.
func (b *Bridge) refusePlain(x *coap.Exchange, s *session, why Refusal, code coap.Code) {
	b.note(s, why, nil)
	m := explained(x.Request(), code, why)
	if why == RefusedSize {
		if dev, ok := b.cfg.Directory.Device(s.peer); ok {
			m.Options = m.Options.AddUint(coap.Size1, uint32(b.maxPayload(dev))) // RFC 7252, Section 5.10.9
		}
	}
	b.respond(x, m, 0)
}

// failPlain answers with how j failed.
func (b *Bridge) failPlain(j *job, out outcome, err error) {
	b.note(j.s, out.why, err)
	m := explained(j.x.Request(), out.code, out.why)
	if out.retry > 0 {
		m.Options = m.Options.AddUint(coap.MaxAge, uint32(out.retry.Seconds()))
	}
	b.respond(j.x, m, 0)
}

// endPlain answers a plain device where the CSE did not do what was asked: with the code of its status, or of err.
func (b *Bridge) endPlain(j *job, resp *onem2m.Response, err error) {
	var refused *refusedByCSE
	switch {
	case errors.As(err, &refused):
		b.respond(j.x, explained(j.x.Request(), refused.status.CoAP(), ""), 0)
	case errors.Is(err, errNoInstance):
		b.respond(j.x, explained(j.x.Request(), coap.NotFound, ""), 0)
	case err != nil:
		b.failPlain(j, failure(err), err)
	default:
		b.respond(j.x, explained(j.x.Request(), resp.Status.CoAP(), ""), 0)
	}
}
