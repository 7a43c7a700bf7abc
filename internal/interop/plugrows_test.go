//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// play is one row with one peer.
type play struct {
	t      *testing.T
	ctx    context.Context
	client asker
	trace  *trace
	server *plugServer // nil: the server is the peer's
	lossy  *relay      // what is between them
	hasty  bool        // nobody waits for a response's acknowledgement
	begin  int         // packets that were there before
	plain  bool        // the server leaves out Content-Format 0 and the last Block1, and only gives back what was put
}

// row is one of ETSI's plugtests, without "TD_COAP_".
type row struct {
	id, what string
	run      func(*play)
}

// ask has the client make a request and returns the exchanges that came of it, the last one complete. @n in the text is
// the ETag of the nth answer so far, in hex; large=n a payload of so many bytes, text=x one that is x.
func (p *play) ask(text string) []*exchange {
	p.t.Helper()
	before := exchanges(p.so())
	words := strings.Fields(text)
	for i, word := range words {
		if name, n, ok := strings.Cut(word, "=@"); ok {
			var at int
			_, err := fmt.Sscan(n, &at)
			require.NoError(p.t, err)
			tag, ok := before[at-1].response.Options.Find(coap.ETag)
			require.True(p.t, ok, "no ETag in answer %d", at)
			words[i] = name + "=" + hex.EncodeToString(tag)
		}
		if n, ok := strings.CutPrefix(word, "large="); ok {
			var size int
			_, err := fmt.Sscan(n, &size)
			require.NoError(p.t, err)
			words[i] = "payload=" + hex.EncodeToString(large(size, "upload"))
		}
		if s, ok := strings.CutPrefix(word, "text="); ok {
			words[i] = "payload=" + hex.EncodeToString([]byte(s))
		}
	}
	shown, err := p.client.ask(p.ctx, parseAsk(strings.Join(words, " ")))
	require.NoError(p.t, err, "%s: %s", text, describe(p.so()))
	var mine []*exchange
	require.NoError(p.t, p.trace.wait(p.ctx, text, func(packets []packet) bool {
		mine = exchanges(packets[p.begin:])[len(before):]
		if len(mine) == 0 {
			return false
		}
		last := mine[len(mine)-1]
		return last.response != nil && (last.response.Type != coap.Confirmable || last.done != nil || p.hasty)
	}))
	var body []byte
	for _, x := range mine {
		if x.response.Code.Class() == 2 && x.response.Code != coap.Continue {
			body = append(body, x.response.Payload...)
		}
	}
	require.True(p.t, bytes.Contains(shown, body), "the client shows %.200q instead of %.200q", shown, body)
	return mine
}

// so returns the row's packets so far.
func (p *play) so() []packet { return p.trace.so()[p.begin:] }

// one is ask of something that takes one exchange.
func (p *play) one(text string) *exchange {
	p.t.Helper()
	all := p.ask(text)
	require.Len(p.t, all, 1, "%s", describe(p.so()))
	return all[0]
}

// code checks an answer's code.
func (p *play) code(x *exchange, codes ...coap.Code) *exchange {
	p.t.Helper()
	require.Contains(p.t, codes, x.response.Code)
	require.Equal(p.t, x.request.Token, x.response.Token)
	if len(x.response.Payload) > 0 && x.response.Code.Class() == 2 && !p.plain {
		_, ok := x.response.Options.Find(coap.ContentFormat)
		require.True(p.t, ok, "no Content-Format")
	}
	return x
}

// piggybacked checks that a Confirmable request was answered in its acknowledgement.
func (p *play) piggybacked(x *exchange, codes ...coap.Code) *exchange {
	p.t.Helper()
	require.Equal(p.t, coap.Confirmable, x.request.Type)
	require.Equal(p.t, coap.Acknowledgement, x.response.Type)
	require.Equal(p.t, x.request.MessageID, x.response.MessageID)
	return p.code(x, codes...)
}

// non checks that a Non-confirmable request got a Non-confirmable answer, and no acknowledgement.
func (p *play) non(x *exchange, codes ...coap.Code) *exchange {
	p.t.Helper()
	require.Equal(p.t, coap.NonConfirmable, x.request.Type)
	require.Equal(p.t, coap.NonConfirmable, x.response.Type)
	require.Nil(p.t, x.ack)
	return p.code(x, codes...)
}

// separate checks that a Confirmable request was acknowledged and answered on its own.
func (p *play) separate(x *exchange) *exchange {
	p.t.Helper()
	require.Equal(p.t, coap.Confirmable, x.request.Type)
	require.NotNil(p.t, x.ack, "no acknowledgement")
	require.Equal(p.t, coap.Confirmable, x.response.Type)
	require.NotNil(p.t, x.done, "the answer is not acknowledged")
	return p.code(x, coap.Content)
}

// optional is the text as it stands in the option's instances.
func (p *play) optional(m *coap.Message, id coap.OptionID, want ...string) {
	p.t.Helper()
	require.Equal(p.t, want, values(m, id))
}

func (p *play) format(x *exchange, want uint32) {
	p.t.Helper()
	got, ok := x.response.Options.Uint(coap.ContentFormat)
	require.True(p.t, ok)
	require.Equal(p.t, want, got)
}

// coreRows are those of base.yml.
func coreRows() []row {
	content := coap.Content
	made := []coap.Code{coap.Created, coap.Changed}
	return []row{
		{"CORE_01", "GET, Confirmable", func(p *play) { p.piggybacked(p.one("CON GET /test"), content) }},
		{"CORE_02", "DELETE, Confirmable", func(p *play) { p.piggybacked(p.one("CON DELETE /test"), coap.Deleted) }},
		{"CORE_03", "PUT, Confirmable", func(p *play) { p.piggybacked(p.one("CON PUT /test format=0 text=new"), made...) }},
		{"CORE_04", "POST, Confirmable", func(p *play) { p.piggybacked(p.one("CON POST /test format=0 text=new"), made...) }},
		{"CORE_05", "GET, Non-confirmable", func(p *play) { p.non(p.one("NON GET /test"), content) }},
		{"CORE_06", "DELETE, Non-confirmable", func(p *play) { p.non(p.one("NON DELETE /test"), coap.Deleted) }},
		{"CORE_07", "PUT, Non-confirmable", func(p *play) { p.non(p.one("NON PUT /test format=0 text=new"), made...) }},
		{"CORE_08", "POST, Non-confirmable", func(p *play) { p.non(p.one("NON POST /test format=0 text=new"), made...) }},
		{"CORE_09", "separate response", func(p *play) { p.separate(p.one("CON GET /separate")) }},
		{"CORE_10", "a token", func(p *play) {
			require.NotEmpty(p.t, p.piggybacked(p.one("CON GET /test token=7431"), content).request.Token)
		}},
		{"CORE_11", "a token, separate response", func(p *play) { require.NotEmpty(p.t, p.separate(p.one("CON GET /separate token=7431")).request.Token) }},
		{"CORE_12", "the empty token", func(p *play) { require.Empty(p.t, p.piggybacked(p.one("CON GET /test token="), content).request.Token) }},
		{"CORE_13", "several Uri-Path options", func(p *play) {
			x := p.piggybacked(p.one("CON GET /seg1/seg2/seg3"), content)
			p.optional(&x.request, coap.URIPath, "seg1", "seg2", "seg3")
		}},
		{"CORE_14", "several Uri-Query options", func(p *play) {
			x := p.piggybacked(p.one("CON GET /query?first=1&second=2&third=3"), content)
			p.optional(&x.request, coap.URIQuery, "first=1", "second=2", "third=3")
			if !p.plain {
				require.Equal(p.t, "asked first=1 second=2 third=3", string(x.response.Payload))
			}
		}},
		{"CORE_15", "losses: a request, a response", lossyPiggybacked},
		{"CORE_16", "losses: a request, its acknowledgement, a separate response, its acknowledgement", lossySeparate},
		{"CORE_17", "separate response, Non-confirmable", func(p *play) { p.non(p.one("NON GET /separate"), content) }},
		{"CORE_18", "several Location-Path options", func(p *play) {
			x := p.piggybacked(p.one("CON POST /test format=0 text=new"), coap.Created)
			p.optional(x.response, coap.LocationPath, "location1", "location2", "location3")
		}},
		{"CORE_19", "several Location-Query options", func(p *play) {
			x := p.piggybacked(p.one("CON POST /location-query format=0 text=new"), coap.Created)
			p.optional(x.response, coap.LocationQuery, "first=1", "second=2")
		}},
		{"CORE_20", "Accept", func(p *play) {
			p.format(p.piggybacked(p.one("CON GET /multi-format accept=0"), content), 0)
			p.format(p.piggybacked(p.one("CON GET /multi-format accept=41"), content), 41)
		}},
		{"CORE_21", "ETag: still valid, and not any more", validate},
		{"CORE_22", "If-Match", ifMatch},
		{"CORE_23", "If-None-Match", func(p *play) {
			p.piggybacked(p.one("CON PUT /create1 ifnonematch=1 format=0 text=first"), coap.Created)
			p.piggybacked(p.one("CON PUT /create1 ifnonematch=1 format=0 text=second"), coap.PreconditionFailed)
		}},
		{"CORE_31", "ping", ping},
	}
}

func validate(p *play) {
	first := p.piggybacked(p.one("CON GET /validate"), coap.Content)
	x := p.piggybacked(p.one("CON GET /validate etag=@1"), coap.Valid)
	require.Empty(p.t, x.response.Payload)
	require.Equal(p.t, values(first.response, coap.ETag), values(x.response, coap.ETag))
	p.piggybacked(p.one("CON PUT /validate format=0 text=other"), coap.Changed)
	x = p.piggybacked(p.one("CON GET /validate etag=@1"), coap.Content)
	require.NotEqual(p.t, values(first.response, coap.ETag), values(x.response, coap.ETag))
	require.Equal(p.t, "other", string(x.response.Payload))
}

func ifMatch(p *play) {
	p.piggybacked(p.one("CON GET /validate"), coap.Content)
	p.piggybacked(p.one("CON PUT /validate ifmatch=@1 format=0 text=mine"), coap.Changed)
	x := p.piggybacked(p.one("CON GET /validate"), coap.Content)
	require.Equal(p.t, "mine", string(x.response.Payload))
	p.piggybacked(p.one("CON PUT /validate format=0 text=theirs"), coap.Changed)
	p.piggybacked(p.one("CON PUT /validate ifmatch=@3 format=0 text=lost"), coap.PreconditionFailed)
	x = p.piggybacked(p.one("CON GET /validate"), coap.Content)
	require.Equal(p.t, "theirs", string(x.response.Payload))
}

func ping(p *play) {
	require.NoError(p.t, p.client.ping(p.ctx))
	require.NoError(p.t, p.trace.wait(p.ctx, "a ping and its Reset", func(packets []packet) bool {
		for _, asked := range packets {
			if !asked.up || asked.m.Type != coap.Confirmable || asked.m.Code != coap.Empty {
				continue
			}
			for _, reset := range packets {
				if !reset.up && reset.m.Type == coap.Reset && reset.m.MessageID == asked.m.MessageID {
					return true
				}
			}
		}
		return false
	}))
}

// lossyPiggybacked loses a request, then a response. Our side sees whatever arrives, the relay what was lost.
func lossyPiggybacked(p *play) {
	for _, lose := range []bool{true, false} {
		p.lossy.lose(lose, 1)
		x := p.piggybacked(p.ask("CON GET /test")[0], coap.Content)
		require.NoError(p.t, p.lossy.waitLost(p.ctx))
		if (p.server != nil) != lose { // both the lost one and its repetition pass our tap
			require.NotZero(p.t, x.repeats)
		}
	}
}

// lossySeparate loses each of the four messages in turn: up the request and the last acknowledgement, down the first one and
// the response.
func lossySeparate(p *play) {
	for _, lose := range []struct {
		up bool
		at int
	}{{true, 1}, {false, 1}, {false, 2}, {true, 2}} {
		p.lossy.lose(lose.up, lose.at)
		p.hasty = lose.up && lose.at == 2 // a client that is a command ends with the answer
		x := p.ask("CON GET /separate")[0]
		p.code(x, coap.Content)
		require.NoError(p.t, p.lossy.waitLost(p.ctx))
	}
}

// blockRows are the first ones of block.yml.
func blockRows() []row {
	return []row{
		{"BLOCK_01", "GET of a large body, the client knows", func(p *play) {
			all := p.ask("CON GET /large block=256")
			b := p.block(&all[0].request, coap.Block2)
			require.Equal(p.t, 0, b.num)
			p.down(all, coap.Content, 256, p.largeBody())
		}},
		{"BLOCK_02", "GET of a large body, the client doesn't know", func(p *play) {
			all := p.ask("CON GET /large")
			require.Empty(p.t, values(&all[0].request, coap.Block2))
			p.down(all, coap.Content, 1024, p.largeBody())
		}},
		{"BLOCK_03", "PUT of a large body", func(p *play) {
			all := p.ask("CON PUT /large-update format=0 large=1500")
			last := p.up(all, 1500)
			require.Equal(p.t, coap.Changed, last.response.Code)
			p.down(p.ask("CON GET /large-update"), coap.Content, 1024, large(1500, "upload"))
		}},
		{"BLOCK_04", "POST of a large body that creates", func(p *play) {
			last := p.up(p.ask("CON POST /large-create format=0 large=1500"), 1500)
			require.Equal(p.t, coap.Created, last.response.Code)
			p.optional(last.response, coap.LocationPath, "large-create", "1")
		}},
		{"BLOCK_05", "POST of a large body that gets one back", func(p *play) {
			all := p.ask("CON POST /large-post format=0 large=1500")
			var ups []*exchange
			for _, x := range all {
				if len(values(&x.request, coap.Block1)) > 0 {
					ups = append(ups, x)
				}
			}
			last := p.up(ups, 1500)
			require.Equal(p.t, coap.Changed, last.response.Code)
			p.down(all[len(ups)-1:], coap.Changed, 1024, bytes.ToUpper(large(1500, "upload")))
		}},
		{"BLOCK_06", "GET of a large body in blocks of 16", func(p *play) {
			p.down(p.ask("CON GET /large block=16"), coap.Content, 16, p.largeBody())
		}},
	}
}

// largeBody is the state of /large.
func (p *play) largeBody() []byte {
	if p.plain {
		return large(largeSize, "upload")
	}
	return large(largeSize, "large")
}

// blockOption is the value of Block1 or Block2.
type blockOption struct {
	num  int
	more bool
	size int
}

func (p *play) block(m *coap.Message, id coap.OptionID) blockOption {
	p.t.Helper()
	v, ok := m.Options.Uint(id)
	require.True(p.t, ok, "no option %d", id)
	return blockOption{num: int(v >> 4), more: v&8 != 0, size: 16 << (v & 7)}
}

// down checks a body that came in blocks of at most size bytes.
func (p *play) down(all []*exchange, code coap.Code, size int, want []byte) {
	p.t.Helper()
	var body []byte
	for i, x := range all {
		require.Equal(p.t, code, x.response.Code)
		b := p.block(x.response, coap.Block2)
		require.LessOrEqual(p.t, b.size, size)
		require.Equal(p.t, len(body), b.num*b.size, "gaps or another order")
		require.Equal(p.t, i < len(all)-1, b.more)
		if b.more {
			require.Len(p.t, x.response.Payload, b.size)
		}
		if i > 0 {
			asked := p.block(&x.request, coap.Block2)
			require.Equal(p.t, len(body), asked.num*asked.size)
		}
		body = append(body, x.response.Payload...)
	}
	require.Equal(p.t, string(want), string(body))
}

// up checks a body of n bytes that went in blocks, and returns the last exchange.
func (p *play) up(all []*exchange, n int) *exchange {
	p.t.Helper()
	require.Greater(p.t, len(all), 1)
	var body []byte
	for i, x := range all {
		b := p.block(&x.request, coap.Block1)
		require.Equal(p.t, len(body), b.num*b.size, "gaps or another order")
		require.Equal(p.t, i < len(all)-1, b.more)
		if p.plain && !b.more {
			require.Empty(p.t, values(x.response, coap.Block1), "it leaves Block1 out of the last answer")
			body = append(body, x.request.Payload...)
			break
		}
		answered := p.block(x.response, coap.Block1)
		require.Equal(p.t, b.num, answered.num)
		require.LessOrEqual(p.t, answered.size, b.size)
		if b.more {
			require.Equal(p.t, coap.Continue, x.response.Code)
			require.Len(p.t, x.request.Payload, b.size)
		}
		body = append(body, x.request.Payload...)
	}
	require.Equal(p.t, string(large(n, "upload")), string(body))
	return all[len(all)-1]
}
