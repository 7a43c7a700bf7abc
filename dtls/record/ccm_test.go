package record

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	pionccm "github.com/pion/dtls/v3/pkg/crypto/ccm"
	"github.com/stretchr/testify/require"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func newCCM(t testing.TB, key []byte, tagLen int) *ccm {
	t.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	return &ccm{block: block, tagLen: tagLen}
}

// aeadOf returns what a Cipher works with.
func aeadOf(t testing.TB, a AEAD, secret []byte) cipher.AEAD {
	t.Helper()
	k := &Key{AEAD: a}
	require.Equal(t, a.KeyLen(), copy(k.Secret[:], secret))
	return NewCipher(k).aead
}

func checkVector(t *testing.T, aead cipher.AEAD, v vector) {
	t.Helper()
	nonce, additional, plaintext, sealed := unhex(t, v.nonce), unhex(t, v.additional), unhex(t, v.plaintext), unhex(t, v.sealed)
	require.Equal(t, sealed, aead.Seal(nil, nonce, plaintext, additional))
	opened, err := aead.Open(nil, nonce, sealed, additional)
	require.NoError(t, err)
	require.Equal(t, plaintext, opened)
}

func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	for _, v := range ccmVectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			checkVector(t, newCCM(t, unhex(t, v.key), (len(v.sealed)-len(v.plaintext))/2), v)
		})
	}
	for _, v := range gcmVectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			kind := AES128GCM
			if len(v.key) == 64 {
				kind = AES256GCM
			}
			checkVector(t, aeadOf(t, kind, unhex(t, v.key)), v)
		})
	}
	for _, v := range chachaVectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			checkVector(t, aeadOf(t, ChaCha20Poly1305, unhex(t, v.key)), v)
		})
	}
}

// checkCCM compares ours with pion's for one message, and finds each flipped bit of what was sealed.
func checkCCM(t *testing.T, key, nonce, plaintext, additional []byte, tagLen int) {
	t.Helper()
	ours := newCCM(t, key, tagLen)
	theirs, err := pionccm.NewCCM(ours.block, tagLen, len(nonce))
	require.NoError(t, err)
	want := theirs.Seal(nil, nonce, plaintext, additional)
	require.Equal(t, want, ours.Seal(nil, nonce, plaintext, additional))

	prefix := []byte("prefix")
	buf := append(append(make([]byte, 0, len(prefix)+len(want)), prefix...), plaintext...)
	require.Equal(t, want, ours.Seal(buf[:len(prefix)], nonce, buf[len(prefix):], additional)[len(prefix):], "in place")
	require.Equal(t, prefix, buf[:len(prefix)])

	got, err := ours.Open(prefix, nonce, want, additional)
	require.NoError(t, err)
	require.Equal(t, plaintext, got[len(prefix):])
	for _, bit := range []int{0, len(plaintext) * 8, len(want)*8 - 1} {
		forged := bytes.Clone(want)
		forged[bit/8] ^= 1 << (bit % 8)
		_, err = ours.Open(forged[:0], nonce, forged, additional)
		require.Error(t, err)
		require.Equal(t, make([]byte, len(plaintext)), forged[:len(plaintext)], "plaintext of a forgery")
	}
	if len(additional) > 0 {
		_, err = ours.Open(nil, nonce, want, additional[1:])
		require.Error(t, err)
	}
}

// TestCCMAgainstPion walks the edges of blocks and chunks.
func TestCCMAgainstPion(t *testing.T) {
	t.Parallel()
	rnd := rand.NewChaCha8([32]byte{1})
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rnd.Read(b)
		return b
	}
	for n := range 200 {
		checkCCM(t, random(16+n%2*16), random(12), random(n), random(n%64), 8+n%2*8)
	}
	for n := range 7 {
		checkCCM(t, random(16), random(7+n), random(100), random(13), 4+2*n)
	}
	for _, n := range []int{4095, 4096, maxPlaintext, maxPlaintext + 1} {
		checkCCM(t, random(16), random(12), random(n), random(23+maxCID), 16)
	}
}

// TestD05CCMParameters: the classes InvalidNonceSize (CVE-2017-18330 the longest), InvalidTagSize and InsecureTagSize of
// Wycheproof. Records have one nonce length and two tag lengths; others can't be asked for.
func TestD05CCMParameters(t *testing.T) {
	t.Parallel()
	c := newCCM(t, make([]byte, 16), 16)
	for _, n := range []int{0, 1, 6, 14, 16, 61, 300} {
		require.Panics(t, func() { c.Seal(nil, make([]byte, n), nil, nil) }, n)
		require.Panics(t, func() { _, _ = c.Open(nil, make([]byte, n), make([]byte, 16), nil) }, n)
	}
	require.Panics(t, func() { c.Seal(nil, make([]byte, 12), make([]byte, 1<<16), nil) })
	require.Panics(t, func() { c.Seal(nil, make([]byte, 12), nil, make([]byte, 0xff00)) })
	_, err := c.Open(nil, make([]byte, 12), make([]byte, 15), nil)
	require.Error(t, err)
	require.Equal(t, 12, c.NonceSize())
	require.Equal(t, 16, c.Overhead())
}

// FuzzCCM compares ours with pion's.
func FuzzCCM(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), []byte("nonce of 12b"), []byte("plaintext"), []byte("additional"), true)
	f.Add(make([]byte, 32), make([]byte, 13), make([]byte, 65), make([]byte, 31), false)
	f.Fuzz(func(t *testing.T, key, nonce, plaintext, additional []byte, long bool) {
		key = append(key, make([]byte, 32)...)[:16+len(key)%2*16]
		nonce = append(nonce, make([]byte, 7)...)
		nonce = nonce[:min(len(nonce), 13)]
		tagLen := 8
		if long {
			tagLen = 16
		}
		plaintext = append([]byte{}, plaintext[:min(len(plaintext), maxPayload)]...)
		checkCCM(t, key, nonce, plaintext, additional[:min(len(additional), 0xfeff)], tagLen)
	})
}

func TestAEADLengths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in                 AEAD
		name               string
		key, iv, tag, over int
		seals, failed      uint64
	}{
		{AES128CCM, "AES_128_CCM", 16, 4, 16, 24, 1 << 23, 11863283},
		{AES128CCM8, "AES_128_CCM_8", 16, 4, 8, 16, 1 << 23, 1 << 20},
		{AES256CCM, "AES_256_CCM", 32, 4, 16, 24, 1 << 23, 11863283},
		{AES256CCM8, "AES_256_CCM_8", 32, 4, 8, 16, 1 << 23, 1 << 20},
		{AES128GCM, "AES_128_GCM", 16, 4, 16, 24, 23726566, 1 << 28},
		{AES256GCM, "AES_256_GCM", 32, 4, 16, 24, 23726566, 1 << 28},
		{ChaCha20Poly1305, "CHACHA20_POLY1305", 32, 12, 16, 16, 1<<48 - 1, 1 << 28},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.name, tt.in.String())
			require.Equal(t, tt.key, tt.in.KeyLen())
			require.Equal(t, tt.iv, tt.in.IVLen())
			require.Equal(t, tt.tag, tt.in.TagLen())
			require.Equal(t, tt.over, tt.in.Overhead())
			require.Equal(t, tt.seals, tt.in.MaxSeals())
			require.Equal(t, tt.failed, tt.in.MaxFailedOpens())
		})
	}
	require.Equal(t, "AEAD(0)", AEAD(0).String())
	require.PanicsWithValue(t, "record: unknown AEAD", func() { NewCipher(&Key{}) })
	require.PanicsWithValue(t, "record: unknown AEAD", func() { NewCipher(&Key{AEAD: 8}) })
	require.Equal(t, "[redacted] [redacted] [redacted]",
		fmt.Sprintf("%v %#v %x", *testKey(AES128CCM), testKey(AES128CCM), NewCipher(testKey(AES128CCM))))
}
