//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"coapbridge/coap"
)

// The sizes of the plugtests' large resources.
const (
	largeSize    = 1700
	largeObsSize = 1500
)

// separateDelay is how long /separate takes: longer than our Endpoints in these tests wait before they acknowledge.
const (
	separateDelay = 400 * time.Millisecond
	ackDelay      = 100 * time.Millisecond
	ackTimeout    = 200 * time.Millisecond // ACK_TIMEOUT of ours, that little time is lost with what the rows lose
)

// large is a body in which no block is like another.
func large(n int, seed string) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s %04d\n", seed, i)
	}
	return b.Bytes()[:n]
}

// plugServer has the resources that ETSI's plugtests ask for.
type plugServer struct {
	wait sync.WaitGroup // what answers later

	mu       sync.Mutex // guards the following fields
	bodies   map[string]representation
	version  int // of /validate and what is observed
	watchers map[string][]*coap.Observation
	ended    []coap.EndReason
}

// representation is the state of a resource.
type representation struct {
	body   []byte
	format uint32
}

func newPlugServer() *plugServer {
	s := &plugServer{bodies: map[string]representation{}, watchers: map[string][]*coap.Observation{}}
	for path, body := range map[string]string{
		"test": "a test", "seg1/seg2/seg3": "three segments", "query": "asked", "validate": "version 1",
		"obs": "state 0", "obs-age": "state 0", "obs-non": "state 0", "separate": "late",
		"large": string(large(largeSize, "large")), "large-update": "small", "obs-large": string(large(largeObsSize, "state 0")),
	} {
		s.bodies[path] = representation{body: []byte(body)}
	}
	return s
}

// ServeCoAP implements coap.Handler.
func (s *plugServer) ServeCoAP(x *coap.Exchange) {
	m := x.Request()
	path := strings.Join(values(m, coap.URIPath), "/")
	if delay := map[string]time.Duration{"separate": separateDelay, "slow": 6 * separateDelay}[path]; delay > 0 {
		s.wait.Go(func() {
			<-time.After(delay)
			_ = x.Respond(textOf("late"))
		})
		return
	}
	s.mu.Lock()
	answer, observe := s.answerLocked(m, path)
	s.mu.Unlock()
	if observe && x.Observes() {
		s.observe(x, path, answer)
		return
	}
	_ = x.Respond(answer)
}

func textOf(text string) *coap.Message {
	return &coap.Message{Code: coap.Content, Options: coap.Options(nil).AddUint(coap.ContentFormat, 0), Payload: []byte(text)}
}

func (s *plugServer) answerLocked(m *coap.Message, path string) (answer *coap.Message, observe bool) {
	switch m.Code {
	case coap.GET:
		return s.getLocked(m, path), strings.HasPrefix(path, "obs")
	case coap.PUT:
		return s.putLocked(m, path), false
	case coap.POST:
		return s.postLocked(m, path), false
	case coap.DELETE:
		if path != "test" { // which the next row needs
			s.endLocked(path, coap.NotFound)
			delete(s.bodies, path)
		}
		return &coap.Message{Code: coap.Deleted}, false
	}
	return &coap.Message{Code: coap.MethodNotAllowed}, false
}

func (s *plugServer) tagLocked() []byte { return fmt.Appendf(nil, "v%d", s.version) }

func (s *plugServer) getLocked(m *coap.Message, path string) *coap.Message {
	if path == "multi-format" {
		if accept, _ := m.Options.Uint(coap.Accept); accept == 41 {
			answer := textOf("<a/>")
			answer.Options = coap.Options(nil).AddUint(coap.ContentFormat, 41)
			return answer
		}
		return textOf("plain")
	}
	r, ok := s.bodies[path]
	if !ok {
		return &coap.Message{Code: coap.NotFound}
	}
	answer := &coap.Message{Code: coap.Content, Options: coap.Options(nil).AddUint(coap.ContentFormat, r.format), Payload: r.body}
	switch path {
	case "query":
		answer.Payload = []byte("asked " + strings.Join(values(m, coap.URIQuery), " "))
	case "validate":
		for _, tag := range values(m, coap.ETag) {
			if tag == string(s.tagLocked()) {
				answer.Code, answer.Payload = coap.Valid, nil
				answer.Options = answer.Options.Remove(coap.ContentFormat)
			}
		}
		answer.Options = answer.Options.Add(coap.ETag, s.tagLocked())
	}
	return answer
}

func (s *plugServer) putLocked(m *coap.Message, path string) *coap.Message {
	old, exists := s.bodies[path]
	if _, only := m.Options.Find(coap.IfNoneMatch); only && exists {
		return &coap.Message{Code: coap.PreconditionFailed}
	}
	if want := values(m, coap.IfMatch); len(want) > 0 && want[0] != string(s.tagLocked()) {
		return &coap.Message{Code: coap.PreconditionFailed}
	}
	format, _ := m.Options.Uint(coap.ContentFormat)
	if path != "test" {
		s.bodies[path] = representation{bytes.Clone(m.Payload), format}
	}
	s.version++
	switch {
	case !exists:
		return &coap.Message{Code: coap.Created}
	case format != old.format:
		s.endLocked(path, coap.NotAcceptable)
	default:
		s.notifyLocked(path)
	}
	return &coap.Message{Code: coap.Changed}
}

func (s *plugServer) postLocked(m *coap.Message, path string) *coap.Message {
	answer := &coap.Message{Code: coap.Created}
	switch path {
	case "test":
		for _, segment := range []string{"location1", "location2", "location3"} {
			answer.Options = answer.Options.AddString(coap.LocationPath, segment)
		}
	case "location-query":
		answer.Options = answer.Options.AddString(coap.LocationQuery, "first=1").AddString(coap.LocationQuery, "second=2")
	case "large-create":
		s.bodies["large-create/1"] = representation{body: bytes.Clone(m.Payload)}
		answer.Options = answer.Options.AddString(coap.LocationPath, "large-create").AddString(coap.LocationPath, "1")
	case "large-post":
		answer.Code, answer.Payload = coap.Changed, bytes.ToUpper(m.Payload)
		answer.Options = answer.Options.AddUint(coap.ContentFormat, 0)
	default:
		answer.Code = coap.NotFound
	}
	return answer
}

// observe enters the client into the list of observers of path.
func (s *plugServer) observe(x *coap.Exchange, path string, first *coap.Message) {
	every := 1
	if path == "obs-non" {
		every = 1000
	}
	s.mu.Lock() // so that a change comes after the observer is known
	defer s.mu.Unlock()
	o, err := x.RespondObserve(first, coap.ObserveOptions{ConfirmEvery: every, Ended: func(o *coap.Observation, why coap.EndReason) {
		s.wait.Go(func() { s.left(path, o, why) })
	}})
	if err != nil || o == nil {
		return
	}
	s.watchers[path] = append(s.watchers[path], o)
}

// left removes an observer.
func (s *plugServer) left(path string, gone *coap.Observation, why coap.EndReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, why)
	kept := s.watchers[path][:0]
	for _, o := range s.watchers[path] {
		if o != gone {
			kept = append(kept, o)
		}
	}
	s.watchers[path] = kept
}

// reasons says why observers left.
func (s *plugServer) reasons() []coap.EndReason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]coap.EndReason(nil), s.ended...)
}

// forget loses all observers, as a server that starts again does.
func (s *plugServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = map[string][]*coap.Observation{}
}

// change gives what is observed another state, in size bytes at least.
func (s *plugServer) change(path string, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	r := s.bodies[path]
	r.body = fmt.Appendf(nil, "state %d", s.version)
	if size > 0 {
		r.body = large(size, string(r.body))
	}
	s.bodies[path] = r
	s.notifyLocked(path)
}

func (s *plugServer) notifyLocked(path string) {
	r := s.bodies[path]
	for _, o := range s.watchers[path] {
		m := &coap.Message{Code: coap.Content, Options: coap.Options(nil).AddUint(coap.ContentFormat, r.format), Payload: r.body}
		if path == "obs-age" {
			m.Options = m.Options.AddUint(coap.MaxAge, 2)
		}
		_ = o.Notify(m) // the row sees what arrives
	}
}

func (s *plugServer) endLocked(path string, code coap.Code) {
	for _, o := range s.watchers[path] {
		_ = o.End(&coap.Message{Code: code})
	}
	s.watchers[path] = nil
}
