package csetest

import "net/http"

// status is a ResponseStatusCode. This package has its own short table on purpose: were it the bridge's, a wrong row would
// agree with itself.
type status int

// ResponseStatusCodes that this CSE gives (TS-0004, 6.6).
const (
	acceptedSynch        status = 1001
	acceptedAsynch       status = 1002
	ok                   status = 2000
	created              status = 2001
	deleted              status = 2002
	updated              status = 2004
	badRequest           status = 4000
	versionNotSupported  status = 4001
	notFound             status = 4004
	operationNotAllowed  status = 4005
	requestTimeout       status = 4008
	unsupportedMedia     status = 4015
	contentsUnacceptable status = 4102
	noPrivilege          status = 4103
	conflict             status = 4105
	invalidChildType     status = 4108
	alreadyRegistered    status = 4117
	internalError        status = 5000
	notImplemented       status = 5001
	targetNotReachable   status = 5103
	verificationFailed   status = 5204
	notAcceptable        status = 5207
)

// http returns the HTTP status of TS-0009, table 6.3.2-1.
func (s status) http() int {
	switch s {
	case acceptedSynch, acceptedAsynch:
		return http.StatusAccepted
	case created:
		return http.StatusCreated
	case ok, deleted, updated:
		return http.StatusOK
	case badRequest, contentsUnacceptable:
		return http.StatusBadRequest
	case notFound, targetNotReachable:
		return http.StatusNotFound
	case operationNotAllowed:
		return http.StatusMethodNotAllowed
	case requestTimeout:
		return http.StatusGatewayTimeout
	case unsupportedMedia:
		return http.StatusUnsupportedMediaType
	case noPrivilege, invalidChildType, alreadyRegistered:
		return http.StatusForbidden
	case conflict:
		return http.StatusConflict
	case versionNotSupported, notImplemented:
		return http.StatusNotImplemented
	case notAcceptable:
		return http.StatusNotAcceptable
	}
	return http.StatusInternalServerError
}

// fault is a refusal: its ResponseStatusCode, and the text of the m2m:dbg content that ACME, Mobius and tinyIoT send.
type fault struct {
	status status
	text   string
}

func (f *fault) Error() string { return f.text }

func refuse(s status, text string) error { return &fault{status: s, text: text} }
