package handshake

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"io"
)

// Job is work that a handshake waits for: a look-up, or public-key operations. It has copies of what it needs, so that the
// machine may go on receiving while it runs.
type Job struct {
	Blocking bool // a look-up of a key, which may wait; else it computes, for some 300 µs at most and what Verify takes

	kind    jobKind
	client  bool
	cb      Callbacks
	suite   Suite
	random  [2][32]byte
	name    string // SNI
	ems     bool
	asked   bool
	schemes []byte // signature schemes of the peer
	group   uint16 // to make an ephemeral key on
	point   []byte // the peer's ephemeral key
	kx      keyExchange
	verify  []byte // body of CertificateVerify
	signed  int    // how much of the transcript it covers
	chain   [][]byte

	identity  []byte
	psk       []byte
	ephemeral *ecdh.PrivateKey
	script    script // the transcript so far; what is written is appended to a copy

	noEMS bool
	keys  secrets
	err   *Error
}

// Format implements fmt.Formatter: no verb prints keys (S46).
func (*Job) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "job") }

type jobKind uint8

const (
	jobServerFlight jobKind = iota // server: ephemeral key, and with certificates chain and signature
	jobLookUp                      // either: PSK; without ECDHE the keys too
	jobExchange                    // either: ECDHE_PSK's key exchange
	jobClientFlight                // server: the client's certificate and signature, and the keys
	jobServerVerify                // client: the server's certificate and signature, our flight, and the keys
)

func (m *Machine) newJob(kind jobKind) *Job {
	return &Job{
		Blocking: kind == jobLookUp,
		kind:     kind, client: m.client, cb: m.cb, suite: m.suite, random: m.random, name: m.serverName, ems: m.ems, asked: m.asked,
		schemes: m.schemes, group: m.group, point: m.point, kx: m.kx, verify: m.peerExchange, chain: m.chain(), identity: m.identity,
		signed: m.clientKey.end, ephemeral: m.ephemeral, script: m.script.fork(),
	}
}

// Run does the work. It may run on any goroutine, once, before [Machine.Resume]. Blocking jobs wait for their look-up until ctx
// ends, if that heeds it.
func (j *Job) Run(ctx context.Context) {
	switch j.kind {
	case jobServerFlight:
		j.err = j.serverFlight()
	case jobLookUp:
		j.lookUp(ctx)
	case jobExchange:
		j.err = j.exchangePSK()
	case jobClientFlight:
		j.err = j.clientFlight()
	case jobServerVerify:
		j.err = j.serverVerify()
	}
}

// lookUp asks for the key. One that can't be used fails as a wrong one does (S5).
func (j *Job) lookUp(ctx context.Context) {
	j.psk = j.cb.PSK(ctx, j.identity, j.name)
	if len(j.psk) == 0 || len(j.psk) > maxKey {
		j.psk = make([]byte, 32)
		_, _ = rand.Read(j.psk) // never fails (crypto/rand)
	}
	if !j.ems {
		j.noEMS = j.cb.NoEMS(j.identity, nil)
	}
	if j.client && !j.ems && !j.noEMS {
		j.err = noEMS()
		return
	}
	if !j.suite.ECDHE {
		j.derivePSK(nil)
	}
}

func noEMS() *Error {
	return failure(ReasonNoExtendedMasterSecret, alertHandshakeFailure, "no extended master secret")
}

// derivePSK makes the keys; shared is the secret of ECDHE, nil without.
func (j *Job) derivePSK(shared []byte) {
	var room [2 + maxShared + 2 + maxKey]byte
	premaster := pskPremaster(room[:0], shared, j.psk)
	j.derive(premaster)
	clear(room[:])
	j.psk = nil
}

func (j *Job) derive(premaster []byte) {
	j.keys = derive(j.suite, premaster, j.ems, j.script.text, &j.random[0], &j.random[1])
}

// makeEphemeral makes our ephemeral key.
func (j *Job) makeEphemeral(group uint16) *Error {
	c, ok := curve(group)
	if !ok {
		return illegal("a group that was not offered")
	}
	var err error
	if j.ephemeral, err = c.GenerateKey(rand.Reader); err != nil {
		return &Error{Reason: ReasonProtocol, Alert: alertInternalError, Err: err}
	}
	return nil
}

// shared does the key exchange. A point that is not on the curve, or of small order, is refused there.
func (j *Job) shared(point []byte) ([]byte, *Error) {
	public, err := j.ephemeral.Curve().NewPublicKey(point)
	if err != nil {
		return nil, illegal("an ephemeral key is invalid")
	}
	secret, err := j.ephemeral.ECDH(public)
	if err != nil {
		return nil, illegal("an ephemeral key is invalid")
	}
	return secret, nil
}

// exchangePSK is the key exchange of ECDHE_PSK (RFC 5489).
func (j *Job) exchangePSK() *Error {
	point := j.point
	if j.client {
		if err := j.clientKey(); err != nil {
			return err
		}
		point = j.kx.point
	}
	secret, err := j.shared(point)
	if err != nil {
		return err
	}
	j.derivePSK(secret)
	clear(secret)
	return nil
}

// clientKey makes our ephemeral key on the server's group, and writes ClientKeyExchange.
func (j *Job) clientKey() *Error {
	if err := j.makeEphemeral(j.kx.group); err != nil {
		return err
	}
	start := j.script.begin(typeClientKeyExchange)
	if j.suite.PSK {
		j.script.text = appendIdentity(j.script.text, j.identity)
	}
	j.script.text = appendPoint(j.script.text, j.ephemeral)
	j.script.end(start, itemClear)
	return nil
}

func appendPoint(b []byte, key *ecdh.PrivateKey) []byte {
	point := key.PublicKey().Bytes()
	return append(append(b, byte(len(point))), point...)
}
