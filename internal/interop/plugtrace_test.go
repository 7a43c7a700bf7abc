//go:build interop

package interop

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// packet is one CoAP message as our side saw it.
type packet struct {
	up bool // from the client to the server
	m  coap.Message
	at time.Time
}

// trace keeps what was said on the sessions of one side, in its order.
type trace struct {
	mu      sync.Mutex // guards the following fields
	packets []packet
	bad     int           // datagrams that are no CoAP
	changed chan struct{} // closed and replaced with every packet
}

func newTrace() *trace { return &trace{changed: make(chan struct{})} }

func (t *trace) add(up bool, datagram []byte) {
	m, err := coap.Parse(bytes.Clone(datagram))
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.bad++
		return
	}
	t.packets = append(t.packets, packet{up, m, time.Now()})
	close(t.changed)
	t.changed = make(chan struct{})
}

// wait returns when ok is true of the packets so far.
func (t *trace) wait(ctx context.Context, what string, ok func([]packet) bool) error {
	for {
		t.mu.Lock()
		packets, changed := slices.Clone(t.packets), t.changed
		t.mu.Unlock()
		if ok(packets) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; seen:\n%s", what, context.Cause(ctx), describe(packets))
		}
	}
}

// so returns the packets so far.
func (t *trace) so() []packet {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.packets)
}

func describe(packets []packet) string {
	var b bytes.Buffer
	for _, p := range packets {
		arrow := "<"
		if p.up {
			arrow = ">"
		}
		fmt.Fprintf(&b, "%s %s %s mid %d token %x", arrow, p.m.Type, p.m.Code, p.m.MessageID, p.m.Token)
		for _, o := range p.m.Options {
			fmt.Fprintf(&b, " %d:%x", o.ID, o.Value)
		}
		fmt.Fprintf(&b, " %d bytes\n", len(p.m.Payload))
	}
	return b.String()
}

// tapped is a session whose messages are kept.
type tapped struct {
	*dtls.Conn
	trace *trace
	up    bool // we are the client
}

// Send implements coap.Conn.
func (c tapped) Send(b []byte) error {
	c.trace.add(c.up, b)
	return c.Conn.Send(b)
}

// exchange is a request with what belongs to it.
type exchange struct {
	request  coap.Message
	repeats  int           // of the request
	ack      *coap.Message // an empty acknowledgement of the request
	response *coap.Message
	again    int           // repetitions of the response
	done     *coap.Message // the client's acknowledgement of a Confirmable response
	later    []coap.Message
}

// exchanges sorts what was said by request. Responses after the first, which are notifications, are in later.
func exchanges(packets []packet) []*exchange {
	var all []*exchange
	for _, p := range packets {
		m := p.m
		switch {
		case p.up && m.Code.IsRequest():
			i := slices.IndexFunc(all, func(x *exchange) bool {
				return x.request.MessageID == m.MessageID && bytes.Equal(x.request.Token, m.Token)
			})
			if i >= 0 {
				all[i].repeats++
				continue
			}
			all = append(all, &exchange{request: m})
		case !p.up && m.Code == coap.Empty && m.Type == coap.Acknowledgement:
			for _, x := range all {
				if x.request.MessageID == m.MessageID && x.ack == nil {
					x.ack = &m
				}
			}
		case !p.up && m.Code != coap.Empty:
			for _, x := range slices.Backward(all) {
				if !bytes.Equal(x.request.Token, m.Token) {
					continue
				}
				switch {
				case x.response == nil:
					x.response = &m
				case x.response.MessageID == m.MessageID:
					x.again++
				default:
					x.later = append(x.later, m)
				}
				break
			}
		case p.up && m.Code == coap.Empty && m.Type == coap.Acknowledgement:
			for _, x := range all {
				if x.response != nil && x.response.Type == coap.Confirmable && x.response.MessageID == m.MessageID {
					x.done = &m
				}
			}
		}
	}
	return all
}

// values returns all instances of an option as text.
func values(m *coap.Message, id coap.OptionID) []string {
	var found []string
	for _, o := range m.Options {
		if o.ID == id {
			found = append(found, string(o.Value))
		}
	}
	return found
}
