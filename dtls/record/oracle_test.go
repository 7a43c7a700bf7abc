package record

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pion/dtls/v3/pkg/crypto/ciphersuite"
	"github.com/pion/dtls/v3/pkg/protocol"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/pion/transport/v5/replaydetector"
	"github.com/stretchr/testify/require"
)

// pionCipher is what pion's record ciphers have in common.
type pionCipher interface {
	Encrypt(pkt *recordlayer.RecordLayer, raw []byte) ([]byte, error)
	Decrypt(header recordlayer.Header, in []byte) ([]byte, error)
}

func newPion(t testing.TB, k *Key) pionCipher {
	t.Helper()
	secret, iv := k.Secret[:k.AEAD.KeyLen()], k.IV[:k.AEAD.IVLen()]
	var c pionCipher
	var err error
	switch k.AEAD {
	case AES128GCM, AES256GCM:
		c, err = ciphersuite.NewGCM(secret, iv, secret, iv)
	case ChaCha20Poly1305:
		c, err = ciphersuite.NewChaCha20Poly1305(secret, iv, secret, iv)
	default:
		c, err = ciphersuite.NewCCM(ciphersuite.CCMTagLen(k.AEAD.TagLen()), secret, iv, secret, iv)
	}
	require.NoError(t, err)
	return c
}

// pionSeal seals a record as pion's Conn does, with zeros bytes of padding where there is a Connection ID.
func pionSeal(t testing.TB, c pionCipher, typ Type, epoch uint16, seq uint64, cid, plaintext []byte, zeros int) []byte {
	t.Helper()
	h := recordlayer.Header{
		ContentType: protocol.ContentType(typ), Version: protocol.Version1_2, Epoch: epoch, SequenceNumber: seq,
	}
	if len(cid) > 0 {
		inner := recordlayer.InnerPlaintext{Content: plaintext, RealType: h.ContentType, Zeros: uint(zeros)}
		var err error
		plaintext, err = inner.Marshal()
		require.NoError(t, err)
		h.ContentType, h.ConnectionID = protocol.ContentTypeConnectionID, cid
	}
	h.ContentLen = uint16(len(plaintext))
	raw, err := h.Marshal()
	require.NoError(t, err)
	sealed, err := c.Encrypt(&recordlayer.RecordLayer{Header: h}, append(raw, plaintext...))
	require.NoError(t, err)
	return sealed
}

// pionOpen opens a datagram of one record as pion's Conn does.
func pionOpen(c pionCipher, datagram []byte, cidLen int) (Type, []byte, bool) {
	h := recordlayer.Header{ConnectionID: make([]byte, cidLen)}
	if cidLen == 0 || len(datagram) > 0 && Type(datagram[0]) != TypeCID {
		h.ConnectionID = nil
	}
	opened, err := c.Decrypt(h, slices.Clone(datagram))
	if err != nil || h.Unmarshal(datagram) != nil {
		return 0, nil, false
	}
	plaintext := opened[h.Size():]
	if h.ContentType != protocol.ContentTypeConnectionID {
		return Type(h.ContentType), plaintext, true
	}
	var inner recordlayer.InnerPlaintext
	if inner.Unmarshal(plaintext) != nil {
		return 0, nil, false
	}
	return Type(inner.RealType), inner.Content, true
}

// compareOpen gives both a datagram of one record and requires the same of them.
func compareOpen(t testing.TB, ours *Cipher, theirs pionCipher, datagram []byte, cidLen int) (opened bool) {
	t.Helper()
	r, rest, ok := Parse(datagram, cidLen)
	if !ok || len(rest) > 0 {
		return false
	}
	if r.Version != VersionDTLS10 && r.Version != VersionDTLS12 || r.Type == TypeChangeCipherSpec {
		// pion knows other versions as such when it parses, and takes ChangeCipherSpec in the clear whatever the epoch.
		_, _, ok = ours.Open(r)
		require.False(t, ok)
		return false
	}
	wantType, want, wantOK := pionOpen(theirs, datagram, cidLen)
	typ, plaintext, ok := ours.Open(r)
	if limit := maxPlaintext + int(ours.overhead); len(r.Payload) > limit+1 || len(r.Payload) > limit && r.Type != TypeCID {
		require.False(t, ok, "stricter than pion, which has no limit: RFC 5246, Section 6.2.1")
		return false
	}
	require.Equal(t, wantOK, ok)
	require.Equal(t, wantType, typ)
	require.Equal(t, string(want), string(plaintext))
	return ok
}

// TestSealLikePion: what both make of the same is the same, byte for byte, and each opens the other's.
func TestSealLikePion(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, a := range all {
		k := testKey(a)
		ours, theirs := NewCipher(k), newPion(t, k)
		for n := range 150 {
			cid, plaintext := make([]byte, rnd.IntN(4)*rnd.IntN(20)), make([]byte, n)
			for _, b := range [][]byte{cid, plaintext} {
				for i := range b {
					b[i] = byte(rnd.Uint32())
				}
			}
			typ := []Type{TypeAlert, TypeHandshake, TypeApplicationData}[n%3]
			epoch, seq := uint16(rnd.Uint32()), rnd.Uint64()&MaxSeq
			want := pionSeal(t, theirs, typ, epoch, seq, cid, plaintext, 0)
			require.Equal(t, want, ours.Seal(nil, typ, epoch, seq, cid, plaintext), "%v, %d bytes, CID %x", a, n, cid)
			require.True(t, compareOpen(t, ours, theirs, want, len(cid)))
			require.True(t, compareOpen(t, ours, theirs, pionSeal(t, theirs, typ, epoch, seq, cid, plaintext, 1+n), len(cid)))
		}
	}
}

// FuzzOpen gives both record layers the same key and the same bytes: a sealed record, with a mask over it.
func FuzzOpen(f *testing.F) {
	for a := range uint8(8) {
		f.Add(a, uint64(a), []byte("plaintext"), []byte{}, a*2, a%2 == 0)
		f.Add(a, uint64(1)<<48-1, []byte{0, 0}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, a, true)
		f.Add(a, uint64(7), []byte{}, []byte{4}, uint8(0), false)
	}
	f.Fuzz(func(t *testing.T, kind uint8, seq uint64, plaintext, mask []byte, cidLen uint8, raw bool) {
		k := testKey(all[int(kind)%len(all)])
		ours, theirs := NewCipher(k), newPion(t, k)
		plaintext = plaintext[:min(len(plaintext), 1<<10)]
		cid := make([]byte, cidLen)
		datagram := plaintext // as it stands
		if !raw {
			datagram = pionSeal(t, theirs, TypeApplicationData, 1, seq&MaxSeq, cid, plaintext, len(mask)%5)
			intact := string(datagram)
			for i := range mask[:min(len(mask), len(datagram))] {
				datagram[i] ^= mask[i]
			}
			opened := compareOpen(t, ours, theirs, slices.Clone(datagram), len(cid))
			require.Equal(t, string(datagram) == intact, opened)
			return
		}
		compareOpen(t, ours, theirs, slices.Clone(datagram), len(cid))
	})
}

// events are what a network does to the records of a session, and what the two receivers made of them.
type events struct {
	t        testing.TB
	key      *Key
	cid      []byte
	sender   *Cipher
	sent     [][]byte
	next     uint64
	ours     *Cipher
	theirs   pionCipher
	window   Window
	detector replaydetector.ReplayDetector
	accepted map[uint64]bool
}

func newEvents(t testing.TB, a AEAD, cid []byte) *events {
	k := testKey(a)
	return &events{
		t: t, key: k, cid: cid, sender: NewCipher(k), ours: NewCipher(k), theirs: newPion(t, k),
		detector: replaydetector.New(windowWidth, MaxSeq), accepted: map[uint64]bool{},
	}
}

// step is one event: one byte says what happens, the next to what.
func (e *events) step(what, arg byte) {
	switch what % 8 {
	case 0, 1, 2: // a record arrives
		e.send(1, uint64(arg%3))
		e.arrive(e.sent[len(e.sent)-1])
	case 3: // records are lost
		e.next += uint64(arg) * uint64(arg)
	case 4: // a record is held up
		e.send(1, 0)
	case 5: // one of before arrives, for the first time or again
		if len(e.sent) > 0 {
			e.arrive(e.sent[len(e.sent)-1-int(arg)%len(e.sent)])
		}
	case 6: // it arrives damaged
		if len(e.sent) > 0 {
			d := slices.Clone(e.sent[len(e.sent)-1-int(arg)%len(e.sent)])
			d[(int(arg)*7+int(what))%len(d)] ^= 1 << (what >> 3 & 7)
			e.arrive(d)
		}
	case 7: // a record of another epoch, or of another key
		e.send(uint16(arg%4), 0)
		e.arrive(e.sent[len(e.sent)-1])
	}
}

func (e *events) send(epoch uint16, skip uint64) {
	e.next += skip
	e.sent = append(e.sent, e.sender.Seal(nil, TypeApplicationData, epoch, e.next, e.cid, []byte{byte(e.next)}))
	e.next++
}

// arrive gives a datagram to both and requires the same of both.
func (e *events) arrive(datagram []byte) {
	got, gotNewest := e.receive(slices.Clone(datagram))
	want, wantNewest := e.receivePion(datagram)
	require.Equal(e.t, want, got, "accepted")
	require.Equal(e.t, wantNewest, gotNewest, "newest")
	if got {
		r, _, _ := Parse(datagram, len(e.cid))
		require.False(e.t, e.accepted[r.Seq], "accepted twice")
		e.accepted[r.Seq] = true
	}
}

func (e *events) receive(datagram []byte) (accepted, newest bool) {
	r, rest, ok := Parse(datagram, len(e.cid))
	if !ok || len(rest) > 0 || r.Epoch != 1 || (r.CID != nil) != (e.cid != nil) || e.window.Check(r.Seq) != Fresh {
		return false, false
	}
	if _, _, ok = e.ours.Open(r); !ok {
		return false, false
	}
	return true, e.window.Mark(r.Seq)
}

// receivePion is the order of pion's Conn: split, epoch, replay check, decryption, mark.
func (e *events) receivePion(datagram []byte) (accepted, newest bool) {
	split := recordlayer.UnpackDatagram
	if e.cid != nil {
		split = func(b []byte) ([][]byte, error) { return recordlayer.ContentAwareUnpackDatagram(b, len(e.cid)) }
	}
	records, err := split(datagram)
	h := recordlayer.Header{ConnectionID: slices.Clone(e.cid)}
	if err != nil || len(records) != 1 || h.Unmarshal(records[0]) != nil || h.Epoch != 1 ||
		(h.ContentType == protocol.ContentTypeConnectionID) != (e.cid != nil) ||
		h.ContentType == protocol.ContentTypeChangeCipherSpec {
		return false, false
	}
	accept, ok := e.detector.Check(h.SequenceNumber)
	if !ok {
		return false, false
	}
	if _, _, ok = pionOpen(e.theirs, datagram, len(e.cid)); !ok {
		return false, false
	}
	return true, accept()
}

// TestD01SequencesLikePion sends random sequences of records through both: loss, reordering, duplicates, damage, epochs.
func TestD01SequencesLikePion(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	for round := range 70 {
		var cid []byte
		if round/7%2 != 0 {
			cid = testCID
		}
		e := newEvents(t, all[round%7], cid)
		for range 400 {
			e.step(byte(rnd.Uint32()), byte(rnd.Uint32()))
		}
		require.Greater(t, len(e.accepted), 100)
	}
}

// FuzzWindow sends sequences of records through both, and the same numbers through the model.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 5, 0, 5, 1, 3, 9, 0, 0, 4, 0, 0, 0, 5, 1, 6, 3, 7, 0, 7, 1}, uint8(1), true)
	f.Add([]byte{3, 255, 0, 0, 5, 200, 3, 12, 0, 0}, uint8(6), false)
	f.Fuzz(func(t *testing.T, steps []byte, kind uint8, withCID bool) {
		steps = steps[:min(len(steps), 600)]
		var cid []byte
		if withCID {
			cid = testCID
		}
		e := newEvents(t, all[int(kind)%len(all)], cid)
		var numbers []uint64
		for at := uint64(0); len(steps) > 1; steps = steps[2:] {
			e.step(steps[0], steps[1])
			at += uint64(steps[0] % 16)
			numbers = append(numbers, at-min(at, uint64(steps[1])))
		}
		checkWindow(t, numbers)
	})
}

// FuzzParse checks that parsing loses and invents nothing: the records of a datagram, put together, are its beginning, and each
// is what its own fields say.
func FuzzParse(f *testing.F) {
	c := NewCipher(testKey(AES128CCM8))
	f.Add(c.Seal(AppendClear(nil, TypeHandshake, 3, []byte("clear")), TypeApplicationData, 1, 7, testCID, []byte("x")), uint8(8))
	f.Add(c.Seal(nil, TypeApplicationData, 1, 7, nil, []byte("x")), uint8(0))
	f.Add([]byte{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0}, uint8(2))
	f.Fuzz(func(t *testing.T, datagram []byte, cidLen uint8) {
		original := slices.Clone(datagram)
		var joined []byte
		for rest := datagram; ; {
			r, next, ok := Parse(rest, int(cidLen))
			if !ok {
				break
			}
			require.LessOrEqual(t, r.Seq, uint64(MaxSeq))
			require.LessOrEqual(t, len(r.Payload), maxPayload)
			require.Equal(t, r.Type == TypeCID, r.CID != nil)
			again := appendHeader(nil, r.Type, uint64(r.Epoch)<<48|r.Seq, r.CID, len(r.Payload))
			again[1], again[2] = byte(r.Version>>8), byte(r.Version)
			require.Equal(t, r.Raw, append(again, r.Payload...))
			joined = append(joined, r.Raw...)
			c.Open(r)
			rest = next
		}
		require.True(t, slices.Equal(original[:len(joined)], joined))
	})
}
