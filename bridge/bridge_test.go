package bridge

import (
	"context"
	"errors"
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

func retrieve(rqi string) *onem2m.Request {
	return &onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/Cd", From: "Cd", RequestID: rqi, ReleaseVersion: "3"}
}

var oneM2MDevice = Device{Name: "d", Originators: []string{"Cd"}, Profile: ProfileOneM2M}

func TestForward(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice)
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		s := ok(r, onem2m.StatusOK)
		s.Content, s.MediaType = []byte(`{"m2m:ae":{"rn":"Cd"}}`), "application/json"
		return s, nil
	}
	answer, resp := f.oneM2M(retrieve("rqi1"))
	require.Equal(t, coap.Content, answer.Code)
	require.Equal(t, "rqi1", resp.RequestID)
	require.Equal(t, "3", resp.ReleaseVersion)
	require.Equal(t, `{"m2m:ae":{"rn":"Cd"}}`, string(resp.Content))
	require.Len(t, f.layer.requests(), 1)
	require.EqualValues(t, 1, f.bridge.Stats().Answers[Answer{Code: coap.Content, Status: onem2m.StatusOK}])
}

// TestServiceLayerFailures: each failure has its own answer, in both profiles, and is counted.
func TestServiceLayerFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		why    Refusal
		code   coap.Code
		status onem2m.StatusCode
		maxAge bool
	}{
		{ErrUnreachable, FailedUnreachable, coap.ServiceUnavailable, onem2m.StatusRemoteEntityNotReachable, true},
		{ErrTimeout, FailedTimeout, coap.GatewayTimeout, onem2m.StatusRequestTimeout, false},
		{ErrBadAnswer, FailedAnswer, coap.BadGateway, onem2m.StatusInternalServerError, false},
	} {
		t.Run(string(c.why), func(t *testing.T) {
			t.Parallel()
			f := start(t, Device{Name: "d", Originators: []string{"Cd"}})
			f.layer.answer = func(context.Context, *onem2m.Request) (*onem2m.Response, error) {
				return nil, fmt.Errorf("wrapped: %w", c.err)
			}
			answer, resp := f.oneM2M(retrieve("1"))
			require.Equal(t, c.code, answer.Code)
			require.Equal(t, c.status, resp.Status)
			_, has := answer.Options.Find(coap.MaxAge)
			require.Equal(t, c.maxAge, has)
			require.Equal(t, c.code, f.do(plain(coap.POST, "a", "x")).Code)
			require.EqualValues(t, 2, f.bridge.Stats().Refusals[c.why])
		})
	}
}

// TestCSEPastDeadline: the device gets its answer although the CSE never gives one.
func TestCSEPastDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, oneM2MDevice)
		f.layer.answer = func(ctx context.Context, _ *onem2m.Request) (*onem2m.Response, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
		}
		began := time.Now()
		answer, resp := f.oneM2M(retrieve("1"))
		require.Equal(t, coap.GatewayTimeout, answer.Code)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
		require.InDelta(t, defaultRequestTimeout, time.Since(began), float64(time.Second))

		r := retrieve("2")
		r.RequestExpiration = "2000" // relative, milliseconds
		began = time.Now()
		answer, _ = f.oneM2M(r)
		require.Equal(t, coap.GatewayTimeout, answer.Code)
		require.InDelta(t, 2*time.Second, time.Since(began), float64(100*time.Millisecond))

		r = retrieve("3")
		r.RequestExpiration = "19991231T235959"
		_, resp = f.oneM2M(r)
		require.Equal(t, onem2m.StatusRequestTimeout, resp.Status)
		require.Len(t, f.layer.requests(), 2, "an expired request reached the CSE")
	})
}

// TestFullQueue: what finds no place is refused at once with Max-Age, never kept silently.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, oneM2MDevice, func(c *Config) {
			c.Limits = Limits{Workers: 1, Queue: 1, PerDevice: 3}
		})
		release := make(chan struct{})
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			<-release
			return ok(r, onem2m.StatusOK), nil
		}
		codes := make(chan coap.Code, 3)
		var asking sync.WaitGroup
		peers := make([]*coap.Peer, 3)
		for i := range peers { // each device of its own, so that NSTART does not hold them back
			served, opened := f.bridge.open(loop{func(b []byte) { f.client.Receive(peers[i], b) }}, psk("dev"))
			require.True(t, opened)
			peers[i] = f.client.NewPeer(loop{func(b []byte) { f.bridge.coap.Receive(served, b) }}, coap.Profile{})
		}
		for i, p := range peers {
			m, err := retrieve(fmt.Sprint(i)).CoAP(onem2m.CoAPProfile{})
			require.NoError(t, err)
			asking.Go(func() {
				answer, err := f.client.Do(t.Context(), p, m)
				if err == nil {
					codes <- answer.Code
				}
			})
			synctest.Wait()
		}
		require.Equal(t, coap.ServiceUnavailable, <-codes, "the third finds the queue full")
		close(release)
		asking.Wait()
		require.Equal(t, coap.Content, <-codes)
		require.Equal(t, coap.Content, <-codes)
		require.EqualValues(t, 1, f.bridge.Stats().Refusals[RefusedBusy])
		for _, p := range peers {
			f.client.ClosePeer(p)
		}
	})
}

// loop is a Conn that hands what is sent to a function on a goroutine of its own.
type loop struct{ deliver func([]byte) }

func (l loop) Send(b []byte) error {
	b = append([]byte(nil), b...)
	go l.deliver(b)
	return nil
}

func (l loop) MaxPlaintext() int { return 1200 }

// TestBindBeforeAnswer: the AE-ID that the CSE gave is on disk before the answer leaves; where it can't be, the device
// gets an error, and an AE-ID of another credential stays its own (B02).
func TestB02BindBeforeAnswer(t *testing.T) {
	t.Parallel()
	create := func(from string) *onem2m.Request {
		return &onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in", From: from, RequestID: "1",
			ReleaseVersion: "3", Content: []byte(`{"m2m:ae":{"api":"N1","rr":false}}`), MediaType: "application/json"}
	}
	created := func(aei string) func(context.Context, *onem2m.Request) (*onem2m.Response, error) {
		return func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			s := ok(r, onem2m.StatusCreated)
			s.Content, s.MediaType = fmt.Appendf(nil, `{"m2m:ae":{"aei":%q}}`, aei), "application/json"
			return s, nil
		}
	}
	t.Run("bound", func(t *testing.T) {
		t.Parallel()
		f := start(t, Device{Name: "d"})
		f.layer.answer = created("C4711")
		_, resp := f.oneM2M(create("C"))
		require.Equal(t, onem2m.StatusCreated, resp.Status)
		require.Equal(t, psk("dev").ID, f.directory.bound["C4711"])
		f.layer.answer = nil
		r := retrieve("2")
		r.From = "C4711"
		_, resp = f.oneM2M(r)
		require.Equal(t, onem2m.StatusOK, resp.Status, "it may speak as what it was given")

		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			return ok(r, onem2m.StatusDeleted), nil
		}
		_, resp = f.oneM2M(&onem2m.Request{Operation: onem2m.Delete, To: "/id-in/cse-in/C4711", From: "C4711", RequestID: "3", ReleaseVersion: "3"})
		require.Equal(t, onem2m.StatusDeleted, resp.Status)
		require.Empty(t, f.directory.bound, "the deleted AE's ID is free again")
	})
	t.Run("another's", func(t *testing.T) {
		t.Parallel()
		f := start(t, Device{Name: "d"})
		require.NoError(t, f.directory.Bind(psk("first").ID, "in", "C4711", Access{}))
		f.layer.answer = created("C4711")
		answer, _ := f.oneM2M(create("C"))
		require.Equal(t, coap.Forbidden, answer.Code)
		require.Equal(t, psk("first").ID, f.directory.bound["C4711"])
	})
	t.Run("disk full", func(t *testing.T) {
		t.Parallel()
		f := start(t, Device{Name: "d"})
		f.directory.fail = errors.New("no space left")
		f.layer.answer = created("C4711")
		answer, resp := f.oneM2M(create("C"))
		require.Equal(t, coap.InternalServerError, answer.Code)
		require.Equal(t, onem2m.StatusInternalServerError, resp.Status)
	})
}

// TestC06AnswerThatCannotBeRead: after the CSE has answered, a repeat is not executed, whatever was wrong with the answer.
func TestC06AnswerThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(*onem2m.Request) (*onem2m.Response, error){
		"not read": func(*onem2m.Request) (*onem2m.Response, error) {
			return nil, fmt.Errorf("%w: %w", ErrBadAnswer, &onem2m.Error{Status: onem2m.StatusInternalServerError, Detail: "foreign"})
		},
		"not carried": func(r *onem2m.Request) (*onem2m.Response, error) {
			resp := ok(r, onem2m.StatusCreated)
			resp.VendorInformation = strings.Repeat("v", 300)
			return resp, nil
		},
	} {
		f := start(t, oneM2MDevice)
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) { return answer(r) }
		for range 2 {
			got, _ := f.oneM2M(instance("1", "{}"))
			require.Equal(t, coap.BadGateway, got.Code, name)
		}
		require.Len(t, f.layer.requests(), 1, name)
		require.EqualValues(t, 1, f.bridge.Stats().Refusals[FailedAnswer], name)
	}
}

// TestWaitingRequestsAreJudgedAgain: what was allowed when it came is not sent when the device lost its entry meanwhile; and
// a device's requests count together, whichever session they come on (S50).
func TestWaitingRequestsAreJudgedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := start(t, oneM2MDevice, func(c *Config) { c.Limits = Limits{Workers: 1, PerDevice: 2} })
		release := make(chan struct{})
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			<-release
			return ok(r, onem2m.StatusOK), nil
		}
		statuses := make(chan onem2m.StatusCode, 3)
		var asking sync.WaitGroup
		for i := range 3 {
			ask := f.session2("dev")
			asking.Go(func() { statuses <- ask(retrieve(fmt.Sprint(i))).Status })
			synctest.Wait()
		}
		require.Equal(t, onem2m.StatusTargetNotReachable, <-statuses, "the third, of the same device")
		require.EqualValues(t, 1, f.bridge.Stats().Refusals[RefusedDevice])
		f.directory.remove(psk("dev").ID)
		close(release)
		asking.Wait()
		require.ElementsMatch(t, []onem2m.StatusCode{onem2m.StatusOK, onem2m.StatusOriginatorNotAuthenticated},
			[]onem2m.StatusCode{<-statuses, <-statuses})
		require.Len(t, f.layer.requests(), 1, "the one that was at the CSE already")
		f.client.ClosePeer(f.peer)
	})
}

// TestRemovedDevice: an entry that has gone ends what the session may do with its very next request.
func TestRemovedDevice(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice)
	f.directory.remove(psk("dev").ID)
	m, err := retrieve("1").CoAP(onem2m.CoAPProfile{})
	require.NoError(t, err)
	require.Equal(t, coap.Forbidden, f.do(m).Code)
	require.Empty(t, f.layer.requests())
	_, opened := f.bridge.open(loop{}, psk("dev"))
	require.False(t, opened)
}

// TestProfiles: the device's entry outranks the request's looks.
func TestProfiles(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "d", Originators: []string{"Cd"}, Profile: ProfilePlain})
	m, err := retrieve("1").CoAP(onem2m.CoAPProfile{})
	require.NoError(t, err)
	require.Equal(t, coap.BadOption, f.do(m).Code)

	f = start(t, oneM2MDevice)
	require.Equal(t, coap.BadRequest, f.do(plain(coap.GET, "a", "")).Code, "From and Request Identifier are missing")
	require.Empty(t, f.layer.requests())
}

// TestFetchOfAPrimitive: a FETCH of Release 5 has all of its parameters in the payload, and no oneM2M option (TS-0008, 6.6);
// its answer names the Request Identifier all the same, a refusal too.
func TestFetchOfAPrimitive(t *testing.T) {
	t.Parallel()
	fetch := func(format uint32, payload string) *coap.Message {
		m := &coap.Message{Code: coap.FETCH, Payload: []byte(payload)}
		m.Options = m.Options.AddUint(coap.ContentFormat, format)
		return m
	}
	const jsonPrimitive, cborPrimitive = 10007, 10012
	good := `{"op":2,"to":"cse-in/Cd","fr":"Cd","rqi":"r1","rvi":"5"}`
	for _, profile := range []Profile{ProfileAuto, ProfileOneM2M} {
		f := start(t, Device{Name: "d", Originators: []string{"Cd"}, Profile: profile})
		for name, c := range map[string]struct {
			in   *coap.Message
			want onem2m.StatusCode
			rqi  string
		}{
			"JSON":                     {fetch(jsonPrimitive, good), onem2m.StatusOK, "r1"},
			"CBOR":                     {fetch(cborPrimitive, "\xa4\x62to\x63cse\x62fr\x62Cd\x63rqi\x62r1\x63rvi\x615"), onem2m.StatusOK, "r1"},
			"foreign From":             {fetch(jsonPrimitive, strings.Replace(good, `"Cd"`, `"Cother"`, 1)), onem2m.StatusOriginatorNotAuthenticated, "r1"},
			"release of nobody":        {fetch(jsonPrimitive, strings.Replace(good, `"5"`, `"9"`, 1)), onem2m.StatusReleaseVersionNotSupported, "r1"},
			"another operation":        {fetch(jsonPrimitive, strings.Replace(good, `2`, `4`, 1)), onem2m.StatusBadRequest, "r1"},
			"Request Identifier's end": {fetch(jsonPrimitive, `{"to":"cse","fr":"Cd","rqi":"r1\r\n"}`), onem2m.StatusBadRequest, ""},
			"no primitive":             {fetch(jsonPrimitive, `[]`), onem2m.StatusBadRequest, ""},
			"XML":                      {fetch(10006, `<rqp/>`), onem2m.StatusUnsupportedMediaType, ""},
		} {
			answer := f.do(c.in)
			resp, err := onem2m.ResponseFromCoAP(answer, nil, onem2m.CoAPProfile{})
			require.NoError(t, err, name)
			require.Equal(t, c.want, resp.Status, name)
			require.Equal(t, c.rqi, resp.RequestID, name)
		}
		require.Len(t, f.layer.requests(), 2)
	}
	f := start(t, Device{Name: "d", Profile: ProfilePlain})
	require.Equal(t, coap.MethodNotAllowed, f.do(fetch(jsonPrimitive, good)).Code, "a plain device has none")
	f = start(t, Device{Name: "d"})
	require.Equal(t, coap.MethodNotAllowed, f.do(fetch(50, good)).Code, "JSON alone says nothing of oneM2M")
}

// TestProfileOfTimestamps: a CSE's timestamps of 22 bytes go to a device as they are, or in the 15 bytes of TS-0008, table
// 6.2.2.4.0-1 where its entry says so.
func TestProfileOfTimestamps(t *testing.T) {
	t.Parallel()
	for strict, want := range map[bool]string{false: "20261123T083531,648186", true: "20261123T083531"} {
		dev := oneM2MDevice
		dev.StrictTimestamps = strict
		f := start(t, dev)
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			resp := ok(r, onem2m.StatusOK)
			resp.OriginatingTimestamp = "20261123T083531,648186"
			return resp, nil
		}
		_, resp := f.oneM2M(retrieve("1"))
		require.Equal(t, want, resp.OriginatingTimestamp)
	}
}
