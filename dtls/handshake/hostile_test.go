package handshake

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

const (
	pskSuite  = 0xc0a8
	certSuite = 0xc02b
)

// scene is a handshake that a test interferes with. Its parties see what it hands them, and nothing else.
type scene struct {
	t            testing.TB
	now          time.Time
	mine, theirs *side
	client       *Machine
	server       *front
	edit         func(*Job) // of a job that was run, before the machine goes on
}

func newScene(t testing.TB, s Suite) *scene {
	t.Helper()
	mine, theirs := newSides(t, elliptic.P256())
	return newSceneOf(t, s, mine, theirs)
}

func newSceneOf(t testing.TB, s Suite, mine, theirs *side) *scene {
	t.Helper()
	return &scene{
		t: t, now: start0, mine: mine, theirs: theirs,
		client: NewClient(only(s), mine, Timers{}, paramsFor(s), start0), server: &front{conf: bothKinds(), cb: theirs},
	}
}

func cut(datagrams [][]byte, cidLen int) (all []record.Record) {
	for _, d := range datagrams {
		all = append(all, records(d, cidLen)...)
	}
	return all
}

// begin goes on until the server has a machine, and returns its flight.
func (s *scene) begin() []record.Record {
	s.t.Helper()
	for range 2 {
		for _, d := range s.client.Output() {
			s.server.receive(d, s.now)
		}
		if s.server.m != nil {
			s.run(s.server.m)
			return cut(s.server.output(), len(s.client.localCID))
		}
		s.toClient(cut(s.server.output(), 0)...)
	}
	s.t.Fatal("there is no server")
	return nil
}

// flight goes on until the client answered the server, and returns that.
func (s *scene) flight() []record.Record {
	s.t.Helper()
	s.toClient(s.begin()...)
	return cut(s.client.Output(), len(s.server.cid))
}

func (s *scene) run(m *Machine) {
	for j := m.Job(); j != nil; j = m.Job() {
		j.Run(s.t.Context())
		if s.edit != nil {
			s.edit(j)
		}
		m.Resume(j, s.now)
	}
}

func (s *scene) deliver(m *Machine, all []record.Record) {
	for _, r := range all {
		r.Payload = bytes.Clone(r.Payload)
		m.Receive(r, s.now)
		s.run(m)
	}
}

func (s *scene) toClient(all ...record.Record) { s.deliver(s.client, all) }
func (s *scene) toServer(all ...record.Record) { s.deliver(s.server.m, all) }

// requireAlive fails unless an honest flight, repeated, still completes the handshake.
func (s *scene) requireAlive(honest ...record.Record) {
	s.t.Helper()
	s.toServer(honest...)
	s.toClient(cut(s.server.output(), len(s.client.localCID))...)
	requireSame(s.t, s.client, s.server.m)
}

// requireFailed fails unless a machine ended for a reason, with one alert.
func requireFailed(t testing.TB, m *Machine, reason Reason, alert uint8) {
	t.Helper()
	res, err := m.Done()
	require.Nil(t, res)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, reason, e.Reason, e.Error())
	require.Equal(t, alert, e.Alert)
	require.False(t, e.FromPeer)
	require.NotContains(t, e.Error(), testKey)
	require.NotContains(t, e.Error(), testIdentity)
	all := cut(m.Output(), 0)
	require.NotEmpty(t, all)
	last := all[len(all)-1]
	require.Equal(t, record.TypeAlert, last.Type)
	if last.Epoch == 0 {
		require.Equal(t, []byte{2, alert}, last.Payload)
	}
	require.Nil(t, m.Output())
	require.True(t, m.Deadline().IsZero())
	require.Nil(t, m.Job())
}

func requireUndone(t testing.TB, m *Machine) {
	t.Helper()
	res, err := m.Done()
	require.NoError(t, err)
	require.Nil(t, res)
}

// forger is a key that signs what it likes.
type forger struct {
	crypto.Signer // whose public key it shows
	forge         func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (f *forger) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.forge(digest, opts)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// cutLast takes the last message that a job wrote off it.
func cutLast(j *Job) {
	last := j.script.flight[len(j.script.flight)-1]
	j.script.text = j.script.text[:last.start]
	j.script.flight = j.script.flight[:len(j.script.flight)-1]
	j.script.seq--
}

func TestH01WithoutCertificateVerify(t *testing.T) {
	t.Parallel()
	begin := func() *scene {
		s := newScene(t, suite(t, certSuite))
		s.edit = func(j *Job) {
			if j.kind == jobServerVerify {
				cutLast(j)
			}
		}
		return s
	}
	s := begin()
	s.toServer(s.flight()...)
	require.Nil(t, s.server.m.reader, "there are no keys before it is known who is there")
	requireFailed(t, s.server.m, ReasonSignature, alertUnexpectedMessage)

	s = begin() // the first ChangeCipherSpec gets lost
	flight := s.flight()
	s.toServer(flight[:len(flight)-2]...)
	s.client.Tick(s.now.Add(time.Minute))
	s.toServer(cut(s.client.Output(), 0)...)
	requireFailed(t, s.server.m, ReasonSignature, alertUnexpectedMessage)
}

// TestH01LostCertificateVerify: an honest client's got lost, and comes again.
func TestH01LostCertificateVerify(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, certSuite))
	flight := s.flight()
	for i, r := range flight {
		if r.Payload[0] != typeCertificateVerify || r.Epoch != 0 {
			s.toServer(flight[i])
		}
	}
	requireUndone(t, s.server.m)
	s.requireAlive(flight...)
}

func TestH01ForeignSignatures(t *testing.T) {
	t.Parallel()
	var old []byte
	another := newKey(t)
	for name, forge := range map[string]func(own crypto.Signer) func([]byte, crypto.SignerOpts) ([]byte, error){
		"another key": func(crypto.Signer) func([]byte, crypto.SignerOpts) ([]byte, error) {
			return func(d []byte, o crypto.SignerOpts) ([]byte, error) { return another.Sign(rand.Reader, d, o) }
		},
		"replayed": func(own crypto.Signer) func([]byte, crypto.SignerOpts) ([]byte, error) {
			old, _ = own.Sign(rand.Reader, make([]byte, 32), crypto.SHA256) // of another handshake
			return func([]byte, crypto.SignerOpts) ([]byte, error) { return old, nil }
		},
		"H17 of a short digest": func(own crypto.Signer) func([]byte, crypto.SignerOpts) ([]byte, error) {
			return func(d []byte, o crypto.SignerOpts) ([]byte, error) { return own.Sign(rand.Reader, d[:20], o) }
		},
		"empty": func(crypto.Signer) func([]byte, crypto.SignerOpts) ([]byte, error) {
			return func([]byte, crypto.SignerOpts) ([]byte, error) { return []byte{0}, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			mine, theirs := newSides(t, elliptic.P256())
			mine.key = &forger{mine.key, forge(mine.key)}
			s := newSceneOf(t, suite(t, certSuite), mine, theirs)
			s.toServer(s.flight()...)
			requireFailed(t, s.server.m, ReasonSignature, alertDecryptError)

			mine, theirs = newSides(t, elliptic.P256())
			theirs.key = &forger{theirs.key, forge(theirs.key)}
			s = newSceneOf(t, suite(t, certSuite), mine, theirs)
			s.toClient(s.begin()...)
			requireFailed(t, s.client, ReasonSignature, alertDecryptError)
		})
	}
}

func TestH02ServersSignature(t *testing.T) {
	t.Parallel()
	t.Run("none", func(t *testing.T) {
		s := newScene(t, suite(t, certSuite))
		flight := s.begin()
		for i, r := range flight {
			if r.Payload[0] == typeServerKeyExchange {
				b := bytes.Clone(r.Payload[:headerLen+4+65])
				closeMessage(b, 0)
				flight[i].Payload = b
			}
		}
		s.toClient(flight...)
		requireFailed(t, s.client, ReasonProtocol, alertDecodeError)
	})
	t.Run("other randoms", func(t *testing.T) {
		s := newScene(t, suite(t, certSuite))
		flight := s.begin()
		for _, r := range flight {
			if r.Payload[0] == typeServerHello {
				r.Payload[headerLen+2] ^= 1
			}
		}
		s.toClient(flight...)
		requireFailed(t, s.client, ReasonSignature, alertDecryptError)
	})
	t.Run("no ServerKeyExchange", func(t *testing.T) {
		s := newScene(t, suite(t, certSuite))
		flight := slices.DeleteFunc(s.begin(), func(r record.Record) bool { return r.Payload[0] == typeServerKeyExchange })
		for i := range flight[2:] {
			seq := binary.BigEndian.Uint16(flight[2+i].Payload[4:])
			binary.BigEndian.PutUint16(flight[2+i].Payload[4:], seq-1)
		}
		s.toClient(flight...)
		requireFailed(t, s.client, ReasonProtocol, alertUnexpectedMessage)
	})
	t.Run("no certificate", func(t *testing.T) {
		mine, theirs := newSides(t, elliptic.P256())
		theirs.chain = nil
		s := newSceneOf(t, suite(t, certSuite), mine, theirs)
		require.Len(t, s.begin(), 1)
		res, err := s.server.m.Done()
		require.Nil(t, res)
		require.ErrorIs(t, err, errNoChain)
	})
}

// TestH03ChangeCipherSpec: legal in one state, and Finished needs it (S15).
func TestH03ChangeCipherSpec(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, 0xd003, certSuite} {
		t.Run(suite(t, id).Name, func(t *testing.T) {
			t.Parallel()
			var flight []record.Record
			var s *scene
			start := func() (exchange []record.Record, change, finished record.Record) {
				s = newScene(t, suite(t, id))
				flight = s.flight()
				n := len(flight)
				return flight[:n-2], flight[n-2], flight[n-1]
			}
			exchange, change, finished := start()
			require.Equal(t, record.TypeChangeCipherSpec, change.Type)
			require.Equal(t, uint16(1), finished.Epoch)

			early := change
			early.Seq = exchange[0].Seq - 1
			s.toServer(early) // sent too early: it never counts
			s.toServer(exchange...)
			s.toServer(finished) // held: it needs one
			requireUndone(t, s.server.m)
			s.toServer(exchange...)
			s.toServer(finished)
			requireUndone(t, s.server.m)
			s.requireAlive(change)

			exchange, change, finished = start()
			s.toServer(exchange...)
			s.toServer(change, change, finished)
			s.requireAlive()

			exchange, change, finished = start()
			s.toServer(change, finished) // overtook the others (RFC 6347, Section 4.2.2)
			requireUndone(t, s.server.m)
			s.toServer(exchange[:len(exchange)-1]...)
			requireUndone(t, s.server.m)
			s.requireAlive(exchange[len(exchange)-1])

			exchange, change, finished = start()
			bad := change
			bad.Payload = []byte{1, 1}
			s.toServer(exchange...)
			s.toServer(bad, finished)
			bad.Payload = []byte{2}
			s.toServer(bad, finished)
			requireUndone(t, s.server.m)

			exchange, change, _ = start()
			s.toServer(change)
			requireUndone(t, s.server.m)
			require.Equal(t, 0, len(s.server.m.held))
			_ = exchange
		})
	}
}

// TestH04Epochs: what comes in a wrong epoch is dropped, and an honest peer completes.
func TestH04Epochs(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, certSuite} {
		t.Run(suite(t, id).Name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, suite(t, id))
			wrong := func(all []record.Record) (out []record.Record) {
				for _, r := range all {
					for _, epoch := range []uint16{1 - min(r.Epoch, 1), 2, 65535} {
						w := r
						w.Epoch = epoch
						out = append(out, w)
					}
				}
				return out
			}
			flight := s.begin()
			s.toClient(wrong(flight)...)
			requireUndone(t, s.client)
			require.Equal(t, stateServerHello, s.client.state)
			s.toClient(flight...)
			flight = cut(s.client.Output(), 0)
			for i, r := range flight {
				s.toServer(wrong(flight[i:])...)
				s.toServer(r)
			}
			// What was held of it may have pushed the honest Finished out: it is repeated.
			s.client.Tick(s.now.Add(time.Hour))
			s.requireAlive(cut(s.client.Output(), 0)...)
		})
	}
}

func TestH04FinishedInClear(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, pskSuite))
	flight := s.flight()
	s.toServer(flight[:2]...)
	body := make([]byte, finishedLen)
	for seq := range uint16(5) {
		msg := append(appendHeader(nil, typeFinished, seq, len(body)), body...)
		s.toServer(record.Record{Type: record.TypeHandshake, Payload: msg})
	}
	requireUndone(t, s.server.m)
	s.requireAlive(flight[2])
}

func TestH05MessageSeq(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, certSuite} {
		s := newScene(t, suite(t, id))
		memory := NewBudget(1 << 20)
		s.server.conf.Memory = memory
		flight := s.flight()
		junk := flight[len(flight)-3]
		for seq := range 1 << 16 {
			next := s.server.m.recvSeq
			if seq >= next && seq < next+maxAhead {
				continue
			}
			r := junk
			r.Payload = bytes.Clone(junk.Payload)
			binary.BigEndian.PutUint16(r.Payload[4:], uint16(seq))
			s.server.m.Receive(r, s.now)
		}
		require.Zero(t, memory.Taken())
		requireUndone(t, s.server.m)
		ahead := junk
		ahead.Payload = bytes.Clone(junk.Payload)
		binary.BigEndian.PutUint16(ahead.Payload[4:], uint16(s.server.m.recvSeq+maxAhead-1))
		for range 1000 {
			s.toServer(ahead)
		}
		require.LessOrEqual(t, memory.Taken(), maxHandshakeBytes)
		s.requireAlive(flight...)
		require.Zero(t, memory.Taken())
	}
}

// TestH05SeqOfHello: a hello's numbers are the client's choice.
func TestH05SeqOfHello(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, pskSuite))
	h, ok := ParseHello(cut(s.client.Output(), 0)[0].Payload)
	require.True(t, ok)
	for _, at := range []struct {
		message uint16
		record  uint64
	}{{65535, 0}, {maxHelloSeq + 1, 0}, {0, record.MaxSeq}, {0, maxClearSeq + 1}} {
		h.MessageSeq = at.message
		m := NewServer(bothKinds(), s.theirs, Timers{}, h, at.record, nil, s.now)
		requireFailed(t, m, ReasonProtocol, alertIllegalParameter)
	}
	h.MessageSeq = maxHelloSeq
	requireUndone(t, NewServer(bothKinds(), s.theirs, Timers{}, h, maxClearSeq, nil, s.now))
}

func TestH07Lengths(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, pskSuite))
	hello := cut(s.client.Output(), 0)[0].Payload
	_, ok := ParseHello(hello)
	require.True(t, ok)
	const session = headerLen + 2 + 32
	change := func(do func(b []byte) []byte) []byte {
		b := do(bytes.Clone(hello))
		closeMessage(b, 0)
		return b
	}
	for name, in := range map[string][]byte{
		"empty":                 {},
		"header alone":          hello[:headerLen],
		"session id past end":   change(func(b []byte) []byte { b[session] = 255; return b }),
		"session id of 33":      change(func(b []byte) []byte { b[session] = 33; return slices.Insert(b, session+1, make([]byte, 33)...) }),
		"cookie past end":       change(func(b []byte) []byte { b[session+1] = 255; return b }),
		"no suites":             change(func(b []byte) []byte { return append(b[:session+2], 0, 0, 1, 0) }),
		"half a suite":          change(func(b []byte) []byte { return append(b[:session+2], 0, 3, 0, 0xa8, 0, 1, 0) }),
		"no compression":        change(func(b []byte) []byte { return append(b[:session+2], 0, 2, 0, 0xa8, 0) }),
		"compression of 1 only": change(func(b []byte) []byte { return append(b[:session+2], 0, 2, 0, 0xa8, 1, 1) }),
		"extensions past end":   change(func(b []byte) []byte { return append(b[:session+2], 0, 2, 0, 0xa8, 1, 0, 0, 9) }),
		"extension past end":    change(func(b []byte) []byte { return append(b[:session+2], 0, 2, 0, 0xa8, 1, 0, 0, 4, 0, 0, 0, 1) }),
		"something behind":      append(bytes.Clone(hello), 0),
		"two of them":           append(bytes.Clone(hello), hello...),
	} {
		_, ok := ParseHello(in)
		require.False(t, ok, name)
	}
	for n := range hello {
		_, ok := ParseHello(hello[:n])
		require.False(t, ok, n)
		if n > headerLen {
			b := bytes.Clone(hello[:n])
			closeMessage(b, 0)
			ParseHello(b)
		}
	}
	for _, n := range []int{0, 1, cookieLen, 254, 255} {
		in := change(func(b []byte) []byte { b[session+1] = byte(n); return slices.Insert(b, session+2, make([]byte, n)...) })
		h, ok := ParseHello(in)
		require.True(t, ok)
		require.Len(t, h.Cookie, n)
		require.False(t, NewCookies().Valid(testAddr, h))
	}
}

// TestH19Mirrored: our own flights come back to us.
func TestH19Mirrored(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, certSuite} {
		s := newScene(t, suite(t, id))
		first := s.begin()
		s.toServer(first...)
		s.toClient(first...)
		flight := cut(s.client.Output(), 0)
		s.toClient(flight...)
		requireUndone(t, s.client)
		require.Nil(t, s.client.Output())
		requireUndone(t, s.server.m)
		require.Equal(t, s.client.ClientRandom(), s.server.m.ClientRandom(), "by which our own hello is known")
		require.Equal(t, s.client.PeerRandom(), s.server.m.random[1])
	}
}

// TestH20BrokenOff: whatever state a handshake is broken off in, and with whatever last message, all memory comes back.
func TestH20BrokenOff(t *testing.T) {
	t.Parallel()
	for _, id := range []uint16{pskSuite, 0xd003, certSuite} {
		memory := NewBudget(1 << 20)
		for n := range 7 {
			s := newScene(t, suite(t, id))
			s.server.conf.Memory, s.client.fragments.memory = memory, memory
			flight := s.flight()
			s.toServer(flight[:min(n, len(flight))]...)
			bad := record.Record{Type: record.TypeHandshake, Payload: appendFragmentHeader(nil, typeCertificateVerify, uint16(s.server.m.recvSeq+1), 900, 0, 1)}
			bad.Payload = append(bad.Payload, 0)
			s.server.m.Receive(bad, s.now)
			s.server.m.Release()
			s.client.Abort(alertInternalError)
			require.Zero(t, memory.Taken())
		}
	}
}
