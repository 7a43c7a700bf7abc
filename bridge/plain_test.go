package bridge

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// memoryCSE answers as a CSE that holds AEs, containers and instances, just enough for the plain profile.
type memoryCSE struct {
	mu        sync.Mutex // guards the following fields
	resources map[string]*onem2m.Request
	latest    map[string]*onem2m.Request
}

func newMemoryCSE(f *fixture) *memoryCSE {
	c := &memoryCSE{resources: map[string]*onem2m.Request{}, latest: map[string]*onem2m.Request{}}
	f.layer.answers(c.answer)
	return c
}

func (c *memoryCSE) answer(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parent, isLatest := strings.CutSuffix(r.To, "/la")
	_, known := c.resources[parent]
	known = known || parent == "cse-in"
	switch {
	case !known:
		return ok(r, onem2m.StatusNotFound), nil
	case r.Operation == onem2m.Retrieve && isLatest && c.latest[parent] != nil:
		resp := ok(r, onem2m.StatusOK)
		resp.Content, resp.MediaType = c.latest[parent].Content, "application/json"
		return resp, nil
	case r.Operation == onem2m.Retrieve && isLatest:
		return ok(r, onem2m.StatusNotFound), nil
	case r.Operation == onem2m.Retrieve:
		resp := ok(r, onem2m.StatusOK)
		resp.Content, resp.MediaType = c.resources[parent].Content, "application/json"
		return resp, nil
	case r.Operation == onem2m.Delete:
		delete(c.resources, parent)
		return ok(r, onem2m.StatusDeleted), nil
	case r.ResourceType == onem2m.TypeContentInstance:
		c.latest[parent] = r
		resp := ok(r, onem2m.StatusCreated)
		resp.Content, resp.MediaType = []byte(`{"m2m:cin":{"rn":"cin1"}}`), "application/json"
		c.resources[parent+"/cin1"] = r
		return resp, nil
	}
	var body map[string]struct {
		Name string `json:"rn"`
	}
	if err := json.Unmarshal(r.Content, &body); err != nil {
		return nil, err
	}
	for kind, attributes := range body {
		name := parent + "/" + attributes.Name
		if c.resources[name] != nil {
			return ok(r, onem2m.StatusConflict), nil
		}
		c.resources[name] = r
		resp := ok(r, onem2m.StatusCreated)
		if kind == "m2m:ae" {
			resp.Content, resp.MediaType = []byte(`{"m2m:ae":{"aei":"`+r.From+`"}}`), "application/json"
			c.resources[name] = &onem2m.Request{Content: resp.Content}
		}
		return resp, nil
	}
	return ok(r, onem2m.StatusBadRequest), nil
}

func TestPlainWriteAndRead(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1", AllowDelete: true})
	newMemoryCSE(f)
	require.Equal(t, coap.NotFound, f.do(plain(coap.GET, "a/b", "")).Code, "nothing written yet")
	require.Empty(t, f.layer.requests(), "reading makes nothing")

	answer := f.do(plain(coap.POST, "a/b", "21.5"))
	require.Equal(t, coap.Created, answer.Code)
	var location []string
	for _, o := range answer.Options {
		require.Equal(t, coap.LocationPath, o.ID, "a plain device gets no other option here")
		location = append(location, string(o.Value))
	}
	require.Equal(t, []string{"a", "b", "cin1"}, location)
	require.Equal(t, map[string]bool{"Cmeter1": true}, boundTo(f))

	before := len(f.layer.requests())
	require.Equal(t, coap.Changed, f.do(plain(coap.PUT, "a/b", "\x00\xff binary")).Code)
	require.Len(t, f.layer.requests(), before+1, "once its home is made, one request is one request")

	got := f.do(plain(coap.GET, "a/b", ""))
	require.Equal(t, coap.Content, got.Code)
	require.Equal(t, "\x00\xff binary", string(got.Payload))
	etag, _ := got.Options.Find(coap.ETag)
	again := plain(coap.GET, "a/b", "")
	again.Options = again.Options.Add(coap.ETag, etag)
	require.Equal(t, coap.Valid, f.do(again).Code)
	require.Equal(t, coap.Content, f.do(plain(coap.GET, "a/b/cin1", "")).Code, "the Location-Path can be read")

	require.Equal(t, coap.NotFound, f.do(plain(coap.GET, "a", "")).Code, "a container without an instance")
	require.Equal(t, coap.Deleted, f.do(plain(coap.DELETE, "a/b", "")).Code)
	require.Equal(t, coap.NotFound, f.do(plain(coap.GET, "a/b", "")).Code)
	require.Equal(t, coap.Created, f.do(plain(coap.POST, "a/b", "x")).Code, "what was deleted is made again")
}

func boundTo(f *fixture) map[string]bool {
	f.directory.mu.Lock()
	defer f.directory.mu.Unlock()
	bound := map[string]bool{}
	for aei := range f.directory.bound {
		bound[aei] = true
	}
	return bound
}

// TestPlainContentFormat: a payload comes back with the Content-Format that it was sent with.
func TestPlainContentFormat(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"})
	newMemoryCSE(f)
	for _, format := range []int{-1, 0, 40, 42, 50, 60, 110, 112, 11542, 65000} {
		m := plain(coap.POST, "a", "{}")
		if format >= 0 {
			m.Options = m.Options.AddUint(coap.ContentFormat, uint32(format))
		}
		require.Equal(t, coap.Created, f.do(m).Code, format)
		got := f.do(plain(coap.GET, "a", ""))
		require.Equal(t, format, formatNumber(got), "Content-Format %d", format)
		require.Equal(t, "{}", string(got.Payload))
	}
	m := plain(coap.GET, "a", "")
	m.Options = m.Options.AddUint(coap.Accept, 60)
	require.Equal(t, coap.NotAcceptable, f.do(m).Code)
}

// TestPlainForeignAE: an AE that exists already is adopted only when it is this credential's, whatever its name (B02).
func TestB02PlainForeignAE(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"})
	cse := newMemoryCSE(f)
	setAE := func(aei string) {
		cse.resources["cse-in/meter1"] = &onem2m.Request{Content: []byte(`{"m2m:ae":{"aei":"` + aei + `"}}`)}
	}
	setAE("Cmeter1")
	require.Equal(t, coap.Forbidden, f.do(plain(coap.POST, "a", "x")).Code, "nobody gave it to this credential")
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cmeter1", Access{}))
	setAE("Cattacker")
	require.Equal(t, coap.Forbidden, f.do(plain(coap.POST, "a", "x")).Code, "it only bears the name")
	require.Empty(t, cse.latest)
	require.EqualValues(t, 2, f.bridge.Stats().Refusals[RefusedBinding])
	setAE("Cmeter1")
	require.Equal(t, coap.Created, f.do(plain(coap.POST, "a", "x")).Code)
}

// TestPlainBesideOneM2M: a device that speaks oneM2M as one AE and plain CoAP as well keeps the two apart.
func TestPlainBesideOneM2M(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"})
	cse := newMemoryCSE(f)
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "C4711", Access{}))
	require.Equal(t, coap.Created, f.do(plain(coap.POST, "a", "x")).Code)
	require.Equal(t, "Cmeter1", cse.latest["cse-in/meter1/a"].From)
}

// TestW01PlainPath: a crafted path never leaves the device's AE.
func TestW01PlainPath(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"})
	newMemoryCSE(f)
	for _, segment := range []string{"..", ".", "", "~", "_", "-", "la", "ol", "a/b", `a\b`, "%2e%2e", "%2f", "a\r\nX: y", "a\x00",
		"\xff\xfe", "a?b", "a#b", "\u0085"} {
		m := &coap.Message{Code: coap.POST, Payload: []byte("x")}
		m.Options = m.Options.AddString(coap.URIPath, "a").AddString(coap.URIPath, segment)
		// 4.02 where package coap finds the option itself ill-formed (RFC 7252, Section 5.4.3)
		require.Contains(t, []coap.Code{coap.BadRequest, coap.BadOption}, f.do(m).Code, "%q", segment)
	}
	require.Equal(t, coap.BadRequest, f.do(plain(coap.POST, strings.Repeat("a/", 30)+"a", "x")).Code)
	require.Empty(t, f.layer.requests())
}

func TestPlainRefusals(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1", MaxPayload: 10, Operations: 1<<onem2m.Create | 1<<onem2m.Delete})
	newMemoryCSE(f)
	with := func(m *coap.Message, id coap.OptionID) *coap.Message {
		m.Options = m.Options.Add(id, nil)
		return m
	}
	for name, c := range map[string]struct {
		m    *coap.Message
		want coap.Code
	}{
		"operation":     {plain(coap.GET, "a", ""), coap.NotFound},
		"DELETE":        {plain(coap.DELETE, "a", ""), coap.MethodNotAllowed},
		"FETCH":         {plain(coap.FETCH, "a", ""), coap.MethodNotAllowed},
		"POST to root":  {plain(coap.POST, "", "x"), coap.MethodNotAllowed},
		"GET of root":   {plain(coap.GET, "", ""), coap.NotFound},
		"If-None-Match": {with(plain(coap.GET, "a", ""), coap.IfNoneMatch), coap.BadOption},
		"too large":     {plain(coap.POST, "a", "12345678901"), coap.RequestEntityTooLarge},
	} {
		answer := f.do(c.m)
		require.Equal(t, c.want, answer.Code, name)
		if name != "too large" { // package coap refuses that one
			require.Equal(t, coap.ErrorMessage(c.m, c.want, explain("", c.want)).Payload, answer.Payload, name)
		}
	}
	require.Empty(t, f.layer.requests())
}

func TestResourceName(t *testing.T) {
	t.Parallel()
	require.Equal(t, "meter-1.a", resourceName("meter-1.a"))
	names := map[string]bool{}
	for _, n := range []string{"a b", "a/b", "a-b", "ä", "ö", "..", "a\nb"} {
		got := resourceName(n)
		require.True(t, isPlainSegment([]byte(got)), "%q", got)
		require.False(t, names[got], "two devices share %q", got)
		names[got] = true
	}
}

// formatNumber is the Content-Format of m, -1 when it has none.
func formatNumber(m *coap.Message) int {
	if v, ok := m.Options.Uint(coap.ContentFormat); ok {
		return int(v)
	}
	return -1
}
