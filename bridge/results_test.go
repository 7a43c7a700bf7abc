package bridge

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
)

// TestNonBlockingResult: a device may read the <request> resource that it was given for a non-blocking request, though its policy
// names other targets, and no other one (TS-0001, 8.2.2; B06).
func TestNonBlockingResult(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ created, content, to string }{
		"Content-Location": {"cse-in/req1", "", "cse-in/req1"},
		"in the content":   {"", `{"m2m:uri":"/id-in/cse-in/req1"}`, "cse-in/req1"},
		"another spelling": {"cse-in/req1", "", "//sp.example/id-in/-/req1"},
	} {
		dev := oneM2MDevice
		dev.Targets = []string{"cse-in/ae"}
		f := start(t, dev)
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			resp := ok(r, onem2m.StatusOK)
			if r.ResponseType == onem2m.NonBlockingSynch {
				resp.Status, resp.Created = onem2m.StatusAcceptedNonBlockingSynch, c.created
				if c.content != "" {
					resp.Content, resp.MediaType = []byte(c.content), "application/json"
				}
			}
			return resp, nil
		}
		read := func(rqi, to string) onem2m.StatusCode {
			_, resp := f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: to, From: "Cd", RequestID: rqi, ReleaseVersion: "3"})
			return resp.Status
		}
		require.Equal(t, onem2m.StatusNotFound, read("1", c.to), name)
		_, resp := f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/ae", From: "Cd", RequestID: "2",
			ReleaseVersion: "3", ResponseType: onem2m.NonBlockingSynch})
		require.Equal(t, onem2m.StatusAcceptedNonBlockingSynch, resp.Status, name)
		require.Equal(t, onem2m.StatusOK, read("3", c.to), name)
		require.Equal(t, onem2m.StatusNotFound, read("4", "cse-in/req2"), name)
		require.Equal(t, onem2m.StatusNotFound, read("5", c.to+"/x"), name)
	}
}

// TestResultsBounded: a device's older results give way, and all have an end.
func TestResultsBounded(t *testing.T) {
	t.Parallel()
	var r results
	dev := Device{Name: "d", Targets: []string{"x"}}
	get := func(i int) *onem2m.Request {
		return &onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/" + strconv.Itoa(i)}
	}
	for i := range 2 * maxResultsPerDevice {
		r.add(&dev, &testCSE, &onem2m.Response{Created: get(i).To})
	}
	require.Equal(t, maxResultsPerDevice, r.total)
	require.False(t, r.has(&dev, &testCSE, get(maxResultsPerDevice-1)))
	require.True(t, r.has(&dev, &testCSE, get(maxResultsPerDevice)))
	require.False(t, r.has(&Device{Name: "e"}, &testCSE, get(maxResultsPerDevice)))
	r.add(&Device{Name: "free"}, &testCSE, &onem2m.Response{Created: "cse-in/x"})
	require.Equal(t, maxResultsPerDevice, r.total, "who may read everything needs no entry")
	r.trimLocked("d", time.Now().Add(resultLifetime), maxResultsPerDevice)
	require.Zero(t, r.total)
	require.Empty(t, r.byDevice)
}
