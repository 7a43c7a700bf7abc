package bridge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

func instance(rqi, content string) *onem2m.Request {
	return &onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContentInstance, To: "cse-in/Cd/c", From: "Cd",
		RequestID: rqi, ReleaseVersion: "3", Content: []byte(content), MediaType: "application/json"}
}

// session2 opens one more session of the fixture's device and returns a client for it.
func (f *fixture) session2(who string) func(*onem2m.Request) *onem2m.Response {
	var peer *coap.Peer
	served, opened := f.bridge.open(loop{func(b []byte) { f.client.Receive(peer, b) }}, psk(who))
	require.True(f.t, opened)
	peer = f.client.NewPeer(loop{func(b []byte) { f.bridge.coap.Receive(served, b) }}, coap.Profile{})
	return func(r *onem2m.Request) *onem2m.Response {
		m, err := r.CoAP(onem2m.CoAPProfile{})
		require.NoError(f.t, err)
		answer, err := f.client.Do(f.t.Context(), peer, m)
		require.NoError(f.t, err)
		resp, err := onem2m.ResponseFromCoAP(answer, r, onem2m.CoAPProfile{})
		require.NoError(f.t, err)
		return resp
	}
}

// TestC06B03OneExecution: a changing request that comes again with its Request Identifier, on the same session or on a new
// one, is executed once and gets the same answer; with other content it is 4000; two Originators don't meet (B03).
func TestC06B03OneExecution(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, oneM2MDevice)
		f.directory.devices[psk("other").ID] = oneM2MDevice
		served := 0
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			served++
			resp := ok(r, onem2m.StatusCreated)
			resp.Content, resp.MediaType = fmt.Appendf(nil, `{"n":%d}`, served), "application/json"
			return resp, nil
		}
		again, other := f.session2("dev"), f.session2("other")

		_, first := f.oneM2M(instance("1", "{}"))
		_, same := f.oneM2M(instance("1", "{}"))
		require.Equal(t, first, same)
		require.Equal(t, first, again(instance("1", "{}")), "on a new session")
		require.Len(t, f.layer.requests(), 1)
		require.EqualValues(t, 2, f.bridge.Stats().Repeated)

		_, differs := f.oneM2M(instance("1", `{"other":1}`))
		require.Equal(t, onem2m.StatusBadRequest, differs.Status)
		require.EqualValues(t, 1, f.bridge.Stats().Refusals[RefusedReuse])

		require.Equal(t, onem2m.StatusCreated, other(instance("1", "{}")).Status)
		require.Len(t, f.layer.requests(), 2, "another credential's Request Identifier is another request")

		f.oneM2M(retrieve("9"))
		f.oneM2M(retrieve("9"))
		require.Len(t, f.layer.requests(), 4, "a RETRIEVE is executed again")

		<-time.After(defaultReplayLifetime)
		f.oneM2M(instance("1", "{}"))
		require.Len(t, f.layer.requests(), 5, "the memory has an end")
		require.Equal(t, 1, f.bridge.Stats().Replays)
		f.client.ClosePeer(f.peer)
	})
}

// TestC06WhatIsTheSame: a repeat is one when operation, To, Resource Type, Response Type, query, and Content with its media
// type are the same; any other under the same Request Identifier is 4000, and another Originator's is none at all (B03).
func TestC06WhatIsTheSame(t *testing.T) {
	t.Parallel()
	dev := oneM2MDevice
	dev.Originators = []string{"Cd", "Ce"}
	first := func() *onem2m.Request {
		r := instance("1", "0") // a number in JSON and in CBOR
		r.Query = []onem2m.Parameter{{Key: "rcn", Value: "1"}}
		return r
	}
	for name, c := range map[string]struct {
		change func(*onem2m.Request)
		want   onem2m.StatusCode
		done   int
	}{
		"the same":                 {func(*onem2m.Request) {}, onem2m.StatusCreated, 1},
		"its time":                 {func(r *onem2m.Request) { r.OriginatingTimestamp = "20261123T083531" }, onem2m.StatusCreated, 1},
		"another Originator":       {func(r *onem2m.Request) { r.From = "Ce" }, onem2m.StatusCreated, 2},
		"another operation":        {func(r *onem2m.Request) { r.Operation, r.ResourceType = onem2m.Update, 0 }, onem2m.StatusBadRequest, 1},
		"another To":               {func(r *onem2m.Request) { r.To = "cse-in/Cd/d" }, onem2m.StatusBadRequest, 1},
		"another Resource Type":    {func(r *onem2m.Request) { r.ResourceType = onem2m.TypeContainer }, onem2m.StatusBadRequest, 1},
		"another Response Type":    {func(r *onem2m.Request) { r.ResponseType = onem2m.NonBlockingSynch }, onem2m.StatusBadRequest, 1},
		"another key":              {func(r *onem2m.Request) { r.Query[0].Key = "drt" }, onem2m.StatusBadRequest, 1},
		"another value":            {func(r *onem2m.Request) { r.Query[0].Value = "0" }, onem2m.StatusBadRequest, 1},
		"no query":                 {func(r *onem2m.Request) { r.Query = nil }, onem2m.StatusBadRequest, 1},
		"another Content":          {func(r *onem2m.Request) { r.Content = []byte("[]") }, onem2m.StatusBadRequest, 1},
		"another media type of it": {func(r *onem2m.Request) { r.MediaType = "application/cbor" }, onem2m.StatusBadRequest, 1},
	} {
		f := start(t, dev)
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			return ok(r, onem2m.StatusCreated), nil
		}
		_, resp := f.oneM2M(first())
		require.Equal(t, onem2m.StatusCreated, resp.Status)
		r := first()
		c.change(r)
		_, resp = f.oneM2M(r)
		require.Equal(t, c.want, resp.Status, name)
		require.Len(t, f.layer.requests(), c.done, name)
		require.Equal(t, c.want == onem2m.StatusBadRequest, f.bridge.Stats().Refusals[RefusedReuse] == 1, name)
	}
	update, notify := onem2m.Request{Operation: onem2m.Update}, onem2m.Request{Operation: onem2m.Notify}
	require.NotEqual(t, digestOf(&update), digestOf(&notify), "without a Resource Type that differs too")
}

// TestC06InFlight: a repeat on a new session while the first is at the CSE gets the first one's answer.
func TestC06InFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, oneM2MDevice)
		release := make(chan struct{})
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			<-release
			return ok(r, onem2m.StatusCreated), nil
		}
		var asking sync.WaitGroup
		for range 3 {
			ask := f.session2("dev")
			asking.Go(func() { require.Equal(t, onem2m.StatusCreated, ask(instance("1", "{}")).Status) })
		}
		synctest.Wait()
		close(release)
		asking.Wait()
		require.Len(t, f.layer.requests(), 1)
	})
}

// TestC06NotExecuted: what certainly was not executed may come again; what may have been gets the same answer.
func TestC06NotExecuted(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice)
	fail := ErrUnreachable
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		if fail != nil {
			return nil, fail
		}
		return ok(r, onem2m.StatusCreated), nil
	}
	_, resp := f.oneM2M(instance("1", "{}"))
	require.Equal(t, onem2m.StatusRemoteEntityNotReachable, resp.Status)
	fail = nil
	_, resp = f.oneM2M(instance("1", "{}"))
	require.Equal(t, onem2m.StatusCreated, resp.Status)

	fail = ErrTimeout
	_, resp = f.oneM2M(instance("2", "{}"))
	require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
	fail = nil
	_, resp = f.oneM2M(instance("2", "{}"))
	require.Equal(t, onem2m.StatusRequestTimeout, resp.Status, "it may have been executed")
	require.Len(t, f.layer.requests(), 3)
}

// TestC06MemoryFull: new work is refused rather than old work forgotten, and one credential's share is its own.
func TestC06MemoryFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, oneM2MDevice, func(c *Config) { c.Limits.ReplayPerDevice = 2 })
		other := oneM2MDevice
		other.Name = "other"
		f.directory.devices[psk("other").ID] = other
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			return ok(r, onem2m.StatusCreated), nil
		}
		f.oneM2M(instance("1", "{}"))
		f.oneM2M(instance("2", "{}"))
		answer, _ := f.oneM2M(instance("3", "{}"))
		require.Equal(t, coap.ServiceUnavailable, answer.Code)
		require.EqualValues(t, 1, f.bridge.Stats().Refusals[RefusedReplayFull])
		_, resp := f.oneM2M(instance("1", "{}"))
		require.Equal(t, onem2m.StatusCreated, resp.Status, "what was done is still known")
		require.Len(t, f.layer.requests(), 2)
		require.Equal(t, onem2m.StatusCreated, f.session2("other")(instance("1", "{}")).Status)
		f.client.ClosePeer(f.peer)
	})
}

// TestC06AnswersGiveWay: of a credential's answers the oldest lose their content; a repeat then learns the status alone.
func TestC06AnswersGiveWay(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice, func(c *Config) { c.Limits.ReplayBytes = 2500 })
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		resp := ok(r, onem2m.StatusCreated)
		resp.Content, resp.MediaType = []byte(strings.Repeat("x", 900)), "application/json"
		return resp, nil
	}
	for i := range 3 {
		f.oneM2M(instance(fmt.Sprint(i), "{}"))
	}
	_, first := f.oneM2M(instance("0", "{}"))
	require.Equal(t, onem2m.StatusCreated, first.Status)
	require.Equal(t, "0", first.RequestID)
	require.Empty(t, first.Content)
	_, last := f.oneM2M(instance("2", "{}"))
	require.Len(t, last.Content, 900)
	require.Len(t, f.layer.requests(), 3)

	m := f.bridge.replay
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireLocked(time.Now().Add(time.Hour))
	require.Zero(t, m.bytes)
	require.Empty(t, m.shares)
	require.Empty(t, m.entries)
}

// TestC06RememberUntil: a request is remembered at least as long as its own word does not refuse it.
func TestC06RememberUntil(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for rqet, want := range map[string]time.Duration{
		"":                10 * time.Minute,
		"2000":            10 * time.Minute, // relative: a repeat would count it anew
		"20261123T120130": 90 * time.Second,
		"20261130T120000": 24 * time.Hour,
	} {
		require.Equal(t, want, f.bridge.rememberUntil(rqet, now).Sub(now), "%q", rqet)
	}
}
