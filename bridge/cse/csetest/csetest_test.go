package csetest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/bridge/cse/csetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask is one request of a test, without a network.
type ask struct {
	method, target, from, ty, body string
	header                         map[string]string
}

// reply is what came back.
type reply struct {
	status int
	rsc    string
	header http.Header
	body   string
}

func do(t *testing.T, c http.Handler, a ask) reply {
	t.Helper()
	r := httptest.NewRequest(a.method, a.target, strings.NewReader(a.body))
	r.Header.Set("X-M2M-Origin", a.from)
	r.Header.Set("X-M2M-RI", "rqi-1")
	r.Header.Set("X-M2M-RVI", "3")
	if a.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.ty != "" {
		r.Header.Set("Content-Type", "application/json;ty="+a.ty)
	}
	for k, v := range a.header {
		if v == "" {
			r.Header.Del(k)
			continue
		}
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	res := w.Result()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return reply{status: res.StatusCode, rsc: spelled(t, w.Header(), "X-M2M-RSC"), header: w.Header(), body: string(body)}
}

// spelled returns the only value of the header of exactly this spelling (TS-0009, 6.4).
func spelled(t *testing.T, h http.Header, name string) string {
	t.Helper()
	require.Len(t, h[name], 1, name)
	return h[name][0]
}

func post(t *testing.T, c http.Handler, target, from, ty, body string) reply {
	t.Helper()
	return do(t, c, ask{method: "POST", target: target, from: from, ty: ty, body: body})
}

func get(t *testing.T, c http.Handler, target, from string) reply {
	t.Helper()
	return do(t, c, ask{method: "GET", target: target, from: from})
}

// attrs returns the members of the one resource in a content.
func attrs(t *testing.T, content, root string) map[string]any {
	t.Helper()
	var outer map[string]map[string]any
	require.NoError(t, json.Unmarshal([]byte(content), &outer), content)
	require.Contains(t, outer, root)
	return outer[root]
}

// newCSE has the AE Cdev under the name dev, with the container data.
func newCSE(t *testing.T) *csetest.CSE {
	t.Helper()
	c := csetest.New(csetest.Config{})
	t.Cleanup(c.Close)
	require.Equal(t, "2001", post(t, c, "/cse-in", "Cdev", "2", `{"m2m:ae":{"rn":"dev","api":"N.a","rr":true}}`).rsc)
	require.Equal(t, "2001", post(t, c, "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"data"}}`).rsc)
	return c
}

func TestContentIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	c := newCSE(t)
	for _, con := range []string{`"text"`, `1.0`, `{"b" : 1, "a":[1e3,2.50]}`, `"\u003c\/a&<>\u00e9é"`, `[]`, `-0`} {
		r := post(t, c, "/cse-in/dev/data", "Cdev", "4", `{"m2m:cin":{"con":`+con+`,"cnf":"application/json:0"}}`)
		require.Equal(t, "2001", r.rsc, r.body)
		require.Equal(t, http.StatusCreated, r.status)
		require.Contains(t, r.body, `"con":`+con)
		require.Contains(t, get(t, c, "/cse-in/dev/data/la", "Cdev").body, `"con":`+con)
		kept, has := c.Content("cse-in/dev/data/la")
		require.True(t, has)
		require.Equal(t, con, string(kept))
	}
}
