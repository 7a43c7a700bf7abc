package dtls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"sync"
	"time"
)

// knownChain is a certificate chain that was accepted, with everything that a handshake and a session want to know of it.
type knownChain struct {
	parsed     PeerChain
	id         PeerID
	kept       *PeerCertificate
	key        *ecdsa.PublicKey
	until      time.Time // the shortest validity in it
	generation uint64
}

// chainKey is the fingerprint of a chain, with everything else that its judgement depends on.
type chainKey struct {
	sum        [sha256.Size]byte
	role       Role
	serverName string
}

// chains remembers the chains that were accepted, so that a device that comes again is not verified again. A change of trust
// or of the devices (CloseWhere) forgets all of them.
type chains struct {
	mu    sync.Mutex // guards the following field
	known map[chainKey]*knownChain
}

// judge accepts or refuses the chain that a peer presented.
func (s *chains) judge(n *negotiation, raw [][]byte, serverName string, generation uint64) (*knownChain, error) {
	role, expected := n.role, PeerID{}
	if n.role == RoleServer {
		serverName, expected = n.dial.key.serverName, n.dial.key.id
	}
	if size := chainSize(raw); len(raw) == 0 || len(raw) > maxChain || size > maxChainBytes {
		return nil, &CertificateError{OutcomeCertificateUntrusted, errors.New("the chain is empty or too long")}
	}
	key := chainKey{sum: fingerprint(raw), role: role, serverName: serverName}
	if known := s.find(key, generation); known != nil && (expected.ID == "" || known.id == expected) {
		return known, nil
	}
	known, err := parseChain(raw, role, serverName)
	if err != nil {
		return nil, err
	}
	if expected.ID != "" {
		if known.id != expected {
			return nil, &CertificateError{OutcomeCertificateRefused, errors.New("not the certificate that was dialled")}
		}
		known.parsed.Expected = expected
	}
	if known.kept.Anchor, err = n.ep.conf.Verify(known.parsed); err != nil {
		return nil, err
	}
	known.generation = generation
	if expected.ID == "" {
		s.keep(key, known)
	}
	return known, nil
}

func chainSize(raw [][]byte) (n int) {
	for _, der := range raw {
		n += len(der)
	}
	return n
}

// fingerprint is a SHA-256 over the certificates and their lengths.
func fingerprint(raw [][]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, der := range raw {
		one := sha256.Sum256(der)
		h.Write(one[:])
	}
	h.Sum(sum[:0])
	return sum
}

// parseChain reads what the peer presented.
func parseChain(raw [][]byte, role Role, serverName string) (*knownChain, error) {
	known := &knownChain{parsed: PeerChain{Role: role, ServerName: serverName}}
	for i, der := range raw {
		cert, err := x509.ParseCertificate(bytes.Clone(der)) // it keeps what it parses
		if err != nil {
			return nil, &CertificateError{OutcomeCertificateUntrusted, err}
		}
		if i == 0 {
			known.parsed.Leaf, known.until = cert, cert.NotAfter
			continue
		}
		known.parsed.Intermediates = append(known.parsed.Intermediates, cert)
		if cert.NotAfter.Before(known.until) {
			known.until = cert.NotAfter
		}
	}
	leaf := known.parsed.Leaf
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsaKey(key) {
		return nil, &CertificateError{OutcomeCertificateUntrusted, errors.New("the key is not ECDSA on P-256 or P-384")}
	}
	known.key, known.id = key, PeerIDOf(leaf)
	known.kept = &PeerCertificate{Names: NamesOf(leaf), NotAfter: leaf.NotAfter}
	return known, nil
}

// find returns a chain that was accepted in this generation and is still valid.
func (s *chains) find(key chainKey, generation uint64) *knownChain {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[key]
	if known == nil || known.generation != generation || !time.Now().Before(known.until) {
		return nil
	}
	return known
}

// keep remembers a chain, in place of some other when there are many.
func (s *chains) keep(key chainKey, known *knownChain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[chainKey]*knownChain{}
	}
	for other := range s.known {
		if len(s.known) < maxCachedChains {
			break
		}
		delete(s.known, other)
	}
	if anchor := known.kept.Anchor; anchor != nil && anchor.NotAfter.Before(known.until) {
		known.until = anchor.NotAfter
	}
	s.known[key] = known
}
