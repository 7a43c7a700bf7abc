package coap

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// session is one peer of an Endpoint whose datagrams a test writes by hand.
type session struct {
	t    *testing.T
	e    *Endpoint
	p    *Peer
	conn *recorder
	mid  uint16
}

func newSession(t *testing.T, e *Endpoint, prof Profile) *session {
	conn := &recorder{}
	return &session{t: t, e: e, conn: conn, p: e.NewPeer(conn, prof)}
}

// ask sends a request with a fresh Message ID and returns the only answer.
func (s *session) ask(m Message) Message {
	s.t.Helper()
	s.mid++
	m.MessageID = s.mid
	s.e.Receive(s.p, wire(s.t, m))
	return s.conn.one(s.t)
}

// part is one block of a body of 64-byte blocks.
func part(num uint32, more bool, payload string, extra ...Option) Message {
	o := path("a")
	for _, x := range extra {
		o = o.Add(x.ID, x.Value)
	}
	return Message{Code: POST, Options: o.AddUint(Block1, block{num, more, 2}.value()), Payload: []byte(payload)}
}

func sixtyFour(c string) string { return string(bytes.Repeat([]byte(c), 64)) }

func uintOption(id OptionID, v uint32) Option { return Option{ID: id, Value: AppendUint(nil, v)} }

// TestC04Bodies: no body is ever mixed, short or of another requester (RFC 7959, Section 2; S34).
func TestC04Bodies(t *testing.T) {
	t.Parallel()
	a, b := sixtyFour("a"), sixtyFour("b")
	tagged := func(m Message, tag string) Message {
		m.Options = m.Options.AddString(RequestTag, tag)
		return m
	}
	token := func(m Message, token string) Message { m.Token = []byte(token); return m }
	type step struct {
		in   Message
		want Code
		peer int
	}
	for _, tt := range []struct {
		name  string
		steps []step
		want  []string // bodies as the Handler got them
	}{
		{"whole", []step{{part(0, true, a), Continue, 0}, {part(1, false, "z"), Changed, 0}}, []string{a + "z"}},
		{"one block", []step{{part(0, false, "z"), Changed, 0}}, []string{"z"}},
		{"changed token", []step{{token(part(0, true, a), "1"), Continue, 0}, {token(part(1, false, "z"), "2"), Changed, 0}}, []string{a + "z"}},
		{"block 0 again begins again", []step{
			{part(0, true, a), Continue, 0}, {part(1, true, a), Continue, 0}, {part(0, true, b), Continue, 0}, {part(1, false, "z"), Changed, 0},
		}, []string{b + "z"}},
		{"a single block replaces", []step{
			{part(0, true, a), Continue, 0}, {part(0, false, "z"), Changed, 0}, {part(1, false, "y"), RequestEntityIncomplete, 0},
		}, []string{"z"}},
		{"gap", []step{
			{part(0, true, a), Continue, 0}, {part(2, false, "z"), RequestEntityIncomplete, 0}, {part(1, false, "y"), Changed, 0},
		}, []string{a + "y"}},
		{"no block 0", []step{{part(1, false, "z"), RequestEntityIncomplete, 0}}, nil},
		{"same block again", []step{
			{part(0, true, a), Continue, 0}, {part(1, true, b), Continue, 0}, {part(1, true, b), Continue, 0}, {part(2, false, "z"), Changed, 0},
		}, []string{a + b + "z"}},
		{"same block with other bytes", []step{
			{part(0, true, a), Continue, 0}, {part(1, true, a), Continue, 0}, {part(1, true, b), RequestEntityIncomplete, 0},
			{part(2, false, "z"), RequestEntityIncomplete, 0},
		}, nil},
		{"after the end", []step{
			{part(0, true, a), Continue, 0}, {part(1, false, "z"), Changed, 0}, {part(1, false, "z"), RequestEntityIncomplete, 0},
		}, []string{a + "z"}},
		{"two bodies by Request-Tag", []step{
			{tagged(part(0, true, a), "1"), Continue, 0}, {tagged(part(0, true, b), "2"), Continue, 0},
			{tagged(part(1, false, "x"), "1"), Changed, 0}, {tagged(part(1, false, "y"), "2"), Changed, 0},
		}, []string{a + "x", b + "y"}},
		{"foreign Request-Tag", []step{{tagged(part(0, true, a), "1"), Continue, 0}, {tagged(part(1, false, "x"), "2"), RequestEntityIncomplete, 0}}, nil},
		{"another method", []step{
			{part(0, true, a), Continue, 0},
			{Message{Code: PUT, Options: part(1, false, "").Options, Payload: []byte("x")}, RequestEntityIncomplete, 0},
		}, nil},
		{"another session goes on", []step{{part(0, true, a), Continue, 0}, {part(1, false, "x"), RequestEntityIncomplete, 1}}, nil},
		{"short block before the end", []step{{part(0, true, "short"), BadRequest, 0}}, nil},
		{"block longer than its size", []step{{part(0, false, a+"x"), BadRequest, 0}}, nil},
		{"reserved size", []step{{Message{Code: POST, Options: Options{uintOption(Block1, 7)}}, BadRequest, 0}}, nil},
		{"smaller blocks from the middle", []step{
			{part(0, true, a), Continue, 0},
			{Message{Code: POST, Options: path("a").AddUint(Block1, block{4, false, 0}.value()), Payload: []byte("x")}, Changed, 0},
		}, []string{a + "x"}},
		{"true size", []step{{part(0, true, a, uintOption(Size1, 65)), Continue, 0}, {part(1, false, "x"), Changed, 0}}, []string{a + "x"}},
		{"false size, short body", []step{{part(0, true, a, uintOption(Size1, 100)), Continue, 0}, {part(1, false, "x"), RequestEntityIncomplete, 0}}, nil},
		{"false size, long body", []step{{part(0, true, a, uintOption(Size1, 64)), Continue, 0}, {part(1, false, "x"), RequestEntityIncomplete, 0}}, nil},
		{"false size, one block", []step{{part(0, false, "x", uintOption(Size1, 2)), RequestEntityIncomplete, 0}}, nil},
		{"Size1 of 4 GB", []step{{part(0, true, a, uintOption(Size1, 1<<32-1)), RequestEntityTooLarge, 0}}, nil},
		{"Size1 above the limit", []step{{part(0, true, a, uintOption(Size1, 257)), RequestEntityTooLarge, 0}}, nil},
		{"body above the limit", []step{
			{part(0, true, a), Continue, 0}, {part(1, true, a), Continue, 0}, {part(2, true, a), Continue, 0}, {part(3, true, a), Continue, 0},
			{part(4, false, "x"), RequestEntityTooLarge, 0}, {part(1, false, "x"), RequestEntityIncomplete, 0},
		}, nil},
		{"one message above the limit", []step{{Message{Code: POST, Payload: make([]byte, 257)}, RequestEntityTooLarge, 0}}, nil},
		{"block number 2^20-1", []step{{part(maxBlockNum, true, a), RequestEntityTooLarge, 0}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var bodies []string
			e := New(&Config{Limits: Limits{MaxBody: 256}, Handler: handlerFunc(func(x *Exchange) {
				_, has := x.Request().Options.Find(Block1)
				require.False(t, has)
				bodies = append(bodies, string(x.Request().Payload))
				require.NoError(t, x.Respond(&Message{Code: Changed}))
			})})
			peers := []*session{newSession(t, e, Profile{}), newSession(t, e, Profile{})}
			for i, s := range tt.steps {
				got := peers[s.peer].ask(s.in)
				require.Equal(t, s.want, got.Code, "step %d: %s", i, got.Payload)
				in, _ := s.in.Options.block(Block1)
				switch echo, ok := got.Options.block(Block1); got.Code {
				case Continue:
					require.True(t, ok)
					require.Equal(t, in, echo)
				case Changed: // RFC 7959, Section 2.3
					require.True(t, ok)
					require.Equal(t, in.num, echo.num)
					require.False(t, echo.more)
				case RequestEntityTooLarge:
					size, ok := got.Options.Uint(Size1)
					require.True(t, ok)
					require.EqualValues(t, 256, size)
				}
			}
			require.Equal(t, tt.want, bodies)
			for _, s := range peers {
				e.ClosePeer(s.p)
			}
			require.Zero(t, e.Stats().Bodies)
			require.Zero(t, e.Stats().BodyBytes)
		})
	}
}

// TestC05BodiesBounded: 10,000 begun bodies of one peer cost no more than its share; another's bodies stay.
func TestC05BodiesBounded(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e := serve(t, &Config{Handler: respond(Changed)})
		honest, loud := newSession(t, e, Profile{}), newSession(t, e, Profile{})
		require.Equal(t, Continue, honest.ask(part(0, true, sixtyFour("h"))).Code)
		refused := 0
		for i := range uint32(10_000) {
			m := part(0, true, sixtyFour("l"), uintOption(Size1, 64<<10), uintOption(RequestTag, i))
			if got := loud.ask(m); got.Code == ServiceUnavailable {
				refused++
			}
		}
		require.Equal(t, 10_000-defaultMaxBodies, refused)
		require.LessOrEqual(t, e.Stats().BodyBytes, int64((defaultMaxBodies+1)*(firstBodyAllocation+bodyCost)))
		got := honest.ask(part(1, false, "x"))
		require.Equal(t, Changed, got.Code)
		require.Equal(t, sixtyFour("h")+"x", string(got.Payload))
		time.Sleep(260 * time.Second)
		require.Zero(t, e.Stats().Bodies)
		require.Equal(t, Continue, loud.ask(part(0, true, sixtyFour("l"))).Code)
	})
}

// TestC05OwnBodiesGiveWay: at its bound, a peer's own oldest body that did not advance for MAX_TRANSMIT_WAIT gives way, so
// that a device which gave up its transfers is not locked out. One that advances stays, and so do those of others.
func TestC05OwnBodiesGiveWay(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		e := serve(t, &Config{Handler: respond(Changed)})
		device, other := newSession(t, e, Profile{}), newSession(t, e, Profile{})
		begin := func(tag uint32) Code {
			return device.ask(part(0, true, sixtyFour("l"), uintOption(RequestTag, tag))).Code
		}
		advance := func(tag, num uint32) Code {
			return device.ask(part(num, true, sixtyFour("l"), uintOption(RequestTag, tag))).Code
		}
		require.Equal(t, Continue, other.ask(part(0, true, sixtyFour("o"))).Code)
		for i := range uint32(defaultMaxBodies) { // at 0, 20, 40 and 60 s
			require.Equal(t, Continue, begin(i+1))
			time.Sleep(20 * time.Second)
		}
		require.Equal(t, Continue, advance(1, 1)) // at 80 s
		time.Sleep(30 * time.Second)              // 110 s: 2 did not advance for 90 s
		require.Equal(t, ServiceUnavailable, begin(9))
		time.Sleep(5 * time.Second) // 115 s
		require.Equal(t, Continue, begin(9))
		require.Equal(t, ServiceUnavailable, begin(10))
		require.Equal(t, RequestEntityIncomplete, advance(2, 1)) // dropped
		require.Equal(t, Continue, advance(1, 2))
		require.Equal(t, Continue, advance(9, 1))
		require.EqualValues(t, defaultMaxBodies+1, e.Stats().Bodies)
		time.Sleep(20 * time.Second) // 135 s
		require.Equal(t, Continue, begin(10))
		require.Equal(t, RequestEntityIncomplete, advance(3, 1))
		require.Equal(t, Continue, advance(4, 1))
		got := other.ask(part(1, false, "x"))
		require.Equal(t, Changed, got.Code)
		require.Equal(t, sixtyFour("o")+"x", string(got.Payload))
		time.Sleep(260 * time.Second)
		require.Zero(t, e.Stats().Bodies+e.Stats().BodyBytes)
	})
}

// TestC05BodySum: the sum of all bodies is bounded, those in the Handler's hands included.
func TestC05BodySum(t *testing.T) {
	t.Parallel()
	var held []*Exchange
	e := New(&Config{Limits: Limits{MaxBodyBytesTotal: 3 << 10}, Handler: handlerFunc(func(x *Exchange) { held = append(held, x) })})
	begun := 0
	for range 100 {
		s := newSession(t, e, Profile{})
		if s.ask(part(0, true, sixtyFour("a"))).Code != Continue {
			continue
		}
		begun++
		s.mid++
		m := part(1, false, "x")
		m.MessageID = s.mid
		e.Receive(s.p, wire(t, m))
	}
	require.Positive(t, begun)
	require.Len(t, held, begun)
	require.LessOrEqual(t, e.Stats().BodyBytes, int64(3<<10))
	for _, x := range held {
		require.NoError(t, x.Respond(&Message{Code: Changed}))
	}
	require.Zero(t, e.Stats().BodyBytes)
	require.Equal(t, Continue, newSession(t, e, Profile{}).ask(part(0, true, sixtyFour("a"))).Code)
}

// TestBlock1Smaller: the server asks for blocks that fit its path.
func TestBlock1Smaller(t *testing.T) {
	t.Parallel()
	e := New(&Config{Handler: respond(Changed)})
	s := newSession(t, e, Profile{})
	s.conn.size = 200
	in := Message{Code: POST, Options: Options(nil).AddUint(Block1, block{0, true, 6}.value()), Payload: make([]byte, 1024)}
	echo, _ := s.ask(in).Options.block(Block1)
	require.Equal(t, block{0, true, 3}, echo)
}

// fetchRest gets what follows the first block of a body, and returns it with its ETag and the number of requests.
func (s *session) fetchRest(m Message, szx uint8) (body []byte, etag string, n int) {
	s.t.Helper()
	for b := (block{num: 1, szx: szx}); ; b.num++ {
		ask := m
		ask.Options = append(Options(nil), m.Options...).Remove(Block2).AddUint(Block2, b.value())
		got := s.ask(ask)
		require.Equal(s.t, uint8(2), got.Code.Class(), "%s %s", got.Code, got.Payload)
		echo, ok := got.Options.block(Block2)
		require.True(s.t, ok)
		require.Equal(s.t, b.num, echo.num)
		require.Equal(s.t, szx, echo.szx)
		tag, ok := got.Options.Find(ETag)
		require.True(s.t, ok)
		require.True(s.t, etag == "" || etag == string(tag))
		etag = string(tag)
		body, n = append(body, got.Payload...), n+1
		if !echo.more {
			return body, etag, n
		}
	}
}

// TestC04ResponseBlocks: later blocks come from the body that was begun, without the Handler; each requester has its own.
func TestC04ResponseBlocks(t *testing.T) {
	t.Parallel()
	for _, code := range []Code{GET, POST, FETCH} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			calls := 0
			e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
				calls++
				body := bytes.Repeat([]byte{byte(calls)}, 1000)
				require.NoError(t, x.Respond(&Message{Code: Content, Options: Options(nil).AddUint(ContentFormat, 42), Payload: body}))
				clear(body) // it is the Handler's again
			})})
			a, b := newSession(t, e, Profile{}), newSession(t, e, Profile{})
			first := Message{Code: code, Options: path("x").AddUint(Block2, 2)}
			a.ask(first)
			b.ask(first)
			bodyA, _, n := a.fetchRest(first, 2)
			require.Equal(t, bytes.Repeat([]byte{1}, 1000-64), bodyA)
			require.Equal(t, 15, n)
			bodyB, _, _ := b.fetchRest(first, 2)
			require.Equal(t, bytes.Repeat([]byte{2}, 1000-64), bodyB)
			require.Equal(t, 2, calls)
		})
	}
}

// TestC04NewerBody: a request for the first block replaces the body; what follows is never of the older one. Observe, which
// only the first request carries, doesn't make another transfer of it (RFC 7959, Section 2.6).
func TestC04NewerBody(t *testing.T) {
	t.Parallel()
	calls := 0
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
		calls++
		_ = x.Respond(&Message{Code: Content, Payload: bytes.Repeat([]byte{byte(calls)}, 200)})
	})})
	s := newSession(t, e, Profile{})
	for want := byte(1); want < 4; want++ {
		s.ask(Message{Code: GET, Options: path("x").AddUint(Observe, 0).AddUint(Block2, 2)})
		rest, _, _ := s.fetchRest(Message{Code: GET, Options: path("x")}, 2)
		require.Equal(t, bytes.Repeat([]byte{want}, 200-64), rest)
		require.EqualValues(t, 1, e.Stats().Kept)
	}
}

// TestC04Fetch: the payload of a FETCH tells its transfers apart (RFC 8132, Section 2).
func TestC04Fetch(t *testing.T) {
	t.Parallel()
	e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
		_ = x.Respond(&Message{Code: Content, Payload: bytes.Repeat(x.Request().Payload, 100)})
	})})
	s := newSession(t, e, Profile{})
	ask := func(payload string, num uint32) Message {
		return s.ask(Message{Code: FETCH, Options: path("x").AddUint(Block2, block{num: num, szx: 2}.value()), Payload: []byte(payload)})
	}
	ask("a", 0)
	ask("b", 0)
	require.Equal(t, sixtyFour("a")[:36], string(ask("a", 1).Payload))
	require.Equal(t, sixtyFour("b")[:36], string(ask("b", 1).Payload))
	require.Equal(t, RequestEntityIncomplete, ask("c", 1).Code)
	require.EqualValues(t, 2, e.Stats().Requests)
}

// TestC04BlockGone: when the body is gone, a GET is executed again and says by its ETag that the body is another one; what
// may have changed something is not.
func TestC04BlockGone(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		calls := 0
		e := serve(t, &Config{Handler: handlerFunc(func(x *Exchange) {
			calls++
			_ = x.Respond(&Message{Code: Content, Payload: bytes.Repeat([]byte{byte(calls)}, 200)})
		})})
		s := newSession(t, e, Profile{})
		for _, code := range []Code{GET, POST} {
			first := s.ask(Message{Code: code, Options: path("x").AddUint(Block2, 2)})
			time.Sleep(keptLifetime + 3*time.Second)
			require.Zero(t, e.Stats().KeptBytes)
			before := calls
			got := s.ask(Message{Code: code, Options: path("x").AddUint(Block2, block{num: 1, szx: 2}.value())})
			if code == POST {
				require.Equal(t, RequestEntityIncomplete, got.Code)
				require.Equal(t, before, calls)
				continue
			}
			require.Equal(t, before+1, calls)
			require.Equal(t, bytes.Repeat([]byte{2}, 64), got.Payload)
			was, _ := first.Options.Find(ETag)
			is, _ := got.Options.Find(ETag)
			require.NotEqual(t, was, is)
			beyond := s.ask(Message{Code: GET, Options: path("x").AddUint(Block2, block{num: 9, szx: 2}.value())})
			require.Equal(t, BadRequest, beyond.Code)
		}
	})
}

// TestC05KeptBounded: kept bodies push out the same peer's older ones, never another's.
func TestC05KeptBounded(t *testing.T) {
	t.Parallel()
	e := New(&Config{Limits: Limits{MaxKeptBytes: 4 << 10, MaxKeptBytesTotal: 8 << 10}, Handler: handlerFunc(func(x *Exchange) {
		_ = x.Respond(&Message{Code: Content, Payload: make([]byte, 2000)})
	})})
	honest := newSession(t, e, Profile{})
	get := Message{Code: GET, Options: path("honest").AddUint(Block2, 2)}
	honest.ask(get)
	for range 10 {
		loud := newSession(t, e, Profile{})
		for i := range uint32(20) {
			require.Equal(t, Content, loud.ask(Message{Code: GET, Options: path("loud").AddUint(URIQuery, i).AddUint(Block2, 2)}).Code)
		}
	}
	require.LessOrEqual(t, e.Stats().KeptBytes, int64(8<<10))
	requests := e.Stats().Requests
	rest, _, _ := honest.fetchRest(get, 2)
	require.Len(t, rest, 2000-64)
	require.Equal(t, requests, e.Stats().Requests)
	require.Positive(t, e.Stats().Refused[ReasonNotKept])
}

func TestResponseTooLarge(t *testing.T) {
	t.Parallel()
	var err error
	e := New(&Config{Limits: Limits{MaxKeptBytes: 1 << 10}, Handler: handlerFunc(func(x *Exchange) {
		err = x.Respond(&Message{Code: Content, Payload: make([]byte, 2000)})
	})})
	s := newSession(t, e, Profile{})
	require.Equal(t, InternalServerError, s.ask(Message{Code: GET}).Code)
	require.ErrorIs(t, err, ErrBodyTooLarge)
}

// TestResponseFits: every datagram fits the path, whatever block was asked for.
func TestResponseFits(t *testing.T) {
	t.Parallel()
	for size := 80; size < 1300; size += 7 {
		e := New(&Config{Handler: handlerFunc(func(x *Exchange) {
			_ = x.Respond(&Message{Code: Content, Options: Options(nil).AddUint(ContentFormat, 42), Payload: make([]byte, 1500)})
		})})
		s := newSession(t, e, Profile{})
		s.conn.size = size
		for _, o := range []Options{path("x"), path("x").AddUint(Block2, 6), path("x").AddUint(Block2, block{num: 1, szx: 6}.value())} {
			got := s.ask(Message{Code: GET, Token: make([]byte, 8), Options: o})
			require.Equal(t, Content, got.Code)
			require.LessOrEqual(t, got.size(), size)
		}
	}
}
