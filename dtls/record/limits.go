package record

const (
	// maxPlaintext is the longest content of a record (RFC 5246, Section 6.2.1), and maxPayload what protection may make of it
	// (Section 6.2.3). No length in a header beyond it is believed.
	maxPlaintext = 1 << 14
	maxPayload   = maxPlaintext + 2048

	// maxCID is the longest Connection ID (RFC 9146, Section 3: opaque cid<0..2^8-1>).
	maxCID = 255

	// windowWidth is how many records back a late one is still taken (S23). RFC 6347, Section 4.1.2.6 asks for 32, prefers 64.
	windowWidth = 128
)

// Limits of one key (S24), in records.
const (
	maxSealsCCM = 1 << 23  // RFC 9147, Section 4.5.3
	maxSealsGCM = 23726566 // 2^24.5, RFC 9147, Section 4.5.3
	maxSeals    = MaxSeq   // ChaCha20-Poly1305 needs no limit before the sequence numbers end

	maxFailedOpensCCM  = 11863283 // 2^23.5, RFC 9147, Section 4.5.3
	maxFailedOpensCCM8 = 1 << 20  // ours: each try has a chance of 2^-64, all of them together one of 2^-44
	maxFailedOpens     = 1 << 28  // ours, where RFC 9147 allows 2^36
)
