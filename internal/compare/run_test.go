package compare

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/cmd/coap-bridge/admin"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/cmd/coap-bridge/daemon"
	"coapbridge/dtls"
	"coapbridge/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The twins' names, and the device's key, which is for these tests only.
const (
	throughBridge = "coapside"
	straight      = "httpside"
	deviceKey     = "a-key-of-these-tests-alone"
)

// startBridge runs a whole bridge on loopback before the CSE at url and returns its address. Its certificate is issued by own;
// the CSE, whose certificate names urn:test:cse, calls it where called is true.
func startBridge(t *testing.T, url string, cseCA, own *testpki.CA, called bool, devices string) netip.AddrPort {
	t.Helper()
	dir, err := os.MkdirTemp("", "cb")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	own.Server(t, "localhost", "127.0.0.1").Write(t, dir, "bridge")
	cseCA.WriteCert(t, dir, "cse-ca.crt")
	cseCA.Client(t).Write(t, dir, "cse-client")
	file := filepath.Join(dir, "coap-bridge.yaml")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "devices.yaml"), []byte(devices), 0o600))
	downlink, ofCSE := "", ""
	if called {
		downlink = "downlink: {listen: [\"127.0.0.1:0\"], url: \"https://127.0.0.1:0\"}\n"
		ofCSE = "    downlink: {certificates: [\"uri:urn:test:cse\"]}\n"
	}
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `version: 1
listen: ["127.0.0.1:0"]
certificate: {chain: bridge.crt, key: bridge.key}
devices: devices.yaml
%scses:
  - name: in
    default: true
    url: %s
    ca: cse-ca.crt
    certificate: cse-client.crt
    key: cse-client.key
    cseID: /id-in
    cseBase: cse-in
    timeout: 20s
%s`, downlink, url, ofCSE), 0o600))
	c, err := config.Load(file, config.Options{Now: time.Now()})
	require.NoError(t, err)
	d, err := daemon.Start(daemon.Options{
		Config: c, Log: slog.New(slog.DiscardHandler), Build: admin.Build{Version: "test"},
		Pseudonym: func(dtls.PeerID) string { return "0badc0de" },
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, d.Shutdown(ctx))
	})
	return d.Addresses()[0]
}

// twins starts a bridge before the CSE at url, and returns the device behind it and the direct client. Where the CSE calls
// the bridge, it calls the direct client's ears too, with mutual TLS, and own issued both ends' certificates.
func twins(t *testing.T, url string, ca, own *testpki.CA, called bool) (device, http *side) {
	t.Helper()
	at := startBridge(t, url, ca, own, called, `version: 1
devices:
  - name: `+throughBridge+`
    originators: ["C*"]
    psk: {identity: `+throughBridge+`, up: "text:`+deviceKey+`"}
`)
	d := connect(t, at, throughBridge, deviceKey)
	device, http = newSide(throughBridge, d.do, &d.ears), newSide(straight, direct(t, url, ca), new(ears))
	callers := ca
	if !called {
		callers = nil
	}
	heardAt := http.ears.listen(t, own, callers)
	device.words["ears"], http.words["ears"] = heardAt, heardAt
	return device, http
}

// difference is one parameter in which the two answers to a row differ.
type difference struct{ row, field, device, direct string }

// outcome is what a run saw of one row.
type outcome struct {
	row         row
	rsc         [2]int // of the device's answer and the direct client's
	differences []difference
	content     string // of the direct answer
}

// run makes all rows' requests, each on both sides.
//
// What a request was like when it came to the CSE is compared too, where seen returns that: "" when none came. So is what the
// CSE handed on to the side under the row's Request Identifier.
func run(t *testing.T, rows []row, device, http *side, seen func() string) []outcome {
	t.Helper()
	var all []outcome
	for i := range rows {
		o := outcome{row: rows[i]}
		var fields [2]map[string]string
		for n, s := range []*side{device, http} {
			fields[n] = s.ask(t, rows[i], i)
			if came := seen(); came != "" {
				fields[n]["request"] = s.text(&rows[i].request, came)
			}
			o.rsc[n], _ = strconv.Atoi(fields[n]["rsc"]) // an answer without one shows as a difference
		}
		o.content = fields[1]["content"]
		names := slices.Sorted(maps.Keys(fields[0]))
		for name := range fields[1] {
			if _, has := fields[0][name]; !has {
				names = append(names, name)
			}
		}
		for _, name := range names {
			got, has := fields[0][name]
			want, hasToo := fields[1][name]
			if !has {
				got = absent
			}
			if !hasToo {
				want = absent
			}
			if got != want {
				o.differences = append(o.differences, difference{rows[i].name, name, got, want})
			}
		}
		all = append(all, o)
	}
	return all
}

// ask makes a row's request on one side, and again where the row says so.
func (s *side) ask(t *testing.T, row row, number int) map[string]string {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(20 * time.Second)
	for try := 0; ; try++ {
		r := s.expand(row.request, fmt.Sprintf("%03d-%d", number, min(try, 1)))
		a := s.do(t, r)
		unfinished := a.params["rsc"] == "2000" && !strings.Contains(strings.ReplaceAll(string(a.content), " ", ""), row.until)
		if row.until != "" && unfinished && time.Now().Before(deadline) {
			<-ticker.C
			continue
		}
		if row.until != "" && unfinished {
			t.Errorf("%s: %s never came: %.200s", row.name, row.until, a.content)
		}
		if row.keep != "" {
			s.remember(row.keep, a)
		}
		fields := s.normal(r, a)
		if told := s.ears.of(r.rqi); told != nil && a.params["rsc"] == "2000" {
			s.told++
			var lines []string
			for name, value := range s.normal(r, told) {
				lines = append(lines, name+": "+value)
			}
			slices.Sort(lines)
			fields["told"] = strings.Join(lines, "\n")
		}
		return fields
	}
}

// table is the run for a person to read: every row, and under it every difference with its reason.
func table(all []outcome, explain func(difference) string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nrow\tRSC direct\tRSC through the bridge\tdifferences")
	for _, o := range all {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", o.row.name, o.rsc[1], o.rsc[0], len(o.differences))
		for _, d := range o.differences {
			fmt.Fprintf(w, "    %s: direct %q, through the bridge %q: %s\n", d.field, d.direct, d.device, explain(d))
		}
	}
	_ = w.Flush() // a strings.Builder takes everything
	differing := 0
	for _, o := range all {
		differing += min(len(o.differences), 1)
	}
	fmt.Fprintf(&text, "%d rows, %d of them with a difference\n", len(all), differing)
	return text.String()
}
