// Package acme starts a real oneM2M CSE for tests: ACME (the Python package acmecse), which speaks TS-0009 over HTTP, with
// HAProxy before it, which demands a client certificate and speaks TLS 1.2 or 1.3. ACME itself can't verify a client
// certificate. HAProxy passes bytes on (mode tcp), so that ACME sees a request exactly as it was sent.
//
// ACME has no client certificate either: an Outward is the way from it to a bridge that asks for one.
//
// An Instance has its own processes, ports and memory; several may run at once. Both processes end with the test, or with
// the test's process when that is killed.
//
// It is test support only: no production code imports it. It does not install anything; "make interop" does.
package acme
