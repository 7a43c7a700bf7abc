package handshake

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"time"

	"coapbridge/dtls/record"
)

// state is what a machine waits for. Each accepts what expects says, and nothing else (S15).
type state uint8

const (
	stateOver state = iota
	stateWork       // a Job is out: records are held

	stateClientCertificate // server
	stateClientKeyExchange
	stateCertificateVerify

	stateServerHello // client; HelloVerifyRequest too
	stateServerCertificate
	stateServerKeyExchange
	stateCertificateRequest
	stateServerHelloDone

	stateChangeCipherSpec // either
	stateFinished
)

// expects reports whether a message in the clear is legal in a state.
func (m *Machine) expects(typ uint8) bool {
	switch m.state {
	case stateClientCertificate, stateServerCertificate:
		return typ == typeCertificate
	case stateClientKeyExchange:
		return typ == typeClientKeyExchange
	case stateCertificateVerify:
		return typ == typeCertificateVerify
	case stateServerHello:
		return typ == typeServerHello
	case stateServerKeyExchange: // RFC 4279, Section 2: without a hint there is none, but with ECDHE
		return typ == typeServerKeyExchange || typ == typeServerHelloDone && !m.suite.ECDHE
	case stateCertificateRequest:
		return typ == typeCertificateRequest || typ == typeServerHelloDone
	case stateServerHelloDone:
		return typ == typeServerHelloDone
	}
	return false
}

// known reports whether a message in the clear is one that the peer's role ever sends to us. Others are not kept:
// HelloRequest is obeyed in no epoch (S4), Finished comes in the clear from forgers alone.
func (m *Machine) known(typ uint8) bool {
	if m.client {
		switch typ {
		case typeServerHello, typeCertificate, typeServerKeyExchange, typeCertificateRequest, typeServerHelloDone:
			return true
		}
		return false
	}
	return typ == typeCertificate || typ == typeClientKeyExchange || typ == typeCertificateVerify
}

// Machine is one handshake. Make one with [NewServer] or [NewClient]; then: what [Machine.Output] returns is sent, what
// [Machine.Job] returns is run and given to [Machine.Resume], and [Machine.Tick] is called when [Machine.Deadline] has passed, after each
// call that takes a time. When [Machine.Done] says that it is over, [Machine.Release] it.
type Machine struct {
	conf   *Config
	cb     Callbacks
	timers Timers
	client bool
	state  state
	suite  Suite

	random       [2][32]byte // client's, server's
	serverName   string
	psk          bool   // client: it offers PSK
	cookie       []byte // client: of the last HelloVerifyRequest
	hellos       int    // client: that were sent
	localCID     []byte
	remoteCID    []byte
	ems, noEMS   bool // negotiated; NoEMS said yes
	asked        bool
	identity     []byte
	theirs       item   // the body of the peer's Certificate message
	group        uint16 // server: of its ephemeral key
	ephemeral    *ecdh.PrivateKey
	schemes      []byte // signature schemes of the peer's ClientHello or CertificateRequest
	point        []byte // server: the client's ephemeral key; views of the transcript, as what follows
	peerExchange []byte // body of ServerKeyExchange, or of CertificateVerify
	kx           keyExchange

	script     script
	flightRoom [5]item // of script.flight: no flight has more, but a client's with certificates
	helloEnd   int     // server: of the ClientHello in the transcript
	clientKey  item    // server: the ClientKeyExchange in the transcript
	recordSeq  uint64  // of the record in the clear that is read
	keySeq     uint64  // server: of the one that brought ClientKeyExchange
	recvSeq    int     // message_seq of the peer's next message
	clearSeq   uint64  // of our next record in epoch 0
	nextSeq    uint64  // in epoch 1
	timeout    time.Duration
	sent       time.Time // when our last flight went out
	deadline   time.Time

	fragments fragments
	early     uint64 // server: the greatest number of a ChangeCipherSpec that came before its time
	held      []record.Record
	heldClear int

	keys           secrets
	read, write    record.Key
	reader, writer *record.Cipher // writer: once our ChangeCipherSpec went out
	window         record.Window
	failedSeq      uint64 // of the last record in stateFinished that didn't open
	failed         bool   // there was one
	repeated       bool   // and then the peer repeated its flight (S5)
	doomed         bool   // and then another one didn't open

	job    *Job
	handed bool // the job was handed out
	out    [][]byte
	result *Result
	err    *Error
}

// Format implements fmt.Formatter: no verb prints keys (S46).
func (*Machine) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "handshake") }

func newMachine(c *Config, cb Callbacks, t Timers, client bool) *Machine {
	if t.First <= 0 {
		t.First = defaultFirst
	}
	if t.Max <= 0 {
		t.Max = defaultMax
	}
	return &Machine{conf: c, cb: cb, timers: t, timeout: t.First, client: client, fragments: fragments{memory: c.Memory}}
}

func (c *Config) random() (r [32]byte) {
	if c.Random != nil {
		return c.Random()
	}
	_, _ = rand.Read(r[:]) // never fails (crypto/rand)
	return r
}

// resend answers a repeat.
func (m *Machine) resend(now time.Time) {
	if now.Sub(m.sent) >= minRepeat {
		m.send(now)
	}
}

func equal(a, b []byte) bool { return string(a) == string(b) }

// Tick sends our last flight again when Deadline has passed, and doubles the time to the next, or ends the handshake of a peer
// that has other keys.
func (m *Machine) Tick(now time.Time) {
	if d := m.Deadline(); d.IsZero() || now.Before(d) {
		return
	}
	if m.doomed {
		m.wrongKeys()
		return
	}
	m.timeout = min(2*m.timeout, max(m.timers.Max, m.timers.First))
	m.send(now)
}

// Deadline is when Tick is to be called; zero: never.
func (m *Machine) Deadline() time.Time {
	if m.state == stateOver || m.state == stateWork {
		return time.Time{} // the peer waits for us, its last flight came
	}
	return m.deadline
}

// Output returns the datagrams to be sent now, in their order, and forgets them. They are the caller's.
func (m *Machine) Output() [][]byte {
	out := m.out
	m.out = nil
	return out
}

// Job returns what the machine waits for, once; nil: nothing new. It isn't to be run if it is not given to Resume.
func (m *Machine) Job() *Job {
	if m.job == nil || m.handed {
		return nil
	}
	m.handed = true
	return m.job
}

// begin begins a job.
func (m *Machine) begin(j *Job) {
	m.state, m.job, m.handed = stateWork, j, false
}

// Resume goes on after a job was run. A job that isn't the current one changes nothing.
func (m *Machine) Resume(j *Job, now time.Time) {
	if j == nil || j != m.job {
		return
	}
	m.job = nil
	m.deadline = now.Add(m.timeout)
	switch {
	case j.err != nil:
		m.fail(j.err)
		return
	case m.client:
		m.resumeClient(j, now)
	default:
		m.resumeServer(j, now)
	}
	if m.state == stateChangeCipherSpec && m.early > m.recordSeq { // it was sent after the message that was read last
		m.state = stateFinished
	}
	j.keys, j.psk = secrets{}, nil
	m.advance(now)
	m.replay(now)
}

// Done returns nil, nil while the handshake is under way, and then its result or an *Error.
func (m *Machine) Done() (*Result, error) {
	if m.err != nil {
		return nil, m.err
	}
	return m.result, nil
}

// Abort ends the handshake with a fatal alert (RFC 5246, Section 7.2), which Output returns.
func (m *Machine) Abort(alert uint8) {
	if m.state != stateOver {
		m.fail(&Error{Reason: ReasonAborted, Alert: alert})
	}
}

// Release gives memory back and wipes keys, but for those of a Result. The machine answers nothing any more. It may be called
// twice.
func (m *Machine) Release() {
	if m.state != stateOver {
		m.end(&Error{Reason: ReasonAborted})
	}
	m.out = nil
}

// PeerRandom is the random of the peer's hello, zero while it isn't known.
func (m *Machine) PeerRandom() [32]byte {
	if m.client {
		return m.random[1]
	}
	return m.random[0]
}

// ClientRandom is the random of the ClientHello: the same in a repeated one.
func (m *Machine) ClientRandom() [32]byte { return m.random[0] }

// fail ends the handshake with an alert.
func (m *Machine) fail(e *Error) {
	m.alert(e.Alert)
	m.end(e)
}

// end ends the handshake without a result.
func (m *Machine) end(e *Error) {
	m.err = e
	m.clear()
}

// clear forgets all that a handshake needs only while it is under way.
func (m *Machine) clear() {
	m.state = stateOver
	m.fragments.drop()
	m.held = nil
	m.keys, m.read, m.write = secrets{}, record.Key{}, record.Key{}
	m.reader, m.writer, m.ephemeral = nil, nil, nil
	m.script, m.peerExchange, m.kx = script{}, nil, keyExchange{}
	m.point, m.schemes = nil, nil
	m.job = nil
	m.deadline = time.Time{}
}

// chain returns the peer's chain as it stands in the transcript, and nil when there is none.
func (m *Machine) chain() [][]byte {
	if m.theirs.end == 0 {
		return nil
	}
	chain, _ := parseCertificate(m.script.text[m.theirs.start:m.theirs.end]) // it was read before
	return chain
}

// succeed ends the handshake with its result.
func (m *Machine) succeed() {
	m.result = &Result{
		Suite: m.suite, Read: m.read, Write: m.write, Open: m.reader, Seal: m.writer, NextSeq: m.nextSeq, Window: m.window, ClearSeq: m.clearSeq,
		Identity: string(m.identity), Chain: m.chain(), ServerName: m.serverName, EMS: m.ems, Asked: m.asked,
	}
	if len(m.localCID) > 0 {
		m.result.LocalCID = m.localCID
	}
	if len(m.remoteCID) > 0 {
		m.result.RemoteCID = m.remoteCID
	}
	if !m.client {
		last := m.script.flight[len(m.script.flight)-1]
		m.result.LastFinished = append([]byte(nil), m.script.text[last.start:last.end]...)
	}
	m.clear()
}

// verified reports whether a Finished of the peer holds what the transcript demands.
func (m *Machine) verified(body []byte) bool {
	want := m.keys.master.verifyData(m.suite.Hash, !m.client, m.script.text)
	return subtle.ConstantTimeCompare(want[:], body) == 1
}
