package record

import (
	"bytes"
	"crypto/aes"
	"fmt"
	"testing"
)

var all = []AEAD{AES128CCM, AES128CCM8, AES256CCM, AES256CCM8, AES128GCM, AES256GCM, ChaCha20Poly1305}

// testKey is a key of which each part is told apart.
func testKey(a AEAD) *Key {
	k := &Key{AEAD: a}
	for i := range k.Secret[:a.KeyLen()] {
		k.Secret[i] = byte(0x40 + i)
	}
	for i := range k.IV[:a.IVLen()] {
		k.IV[i] = byte(0xa0 + i)
	}
	return k
}

var testCID = []byte{1, 2, 3, 4, 5, 6, 7, 8}

func BenchmarkSeal(b *testing.B) {
	for _, a := range all {
		for _, n := range []int{64, 1024} {
			b.Run(fmt.Sprintf("%v/%d", a, n), func(b *testing.B) {
				c, payload, dst := NewCipher(testKey(a)), make([]byte, n), make([]byte, 0, n+64)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				seq := uint64(0)
				for b.Loop() {
					c.Seal(dst, TypeApplicationData, 1, seq, nil, payload)
					seq++
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, a := range all {
		for _, cid := range [][]byte{nil, testCID} {
			b.Run(fmt.Sprintf("%v/64/cid=%d", a, len(cid)), func(b *testing.B) {
				c := NewCipher(testKey(a))
				sealed := c.Seal(nil, TypeApplicationData, 1, 7, cid, make([]byte, 64))
				datagram := bytes.Clone(sealed)
				b.SetBytes(64)
				b.ReportAllocs()
				for b.Loop() {
					copy(datagram, sealed)
					r, _, _ := Parse(datagram, len(cid))
					if _, _, ok := c.Open(r); !ok {
						b.Fatal("not opened")
					}
				}
			})
		}
	}
}

// BenchmarkOpenForged is what a forged record costs us (S24).
func BenchmarkOpenForged(b *testing.B) {
	for _, a := range all {
		b.Run(a.String(), func(b *testing.B) {
			c := NewCipher(testKey(a))
			r, _, _ := Parse(c.Seal(nil, TypeApplicationData, 1, 7, nil, nil), 0)
			r.Seq++
			b.ReportAllocs()
			for b.Loop() {
				c.Open(r)
			}
		})
	}
}

func BenchmarkNewCipher(b *testing.B) {
	for _, a := range all {
		b.Run(a.String(), func(b *testing.B) {
			k := testKey(a)
			b.ReportAllocs()
			for b.Loop() {
				NewCipher(k)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	datagram := NewCipher(testKey(AES128CCM8)).Seal(nil, TypeApplicationData, 1, 7, testCID, make([]byte, 64))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := Parse(datagram, len(testCID)); !ok {
			b.Fatal("not parsed")
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	var w Window
	b.ReportAllocs()
	seq := uint64(0)
	for b.Loop() {
		if w.Check(seq) == Fresh {
			w.Mark(seq)
		}
		seq++
	}
}

// BenchmarkBlock is the floor: one block of AES-128, of which CCM needs two for 16 bytes.
func BenchmarkBlock(b *testing.B) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 16)
	for b.Loop() {
		block.Encrypt(buf, buf)
	}
}
