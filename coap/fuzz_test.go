package coap

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzReceive sends any datagrams to a server and client in one of several states: no panic, no answer that is no message,
// every bound kept, and nothing left behind when the peer is closed. Each datagram is preceded by its length in one byte.
func FuzzReceive(f *testing.F) {
	frame := func(ms ...Message) (b []byte) {
		for _, m := range ms {
			d := wire(f, m)
			b = append(append(b, byte(len(d))), d...)
		}
		return b
	}
	for state := range byte(8) {
		for _, m := range malformed {
			f.Add(state, append([]byte{byte(len(m.in))}, m.in...))
		}
		f.Add(state, frame(part(0, true, sixtyFour("a")), part(1, true, sixtyFour("b")), part(2, false, "c")))
		f.Add(state, frame(part(1, false, "c"), part(0, true, sixtyFour("b"), uintOption(Size1, 1<<31))))
		f.Add(state, frame(Message{Code: GET, Options: path("a").AddUint(Block2, 2)},
			Message{Code: GET, MessageID: 1, Options: path("a").AddUint(Block2, block{num: 3, szx: 2}.value())}))
		f.Add(state, frame(Message{Type: Acknowledgement, MessageID: 1}, Message{Type: Reset, MessageID: 2},
			Message{Type: Confirmable, Code: Content, MessageID: 3, Token: []byte("\x00\x00\x00\x00\x00\x00\x00\x01")}))
		f.Add(state, frame(registration("a", "a", 0), registration("a", "b", 0), registration("b", "a", 0), registration("a", "a", 1),
			Message{Type: Acknowledgement, MessageID: 2}, Message{Type: Reset, MessageID: 2}))
		f.Add(state, frame(Message{Type: NonConfirmable, Code: Content, MessageID: 3, Token: []byte("\x00\x00\x00\x00\x00\x00\x00\x01"),
			Options: Options(nil).AddUint(Observe, 3).AddUint(Block2, 8), Payload: make([]byte, 16)},
			Message{Code: NotFound, MessageID: 4, Token: []byte("\x00\x00\x00\x00\x00\x00\x00\x01")}))
		f.Add(state, frame(Message{Type: NonConfirmable, Code: PUT, Options: Options(nil).AddUint(NoResponse, 2)}))
	}
	f.Fuzz(func(t *testing.T, state byte, in []byte) {
		var open []*Exchange
		limits := Limits{MaxBody: 512, MaxRecordBytes: 2000, MaxExchanges: 3, MaxBodies: 2, MaxBodyBytesTotal: 4096, MaxKeptBytes: 2048, MaxObservations: 2}
		e := New(&Config{Limits: limits, Host: func(h string) bool { return h != "x" }, Handler: handlerFunc(func(x *Exchange) {
			require.LessOrEqual(t, len(x.Request().Payload), 512)
			if x.Request().Code == POST {
				x.Detach()
				open = append(open, x)
				return
			}
			if o, err := x.RespondObserve(&Message{Code: Content, Payload: make([]byte, 1000)}, ObserveOptions{}); o != nil && err == nil {
				_ = o.Notify(&Message{Code: Content, Payload: make([]byte, 1100)})
			}
		})})
		conn := &recorder{}
		p := e.NewPeer(conn, Profile{})
		p.nextMID = 1
		enter(t, e, p, state%8)
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			e.Receive(p, in[1:1+n])
			in = in[1+n:]
			s := e.Stats()
			require.LessOrEqual(t, s.RecordBytes, int64(2000+4*1200))
			require.LessOrEqual(t, s.BodyBytes, int64(4096))
			require.LessOrEqual(t, s.Bodies, int64(2))
			require.LessOrEqual(t, s.KeptBytes, int64(2048+bodyCost+2*2048))
			require.LessOrEqual(t, s.Observations, int64(2))
			require.LessOrEqual(t, s.Exchanges, int64(3))
		}
		for i, x := range open {
			if i%2 == 0 {
				_ = x.Respond(&Message{Code: Created, Payload: make([]byte, 100*i)})
			}
		}
		for range 3 { // whatever timers are left
			p.alarm(time.Now().Add(time.Hour))
		}
		e.ClosePeer(p)
		for _, x := range open {
			_ = x.Respond(&Message{Code: Created})
		}
		s := e.Stats()
		require.Zero(t, s.Records+s.RecordBytes+s.Bodies+s.BodyBytes+s.Kept+s.KeptBytes+s.Exchanges+s.Calls+s.Observations+s.Observed)
		require.NoError(t, e.Shutdown(t.Context()))
	})
}

// enter brings p into a state.
func enter(t *testing.T, e *Endpoint, p *Peer, state byte) {
	switch state {
	case 1: // a body is begun
		e.Receive(p, wire(t, part(0, true, sixtyFour("a"))))
	case 2: // a response body is kept
		e.Receive(p, wire(t, Message{Code: GET, Options: path("a").AddUint(Block2, 2)}))
	case 3: // a request is in progress
		e.Receive(p, wire(t, Message{Code: POST, MessageID: 9}))
	case 6: // it observes, and a notification is under way
		e.Receive(p, wire(t, registration("a", "a", 0)))
	case 7: // it is observed
		o := &Observed{peer: p, token: 1, request: Message{Code: GET}, notify: func(*Message) {}, taken: true}
		p.mu.Lock()
		p.stateLocked().observed = map[uint64]*Observed{1: o}
		p.mu.Unlock()
		e.count.observed.Add(1)
	case 4, 5: // a request of ours waits
		require.NoError(t, p.takeTurn(t.Context()))
		_, _, err := p.begin(&Message{Type: Type(state - 4), Code: GET}, 1)
		require.NoError(t, err)
	}
}
