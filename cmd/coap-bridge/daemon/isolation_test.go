package daemon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// Devices of one gateway: two that speak oneM2M and are confined to their own AEs, and two plain ones. The names begin alike.
const isolatedDevices = `version: 1
devices:
  - name: a1
    originators: ["Ca1"]
    targets: ["cse-in/a1"]
    psk: {identity: a1, up: "text:` + meterKey + `"}
  - name: a10
    originators: ["Ca10"]
    targets: ["cse-in/a10"]
    psk: {identity: a10, up: "text:` + otherKey + `"}
  - name: p1
    allowDelete: true
    profile: plain
    psk: {identity: p1, up: "text:` + meterKey + `"}
  - name: p10
    allowDelete: true
    profile: plain
    psk: {identity: p10, up: "text:` + otherKey + `"}
`

// isolated is a bridge with these devices, each with a container c of its own that holds its name, before a CSE that lets
// everybody do everything: what stands between the devices is the bridge alone.
type isolated struct {
	*fixture
	a1, a10, p1, p10 *client
	a10AE            string // resource ID of a10's container
}

func startIsolated(t *testing.T) *isolated {
	t.Helper()
	f := &isolated{fixture: start(t, func(f *fixture, text string) string {
		f.write("devices.yaml", isolatedDevices)
		return calls(f, strings.Replace(text, "cseBase: cse-in", "cseBase: cse-in\n    sp: sp.example", 1))
	})}
	f.a1, f.a10 = connect(t, f.addr(), "a1", meterKey), connect(t, f.addr(), "a10", otherKey)
	f.p1, f.p10 = connect(t, f.addr(), "p1", meterKey), connect(t, f.addr(), "p10", otherKey)
	admin := onem2m.Request{Operation: onem2m.Create, MediaType: "application/json"}
	for name, c := range map[string]*client{"a1": f.a1, "a10": f.a10} {
		// AEs lie under the CSEBase, which is none of their targets: the operator makes them.
		require.Equal(t, http.StatusCreated, f.atCSE(t, "C"+name, "/cse-in", 2, `{"m2m:ae":{"rn":"`+name+`","api":"N1","rr":false,"srv":["3"]}}`))
		for _, r := range []onem2m.Request{
			{To: "cse-in/" + name, ResourceType: onem2m.TypeContainer, Content: []byte(`{"m2m:cnt":{"rn":"c","lbl":["l"]}}`)},
			{To: "cse-in/" + name + "/c", ResourceType: onem2m.TypeContentInstance, Content: []byte(`{"m2m:cin":{"con":"of ` + name + `"}}`)},
		} {
			r.Operation, r.MediaType, r.From = admin.Operation, admin.MediaType, "C"+name
			_, resp := c.do(&r)
			require.Equal(t, onem2m.StatusCreated, resp.Status)
		}
	}
	require.Equal(t, coap.Created, f.p1.exchange(plain(coap.POST, "c", "of p1")).Code)
	require.Equal(t, coap.Created, f.p10.exchange(plain(coap.POST, "c", "of p10")).Code)
	require.Equal(t, coap.Created, f.p10.exchange(plain(coap.POST, "only10", "of p10")).Code)
	content, ok := f.cse.Resource("cse-in/a10/c")
	require.True(t, ok)
	f.a10AE = resourceID(t, content)
	f.cse.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Set("X-M2M-Origin", "CAdmin")
		next.ServeHTTP(w, r)
	})
	return f
}

// atCSE makes a resource at the CSE without the bridge.
func (f *isolated) atCSE(t *testing.T, from, path string, ty int, body string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("X-M2M-Origin", from)
	r.Header.Set("X-M2M-RI", "setup"+from)
	r.Header.Set("X-M2M-RVI", "3")
	r.Header.Set("Content-Type", fmt.Sprintf("application/json;ty=%d", ty))
	recorder := httptest.NewRecorder()
	f.cse.ServeHTTP(recorder, r)
	return recorder.Code
}

func resourceID(t *testing.T, content []byte) string {
	t.Helper()
	var root map[string]struct {
		ID string `json:"ri"`
	}
	require.NoError(t, json.Unmarshal(content, &root))
	for _, r := range root {
		require.NotEmpty(t, r.ID)
		return r.ID
	}
	return ""
}

// naming is a way to name a resource of the device called name, whose container has the resource ID id: the segments of Uri-Path.
type naming struct {
	how  string
	path func(name, id string) []string
	own  bool // it is one that an entry's targets recognise, so that the device itself reaches its resource by it
}

func namings() []naming {
	return []naming{
		{"CSE-relative", func(n, _ string) []string { return []string{"cse-in", n, "c"} }, true},
		{"SP-relative", func(n, _ string) []string { return []string{"~", "id-in", "cse-in", n, "c"} }, true},
		{"Absolute", func(n, _ string) []string { return []string{"_", "sp.example", "id-in", "cse-in", n, "c"} }, true},
		{"- for the CSEBase", func(n, _ string) []string { return []string{"-", n, "c"} }, true},
		{"SP-relative and -", func(n, _ string) []string { return []string{"~", "id-in", "-", n, "c"} }, true},
		{"resource ID", func(_, id string) []string { return []string{id} }, false},
		{"SP-relative resource ID", func(_, id string) []string { return []string{"~", "id-in", id} }, false},
		{"Absolute resource ID", func(_, id string) []string { return []string{"_", "sp.example", "id-in", id} }, false},
		{"AE-ID", func(n, _ string) []string { return []string{"C" + n} }, false},
		{"AE-ID and child", func(n, _ string) []string { return []string{"C" + n, "c"} }, false},
		{"SP-relative AE-ID", func(n, _ string) []string { return []string{"~", "id-in", "C" + n} }, false},
		{"the AE", func(n, _ string) []string { return []string{"cse-in", n} }, false},
		{"latest", func(n, _ string) []string { return []string{"cse-in", n, "c", "la"} }, false},
		{"oldest", func(n, _ string) []string { return []string{"cse-in", n, "c", "ol"} }, false},
		{"latest of a resource ID", func(_, id string) []string { return []string{id, "la"} }, false},
		{"fan-out", func(n, _ string) []string { return []string{"cse-in", n, "fopt"} }, false},
		{"fan-out and child", func(n, _ string) []string { return []string{"cse-in", n, "fopt", "c"} }, false},
		{"above its own", func(n, _ string) []string { return []string{"cse-in", "a1", "..", n, "c"} }, false},
		{"above, escaped", func(n, _ string) []string { return []string{"cse-in", "a1", "%2e%2e", n, "c"} }, false},
		{"above, twice escaped", func(n, _ string) []string { return []string{"cse-in", "a1", "%252e%252e", n, "c"} }, false},
		{"above, with a parameter", func(n, _ string) []string { return []string{"cse-in", "a1", "..;x", n, "c"} }, false},
		{"a slash within", func(n, _ string) []string { return []string{"cse-in", "a1/../" + n, "c"} }, false},
		{"an escaped slash", func(n, _ string) []string { return []string{"cse-in", "a1%2f..%2f" + n, "c"} }, false},
		{"an escaped letter", func(n, _ string) []string { return []string{"cse-in", "%61" + n[1:], "c"} }, false},
		{"dot", func(n, _ string) []string { return []string{"cse-in", ".", n, "c"} }, false},
		{"nothing between", func(n, _ string) []string { return []string{"cse-in", "", n, "c"} }, false},
		{"attribute", func(n, _ string) []string { return []string{"cse-in", n, "c#con"} }, false},
		{"query within", func(n, _ string) []string { return []string{"cse-in", n + "?rcn=4"} }, false},
	}
}

// operation is one of everything that a device can ask for.
type operation struct {
	name  string
	r     onem2m.Request
	query []string
	fetch bool
}

func operations() []operation {
	container := []byte(`{"m2m:cnt":{"rn":"mine"}}`)
	create := func(ty onem2m.ResourceType, content string) onem2m.Request {
		return onem2m.Request{Operation: onem2m.Create, ResourceType: ty, Content: []byte(content)}
	}
	retrieve := onem2m.Request{Operation: onem2m.Retrieve}
	return []operation{
		{name: "RETRIEVE", r: retrieve},
		{name: "RETRIEVE of an attribute", r: retrieve, query: []string{"atrl=lbl"}},
		{name: "RETRIEVE with children", r: retrieve, query: []string{"rcn=4"}},
		{name: "discovery", r: retrieve, query: []string{"fu=1"}},
		{name: "FETCH", r: retrieve, fetch: true},
		{name: "UPDATE", r: onem2m.Request{Operation: onem2m.Update, Content: []byte(`{"m2m:cnt":{"lbl":["x"]}}`)}},
		{name: "DELETE", r: onem2m.Request{Operation: onem2m.Delete}},
		{name: "NOTIFY", r: onem2m.Request{Operation: onem2m.Notify, Content: []byte(`{"m2m:sgn":{"sur":"x"}}`)}},
		{name: "CREATE container", r: onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContainer, Content: container}},
		{name: "CREATE contentInstance", r: create(onem2m.TypeContentInstance, `{"m2m:cin":{"con":"forged"}}`)},
		{name: "CREATE subscription", r: create(onem2m.TypeSubscription, `{"m2m:sub":{"nu":["Ca1"],"enc":{"net":[3]}}}`)},
		{name: "CREATE group", r: create(onem2m.TypeGroup, `{"m2m:grp":{"mnm":1,"mid":["cse-in/a10/c"]}}`)},
		{name: "CREATE pollingChannel", r: create(onem2m.TypePollingChannel, `{"m2m:pch":{}}`)},
		{name: "non-blocking RETRIEVE", r: onem2m.Request{Operation: onem2m.Retrieve, ResponseType: onem2m.NonBlockingSynch}},
		{name: "asynchronous RETRIEVE", r: onem2m.Request{Operation: onem2m.Retrieve, ResponseType: onem2m.NonBlockingAsynch, NotificationURIs: []string{"Ca1"}}},
		{name: "non-blocking DELETE", r: onem2m.Request{Operation: onem2m.Delete, ResponseType: onem2m.NonBlockingSynch}},
	}
}

// message is the operation of a1 on the path, with a Request Identifier of its own.
func (o operation) message(t *testing.T, path []string, rqi string) *coap.Message {
	t.Helper()
	if o.fetch {
		to := strings.Join(path, "/")
		switch path[0] {
		case "~":
			to = "/" + strings.Join(path[1:], "/")
		case "_":
			to = "//" + strings.Join(path[1:], "/")
		}
		payload, err := json.Marshal(map[string]any{"op": 2, "to": to, "fr": "Ca1", "rqi": rqi, "rvi": "5"})
		require.NoError(t, err)
		m := &coap.Message{Code: coap.FETCH, Payload: payload}
		m.Options = m.Options.AddUint(coap.ContentFormat, 10007)
		return m
	}
	r := o.r
	r.To, r.From, r.RequestID, r.ReleaseVersion = "x", "Ca1", rqi, "3"
	if len(r.Content) > 0 {
		r.MediaType = "application/json"
	}
	m, err := r.CoAP(onem2m.CoAPProfile{})
	require.NoError(t, err)
	m.Options = m.Options.Remove(coap.URIPath)
	for _, s := range path {
		m.Options = m.Options.AddString(coap.URIPath, s)
	}
	for _, q := range o.query {
		m.Options = m.Options.AddString(coap.URIQuery, q)
	}
	return m
}

// seenOf is everything of an answer that a device sees, but for the identifiers that it chose itself.
func seenOf(m *coap.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %q", m.Code, m.Payload)
	for _, o := range m.Options {
		if o.ID != 283 {
			fmt.Fprintf(&b, " %d=%x", o.ID, o.Value)
		}
	}
	return b.String()
}

// TestB06Isolation: by every operation and every way of naming a target, another device's resource is to a device what no
// resource is: the same answer, byte for byte, as for the resource of a device that there isn't, and the CSE isn't asked. The
// same on its own resource succeeds, so that the matrix shows something.
func TestB06Isolation(t *testing.T) {
	t.Parallel()
	f := startIsolated(t)
	n := 0
	for _, o := range operations() {
		for _, name := range namings() {
			n++
			before := f.cse.Count()
			other := f.a1.exchange(o.message(t, name.path("a10", f.a10AE), fmt.Sprint("rqi-", n)))
			nobody := f.a1.exchange(o.message(t, name.path("a77", "cnt000077"), fmt.Sprint("rqi-none-", n)))
			require.Equal(t, seenOf(nobody), seenOf(other), "%s, %s", o.name, name.how)
			require.NotEqual(t, uint8(2), other.Code.Class(), "%s, %s", o.name, name.how)
			require.Equal(t, before, f.cse.Count(), "%s, %s: the CSE was asked", o.name, name.how)
		}
	}
	content, ok := f.cse.Content("cse-in/a10/c/la")
	require.True(t, ok)
	require.Equal(t, `"of a10"`, string(content))

	own, ok := f.cse.Resource("cse-in/a1/c")
	require.True(t, ok)
	for _, name := range namings() {
		if name.own {
			answer := f.a1.exchange(operations()[0].message(t, name.path("a1", resourceID(t, own)), "own-"+name.how[:2]+fmt.Sprint(len(name.how))))
			require.Equal(t, coap.Content, answer.Code, name.how)
		}
	}
}

// TestB06IsolationOwn: what a device asks of its own resources shows, reaches and notifies nothing of another's.
func TestB06IsolationOwn(t *testing.T) {
	t.Parallel()
	f := startIsolated(t)
	ask := func(c *client, r onem2m.Request) *onem2m.Response {
		r.MediaType = map[bool]string{true: "application/json"}[len(r.Content) > 0]
		_, resp := c.do(&r)
		return resp
	}
	found := ask(f.a1, onem2m.Request{Operation: onem2m.Retrieve, From: "Ca1", To: "cse-in/a1", Query: []onem2m.Parameter{{Key: "fu", Value: "1"}}})
	require.Equal(t, onem2m.StatusOK, found.Status)
	require.Contains(t, string(found.Content), "cse-in/a1/c")
	require.NotContains(t, string(found.Content), "a10")

	for _, nu := range []string{"Ca10", "/id-in/Ca10", "//sp.example/id-in/Ca10", "Cp10"} {
		before := f.cse.Count()
		resp := ask(f.a1, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeSubscription, From: "Ca1", To: "cse-in/a1/c",
			Content: []byte(`{"m2m:sub":{"nu":["` + nu + `"],"enc":{"net":[3]}}}`)})
		require.Equal(t, onem2m.StatusBadRequest, resp.Status, nu)
		require.Equal(t, before, f.cse.Count(), nu)
	}

	// the same Request Identifier and content: another device's is not answered from the memory of the first one's
	r := onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContentInstance, RequestID: "the-same", From: "Ca10", To: "cse-in/a10/c",
		Content: []byte(`{"m2m:cin":{"con":"once"}}`)}
	require.Equal(t, onem2m.StatusCreated, ask(f.a10, r).Status)
	require.Equal(t, onem2m.StatusCreated, ask(f.a10, r).Status)
	require.Equal(t, onem2m.StatusOriginatorNotAuthenticated, ask(f.a1, r).Status)
	r.From = "Ca1"
	require.Equal(t, onem2m.StatusNotFound, ask(f.a1, r).Status)

	core := f.a1.exchange(plain(coap.GET, ".well-known/core", ""))
	require.NotContains(t, string(core.Payload), "a10")
}

// TestB06IsolationPlain: a plain device, without any policy, reaches nothing but what lies below its own AE, however it names it.
func TestB06IsolationPlain(t *testing.T) {
	t.Parallel()
	f := startIsolated(t)
	paths := [][]string{
		{"only10"}, {"only10", "c"}, {"p10", "c"}, {"p10", "only10"}, {"cse-in", "p10", "c"}, {"cse-in", "a10", "c"}, {"~", "id-in", "cse-in", "p10", "c"},
		{"_", "sp.example", "id-in", "cse-in", "p10", "c"}, {"-", "p10", "c"}, {"..", "p10", "c"}, {"..", "..", "cse-in", "p10"}, {"%2e%2e", "p10", "c"},
		{"%252e%252e", "p10"}, {"../p10", "c"}, {"..%2fp10", "c"}, {`..\p10`, "c"}, {".", "..", "p10"}, {"", "p10"}, {"Cp10"}, {"Cp10", "only10"}, {f.a10AE},
		{f.a10AE, "c"}, {"la"}, {"c", "la"}, {"only10", "la"}, {"ol"}, {"fopt"}, {"fopt", "only10"}, {"p10#con"}, {"only10?rcn=4"}, {"only10", "pcu"},
	}
	for _, code := range []coap.Code{coap.GET, coap.PUT, coap.POST, coap.DELETE, coap.FETCH, coap.PATCH, coap.IPATCH} {
		for _, path := range paths {
			for _, with := range []coap.Option{{}, {ID: coap.Observe, Value: nil}, {ID: coap.IfMatch}, {ID: coap.Block2, Value: []byte{0x10}}} {
				m := &coap.Message{Code: code, Payload: map[bool][]byte{true: []byte("forged")}[code != coap.GET && code != coap.DELETE]}
				for _, s := range path {
					m.Options = m.Options.AddString(coap.URIPath, s)
				}
				if with.ID != 0 {
					m.Options = m.Options.Add(with.ID, with.Value)
				}
				answer := f.p1.exchange(m)
				require.NotContains(t, string(answer.Payload), "10", "%v %q", code, path)
			}
		}
	}
	for _, r := range f.cse.Requests() {
		if origin := r.Header.Get("X-M2M-Origin"); origin == "Cp1" {
			at, _, _ := strings.Cut(r.Target, "?")
			require.True(t, at == "/cse-in" || at == "/cse-in/p1" || strings.HasPrefix(at, "/cse-in/p1/"), r.Target)
		}
	}
	for path, want := range map[string]string{"cse-in/p10/c/la": `"of p10"`, "cse-in/p10/only10/la": `"of p10"`, "cse-in/a10/c/la": `"of a10"`} {
		content, ok := f.cse.Content(path)
		require.True(t, ok, path)
		require.Equal(t, want, string(content))
	}
	// observing a path of one's own tells nothing of the same path of another
	told := make(chan string, 10)
	first, observed, err := f.p1.coap.Observe(t.Context(), f.p1.peer, plain(coap.GET, "c", ""), func(m *coap.Message) { told <- string(m.Payload) })
	require.NoError(t, err)
	require.NotNil(t, observed)
	require.Equal(t, "of p1", string(first.Payload))
	require.Equal(t, coap.Changed, f.p10.exchange(plain(coap.PUT, "c", "secret of p10")).Code)
	require.Equal(t, coap.Changed, f.p1.exchange(plain(coap.PUT, "c", "again of p1")).Code)
	require.Equal(t, "again of p1", <-told)

	core := string(f.p1.exchange(plain(coap.GET, ".well-known/core", "")).Payload)
	require.Contains(t, core, "</c>")
	for _, filter := range []string{"href=*", "href=/p10*", "href=/../p10/*", "rt=*"} {
		m := plain(coap.GET, ".well-known/core", "")
		m.Options = m.Options.AddString(coap.URIQuery, filter)
		core += string(f.p1.exchange(m).Payload)
	}
	require.NotContains(t, core, "only10/la")
	require.Equal(t, "of p10", string(f.p10.exchange(plain(coap.GET, "only10", "")).Payload))
}
