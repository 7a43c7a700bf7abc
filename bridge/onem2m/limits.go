package onem2m

// The bounds of what a peer may send in one primitive. They stop work and memory that grow past the message itself.
const (
	maxSegments     = 64   // of one To; the deepest resource trees seen in use have fewer than 10
	maxSegment      = 255  // bytes of one segment, as Uri-Path has it (RFC 7252, Section 5.10)
	maxTo           = 2048 // bytes of a whole To, decoded
	maxTarget       = 8192 // bytes of an HTTP request-target, as net/http servers take it with room to spare
	maxText         = 1024 // bytes of one option's or header's text; TS-0008 names 255 and 512, and senders exceed them
	maxQuery        = 64   // parameters of one query
	maxQueryKey     = 64   // bytes; the longest short name has 7
	maxQueryValue   = 4096 // bytes; semantic filters (smf) are the longest, and Uri-Query ends at 255 anyhow
	maxOptionString = 255  // bytes of a Uri-Query and of most oneM2M options (RFC 7252, table 4; TS-0008, table 6.2.2.4.0-1)
	maxTokens       = 16   // of one request
	maxToken        = 4096 // bytes of one token
	maxMembers      = 64   // of the notificationURI list
	maxTags         = 16   // entity tags of one If-Match or If-None-Match
	maxTag          = 8    // bytes of a CoAP entity tag (RFC 7252, Section 5.10.6)
	maxAccept       = 16   // media types of one Accept header

	maxContentOffset = 0xffff // Content Offset is 2 bytes in CoAP (TS-0008, table 6.2.2.4.0-1)
	maxEventCategory = 999    // TS-0004, 6.3.4.2.8
	maxResourceType  = 0xffff // TS-0008 gives the option 2 bytes; announced variants start at 10000
)

// The bounds of looking into Content.
const (
	maxScan       = 1 << 20 // bytes; the bridge's bound on bodies is below
	maxDepth      = 32      // nested values: a batch of notifications of a group of primitives has about 12
	maxNodes      = 32768   // values in one tree, at about 50 bytes each
	maxNested     = 256     // nested primitives in one request
	maxAggregated = 64      // primitives in one answer to a poll; one poll is one device's
	maxAttribute  = 64      // members of a list of attributes in filter criteria
	maxLists      = 256     // lists in one content whose members are replaced; a batch of as many notifications has fewer
)
