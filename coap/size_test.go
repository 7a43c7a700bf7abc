package coap

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSize2: who asks for the size of a body gets it, with whatever block (RFC 7959, Section 4); it is no part of what is asked for.
func TestSize2(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 10, 64, 300} {
		e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
			_ = x.Respond(&Message{Code: Content, Payload: bytes.Repeat([]byte("x"), n)})
		})})
		s := newSession(t, e, Profile{MaxBlock: 64})
		for num := range uint32(n/64 + 1) {
			if num > 0 && int(num)*64 >= n {
				continue
			}
			o := path("a").AddUint(Size2, 0)
			if num > 0 {
				o = o.AddUint(Block2, block{num: num, szx: 2}.value())
			}
			m := s.ask(Message{Code: GET, Options: o})
			require.Equal(t, Content, m.Code)
			size, ok := m.Options.Uint(Size2)
			require.True(t, ok, "block %d of %d bytes", num, n)
			require.EqualValues(t, n, size)
		}
		if n <= 64 {
			_, ok := s.ask(Message{Code: GET, Options: path("a")}).Options.Find(Size2)
			require.False(t, ok, "it did not ask")
		}
	}
}

// TestRandomAccess: any block may be the first one that is asked for, in any size (RFC 7959, Section 2.4).
func TestRandomAccess(t *testing.T) {
	t.Parallel()
	body := make([]byte, 1500)
	for i := range body {
		body[i] = byte(i / 7)
	}
	for szx := range uint8(maxSZX + 1) {
		size := 16 << szx
		for _, num := range []int{1, (len(body) - 1) / size} {
			executed := 0
			s := newSession(t, New(&Config{Handler: handlerFunc(func(x *Exchange) {
				executed++
				_ = x.Respond(&Message{Code: Content, Payload: body})
			})}), Profile{})
			for _, at := range []int{num, 0, num} {
				m := s.ask(Message{Code: GET, Options: path("a").AddUint(Block2, block{num: uint32(at), szx: szx}.value())})
				require.Equal(t, Content, m.Code)
				b, _ := m.Options.block(Block2)
				require.Equal(t, block{num: uint32(at), szx: szx, more: (at+1)*size < len(body)}, b)
				require.True(t, bytes.Equal(body[at*size:min((at+1)*size, len(body))], m.Payload))
			}
			require.Equal(t, 2, executed, "the first one, and that for block 0, which may be another body")
			beyond := s.ask(Message{Code: GET, Options: path("a").AddUint(Block2, block{num: uint32(len(body)/size + 1), szx: szx}.value())})
			require.Equal(t, BadRequest, beyond.Code)
		}
	}
}

// TestEarlyNegotiation: a client may name the size of blocks in a first request that needs none, for either direction (RFC 7959,
// Sections 2.3, 2.4 and 2.7: the example with 0/1/128 is answered with a smaller size).
func TestEarlyNegotiation(t *testing.T) {
	t.Parallel()
	s := newSession(t, New(&Config{Handler: handlerFunc(func(x *Exchange) {
		_ = x.Respond(&Message{Code: Changed, Payload: x.Request().Payload})
	})}), Profile{MaxBlock: 32})
	ask := func(num1 block, payload string, block2 ...block) Message {
		o := path("a").AddUint(Block1, num1.value())
		for _, b := range block2 {
			o = o.AddUint(Block2, b.value())
		}
		return s.ask(Message{Code: PUT, Options: o, Payload: []byte(payload)})
	}
	m := ask(block{more: true, szx: 3}, sixtyFour("a")+sixtyFour("b"))
	require.Equal(t, Continue, m.Code)
	b, _ := m.Options.block(Block1)
	require.Equal(t, block{more: true, szx: 1}, b)
	m = ask(block{num: 4, szx: 1}, "end", block{szx: 0}) // Block1 and Block2 combined, in a still smaller size
	require.Equal(t, Changed, m.Code)
	b, _ = m.Options.block(Block1)
	require.Equal(t, block{num: 4, szx: 1}, b)
	b, _ = m.Options.block(Block2)
	require.Equal(t, block{more: true, szx: 0}, b)
	whole := string(m.Payload)
	for b.more {
		m = s.ask(Message{Code: PUT, Options: path("a").AddUint(Block2, block{num: b.num + 1}.value())})
		require.Equal(t, Changed, m.Code)
		_, ok := m.Options.Find(Block1)
		require.False(t, ok)
		b, _ = m.Options.block(Block2)
		whole += string(m.Payload)
	}
	require.Equal(t, sixtyFour("a")+sixtyFour("b")+"end", whole)
}

// TestC04ConcurrentBodies: several bodies to one resource, told apart by Request-Tag, grow side by side, and each arrives whole and
// once (RFC 9175, Section 3.3).
func TestC04ConcurrentBodies(t *testing.T) {
	t.Parallel()
	var got []string
	s := newSession(t, New(&Config{Handler: handlerFunc(func(x *Exchange) {
		got = append(got, string(x.Request().Payload))
		_ = x.Respond(&Message{Code: Changed})
	})}), Profile{})
	for num := range uint32(3) {
		for _, tag := range []string{"1", "2", "3", ""} {
			more := []Option{{RequestTag, []byte(tag)}}
			want := Continue
			if num == 2 {
				want = Changed
			}
			require.Equal(t, want, s.ask(part(num, num < 2, sixtyFour("x" + tag)[:64], more...)).Code)
		}
	}
	var want []string
	for _, tag := range []string{"1", "2", "3", ""} {
		each := sixtyFour("x" + tag)[:64]
		want = append(want, each+each+each)
	}
	require.Equal(t, want, got)
}
