package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// scripted is a Conn whose other side is a function: for each request it returns the answers.
type scripted struct {
	recorder
	e      *Endpoint
	p      *Peer
	answer func(req Message) []Message
}

func (s *scripted) Send(b []byte) error {
	if err := s.recorder.Send(b); err != nil {
		return err
	}
	m, err := Parse(bytes.Clone(b))
	if err != nil || !m.Code.IsRequest() {
		return err
	}
	for _, a := range s.answer(m) {
		d, err := a.AppendBinary(nil)
		if err != nil {
			return err
		}
		time.AfterFunc(time.Millisecond, func() { s.e.Receive(s.p, d) })
	}
	return nil
}

// client returns an Endpoint with one peer that answers as the function says.
func client(t *testing.T, prof Profile, answer func(Message) []Message) (*Endpoint, *Peer, *scripted) {
	e := serve(t, &Config{})
	s := &scripted{e: e, answer: answer}
	s.p = e.NewPeer(s, prof)
	return e, s.p, s
}

func piggyback(req Message, code Code, payload string) Message {
	return Message{Type: Acknowledgement, Code: code, MessageID: req.MessageID, Token: req.Token, Payload: []byte(payload)}
}

// TestC02Matching: answers with a foreign token or Message ID are not matched, and the waiting request is unharmed (S31).
func TestC02Matching(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		forge  func(req Message) Message
		resets int // answers of ours with RST
	}{
		{"foreign token", func(r Message) Message { r.Token = []byte("12345678"); return r }, 0},
		{"empty token", func(r Message) Message { r.Token = nil; return r }, 0},
		{"token cut", func(r Message) Message { r.Token = r.Token[:7]; return r }, 0},
		{"foreign Message ID in ACK", func(r Message) Message { r.MessageID++; return r }, 0},
		{"empty ACK with foreign Message ID", func(r Message) Message { return Message{Type: Acknowledgement, MessageID: r.MessageID + 1} }, 0},
		{"RST with foreign Message ID", func(r Message) Message { return Message{Type: Reset, MessageID: r.MessageID + 1} }, 0},
		{"separate CON with foreign token", func(r Message) Message {
			r.Type, r.Token = Confirmable, []byte("12345678")
			return r
		}, 1},
		{"separate NON with foreign token", func(r Message) Message {
			r.Type, r.Token = NonConfirmable, []byte("12345678")
			return r
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				var honest atomic.Bool
				e, p, conn := client(t, Profile{}, func(req Message) []Message {
					if honest.Load() {
						return []Message{piggyback(req, Content, "true")}
					}
					return []Message{tt.forge(piggyback(req, Content, "forged"))}
				})
				done := make(chan *Message)
				go func() {
					m, err := e.Do(t.Context(), p, &Message{Code: GET})
					require.NoError(t, err)
					done <- m
				}()
				time.Sleep(time.Second)
				require.Len(t, done, 0)
				sent, _ := conn.all()
				require.Len(t, sent, 1+tt.resets)
				if tt.resets > 0 {
					require.Equal(t, Reset, sent[1].Type)
				}
				honest.Store(true)
				require.Equal(t, "true", string((<-done).Payload))
				// A second answer to the same request is late: dropped, and a Confirmable one is reset.
				conn.take()
				e.Receive(p, wire(t, piggyback(sent[0], Content, "second")))
				require.Empty(t, conn.take())
				second := piggyback(sent[0], Content, "second")
				second.Type, second.MessageID = Confirmable, 77
				e.Receive(p, wire(t, second))
				require.Equal(t, Message{Type: Reset, MessageID: 77}, conn.one(t))
			})
		})
	}
	t.Run("another session", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			e, p, conn := client(t, Profile{}, func(Message) []Message { return nil })
			other := e.NewPeer(&recorder{}, Profile{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go func() {
				time.Sleep(time.Millisecond)
				sent, _ := conn.all()
				e.Receive(other, wire(t, piggyback(sent[0], Content, "foreign")))
			}()
			_, err := e.Do(ctx, p, &Message{Code: GET})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}

// TestDoResponses: each way a response may come (RFC 7252, Section 5.2).
func TestDoResponses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		typ    Type
		answer func(Message) []Message
		acks   int
		err    error
	}{
		{"piggybacked", Confirmable, func(r Message) []Message { return []Message{piggyback(r, Content, "x")} }, 0, nil},
		{"separate", Confirmable, func(r Message) []Message {
			return []Message{{Type: Acknowledgement, MessageID: r.MessageID}, {Type: Confirmable, Code: Content, MessageID: 1, Token: r.Token, Payload: []byte("x")}}
		}, 1, nil},
		{"separate before its ACK", Confirmable, func(r Message) []Message {
			return []Message{{Type: Confirmable, Code: Content, MessageID: 1, Token: r.Token, Payload: []byte("x")}, {Type: Acknowledgement, MessageID: r.MessageID}}
		}, 1, nil},
		{"separate twice", Confirmable, func(r Message) []Message {
			m := Message{Type: Confirmable, Code: Content, MessageID: 1, Token: r.Token, Payload: []byte("x")}
			return []Message{{Type: Acknowledgement, MessageID: r.MessageID}, m, m}
		}, 2, nil},
		{"NON to CON", Confirmable, func(r Message) []Message {
			return []Message{{Type: NonConfirmable, Code: Content, MessageID: 1, Token: r.Token, Payload: []byte("x")}}
		}, 0, nil},
		{"NON to NON", NonConfirmable, func(r Message) []Message {
			return []Message{{Type: NonConfirmable, Code: Content, MessageID: 1, Token: r.Token, Payload: []byte("x")}}
		}, 0, nil},
		{"NON twice", NonConfirmable, func(r Message) []Message {
			m := Message{Type: NonConfirmable, Code: Content, MessageID: 1, Token: r.Token, Payload: []byte("x")}
			return []Message{m, m}
		}, 0, nil},
		{"RST", Confirmable, func(r Message) []Message { return []Message{{Type: Reset, MessageID: r.MessageID}} }, 0, ErrReset},
		{"RST to NON", NonConfirmable, func(r Message) []Message { return []Message{{Type: Reset, MessageID: r.MessageID}} }, 0, ErrReset},
		{"unknown critical option", Confirmable, func(r Message) []Message {
			m := piggyback(r, Content, "x")
			m.Options = Options{{ID: 283}}
			return []Message{m}
		}, 0, ErrBadOption},
		{"silence", Confirmable, func(Message) []Message { return nil }, 0, ErrTimeout},
		{"silence to NON", NonConfirmable, func(Message) []Message { return nil }, 0, ErrTimeout},
		{"silence after ACK", Confirmable, func(r Message) []Message { return []Message{{Type: Acknowledgement, MessageID: r.MessageID}} }, 0, ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				e, p, conn := client(t, Profile{}, tt.answer)
				start := time.Now()
				m, err := e.Do(t.Context(), p, &Message{Type: tt.typ, Code: GET, Options: path("x")})
				took := time.Since(start)
				time.Sleep(time.Second)
				sent, _ := conn.all()
				if errors.Is(tt.err, ErrTimeout) {
					require.LessOrEqual(t, took, 94*time.Second) // MAX_TRANSMIT_WAIT, RFC 7252, Section 4.8.2
					require.GreaterOrEqual(t, took, 60*time.Second)
				} else {
					require.Len(t, sent, 1+tt.acks)
				}
				require.Equal(t, tt.typ, sent[0].Type)
				require.Len(t, sent[0].Token, 8)
				require.ErrorIs(t, err, tt.err)
				if tt.err == nil {
					require.Equal(t, "x", string(m.Payload))
				}
				require.Zero(t, e.Stats().Calls)
				time.Sleep(20 * time.Minute)
				require.True(t, idle(p))
			})
		})
	}
}

// idle reports whether p keeps nothing.
func idle(p *Peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == nil
}

// TestNStart: requests wait for their turn; an empty acknowledgement passes it on (RFC 7252, Section 4.7).
func TestNStart(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e, p, conn := client(t, Profile{NStart: 2}, func(Message) []Message { return nil })
		e.config.Limits.MaxQueue = 3
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 10)
		for range 6 {
			go func() {
				_, err := e.Do(ctx, p, &Message{Code: GET})
				errs <- err
			}()
		}
		synctest.Wait()
		require.ErrorIs(t, <-errs, ErrQueueFull)
		sent, _ := conn.all()
		require.Len(t, sent, 2)
		e.Receive(p, wire(t, Message{Type: Acknowledgement, MessageID: sent[0].MessageID}))
		synctest.Wait()
		sent, _ = conn.all()
		require.Len(t, sent, 3)
		e.Receive(p, wire(t, piggyback(sent[1], Content, "")))
		synctest.Wait()
		require.NoError(t, <-errs)
		sent, _ = conn.all()
		require.Len(t, sent, 4)
		cancel()
		for range 4 {
			require.ErrorIs(t, <-errs, context.Canceled)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Zero(t, p.state.active)
		require.Empty(t, p.state.waiting)
		require.Empty(t, p.state.sent)
	})
}

// TestMessageIDs: none is used twice within EXCHANGE_LIFETIME, and all are again after it (RFC 7252, Section 4.4).
func TestMessageIDs(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e := serve(t, &Config{})
		p := e.NewPeer(&recorder{}, Profile{})
		seen := make(map[uint16]bool)
		take := func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			mid, ok := p.messageIDLocked(time.Now())
			if ok {
				require.False(t, seen[mid], "%d used again", mid)
				seen[mid] = true
			}
			return ok
		}
		for take() {
		}
		require.GreaterOrEqual(t, len(seen), 1<<16-1024)
		_, err := e.Do(t.Context(), p, &Message{Code: GET})
		require.ErrorIs(t, err, ErrMessageIDs)
		time.Sleep(240 * time.Second)
		require.False(t, take())
		time.Sleep(20 * time.Second)
		clear(seen)
		require.True(t, take())
	})
}

// TestC04Download: a response whose blocks do not agree is begun again or refused, never mixed.
func TestC04Download(t *testing.T) {
	t.Parallel()
	blocks := func(tags ...string) func(Message) []Message { // one tag for each answer
		n := 0
		return func(req Message) []Message {
			b, _ := req.Options.block(Block2)
			tag := tags[min(n, len(tags)-1)]
			n++
			m := piggyback(req, Content, string(bytes.Repeat([]byte(tag[:1]), 16)))
			m.Options = Options(nil).AddString(ETag, tag).AddUint(Block2, block{num: b.num, more: b.num < 2}.value())
			return []Message{m}
		}
	}
	mutate := func(f func(b *block, m *Message)) func(Message) []Message {
		return func(req Message) []Message {
			b, _ := req.Options.block(Block2)
			b.more, b.szx = b.num < 2, 0
			m := piggyback(req, Content, string(make([]byte, 16)))
			f(&b, &m)
			m.Options = m.Options.AddUint(Block2, b.value())
			return []Message{m}
		}
	}
	for _, tt := range []struct {
		name   string
		code   Code
		answer func(Message) []Message
		want   string
		err    error
	}{
		{"one body", GET, blocks("a"), "aaa", nil},
		{"ETag changes once", GET, blocks("a", "a", "b"), "bbb", nil},
		{"ETag changes for ever", GET, blocks("a", "b", "a", "b", "a"), "", ErrBodyChanged},
		{"ETag changes, POST", POST, blocks("a", "a", "b"), "", ErrBodyChanged},
		{"short block", GET, mutate(func(b *block, m *Message) { m.Payload = m.Payload[:5] }), "", ErrBlock},
		{"empty block", GET, mutate(func(b *block, m *Message) { m.Payload = nil }), "", ErrBlock},
		{"long block", GET, mutate(func(b *block, m *Message) { m.Payload = make([]byte, 17) }), "", ErrBlock},
		{"another block", GET, mutate(func(b *block, _ *Message) { b.num = 2 - b.num }), "", ErrBlock},
		{"same block for ever", GET, mutate(func(b *block, _ *Message) { b.num = 0; b.more = true }), "", ErrBlock},
		{"reserved size", GET, mutate(func(b *block, _ *Message) { b.szx = 7 }), "", ErrBlock},
		{"without end", GET, mutate(func(b *block, _ *Message) { b.more = true }), "", ErrBodyTooLarge}, // C05
		{"Size2 of 4 GB", GET, mutate(func(b *block, m *Message) { m.Options = m.Options.AddUint(Size2, 1<<32-1) }), "", ErrBodyTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				e, p, conn := client(t, Profile{MaxBody: 1000}, tt.answer)
				m, err := e.Do(t.Context(), p, &Message{Code: tt.code, Options: path("x")})
				require.ErrorIs(t, err, tt.err)
				if tt.err == nil {
					require.Len(t, m.Payload, 48)
					for i, c := range tt.want {
						require.EqualValues(t, c, m.Payload[16*i])
					}
				}
				sent, _ := conn.all()
				tokens := make(map[string]bool)
				for _, s := range sent {
					tokens[string(s.Token)] = true
				}
				require.Len(t, tokens, len(sent)) // S30
			})
		})
	}
}

// TestDownloadInterrupted: a later block with another code ends the download, or begins it again.
func TestDownloadInterrupted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		method Code
		codes  []Code // of the answers; the last one stays
		want   Code
		err    error
	}{
		{"forgotten once", GET, []Code{Content, RequestEntityIncomplete, Content}, Content, nil},
		{"forgotten for ever", GET, []Code{Content, RequestEntityIncomplete, Content, RequestEntityIncomplete}, RequestEntityIncomplete, nil},
		{"forgotten, POST", POST, []Code{Content, RequestEntityIncomplete}, RequestEntityIncomplete, nil},
		{"busy", GET, []Code{Content, ServiceUnavailable}, ServiceUnavailable, nil},
		{"another success", POST, []Code{Content, Changed}, 0, ErrBodyChanged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				n := 0
				e, p, _ := client(t, Profile{}, func(req Message) []Message {
					code := tt.codes[min(n, len(tt.codes)-1)]
					n++
					m := piggyback(req, code, "")
					if code.Class() == 2 {
						b, _ := req.Options.block(Block2)
						m.Payload = make([]byte, 16)
						m.Options = m.Options.AddUint(Block2, block{num: b.num, more: b.num < 2}.value())
					}
					return []Message{m}
				})
				m, err := e.Do(t.Context(), p, &Message{Code: tt.method})
				require.ErrorIs(t, err, tt.err)
				if tt.err == nil {
					require.Equal(t, tt.want, m.Code)
				}
				if tt.want == Content {
					require.Len(t, m.Payload, 48)
				}
			})
		})
	}
}

// TestUpload: Block1 with the server's wishes (RFC 7959, Sections 2.3, 2.9.2 and 2.9.3).
func TestUpload(t *testing.T) {
	t.Parallel()
	body := make([]byte, 3000)
	for i := range body {
		body[i] = byte(i / 16)
	}
	for _, tt := range []struct {
		name  string
		szx   uint8 // that the server wants
		first Code  // it says so with this code
		drop  bool  // it answers 4.08 once
		one   bool  // token
	}{
		{"as sent", 6, Continue, false, false},
		{"smaller by 2.31", 2, Continue, false, false},
		{"smaller by 4.13", 4, RequestEntityTooLarge, false, false},
		{"begins again after 4.08", 6, Continue, true, false},
		{"one token", 5, Continue, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				var got []byte
				dropped := false
				tokens := make(map[string]bool)
				e, p, _ := client(t, Profile{OneToken: tt.one}, func(req Message) []Message {
					tokens[string(req.Token)] = true
					b, ok := req.Options.block(Block1)
					require.True(t, ok)
					_, tagged := req.Options.Find(RequestTag)
					require.True(t, tagged)
					m := piggyback(req, Continue, "")
					if b.num == 0 {
						got = nil
						size, _ := req.Options.Uint(Size1)
						require.EqualValues(t, len(body), size)
						if tt.first == RequestEntityTooLarge && b.szx > tt.szx {
							m.Code = tt.first
							m.Options = m.Options.AddUint(Block1, block{szx: tt.szx}.value())
							return []Message{m}
						}
					}
					if tt.drop && !dropped && b.num == 1 {
						dropped = true
						m.Code = RequestEntityIncomplete
						return []Message{m}
					}
					require.Equal(t, len(got), b.offset())
					got = append(got, req.Payload...)
					if !b.more {
						m.Code = Changed
					}
					b.szx = min(b.szx, tt.szx)
					m.Options = m.Options.AddUint(Block1, b.value())
					return []Message{m}
				})
				m, err := e.Do(t.Context(), p, &Message{Code: PUT, Options: path("x"), Payload: body})
				require.NoError(t, err)
				require.Equal(t, Changed, m.Code)
				require.Empty(t, m.Options)
				require.Equal(t, body, got)
				require.Equal(t, tt.one, len(tokens) == 1)
			})
		})
	}
}

// TestContinueIsNoAnswer: 2.31 asks for the next block (RFC 7959, Section 2.9.1); where it asks for none it is no answer that
// a caller could take for success.
func TestContinueIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		method Code
		size   int
		answer func(Message) Message
	}{
		{"without Block1", POST, 3000, func(r Message) Message { return piggyback(r, Continue, "") }},
		{"to a whole request", POST, 10, func(r Message) Message { return piggyback(r, Continue, "") }},
		{"to a request without body", GET, 0, func(r Message) Message { return piggyback(r, Continue, "") }},
		{"to the last block", POST, 3000, func(r Message) Message {
			b, _ := r.Options.block(Block1)
			m := piggyback(r, Continue, "")
			m.Options = m.Options.AddUint(Block1, b.value())
			return m
		}},
		{"with Block2", GET, 0, func(r Message) Message {
			m := piggyback(r, Continue, "0123456789abcdef")
			m.Options = m.Options.AddUint(Block2, block{more: true}.value())
			return m
		}},
		{"within a response", GET, 0, func(r Message) Message {
			b, later := r.Options.block(Block2)
			m := piggyback(r, Content, "0123456789abcdef")
			if later {
				m.Code = Continue
			}
			m.Options = m.Options.AddUint(Block2, block{num: b.num, more: true}.value())
			return m
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				e, p, _ := client(t, Profile{}, func(req Message) []Message { return []Message{tt.answer(req)} })
				m, err := e.Do(t.Context(), p, &Message{Code: tt.method, Options: path("a"), Payload: make([]byte, tt.size)})
				require.ErrorIs(t, err, ErrBlock)
				require.Nil(t, m)
			})
		})
	}
}

// TestS30Tokens: every message has a token of its own, so that no late answer is taken for another block's; with OneToken
// every attempt at a transfer has (RFC 9175, Section 4.2).
func TestS30Tokens(t *testing.T) {
	t.Parallel()
	incomplete := func() func(Message) Message {
		return func(req Message) Message { return piggyback(req, RequestEntityIncomplete, "") }
	}
	smaller := func() func(Message) Message { // 4.13 as long as the blocks are larger than 512 bytes, then 4.08
		return func(req Message) Message {
			b, ok := req.Options.block(Block1)
			if ok && b.szx <= 5 {
				return piggyback(req, RequestEntityIncomplete, "")
			}
			m := piggyback(req, RequestEntityTooLarge, "")
			m.Options = m.Options.AddUint(Block1, block{szx: 5}.value())
			return m
		}
	}
	changing := func() func(Message) Message { // each answer has another ETag
		n := uint32(0)
		return func(req Message) Message {
			b, _ := req.Options.block(Block2)
			n++
			m := piggyback(req, Content, "0123456789abcdef")
			m.Options = Options(nil).AddUint(ETag, n).AddUint(Block2, block{num: b.num, more: true}.value())
			return m
		}
	}
	for _, tt := range []struct {
		name   string
		code   Code
		size   int
		answer func() func(Message) Message
		one    []int // the attempt that each message belongs to
	}{
		{"4.08", PUT, 3000, incomplete, []int{0, 1}},
		{"4.13 to a block", PUT, 3000, smaller, []int{0, 1, 2}},
		{"4.13 to a whole request", PUT, 1000, smaller, []int{0, 1, 2}},
		{"another ETag", GET, 0, changing, []int{0, 0, 1, 1}},
	} {
		for _, one := range []bool{false, true} {
			answer := tt.answer()
			t.Run(fmt.Sprintf("%s, one token %t", tt.name, one), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T) {
					e, p, conn := client(t, Profile{OneToken: one}, func(req Message) []Message { return []Message{answer(req)} })
					_, _ = e.Do(t.Context(), p, &Message{Code: tt.code, Options: path("a"), Payload: make([]byte, tt.size)})
					sent, _ := conn.all()
					require.Len(t, sent, len(tt.one))
					for i := range sent {
						for j := range i {
							same := bytes.Equal(sent[i].Token, sent[j].Token)
							require.Equal(t, one && tt.one[i] == tt.one[j], same, "messages %d and %d", j, i)
						}
					}
				})
			})
		}
	}
}

// TestDoRefuses: what can't be sent is refused, and a failing Conn ends the call.
func TestDoRefuses(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e, p, conn := client(t, Profile{}, func(Message) []Message { return nil })
		for _, tt := range []struct {
			in  Message
			err error
		}{
			{Message{Code: Content}, ErrCode},
			{Message{}, ErrCode},
			{Message{Type: Acknowledgement, Code: GET}, ErrType},
			{Message{Code: GET, Options: Options{{ID: 17}, {ID: 11}}}, ErrOptionOrder},
			{Message{Code: POST, Options: Options{{ID: 11, Value: make([]byte, 2000)}}}, ErrBodyTooLarge},
		} {
			_, err := e.Do(t.Context(), p, &tt.in)
			require.ErrorIs(t, err, tt.err)
		}
		require.Empty(t, conn.take())
		broken := errors.New("broken")
		conn.fail = broken
		_, err := e.Do(t.Context(), p, &Message{Code: GET})
		require.ErrorIs(t, err, broken)
		require.Zero(t, e.Stats().Calls)
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Zero(t, p.state.active)
	})
}

// TestShutdown waits for what is in progress, ends what waits, and refuses what is new.
func TestShutdown(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		var x *Exchange
		e := New(&Config{Handler: handlerFunc(func(y *Exchange) { x = y })})
		served := make(chan error)
		go func() { served <- e.Serve() }()
		conn := &recorder{}
		p := e.NewPeer(conn, Profile{})
		e.Receive(p, wire(t, Message{Code: POST, MessageID: 1}))
		asked := make(chan error)
		go func() {
			_, err := e.Do(t.Context(), p, &Message{Code: GET})
			asked <- err
		}()
		synctest.Wait()
		conn.take()
		down := make(chan error)
		go func() { down <- e.Shutdown(t.Context()) }()
		synctest.Wait()
		e.Receive(p, wire(t, Message{Code: POST, MessageID: 2}))
		require.Equal(t, ServiceUnavailable, conn.one(t).Code)
		require.Empty(t, asked, "requests of ours go on while it drains")
		require.NoError(t, x.Respond(&Message{Code: Changed}))
		require.NoError(t, <-down)
		require.NoError(t, <-served)
		require.ErrorIs(t, <-asked, ErrShutdown)
		_, err := e.Do(t.Context(), p, &Message{Code: GET})
		require.ErrorIs(t, err, ErrShutdown)
		require.ErrorIs(t, e.Serve(), ErrShutdown)
		require.ErrorIs(t, e.Shutdown(t.Context()), ErrShutdown)

		slow := New(&Config{Handler: handlerFunc(func(*Exchange) {})})
		slow.Receive(slow.NewPeer(conn, Profile{}), wire(t, Message{Code: POST}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, slow.Shutdown(ctx), context.DeadlineExceeded)
	})
}
