package record

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// each runs f for every AEAD with and without Connection ID.
func each(t *testing.T, f func(t *testing.T, c *Cipher, a AEAD, cid []byte)) {
	t.Helper()
	for _, a := range all {
		for _, cid := range [][]byte{nil, testCID} {
			t.Run(fmt.Sprintf("%v/cid=%d", a, len(cid)), func(t *testing.T) {
				t.Parallel()
				f(t, NewCipher(testKey(a)), a, cid)
			})
		}
	}
}

// sealed returns a record of n bytes.
func sealed(t testing.TB, c *Cipher, cid []byte, n int) Record {
	t.Helper()
	r, rest, ok := Parse(c.Seal(nil, TypeApplicationData, 1, 7, cid, bytes.Repeat([]byte{0x55}, n)), len(cid))
	require.True(t, ok)
	require.Empty(t, rest)
	return r
}

// refuse requires that a record doesn't open, and that neither its plaintext nor a part of it comes to light.
func refuse(t *testing.T, c *Cipher, r Record, what string, args ...any) {
	t.Helper()
	r.Payload = bytes.Clone(r.Payload)
	typ, plaintext, ok := c.Open(r)
	require.Falsef(t, ok, what, args...)
	require.Nilf(t, plaintext, what, args...)
	require.Zerof(t, typ, what, args...)
	require.NotContainsf(t, string(r.Payload), "\x55\x55\x55\x55", what, args...)
}

// TestD05Tags: the classes of ModifiedTag, truncated and zero tags that Wycheproof lists for AES-CCM, AES-GCM and
// ChaCha20-Poly1305, for lengths around blocks, the empty plaintext among them (CVE-2026-75806).
func TestD05Tags(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Cipher, a AEAD, cid []byte) {
		for _, n := range []int{0, 1, 15, 16, 17, 63, 64, 65, 200} {
			r := sealed(t, c, cid, n)
			intact := r.Payload
			tagAt := len(intact) - a.TagLen()
			tag := func(change func(tag []byte)) Record {
				r := r
				r.Payload = bytes.Clone(intact)
				change(r.Payload[tagAt:])
				return r
			}
			for bit := range a.TagLen() * 8 {
				refuse(t, c, tag(func(tag []byte) { tag[bit/8] ^= 1 << (bit % 8) }), "%d bytes, tag bit %d", n, bit)
			}
			refuse(t, c, tag(func(tag []byte) { clear(tag) }), "%d bytes, tag 0", n)
			refuse(t, c, tag(func(tag []byte) { copy(tag, bytes.Repeat([]byte{0xff}, 16)) }), "%d bytes, tag ff", n)
			for _, change := range []byte{0x80, 0xff, 0x01} {
				refuse(t, c, tag(func(tag []byte) {
					for i := range tag {
						tag[i] ^= change
					}
				}), "%d bytes, tag xor %x", n, change)
			}
			// Differences that cancel where a tag is folded before it is compared.
			for bit := range a.TagLen() * 8 {
				for _, apart := range []int{8, 32, 64} {
					other := (bit + apart) % (a.TagLen() * 8)
					if n == 17 && other != bit {
						refuse(t, c, tag(func(tag []byte) {
							tag[bit/8] ^= 1 << (bit % 8)
							tag[other/8] ^= 1 << (other % 8)
						}), "tag bits %d and %d", bit, other)
					}
				}
			}
			for cut := 1; cut <= len(intact); cut++ {
				r.Payload = intact[:len(intact)-cut]
				refuse(t, c, r, "%d bytes, %d cut off", n, cut)
			}
			r.Payload = append(bytes.Clone(intact), 0)
			refuse(t, c, r, "%d bytes, one more", n)

			r.Payload = bytes.Clone(intact)
			typ, plaintext, ok := c.Open(r)
			require.True(t, ok)
			require.Equal(t, TypeApplicationData, typ)
			require.Equal(t, bytes.Repeat([]byte{0x55}, n), append([]byte{}, plaintext...))
		}
	})
}

// TestD05Bits flips each bit of a whole record: none of the header, the Connection ID, the nonce, the ciphertext or the tag is
// left unprotected.
func TestD05Bits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Cipher, _ AEAD, cid []byte) {
		raw := sealed(t, c, cid, 20).Raw
		for bit := range len(raw) * 8 {
			forged := bytes.Clone(raw)
			forged[bit/8] ^= 1 << (bit % 8)
			if r, _, ok := Parse(forged, len(cid)); ok {
				refuse(t, c, r, "bit %d", bit)
			}
		}
	})
}

// TestD05AdditionalData changes what a record is said to be, without a change to its payload.
func TestD05AdditionalData(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Cipher, _ AEAD, cid []byte) {
		good := sealed(t, c, cid, 20)
		for what, change := range map[string]func(*Record){
			"type":               func(r *Record) { r.Type = TypeHandshake },
			"type, CID or not":   func(r *Record) { r.Type ^= TypeApplicationData ^ TypeCID },
			"version":            func(r *Record) { r.Version = VersionDTLS10 },
			"epoch":              func(r *Record) { r.Epoch++ },
			"sequence number":    func(r *Record) { r.Seq++ },
			"sequence number 48": func(r *Record) { r.Seq ^= 1 << 47 },
			"length":             func(r *Record) { r.Payload = r.Payload[:len(r.Payload)-1] },
		} {
			r := good
			change(&r)
			refuse(t, c, r, "%s", what)
		}
		if cid == nil {
			return
		}
		for what, id := range map[string][]byte{
			"none": nil, "shorter": cid[:7], "longer": append(bytes.Clone(cid), 0), "other": edit(cid, 3, 0xee),
		} {
			r := good
			r.CID = id
			refuse(t, c, r, "CID %s", what)
		}
		// RFC 9146, Section 5.3: the CID's length is in front, so bytes can't move between it and the number or the length.
		r := good
		r.Seq, r.CID = r.Seq<<8&MaxSeq|uint64(cid[0]), cid[1:]
		refuse(t, c, r, "CID moved into the number")
	})
}

// TestD05WrongKey: a key, an IV or a direction that isn't the record's.
func TestD05WrongKey(t *testing.T) {
	t.Parallel()
	for _, a := range all {
		r := sealed(t, NewCipher(testKey(a)), nil, 20)
		for i := range a.KeyLen() {
			k := testKey(a)
			k.Secret[i] ^= 1
			refuse(t, NewCipher(k), r, "%v, key byte %d", a, i)
		}
		for i := range a.IVLen() {
			k := testKey(a)
			k.IV[i] ^= 1
			refuse(t, NewCipher(k), r, "%v, IV byte %d", a, i)
		}
		for _, other := range all {
			if other != a {
				refuse(t, NewCipher(testKey(other)), r, "%v as %v", a, other)
			}
		}
	}
}

// TestD05Lengths: the longest, and what is longer.
func TestD05Lengths(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Cipher, a AEAD, cid []byte) {
		_, plaintext, ok := c.Open(sealed(t, c, cid, maxPlaintext))
		require.True(t, ok)
		require.Len(t, plaintext, maxPlaintext)
		inner := maxPlaintext + 1
		if cid != nil {
			inner++
		}
		refuse(t, c, sealInner(c, cid, bytes.Repeat([]byte{0x55}, inner)), "%d bytes", inner)
		for n := range a.Overhead() + 1 {
			for _, fill := range []byte{0, 0xff} {
				r := Record{Type: TypeApplicationData, Version: VersionDTLS12, Epoch: 1, CID: cid, Payload: bytes.Repeat([]byte{fill}, n)}
				if cid != nil {
					r.Type = TypeCID
				}
				refuse(t, c, r, "payload of %d", n)
			}
		}
	})
}

// sealInner seals what Seal would not: any bytes, as DTLSInnerPlaintext where there is a Connection ID.
func sealInner(c *Cipher, cid, inner []byte) Record {
	r := Record{Type: TypeApplicationData, Version: VersionDTLS12, Epoch: 1, Seq: 9, CID: cid}
	if cid != nil {
		r.Type = TypeCID
	}
	const number = 1<<48 | 9
	c.setNonce(number, number)
	c.setAdditional(r.Type, r.Version, number, cid, len(inner))
	r.Payload = append(r.Payload, c.nonce[4:4+c.explicit]...)
	r.Payload = c.aead.Seal(r.Payload, c.nonce[:], inner, c.aad)
	return r
}

// TestD10InnerPlaintext: RFC 9146, Section 4. Padding is taken off; a record without a type in it is none.
func TestD10InnerPlaintext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		inner string
		typ   Type
		want  string
		ok    bool
	}{
		{name: "no padding", inner: "hi\x17", typ: TypeApplicationData, want: "hi", ok: true},
		{name: "padding", inner: "hi\x17\x00\x00\x00", typ: TypeApplicationData, want: "hi", ok: true},
		{name: "content that ends in zeros", inner: "hi\x00\x00\x17\x00", typ: TypeApplicationData, want: "hi\x00\x00", ok: true},
		{name: "empty content", inner: "\x17", typ: TypeApplicationData, ok: true},
		{name: "empty content, padding", inner: "\x15\x00", typ: TypeAlert, ok: true},
		{name: "nothing"},
		{name: "one zero", inner: "\x00"},
		{name: "zeros only", inner: "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, a := range all {
				c := NewCipher(testKey(a))
				r := sealInner(c, testCID, []byte(tt.inner))
				typ, plaintext, ok := c.Open(r)
				require.Equal(t, tt.ok, ok)
				require.Equal(t, tt.typ, typ)
				require.Equal(t, tt.want, string(plaintext))
				require.Equal(t, len(plaintext), cap(plaintext), "an append must not write over the tag")
			}
		})
	}
}

// TestD08Nonces: nonces are epoch and number, none twice, explicit where RFC 5288 and RFC 6655 have it so.
func TestD08Nonces(t *testing.T) {
	t.Parallel()
	for _, a := range all {
		c := NewCipher(testKey(a))
		seen := map[[12]byte]bool{}
		for _, epoch := range []uint16{1, 2, 0xffff} {
			for _, seq := range []uint64{0, 1, 2, 255, 256, 1 << 32, MaxSeq} {
				r, _, ok := Parse(c.Seal(nil, TypeApplicationData, epoch, seq, nil, []byte("x")), 0)
				require.True(t, ok)
				require.False(t, seen[c.nonce], "%v: %d %d", a, epoch, seq)
				seen[c.nonce] = true
				if c.explicit > 0 {
					require.Equal(t, r.Raw[3:11], r.Payload[:8], "epoch and number")
				}
			}
		}
	}
}

// TestExplicitNonceIsThePeers: RFC 5288, Section 3 leaves it to the sender.
func TestExplicitNonceIsThePeers(t *testing.T) {
	t.Parallel()
	for _, a := range all[:6] {
		c := NewCipher(testKey(a))
		const number = 1<<48 | 9
		c.setNonce(number, 0x0123456789abcdef)
		c.setAdditional(TypeApplicationData, VersionDTLS12, number, nil, 2)
		payload := c.aead.Seal(bytes.Clone(c.nonce[4:]), c.nonce[:], []byte("hi"), c.aad)
		typ, plaintext, ok := c.Open(Record{Type: TypeApplicationData, Version: VersionDTLS12, Epoch: 1, Seq: 9, Payload: payload})
		require.True(t, ok)
		require.Equal(t, TypeApplicationData, typ)
		require.Equal(t, "hi", string(plaintext))
	}
}

// TestD07SpoofersPrice prints what it takes to end a session by forged records (S24), with the shortest ones, over IPv4.
func TestD07SpoofersPrice(t *testing.T) {
	const headers = 20 + 8
	for _, a := range all {
		c := NewCipher(testKey(a))
		r, _, _ := Parse(c.Seal(nil, TypeApplicationData, 1, 7, nil, nil), 0)
		r.Seq++
		const tries = 2000
		start := time.Now()
		for range tries {
			_, _, ok := c.Open(r)
			require.False(t, ok)
		}
		each := time.Since(start) / tries
		n := a.MaxFailedOpens()
		t.Logf("%-18v %10d records of %d bytes, %6d MB on the wire; %8v at 1000/s; costs us %v of opening",
			a, n, len(r.Raw), n*uint64(headers+len(r.Raw))/1e6, (time.Duration(n) * time.Millisecond).Round(time.Minute),
			(time.Duration(n) * each).Round(10*time.Millisecond))
	}
}
