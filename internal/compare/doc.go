// Package compare holds tests alone: each request of a table is made twice, by a oneM2M device over CoAP and DTLS through a
// whole bridge, and directly over HTTP with mutual TLS, to the same CSE and on resources that are twins. Their answers are
// compared parameter by parameter, the content byte by byte. Neither side leans on the bridge's bindings: the device writes
// options by TS-0008's numbers, and the direct client headers by TS-0009's names, each with a table of its own.
//
// What must differ between twins is normalised by rule (see normal_test.go), never left out. What else differs stands in a
// list with its reason; a difference that the list doesn't have, and one of the list that is gone, fail the test.
package compare
