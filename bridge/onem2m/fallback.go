package onem2m

import "coapbridge/coap"

// StatusOfCode is the fallback for an answer without a Response Status Code option: the mapping of codes is many to one,
// so the option is the truth where it is there. ok is false when c is no code of a final response.
func StatusOfCode(c coap.Code, r *Request) (s StatusCode, ok bool) {
	switch c {
	case coap.Created:
		return accepted(r, StatusCreated), true
	case coap.Deleted:
		return StatusDeleted, true
	case coap.Changed:
		return changed(r), true
	case coap.Content, coap.Valid:
		return StatusOK, true
	case coap.Forbidden:
		return StatusOriginatorHasNoPrivilege, true
	case coap.Unauthorized:
		return StatusOriginatorNotAuthenticated, true
	case coap.NotFound:
		return StatusNotFound, true
	case coap.MethodNotAllowed:
		return StatusOperationNotAllowed, true
	case coap.NotAcceptable:
		return StatusNotAcceptable, true
	case coap.Conflict:
		return StatusConflict, true
	case coap.UnsupportedContentFormat:
		return StatusUnsupportedMediaType, true
	case coap.NotImplemented, coap.ProxyingNotSupported:
		return StatusNotImplemented, true
	case coap.BadGateway, coap.ServiceUnavailable:
		return StatusRemoteEntityNotReachable, true
	case coap.GatewayTimeout:
		return StatusRequestTimeout, true
	}
	switch c.Class() {
	case 4:
		return StatusBadRequest, true
	case 5:
		return StatusInternalServerError, true
	}
	return 0, false
}

// StatusOfHTTP is the fallback for an answer without X-M2M-RSC, such as one of a proxy in between. ok is false when status
// is no final answer to a primitive: 1xx, 3xx or none at all.
func StatusOfHTTP(status int, r *Request) (s StatusCode, ok bool) {
	switch status {
	case 200:
		return StatusOK, true
	case 201:
		return StatusCreated, true
	case 202:
		return accepted(r, StatusAccepted), true
	case 204:
		return changed(r), true
	case 401, 403:
		return StatusOriginatorHasNoPrivilege, true
	case 404:
		return StatusNotFound, true
	case 405:
		return StatusOperationNotAllowed, true
	case 406:
		return StatusNotAcceptable, true
	case 409:
		return StatusConflict, true
	case 415:
		return StatusUnsupportedMediaType, true
	case 501:
		return StatusNotImplemented, true
	case 502, 503:
		return StatusRemoteEntityNotReachable, true
	case 504:
		return StatusRequestTimeout, true
	}
	switch status / 100 {
	case 4:
		return StatusBadRequest, true
	case 5:
		return StatusInternalServerError, true
	}
	return 0, false
}

// accepted returns what "accepted" means for r's Response Type, or otherwise.
func accepted(r *Request, otherwise StatusCode) StatusCode {
	if r != nil {
		switch r.ResponseType {
		case NonBlockingSynch:
			return StatusAcceptedNonBlockingSynch
		case NonBlockingAsynch:
			return StatusAcceptedNonBlockingAsynch
		}
	}
	return otherwise
}

// changed returns what 2.04 and 204 mean for r's operation.
func changed(r *Request) StatusCode {
	if r != nil {
		switch {
		case r.ResponseType == NonBlockingAsynch:
			return StatusAcceptedNonBlockingAsynch
		case r.Operation == Notify:
			return StatusOK
		case r.Operation == Delete:
			return StatusDeleted
		}
	}
	return StatusUpdated
}
