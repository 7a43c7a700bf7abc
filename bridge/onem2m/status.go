package onem2m

import (
	"strconv"

	"coapbridge/coap"
)

// StatusCode is a ResponseStatusCode (TS-0004, 6.6).
type StatusCode uint16

// The ResponseStatusCodes of TS-0008, table 6.2.4-1 and TS-0009, table 6.3.2-1.
const (
	StatusAccepted                                    StatusCode = 1000
	StatusAcceptedNonBlockingSynch                    StatusCode = 1001
	StatusAcceptedNonBlockingAsynch                   StatusCode = 1002
	StatusOK                                          StatusCode = 2000
	StatusCreated                                     StatusCode = 2001
	StatusDeleted                                     StatusCode = 2002
	StatusUpdated                                     StatusCode = 2004
	StatusBadRequest                                  StatusCode = 4000
	StatusReleaseVersionNotSupported                  StatusCode = 4001
	StatusNotFound                                    StatusCode = 4004
	StatusOperationNotAllowed                         StatusCode = 4005
	StatusRequestTimeout                              StatusCode = 4008
	StatusUnsupportedMediaType                        StatusCode = 4015
	StatusSubscriptionCreatorHasNoPrivilege           StatusCode = 4101
	StatusContentsUnacceptable                        StatusCode = 4102
	StatusOriginatorHasNoPrivilege                    StatusCode = 4103
	StatusGroupRequestIdentifierExists                StatusCode = 4104
	StatusConflict                                    StatusCode = 4105
	StatusOriginatorNotAuthenticated                  StatusCode = 4106
	StatusSecurityAssociationRequired                 StatusCode = 4107
	StatusInvalidChildResourceType                    StatusCode = 4108
	StatusNoMembers                                   StatusCode = 4109
	StatusGroupMemberTypeInconsistent                 StatusCode = 4110
	StatusESPrimUnsupportedOption                     StatusCode = 4111
	StatusESPrimUnknownKeyID                          StatusCode = 4112
	StatusESPrimUnknownOrigRandID                     StatusCode = 4113
	StatusESPrimUnknownRecvRandID                     StatusCode = 4114
	StatusESPrimBadMAC                                StatusCode = 4115
	StatusESPrimImpersonationError                    StatusCode = 4116
	StatusOriginatorHasAlreadyRegistered              StatusCode = 4117
	StatusOntologyNotAvailable                        StatusCode = 4118
	StatusLinkedSemanticsNotAvailable                 StatusCode = 4119
	StatusInvalidSemantics                            StatusCode = 4120
	StatusMashupMemberNotFound                        StatusCode = 4121
	StatusInvalidTriggerPurpose                       StatusCode = 4122
	StatusIllegalTransactionStateTransitionAttempted  StatusCode = 4123
	StatusBlockingSubscriptionAlreadyExists           StatusCode = 4124
	StatusSpecializationSchemaNotFound                StatusCode = 4125
	StatusAppRuleValidationFailed                     StatusCode = 4126
	StatusOperationDeniedByRemoteEntity               StatusCode = 4127
	StatusServiceSubscriptionNotEstablished           StatusCode = 4128
	StatusInvalidSPARQLQuery                          StatusCode = 4143
	StatusInternalServerError                         StatusCode = 5000
	StatusNotImplemented                              StatusCode = 5001
	StatusTargetNotReachable                          StatusCode = 5103
	StatusReceiverHasNoPrivilege                      StatusCode = 5105
	StatusAlreadyExists                               StatusCode = 5106
	StatusRemoteEntityNotReachable                    StatusCode = 5107
	StatusTargetNotSubscribable                       StatusCode = 5203
	StatusSubscriptionVerificationInitiationFailed    StatusCode = 5204
	StatusSubscriptionHostHasNoPrivilege              StatusCode = 5205
	StatusNonBlockingSynchRequestNotSupported         StatusCode = 5206
	StatusNotAcceptable                               StatusCode = 5207
	StatusDiscoveryDeniedByIPE                        StatusCode = 5208
	StatusGroupMembersNotResponded                    StatusCode = 5209
	StatusESPrimDecryptionError                       StatusCode = 5210
	StatusESPrimEncryptionError                       StatusCode = 5211
	StatusSPARQLUpdateError                           StatusCode = 5212
	StatusTargetHasNoSessionCapability                StatusCode = 5214
	StatusSessionIsOnline                             StatusCode = 5215
	StatusJoinMulticastGroupFailed                    StatusCode = 5216
	StatusLeaveMulticastGroupFailed                   StatusCode = 5217
	StatusTriggeringDisabledForRecipient              StatusCode = 5218
	StatusUnableToReplaceRequest                      StatusCode = 5219
	StatusUnableToRecallRequest                       StatusCode = 5220
	StatusCrossResourceOperationFailure               StatusCode = 5221
	StatusTransactionProcessingIsIncomplete           StatusCode = 5222
	StatusExternalObjectNotReachable                  StatusCode = 6003
	StatusExternalObjectNotFound                      StatusCode = 6005
	StatusMaxNumberOfMemberExceeded                   StatusCode = 6010
	StatusMgmtSessionCannotBeEstablished              StatusCode = 6020
	StatusMgmtSessionEstablishmentTimeout             StatusCode = 6021
	StatusInvalidCmdType                              StatusCode = 6022
	StatusInvalidArguments                            StatusCode = 6023
	StatusInsufficientArguments                       StatusCode = 6024
	StatusMgmtConversionError                         StatusCode = 6025
	StatusMgmtCancellationFailed                      StatusCode = 6026
	StatusAlreadyComplete                             StatusCode = 6028
	StatusMgmtCommandNotCancellable                   StatusCode = 6029
	StatusExternalObjectNotReachableBeforeRQETTimeout StatusCode = 6030
	StatusExternalObjectNotReachableBeforeOETTimeout  StatusCode = 6031
	// StatusInvalidProcessConfiguration is of Release 4.
	StatusInvalidProcessConfiguration StatusCode = 4142
)

// statusRow is one row of the table that both bindings read.
type statusRow struct {
	status StatusCode
	name   string // TS-0004's spelling; "" where only the number is known
	coap   coap.Code
	http   int
	later  bool // Release 4 or 5: seen in implementations, in neither binding's Release 3 table
}

// statuses is TS-0008, table 6.2.4-1 beside TS-0009, table 6.3.2-1, in ascending order. A status whose CoAP code depends
// on the request stands here with the code for any other request; codeFor knows the rest.
var statuses = [...]statusRow{
	{StatusAccepted, "ACCEPTED", coap.Changed, 202, false},
	{StatusAcceptedNonBlockingSynch, "ACCEPTED nonBlockingRequestSynch", coap.Created, 202, false},
	{StatusAcceptedNonBlockingAsynch, "ACCEPTED nonBlockingRequestAsynch", coap.Changed, 202, false},
	{StatusOK, "OK", coap.Content, 200, false},
	{StatusCreated, "CREATED", coap.Created, 201, false},
	{StatusDeleted, "DELETED", coap.Deleted, 200, false},
	{StatusUpdated, "UPDATED", coap.Changed, 200, false},
	{StatusBadRequest, "BAD_REQUEST", coap.BadRequest, 400, false},
	{StatusReleaseVersionNotSupported, "RELEASE_VERSION_NOT_SUPPORTED", coap.NotImplemented, 501, false},
	{StatusNotFound, "NOT_FOUND", coap.NotFound, 404, false},
	{StatusOperationNotAllowed, "OPERATION_NOT_ALLOWED", coap.MethodNotAllowed, 405, false},
	{StatusRequestTimeout, "REQUEST_TIMEOUT", coap.GatewayTimeout, 504, false},
	{StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", coap.UnsupportedContentFormat, 415, false},
	{StatusSubscriptionCreatorHasNoPrivilege, "SUBSCRIPTION_CREATOR_HAS_NO_PRIVILEGE", coap.Forbidden, 403, false},
	{StatusContentsUnacceptable, "CONTENTS_UNACCEPTABLE", coap.BadRequest, 400, false},
	{StatusOriginatorHasNoPrivilege, "ORIGINATOR_HAS_NO_PRIVILEGE", coap.Forbidden, 403, false},
	{StatusGroupRequestIdentifierExists, "GROUP_REQUEST_IDENTIFIER_EXISTS", coap.BadRequest, 409, false},
	{StatusConflict, "CONFLICT", coap.Forbidden, 409, false},
	{StatusOriginatorNotAuthenticated, "ORIGINATOR_NOT_AUTHENTICATED", coap.Forbidden, 403, false},
	{StatusSecurityAssociationRequired, "SECURITY_ASSOCIATION_REQUIRED", coap.Forbidden, 403, false},
	{StatusInvalidChildResourceType, "INVALID_CHILD_RESOURCE_TYPE", coap.Forbidden, 403, false},
	{StatusNoMembers, "NO_MEMBERS", coap.Forbidden, 403, false},
	{StatusGroupMemberTypeInconsistent, "GROUP_MEMBER_TYPE_INCONSISTENT", coap.BadRequest, 400, false},
	{StatusESPrimUnsupportedOption, "ESPRIM_UNSUPPORTED_OPTION", coap.Forbidden, 403, false},
	{StatusESPrimUnknownKeyID, "ESPRIM_UNKNOWN_KEY_ID", coap.Forbidden, 403, false},
	{StatusESPrimUnknownOrigRandID, "ESPRIM_UNKNOWN_ORIG_RAND_ID", coap.Forbidden, 403, false},
	{StatusESPrimUnknownRecvRandID, "ESPRIM_UNKNOWN_RECV_RAND_ID", coap.Forbidden, 403, false},
	{StatusESPrimBadMAC, "ESPRIM_BAD_MAC", coap.Forbidden, 403, false},
	{StatusESPrimImpersonationError, "ESPRIM_IMPERSONATION_ERROR", coap.Forbidden, 403, false},
	{StatusOriginatorHasAlreadyRegistered, "ORIGINATOR_HAS_ALREADY_REGISTERED", coap.Forbidden, 403, false},
	{StatusOntologyNotAvailable, "ONTOLOGY_NOT_AVAILABLE", coap.NotFound, 404, false},
	{StatusLinkedSemanticsNotAvailable, "LINKED_SEMANTICS_NOT_AVAILABLE", coap.NotFound, 404, false},
	{StatusInvalidSemantics, "INVALID_SEMANTICS", coap.BadOption, 400, false},
	{StatusMashupMemberNotFound, "MASHUP_MEMBER_NOT_FOUND", coap.NotFound, 404, false},
	{StatusInvalidTriggerPurpose, "INVALID_TRIGGER_PURPOSE", coap.BadOption, 400, false},
	{StatusIllegalTransactionStateTransitionAttempted, "ILLEGAL_TRANSACTION_STATE_TRANSITION_ATTEMPTED", coap.BadRequest, 400, false},
	{StatusBlockingSubscriptionAlreadyExists, "BLOCKING_SUBSCRIPTION_ALREADY_EXISTS", coap.BadRequest, 409, false},
	{StatusSpecializationSchemaNotFound, "SPECIALIZATION_SCHEMA_NOT_FOUND", coap.NotImplemented, 501, false},
	{StatusAppRuleValidationFailed, "APP_RULE_VALIDATION_FAILED", coap.Forbidden, 403, false},
	{StatusOperationDeniedByRemoteEntity, "OPERATION_DENIED_BY_REMOTE_ENTITY", coap.Forbidden, 403, false},
	{StatusServiceSubscriptionNotEstablished, "SERVICE_SUBSCRIPTION_NOT_ESTABLISHED", coap.Forbidden, 403, false}, // TS-0004 only; neither binding has a row
	{4130, "", coap.NotFound, 404, true},
	{4131, "", coap.BadRequest, 400, true},
	{4132, "", coap.NotFound, 404, true},
	{4133, "", coap.BadRequest, 400, true},
	{4134, "", coap.BadRequest, 400, true},
	{4135, "", coap.Forbidden, 403, true},
	{4136, "", coap.Forbidden, 403, true},
	{4137, "", coap.BadRequest, 400, true},
	{4138, "", coap.Forbidden, 403, true},
	{4139, "", coap.Forbidden, 403, true},
	{4140, "", coap.Forbidden, 403, true},
	{StatusInvalidProcessConfiguration, "INVALID_PROCESS_CONFIGURATION", coap.BadRequest, 400, true},
	{StatusInvalidSPARQLQuery, "INVALID_SPARQL_QUERY", coap.BadRequest, 400, false},
	{StatusInternalServerError, "INTERNAL_SERVER_ERROR", coap.InternalServerError, 500, false},
	{StatusNotImplemented, "NOT_IMPLEMENTED", coap.NotImplemented, 501, false},
	{StatusTargetNotReachable, "TARGET_NOT_REACHABLE", coap.NotFound, 404, false},
	{StatusReceiverHasNoPrivilege, "RECEIVER_HAS_NO_PRIVILEGE", coap.Forbidden, 403, false},
	{StatusAlreadyExists, "ALREADY_EXISTS", coap.BadRequest, 409, false},
	{StatusRemoteEntityNotReachable, "REMOTE_ENTITY_NOT_REACHABLE", coap.NotFound, 404, false},
	{StatusTargetNotSubscribable, "TARGET_NOT_SUBSCRIBABLE", coap.Forbidden, 403, false},
	{StatusSubscriptionVerificationInitiationFailed, "SUBSCRIPTION_VERIFICATION_INITIATION_FAILED", coap.InternalServerError, 500, false},
	{StatusSubscriptionHostHasNoPrivilege, "SUBSCRIPTION_HOST_HAS_NO_PRIVILEGE", coap.Forbidden, 403, false},
	{StatusNonBlockingSynchRequestNotSupported, "NON_BLOCKING_SYNCH_REQUEST_NOT_SUPPORTED", coap.NotImplemented, 501, false},
	{StatusNotAcceptable, "NOT_ACCEPTABLE", coap.NotAcceptable, 406, false},
	{StatusDiscoveryDeniedByIPE, "DISCOVERY_DENIED_BY_IPE", coap.Forbidden, 403, false},
	{StatusGroupMembersNotResponded, "GROUP_MEMBERS_NOT_RESPONDED", coap.InternalServerError, 500, false},
	{StatusESPrimDecryptionError, "ESPRIM_DECRYPTION_ERROR", coap.InternalServerError, 500, false},
	{StatusESPrimEncryptionError, "ESPRIM_ENCRYPTION_ERROR", coap.InternalServerError, 500, false},
	{StatusSPARQLUpdateError, "SPARQL_UPDATE_ERROR", coap.InternalServerError, 500, false},
	{StatusTargetHasNoSessionCapability, "TARGET_HAS_NO_SESSION_CAPABILITY", coap.Forbidden, 403, false},
	{StatusSessionIsOnline, "SESSION_IS_ONLINE", coap.Forbidden, 403, false},
	{StatusJoinMulticastGroupFailed, "JOIN_MULTICAST_GROUP_FAILED", coap.InternalServerError, 500, false},
	{StatusLeaveMulticastGroupFailed, "LEAVE_MULTICAST_GROUP_FAILED", coap.InternalServerError, 500, false},
	{StatusTriggeringDisabledForRecipient, "TRIGGERING_DISABLED_FOR_RECIPIENT", coap.Forbidden, 403, false},
	{StatusUnableToReplaceRequest, "UNABLE_TO_REPLACE_REQUEST", coap.BadRequest, 409, false},
	{StatusUnableToRecallRequest, "UNABLE_TO_RECALL_REQUEST", coap.BadRequest, 409, false},
	{StatusCrossResourceOperationFailure, "CROSS_RESOURCE_OPERATION_FAILURE", coap.InternalServerError, 500, false},
	{StatusTransactionProcessingIsIncomplete, "TRANSACTION_PROCESSING_IS_INCOMPLETE", coap.Forbidden, 403, false},
	{5230, "", coap.InternalServerError, 500, true},
	{5231, "", coap.InternalServerError, 500, true},
	{5232, "", coap.InternalServerError, 500, true},
	{StatusExternalObjectNotReachable, "EXTERNAL_OBJECT_NOT_REACHABLE", coap.NotFound, 404, false},
	{StatusExternalObjectNotFound, "EXTERNAL_OBJECT_NOT_FOUND", coap.NotFound, 404, false},
	{StatusMaxNumberOfMemberExceeded, "MAX_NUMBER_OF_MEMBER_EXCEEDED", coap.BadRequest, 400, false},
	{StatusMgmtSessionCannotBeEstablished, "MGMT_SESSION_CANNOT_BE_ESTABLISHED", coap.InternalServerError, 500, false},
	{StatusMgmtSessionEstablishmentTimeout, "MGMT_SESSION_ESTABLISHMENT_TIMEOUT", coap.InternalServerError, 500, false},
	{StatusInvalidCmdType, "INVALID_CMDTYPE", coap.BadRequest, 400, false},
	{StatusInvalidArguments, "INVALID_ARGUMENTS", coap.BadRequest, 400, false},
	{StatusInsufficientArguments, "INSUFFICIENT_ARGUMENTS", coap.BadRequest, 400, false},
	{StatusMgmtConversionError, "MGMT_CONVERSION_ERROR", coap.InternalServerError, 500, false},
	{StatusMgmtCancellationFailed, "MGMT_CANCELLATION_FAILED", coap.InternalServerError, 500, false},
	{StatusAlreadyComplete, "ALREADY_COMPLETE", coap.BadRequest, 409, false},
	{StatusMgmtCommandNotCancellable, "MGMT_COMMAND_NOT_CANCELLABLE", coap.BadRequest, 409, false},
	{StatusExternalObjectNotReachableBeforeRQETTimeout, "EXTERNAL_OBJECT_NOT_REACHABLE_BEFORE_RQET_TIMEOUT", coap.GatewayTimeout, 504, false},
	{StatusExternalObjectNotReachableBeforeOETTimeout, "EXTERNAL_OBJECT_NOT_REACHABLE_BEFORE_OET_TIMEOUT", coap.GatewayTimeout, 504, false},
	{6033, "", coap.ServiceUnavailable, 503, true},
	{6034, "", coap.Forbidden, 403, true},
}

// row returns the table's row of s, or nil.
func (s StatusCode) row() *statusRow {
	low, high := 0, len(statuses)
	for low < high {
		mid := (low + high) / 2
		switch {
		case statuses[mid].status == s:
			return &statuses[mid]
		case statuses[mid].status < s:
			low = mid + 1
		default:
			high = mid
		}
	}
	return nil
}

// Release3 reports whether s is in the tables of Release 3. The others are known from implementations of later releases.
func (s StatusCode) Release3() bool {
	row := s.row()
	return row != nil && !row.later
}

// Known reports whether s is in the table.
func (s StatusCode) Known() bool { return s.row() != nil }

// String returns the number and, where it is known, the specification's name.
func (s StatusCode) String() string {
	number := strconv.Itoa(int(s))
	if row := s.row(); row != nil && row.name != "" {
		return number + " " + row.name
	}
	return number
}

// Success reports whether s is of the classes 1xxx (accepted) or 2xxx (successful).
func (s StatusCode) Success() bool { return s >= 1000 && s < 3000 }

// CoAP returns the CoAP code of s. 2000 is 2.05; in the answer to a NOTIFY it is 2.04, which Response.CoAP knows, as it
// knows 1002's two codes. A status that the table doesn't hold has its class's general code.
func (s StatusCode) CoAP() coap.Code {
	if row := s.row(); row != nil {
		return row.coap
	}
	// Deviation: neither binding says what becomes of a status that it doesn't list.
	switch s / 1000 {
	case 1, 2:
		return coap.Changed
	case 4:
		return coap.BadRequest
	}
	return coap.InternalServerError
}

// HTTP returns the HTTP status of s (TS-0009, table 6.3.2-1), by the same rule for one that the table doesn't hold.
func (s StatusCode) HTTP() int {
	if row := s.row(); row != nil {
		return row.http
	}
	switch s / 1000 {
	case 1:
		return 202
	case 2:
		return 200
	case 4:
		return 400
	}
	return 500
}

// codeFor returns the code of the answer s to a request of op: TS-0008, table 6.2.4-1 and its notes. created says that the
// answer names a resource that was made.
func (s StatusCode) codeFor(op Operation, created bool) coap.Code {
	switch {
	case s == StatusOK && op != Retrieve && op != 0: // 2.05 answers GET and FETCH only, RFC 7252, Section 5.9.1.5
		return coap.Changed
	case (s == StatusAcceptedNonBlockingAsynch || s == StatusAccepted) && created:
		return coap.Created
	}
	return s.CoAP()
}
