package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// rawSession is a session of the device whose datagrams the test writes and reads itself.
type rawSession struct {
	f      *fixture
	served *coap.Peer
	down   chan []byte
	mid    uint16
}

// movingPipe is a pipe whose peer's address may be on trial.
type movingPipe struct {
	pipe
	trial *bool
}

func (p movingPipe) Challenge() (c [8]byte, ok bool) {
	return [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, *p.trial
}

func (p movingPipe) Prove([8]byte) { *p.trial = false }

func (f *fixture) raw(wrap ...func(pipe) coap.Conn) *rawSession {
	f.t.Helper()
	s := &rawSession{f: f, down: make(chan []byte, 64)}
	conn := coap.Conn(pipe{s.down})
	for _, w := range wrap {
		conn = w(pipe{s.down})
	}
	var ok bool
	s.served, ok = f.bridge.open(conn, psk("dev"))
	require.True(f.t, ok)
	return s
}

// datagram is m as one, with a Message ID and token of its own.
func (s *rawSession) datagram(m *coap.Message, echo []byte) []byte {
	s.f.t.Helper()
	s.mid++
	out := *m
	out.MessageID, out.Token = s.mid, []byte(fmt.Sprintf("token%03d", s.mid))
	if echo != nil {
		out.Options = append(coap.Options{}, out.Options...).Add(coap.Echo, echo)
	}
	b, err := out.AppendBinary(nil)
	require.NoError(s.f.t, err)
	return b
}

// let hands a datagram to the bridge and returns the answer.
func (s *rawSession) let(datagram []byte) *coap.Message {
	s.f.t.Helper()
	s.f.bridge.coap.Receive(s.served, datagram)
	m, err := coap.Parse(<-s.down)
	require.NoError(s.f.t, err)
	return &m
}

// echo is what m is challenged with.
func (s *rawSession) echo(m *coap.Message) []byte {
	s.f.t.Helper()
	answer := s.let(s.datagram(m, nil))
	require.Equal(s.f.t, coap.Unauthorized, answer.Code)
	value, ok := answer.Options.Find(coap.Echo)
	require.True(s.f.t, ok)
	return value
}

// TestC03Actuator: a state change of an actuator that was held back is not executed, nor is the older of two that were swapped
// (S33, RFC 9175, Section 2.3).
func TestC03Actuator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var audit strings.Builder
		f := start(t, Device{Name: "meter1", Actuator: true, AllowDelete: true},
			func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&audit, nil)) })
		newMemoryCSE(f)
		stored := func() []string { return f.stored("cse-in/meter1/a") }
		require.Equal(t, coap.Created, f.do(plain(coap.POST, "a", "0")).Code, "a client that knows Echo notices nothing")
		require.Equal(t, coap.Changed, f.do(plain(coap.PUT, "a", "1")).Code)
		require.Equal(t, []string{"0", "1"}, stored())
		s := f.raw()
		require.Equal(t, coap.Content, s.let(s.datagram(plain(coap.GET, "a", ""), nil)).Code, "reading changes nothing")
		for _, code := range []coap.Code{coap.POST, coap.PUT, coap.DELETE} {
			require.Equal(t, coap.Unauthorized, s.let(s.datagram(plain(code, "a", "x"), nil)).Code)
			require.Equal(t, coap.Unauthorized, s.let(s.datagram(plain(code, "a", "x"), []byte("guessed!"))).Code)
		}

		// held 60 s, with the Echo value and without
		held := s.datagram(plain(coap.PUT, "a", "held"), s.echo(plain(coap.PUT, "a", "held")))
		bare := s.datagram(plain(coap.PUT, "a", "bare"), nil)
		time.Sleep(60 * time.Second)
		require.Equal(t, coap.Unauthorized, s.let(held).Code)
		require.Equal(t, coap.Unauthorized, s.let(bare).Code)
		require.Equal(t, []string{"0", "1"}, stored())

		// swapped: the older one comes after the younger one was taken, within any time
		older := s.datagram(plain(coap.PUT, "a", "older"), s.echo(plain(coap.PUT, "a", "older")))
		time.Sleep(time.Second)
		younger := s.datagram(plain(coap.PUT, "a", "younger"), s.echo(plain(coap.PUT, "a", "younger")))
		time.Sleep(time.Second)
		require.Equal(t, coap.Changed, s.let(younger).Code)
		time.Sleep(time.Second)
		require.Equal(t, coap.Unauthorized, s.let(older).Code)
		require.Equal(t, []string{"0", "1", "younger"}, stored())

		// one value is for one change, and for one session
		value := s.echo(plain(coap.PUT, "a", "2"))
		time.Sleep(time.Second)
		require.Equal(t, coap.Unauthorized, f.raw().let(s.datagram(plain(coap.PUT, "a", "2"), value)).Code, "another session's")
		require.Equal(t, coap.Changed, s.let(s.datagram(plain(coap.PUT, "a", "2"), value)).Code)
		time.Sleep(time.Second)
		require.Equal(t, coap.Unauthorized, s.let(s.datagram(plain(coap.PUT, "a", "3"), value)).Code)
		require.Equal(t, []string{"0", "1", "younger", "2"}, stored())
		require.NotZero(t, f.bridge.Stats().Refusals[RefusedFreshness])
		synctest.Wait()
		require.Empty(t, audit.String(), "each change begins so: nothing for the log, and nothing of its limited rate")
		for _, r := range f.layer.requests() {
			require.Empty(t, r.VendorInformation, "Echo goes nowhere")
		}
	})
}

// TestC03ActuatorOneM2M: the same of the oneM2M profile, where a repeat of the Request Identifier changes nothing.
func TestC03ActuatorOneM2M(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1", Actuator: true, Originators: []string{"Cmeter1"}})
		for _, op := range []onem2m.Operation{onem2m.Create, onem2m.Update, onem2m.Delete, onem2m.Notify} {
			r := &onem2m.Request{Operation: op, To: "cse-in/meter1", From: "Cmeter1", RequestID: "r" + op.String(), ReleaseVersion: "3"}
			if op == onem2m.Create {
				r.ResourceType = onem2m.TypeContainer
			}
			if op != onem2m.Delete {
				r.Content, r.MediaType = []byte(`{"m2m:cnt":{}}`), "application/json"
			}
			m, err := r.CoAP(onem2m.CoAPProfile{})
			require.NoError(t, err)
			s := f.raw()
			before := len(f.layer.requests())
			held := s.datagram(m, s.echo(m))
			require.Len(t, f.layer.requests(), before, "not executed")
			time.Sleep(60 * time.Second)
			require.Equal(t, coap.Unauthorized, s.let(held).Code)
			require.Len(t, f.layer.requests(), before)
			answer := s.let(s.datagram(m, s.echo(m)))
			require.Equal(t, uint8(2), answer.Code.Class(), answer.Code)
			require.Len(t, f.layer.requests(), before+1)
			time.Sleep(time.Second)
			require.Equal(t, answer.Code, s.let(s.datagram(m, s.echo(m))).Code)
			require.Len(t, f.layer.requests(), before+1, "executed once")
		}
		r := &onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/meter1", From: "Cmeter1", RequestID: "get", ReleaseVersion: "3"}
		m, err := r.CoAP(onem2m.CoAPProfile{})
		require.NoError(t, err)
		s := f.raw()
		require.Equal(t, coap.Content, s.let(s.datagram(m, nil)).Code)
	})
}

// TestC03Moved: from an address that nothing proves yet no device changes anything; its Echo proves the address (S28, S33).
func TestC03Moved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Device{Name: "meter1"})
		newMemoryCSE(f)
		trial := false
		s := f.raw(func(p pipe) coap.Conn { return movingPipe{p, &trial} })
		require.Equal(t, coap.Changed, s.let(s.datagram(plain(coap.PUT, "a", "1"), nil)).Code)
		trial = true
		value := s.echo(plain(coap.PUT, "a", "2"))
		require.Equal(t, coap.Content, s.let(s.datagram(plain(coap.GET, "a", ""), nil)).Code)
		require.Equal(t, []string{"1"}, f.stored("cse-in/meter1/a"))
		require.Equal(t, coap.Changed, s.let(s.datagram(plain(coap.PUT, "a", "2"), value)).Code)
		require.False(t, trial)
		require.Equal(t, coap.Changed, s.let(s.datagram(plain(coap.PUT, "a", "3"), nil)).Code)
	})
}

// TestHopLimit: a request that may not be forwarded isn't (RFC 8768, Section 3), in either profile; what is answered here is.
func TestHopLimit(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1", Originators: []string{"Cmeter1"}})
	newMemoryCSE(f)
	r := &onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/meter1/a/la", From: "Cmeter1", RequestID: "r", ReleaseVersion: "3"}
	primitive, err := r.CoAP(onem2m.CoAPProfile{})
	require.NoError(t, err)
	with := func(m *coap.Message, limit uint32) *coap.Message {
		out := *m
		out.Options = append(coap.Options{}, m.Options...).AddUint(coap.HopLimit, limit)
		return &out
	}
	for _, m := range []*coap.Message{plain(coap.PUT, "a", "1"), plain(coap.GET, "a", ""), primitive} {
		answer := f.do(with(m, 1))
		require.Equal(t, coap.HopLimitReached, answer.Code)
		require.Equal(t, "coap-bridge", string(answer.Payload))
	}
	require.Empty(t, f.layer.requests())
	require.Equal(t, coap.Changed, f.do(with(plain(coap.PUT, "a", "1"), 2)).Code)
	require.Equal(t, coap.Content, f.do(with(primitive, 255)).Code)
	require.Equal(t, coap.Content, f.do(with(plain(coap.GET, ".well-known/core", ""), 1)).Code)
	require.EqualValues(t, 3, f.bridge.Stats().Refusals[RefusedHopLimit])
}

// TestProblemDetails: what fails is told in the form that the client accepts (RFC 9290), and nothing of it names the CSE, a path
// or an identity (S36).
func TestProblemDetails(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"})
	f.layer.answers(func(context.Context, *onem2m.Request) (*onem2m.Response, error) {
		return nil, fmt.Errorf("%w: dial 10.0.0.1: secret", ErrUnreachable)
	})
	answer := f.do(plain(coap.POST, "a", "1"))
	require.Equal(t, coap.ServiceUnavailable, answer.Code)
	require.Equal(t, explain("", coap.ServiceUnavailable), string(answer.Payload))
	require.Equal(t, -1, formatNumber(answer))
	age, ok := answer.Options.Uint(coap.MaxAge)
	require.True(t, ok)
	require.EqualValues(t, 5, age)
	m := plain(coap.POST, "a", "1")
	m.Options = m.Options.AddUint(coap.Accept, 257)
	answer = f.do(m)
	require.Equal(t, 257, formatNumber(answer))
	require.Contains(t, string(answer.Payload), explain("", coap.ServiceUnavailable))
	require.NotContains(t, string(answer.Payload), "secret")
}
