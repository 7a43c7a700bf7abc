package coap

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLibcoapObserver: libcoap's client, told to observe, gets each new state, small and in blocks, and its cancellation ends the
// observation; when it is killed, a Reset by its successor on the port or the missing acknowledgement would (see TestObserve).
func TestLibcoapObserver(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5, 3000} {
		for _, typ := range []string{"", "-N"} {
			t.Run(fmt.Sprint(size, typ), func(t *testing.T) {
				t.Parallel()
				libcoapObserver(t, size, typ)
			})
		}
	}
}

func libcoapObserver(t *testing.T, size int, args ...string) {
	state := func(n int) []byte { return append(bytes.Repeat([]byte{'x'}, size), fmt.Sprintf("state-%d\n", n)...) }
	entered, ended := make(chan *Observation, 1), make(chan EndReason, 1)
	u := newUDPEndpoint(t, &Config{Handler: handlerFunc(func(x *Exchange) {
		m := &Message{Code: Content, Payload: state(0), Options: Options(nil).AddUint(ContentFormat, 0)}
		o, err := x.RespondObserve(m, ObserveOptions{ConfirmEvery: 2, Ended: func(_ *Observation, r EndReason) { ended <- r }})
		if err != nil {
			t.Error(err)
		}
		if o != nil {
			entered <- o
		}
	})})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := []string{"-s", "3"}
	for _, a := range args {
		if a != "" {
			command = append(command, a)
		}
	}
	cmd := exec.CommandContext(ctx, "coap-client-notls", append(command, fmt.Sprintf("coap://127.0.0.1:%d/a", u.port()))...)
	var out bytes.Buffer
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	o := <-entered
	for n := 1; n <= 3; n++ {
		<-time.After(300 * time.Millisecond)
		require.NoError(t, o.Notify(&Message{Code: Content, Payload: state(n), Options: Options(nil).AddUint(ContentFormat, 0)}))
	}
	require.NoError(t, cmd.Wait())
	require.Equal(t, EndCancelled, <-ended)
	last := -1
	for n := range 4 {
		if at := strings.Index(out.String(), string(state(n))); at >= 0 {
			require.Greater(t, at, last)
			last = at
		} else {
			require.NotContains(t, []int{0, 3}, n, "the first and the last state are never left out: %.200q", out.String())
		}
	}
	require.Zero(t, u.Stats().Observations)
}

// TestLibcoapObserved: libcoap's server takes our registration, its notifications arrive whole, also in blocks, and after Cancel
// the next one is reset.
func TestLibcoapObserved(t *testing.T) {
	t.Parallel()
	u := newUDPEndpoint(t, &Config{})
	p := u.NewPeer(&udpConn{u.socket, startLibcoapServer(t)}, Profile{AckTimeout: 200 * time.Millisecond})
	u.mu.Lock()
	u.peers[p.Conn().(*udpConn).to] = p
	u.mu.Unlock()
	options := path("example_data").AddUint(ContentFormat, 42)
	put := func(size int) []byte {
		body := make([]byte, size)
		rand.Read(body)
		resp, err := u.Do(t.Context(), p, &Message{Code: PUT, Options: options, Payload: body})
		require.NoError(t, err)
		require.Equal(t, uint8(2), resp.Code.Class())
		return body
	}
	first := put(100)
	notes := make(chan *Message, 10)
	resp, o, err := u.Observe(t.Context(), p, &Message{Code: GET, Options: options[:1]}, func(m *Message) { notes <- m })
	require.NoError(t, err)
	require.NotNil(t, o)
	require.True(t, bytes.Equal(first, resp.Payload))
	for _, size := range []int{200, 5000, 10} {
		body := put(size)
		require.True(t, bytes.Equal(body, (<-notes).Payload))
	}
	o.Cancel()
	put(10)
	require.Eventually(t, func() bool { return u.Stats().Refused[ReasonUnsolicited] > 0 }, 5*time.Second, time.Millisecond)
	require.Empty(t, notes)
}
