package onem2m

import "fmt"

// Operation is the Operation parameter (TS-0004, 6.3.4.2.5).
type Operation uint8

// The operations, with the values of TS-0004, table 6.3.4.2.5-1.
const (
	Create   Operation = 1
	Retrieve Operation = 2
	Update   Operation = 3
	Delete   Operation = 4
	Notify   Operation = 5
)

// String returns the operation's name in the specification's spelling.
func (o Operation) String() string {
	switch o {
	case Create:
		return "CREATE"
	case Retrieve:
		return "RETRIEVE"
	case Update:
		return "UPDATE"
	case Delete:
		return "DELETE"
	case Notify:
		return "NOTIFY"
	}
	return fmt.Sprintf("Operation(%d)", uint8(o))
}

// ResourceType is a Resource Type (TS-0004, 6.3.4.2.1); 0 means absent.
type ResourceType uint32

// The resource types that this project names.
const (
	TypeACP             ResourceType = 1
	TypeAE              ResourceType = 2
	TypeContainer       ResourceType = 3
	TypeContentInstance ResourceType = 4
	TypeCSEBase         ResourceType = 5
	TypeGroup           ResourceType = 9
	TypePollingChannel  ResourceType = 15
	TypeSubscription    ResourceType = 23
)

// ResponseType is the responseTypeValue of the Response Type parameter (TS-0004, 6.3.4.2.6); 0 means absent, which is
// Blocking.
type ResponseType uint8

// The response types.
const (
	NonBlockingSynch  ResponseType = 1
	NonBlockingAsynch ResponseType = 2
	Blocking          ResponseType = 3
	FlexBlocking      ResponseType = 4
	NoResponse        ResponseType = 5
)

// Parameter is one key and value of the query: filter criteria and the parameters that have no option or header of their
// own (TS-0004, table 8.2.2-1). Value is decoded UTF-8; "+" separates the members of a list.
type Parameter struct{ Key, Value string }

// Request is a request primitive (TS-0004, 8.1.2): the form in which the bridge thinks. A field's zero value means that
// the parameter is absent, unless the field says otherwise.
type Request struct {
	Operation    Operation
	To           string // CSE-relative "cse-in/ae", SP-relative "/id-in/cse-in/ae" or Absolute "//sp/id-in/cse-in/ae"; never "." or ".." segments
	From         string
	RequestID    string
	ResourceType ResourceType // CREATE only

	ReleaseVersion string
	ResponseType   ResponseType
	// NotificationURIs is the Response Type's notificationURI list: nil when absent, empty but not nil when present
	// without a member (no notification is wanted, TS-0001, 8.1.2).
	NotificationURIs       []string
	OriginatingTimestamp   string
	RequestExpiration      string // rqet, as received: absolute, or relative in milliseconds
	ResultExpiration       string // rset
	OperationExecutionTime string // oet
	EventCategory          uint32
	GroupRequestID         string
	GroupRequestTargets    string   // grtm
	AuthorizationSignature string   // aus
	VendorInformation      string   // vsi
	OntologyMapping        string   // omr, Release 4
	PrimitiveProfile       string   // prpi, Release 4
	ServiceUser            string   // msu, Release 4
	Tokens                 []string // tkns

	Query []Parameter // everything that travels in the query, in the sender's order

	Content   []byte   // pc, never re-serialised
	MediaType string   // of Content, without ";ty="; "" when there is no Content
	Accept    []string // media types, in order of preference

	// IfMatch and IfNoneMatch are HTTP's preconditions and CoAP's (RFC 9110, Section 13.1; RFC 7252, Section 5.10.8): entity
	// tags as HTTP writes them, quotes included and never weak, or "*" alone. A RETRIEVE has tags in IfNoneMatch, which CoAP has
	// as ETag; any other operation has "*".
	IfMatch, IfNoneMatch []string

	acceptID uint16 // the number that a device accepts, where it is a later synonym of Accept[0]'s; else 0
}

// Response is a response primitive (TS-0004, 8.1.3).
type Response struct {
	Status    StatusCode
	RequestID string
	From      string

	ReleaseVersion       string
	OriginatingTimestamp string
	ResultExpiration     string // rset
	EventCategory        uint32
	ContentStatus        uint32 // cnst
	ContentOffset        *uint32
	AssignedTokenIDs     string // ati
	AuthSignatureRequest string // asri
	VendorInformation    string // vsi

	Created   string    // URI of the created resource: Location-Path, Content-Location; in the form of To
	ETag      string    // opaque, as the HTTP header has it; "" when absent
	MaxAge    uint32    // seconds for which the answer may be kept; 0, which nobody has to say: it may not (TS-0008, 6.4)
	Condition Condition // what became of the request's condition
	Content   []byte
	MediaType string
}

// Error is a primitive that can't be taken or carried, with the ResponseStatusCode to answer. Detail is fixed text for
// the operator's log; it holds nothing that a peer sent.
type Error struct {
	Status StatusCode
	Detail string
}

// Error implements error.
func (e *Error) Error() string { return "onem2m: " + e.Detail }
