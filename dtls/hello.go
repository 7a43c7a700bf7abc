package dtls

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"

	"github.com/pion/dtls/v3/pkg/protocol/extension"
	messages12 "github.com/pion/dtls/v3/pkg/protocol/handshake"
)

// clientHello is what the endpoint reads of a ClientHello before pion does. Nothing in it is authenticated.
type clientHello struct {
	random     [messages12.RandomLength]byte
	cookie     bool // it carries one
	suites     []uint16
	ems        bool // extended master secret (RFC 7627, Section 5.1)
	serverName string
}

// parseClientHello reads the body of a ClientHello (RFC 6347, Section 4.3.2).
func parseClientHello(body []byte) (clientHello, bool) {
	var m messages12.MessageClientHello
	if err := m.Unmarshal(body); err != nil {
		return clientHello{}, false
	}
	h := clientHello{random: m.Random.MarshalFixed(), cookie: len(m.Cookie) > 0, suites: m.CipherSuiteIDs}
	for _, e := range m.Extensions {
		switch e := e.(type) {
		case *extension.UseExtendedMasterSecret:
			h.ems = true
		case *extension.ServerName:
			h.serverName = e.ServerName
		}
	}
	return h, true
}

const (
	ownRandom     = 20 // bytes of a hello's random that are random; the rest marks it as ours (S7)
	randomTimeLen = 4  // gmt_unix_time before the 28 random bytes (RFC 5246, Section 7.4.1.2)
)

// newRandom makes the random of a ClientHello of ours: 20 random bytes, and 8 of an HMAC over them. Nobody else can tell
// it from 28 random bytes, and a hello that somebody mirrors to us is known without any memory (RFC 9257, S7).
func (ep *Endpoint) newRandom() [messages12.RandomBytesLength]byte {
	var r [messages12.RandomBytesLength]byte
	_, _ = rand.Read(r[:ownRandom]) // never fails (crypto/rand)
	copy(r[ownRandom:], ep.mac("random", r[:ownRandom]))
	return r
}

// mirrored reports whether a ClientHello carries a random that newRandom made.
func (ep *Endpoint) mirrored(random [messages12.RandomLength]byte) bool {
	r := random[randomTimeLen:]
	return hmac.Equal(r[ownRandom:], ep.mac("random", r[:ownRandom])[:len(r)-ownRandom])
}

// mac is HMAC-SHA256 under the endpoint's secret, which is made at its start and leaves the process in no form.
func (ep *Endpoint) mac(purpose string, b []byte) []byte {
	h := hmac.New(sha256.New, ep.secret[:])
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)
}
