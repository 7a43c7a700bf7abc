package bridge

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/dtls"
)

// TestB04NotificationTargets: a CSE is never told to notify a URL that a device wrote: it is an ID, or the device's own address
// and becomes its AE-ID, or 4000, wherever it stands: in nu, su, nfu and dap, at any depth, in any serialisation, and in the notificationURI
// of a non-blocking request (S42). Another device of the bridge is refused like that too (B06).
func TestB04NotificationTargets(t *testing.T) {
	t.Parallel()
	dev := Device{Name: "dev", Profile: ProfileOneM2M, Originators: []string{"Cd", "Cfriend"}}
	for nu, want := range map[string]string{
		"Cd":                                   "Cd",
		"/id-in/Cd":                            "/id-in/Cd",
		"//sp.example/id-in/Cd":                "//sp.example/id-in/Cd",
		"cse-in/ae/c":                          "cse-in/ae/c",
		"Sfar":                                 "Sfar",
		"Cd?ct=json":                           "Cd?ct=json",
		"Cfriend":                              "Cfriend",
		"coap://10.0.0.1:5683/in":              "Cd",
		"coap://10.0.0.1:5683/in/deep":         "Cd",
		"coap://10.0.0.1:5683/inner":           "",
		"coap://10.0.0.1:5683":                 "",
		"http://127.0.0.1:8080/":               "",
		"http://169.254.169.254/latest":        "",
		"http://[::1]/":                        "",
		"https://cse.example/cse-in":           "",
		"https://gw.example:8443/" + testToken: "",
		"mqtt://broker/x":                      "",
		"mailto:x":                             "",
		"HTTP:/\\127.0.0.1":                    "",
		"http%3A//127.0.0.1":                   "",
		" http://127.0.0.1":                    "",
		"//127.0.0.1:80/x":                     "",
		"":                                     "",
		"Cother":                               "",
		"/id-in/Cother":                        "",
		"//sp.example/id-in/-/Cother/x":        "",
		"cse-in/Cother":                        "",
		"cse-in/other":                         "",
		"/id-in/-/other/c":                     "",
		"//sp.example/id-in/cse-in/other?ct=x": "",
		"cse-in/hidden":                        "",
		"cse-in/friend":                        "cse-in/friend",
		"cse-in/group":                         "cse-in/group",
		"Cother?ct=json":                       "",
	} {
		for _, member := range []string{"nu", "su", "nfu", "dap"} {
			for media, content := range map[string]string{
				"application/json": `{"m2m:sub":{"x":1e400,"` + member + `":["%"]}}`,
				"application/cbor": "\xa1\x67m2m:sub\xa1" + cborText(member) + "\x81" + cborText("%"),
				"application/xml":  `<sub><` + member + `>%</` + member + `></sub>`,
				"deep":             `{"m2m:x":{"y":[{"` + member + `":"%"}]}}`,
			} {
				if media == "application/xml" && strings.TrimSpace(nu) != nu { // XML trims it
					continue
				}
				if media == "application/xml" && nu == "" {
					continue // a list without a member
				}
				write := func(s string) string {
					if media == "application/cbor" {
						return strings.ReplaceAll(content, cborText("%"), cborText(s))
					}
					return strings.ReplaceAll(content, "%", strings.ReplaceAll(s, `\`, `\\`))
				}
				if media == "deep" {
					media = "application/json"
				}
				j := &job{dev: &dev, cse: &testCSE, request: &onem2m.Request{From: "Cd"}}
				b := &Bridge{cfg: Config{Directory: notifiedDirectory(), ServiceLayer: &layer{answer: namedAEs}}}
				j.dev.Bound = []string{"Cd"}
				out := onem2m.Request{Operation: onem2m.Create, Content: []byte(write(nu)), MediaType: media}
				err := b.redirect(t.Context(), j, &out)
				if want == "" {
					require.Error(t, err, "%s %s %q", media, member, nu)
					require.Equal(t, onem2m.StatusBadRequest, failure(err).status)
					continue
				}
				require.NoError(t, err, "%s %s %q", media, member, nu)
				require.Equal(t, write(want), string(out.Content), "%s %s %q", media, member, nu)
			}
		}
	}
}

// namedAEs is a CSE with an AE called ae of the device, and others of others.
func namedAEs(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
	resp := ok(r, onem2m.StatusOK)
	resp.MediaType = "application/json"
	switch r.To {
	case "cse-in/ae":
		resp.Content = []byte(`{"m2m:ae":{"aei":"Cd"}}`)
	case "cse-in/other":
		resp.Content = []byte(`{"m2m:ae":{"aei":"Cother"}}`)
	case "cse-in/friend":
		resp.Content = []byte(`{"m2m:ae":{"aei":"Cfriend"}}`)
	case "cse-in/group":
		resp.Content = []byte(`{"m2m:grp":{"ri":"g"}}`)
	default:
		resp.Status = onem2m.StatusOriginatorHasNoPrivilege
	}
	return resp, nil
}

// notifiedDirectory knows Cd of the device, with an address of its own, and Cother and Cfriend of others.
func notifiedDirectory() *directory {
	d := &directory{devices: map[dtls.PeerID]Device{psk("dev").ID: oneM2MDevice}, bound: map[string]dtls.PeerID{
		"Cd": psk("dev").ID, "Cother": psk("other").ID, "Cfriend": psk("other").ID}}
	d.access = map[string]Access{"Cd": {Token: testToken, POA: []string{"coap://10.0.0.1:5683/in"}}}
	return d
}

// TestB04RequestNotificationURI: the same for a non-blocking request, whose empty list stays one.
func TestB04RequestNotificationURI(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	require.NoError(t, f.directory.Bind(psk("dev").ID, "in", "Cd", Access{Token: testToken, POA: []string{"coap://10.0.0.1/"}}))
	ask := func(rqi string, uris ...string) *onem2m.Response {
		r := retrieve(rqi)
		r.ResponseType, r.NotificationURIs = onem2m.NonBlockingAsynch, append([]string{}, uris...)
		_, resp := f.oneM2M(r)
		return resp
	}
	f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		return ok(r, onem2m.StatusAcceptedNonBlockingAsynch), nil
	}
	require.Equal(t, onem2m.StatusBadRequest, ask("1", "http://127.0.0.1/").Status)
	require.EqualValues(t, 1, f.bridge.Stats().Refusals[RefusedURL])
	require.Empty(t, f.layer.requests())
	require.Equal(t, onem2m.StatusAcceptedNonBlockingAsynch, ask("2", "coap://10.0.0.1/x", "Cd", "coap://10.0.0.1").Status)
	require.Equal(t, []string{"Cd"}, f.layer.requests()[0].NotificationURIs)
	ask("3")
	require.NotNil(t, f.layer.requests()[1].NotificationURIs)
	require.Empty(t, f.layer.requests()[1].NotificationURIs)
}

// TestB04InstancesPass: what an application writes into a contentInstance is its own, and passes bit by bit (S42 is about what a CSE
// calls).
func TestB04InstancesPass(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	content := `{"m2m:cin":{"con":{"nu":["http://127.0.0.1/"],"poa":["x"]}}}`
	f.oneM2M(instance("1", content))
	require.Equal(t, content, string(f.layer.requests()[0].Content))
}

// TestB04HiddenByComment: a reader that takes comments out of JSON, and that a string which ends in a backslash puts out of step, finds
// no URL either. ACME 2026.5.3 is such a one.
func TestB04HiddenByComment(t *testing.T) {
	t.Parallel()
	f := startBound(t, oneM2MDevice)
	for i, content := range []string{
		`{"m2m:sub":{"lbl":["\\"],"n/**/u":["http:/\u002f127.0.0.1"]}}`,
		`{"m2m:sub":{"a":"\\","lbl":"/*","con":{"q":"*/","nu":["http:/\u002f127.0.0.1"],"b":"/*"},"c":"*/"}}`,
	} {
		r := register(content, "application/json")
		r.ResourceType, r.RequestID = onem2m.TypeSubscription, string(rune('a'+i))
		_, resp := f.oneM2M(r)
		require.Equal(t, onem2m.StatusBadRequest, resp.Status, content)
	}
	nested := instance("n", `{"m2m:rqp":{"a":"\\","f/**/r":"Cother","rqi":"1"}}`)
	nested.Operation, nested.ResourceType = onem2m.Notify, 0
	_, resp := f.oneM2M(nested)
	require.Equal(t, onem2m.StatusBadRequest, resp.Status)
	require.Empty(t, f.layer.requests())
	content := `{"m2m:cin":{"con":"*/* of C:\\x"}}`
	_, resp = f.oneM2M(instance("c", content))
	require.True(t, resp.Status.Success())
	require.Equal(t, content, string(f.layer.requests()[0].Content))
}

// TestC07NotificationNames: a list of names costs the CSE a bounded number of questions.
func TestC07NotificationNames(t *testing.T) {
	t.Parallel()
	cse := &layer{answer: namedAEs}
	b := &Bridge{cfg: Config{Directory: notifiedDirectory(), ServiceLayer: cse}}
	dev := Device{Name: oneM2MDevice.Name, Bound: []string{"Cd"}}
	j := &job{dev: &dev, cse: &testCSE, request: &onem2m.Request{From: "Cd"}}
	_, err := b.notified(t.Context(), j, slices.Repeat([]string{"cse-in/ae"}, 1000))
	require.Error(t, err)
	require.Len(t, cse.requests(), maxNamesAsked)
}

// TestB04PolicyNamesOther: a device whose targets name another one's resources may have it notified.
func TestB04PolicyNamesOther(t *testing.T) {
	t.Parallel()
	b := &Bridge{cfg: Config{Directory: notifiedDirectory()}}
	dev := Device{Name: oneM2MDevice.Name, Bound: []string{"Cd"}, Targets: []string{"cse-in/Cother"}}
	j := &job{dev: &dev, cse: &testCSE, request: &onem2m.Request{From: "Cd"}}
	require.False(t, b.namesOther(j, "cse-in/Cother"))
	require.True(t, b.namesOther(j, "cse-in/Cother/group/fopt"), "its members may be anybody")
	require.True(t, b.namesOther(j, "Cother"), "an address that doesn't tell where it lies is nobody's permission")

	two := notifiedDirectory()
	two.bound["Cd2"], two.access["Cd2"] = psk("dev").ID, Access{POA: []string{"coap://10.0.0.1:5683/in", "coap://10.0.0.2"}}
	of := &Bridge{cfg: Config{Directory: two}}
	for uri, want := range map[string]string{"coap://10.0.0.2/x": "Cd2", "coap://10.0.0.1:5683/in": "Cd"} {
		to, err := of.notified(t.Context(), &job{dev: &Device{Bound: []string{"Cd2", "Cd"}}, cse: &testCSE,
			request: &onem2m.Request{From: "Cd"}}, []string{uri})
		require.NoError(t, err)
		require.Equal(t, []string{want}, to, "the AE whose address it is")
	}

	mn := testCSE
	mn.As = "/mn-1"
	j.cse, dev.Targets = &mn, nil
	to, err := b.notified(t.Context(), j, []string{"Cd", "coap://10.0.0.1:5683/in", "/mn-1/Cd"})
	require.NoError(t, err)
	require.Equal(t, []string{"/mn-1/Cd"}, to, "as the CSE knows it")
}
