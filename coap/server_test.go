package coap

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestC01MalformedInSession sends every malformed message inside a session, which goes on each time.
func TestC01MalformedInSession(t *testing.T) {
	t.Parallel()
	var calls int
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
		calls++
		_ = x.Respond(&Message{Code: Content, Payload: []byte("alive")})
	})})
	conn := &recorder{}
	p := e.NewPeer(conn, Profile{})
	for i, tt := range malformed {
		e.Receive(p, tt.in)
		if tt.reject {
			require.Equal(t, Message{Type: Reset, MessageID: 1}, conn.one(t), tt.name)
		} else {
			require.Empty(t, conn.take(), tt.name)
		}
		e.Receive(p, wire(t, Message{Code: GET, MessageID: uint16(i) + 2}))
		require.Equal(t, "alive", string(conn.one(t).Payload), tt.name)
	}
	require.Equal(t, len(malformed), calls)
	require.EqualValues(t, len(malformed), e.Stats().Refused[ReasonFormat])
}

// TestC01Codes sends what is a message but no request that can be served.
func TestC01Codes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   Message
		want *Message // nil: nothing
	}{
		{"ping", Message{Code: Empty}, &Message{Type: Reset}}, // RFC 7252, Section 4.3
		{"unknown method 0.31", Message{Code: 31}, &Message{Type: Acknowledgement, Code: MethodNotAllowed}},
		{"unsolicited CON response", Message{Code: Content}, &Message{Type: Reset}},
		{"unsolicited CON 3.00", Message{Code: 3 << 5}, &Message{Type: Reset}},
		{"unsolicited NON response", Message{Type: NonConfirmable, Code: Content}, nil},
		{"unsolicited ACK response", Message{Type: Acknowledgement, Code: Content}, nil},
		{"foreign ACK", Message{Type: Acknowledgement}, nil},
		{"foreign RST", Message{Type: Reset}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := New(&Config{Handler: handlerFunc(func(*Exchange) { t.Error("handler called") })})
			conn := &recorder{}
			p := e.NewPeer(conn, Profile{})
			tt.in.MessageID = 7
			e.Receive(p, wire(t, tt.in))
			got := conn.take()
			if tt.want == nil {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, tt.want.Type, got[0].Type)
			require.Equal(t, tt.want.Code, got[0].Code)
			require.EqualValues(t, 7, got[0].MessageID)
		})
	}
}

// TestC01Options: critical options that are unknown, ill-sized or repeated are refused, elective ones ignored (RFC 7252,
// Sections 5.4.1, 5.4.3 and 5.4.5).
func TestC01Options(t *testing.T) {
	t.Parallel()
	const oneM2M = OptionID(279)
	many := path()
	for range maxSegments + 1 {
		many = many.AddString(URIPath, "a")
	}
	tooMany := Options(nil)
	for range maxOptions {
		tooMany = tooMany.Add(ETag, []byte("e"))
	}
	for _, tt := range []struct {
		name   string
		in     Options
		code   Code
		text   string
		passed Options // what the Handler sees, when it is called
	}{
		{"unknown critical", Options{{ID: 65001}}, BadOption, "option 65001 not supported here", nil},
		{"OSCORE", Options{{ID: 9}}, BadOption, "option 9 not supported here", nil},
		{"If-Match, which the Handler does not take", Options{{ID: IfMatch}}, BadOption, "option 1 not supported here", nil},
		{"Q-Block1", Options{{ID: 19}}, BadOption, "option 19 not supported here", nil},
		{"understood critical", Options{{ID: oneM2M, Value: []byte("C")}}, Content, "", Options{{ID: oneM2M, Value: []byte("C")}}},
		{"unknown elective", Options{{ID: 65000, Value: []byte("x")}}, Content, "", Options{{ID: 65000, Value: []byte("x")}}},
		{"Accept twice", Options{{ID: Accept}, {ID: Accept}}, BadOption, "option 17 not supported here", nil},
		{"Accept of 4 bytes", Options{{ID: Accept, Value: []byte{1, 0, 0, 50}}}, BadOption, "option 17 not supported here", nil},
		{"Uri-Host twice", Options{{ID: URIHost, Value: []byte("a")}, {ID: URIHost, Value: []byte("a")}}, BadOption, "option 3 not supported here", nil},
		{"Uri-Path of 256 bytes", Options{{ID: URIPath, Value: make([]byte, 256)}}, BadOption, "option 11 not supported here", nil},
		{"Uri-Path not UTF-8", Options{{ID: URIPath, Value: []byte{0xff}}}, BadOption, "option 11 not supported here", nil},
		{"Block1 of 4 bytes", Options{{ID: Block1, Value: make([]byte, 4)}}, BadOption, "option 27 not supported here", nil},
		{"Block1 with GET", Options{{ID: Block1}}, BadOption, "option 27 not supported here", nil},
		{"ETag of 9 bytes", Options{{ID: ETag, Value: make([]byte, 9)}}, Content, "", Options{}},
		{"Content-Format twice", Options{{ID: ContentFormat}, {ID: ContentFormat, Value: []byte{50}}}, Content, "", Options{{ID: ContentFormat}}},
		{"33 segments", many, BadRequest, "more than 32 path and query segments", nil},
		{"65 options", tooMany, BadRequest, "more than 64 options", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, typ := range []Type{Confirmable, NonConfirmable} {
				var seen Options
				e := New(&Config{
					Understands: func(_ *Peer, id OptionID) bool { return id == oneM2M },
					Handler: handlerFunc(func(x *Exchange) {
						x.Detach()
						seen = x.Request().Options
						_ = x.Respond(&Message{Code: Content})
					}),
				})
				conn := &recorder{}
				p := e.NewPeer(conn, Profile{})
				b := wire(t, Message{Type: typ, Code: GET, Token: []byte("t"), Options: tt.in})
				if tt.name == "65 options" {
					b = append(b, 0)
				}
				e.Receive(p, b)
				if typ == NonConfirmable && (tt.code == BadOption || tt.name == "65 options") {
					require.Empty(t, conn.take())
					continue
				}
				got := conn.one(t)
				require.Equal(t, tt.code, got.Code)
				require.Equal(t, tt.text, string(got.Payload))
				require.Equal(t, "t", string(got.Token))
				require.Len(t, seen, len(tt.passed))
				for i := range seen {
					require.Equal(t, tt.passed[i].ID, seen[i].ID)
					require.True(t, bytes.Equal(tt.passed[i].Value, seen[i].Value))
				}
			}
		})
	}
}

// TestC09NoProxy: neither Proxy-Uri nor a foreign or over-long Uri-Host gets past the option check (S39).
func TestC09NoProxy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   Options
		want Code
	}{
		{"Proxy-Uri", Options(nil).AddString(ProxyURI, "coap://169.254.169.254/"), ProxyingNotSupported},
		{"over-long Proxy-Uri", Options(nil).Add(ProxyURI, make([]byte, 1100)), ProxyingNotSupported},
		{"empty Proxy-Uri", Options(nil).Add(ProxyURI, nil), ProxyingNotSupported},
		{"Proxy-Scheme", Options(nil).AddString(ProxyScheme, "http"), ProxyingNotSupported},
		{"Proxy-Uri behind an unknown critical option", Options{{ID: 9}, {ID: ProxyURI}}, ProxyingNotSupported},
		{"foreign Uri-Host", Options(nil).AddString(URIHost, "other.example"), ProxyingNotSupported},
		{"over-long Uri-Host", Options(nil).Add(URIHost, bytes.Repeat([]byte("a"), 256)), BadOption},
		{"empty Uri-Host", Options(nil).Add(URIHost, nil), BadOption},
		{"our Uri-Host", Options(nil).AddString(URIHost, "gateway.example"), Content},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			called := false
			e := New(&Config{
				Host: func(host string) bool { return host == "gateway.example" },
				Handler: handlerFunc(func(x *Exchange) {
					called = true
					_ = x.Respond(&Message{Code: Content})
				}),
			})
			conn := &recorder{}
			e.Receive(e.NewPeer(conn, Profile{}), wire(t, Message{Code: GET, Options: tt.in}))
			require.Equal(t, tt.want, conn.one(t).Code)
			require.Equal(t, tt.want == Content, called)
		})
	}
}

// TestSeparateResponse: empty ACK after AckDelay, then a Confirmable response that is retransmitted at growing intervals
// until it is acknowledged, reset or given up (RFC 7252, Sections 4.2 and 5.2.2).
func TestSeparateResponse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		finish func(e *Endpoint, p *Peer, mid uint16)
		copies int
	}{
		{"acknowledged", func(e *Endpoint, p *Peer, mid uint16) {
			b := emptyMessage(Acknowledgement, mid)
			e.Receive(p, b[:])
		}, 2},
		{"reset", func(e *Endpoint, p *Peer, mid uint16) {
			b := emptyMessage(Reset, mid)
			e.Receive(p, b[:])
		}, 2},
		{"foreign ACK and RST", func(e *Endpoint, p *Peer, mid uint16) { // S31
			for _, typ := range []Type{Acknowledgement, Reset} {
				b := emptyMessage(typ, mid+1)
				e.Receive(p, b[:])
				b = emptyMessage(typ, mid)
				e.Receive(e.NewPeer(&recorder{}, Profile{}), b[:])
			}
		}, 1 + maxRetransmit},
		{"never answered", func(*Endpoint, *Peer, uint16) {}, 1 + maxRetransmit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				var x *Exchange
				e := serve(t, &Config{Handler: handlerFunc(func(y *Exchange) { x = y; y.Detach() })})
				conn := &recorder{}
				p := e.NewPeer(conn, Profile{})
				e.Receive(p, wire(t, Message{Code: POST, MessageID: 5, Token: []byte("tok"), Payload: []byte("up")}))
				time.Sleep(999 * time.Millisecond)
				require.Empty(t, conn.take())
				time.Sleep(2 * time.Millisecond)
				require.Equal(t, Message{Type: Acknowledgement, MessageID: 5}, conn.one(t))
				require.Equal(t, "up", string(x.Request().Payload))
				require.EqualValues(t, 1, e.Stats().Exchanges)

				start := time.Now()
				require.NoError(t, x.Respond(&Message{Code: Changed, Payload: []byte("done")}))
				require.ErrorIs(t, x.Respond(&Message{Code: Changed}), ErrResponded)
				time.Sleep(3500 * time.Millisecond) // after the first retransmission, before the second
				sent, _ := conn.all()
				require.Len(t, sent, 2)
				tt.finish(e, p, sent[0].MessageID)
				time.Sleep(200 * time.Second)
				sent, at := conn.all()
				require.Len(t, sent, tt.copies)
				for _, m := range sent {
					require.Equal(t, sent[0], m)
					require.Equal(t, Confirmable, m.Type)
					require.Equal(t, "tok", string(m.Token))
				}
				first := at[1].Sub(start)
				require.GreaterOrEqual(t, first, 2*time.Second)
				require.LessOrEqual(t, first, 3*time.Second)
				for i := 2; i < len(at); i++ { // the time-out doubles
					require.Equal(t, first<<(i-1), at[i].Sub(at[i-1]))
				}
				require.Zero(t, e.Stats().Exchanges)
			})
		})
	}
}

// separately returns a peer with n requests that were acknowledged and wait for their responses.
func separately(t *testing.T, n int, c *Config, prof Profile) (*session, []*Exchange) {
	t.Helper()
	var held []*Exchange
	c.Handler = handlerFunc(func(x *Exchange) { held = append(held, x) })
	s := newSession(t, serve(t, c), prof)
	for i := range n {
		s.e.Receive(s.p, wire(t, Message{Code: POST, MessageID: uint16(i), Token: []byte{byte(i)}}))
	}
	time.Sleep(2 * time.Second)
	require.Len(t, s.conn.take(), n)
	require.Len(t, held, n)
	return s, held
}

// TestSeparateResponsesQueue: NSTART Confirmable responses are outstanding at most; the others follow in their order, whichever
// way the one before them ends (RFC 7252, Section 4.7).
func TestSeparateResponsesQueue(t *testing.T) {
	t.Parallel()
	const n = 20
	for _, tt := range []struct {
		name   string
		nStart int
		finish Type
	}{
		{"acknowledged", 1, Acknowledgement},
		{"reset", 1, Reset},
		{"two at once", 2, Acknowledgement},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				s, held := separately(t, n, &Config{}, Profile{NStart: tt.nStart})
				for _, x := range held {
					require.NoError(t, x.Respond(&Message{Code: Changed}))
				}
				mids := make(map[uint16]bool)
				for next := 0; next < n; {
					time.Sleep(time.Millisecond)
					sent := s.conn.take()
					require.NotEmpty(t, sent)
					require.LessOrEqual(t, len(sent), tt.nStart)
					for _, m := range sent {
						require.Equal(t, Confirmable, m.Type)
						require.Equal(t, []byte{byte(next)}, m.Token)
						require.False(t, mids[m.MessageID])
						mids[m.MessageID] = true
						next++
						b := emptyMessage(tt.finish, m.MessageID)
						s.e.Receive(s.p, b[:])
						s.e.Receive(s.p, b[:]) // a second one hands on nothing
					}
				}
				stats := s.e.Stats()
				require.Zero(t, stats.Exchanges)
				require.Zero(t, stats.Retransmissions)
				require.EqualValues(t, n, stats.Out[Confirmable])
				time.Sleep(time.Hour)
				require.Empty(t, s.conn.take())
				require.True(t, idle(s.p))
			})
		})
	}
	t.Run("never acknowledged", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			s, held := separately(t, 3, &Config{}, Profile{})
			require.NoError(t, held[0].Respond(&Message{Code: Changed}))
			require.NoError(t, held[1].Respond(&Message{Code: Changed}))
			time.Sleep(40 * time.Second)
			require.NoError(t, held[2].Respond(&Message{Code: Changed}))
			time.Sleep(300 * time.Second)
			sent := s.conn.take()
			copies := make(map[byte]int)
			for _, m := range sent {
				copies[m.Token[0]]++
			}
			// The second one may have waited for MAX_TRANSMIT_WAIT, 93 s, when its turn comes after 62 to 93 s; none gets more
			// copies than RFC 7252, Section 4.2 allows, and none outlives its requester's patience in the queue.
			require.Equal(t, 1+maxRetransmit, copies[0])
			require.Equal(t, 1+maxRetransmit, copies[1])
			require.LessOrEqual(t, copies[2], 1+maxRetransmit)
			require.Zero(t, s.e.Stats().Exchanges)
			require.EqualValues(t, 3, s.e.Stats().Timeouts)
		})
	})
	t.Run("waited too long", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			s, held := separately(t, 64, &Config{}, Profile{})
			for _, x := range held {
				require.NoError(t, x.Respond(&Message{Code: Changed}))
			}
			require.EqualValues(t, 64, s.e.Stats().Exchanges)
			time.Sleep(280 * time.Second) // thrice MAX_TRANSMIT_WAIT
			require.Zero(t, s.e.Stats().Exchanges)
			require.EqualValues(t, 64, s.e.Stats().Timeouts)
		})
	})
	t.Run("repeated request", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			s, held := separately(t, 2, &Config{}, Profile{})
			for _, x := range held {
				require.NoError(t, x.Respond(&Message{Code: Changed}))
			}
			s.conn.take()
			s.e.Receive(s.p, wire(t, Message{Code: POST, MessageID: 1, Token: []byte{1}}))
			require.Equal(t, Message{Type: Acknowledgement, MessageID: 1}, s.conn.one(t))
		})
	})
	t.Run("peer closed", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			s, held := separately(t, 4, &Config{}, Profile{})
			for _, x := range held[:3] {
				require.NoError(t, x.Respond(&Message{Code: Changed}))
			}
			first := s.conn.one(t)
			b := emptyMessage(Acknowledgement, first.MessageID)
			s.e.Receive(s.p, b[:]) // the second one is about to be sent
			s.e.ClosePeer(s.p)
			require.ErrorIs(t, held[3].Respond(&Message{Code: Changed}), ErrClosed)
			stats := s.e.Stats()
			require.Zero(t, stats.Exchanges+stats.Records+stats.RecordBytes)
			time.Sleep(time.Hour)
			require.Empty(t, s.conn.take())
			require.Empty(t, s.e.sched.timers)
		})
	})
	t.Run("shutdown", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			s, held := separately(t, 2, &Config{}, Profile{})
			for _, x := range held {
				require.NoError(t, x.Respond(&Message{Code: Changed}))
			}
			done := make(chan error, 1)
			go func() { done <- s.e.Shutdown(t.Context()) }()
			for range held {
				time.Sleep(time.Millisecond)
				require.Empty(t, done)
				b := emptyMessage(Acknowledgement, s.conn.one(t).MessageID)
				s.e.Receive(s.p, b[:])
			}
			require.NoError(t, <-done)
		})
	})
}

// TestNonRequest: a Non-confirmable request gets a Non-confirmable response (RFC 7252, Section 5.2.3).
func TestNonRequest(t *testing.T) {
	t.Parallel()
	e := New(&Config{Handler: respond(Content)})
	conn := &recorder{}
	p := e.NewPeer(conn, Profile{})
	e.Receive(p, wire(t, Message{Type: NonConfirmable, Code: POST, Token: []byte("t"), Payload: []byte("x")}))
	got := conn.one(t)
	require.Equal(t, NonConfirmable, got.Type)
	require.Equal(t, "t", string(got.Token))
}

// TestNoResponse: RFC 7967. What is not sent is counted all the same.
func TestNoResponse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value uint32
		code  Code
		sent  bool
	}{
		{0, Changed, true}, {2, Changed, false}, {2, NotFound, true}, {8, NotFound, false}, {8, Content, true},
		{16, InternalServerError, false}, {16, Conflict, true}, {26, Created, false}, {26, Conflict, false},
		{26, HopLimitReached, false}, {26, UnprocessableEntity, false}, {26, TooManyRequests, false},
	} {
		t.Run(fmt.Sprint(tt.value, tt.code), func(t *testing.T) {
			t.Parallel()
			for _, typ := range []Type{Confirmable, NonConfirmable} {
				e := New(&Config{Handler: respond(tt.code)})
				conn := &recorder{}
				p := e.NewPeer(conn, Profile{})
				b := wire(t, Message{Type: typ, Code: POST, MessageID: 3, Options: Options(nil).AddUint(NoResponse, tt.value)})
				for range 2 { // the repetition gets the same
					e.Receive(p, b)
					got := conn.take()
					switch {
					case tt.sent && typ == Confirmable:
						require.Len(t, got, 1)
						require.Equal(t, tt.code, got[0].Code)
					case typ == Confirmable:
						require.Equal(t, []Message{{Type: Acknowledgement, MessageID: 3}}, got)
					case !tt.sent:
						require.Empty(t, got)
					}
				}
				require.EqualValues(t, 1, e.Stats().Responses[tt.code])
				require.EqualValues(t, 1, e.Stats().Requests)
			}
		})
	}
}

// TestNoResponseToRefusals: what this package answers itself obeys No-Response too, but for an intermediate 2.31.
func TestNoResponseToRefusals(t *testing.T) {
	t.Parallel()
	e := New(&Config{Handler: respond(Changed)})
	s := newSession(t, e, Profile{})
	none := uintOption(NoResponse, 26)
	got := s.ask(Message{Code: GET, Options: Options{none, {ID: 65001}}})
	require.Equal(t, Message{Type: Acknowledgement, MessageID: s.mid}, got)
	require.EqualValues(t, 1, e.Stats().Responses[BadOption])
	e.Receive(s.p, wire(t, Message{Type: NonConfirmable, Code: GET, Options: Options{{ID: ProxyURI}, none}}))
	require.Empty(t, s.conn.take())
	require.Equal(t, Continue, s.ask(part(0, true, sixtyFour("a"), none)).Code)
	require.Equal(t, Empty, s.ask(part(1, false, "b", none)).Code)
	require.EqualValues(t, 1, e.Stats().Requests)
}
