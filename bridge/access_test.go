package bridge

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
)

var tokenURL = regexp.MustCompile(`https://gw\.example:8443/([A-Za-z0-9_-]{22})`)

// register is the CREATE of an AE as a device sends it.
func register(content, media string) *onem2m.Request {
	return &onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in", From: "Cd", RequestID: "reg",
		ReleaseVersion: "3", Content: []byte(content), MediaType: media}
}

// cborText is s as CBOR writes it, up to 255 bytes (RFC 8949, Section 3.1).
func cborText(s string) string {
	if len(s) < 24 {
		return string(rune(0x60+len(s))) + s
	}
	return "\x78" + string([]byte{byte(len(s))}) + s
}

// TestB04PointOfAccess: no address that a device wrote into its AE reaches the CSE, which gets a URL of the bridge with a token
// instead; every other byte goes up as it was, and the device is shown what it wrote, in any serialisation (S42).
func TestB04PointOfAccess(t *testing.T) {
	t.Parallel()
	const own = "coap://169.254.169.254/x"
	for name, c := range map[string]struct{ media, sent, before, after, answer string }{
		"JSON": {"application/json", `{ "m2m:ae" : {"api":"N1","x":1e400, "poa": ["` + own + `"],"y":3.0}}`,
			`{ "m2m:ae" : {"api":"N1","x":1e400, "poa": ["`, `"],"y":3.0}}`, `{"m2m:ae":{"aei":"Cd","poa":["%"],"z":-0}}`},
		"none in JSON": {"application/json", `{"m2m:ae":{"api":"N1","n":3.0}}`,
			`{"m2m:ae":{"poa":["`, `"],"api":"N1","n":3.0}}`, `{"m2m:ae":{"aei":"Cd","poa":["%"]}}`},
		"CBOR": {"application/cbor", "\xa1\x66m2m:ae\xa2" + cborText("poa") + "\x81" + cborText(own) + cborText("api") + cborText("N1"),
			"\xa1\x66m2m:ae\xa2" + cborText("poa") + "\x81\x78\x2e", cborText("api") + cborText("N1"),
			"\xa1\x66m2m:ae\xa2" + cborText("aei") + cborText("Cd") + cborText("poa") + "\x81\x78\x2e%"},
		"XML": {"application/xml", `<m2m:ae xmlns:m2m="http://www.onem2m.org/xml/protocols"><api>N1</api><poa>` + own + `</poa><rr>true</rr></m2m:ae>`,
			`<m2m:ae xmlns:m2m="http://www.onem2m.org/xml/protocols"><api>N1</api><poa>`, `</poa><rr>true</rr></m2m:ae>`,
			`<m2m:ae xmlns:m2m="http://www.onem2m.org/xml/protocols"><aei>Cd</aei><poa>%</poa></m2m:ae>`},
	} {
		f := start(t, oneM2MDevice, listens)
		url := ""
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			url = tokenURL.FindString(string(r.Content))
			resp := ok(r, onem2m.StatusCreated)
			resp.Content, resp.MediaType = []byte(strings.ReplaceAll(c.answer, "%", url)), c.media
			return resp, nil
		}
		_, resp := f.oneM2M(register(c.sent, c.media))
		require.Equal(t, onem2m.StatusCreated, resp.Status, name)
		require.NotEmpty(t, url, name)
		require.Equal(t, c.before+url+c.after, string(f.layer.requests()[0].Content), name)

		require.NotContains(t, string(resp.Content), "gw.example", name)
		access, bound := f.directory.Access("in", "Cd")
		require.True(t, bound, name)
		require.Equal(t, url, "https://gw.example:8443/"+access.Token, name)
		if name == "none in JSON" {
			require.Nil(t, access.POA, name)
			require.JSONEq(t, `{"m2m:ae":{"aei":"Cd"}}`, string(resp.Content), name)
		} else {
			require.Equal(t, []string{own}, access.POA, name)
			require.Contains(t, string(resp.Content), own, name)
		}

		down, err := f.bridge.Deliver(t.Context(), Downstream{CSE: "in", Token: access.Token}, notification("1", "{}"))
		require.NoError(t, err, name)
		require.Equal(t, onem2m.StatusOK, down.Status, name)
	}
}

// TestPointOfAccessOfOthers: whoever reads an AE sees its device's own addresses, in answers and in notifications, and nobody a
// token; what is no address of the bridge's stays.
func TestPointOfAccessOfOthers(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	other := Access{Token: "b3RoZXJvdGhlcm90aGVyLg", POA: []string{"coap://192.0.2.9/a", "coap://192.0.2.9/b"}}
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Ce", other))
	const url = "https://gw.example:8443/"
	sees := func(content string) string {
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			resp := ok(r, onem2m.StatusOK)
			resp.Content, resp.MediaType = []byte(content), "application/json"
			return resp, nil
		}
		_, resp := f.oneM2M(retrieve("1"))
		require.Equal(t, onem2m.StatusOK, resp.Status)
		return string(resp.Content)
	}
	require.Equal(t, `{"m2m:ae":{"poa":["coap://192.0.2.9/a","coap://192.0.2.9/b"],"n":1.0}}`,
		sees(`{"m2m:ae":{"poa":["`+url+other.Token+`"],"n":1.0}}`))
	require.Equal(t, `{"m2m:ae":{"n":1.0}}`, sees(`{"m2m:ae":{"poa":["`+url+testToken+`"],"n":1.0}}`), "it wrote none")
	require.Equal(t, `{"m2m:ae":{}}`, sees(`{"m2m:ae":{"poa":["`+url+`unknown"]}}`), "a token of long ago")
	require.Equal(t, `{"m2m:csr":{"poa":["https://cse.example/"]}}`, sees(`{"m2m:csr":{"poa":["https://cse.example/"]}}`))

	debug := `{"m2m:dbg":"no answer from ` + url + "%" + `/x nor https:\/\/gw.example:8443\/%"}`
	require.Equal(t, strings.ReplaceAll(debug, "%", strings.Repeat("x", 22)), sees(strings.ReplaceAll(debug, "%", other.Token)))
	require.Equal(t, `{"m2m:dbg":"`+url+`bm9ib2R5bm9ib2R5bm9ibw"}`, sees(`{"m2m:dbg":"`+url+`bm9ib2R5bm9ib2R5bm9ibw"}`), "nobody's")
	cbor := "\xa2" + cborText("m2m:dbg") + "\x78\x2e" + url + "%" + cborText("next") + "\x01"
	require.Equal(t, strings.ReplaceAll(cbor, "%", strings.Repeat("x", 22)),
		string(f.bridge.redact(f.bridge.cses["in"], nil, []byte(strings.ReplaceAll(cbor, "%", other.Token)))), "no blank behind it")

	_, err := f.bridge.Deliver(t.Context(), fromCSE, notification("1", `{"m2m:sgn":{"nev":{"rep":{"m2m:ae":{"poa":["`+url+testToken+`"]}}}}}`))
	require.NoError(t, err)
	require.Equal(t, `{"m2m:sgn":{"nev":{"rep":{"m2m:ae":{}}}}}`, string(f.device.request(t).Content))
}

// TestPointOfAccessUpdate: the device's own list changes and can be removed, while the CSE keeps the bridge's URL; an AE of an
// older release gets one.
func TestPointOfAccessUpdate(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice, listens)
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cd", Access{}))
	status := onem2m.StatusUpdated
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		resp := ok(r, status)
		resp.Content, resp.MediaType = r.Content, r.MediaType
		return resp, nil
	}
	update := func(rqi, content string) (up, back string) {
		r := register(content, "application/json")
		r.Operation, r.ResourceType, r.To, r.RequestID = onem2m.Update, 0, "/id-in/Cd", rqi
		_, resp := f.oneM2M(r)
		require.Equal(t, status, resp.Status)
		got := f.layer.requests()
		return string(got[len(got)-1].Content), string(resp.Content)
	}
	up, back := update("1", `{"m2m:ae":{"poa":["coap://10.0.0.1"]}}`)
	access, _ := f.directory.Access("in", "Cd")
	require.Len(t, access.Token, 22)
	require.Equal(t, []string{"coap://10.0.0.1"}, access.POA)
	want := `{"m2m:ae":{"poa":["https://gw.example:8443/` + access.Token + `"]}}`
	require.Equal(t, want, up)
	require.Equal(t, `{"m2m:ae":{"poa":["coap://10.0.0.1"]}}`, back)

	token := access.Token
	up, _ = update("2", `{"m2m:ae":{"poa":["coap://10.0.0.2"]}}`)
	require.Equal(t, want, up, "its token stays")
	up, back = update("3", `{"m2m:ae":{"poa":null}}`)
	require.Equal(t, want, up)
	require.Equal(t, `{"m2m:ae":{}}`, back)
	access, _ = f.directory.Access("in", "Cd")
	require.Equal(t, token, access.Token)
	require.Empty(t, access.POA)

	up, _ = update("4", `{"m2m:ae":{"lbl":["x"],"n":1e400}}`)
	require.Equal(t, `{"m2m:ae":{"lbl":["x"],"n":1e400}}`, up, "without a pointOfAccess nothing changes")
	status = onem2m.StatusOriginatorHasNoPrivilege
	update("5", `{"m2m:ae":{"poa":["coap://10.0.0.3"]}}`)
	access, _ = f.directory.Access("in", "Cd")
	require.Empty(t, access.POA, "the CSE refused it")
}

// TestPointOfAccessUnanswered: an UPDATE that the CSE may have done, or is going to do, leaves no token there that nobody knows.
func TestPointOfAccessUnanswered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rt     onem2m.ResponseType
		answer func(*onem2m.Request) (*onem2m.Response, error)
		known  bool
	}{
		"silence":      {0, func(*onem2m.Request) (*onem2m.Response, error) { return nil, ErrTimeout }, true},
		"a bad answer": {0, func(*onem2m.Request) (*onem2m.Response, error) { return nil, ErrBadAnswer }, true},
		"accepted": {onem2m.NonBlockingSynch, func(r *onem2m.Request) (*onem2m.Response, error) {
			return ok(r, onem2m.StatusAcceptedNonBlockingSynch), nil
		}, true},
		"not reached": {0, func(*onem2m.Request) (*onem2m.Response, error) { return nil, ErrUnreachable }, false},
		"refused":     {0, func(r *onem2m.Request) (*onem2m.Response, error) { return ok(r, onem2m.StatusConflict), nil }, false},
	} {
		f := start(t, oneM2MDevice, listens)
		require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cd", Access{}))
		at := Downstream{CSE: "in"}
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			at.Token = tokenURL.FindStringSubmatch(string(r.Content))[1]
			return c.answer(r)
		}
		r := register(`{"m2m:ae":{"poa":["coap://10.0.0.1"]}}`, "application/json")
		r.Operation, r.ResourceType, r.To, r.ResponseType = onem2m.Update, 0, "Cd", c.rt
		f.oneM2M(r)
		_, err := f.bridge.Deliver(t.Context(), at, notification("1", "{}"))
		require.Equal(t, c.known, err == nil, name)
	}
}

// TestB02B04ForeignPointOfAccess: a device has no say in where anything but its own AE is reached: 4000, and the CSE sees nothing
// of it. Where the address doesn't tell whose AE it is, the CSE is asked.
func TestB02B04ForeignPointOfAccess(t *testing.T) {
	t.Parallel()
	const evil = `"poa":["http://127.0.0.1:8080/"]`
	for name, c := range map[string]struct {
		op      onem2m.Operation
		ty      onem2m.ResourceType
		to, pc  string
		allowed bool
	}{
		"another AE":                {onem2m.Update, 0, "cse-in/other", `{"m2m:ae":{` + evil + `}}`, false},
		"its own by another name":   {onem2m.Update, 0, "cse-in/mine", `{"m2m:ae":{` + evil + `}}`, true},
		"its own by its address":    {onem2m.Update, 0, "/id-in/-/Cd", `{"m2m:ae":{` + evil + `}}`, true},
		"a remote CSE":              {onem2m.Create, 16, "cse-in", `{"m2m:csr":{` + evil + `}}`, false},
		"within its own AE":         {onem2m.Update, 0, "Cd", `{"m2m:ae":{"x":{` + evil + `}}}`, false},
		"twice":                     {onem2m.Update, 0, "Cd", `{"m2m:ae":{` + evil + `,"x":{` + evil + `}}}`, false},
		"beside its own AE":         {onem2m.Update, 0, "Cd", `{"m2m:ae":{},"m2m:csr":{` + evil + `}}`, false},
		"under an escaped name":     {onem2m.Create, 16, "cse-in", `{"m2m:csr":{"p\u006fa":["http://127.0.0.1/"]}}`, false},
		"in a registration, deeper": {onem2m.Create, 2, "cse-in", `{"m2m:ae":{"x":{` + evil + `}}}`, false},
		"too long":                  {onem2m.Update, 0, "Cd", `{"m2m:ae":{"poa":["coap://` + strings.Repeat("x", 600) + `"]}}`, false},
	} {
		f := start(t, oneM2MDevice, listens)
		require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cd", Access{}))
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			require.False(t, bytes.Contains(r.Content, []byte("127.0.0.1")), name)
			if r.Operation == onem2m.Retrieve {
				resp := ok(r, onem2m.StatusOK)
				resp.Content, resp.MediaType = []byte(`{"m2m:ae":{"aei":"Cother"}}`), "application/json"
				if r.To == "cse-in/mine" || r.To == "/id-in/-/Cd" {
					resp.Content = []byte(`{"m2m:ae":{"aei":"Cd"}}`)
				}
				return resp, nil
			}
			return ok(r, onem2m.StatusUpdated), nil
		}
		_, resp := f.oneM2M(&onem2m.Request{Operation: c.op, ResourceType: c.ty, To: c.to, From: "Cd", RequestID: "1", ReleaseVersion: "3",
			Content: []byte(c.pc), MediaType: "application/json"})
		if c.allowed {
			require.Equal(t, onem2m.StatusUpdated, resp.Status, name)
			continue
		}
		require.Equal(t, onem2m.StatusBadRequest, resp.Status, name)
		for _, r := range f.layer.requests() {
			require.Equal(t, onem2m.Retrieve, r.Operation, name)
		}
	}
}

// TestB02PointOfAccessOfReusedName: a name that was the device's AE's, or that is its AE-ID, may be another AE's: a device can't
// draw that one's requests to itself. What was known of the name goes with the AE.
func TestB02PointOfAccessOfReusedName(t *testing.T) {
	t.Parallel()
	f := start(t, oneM2MDevice, listens)
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		resp := ok(r, onem2m.StatusDeleted)
		resp.MediaType = "application/json"
		switch r.Operation {
		case onem2m.Create:
			resp.Status, resp.Content = onem2m.StatusCreated, []byte(`{"m2m:ae":{"aei":"Cd","rn":"`+represented(r.Content).Name+`"}}`)
		case onem2m.Retrieve:
			resp.Status, resp.Content = onem2m.StatusOK, []byte(`{"m2m:ae":{"aei":"Cother"}}`)
		case onem2m.Update:
			require.Fail(t, "another's pointOfAccess is changed")
		}
		return resp, nil
	}
	send := func(op onem2m.Operation, to, rqi, content string) onem2m.StatusCode {
		r := &onem2m.Request{Operation: op, To: to, From: "Cd", RequestID: rqi, ReleaseVersion: "3"}
		if content != "" {
			r.Content, r.MediaType = []byte(content), "application/json"
		}
		if op == onem2m.Create {
			r.ResourceType = onem2m.TypeAE
		}
		_, resp := f.oneM2M(r)
		return resp.Status
	}
	named := func() (n int) {
		f.bridge.named.Range(func(any, any) bool { n++; return true })
		return n
	}
	require.Equal(t, onem2m.StatusCreated, send(onem2m.Create, "cse-in", "1", `{"m2m:ae":{"rn":"x"}}`))
	require.Equal(t, 1, named())
	require.Equal(t, onem2m.StatusDeleted, send(onem2m.Delete, "Cd", "2", ""))
	require.Zero(t, named())
	require.Equal(t, onem2m.StatusCreated, send(onem2m.Create, "cse-in", "3", `{"m2m:ae":{"rn":"y"}}`))
	for i, to := range []string{"cse-in/x", "cse-in/y", "cse-in/Cd"} { // y expired at the CSE, and is another's
		require.Equal(t, onem2m.StatusBadRequest, send(onem2m.Update, to, string(rune('a'+i)), `{"m2m:ae":{"poa":["coap://10.0.0.1"]}}`), to)
	}
}

// TestB02PointOfAccessFilter: no filter tells a device of another one's token (S43).
func TestB02PointOfAccessFilter(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	for i, key := range []string{"poa", "c.poa", "p.poa"} {
		r := retrieve(string(rune('a' + i)))
		r.Query = []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: key, Value: "https://gw.example:8443/A*"}}
		_, resp := f.oneM2M(r)
		require.Equal(t, onem2m.StatusBadRequest, resp.Status, key)
	}
	require.Empty(t, f.layer.requests())
}

// TestPointOfAccessKept: a CSE that doesn't call the bridge is told no address at all; the device is shown its own.
func TestPointOfAccessKept(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]Downlink{"off": DownlinkOff, "poll": DownlinkPoll} {
		f := start(t, oneM2MDevice, func(c *Config) {
			cse := testCSE
			cse.Downlink = way
			c.CSEs = []CSE{cse}
		})
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			status := map[onem2m.Operation]onem2m.StatusCode{onem2m.Create: 2001, onem2m.Retrieve: 2000, onem2m.Update: 2004}[r.Operation]
			resp := ok(r, status)
			resp.Content, resp.MediaType = []byte(`{"m2m:ae":{"aei":"Cd","n":1.0}}`), "application/json"
			return resp, nil
		}
		r := register(`{"m2m:ae":{"api":"N1","poa":["coap://10.0.0.1"]}}`, "application/json")
		_, resp := f.oneM2M(r)
		require.Equal(t, `{"m2m:ae":{"api":"N1"}}`, string(f.layer.requests()[0].Content), name)
		const shown = `{"m2m:ae":{"poa":["coap://10.0.0.1"],"aei":"Cd","n":1.0}}`
		require.Equal(t, shown, string(resp.Content), name)
		_, resp = f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/Cd", From: "Cd", RequestID: "2", ReleaseVersion: "3"})
		require.Equal(t, shown, string(resp.Content), name)

		r.Operation, r.ResourceType, r.To, r.RequestID, r.Content = onem2m.Update, 0, "cse-in/Cd", "3", []byte(`{"m2m:ae":{"poa":null}}`)
		f.oneM2M(r)
		_, resp = f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/Cd", From: "Cd", RequestID: "4", ReleaseVersion: "3"})
		require.Equal(t, `{"m2m:ae":{"aei":"Cd","n":1.0}}`, string(resp.Content), name)
	}
}

// TestVerificationDuringCreate: a CSE may call the point of access before it has answered the CREATE that told it of it; after
// one that it refused, the token leads nowhere.
func TestVerificationDuringCreate(t *testing.T) {
	t.Parallel()
	for _, status := range []onem2m.StatusCode{onem2m.StatusCreated, onem2m.StatusBadRequest} {
		for from, to := range map[string]string{"Cd": "Cd", "C": ""} {
			dev := Device{Name: "dev", Profile: ProfileOneM2M}
			if from == "Cd" {
				dev = oneM2MDevice
			}
			f := start(t, dev, listens)
			var at Downstream
			f.layer.answer = func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) {
				at = Downstream{CSE: "in", Token: tokenURL.FindStringSubmatch(string(r.Content))[1]}
				verify := notification("v", `{"m2m:sgn":{"vrq":true}}`)
				verify.To = ""
				resp, err := f.bridge.Deliver(ctx, at, verify)
				require.NoError(t, err)
				require.Equal(t, onem2m.StatusOK, resp.Status)
				_, err = f.bridge.Deliver(ctx, Downstream{CSE: "other", Token: at.Token}, verify)
				require.Equal(t, ErrNoAccess, err)
				answer := ok(r, status)
				answer.Content, answer.MediaType = []byte(`{"m2m:ae":{"aei":"Cgiven"}}`), "application/json"
				return answer, nil
			}
			r := register(`{"m2m:ae":{"api":"N1"}}`, "application/json")
			r.From = from
			_, resp := f.oneM2M(r)
			require.Equal(t, status, resp.Status)
			got := f.device.request(t)
			require.Equal(t, to, got.To)
			_, err := f.bridge.Deliver(t.Context(), at, notification("2", "{}"))
			require.Equal(t, status == onem2m.StatusCreated, err == nil)
			require.Empty(t, f.bridge.invited.pending)
		}
	}
}

// TestDeletedPointOfAccess: with its AE a token goes.
func TestDeletedPointOfAccess(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		return ok(r, onem2m.StatusDeleted), nil
	}
	f.oneM2M(&onem2m.Request{Operation: onem2m.Delete, To: "cse-in/Cd", From: "Cd", RequestID: "1", ReleaseVersion: "3"})
	_, err := f.bridge.Deliver(t.Context(), fromCSE, notification("1", "{}"))
	require.Equal(t, ErrNoAccess, err)
}

// TestPlainPointOfAccess: the AE that the bridge registers for a plain device can be reached by it.
func TestPlainPointOfAccess(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter", Profile: ProfilePlain}, listens)
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		if r.ResourceType != onem2m.TypeAE {
			return ok(r, onem2m.StatusCreated), nil
		}
		require.Contains(t, string(r.Content), `"rr":true`)
		require.Regexp(t, tokenURL, string(r.Content))
		resp := ok(r, onem2m.StatusCreated)
		resp.Content, resp.MediaType = []byte(`{"m2m:ae":{"aei":"Cmeter"}}`), "application/json"
		return resp, nil
	}
	f.do(plain(2, "a", "1"))
	access, bound := f.directory.Access("in", "Cmeter")
	require.True(t, bound)
	require.Len(t, access.Token, 22)
	require.NotNil(t, f.bridge.live.of("meter"))
}
