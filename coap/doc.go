// Package coap runs CoAP exchanges over any datagram peer: RFC 7252 (messages, reliability, de-duplication), RFC 7641
// (Observe, both roles), RFC 7959 (block-wise transfers, both directions), RFC 7967 (No-Response), RFC 9175 (Echo, Request-Tag,
// tokens), and what concerns any endpoint of RFC 8132 (FETCH, PATCH), RFC 8768 (Hop-Limit) and RFC 9290 (problem details).
// An [Endpoint] is server and client at once: it hands the requests of its peers, whole, to a [Handler], and [Endpoint.Do]
// asks a peer and returns its whole response.
//
// # Peers and concurrency
//
// A [Peer] is data: no goroutine, no timer and, while it is idle, no memory beyond the struct itself. Whatever carries the
// datagrams calls [Endpoint.Receive]; everything that happens at a later time (empty acknowledgements, retransmission,
// expiry) happens on the one goroutine of [Endpoint.Serve]. Every method may be called from any goroutine. Locks are one
// mutex a peer and one of the scheduler; neither Conn.Send nor a Handler is ever called with one held.
//
// # What is bounded
//
// Everything that a peer can make grow has a bound per peer and, where it takes memory, one in sum: see [Limits]. A peer
// at its bound is refused new work (5.03 with Max-Age, or 4.13); what was promised to it or to another peer, above all the
// memory of which Message IDs were executed, is never forgotten to make room (S32). Only a peer's own request bodies that it
// has given up, and its own older response bodies, give way to its newer ones (RFC 9175, Section 3.3).
//
// # Choices that the standards leave open
//
//   - A response body larger than one block is kept for its requester, and each follow-up request (Block2 with NUM above 0) is
//     answered from it. When it is gone, a GET is executed again and the block that was asked for is cut from the new body,
//     whose ETag tells the client whether the bodies agree; any other method gets 4.08.
//   - A follow-up is recognised by method and cache-key options (S34), not by token.
//   - A cut response always carries an ETag; one is computed from the body when the Handler gave none (RFC 7959, Section 2.4).
//   - Deviation: RFC 7959, Section 4 calls Size1 an estimate. A body that ends at another length than Size1 announced is
//     refused with 4.08, so that a truncated body is never taken for a whole one.
//   - Each message of a transfer of ours carries a token of its own (RFC 9175, Section 4.2). Some peers key their transfers
//     by token: Profile.OneToken gives them one for each attempt at a transfer.
//   - NSTART bounds the requests of ours at a peer and, each for itself, the separate responses and notifications to it (RFC 7252,
//     Section 4.7, speaks of clients): no answer waits for a request of ours that its requester acknowledges only once it is answered.
//   - An acknowledgement of a notification that a newer state has overtaken begins the count of attempts anew, for the client is
//     there (RFC 7641, Section 4.5.2, is silent). An observation is cancelled by token alone, as Section 3.6 has it.
//   - The Observe option of a response is set for an entry in the list only; a Handler's own is removed.
//   - Elective options of illegal length and supernumerary elective ones are removed before the Handler sees the message.
//
// # What it does not do
//
// It knows nothing of DTLS, sockets or addresses, is no proxy, opens no connection, leaves Hop-Limit to the Handler but for
// the value 0, caches nothing for a second requester and serves no resource of its own. Which request must be fresh, and who may
// observe what, is the Handler's to say.
package coap
