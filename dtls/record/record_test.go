package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/pion/dtls/v3/pkg/protocol"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	t.Parallel()
	want := Record{Type: 22, Version: 0xfeff, Epoch: 1, Seq: 0x000203040506, Payload: []byte("hi")}
	plain := []byte{22, 0xfe, 0xff, 0, 1, 0, 2, 3, 4, 5, 6, 0, 2, 'h', 'i'}
	want.Raw = plain
	cid := []byte{25, 0xfe, 0xfd, 0, 1, 0, 2, 3, 4, 5, 6, 0xc1, 0xc2, 0xc3, 0, 2, 'h', 'i'}
	for _, tt := range []struct {
		name   string
		in     []byte
		cidLen int
		want   Record
		rest   string
		ok     bool
	}{
		{name: "plain", in: plain, ok: true, want: want},
		{name: "plain, where CIDs are in use", in: plain, cidLen: 3, ok: true, want: want},
		{name: "more behind it", in: append(bytes.Clone(plain), "rest"...), ok: true, rest: "rest", want: want},
		{name: "empty payload", in: edit(plain[:13], 12, 0), ok: true,
			want: Record{Type: 22, Version: 0xfeff, Epoch: 1, Seq: 0x000203040506, Payload: []byte{}, Raw: edit(plain[:13], 12, 0)}},
		{name: "CID", in: cid, cidLen: 3, ok: true,
			want: Record{
				Type: 25, Version: 0xfefd, Epoch: 1, Seq: 0x000203040506, CID: []byte{0xc1, 0xc2, 0xc3}, Payload: []byte("hi"), Raw: cid,
			}},
		{name: "CID where none was given out", in: cid},
		{name: "CID, negative length", in: cid, cidLen: -1},
		{name: "CID cut off", in: cid[:13], cidLen: 3},
		{name: "CID, length cut off", in: cid[:15], cidLen: 3},
		{name: "CID shorter than thought", in: cid, cidLen: 4},
		{name: "nothing"},
		{name: "header cut off", in: plain[:12]},
		{name: "payload cut off", in: plain[:14]},
		{name: "TLS", in: edit(plain, 1, 3)},
		{name: "length 2^14+2049", in: append(edit(edit(plain[:13], 11, 0x48), 12, 1), make([]byte, 1<<14+2049)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, rest, ok := Parse(tt.in, tt.cidLen)
			require.Equal(t, tt.ok, ok)
			require.Equal(t, tt.want, r)
			require.Equal(t, tt.rest, string(rest))
		})
	}
	long := append(edit(edit(plain[:13], 11, 0x48), 12, 0), make([]byte, maxPayload)...)
	r, _, ok := Parse(long, 0)
	require.True(t, ok)
	require.Len(t, r.Payload, maxPayload)
}

// edit returns a copy of b with one byte changed.
func edit(b []byte, at int, v byte) []byte {
	b = bytes.Clone(b)
	b[at] = v
	return b
}

// TestParseAliases: an append to a part must not write over what follows it.
func TestParseAliases(t *testing.T) {
	t.Parallel()
	b := append([]byte{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 6, 0xc1, 0xc2, 0, 2, 'h', 'i'}, "rest"...)
	r, rest, ok := Parse(b, 2)
	require.True(t, ok)
	for _, part := range [][]byte{r.CID, r.Payload, r.Raw} {
		require.Equal(t, len(part), cap(part))
	}
	require.Equal(t, "rest", string(rest))
}

func TestAppendClear(t *testing.T) {
	t.Parallel()
	got := AppendClear([]byte("x"), TypeHandshake, 0x010203040506, []byte("hello"))
	h := recordlayer.Header{
		ContentType: protocol.ContentTypeHandshake, ContentLen: 5, Version: protocol.Version1_2, SequenceNumber: 0x010203040506,
	}
	header, err := h.Marshal()
	require.NoError(t, err)
	require.Equal(t, "x"+string(header)+"hello", string(got))
	require.Panics(t, func() { AppendClear(nil, TypeHandshake, MaxSeq+1, nil) })
	require.Panics(t, func() { AppendClear(nil, TypeHandshake, 0, make([]byte, maxPlaintext+1)) })
}

// TestSealAppends: several records make a datagram, in room that is exactly theirs, and beyond.
func TestSealAppends(t *testing.T) {
	t.Parallel()
	for _, a := range all {
		c := NewCipher(testKey(a))
		size := HeaderLen + len(testCID) + 1 + 5 + a.Overhead()
		for _, room := range []int{0, 1, size, 2*size - 1, 2 * size} {
			b := c.Seal(make([]byte, 0, room), TypeAlert, 1, 0, testCID, []byte("first"))
			b = c.Seal(b, TypeHandshake, 1, 1, testCID, []byte("other"))
			require.Len(t, b, 2*size)
			first, rest, ok := Parse(b, len(testCID))
			require.True(t, ok)
			second, rest, ok := Parse(rest, len(testCID))
			require.True(t, ok)
			require.Empty(t, rest)
			typ, plaintext, ok := c.Open(second)
			require.True(t, ok)
			require.Equal(t, TypeHandshake, typ)
			require.Equal(t, "other", string(plaintext))
			typ, plaintext, ok = c.Open(first)
			require.True(t, ok)
			require.Equal(t, TypeAlert, typ)
			require.Equal(t, "first", string(plaintext))
		}
	}
}

// TestSealRefuses: rather no process than a nonce twice.
func TestSealRefuses(t *testing.T) {
	t.Parallel()
	c := NewCipher(testKey(AES128CCM8))
	require.Panics(t, func() { c.Seal(nil, TypeApplicationData, 1, MaxSeq+1, nil, nil) })
	require.Panics(t, func() { c.Seal(nil, TypeApplicationData, 1, 0, make([]byte, 256), nil) })
	require.Panics(t, func() { c.Seal(nil, TypeApplicationData, 1, 0, nil, make([]byte, maxPlaintext+1)) })
}

// TestSecretsStayUnprinted: S46.
func TestSecretsStayUnprinted(t *testing.T) {
	t.Parallel()
	k := testKey(ChaCha20Poly1305)
	for _, v := range []any{k, *k, NewCipher(k), struct{ K Key }{*k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d", "%s", "%q"} {
			printed := fmt.Sprintf(verb, v)
			require.Contains(t, printed, redacted, verb)
			require.NotRegexp(t, `[0-9]`, printed, verb)
		}
	}
	j, err := json.Marshal(struct{ K Key }{*k})
	require.NoError(t, err)
	require.JSONEq(t, `{"K":"[redacted]"}`, string(j))
}

// TestSizes: what a session keeps, and a busy one besides.
func TestSizes(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, reflect.TypeFor[Key]().Size(), uintptr(45))
	require.LessOrEqual(t, reflect.TypeFor[Window]().Size(), uintptr(24))
	require.LessOrEqual(t, reflect.TypeFor[Cipher]().Size(), uintptr(320))
}

func TestNothingAllocates(t *testing.T) {
	for _, a := range all {
		for _, cid := range [][]byte{nil, testCID, make([]byte, maxCID)} {
			inner := len(cid)
			if cid != nil {
				inner++
			}
			c, payload := NewCipher(testKey(a)), make([]byte, 100)
			dst := make([]byte, 0, HeaderLen+inner+len(payload)+a.Overhead()) // no byte more
			seq, opened := uint64(0), true
			run := func() {
				sealed := c.Seal(dst, TypeApplicationData, 1, seq, cid, payload)
				r, _, ok := Parse(sealed, len(cid))
				_, _, ok2 := c.Open(r)
				opened = opened && ok && ok2
				seq++
			}
			run() // a long CID needs room, once
			require.Zero(t, testing.AllocsPerRun(100, run), "%v, CID of %d", a, len(cid))
			require.True(t, opened)

			forged := c.Seal(nil, TypeApplicationData, 1, 0, cid, payload)
			forged[len(forged)-1]++
			r, _, _ := Parse(forged, len(cid))
			require.Zero(t, testing.AllocsPerRun(100, func() { c.Open(r) }), "%v, forged", a)
		}
	}
	var w Window
	seq := uint64(0)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if w.Check(seq) == Fresh {
			w.Mark(seq)
		}
		seq++
	}))
	dst := make([]byte, 0, 64)
	require.Zero(t, testing.AllocsPerRun(100, func() { AppendClear(dst, TypeAlert, 1, dst[:2]) }))
}
