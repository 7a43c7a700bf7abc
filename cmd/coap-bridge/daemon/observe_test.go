package daemon

import (
	"bytes"
	"context"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
)

// TestObserveLibcoap: libcoap's client observes a resource and shows each new value once, in order; when it ends, so does the
// subscription at the CSE.
func TestObserveLibcoap(t *testing.T) {
	t.Parallel()
	for _, client := range []libcoap{openssl, gnutls} {
		t.Run(string(client), func(t *testing.T) {
			t.Parallel()
			f := start(t, calls)
			client.run(t, meter("-m", "post", "-t", "0", "-e", "<0>", f.uri+"/room")...)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, string(client), meter("-m", "get", "-s", "60", f.uri+"/room")...)
			shown := &safeBuffer{}
			var errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = shown, &errs
			require.NoError(t, cmd.Start())
			want := "<0>"
			sees := func() bool { return shown.String() == want }
			require.Eventually(t, sees, 10*time.Second, 10*time.Millisecond)
			for _, value := range []string{"<1>", "<2>", "<3>"} {
				want += value
				client.run(t, meter("-m", "post", "-t", "0", "-e", value, f.uri+"/room")...)
				require.Eventually(t, sees, 10*time.Second, 10*time.Millisecond, "%s", shown)
			}
			require.Equal(t, "1", f.metric("coapbridge_bridge_subscriptions"))
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			_ = cmd.Wait() // how a client ends that was told to
			require.Eventually(t, func() bool {
				return slices.ContainsFunc(f.cse.Requests(), func(r csetest.RecordedRequest) bool {
					return r.Method == http.MethodDelete && strings.Contains(r.Target, "room")
				})
			}, 10*time.Second, 10*time.Millisecond)
			require.Equal(t, want, strings.TrimSpace(shown.String()))
		})
	}
}
