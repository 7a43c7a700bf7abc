// Package request is a CoAP client (RFC 7252) over DTLS 1.2 that speaks oneM2M (TS-0008): what `coap-bridge request` runs.
// It exists because generic clients drop responses that carry oneM2M's critical options.
//
// A Session is one DTLS association with one server and is safe for concurrent use; everything else here is data. The
// package keeps no session between runs, does not observe, follows no URI that a server sent, and knows no way to leave
// the server unauthenticated.
package request
