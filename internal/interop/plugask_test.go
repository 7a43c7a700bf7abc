//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// ask is a request that a client is told to make. Its text is "CON GET /path name=value ...": names are accept, format,
// payload, etag, ifmatch (in hex), ifnonematch, block (its size), and token (in hex).
type ask struct {
	text   string
	non    bool
	method string
	path   string
	args   map[string]string
}

func parseAsk(text string) ask {
	words := strings.Fields(text)
	a := ask{text: text, non: words[0] == "NON", method: words[1], path: words[2], args: map[string]string{}}
	for _, word := range words[3:] {
		name, value, _ := strings.Cut(word, "=")
		a.args[name] = value
	}
	return a
}

// payload is the body of the request.
func (a ask) payload() []byte {
	b, _ := hex.DecodeString(a.args["payload"]) // of ours
	return b
}

// asker is a client. What it shows to its user is looked for in bytes.
type asker interface {
	// ask makes a request, and returns what the client shows of its answer.
	ask(ctx context.Context, a ask) (shown []byte, err error)
	// observe registers, and returns when the first answer was shown.
	observe(ctx context.Context, a ask) (watching, error)
	ping(ctx context.Context) error
}

// watching is a client that observes.
type watching interface {
	// shows returns when a notification with that body was shown.
	shows(ctx context.Context, body []byte) error
	// forget lets the client know nothing of its observation any more, cancel ends it, off switches the client off.
	forget(ctx context.Context) error
	cancel() error
	off()
}

var errCannot = errors.New("it can't be told to")

// coapClient is libcoap's command line: a session for each request.
type coapClient struct {
	t    *testing.T
	name string
	to   netip.AddrPort
	// While one observes, others of the same user go another way: to the server itself.
	direct    netip.AddrPort
	observing bool
}

func (c *coapClient) args(a ask) []string {
	argv := []string{c.name, "-B", "20", "-u", identity, "-k", key, "-m", strings.ToLower(a.method)}
	if a.non {
		argv = append(argv, "-N")
	}
	for name, value := range a.args {
		switch name {
		case "accept":
			argv = append(argv, "-A", value)
		case "format":
			argv = append(argv, "-t", value)
		case "etag":
			argv = append(argv, "-O", "4,0x"+value)
		case "ifmatch":
			argv = append(argv, "-O", "1,0x"+value)
		case "ifnonematch":
			argv = append(argv, "-O", "5,")
		case "block":
			argv = append(argv, "-b", value)
		case "token":
			argv = append(argv, "-T", string(unhex(value)))
		case "payload":
			file := c.t.TempDir() + "/payload"
			require.NoError(c.t, os.WriteFile(file, unhex(value), 0o600))
			argv = append(argv, "-f", file)
		}
	}
	return argv
}

func unhex(s string) []byte {
	b, _ := hex.DecodeString(s) // of ours
	return b
}

func (c *coapClient) uri(path string) string { return "coaps://" + c.to.String() + path }

func (c *coapClient) ask(ctx context.Context, a ask) ([]byte, error) {
	argv := append(c.args(a), c.uri(a.path))
	if c.observing {
		argv = append(c.args(a), "-T", "other", "coaps://"+c.direct.String()+a.path)
	}
	r := start(c.t, nil, argv...)
	defer r.stop()
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return []byte(strings.Join(r.lines, "\n") + "\n"), nil
}

func (c *coapClient) observe(ctx context.Context, a ask) (watching, error) {
	seconds := "60"
	if s := a.args["seconds"]; s != "" {
		seconds = s
	}
	r := start(c.t, nil, append(c.args(a), "-s", seconds, "-w", c.uri(a.path))...)
	c.t.Cleanup(r.stop)
	c.observing = true
	return shell{r}, nil
}

func (c *coapClient) ping(ctx context.Context) error {
	a := parseAsk("CON GET /slow") // it pings while nothing happens
	r := start(c.t, nil, append(c.args(a), "-K", "1", c.uri(a.path))...)
	c.t.Cleanup(r.stop)
	return nil
}

// shell is coap-client while it observes: it can be switched off, and nothing else.
type shell struct{ *running }

func (s shell) shows(ctx context.Context, body []byte) error {
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	return s.hear(ctx, string(lines[len(lines)-1]))
}
func (shell) forget(context.Context) error { return errCannot }
func (shell) cancel() error                { return errCannot }
func (s shell) off()                       { s.stop() }

// script is one of our programs on other people's libraries: it reads asks and prints answers.
type script struct {
	r *running
	// How many of its lines were looked at for answers, and for notifications.
	answers, notifications int
}

// line returns the line after n that begins with one of the words, or else what ended it.
func (s *script) line(ctx context.Context, n *int, words ...string) (string, error) {
	for {
		s.r.mu.Lock()
		lines, changed := s.r.lines, s.r.changed
		s.r.mu.Unlock()
		for *n < len(lines) {
			*n++
			for _, word := range words {
				if strings.HasPrefix(lines[*n-1], word) {
					return lines[*n-1], nil
				}
			}
		}
		select {
		case <-changed:
		case <-s.r.done:
			return "", fmt.Errorf("%w: %s", errEnded, s.r.said())
		case <-ctx.Done():
			return "", fmt.Errorf("%w: it said %s", context.Cause(ctx), s.r.said())
		}
	}
}

func (s *script) do(ctx context.Context, verb string, a ask) ([]byte, error) {
	text, _, _ := strings.Cut(a.text, " seconds=") // which is coap-client's
	if err := s.r.say(verb + " " + text + "\n"); err != nil {
		return nil, err
	}
	line, err := s.line(ctx, &s.answers, "answer ", "no answer")
	if err != nil {
		return nil, err
	}
	return unhex(line[strings.LastIndex(line, " ")+1:]), nil
}

func (s *script) ask(ctx context.Context, a ask) ([]byte, error) { return s.do(ctx, "ask", a) }

func (s *script) observe(ctx context.Context, a ask) (watching, error) {
	_, err := s.do(ctx, "observe", a)
	return s, err
}

func (s *script) ping(ctx context.Context) error {
	if err := s.r.say("ping\n"); err != nil {
		return err
	}
	_, err := s.line(ctx, &s.answers, "pong")
	return err
}

func (s *script) shows(ctx context.Context, body []byte) error {
	for {
		line, err := s.line(ctx, &s.notifications, "notification ")
		if err != nil || strings.HasSuffix(line, " "+hex.EncodeToString(body)) || strings.HasSuffix(line, " "+strings.ToUpper(hex.EncodeToString(body))) {
			return err
		}
	}
}

func (s *script) forget(ctx context.Context) error {
	if err := s.r.say("forget\n"); err != nil {
		return err
	}
	_, err := s.line(ctx, &s.answers, "forgotten")
	return err
}

func (s *script) cancel() error { return s.r.say("cancel\n") }
func (s *script) off()          { s.r.stop() }

// own is our client.
type own struct {
	t     *testing.T
	side  *plugSide
	conn  *dtls.Conn
	to    netip.AddrPort    // the server itself
	paths map[string]string // the server's names for the resources
}

func (o *own) message(a ask) *coap.Message {
	codes := map[string]coap.Code{"GET": coap.GET, "PUT": coap.PUT, "POST": coap.POST, "DELETE": coap.DELETE}
	m := &coap.Message{Code: codes[a.method], Payload: a.payload()}
	if a.non {
		m.Type = coap.NonConfirmable
	}
	if other, ok := o.paths[a.path]; ok {
		a.path = other
	}
	path, query, _ := strings.Cut(a.path, "?")
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		m.Options = m.Options.AddString(coap.URIPath, segment)
	}
	if query != "" {
		for pair := range strings.SplitSeq(query, "&") {
			m.Options = m.Options.AddString(coap.URIQuery, pair)
		}
	}
	for name, value := range a.args {
		var n uint32
		_, _ = fmt.Sscan(value, &n) // those that are numbers
		switch name {
		case "accept":
			m.Options = m.Options.AddUint(coap.Accept, n)
		case "format":
			m.Options = m.Options.AddUint(coap.ContentFormat, n)
		case "etag":
			m.Options = m.Options.Add(coap.ETag, unhex(value))
		case "ifmatch":
			m.Options = m.Options.Add(coap.IfMatch, unhex(value))
		case "ifnonematch":
			m.Options = m.Options.Add(coap.IfNoneMatch, nil)
		}
	}
	return m
}

// sized is our client with a session of its own for requests that ask for a block size: a second coap.Peer on one session
// would use Message IDs that the first one has used.
func (o *own) sized(ctx context.Context, block int) (*own, error) {
	profile := o.side.profile
	profile.MaxBlock = block
	side := startPlugSide(o.t, nil, profile)
	side.trace = o.side.trace
	conn, err := side.dtls.Dial(ctx, o.to, dtls.PeerID{Kind: dtls.KindPSK, ID: identity})
	return &own{t: o.t, side: side, conn: conn, to: o.to, paths: o.paths}, err
}

func (o *own) ask(ctx context.Context, a ask) ([]byte, error) {
	if size, ok := a.args["block"]; ok {
		delete(a.args, "block")
		var block int
		_, err := fmt.Sscan(size, &block)
		require.NoError(o.t, err)
		other, err := o.sized(ctx, block)
		if err != nil {
			return nil, err
		}
		return other.ask(ctx, a)
	}
	answer, err := o.side.coap.Do(ctx, o.conn.Owner().(*coap.Peer), o.message(a))
	if err != nil {
		return nil, err
	}
	return answer.Payload, nil
}

// ping uses a Message ID that is far from those of the requests.
func (o *own) ping(context.Context) error {
	mid := uint16(1 << 15)
	if packets := o.side.trace.so(); len(packets) > 0 { // the first is ours
		mid += packets[0].m.MessageID
	}
	return tapped{o.conn, o.side.trace, true}.Send([]byte{0x40, 0, byte(mid >> 8), byte(mid)})
}

func (o *own) observe(ctx context.Context, a ask) (watching, error) {
	w := &ownWatch{notified: make(chan []byte, 256)}
	_, observed, err := o.side.coap.Observe(ctx, o.conn.Owner().(*coap.Peer), o.message(a), func(m *coap.Message) {
		select {
		case w.notified <- m.Payload:
		default: // nobody looks any more
		}
	})
	w.observed = observed
	if err == nil && observed == nil {
		err = errors.New("it takes no observers")
	}
	return w, err
}

// ownWatch is an observation of our client.
type ownWatch struct {
	observed *coap.Observed
	notified chan []byte
}

func (w *ownWatch) shows(ctx context.Context, body []byte) error {
	for {
		select {
		case b := <-w.notified:
			if bytes.Equal(b, body) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%q was not notified: %w", body, context.Cause(ctx))
		}
	}
}
func (w *ownWatch) forget(context.Context) error { w.observed.Cancel(); return nil }
func (w *ownWatch) cancel() error                { w.observed.Cancel(); return nil }
func (w *ownWatch) off()                         {}
