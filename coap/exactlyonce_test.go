package coap

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestExactlyOnce: under any loss, duplication and reordering, each POST is executed at most once, exactly once when Do
// succeeded, and each answer is the one to its request; bodies of any size arrive as they were sent (S31, S32).
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		f := []faults{
			{delay: 20 * time.Millisecond},
			{loss: 0.1, duplicate: 0.3, delay: 100 * time.Millisecond},
			{loss: 0.3, duplicate: 0.3, delay: 3 * time.Second},
			{loss: 0, duplicate: 1, delay: 5 * time.Second},
		}[seed%4]
		t.Run(fmt.Sprint(seed, f), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) { exactlyOnce(t, f, seed) })
		})
	}
}

func exactlyOnce(t *testing.T, f faults, seed uint64) {
	var mu sync.Mutex // guards executed
	executed := make(map[string]int)
	server := serve(t, &Config{Host: func(string) bool { return true }, Understands: func(p *Peer, id OptionID) bool {
		return p.Owner() == nil && id == 283 // takes the peer's lock, as link does
	}, Handler: handlerFunc(func(x *Exchange) {
		x.Detach()
		body := x.Request().Payload
		key, _ := x.Request().Options.Find(URIPath)
		require.Equal(t, string(transferBody(string(key))), string(body))
		mu.Lock()
		executed[string(key)]++
		mu.Unlock()
		answer := append(bytes.Clone(body), "answer to "+string(key)...)
		if len(body)%2 == 0 {
			require.NoError(t, x.Respond(&Message{Code: Created, Payload: answer}))
			return
		}
		time.AfterFunc(4*time.Second, func() { _ = x.Respond(&Message{Code: Created, Payload: answer}) })
	})})
	asker := serve(t, &Config{})
	toServer, _ := connect(asker, server, Profile{MaxBlock: 256, NStart: 2}, f, seed)
	type outcome struct {
		key string
		m   *Message
		err error
	}
	outcomes := make(chan outcome)
	const requests = 12
	for i := range requests {
		go func() {
			key := fmt.Sprint(i)
			m, err := asker.Do(t.Context(), toServer, &Message{Code: POST, Options: path(key).AddString(283, key), Payload: transferBody(key)})
			outcomes <- outcome{key, m, err}
		}()
	}
	succeeded := 0
	for range requests {
		o := <-outcomes
		mu.Lock()
		n := executed[o.key]
		mu.Unlock()
		require.LessOrEqual(t, n, 1, "executed twice")
		if o.err != nil {
			require.ErrorIs(t, o.err, ErrTimeout)
			continue
		}
		if o.m.Code.Class() != 2 { // a block came too late for its body, or bodies were given up
			t.Logf("%s: %s %q", o.key, o.m.Code, o.m.Payload)
			require.Contains(t, []Code{RequestEntityIncomplete, ServiceUnavailable}, o.m.Code)
			continue
		}
		succeeded++
		require.Equal(t, 1, n)
		require.Equal(t, string(transferBody(o.key))+"answer to "+o.key, string(o.m.Payload))
	}
	if f.loss == 0 {
		require.Equal(t, requests, succeeded)
	}
	time.Sleep(20 * time.Minute)
	for _, e := range []*Endpoint{server, asker} {
		s := e.Stats()
		require.Zero(t, s.Records+s.RecordBytes+s.Bodies+s.BodyBytes+s.Kept+s.KeptBytes+s.Exchanges+s.Calls)
	}
}

// transferBody is a body of 0 to 2,700 bytes that tells its request.
func transferBody(key string) []byte {
	return bytes.Repeat([]byte(key+","), 300*len(key)*int(key[0]-'0')/2)
}
