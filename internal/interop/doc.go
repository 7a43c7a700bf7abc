// Package interop shows that dtls and other people's DTLS understand each other: every suite of ours that a peer's build has,
// with pre-shared keys and with certificates of both sides, the peer as client and, where it can be one, as server that we
// dial; and Connection IDs (RFC 9146) with an address that changes. What was found stands in docs/interop.md, and
// TestInteropMatrix fails when it finds anything else. On top of that it plays ETSI's CoAP plugtests between coap and other
// people's CoAP, in both roles; docs/conformance.md has their table.
//
// The tests speak to dtls and coap through their public APIs alone. They have the build tag interop: "make interop" installs the peers
// and runs them. Peers without a command line of their own are the small programs below peers/, in C, Java and Python; the
// test compiles them, so that no binary stands in the repository. Each attempt has an endpoint, a peer and a port of its own.
//
// The package holds tests only. It measures nothing, and loses no datagram on purpose but where a plugtest is about that.
package interop
