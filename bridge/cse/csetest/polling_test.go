package csetest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
)

// newPolled has the AE Cdev, under the name dev, that is reached by its polling channel alone.
func newPolled(t *testing.T) (c *csetest.CSE, pcu string) {
	t.Helper()
	c = csetest.New(csetest.Config{NotifyTimeout: 10 * time.Second})
	t.Cleanup(c.Close)
	require.Equal(t, "2001", post(t, c, "/cse-in", "Cdev", "2", `{"m2m:ae":{"rn":"dev","api":"N.a","rr":false}}`).rsc)
	require.Equal(t, "2001", post(t, c, "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"data"}}`).rsc)
	made := post(t, c, "/Cdev?rcn=2", "Cdev", "15", `{"m2m:pch":{}}`)
	require.Equal(t, "2001", made.rsc, made.body)
	var uri map[string]string
	require.NoError(t, json.Unmarshal([]byte(made.body), &uri))
	return c, "/" + uri["m2m:uri"] + "/pcu"
}

// pollFor retrieves one request and returns what stands in it.
func pollFor(t *testing.T, c *csetest.CSE, pcu string) map[string]any {
	t.Helper()
	got := get(t, c, pcu, "Cdev")
	require.Equal(t, "2000", got.rsc, got.body)
	return attrs(t, got.body, "m2m:rqp")
}

// TestPollingChannel: notifications and handed-on NOTIFYs wait at the channel, and are answered there (TS-0001, 10.2.5.16 to
// 10.2.5.18).
func TestPollingChannel(t *testing.T) {
	t.Parallel()
	c, pcu := newPolled(t)
	require.Equal(t, "4105", post(t, c, "/cse-in/dev", "Cdev", "15", `{"m2m:pch":{}}`).rsc, "there is one already")
	require.Equal(t, "2001", post(t, c, "/cse-in/dev/data", "Cdev", "23", `{"m2m:sub":{"rn":"s","nu":["Cdev"],"enc":{"net":[3]}}}`).rsc)
	for _, con := range []string{"1", "2"} {
		require.Equal(t, "2001", post(t, c, "/cse-in/dev/data", "Cdev", "4", `{"m2m:cin":{"con":`+con+`}}`).rsc)
	}
	for _, con := range []string{"1", "2"} {
		r := pollFor(t, c, pcu)
		require.Equal(t, "/id-in", r["fr"])
		require.Equal(t, "Cdev", r["to"])
		require.EqualValues(t, 5, r["op"])
		raw, err := json.Marshal(r["pc"])
		require.NoError(t, err)
		require.Contains(t, string(raw), `"con":`+con)
		answer := `{"m2m:rsp":{"rsc":2000,"rqi":"` + r["rqi"].(string) + `","rvi":"3"}}`
		require.Equal(t, "2000", post(t, c, pcu, "Cdev", "", answer).rsc)
		require.Equal(t, "4000", post(t, c, pcu, "Cdev", "", answer).rsc, "nobody waits any more")
	}

	var all sync.WaitGroup
	var got reply
	all.Go(func() { got = post(t, c, "/cse-in/dev", "CAdmin", "", `{"m2m:sgn":{"sur":"x"}}`) })
	r := pollFor(t, c, pcu)
	require.Equal(t, "rqi-1", r["rqi"], "handed on with the Request Identifier that it came with")
	require.Equal(t, "2000", post(t, c, pcu, "Cdev", "", `{"m2m:rsp":{"rsc":4004,"rqi":"rqi-1","rvi":"3","pc":{"a":1}}}`).rsc)
	all.Wait()
	require.Equal(t, "4004", got.rsc)
	require.JSONEq(t, `{"a":1}`, got.body)
}

// TestPollingChannelRefusals: nothing came, somebody else, and what is no answer.
func TestPollingChannelRefusals(t *testing.T) {
	t.Parallel()
	c, pcu := newPolled(t)
	require.Equal(t, "4008", do(t, c, ask{"GET", pcu, "Cdev", "", "", map[string]string{"X-M2M-RET": "5"}}).rsc)
	require.Equal(t, "4103", get(t, c, pcu, "CAdmin").rsc, "nobody but the AE")
	require.Equal(t, "4004", get(t, c, strings.Replace(pcu, "/pcu", "x/pcu", 1), "Cdev").rsc)
	require.Equal(t, "4004", get(t, c, "/cse-in/dev/pcu", "Cdev").rsc)
	require.Equal(t, "4005", do(t, c, ask{method: "DELETE", target: pcu, from: "Cdev"}).rsc)
	require.Equal(t, "4001", post(t, c, pcu, "Cdev", "", `{"m2m:rsp":{"rsc":2000,"rqi":"none"}}`).rsc)
	for _, body := range []string{"{}", `{"m2m:rsp":7}`, `{"m2m:rsp":{"rsc":"x"}}`, `{"m2m:rsp":{"rsc":2000,"rqi":"none","rvi":"3"}}`} {
		require.Equal(t, "4000", post(t, c, pcu, "Cdev", "", body).rsc, body)
	}
}

// TestNonBlocking: the result waits in a <request>, and for rt 2 goes to the notification targets too (TS-0001, 8.2.2).
func TestNonBlocking(t *testing.T) {
	t.Parallel()
	c, pcu := newPolled(t)
	result := func(body string) map[string]any {
		var uri map[string]string
		require.NoError(t, json.Unmarshal([]byte(body), &uri))
		got := get(t, c, "/"+uri["m2m:uri"], "Cdev")
		require.Equal(t, "2000", got.rsc)
		require.Equal(t, "4103", get(t, c, "/"+uri["m2m:uri"], "Cother").rsc)
		return attrs(t, got.body, "m2m:req")
	}
	synch := get(t, c, "/cse-in/dev/data?rt=1", "Cdev")
	require.Equal(t, "1001", synch.rsc)
	require.Equal(t, http.StatusAccepted, synch.status)
	req := result(synch.body)
	require.EqualValues(t, 1, req["rs"])
	require.EqualValues(t, 2000, req["ors"].(map[string]any)["rsc"])
	require.Contains(t, req["ors"].(map[string]any)["pc"], "m2m:cnt")

	failed := get(t, c, "/cse-in/none?rt=2", "Cdev")
	require.Equal(t, "1002", failed.rsc)
	require.EqualValues(t, 2, result(failed.body)["rs"])
	r := pollFor(t, c, pcu)
	rsp := r["pc"].(map[string]any)["m2m:rsp"].(map[string]any)
	require.EqualValues(t, 4004, rsp["rsc"])
	require.Equal(t, "rqi-1", rsp["rqi"])
	require.Equal(t, "2000", post(t, c, pcu, "Cdev", "", `{"m2m:rsp":{"rsc":2000,"rqi":"`+r["rqi"].(string)+`","rvi":"3"}}`).rsc)

	nobody := httptest.NewRequest(http.MethodGet, "/cse-in/dev?rt=2", http.NoBody)
	nobody.Header = http.Header{"X-M2m-Origin": {"Cdev"}, "X-M2m-Ri": {"r"}, "X-M2m-Rtu": {""}}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, nobody)
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Equal(t, "4008", do(t, c, ask{"GET", pcu, "Cdev", "", "", map[string]string{"X-M2M-RET": "5"}}).rsc)
	require.Equal(t, "5001", post(t, c, "/cse-in", "Cdev", "17", `{"m2m:req":{}}`).rsc, "it can't be created")
}
