package handshake

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
)

// Signature schemes (RFC 5246, Section 7.4.1.4.1): ECDSA with SHA-256 or SHA-384. In TLS 1.2 they don't tell the curve.
const (
	schemeP256 = 0x0403
	schemeP384 = 0x0503
)

// ourSchemes is the list that we offer and ask for, best first.
func ourSchemes() []byte {
	return []byte{schemeP256 >> 8, schemeP256 & 0xff, schemeP384 >> 8, schemeP384 & 0xff}
}

func schemeHash(scheme uint16) (crypto.Hash, bool) {
	switch scheme {
	case schemeP256:
		return crypto.SHA256, true
	case schemeP384:
		return crypto.SHA384, true
	}
	return 0, false
}

// fits reports whether a key is one of ours: P-256 or P-384 (S1).
func fits(key *ecdsa.PublicKey) bool {
	return key != nil && (key.Curve == elliptic.P256() || key.Curve == elliptic.P384())
}

// serverFlight writes what follows ServerHello.
func (j *Job) serverFlight() *Error {
	if err := j.makeEphemeral(j.group); err != nil {
		return err
	}
	var signer crypto.Signer
	var scheme uint16
	if !j.suite.PSK {
		var chain [][]byte
		var err *Error
		if chain, signer, scheme, err = j.own(); err != nil {
			return err
		}
		if len(chain) == 0 {
			return &Error{Reason: ReasonOwnCertificate, Alert: alertInternalError, Err: errNoChain}
		}
		j.certificate(chain)
	}
	start := j.script.begin(typeServerKeyExchange)
	if j.suite.PSK {
		j.script.text = append(j.script.text, 0, 0) // no hint
	}
	at := len(j.script.text)
	j.script.text = append(j.script.text, curveTypeNamed)
	j.script.text = binary.BigEndian.AppendUint16(j.script.text, j.group)
	j.script.text = appendPoint(j.script.text, j.ephemeral)
	if !j.suite.PSK {
		if err := j.sign(signer, scheme, j.signedParams(j.script.text[at:])); err != nil {
			return err
		}
	}
	j.script.end(start, itemClear)
	if !j.suite.PSK {
		start = j.script.begin(typeCertificateRequest)
		j.script.text = append(j.script.text, 1, certTypeECDSASign, 0, 4)
		j.script.text = append(j.script.text, ourSchemes()...)
		j.script.text = append(j.script.text, 0, 0) // whatever authority: names cost bytes
		j.script.end(start, itemClear)
	}
	j.script.end(j.script.begin(typeServerHelloDone), itemClear)
	return nil
}

var errNoChain = errors.New("there is no certificate")

// own returns our chain, its key and the scheme to sign with.
func (j *Job) own() (chain [][]byte, signer crypto.Signer, scheme uint16, err *Error) {
	chain, signer, failed := j.cb.Certificate(j.name)
	if failed != nil {
		return nil, nil, 0, &Error{Reason: ReasonOwnCertificate, Alert: alertInternalError, Err: failed}
	}
	if len(chain) == 0 {
		return nil, nil, 0, nil
	}
	size := 0
	for _, c := range chain {
		size += len(c) + 3
	}
	public, ok := publicKey(signer)
	if !ok || size > maxHandshakeBytes {
		return nil, nil, 0, failure(ReasonOwnCertificate, alertInternalError, "the chain is too long, or its key not ECDSA on P-256 or P-384")
	}
	first, second := uint16(schemeP256), uint16(schemeP384)
	if public.Curve == elliptic.P384() {
		first, second = second, first
	}
	for _, s := range [...]uint16{first, second} {
		if hasUint16(j.schemes, s) {
			return chain, signer, s, nil
		}
	}
	return nil, nil, 0, failure(ReasonNoCommonSuite, alertHandshakeFailure, "no common signature algorithm")
}

func publicKey(signer crypto.Signer) (*ecdsa.PublicKey, bool) {
	if signer == nil {
		return nil, false
	}
	public, ok := signer.Public().(*ecdsa.PublicKey)
	return public, ok && fits(public)
}

// certificate writes a Certificate message.
func (j *Job) certificate(chain [][]byte) {
	start := j.script.begin(typeCertificate)
	j.script.text = appendCertificate(j.script.text, chain)
	j.script.end(start, itemClear)
}

// signedParams is what the signature of a ServerKeyExchange covers (RFC 8422, Section 5.4).
func (j *Job) signedParams(params []byte) []byte {
	b := make([]byte, 0, 64+len(params))
	b = append(append(b, j.random[0][:]...), j.random[1][:]...)
	return append(b, params...)
}

// sign appends scheme and signature of text.
func (j *Job) sign(signer crypto.Signer, scheme uint16, text []byte) *Error {
	h, _ := schemeHash(scheme)
	var sum [48]byte
	signature, err := signer.Sign(rand.Reader, digest(sum[:0], h, text), h)
	if err != nil {
		return &Error{Reason: ReasonOwnCertificate, Alert: alertInternalError, Err: err}
	}
	b := binary.BigEndian.AppendUint16(j.script.text, scheme)
	b = binary.BigEndian.AppendUint16(b, uint16(len(signature)))
	j.script.text = append(b, signature...)
	return nil
}

// check verifies a signature of text. The digest is made here, of its full length (CVE-2026-5194).
func check(key *ecdsa.PublicKey, scheme uint16, text, signature []byte) *Error {
	h, ok := schemeHash(scheme)
	if !ok {
		return illegal("a signature algorithm that was not offered")
	}
	var sum [48]byte
	if !ecdsa.VerifyASN1(key, digest(sum[:0], h, text), signature) {
		return failure(ReasonSignature, alertDecryptError, "a signature is wrong")
	}
	return nil
}

// peerKey has the peer's chain judged.
func (j *Job) peerKey() (*ecdsa.PublicKey, *Error) {
	key, err := j.cb.Verify(j.chain, j.name)
	if err != nil {
		e := &Error{Reason: ReasonCertificate, Alert: alertBadCertificate, Err: err}
		var chosen *Error
		if errors.As(err, &chosen) && chosen.Alert != 0 {
			e.Alert = chosen.Alert
		}
		return nil, e
	}
	if !fits(key) {
		return nil, failure(ReasonCertificate, alertUnsupportedCertificate, "the key is not on P-256 or P-384")
	}
	return key, nil
}

// clientFlight judges the client's flight: its chain, whether it has the key (CVE-2022-29222), and makes the keys.
func (j *Job) clientFlight() *Error {
	scheme, signature, ok := parseCertificateVerify(j.verify)
	if !ok {
		return malformed("CertificateVerify")
	}
	key, err := j.peerKey()
	if err != nil {
		return err
	}
	if err := check(key, scheme, j.script.text[:j.signed], signature); err != nil {
		return err
	}
	if !j.ems {
		if j.noEMS = j.cb.NoEMS(nil, j.chain); !j.noEMS {
			return noEMS()
		}
	}
	secret, err := j.shared(j.point)
	if err != nil {
		return err
	}
	j.keys = derive(j.suite, secret, j.ems, j.script.text[:j.signed], &j.random[0], &j.random[1])
	clear(secret)
	return nil
}

// serverVerify judges the server's flight and writes ours.
func (j *Job) serverVerify() *Error {
	key, err := j.peerKey()
	if err != nil {
		return err
	}
	if err := check(key, j.kx.scheme, j.signedParams(j.kx.params), j.kx.signature); err != nil {
		return err
	}
	if !j.ems {
		if j.noEMS = j.cb.NoEMS(nil, j.chain); !j.noEMS {
			return noEMS()
		}
	}
	var signer crypto.Signer
	var scheme uint16
	if j.asked {
		var chain [][]byte
		if chain, signer, scheme, err = j.own(); err != nil {
			return err
		}
		j.certificate(chain)
	}
	if err := j.clientKey(); err != nil {
		return err
	}
	secret, err := j.shared(j.kx.point)
	if err != nil {
		return err
	}
	j.derive(secret)
	clear(secret)
	if signer == nil {
		return nil
	}
	start := j.script.begin(typeCertificateVerify)
	if err := j.sign(signer, scheme, j.script.text[:start]); err != nil {
		return err
	}
	j.script.end(start, itemClear)
	return nil
}
