// Package onem2m holds oneM2M request and response primitives (TS-0004) and their two bindings: CoAP (TS-0008 V3.9.0, with
// Release 5's FETCH) and HTTP (TS-0009 V3.9.1), each in both directions. A binding only ever reads or writes a primitive,
// so that nothing goes from an option to a header directly: what one side can't express is refused with the
// ResponseStatusCode for it, and never dropped.
//
// Every function here is pure: no I/O, no clock, no state, and safe for concurrent use. What a peer sent is judged before it
// is used; every list, string and depth has a bound in limits.go. A []byte of a message is kept, not copied, in the
// primitive and the other way round. Content passes bit by bit; the package looks into it in three places only: nested
// primitives (NestedOriginators), a new AE's identifier (CreatedAEID), and the resources of plain devices (EncodeAE,
// EncodeContainer, EncodeContentInstance, DecodeContentInstance).
//
// # Content of plain devices
//
// A payload becomes the con attribute of a contentInstance, and its CoAP Content-Format the media type in contentInfo (cnf,
// TS-0001, 9.6.7: media type, encoding, optional content security, separated by colons). Text goes as it is with encoding
// 0; anything else as Base64 with encoding 1. A payload that came without a Content-Format gets no cnf when it is text, and
// "application/octet-stream:1" when it is not.
//
// The package doesn't decide who may say what, doesn't speak to anybody, and knows nothing of net/http.
package onem2m
