package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answer is what "coap-bridge request --json" prints.
type answer struct {
	Code    string          `json:"code"`
	RSC     int             `json:"rsc"`
	RQI     string          `json:"rqi"`
	Content json.RawMessage `json:"content"`
}

// TestRequestSession: registration, storage, retrieval, update, discovery and removal as a user types them with
// "coap-bridge request", with a key and with a certificate; then "device remove" shuts the device out.
func TestRequestSession(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "cb")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	binary := build(t, dir)
	data := filepath.Join(dir, "data")
	d := startDemo(t, binary, data)
	line := strings.Fields(d.lines[0])
	key := line[6]
	base := line[len(line)-1][:strings.LastIndex(line[len(line)-1], "/room")]

	run := func(args ...string) (answer, int) {
		t.Helper()
		cmd := exec.Command(binary, append([]string{"request", "--json", "--timeout", "20s"}, args...)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code, err = exit.ExitCode(), nil
		}
		require.NoError(t, err)
		var a answer
		if len(out) > 0 {
			require.NoError(t, json.Unmarshal(out, &a), "%s%s", out, errs.String())
		}
		return a, code
	}
	psk := []string{"-u", "psk-device", "-k", key, "--from", "Cpsk-device"}
	certificate := []string{"--cert", filepath.Join(data, "cert-device.crt"), "--key", filepath.Join(data, "cert-device.key"),
		"--ca", filepath.Join(data, "ca.crt"), "--from", "Ccert-device"}
	for name, who := range map[string][]string{"one": psk, "two": certificate} {
		ae := base + "/cse-in/" + name
		for _, step := range []struct {
			want int
			code string
			args []string
		}{
			{2001, "2.01", []string{"create", base + "/cse-in", "--ty", "2", "-e", `{"m2m:ae":{"rn":"` + name + `","api":"Ntest","rr":false,"srv":["3"]}}`}},
			{2001, "2.01", []string{"create", ae, "--ty", "3", "-e", `{"m2m:cnt":{"rn":"c","lbl":["` + name + `"]}}`}},
			{2001, "2.01", []string{"create", ae + "/c", "--ty", "4", "-e", `{"m2m:cin":{"con":"` + name + `"}}`}},
			{2000, "2.05", []string{"retrieve", ae + "/c/la"}},
			{2004, "2.04", []string{"update", ae + "/c", "-e", `{"m2m:cnt":{"mni":3}}`}},
			{2000, "2.05", []string{"retrieve", base + "/cse-in", "-q", "fu=1", "-q", "lbl=" + name}},
			{2002, "2.02", []string{"delete", ae + "/c"}},
			{4004, "4.04", []string{"retrieve", ae + "/c"}},
		} {
			got, exit := run(append(step.args, who...)...)
			require.Equal(t, step.want, got.RSC, "%s: %s", step.args, got.Content)
			require.Equal(t, step.code, got.Code, step.args)
			require.NotEmpty(t, got.RQI)
			require.Equal(t, step.want >= 4000, exit == 1, "exit code %d", exit)
			if step.args[0] == "retrieve" && step.want == 2000 {
				require.Contains(t, string(got.Content), name)
			}
		}
	}
	foreign, exit := run("retrieve", base+"/cse-in", "-u", "psk-device", "-k", key, "--from", "Ccert-device")
	require.Equal(t, 4106, foreign.RSC)
	require.Equal(t, 1, exit)
	second, _ := run(append([]string{"retrieve", base + "/cse-in"}, append(psk[:len(psk)-1:len(psk)-1], "Cpsk-device-2")...)...)
	require.Equal(t, 4106, second.RSC, "the entries name their AE-IDs in full")

	out, err := exec.Command(binary, "device", "remove", "psk-device", "--devices", filepath.Join(data, "devices.yaml")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Eventually(t, func() bool { // a second after the change at the latest; see TestO02DeviceRemoved
		_, exit := run(append([]string{"retrieve", base + "/cse-in", "--timeout", "5s"}, psk...)...)
		return exit == exitNoAnswer
	}, 20*time.Second, 100*time.Millisecond)
	d.stop()
}
