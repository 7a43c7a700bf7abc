package csetest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
)

func instance(t *testing.T, c http.Handler, con string) {
	t.Helper()
	r := post(t, c, "/cse-in/dev/data", "Cdev", "4", `{"m2m:cin":{"con":`+con+`}}`)
	require.Equal(t, "2001", r.rsc, r.body)
}

func update(t *testing.T, c http.Handler, body string) {
	t.Helper()
	require.Equal(t, "2004", do(t, c, ask{method: "PUT", target: "/cse-in/dev/data", from: "Cdev", body: body}).rsc)
}

// TestContainerLimits: mni and mbs let the oldest go, la and ol follow, st counts (TS-0001, 9.6.6).
func TestContainerLimits(t *testing.T) {
	t.Parallel()
	c := newCSE(t)
	require.Equal(t, "4004", get(t, c, "/cse-in/dev/data/la", "Cdev").rsc, "empty")
	for n := range 5 {
		instance(t, c, fmt.Sprintf(`"v%d"`, n))
	}
	require.Contains(t, get(t, c, "/cse-in/dev/data/la", "Cdev").body, `"v4"`)
	require.Contains(t, get(t, c, "/cse-in/dev/data/ol", "Cdev").body, `"v0"`)
	cnt := attrs(t, get(t, c, "/cse-in/dev/data", "Cdev").body, "m2m:cnt")
	require.EqualValues(t, 5, cnt["cni"])
	require.EqualValues(t, 10, cnt["cbs"])
	require.EqualValues(t, 5, cnt["st"])

	update(t, c, `{"m2m:cnt":{"mni":3}}`)
	require.Contains(t, get(t, c, "/cse-in/dev/data/ol", "Cdev").body, `"v2"`, "at once")
	instance(t, c, `"v5"`)
	require.Contains(t, get(t, c, "/cse-in/dev/data/ol", "Cdev").body, `"v3"`)

	update(t, c, `{"m2m:cnt":{"mni":null,"mbs":5}}`)
	cnt = attrs(t, get(t, c, "/cse-in/dev/data", "Cdev").body, "m2m:cnt")
	require.EqualValues(t, 2, cnt["cni"])
	require.NotContains(t, cnt, "mni")
	r := post(t, c, "/cse-in/dev/data", "Cdev", "4", `{"m2m:cin":{"con":"longer"}}`)
	require.Equal(t, "5207", r.rsc)

	require.Equal(t, "2002", do(t, c, ask{method: "DELETE", target: "/cse-in/dev/data/la", from: "Cdev"}).rsc)
	require.Contains(t, get(t, c, "/cse-in/dev/data/la", "Cdev").body, `"v4"`)
	require.Equal(t, "2002", do(t, c, ask{method: "DELETE", target: "/cse-in/dev", from: "Cdev"}).rsc)
	require.Equal(t, "4004", get(t, c, "/cse-in/dev/data", "CAdmin").rsc, "children go with it")
}

// TestMaxInstanceAge: mia, in virtual time.
func TestMaxInstanceAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCSE(t)
		update(t, c, `{"m2m:cnt":{"mia":60}}`)
		r := post(t, c, "/cse-in/dev/data", "Cdev", "4", `{"m2m:cin":{"con":"old"}}`)
		ri := attrs(t, r.body, "m2m:cin")["ri"].(string)
		time.Sleep(59 * time.Second)
		instance(t, c, `"young"`)
		require.Equal(t, "2000", get(t, c, "/"+ri, "Cdev").rsc)
		time.Sleep(2 * time.Second)
		require.Equal(t, "4004", get(t, c, "/"+ri, "Cdev").rsc)
		require.Contains(t, get(t, c, "/cse-in/dev/data/ol", "Cdev").body, "young")
		time.Sleep(time.Minute)
		require.EqualValues(t, 0, attrs(t, get(t, c, "/cse-in/dev/data", "Cdev").body, "m2m:cnt")["cni"])
		c.Close()
	})
}

// TestAddressing: every form of To leads to the same resource (TS-0001, 7.2; TS-0009, 6.2.2.2).
func TestAddressing(t *testing.T) {
	t.Parallel()
	c := newCSE(t)
	ri := attrs(t, get(t, c, "/cse-in/dev/data", "Cdev").body, "m2m:cnt")["ri"].(string)
	for _, target := range []string{
		"/cse-in/dev/data", "/-/dev/data", "/" + ri, "/Cdev/data", "/~/id-in/cse-in/dev/data", "/~/id-in/-/dev/data",
		"/~/id-in/" + ri, "/_/sp.example/id-in/" + ri, "/cse%2Din/d%65v/data", "/cse-in/dev/data/",
	} {
		for _, from := range []string{"Cdev", "/id-in/Cdev", "//sp.example/id-in/Cdev"} {
			r := get(t, c, target, from)
			require.Equal(t, "2000", r.rsc, target+" "+from)
			require.Equal(t, ri, attrs(t, r.body, "m2m:cnt")["ri"])
		}
	}
	for _, target := range []string{"/cse-in%2Fdev", "/~/id-in/nope", "/_/other/id-in/" + ri, "/~", "/_/sp.example"} {
		require.Equal(t, "4004", get(t, c, target, "Cdev").rsc, target)
	}
	for _, to := range []string{"cse-in/dev/data", "/id-in/" + ri, "//sp.example/id-in/" + ri} {
		b, has := c.Resource(to)
		require.True(t, has, to)
		require.Contains(t, string(b), ri)
	}
}

// TestDiscovery: by label, type, time, level, with limits, and never another's resources (TS-0004, 7.3.3.17).
func TestDiscovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCSE(t)
		time.Sleep(10 * time.Second)
		mark := time.Now().UTC().Format("20060102T150405")
		time.Sleep(10 * time.Second)
		for _, body := range []string{`{"rn":"a","lbl":["x y","k:1"]}`, `{"rn":"b","lbl":["k:1","p+q"],"mni":4}`} {
			require.Equal(t, "2001", post(t, c, "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":`+body+`}`).rsc)
		}
		instance(t, c, `1`)
		require.Equal(t, "2001", post(t, c, "/cse-in", "Cother", "2", `{"m2m:ae":{"rn":"o","api":"N.a","rr":true,"lbl":["k:1"]}}`).rsc)
		for query, want := range map[string][]string{
			"lbl=k:1":                  {"cse-in/dev/a", "cse-in/dev/b"},
			"lbl=x%20y+nope":           {"cse-in/dev/a"},
			"lbl=p%2Bq":                {"cse-in/dev/b"},
			"lbl=nope":                 {},
			"ty=2":                     {"cse-in/dev"},
			"ty=2+3":                   {"cse-in/dev", "cse-in/dev/data", "cse-in/dev/a", "cse-in/dev/b"},
			"ty=3&lim=1":               {"cse-in/dev/data"},
			"ty=3&lim=1&ofst=2":        {"cse-in/dev/a"},
			"ty=3&cra=" + mark:         {"cse-in/dev/a", "cse-in/dev/b"},
			"ty=3&crb=" + mark:         {"cse-in/dev/data"},
			"ty=3&ms=" + mark:          {"cse-in/dev/data", "cse-in/dev/a", "cse-in/dev/b"},
			"ty=3&us=" + mark:          {},
			"lvl=1":                    {"cse-in/dev"},
			"mni=4":                    {"cse-in/dev/b"},
			"ty=3&rn=a":                {"cse-in/dev/a"},
			"ty=3&lbl=k:1&cra=" + mark: {"cse-in/dev/a", "cse-in/dev/b"},
		} {
			r := get(t, c, "/cse-in?fu=1&"+query, "Cdev")
			require.Equal(t, "2000", r.rsc, query)
			var got map[string][]string
			require.NoError(t, json.Unmarshal([]byte(r.body), &got))
			require.Equal(t, want, got["m2m:uril"], query)
		}
		require.NotContains(t, get(t, c, "/cse-in?fu=1&drt=2&ty=3", "Cdev").body, "/")
		require.Equal(t, "5001", get(t, c, "/cse-in?fu=1&sza=3", "Cdev").rsc)
		require.Equal(t, "4000", get(t, c, "/cse-in?fu=1&cra=x", "Cdev").rsc)
		c.Close()
	})
}

// TestResultContent: rcn and atrl (TS-0004, 6.3.4.2.7 and 7.3.3.14).
func TestResultContent(t *testing.T) {
	t.Parallel()
	c := newCSE(t)
	instance(t, c, `7`)
	require.JSONEq(t, `{"m2m:ae":{"ri":"Cdev","api":"N.a"}}`, get(t, c, "/cse-in/dev?atrl=ri+api+apn", "Cdev").body)
	require.JSONEq(t, `{"m2m:rrl":{"rrf":[{"nm":"data","typ":3,"val":"cse-in/dev/data"}]}}`,
		get(t, c, "/cse-in/dev?rcn=6&ty=3", "Cdev").body)
	all := attrs(t, get(t, c, "/cse-in/dev?rcn=4", "Cdev").body, "m2m:ae")
	require.Equal(t, "N.a", all["api"])
	cnt := all["m2m:cnt"].([]any)[0].(map[string]any)
	require.EqualValues(t, 7, cnt["m2m:cin"].([]any)[0].(map[string]any)["con"])
	require.NotContains(t, get(t, c, "/cse-in/dev?rcn=8", "Cdev").body, `"api"`)
	require.Contains(t, get(t, c, "/cse-in/dev?rcn=5", "Cdev").body, `"ch":[{"nm":"data"`)

	create := func(rcn string) string {
		r := post(t, c, "/cse-in/dev?rcn="+rcn, "Cdev", "3", `{"m2m:cnt":{"rn":"r`+rcn+`"}}`)
		require.Equal(t, "2001", r.rsc)
		require.Equal(t, "cse-in/dev/r"+rcn, r.header.Get("Content-Location"))
		return r.body
	}
	require.Empty(t, create("0"))
	require.JSONEq(t, `{"m2m:uri":"cse-in/dev/r2"}`, create("2"))
	require.Equal(t, "cse-in/dev/r3", attrs(t, create("3"), "m2m:rce")["uri"])
	r := do(t, c, ask{method: "PUT", target: "/cse-in/dev/r0?rcn=9", from: "Cdev", body: `{"m2m:cnt":{"mni":5}}`})
	require.Len(t, attrs(t, r.body, "m2m:cnt"), 2, "lt and mni")
	r = do(t, c, ask{method: "DELETE", target: "/cse-in/dev/r0?rcn=1", from: "Cdev"})
	require.Equal(t, "r0", attrs(t, r.body, "m2m:cnt")["rn"])
}

// TestCBOR: CBOR in, JSON or CBOR out (TS-0004, 8.4).
func TestCBOR(t *testing.T) {
	t.Parallel()
	c := newCSE(t)
	body, err := cbor.Marshal(map[string]any{"m2m:cin": map[string]any{"con": "é", "lbl": []string{"a"}}})
	require.NoError(t, err)
	r := do(t, c, ask{method: "POST", target: "/cse-in/dev/data", from: "Cdev", body: string(body), header: map[string]string{
		"Content-Type": "application/cbor;ty=4",
	}})
	require.Equal(t, "2001", r.rsc, r.body)
	require.Equal(t, "application/cbor", r.header.Get("Content-Type"))
	var got map[string]map[string]any
	require.NoError(t, cbor.Unmarshal([]byte(r.body), &got))
	require.Equal(t, "é", got["m2m:cin"]["con"])
	require.EqualValues(t, 4, got["m2m:cin"]["ty"])
	require.Contains(t, get(t, c, "/cse-in/dev/data/la", "Cdev").body, `"con":"é"`)
	r = do(t, c, ask{method: "GET", target: "/cse-in/dev/data/la", from: "Cdev", header: map[string]string{
		"Accept": "text/plain, application/cbor",
	}})
	require.Equal(t, "application/cbor", r.header.Get("Content-Type"))
}

// TestReset forgets all.
func TestReset(t *testing.T) {
	t.Parallel()
	c := newCSE(t)
	c.SetHook(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusTeapot) })
	require.Equal(t, 2, c.Count())
	require.Equal(t, "/cse-in/dev", c.Requests()[1].Target)
	require.Equal(t, `{"m2m:cnt":{"rn":"data"}}`, string(c.Requests()[1].Body))
	c.Reset()
	require.Zero(t, c.Count())
	require.Empty(t, c.Requests())
	require.Equal(t, "4004", get(t, c, "/cse-in/dev", "CAdmin").rsc)
}

func TestRecordIsBounded(t *testing.T) {
	t.Parallel()
	c := csetest.New(csetest.Config{Record: 3})
	t.Cleanup(c.Close)
	for n := range 10 {
		get(t, c, fmt.Sprintf("/cse-in?x=%d", n), "CAdmin")
	}
	require.Equal(t, 10, c.Count())
	require.Len(t, c.Requests(), 3)
	require.Equal(t, "/cse-in?x=7", c.Requests()[0].Target)
}
