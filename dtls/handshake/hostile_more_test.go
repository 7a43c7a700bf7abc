package handshake

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// piece is a record with one fragment of a message.
func piece(message []byte, offset, n int) record.Record {
	total := len(message) - headerLen
	b := appendFragmentHeader(nil, message[0], binary.BigEndian.Uint16(message[4:]), total, offset, n)
	return record.Record{Type: record.TypeHandshake, Payload: append(b, message[headerLen+offset:headerLen+offset+n]...)}
}

// whole returns the messages of a flight in the clear, put together.
func whole(all []record.Record) (messages [][]byte) {
	for _, r := range all {
		if r.Type != record.TypeHandshake || r.Epoch != 0 {
			continue
		}
		f, _, _ := parseFragment(r.Payload)
		if f.offset == 0 {
			messages = append(messages, appendHeader(nil, f.typ, f.seq, f.total))
		}
		last := len(messages) - 1
		messages[last] = append(messages[last], f.body...)
	}
	return messages
}

// certificateScene stands where the server waits for the client's Certificate; flight is the client's, in messages.
func certificateScene(t testing.TB) (s *scene, memory *Budget, messages [][]byte, rest []record.Record) {
	t.Helper()
	s = newScene(t, suite(t, certSuite))
	memory = NewBudget(1 << 20)
	s.server.conf.Memory = memory
	flight := s.flight()
	messages = whole(flight)
	require.Len(t, messages, 3)
	return s, memory, messages, flight[len(flight)-2:]
}

func TestH12UnequalOverlap(t *testing.T) {
	t.Parallel()
	s, memory, messages, rest := certificateScene(t)
	cert := messages[0]
	n := len(cert) - headerLen
	s.toServer(piece(cert, 0, 100))
	forged := bytes.Clone(cert)
	for i := range forged[headerLen:] {
		forged[headerLen+i] ^= 0xff
	}
	s.toServer(piece(forged, 50, 100), piece(forged, 99, 1), piece(forged, 0, n)) // unequal: dropped
	other := appendHeader(nil, typeCertificate, 2, n+1)
	other = append(other, make([]byte, n+1)...)
	s.toServer(piece(other, 200, 50)) // another total: dropped
	other[0] = typeCertificateVerify
	s.toServer(piece(other[:headerLen+n], 200, 50)) // another type: dropped
	require.Equal(t, stateClientCertificate, s.server.m.state)
	require.Equal(t, len(cert), memory.Taken())
	s.toServer(piece(cert, 50, n-50)) // overlaps equally
	require.Equal(t, stateClientKeyExchange, s.server.m.state)
	require.Zero(t, memory.Taken())
	s.toServer(piece(messages[1], 0, len(messages[1])-headerLen), piece(messages[2], 0, len(messages[2])-headerLen))
	s.requireAlive(rest...)
}

func TestH12OneByteEach(t *testing.T) {
	t.Parallel()
	s, memory, messages, _ := certificateScene(t)
	for i := range maxFragments {
		s.toServer(piece(messages[0], 2*i, 1), piece(messages[0], 2*i, 1)) // doubled ones don't count
		requireUndone(t, s.server.m)
	}
	require.LessOrEqual(t, memory.Taken(), maxHandshakeBytes)
	s.toServer(piece(messages[0], 500, 1))
	requireFailed(t, s.server.m, ReasonBudget, alertHandshakeFailure)
	require.Zero(t, memory.Taken())
}

func TestH12NeverComplete(t *testing.T) {
	t.Parallel()
	s, memory, messages, _ := certificateScene(t)
	for i := range 100_000 {
		n := uint16(2 + i%8)
		f := piece(messages[0], 0, 10)
		binary.BigEndian.PutUint16(f.Payload[4:], n)
		s.server.m.Receive(f, s.now)
		zero := piece(messages[0], 20, 0)
		s.server.m.Receive(zero, s.now)
	}
	require.LessOrEqual(t, memory.Taken(), maxHandshakeBytes)
	s.server.m.Release()
	s.server.m.Release()
	require.Zero(t, memory.Taken())
}

func TestH12MegabytesAnnounced(t *testing.T) {
	t.Parallel()
	for _, total := range []int{1<<24 - 1, maxHandshakeBytes} {
		s, memory, _, _ := certificateScene(t)
		b := appendFragmentHeader(nil, typeCertificate, uint16(s.server.m.recvSeq+1), total, 0, 1)
		s.toServer(record.Record{Type: record.TypeHandshake, Payload: append(b, 0)}) // ahead: dropped
		requireUndone(t, s.server.m)
		require.Zero(t, memory.Taken())
		b = appendFragmentHeader(nil, typeCertificate, uint16(s.server.m.recvSeq), total, 0, 1)
		s.toServer(record.Record{Type: record.TypeHandshake, Payload: append(b, 0)})
		requireFailed(t, s.server.m, ReasonBudget, alertHandshakeFailure)
		require.Zero(t, memory.Taken())
	}
}

// TestH12CommonBudget: when all is taken, fragments are dropped, and a handshake in whole messages goes on.
func TestH12CommonBudget(t *testing.T) {
	t.Parallel()
	s, memory, messages, rest := certificateScene(t)
	require.True(t, memory.Take(1<<20))
	s.toServer(piece(messages[0], 0, 100))
	requireUndone(t, s.server.m)
	for _, m := range messages {
		s.toServer(piece(m, 0, len(m)-headerLen))
	}
	s.requireAlive(rest...)
	require.Equal(t, 1<<20, memory.Taken())
}

// TestH12ImpossibleType: a forged fragment of a message that can't come keeps no place of one that can, neither now nor ahead.
func TestH12ImpossibleType(t *testing.T) {
	t.Parallel()
	s, memory, messages, rest := certificateScene(t)
	forge := func(typ uint8, ahead int) {
		b := appendFragmentHeader(nil, typ, uint16(s.server.m.recvSeq+ahead), 100, 0, 1)
		s.toServer(record.Record{Type: record.TypeHandshake, Payload: append(b, 0)})
		requireUndone(t, s.server.m)
	}
	forge(typeClientKeyExchange, 0)
	require.Zero(t, memory.Taken())
	forge(typeCertificateVerify, 1)
	forge(typeCertificate, 2)
	for i, m := range messages {
		half := (len(m) - headerLen) / 2
		s.toServer(piece(m, 0, half))
		requireUndone(t, s.server.m)
		s.toServer(piece(m, half, len(m)-headerLen-half))
		require.Equal(t, []state{stateClientKeyExchange, stateCertificateVerify, stateChangeCipherSpec}[i], s.server.m.state)
		if i == 1 {
			require.Zero(t, memory.Taken())
		}
	}
	s.requireAlive(rest...)
	require.Zero(t, memory.Taken())
}

// TestH13Truncations cuts every message of both flights everywhere: no panic, and no handshake.
func TestH13Truncations(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, 0xd003, certSuite} {
		t.Run(suite(t, id).Name, func(t *testing.T) {
			t.Parallel()
			mine, theirs := newSides(t, elliptic.P256())
			begin := func() (*scene, [][]byte) {
				s := newSceneOf(t, suite(t, id), mine, theirs)
				return s, whole(s.begin())
			}
			flight := func() (*scene, [][]byte) {
				s := newSceneOf(t, suite(t, id), mine, theirs)
				return s, whole(s.flight())
			}
			truncate(t, begin, func(s *scene) *Machine { return s.client })
			truncate(t, flight, func(s *scene) *Machine { return s.server.m })
		})
	}
}

func truncate(t *testing.T, again func() (*scene, [][]byte), victim func(*scene) *Machine) {
	t.Helper()
	_, messages := again()
	for i, message := range messages {
		step := 1 + len(message)/20
		for n := headerLen; n < len(message); n += step {
			s, fresh := again()
			for _, m := range fresh[:i] {
				s.deliver(victim(s), []record.Record{piece(m, 0, len(m)-headerLen)})
			}
			short := bytes.Clone(fresh[i][:max(headerLen, min(n, len(fresh[i])-1))])
			closeMessage(short, 0)
			s.deliver(victim(s), []record.Record{{Type: record.TypeHandshake, Payload: short}})
			for _, m := range fresh[i+1:] {
				s.deliver(victim(s), []record.Record{piece(m, 0, len(m)-headerLen)})
			}
			res, _ := victim(s).Done()
			require.Nil(t, res)
		}
	}
}

func TestH13Vectors(t *testing.T) {
	t.Parallel()
	all := Suites()
	for _, s := range all {
		for n := range 6 {
			for _, fill := range []byte{0, 1, 0xff} {
				b := bytes.Repeat([]byte{fill}, n)
				parseCertificate(b)
				parseKeyExchange(b, s)
				parseClientKey(b, s)
				parseCertificateVerify(b)
				parseCertificateRequest(b)
			}
		}
	}
	_, ok := parseCertificate([]byte{0, 0, 3, 0, 0, 0})
	require.False(t, ok, "an empty certificate")
	_, ok = parseCertificateRequest([]byte{1, 64, 0, 3, 4, 3, 5, 0, 0})
	require.False(t, ok, "an odd list")
	_, _, ok = parseCertificateVerify([]byte{4, 3, 0, 0})
	require.False(t, ok, "an empty signature")
}

// TestH15Verify: the chain is handed over as it was sent, and Verify decides.
func TestH15Verify(t *testing.T) {
	t.Parallel()
	unhappy := errors.New("its EKU is that of the other role")
	for name, tc := range map[string]struct {
		err   error
		alert uint8
	}{
		"any error":       {unhappy, alertBadCertificate},
		"an alert chosen": {&Error{Alert: 45, Err: unhappy}, 45},
	} {
		t.Run(name, func(t *testing.T) {
			mine, theirs := newSides(t, elliptic.P256())
			s := newSceneOf(t, suite(t, certSuite), mine, theirs)
			s.server.cb = &refuser{theirs, tc.err}
			s.toServer(s.flight()...)
			require.Equal(t, mine.chain, theirs.verified)
			_, err := s.server.m.Done()
			require.ErrorIs(t, err, unhappy)
			requireFailed(t, s.server.m, ReasonCertificate, tc.alert)

			mine, theirs = newSides(t, elliptic.P256())
			s = newSceneOf(t, suite(t, certSuite), mine, theirs)
			s.client.cb = &refuser{mine, tc.err}
			s.toClient(s.begin()...)
			require.Equal(t, theirs.chain, mine.verified)
			requireFailed(t, s.client, ReasonCertificate, tc.alert)
		})
	}
}

// refuser trusts nobody.
type refuser struct {
	*side
	err error
}

func (r *refuser) Verify(chain [][]byte, name string) (key *ecdsa.PublicKey, err error) {
	_, _ = r.side.Verify(chain, name)
	return nil, r.err
}

func TestH15NoCertificate(t *testing.T) {
	t.Parallel()
	mine, theirs := newSides(t, elliptic.P256())
	mine.chain = nil
	s := newSceneOf(t, suite(t, certSuite), mine, theirs)
	s.toServer(s.flight()...)
	requireFailed(t, s.server.m, ReasonNoCertificate, alertHandshakeFailure)
}

func TestH15OwnCertificate(t *testing.T) {
	t.Parallel()
	mine, theirs := newSides(t, elliptic.P256())
	theirs.certErr = errors.New("no certificate for that name")
	s := newSceneOf(t, suite(t, certSuite), mine, theirs)
	s.begin()
	_, err := s.server.m.Done()
	require.ErrorIs(t, err, theirs.certErr)
	mine, theirs = newSides(t, elliptic.P224())
	s = newSceneOf(t, suite(t, certSuite), mine, theirs)
	s.begin()
	_, err = s.server.m.Done()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, ReasonOwnCertificate, e.Reason)
}

func TestH17AlgorithmNotOffered(t *testing.T) {
	t.Parallel()
	for _, scheme := range []uint16{0x0203, 0x0603, 0x0804, 0x0401, 0} {
		s, _, messages, _ := certificateScene(t)
		binary.BigEndian.PutUint16(messages[2][headerLen:], scheme)
		for _, m := range messages {
			s.toServer(piece(m, 0, len(m)-headerLen))
		}
		requireFailed(t, s.server.m, ReasonProtocol, alertIllegalParameter)

		s = newScene(t, suite(t, certSuite))
		flight := whole(s.begin())
		for _, m := range flight {
			if m[0] == typeServerKeyExchange {
				binary.BigEndian.PutUint16(m[headerLen+4+65:], scheme)
			}
			s.toClient(piece(m, 0, len(m)-headerLen))
		}
		requireFailed(t, s.client, ReasonProtocol, alertIllegalParameter)
	}
}

func TestH17LongChains(t *testing.T) {
	t.Parallel()
	mine, theirs := newSides(t, elliptic.P256())
	for range maxChain {
		mine.chain = append(mine.chain, mine.chain[1])
	}
	s := newSceneOf(t, suite(t, certSuite), mine, theirs)
	s.toServer(s.flight()...)
	requireFailed(t, s.server.m, ReasonProtocol, alertDecodeError)
	require.Nil(t, theirs.verified)

	mine, theirs = newSides(t, elliptic.P256())
	mine.chain = [][]byte{mine.chain[0], make([]byte, 15<<10)}
	s = newSceneOf(t, suite(t, certSuite), mine, theirs)
	memory := NewBudget(1 << 20)
	s.server.conf.Memory = memory
	s.toServer(s.flight()...)
	require.LessOrEqual(t, memory.Taken(), maxHandshakeBytes)
	_, err := s.server.m.Done()
	require.Error(t, err)
	require.Zero(t, memory.Taken())
}

func TestH18Renegotiation(t *testing.T) {
	t.Parallel()
	request := record.Record{Type: record.TypeHandshake, Payload: appendHeader(nil, typeHelloRequest, 0, 0)}
	s := newScene(t, suite(t, pskSuite))
	memory := NewBudget(1 << 20)
	s.client.fragments.memory, s.server.conf.Memory = memory, memory
	for _, r := range s.begin() {
		for seq := range uint16(6) {
			request.Payload = appendHeader(nil, typeHelloRequest, seq, 0)
			s.toClient(request)
		}
		s.toClient(r)
	}
	require.Zero(t, memory.Taken())
	flight := cut(s.client.Output(), 0)
	hello := record.Record{Type: record.TypeHandshake, Payload: bytes.Clone(s.client.script.text[:s.server.m.helloEnd])}
	for range 100 {
		for seq := range uint16(8) {
			binary.BigEndian.PutUint16(hello.Payload[4:], seq)
			s.toServer(hello)
		}
	}
	require.Nil(t, s.server.m.Output())
	require.Zero(t, memory.Taken())
	s.requireAlive(flight...)

	// A hello that claims to renegotiate (RFC 5746, Section 3.6).
	s = newScene(t, suite(t, pskSuite))
	h := cut(s.client.Output(), 0)[0].Payload
	at := bytes.Index(h, []byte{0xff, 0x01, 0, 1, 0})
	h[at+4] = 1
	parsed, ok := ParseHello(h)
	require.True(t, ok)
	m := NewServer(bothKinds(), s.theirs, Timers{}, parsed, 0, nil, s.now)
	requireFailed(t, m, ReasonProtocol, alertHandshakeFailure)
}

// TestD06Early: nothing is delivered before Finished, and what is of a future epoch is held within bounds.
func TestD06Early(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, certSuite} {
		s := newScene(t, suite(t, id))
		memory := NewBudget(1 << 20)
		s.server.conf.Memory = memory
		flight := s.flight()
		n := len(flight)
		sealed := record.NewCipher(&s.client.write)
		seal := func(typ record.Type, seq uint64) record.Record {
			r, _, ok := record.Parse(sealed.Seal(nil, typ, 1, seq, nil, []byte("early")), 0)
			require.True(t, ok)
			return r
		}
		data := seal(record.TypeApplicationData, 7)
		for range 1000 {
			s.toServer(data, record.Record{Type: record.TypeHandshake, Epoch: 2, Payload: data.Payload})
		}
		require.Zero(t, memory.Taken())
		junk := record.Record{Type: record.TypeHandshake, Epoch: 1, Payload: make([]byte, maxSealed)}
		for i := range uint64(1_000_000) {
			junk.Seq = 100 + i
			s.server.m.Receive(junk, s.now)
		}
		require.LessOrEqual(t, memory.Taken(), maxHeldSealed*maxSealed)
		s.toServer(flight[:n-1]...)
		s.toServer(data)
		requireUndone(t, s.server.m)
		s.requireAlive(flight[n-1])
		require.Zero(t, memory.Taken())
	}
}

// wrongKeys is the fate of a client whose key is wrong, in records.
func wrongKeys(t *testing.T, id uint16, identity, key string) (sizes []int, e *Error) {
	t.Helper()
	mine, theirs := newSides(t, elliptic.P256())
	mine.keys = map[string]string{identity: key}
	s := newSceneOf(t, suite(t, id), mine, theirs)
	p := paramsFor(suite(t, id))
	p.PSKIdentity = []byte(identity)
	s.client = NewClient(only(suite(t, id)), mine, Timers{}, p, s.now)
	note := func(all []record.Record) []record.Record {
		for _, r := range all {
			sizes = append(sizes, int(r.Type)<<16|len(r.Payload))
		}
		return all
	}
	first := s.begin()
	note(first)
	s.toClient(first...)
	s.toServer(cut(s.client.Output(), 0)...)
	require.Nil(t, s.server.m.Output(), "silence at first")
	requireUndone(t, s.server.m)
	s.client.Tick(s.now.Add(time.Minute))
	again := cut(s.client.Output(), 0)
	note(again)
	s.toServer(again...)
	require.Nil(t, s.server.m.Output(), "the flight's Finished may be behind")
	s.server.m.Tick(s.now.Add(finishedGrace))
	alerts := cut(s.server.m.Output(), 0)
	note(alerts)
	_, err := s.server.m.Done()
	require.ErrorAs(t, err, &e)
	s.toClient(alerts...)
	_, err = s.client.Done()
	var told *Error
	require.ErrorAs(t, err, &told)
	require.True(t, told.FromPeer)
	require.Equal(t, uint8(alertDecryptError), told.Alert)
	require.NotContains(t, e.Error(), identity)
	require.NotContains(t, e.Error(), key)
	return sizes, e
}

// TestS5WrongKeys: an unknown identity and a wrong key look the same, silence first and then one alert.
func TestS5WrongKeys(t *testing.T) {
	t.Parallel()
	for _, s := range Suites() {
		if !s.PSK {
			continue
		}
		unknown, e1 := wrongKeys(t, s.ID, "device-9", testKey)
		wrong, e2 := wrongKeys(t, s.ID, testIdentity, "fedcba9876543210")
		require.Equal(t, unknown, wrong)
		require.Equal(t, ReasonPSKFailed, e1.Reason)
		require.Equal(t, e1.Error(), e2.Error())
	}
}

// TestS5Forger: who can't copy the ClientKeyExchange ends nothing, however much he sends, nor do doubled datagrams.
func TestS5Forger(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, 0xd003))
	flight := s.flight()
	s.toServer(flight[:2]...)
	junk := record.Record{Type: record.TypeHandshake, Version: versionDTLS12, Epoch: 1, Payload: make([]byte, 40)}
	forged := bytes.Clone(flight[0].Payload)
	forged[len(forged)-1] ^= 1
	for i := range uint64(1000) {
		junk.Seq = i + 1
		s.toServer(junk, record.Record{Type: record.TypeHandshake, Payload: forged})
	}
	require.Nil(t, s.server.m.Output())
	junk.Seq = 5
	s.toServer(flight[0], junk) // an old number: a doubled datagram
	s.requireAlive(flight[2])
}

// TestS5ForgerBetween: nor does who squeezes records in between a repeated ClientKeyExchange and its Finished.
func TestS5ForgerBetween(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, 0xd003))
	flight := s.flight()
	junk := record.Record{Type: record.TypeHandshake, Version: versionDTLS12, Epoch: 1, Payload: make([]byte, 40)}
	s.toServer(junk, flight[0], flight[1]) // and Finished gets lost
	for junk.Seq = 1; junk.Seq < 10; junk.Seq++ {
		s.toServer(flight[0], junk)
	}
	s.server.m.Tick(s.now.Add(finishedGrace - 1))
	require.Nil(t, s.server.m.Output())
	s.requireAlive(flight[2])
}

// TestS5UnusableKeys: a key that can't be used fails as a wrong one does.
func TestS5UnusableKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", strings.Repeat("x", maxKey+1)} {
		mine, theirs := newSides(t, elliptic.P256())
		theirs.keys = map[string]string{testIdentity: key}
		s := newSceneOf(t, suite(t, pskSuite), mine, theirs)
		s.toServer(s.flight()...)
		requireUndone(t, s.server.m)
		s.client.Tick(s.now.Add(time.Minute))
		s.toServer(cut(s.client.Output(), 0)...)
		s.server.m.Tick(s.now.Add(finishedGrace))
		requireFailed(t, s.server.m, ReasonPSKFailed, alertDecryptError)
	}
}

// TestNothingPrintsKeys: no verb, no error (S46).
func TestNothingPrintsKeys(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, pskSuite))
	s.flight()
	j := s.client.newJob(jobLookUp)
	j.psk = []byte(testKey)
	require.Equal(t, "handshake job secrets", fmt.Sprintf("%+v %#v %x", s.client, j, s.client.keys))
}
