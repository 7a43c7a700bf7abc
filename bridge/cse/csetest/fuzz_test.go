package csetest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
)

// FuzzServeHTTP: no request panics, every answer has one RSC and, when it is JSON, well-formed content.
func FuzzServeHTTP(f *testing.F) {
	f.Add("GET", "/cse-in/dev?fu=1&lbl=a+b&ty=3", "", []byte(nil))
	f.Add("POST", "/-/dev/data", "application/json;ty=4", []byte(`{"m2m:cin":{"con":{"a":1}}}`))
	f.Add("POST", "/~/id-in/cse-in/dev", "application/json;ty=23", []byte(`{"m2m:sub":{"nu":["Cdev"],"enc":{"net":[1]}}}`))
	f.Add("PUT", "/cse-in/dev/data?rcn=9", "application/cbor", []byte("\xa1gm2m:cnt\xa1cmni\x05"))
	f.Add("DELETE", "/cse-in/dev/data/la?rcn=1", "", []byte(nil))
	f.Fuzz(func(t *testing.T, method, target, media string, body []byte) {
		if u, err := url.ParseRequestURI(target); err != nil || u.Host != "" || method == "" {
			return // net/http answers these itself
		}
		c := csetest.New(csetest.Config{})
		defer c.Close()
		post(t, c, "/cse-in", "Cdev", "2", `{"m2m:ae":{"rn":"dev","api":"N.a","rr":true}}`)
		post(t, c, "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"data"}}`)
		r := &http.Request{
			Method: method, RequestURI: target, Header: http.Header{}, Body: http.NoBody,
		}
		r = r.WithContext(t.Context())
		r.Body = nopBody{bytes.NewReader(body)}
		r.Header.Set("X-M2M-RI", "r")
		r.Header.Set("X-M2M-Origin", "Cdev")
		r.Header.Set("Content-Type", media)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		require.Len(t, spelled(t, w.Header(), "X-M2M-RSC"), 4)
		require.NotEqual(t, "5000", spelled(t, w.Header(), "X-M2M-RSC"))
		if w.Header().Get("Content-Type") == "application/json" {
			require.True(t, json.Valid(w.Body.Bytes()), w.Body.String())
		}
	})
}

// nopBody is a request's body.
type nopBody struct{ *bytes.Reader }

func (nopBody) Close() error { return nil }
