//go:build interop

package daemon

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/internal/acme"
	"coapbridge/internal/testpki"
)

// startWithACME runs a bridge in front of ACME.
func startWithACME(t *testing.T, edit ...func(*fixture, string) string) (*fixture, *acme.Instance) {
	t.Helper()
	ca := testpki.NewCA(t, "ACME")
	cse := acme.Start(t, ca)
	f := start(t, append(edit, func(f *fixture, text string) string {
		ca.WriteCert(t, f.dir, "cse-ca.crt")
		ca.Client(t).Write(t, f.dir, "cse-client")
		return strings.Replace(text, "https://"+f.cseAt, cse.URL, 1)
	})...)
	return f, cse
}

// TestInteropACMEPlain: libcoap's clients post to ACME through the bridge and read back what they sent, text, JSON and
// bytes, with their Content-Format; what they delete is gone.
func TestInteropACMEPlain(t *testing.T) {
	t.Parallel()
	f, _ := startWithACME(t)
	for _, client := range []libcoap{openssl, gnutls} {
		client.run(t, meter("-m", "post", "-t", "0", "-e", "21.5", f.uri+"/room/temperature")...)
		out, _ := client.run(t, meter("-m", "get", f.uri+"/room/temperature")...)
		require.Equal(t, "21.5\n", out)
	}
	body := make([]byte, 3000)
	for i := range body {
		body[i] = byte(i)
	}
	require.NoError(t, os.WriteFile(f.path("body"), body, 0o600))
	openssl.run(t, meter("-m", "put", "-t", "42", "-f", f.path("body"), f.uri+"/bytes")...)
	openssl.run(t, meter("-m", "get", "-o", f.path("back"), f.uri+"/bytes")...)
	back, err := os.ReadFile(f.path("back"))
	require.NoError(t, err)
	require.Equal(t, body, back)

	c := connect(t, f.addr(), "meter1", meterKey)
	m := plain(coap.POST, "senml", `[{"n":"t","v":1}]`)
	m.Options = m.Options.AddUint(coap.ContentFormat, 110)
	created := c.exchange(m)
	require.Equal(t, coap.Created, created.Code)
	var location []string
	for _, o := range created.Options {
		if o.ID == coap.LocationPath {
			location = append(location, string(o.Value))
		}
	}
	got := c.exchange(plain(coap.GET, strings.Join(location, "/"), ""))
	require.Equal(t, coap.Content, got.Code)
	require.Equal(t, `[{"n":"t","v":1}]`, string(got.Payload))
	format, _ := got.Options.Uint(coap.ContentFormat)
	require.EqualValues(t, 110, format)

	core := c.exchange(plain(coap.GET, ".well-known/core", ""))
	require.Contains(t, string(core.Payload), "</room/temperature>")
	require.Equal(t, coap.Deleted, c.exchange(plain(coap.DELETE, "senml", "")).Code)
	require.Equal(t, coap.NotFound, c.exchange(plain(coap.GET, "senml", "")).Code)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "senml", "again")).Code)
}

// TestInteropACMEOneM2M: a oneM2M device registers, stores, discovers and removes.
func TestInteropACMEOneM2M(t *testing.T) {
	t.Parallel()
	f, _ := startWithACME(t)
	c := connect(t, f.addr(), "other", otherKey)
	for _, step := range []struct {
		want onem2m.StatusCode
		r    onem2m.Request
	}{
		{onem2m.StatusCreated, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in",
			Content: []byte(`{"m2m:ae":{"rn":"other","api":"Ntest","rr":false,"srv":["3"]}}`)}},
		{onem2m.StatusCreated, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContainer, To: "cse-in/other",
			Content: []byte(`{"m2m:cnt":{"rn":"c","lbl":["kitchen"]}}`)}},
		{onem2m.StatusCreated, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContentInstance,
			To: "/id-in/cse-in/other/c", Content: []byte(`{"m2m:cin":{"con":"42"}}`)}},
		{onem2m.StatusOK, onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other/c/la"}},
		{onem2m.StatusUpdated, onem2m.Request{Operation: onem2m.Update, To: "cse-in/other/c", Content: []byte(`{"m2m:cnt":{"mni":5}}`)}},
		{onem2m.StatusOK, onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in",
			Query: []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: "lbl", Value: "kitchen"}}}},
		{onem2m.StatusDeleted, onem2m.Request{Operation: onem2m.Delete, To: "cse-in/other/c"}},
		{onem2m.StatusNotFound, onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other/c"}},
	} {
		step.r.From = "Cother1"
		if step.r.Content != nil {
			step.r.MediaType = "application/json"
		}
		_, resp := c.do(&step.r)
		require.Equal(t, step.want, resp.Status, "%s %s: %s", step.r.Operation, step.r.To, resp.Content)
	}
}

// TestInteropACMELostMemory: a CSE that comes back without its memory gets the device's AE and container again.
func TestInteropACMELostMemory(t *testing.T) {
	t.Parallel()
	f, cse := startWithACME(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", "1")).Code)
	_, resp := c.do(&onem2m.Request{Operation: onem2m.Delete, To: "cse-in/meter1", From: "Cmeter1"})
	require.Equal(t, onem2m.StatusDeleted, resp.Status)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", "2")).Code)
	cse.Stop(t)
	require.Contains(t, []coap.Code{coap.ServiceUnavailable, coap.GatewayTimeout}, c.exchange(plain(coap.GET, "a", "")).Code)
	require.Contains(t, f.get("/readyz"), `"ready":false`)
}
