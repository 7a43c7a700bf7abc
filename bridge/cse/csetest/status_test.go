package csetest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
)

// TestResponseStatusCodes has a row for each refusal and success (TS-0004, 6.6 and 7.4; TS-0009, table 6.3.2-1), on a CSE
// with the AE dev (Cdev), its container data with one contentInstance one, and the AE other (Cother).
func TestResponseStatusCodes(t *testing.T) {
	t.Parallel()
	ae := `{"m2m:ae":{"api":"N.a","rr":true}}`
	for _, tt := range []struct {
		name string
		ask
		rsc    string
		status int
	}{
		{"no RQI", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"X-M2M-RI": ""}}, "4000", 400},
		{"no RVI is taken", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"X-M2M-RVI": ""}}, "2000", 200},
		{"RVI 9", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"X-M2M-RVI": "9"}}, "4001", 501},
		{"no From", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"X-M2M-Origin": ""}}, "4000", 400},
		{"expired", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"X-M2M-RET": "20200101T000000"}}, "4008", 504},
		{"not expired", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"X-M2M-RET": "99990101T000000,5"}}, "2000", 200},
		{"rqet relative", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"X-M2M-RET": "4000"}}, "2000", 200},
		{"media type", ask{"POST", "/cse-in", "Cx", "", ae, map[string]string{"Content-Type": "text/plain;ty=2"}}, "4015", 415},
		{"Accept", ask{"GET", "/cse-in", "Cdev", "", "", map[string]string{"Accept": "text/html"}}, "5207", 406},
		{"method", ask{"PATCH", "/cse-in", "Cdev", "", "{}", nil}, "4005", 405},
		{"not found", ask{"GET", "/cse-in/none", "Cdev", "", "", nil}, "4004", 404},
		{"path badly encoded", ask{"GET", "/cse-in/%ff", "Cdev", "", "", nil}, "4000", 400},
		{"other CSE", ask{"GET", "/~/other/x", "Cdev", "", "", nil}, "4004", 404},
		{"rt=1", ask{"GET", "/cse-in?rt=1", "Cdev", "", "", nil}, "1001", 202},
		{"registered stem", ask{"POST", "/cse-in", "Cdev", "2", ae, nil}, "4117", 403},
		{"name is taken", ask{"POST", "/cse-in", "Cnew", "2", `{"m2m:ae":{"rn":"dev","api":"N.a","rr":true}}`, nil}, "4105", 409},
		{"container's name is taken", ask{"POST", "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"data"}}`, nil}, "4105", 409},
		{"App-ID", ask{"POST", "/cse-in", "Cnew", "2", `{"m2m:ae":{"api":"x","rr":true}}`, nil}, "4000", 400},
		{"mandatory attribute", ask{"POST", "/cse-in", "Cnew", "2", `{"m2m:ae":{"api":"N.a"}}`, nil}, "4000", 400},
		{"read-only attribute", ask{"POST", "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"cni":1}}`, nil}, "4000", 400},
		{"attribute's type", ask{"POST", "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"mni":"x"}}`, nil}, "4000", 400},
		{"reserved name", ask{"POST", "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"la"}}`, nil}, "4000", 400},
		{"slash in a name", ask{"POST", "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"a/b"}}`, nil}, "4000", 400},
		{"root of another type", ask{"POST", "/cse-in/dev", "Cdev", "3", `{"m2m:cin":{"con":1}}`, nil}, "4000", 400},
		{"not JSON", ask{"POST", "/cse-in/dev", "Cdev", "3", `{`, nil}, "4000", 400},
		{"unknown type", ask{"POST", "/cse-in/dev", "Cdev", "9", `{"m2m:grp":{}}`, nil}, "5001", 501},
		{"child type", ask{"POST", "/cse-in/dev", "Cdev", "4", `{"m2m:cin":{"con":1}}`, nil}, "4108", 403},
		{"filter in CREATE", ask{"POST", "/cse-in/dev?lbl=x", "Cdev", "3", `{"m2m:cnt":{}}`, nil}, "4000", 400},
		{"foreign RETRIEVE", ask{"GET", "/cse-in/dev/data", "Cother", "", "", nil}, "4103", 403},
		{"foreign CREATE", ask{"POST", "/cse-in/dev/data", "Cother", "4", `{"m2m:cin":{"con":1}}`, nil}, "4103", 403},
		{"foreign UPDATE", ask{"PUT", "/cse-in/dev", "Cother", "", `{"m2m:ae":{"apn":"x"}}`, nil}, "4103", 403},
		{"foreign DELETE", ask{"DELETE", "/cse-in/dev", "Cother", "", "", nil}, "4103", 403},
		{"foreign NOTIFY", ask{"POST", "/cse-in/dev", "Cother", "", `{"m2m:sgn":{}}`, nil}, "4103", 403},
		{"foreign by address", ask{"GET", "/Cdev", "Cother", "", "", nil}, "4103", 403},
		{"container under CSEBase", ask{"POST", "/cse-in", "Cdev", "3", `{"m2m:cnt":{}}`, nil}, "4103", 403},
		{"UPDATE of contentInstance", ask{"PUT", "/cse-in/dev/data/one", "Cdev", "", `{"m2m:cin":{}}`, nil}, "4005", 405},
		{"UPDATE of fixed attribute", ask{"PUT", "/cse-in/dev", "Cdev", "", `{"m2m:ae":{"api":"N.b"}}`, nil}, "4000", 400},
		{"DELETE of CSEBase", ask{"DELETE", "/cse-in", "CAdmin", "", "", nil}, "4005", 405},
		{"CREATE under la", ask{"POST", "/cse-in/dev/data/la", "Cdev", "4", `{"m2m:cin":{"con":1}}`, nil}, "4005", 405},
		{"atrl unknown", ask{"GET", "/cse-in/dev?atrl=nope", "Cdev", "", "", nil}, "4000", 400},
		{"rcn of no RETRIEVE", ask{"GET", "/cse-in/dev?rcn=2", "Cdev", "", "", nil}, "4000", 400},
		{"NOTIFY to AE without poa", ask{"POST", "/cse-in/dev", "Cdev", "", `{"m2m:sgn":{}}`, nil}, "5103", 404},
		{"NOTIFY to CSEBase", ask{"POST", "/cse-in", "CAdmin", "", `{"m2m:sgn":{}}`, nil}, "2000", 200},
		{"RETRIEVE", ask{"GET", "/cse-in/dev/data", "Cdev", "", "", nil}, "2000", 200},
		{"by the administrator", ask{"GET", "/cse-in/dev/data", "CAdmin", "", "", nil}, "2000", 200},
		{"CREATE", ask{"POST", "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{}}`, nil}, "2001", 201},
		{"UPDATE", ask{"PUT", "/cse-in/dev/data", "Cdev", "", `{"m2m:cnt":{"mni":3}}`, nil}, "2004", 200},
		{"DELETE", ask{"DELETE", "/cse-in/dev/data/one", "Cdev", "", "", nil}, "2002", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCSE(t)
			require.Equal(t, "2001", post(t, c, "/cse-in/dev/data", "Cdev", "4", `{"m2m:cin":{"rn":"one","con":1}}`).rsc)
			require.Equal(t, "2001", post(t, c, "/cse-in", "Cother", "2", `{"m2m:ae":{"rn":"other","api":"N.a","rr":true}}`).rsc)
			r := do(t, c, tt.ask)
			require.Equal(t, tt.rsc, r.rsc, r.body)
			require.Equal(t, tt.status, r.status)
			if tt.header["X-M2M-RI"] != "" || tt.header == nil {
				require.Equal(t, "rqi-1", spelled(t, r.header, "X-M2M-RI"))
			}
			require.NotEmpty(t, spelled(t, r.header, "X-M2M-OT"))
			if tt.status >= 400 {
				require.Contains(t, r.body, `{"m2m:dbg":"`)
			}
		})
	}
}

func TestRequireRVI(t *testing.T) {
	t.Parallel()
	c := csetest.New(csetest.Config{RequireRVI: true})
	t.Cleanup(c.Close)
	r := do(t, c, ask{"GET", "/cse-in", "CAdmin", "", "", map[string]string{"X-M2M-RVI": ""}})
	require.Equal(t, "4001", r.rsc)
	require.Equal(t, http.StatusNotImplemented, r.status)
}

// TestRegistration: what From may be, and what the AE-ID becomes (TS-0001, 10.2.2.2).
func TestRegistration(t *testing.T) {
	t.Parallel()
	c := csetest.New(csetest.Config{})
	t.Cleanup(c.Close)
	register := func(from string) string {
		r := post(t, c, "/cse-in", from, "2", `{"m2m:ae":{"api":"N.a","rr":false}}`)
		require.Equal(t, "2001", r.rsc, r.body)
		a := attrs(t, r.body, "m2m:ae")
		require.Equal(t, a["aei"], a["ri"])
		require.True(t, strings.HasPrefix(r.header.Get("Content-Location"), "cse-in/ae"))
		return a["aei"].(string)
	}
	require.Equal(t, "Cgiven", register("Cgiven"))
	require.Equal(t, "Cslash", register("/id-in/Cslash"))
	require.Equal(t, "Sroot", register("/Sroot"))
	for _, from := range []string{"", "C", "C", "S"} {
		aei := register(from)
		require.Greater(t, len(aei), 10)
		require.Equal(t, from == "S", aei[0] == 'S', aei)
		require.Equal(t, from != "S", aei[0] == 'C', aei)
	}
	require.Equal(t, "4000", post(t, c, "/cse-in", "x", "2", `{"m2m:ae":{"api":"N.a","rr":false}}`).rsc)

	require.Equal(t, "2002", do(t, c, ask{method: "DELETE", target: "/Cgiven", from: "Cgiven"}).rsc)
	require.Equal(t, "Cgiven", register("Cgiven"), "free again after de-registration")
}
