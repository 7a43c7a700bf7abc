package bridge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
)

// TestUpward: as an MN-CSE the bridge sends Originators in their SP-relative form (TS-0001, 7.2), and does not touch what
// the device gets back.
func TestUpward(t *testing.T) {
	t.Parallel()
	mn := CSE{As: "/mn-1"}
	for from, want := range map[string]string{
		"Cmeter1": "/mn-1/Cmeter1", "S190XX7T": "/S190XX7T", "/other/Cx": "/other/Cx", "//sp.example/other/Cx": "//sp.example/other/Cx",
		"": "", "C": "C", "S": "S",
	} {
		r := &onem2m.Request{From: from}
		require.Equal(t, want, mn.upward(r).From, "%q", from)
		require.Equal(t, from, r.From, "the request itself was changed")
		require.Equal(t, from, testCSE.upward(r).From, "a shared identity sends it as it is")
	}
	f := start(t, oneM2MDevice, func(c *Config) { c.CSEs[0].As = "/mn-1" })
	_, resp := f.oneM2M(retrieve("1"))
	require.Equal(t, onem2m.StatusOK, resp.Status)
	require.Equal(t, "/mn-1/Cd", f.layer.requests()[0].From)
	_, resp = f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in", From: "/mn-1/Cd", RequestID: "2", ReleaseVersion: "3"})
	require.Equal(t, onem2m.StatusOriginatorNotAuthenticated, resp.Status, "the policy looks at what the device says")
}

// upstreams records which client each request went up as.
type upstreams struct {
	layer
	as []Upstream
}

func (u *upstreams) Do(ctx context.Context, up Upstream, r *onem2m.Request) (*onem2m.Response, error) {
	u.mu.Lock()
	u.as = append(u.as, up)
	u.mu.Unlock()
	return u.layer.Do(ctx, up, r)
}

// TestClientOfDevice: a device that has a client certificate of its own at the CSE goes up with it.
func TestClientOfDevice(t *testing.T) {
	t.Parallel()
	dev := oneM2MDevice
	dev.Client = "meter-cert"
	u := &upstreams{}
	f := start(t, dev, func(c *Config) { c.ServiceLayer = u })
	f.oneM2M(retrieve("1"))
	require.Equal(t, []Upstream{{CSE: "in", Client: "meter-cert"}}, u.as)
}
