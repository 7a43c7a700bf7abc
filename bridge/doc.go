// Package bridge decides who may do what, and carries one exchange up to the Service Layer and back.
//
// It takes authenticated sessions from package dtls and CoAP exchanges from package coap, holds each request against the
// device's entry (its Originators, operations, targets and size: TS-0003, 7.2.1; TS-0004, 7.3.2.1), hands it to a
// ServiceLayer as a oneM2M primitive, and answers in the device's own profile: TS-0008 for a oneM2M device, plain CoAP for
// everything else, whose oneM2M voice the bridge is.
//
// A Bridge is safe for concurrent use. Requests are read and refused on the goroutine that read the datagram; those that
// go on pass one bounded queue to a fixed number of workers (Serve), which are the only ones that block.
//
// It does not know HTTP, files or metrics: cmd hands in what implements ServiceLayer and Directory.
package bridge
