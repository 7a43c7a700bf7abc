//go:build interop

package interop

import (
	"bytes"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// watch is a row's observation.
type watch struct {
	p     *play
	w     watching
	path  string
	first exchange // the registration
	seen  int      // notifications that were looked at
	last  uint32   // Observe of the newest of them
}

// observe has the client register, and checks the first answer.
func (p *play) observe(text string) *watch {
	p.t.Helper()
	a := parseAsk(text)
	w, err := p.client.observe(p.ctx, a)
	require.NoError(p.t, err, "%s", describe(p.trace.so()))
	o := &watch{p: p, w: w, path: strings.TrimPrefix(a.path, "/")}
	require.NoError(p.t, p.trace.wait(p.ctx, text, func(packets []packet) bool {
		for _, x := range exchanges(packets) {
			if v, ok := x.request.Options.Uint(coap.Observe); ok && v == 0 && x.response != nil {
				o.first = *x
				return true
			}
		}
		return false
	}))
	p.code(&o.first, coap.Content)
	var ok bool
	o.last, ok = o.first.response.Options.Uint(coap.Observe)
	require.True(p.t, ok, "the first answer has no Observe")
	return o
}

// notifications returns what was notified so far, without repetitions.
func (o *watch) notifications(packets []packet) []coap.Message {
	var found []coap.Message
	seen := map[uint16]bool{o.first.response.MessageID: true}
	for _, p := range packets {
		if p.up || p.m.Code == coap.Empty || !bytes.Equal(p.m.Token, o.first.request.Token) || seen[p.m.MessageID] {
			continue
		}
		seen[p.m.MessageID] = true
		if p.m.Type != coap.Acknowledgement {
			found = append(found, p.m)
		}
	}
	return found
}

// acknowledged reports whether the client acknowledged m.
func acknowledged(packets []packet, m coap.Message) bool {
	for _, p := range packets {
		if p.up && p.m.Type == coap.Acknowledgement && p.m.MessageID == m.MessageID {
			return true
		}
	}
	return false
}

// next has the server's resource change, where it is ours (others' change by themselves), and returns the notification.
func (o *watch) next(size int) coap.Message {
	o.p.t.Helper()
	if o.p.server != nil {
		o.p.server.change(o.path, size)
	}
	return o.await()
}

// await returns the next notification, once it was acknowledged.
func (o *watch) await() coap.Message {
	o.p.t.Helper()
	var m coap.Message
	require.NoError(o.p.t, o.p.trace.wait(o.p.ctx, "a notification", func(packets []packet) bool {
		all := o.notifications(packets)
		if len(all) <= o.seen {
			return false
		}
		m = all[o.seen]
		return m.Type != coap.Confirmable || acknowledged(packets, m)
	}))
	o.seen++
	return m
}

// fresh checks a notification of a new state, and that the client shows it.
func (o *watch) fresh(m coap.Message, t coap.Type) {
	o.p.t.Helper()
	require.Equal(o.p.t, t, m.Type, "%s", describe(o.p.so()))
	require.Equal(o.p.t, coap.Content, m.Code)
	require.Equal(o.p.t, values(o.first.response, coap.ContentFormat), values(&m, coap.ContentFormat))
	n, ok := m.Options.Uint(coap.Observe)
	require.True(o.p.t, ok, "no Observe")
	if n == o.last && o.p.server == nil { // Californium repeats the first answer's, when the resource changes just then
		o.fresh(o.next(0), t)
		return
	}
	require.Less(o.p.t, (n-o.last-1)&0xff_ffff, uint32(1<<23), "Observe %d after %d: %s", n, o.last, describe(o.p.so())) // RFC 7641, Section 3.4
	o.last = n
	if _, blocks := m.Options.Find(coap.Block2); !blocks {
		require.NoError(o.p.t, o.w.shows(o.p.ctx, m.Payload))
	}
}

// over checks that the server notifies nothing more.
func (o *watch) over() {
	o.p.t.Helper()
	all := o.notifications(o.p.trace.so())
	if s := o.p.server; s != nil {
		s.change(o.path, 0)
		// What is asked later is answered later.
		o.p.one("CON GET /test")
	} else {
		<-time.After(1500 * time.Millisecond) // longer than it takes others' resources to change
	}
	require.Len(o.p.t, o.notifications(o.p.trace.so()), len(all), "%s", describe(o.p.trace.so()))
}

// ended checks that our server knows why its observer is gone.
func (o *watch) ended(why ...coap.EndReason) {
	o.p.t.Helper()
	if o.p.server != nil {
		require.Eventually(o.p.t, func() bool { return len(o.p.server.reasons()) > 0 }, patience, 10*time.Millisecond)
		require.Subset(o.p.t, why, o.p.server.reasons())
	}
}

// observeRows are those of block.yml about Observe. There is no OBS_03.
func observeRows() []row {
	return []row{
		{"OBS_01", "Confirmable notifications", func(p *play) {
			o := p.observe("CON GET /obs")
			require.Equal(p.t, coap.Acknowledgement, o.first.response.Type)
			for range 3 {
				o.fresh(o.next(0), coap.Confirmable)
			}
		}},
		{"OBS_02", "Non-confirmable notifications", func(p *play) {
			o := p.observe("NON GET /obs-non")
			m := o.next(0)
			o.fresh(m, m.Type) // the first one may be Confirmable all the same: is anybody there?
			for range 2 {      // at most one in 3 s (RFC 7641, Section 4.5.1)
				o.fresh(o.next(0), coap.NonConfirmable)
			}
		}},
		{"OBS_04", "the client notices that the server forgot it, by Max-Age", forgotten},
		{"OBS_05", "the server notices that the client is off", func(p *play) {
			o := p.observe("CON GET /obs")
			o.fresh(o.next(0), coap.Confirmable)
			o.w.off()
			p.server.change(o.path, 0)
			o.ended(coap.EndTimeout, coap.EndClosed, coap.EndReset)
		}},
		{"OBS_06", "the server notices that the client knows nothing of it, by a Reset", func(p *play) {
			o := p.observe("CON GET /obs")
			o.fresh(o.next(0), coap.Confirmable)
			require.NoError(p.t, o.w.forget(p.ctx))
			o.reset()
			o.over()
			o.ended(coap.EndReset)
		}},
		{"OBS_07", "a deleted resource has no observers", func(p *play) {
			o := p.observe("CON GET /obs")
			o.fresh(o.next(0), coap.Confirmable)
			p.code(p.elsewhere("CON DELETE /obs"), coap.Deleted)
			o.gone(coap.NotFound)
		}},
		{"OBS_08", "nor has one of another Content-Format", func(p *play) {
			o := p.observe("CON GET /obs")
			o.fresh(o.next(0), coap.Confirmable)
			p.code(p.elsewhere("CON PUT /obs format=50 text={}"), coap.Changed)
			o.gone(coap.NotAcceptable)
		}},
		{"OBS_09", "the resource is written", func(p *play) {
			o := p.observe("CON GET /obs")
			o.fresh(o.next(0), coap.Confirmable)
			p.code(p.elsewhere("CON PUT /obs format=0 text=written"), coap.Changed)
			for {
				m := o.await()
				o.fresh(m, coap.Confirmable)
				if string(m.Payload) == "written" {
					return
				}
			}
		}},
		{"OBS_10", "a GET does not end it", func(p *play) {
			o := p.observe("CON GET /obs")
			o.fresh(o.next(0), coap.Confirmable)
			x := p.code(p.elsewhere("CON GET /obs"), coap.Content)
			require.Empty(p.t, values(x.response, coap.Observe))
			o.fresh(o.next(0), coap.Confirmable)
		}},
		{"OBS_11", "losses: one notification at a time", lossyObserve},
		{"OBS_12", "a GET with Observe 1 ends it", cancelled},
		{"OBS_13", "a large resource", func(p *play) {
			o := p.observe("CON GET /obs-large")
			for range 2 {
				o.large(largeObsSize)
			}
		}},
		{"OBS_14", "a resource that is large now and then", func(p *play) {
			o := p.observe("CON GET /obs-large")
			o.large(largeObsSize)
			o.fresh(o.next(0), coap.Confirmable)
			o.large(largeObsSize)
		}},
	}
}

// elsewhere makes a request that has nothing to do with an observation. What it shows can't be told from notifications.
func (p *play) elsewhere(text string) *exchange {
	p.t.Helper()
	all := p.ask(text)
	return all[len(all)-1]
}

// reset waits for the client's Reset to a notification.
func (o *watch) reset() {
	o.p.t.Helper()
	if o.p.server != nil {
		o.p.server.change(o.path, 0)
	}
	require.NoError(o.p.t, o.p.trace.wait(o.p.ctx, "a Reset", func(packets []packet) bool {
		for _, p := range packets {
			if p.up && p.m.Type == coap.Reset {
				return true
			}
		}
		return false
	}))
}

// gone checks that the observation ends with an error.
func (o *watch) gone(code coap.Code) {
	o.p.t.Helper()
	for {
		m := o.await()
		if m.Code == coap.Content { // which came before
			continue
		}
		require.Equal(o.p.t, code, m.Code)
		require.Empty(o.p.t, values(&m, coap.Observe))
		break
	}
	o.over()
}

// large checks a notification with a body of n bytes, of which it has the first block.
func (o *watch) large(n int) {
	o.p.t.Helper()
	var m coap.Message
	for m = o.next(n); len(values(&m, coap.Block2)) == 0; m = o.await() {
	}
	b := o.p.block(&m, coap.Block2)
	require.Equal(o.p.t, 0, b.num)
	require.True(o.p.t, b.more)
	require.NotEmpty(o.p.t, values(&m, coap.Observe))
	o.fresh(m, coap.Confirmable)
	state, _, _ := strings.Cut(string(m.Payload), " 0000")
	require.NoError(o.p.t, o.w.shows(o.p.ctx, large(n, state)), "%s", describe(o.p.trace.so()))
}

// forgotten: our server loses its observers, and the client registers again.
func forgotten(p *play) {
	o := p.observe("CON GET /obs-age")
	o.fresh(o.next(0), coap.Confirmable)
	p.server.forget()
	registrations := func(packets []packet) int {
		n := 0
		for _, x := range exchanges(packets) {
			if v, ok := x.request.Options.Uint(coap.Observe); ok && v == 0 && x.response != nil {
				require.Equal(p.t, o.first.request.Token, x.request.Token)
				n++
			}
		}
		return n
	}
	require.NoError(p.t, p.trace.wait(p.ctx, "another registration", func(packets []packet) bool { return registrations(packets) > 1 }))
	o.seen = len(o.notifications(p.trace.so()))
	o.fresh(o.next(0), coap.Confirmable)
}

// cancelled: a client says that it wants no more.
func cancelled(p *play) {
	o := p.observe("CON GET /obs seconds=2")
	o.fresh(o.next(0), coap.Confirmable)
	_ = o.w.cancel() // coap-client does so by itself in the end
	require.NoError(p.t, p.trace.wait(p.ctx, "a GET with Observe 1", func(packets []packet) bool {
		for _, x := range exchanges(packets) {
			if v, ok := x.request.Options.Uint(coap.Observe); ok && v == 1 {
				return bytes.Equal(x.request.Token, o.first.request.Token)
			}
		}
		return false
	}))
	o.ended(coap.EndCancelled)
	o.over()
}

// lossyObserve loses a notification, while the next one is made.
func lossyObserve(p *play) {
	o := p.observe("CON GET /obs")
	o.fresh(o.next(0), coap.Confirmable)
	p.lossy.lose(false, 1)
	if p.server != nil {
		p.server.change("obs", 0)
	}
	require.NoError(p.t, p.lossy.waitLost(p.ctx))
	if p.server != nil {
		p.server.change("obs", 0)
	}
	var last coap.Message
	for range 2 {
		if p.server != nil && last.Code != 0 {
			break // both states may have come as one (RFC 7641, Section 4.5.2)
		}
		for {
			last = o.awaitAny()
			if acknowledged(p.trace.so(), last) {
				break
			}
		}
	}
	o.fresh(last, coap.Confirmable)
	if s := p.server; s != nil {
		s.mu.Lock()
		want := string(s.bodies["obs"].body)
		s.mu.Unlock()
		require.Equal(p.t, want, string(last.Payload), "the state is not the last one")
		o.oneAtATime()
	}
}

// awaitAny returns the newest notification.
func (o *watch) awaitAny() coap.Message {
	o.p.t.Helper()
	var m coap.Message
	require.NoError(o.p.t, o.p.trace.wait(o.p.ctx, "an acknowledged notification", func(packets []packet) bool {
		all := o.notifications(packets)
		if len(all) <= o.seen {
			return false
		}
		m = all[len(all)-1]
		return acknowledged(packets, m)
	}))
	o.seen = len(o.notifications(o.p.trace.so()))
	return m
}

// oneAtATime checks that our server began no notification while another was under way: a newer state may only take the place of
// a retransmission (RFC 7641, Section 4.5.2).
func (o *watch) oneAtATime() {
	o.p.t.Helper()
	var last *packet
	for i, packet := range o.p.so() {
		m := packet.m
		switch {
		case packet.up && m.Type == coap.Acknowledgement && last != nil && last.m.MessageID == m.MessageID:
			last = nil
		case !packet.up && m.Type == coap.Confirmable && bytes.Equal(m.Token, o.first.request.Token):
			if last != nil && last.m.MessageID != m.MessageID {
				require.GreaterOrEqual(o.p.t, packet.at.Sub(last.at), ackTimeout, "%s", describe(o.p.so()[:i+1]))
			}
			last = &packet
		}
	}
}
