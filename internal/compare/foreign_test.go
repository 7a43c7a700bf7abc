package compare

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/internal/testpki"
)

// TestForeignAnswer: a CSE that executes a request and answers to another Request Identifier, as ACME does to None, has given
// no answer that can be trusted: 5.02 with 5000 (S44). It may have executed it, so its repetition must not reach it again.
func TestForeignAnswer(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "CSE")
	cse := csetest.New(csetest.Config{Certificate: ca.Server(t, "127.0.0.1").TLS(), ClientCAs: ca.Pool()})
	url, err := cse.Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cse.Close)
	device, _ := twins(t, url, ca, testpki.NewCA(t, "bridge"), false)
	device.ask(t, made("AE", ae, "{cse}", `{"m2m:ae":{"rn":"{side}","api":"Nside","rr":true,"srv":["3"]}}`), 0)
	device.ask(t, made("container", cnt, "{ae}", `{"m2m:cnt":{"rn":"c"}}`), 1)

	cse.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		executed := httptest.NewRecorder()
		next.ServeHTTP(executed, r)
		for name, values := range executed.Header() {
			w.Header()[name] = values
		}
		w.Header()["X-M2M-RI"] = []string{"None"}
		w.WriteHeader(executed.Code)
		_, _ = w.Write(executed.Body.Bytes()) // a client that went away is its own answer
	})
	before := cse.Count()
	instance := device.expand(made("instance", cin, "{ae}/c", `{"m2m:cin":{"con":"once"}}`).request, "2")
	for range 2 {
		refused := device.do(t, instance)
		require.Equal(t, "5000", refused.params["rsc"])
		require.Equal(t, instance.rqi, refused.params["rqi"])
		require.Equal(t, "5.02", refused.code)
	}
	require.Equal(t, before+1, cse.Count(), "the repetition was executed again")
}
