package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
)

// epoch is that of all sealed records: nothing is negotiated anew.
const epoch = 1

// ErrClosed is returned by Send after the end of a session, and before its handshake is done.
var ErrClosed = errors.New("session: not established")

// Session is one association.
type Session struct {
	client *Client
	index  int
	began  time.Time

	mu      sync.Mutex // guards the following fields
	path    fleet.Path
	machine *handshake.Machine // nil when the handshake is over
	up      bool
	keys    [2]record.Key  // read, write
	reader  *record.Cipher // made when the first record needs it
	writer  *record.Cipher
	cid     []byte
	seq     uint64
	window  record.Window
	tap     func([]byte)
	mid     uint16
}

// event is what Events is to hear once the session's lock is free again.
type event struct {
	established bool
	err         error
	ended       bool // an established session; otherwise a handshake failed
	text        []byte
}

func (e event) tell(out *fleet.Batch, s *Session) {
	events := s.client.conf.Events
	switch {
	case e.established:
		events.Established(out, s)
	case e.err != nil && e.ended:
		events.Ended(out, s, e.err)
	case e.err != nil:
		events.Failed(out, s.index, e.err)
	case e.text != nil:
		events.Received(out, s, e.text)
	}
}

// NextMessageID returns a number that none of the last 65,535 calls did: the Message ID of what is sent next. A server answers
// a repeated one from its memory (RFC 7252, Section 4.5), which would be measured instead.
func (s *Session) NextMessageID() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mid++
	return s.mid
}

// Index returns which client it is.
func (s *Session) Index() int { return s.index }

// Began returns when its handshake began.
func (s *Session) Began() time.Time { return s.began }

// Path returns where it is.
func (s *Session) Path() fleet.Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.path
}

// receive takes one record from the server.
func (s *Session) receive(out *fleet.Batch, r record.Record) {
	now := time.Now()
	s.mu.Lock()
	var e event
	switch {
	case s.machine != nil:
		s.machine.Receive(r, now)
		e = s.pump(out, now)
	case s.up && r.Epoch == epoch:
		e = s.open(r)
	}
	s.mu.Unlock()
	e.tell(out, s)
}

// pump does what the handshake wants to be done.
func (s *Session) pump(out *fleet.Batch, now time.Time) event {
	for {
		for _, datagram := range s.machine.Output() {
			out.Add(s.path, datagram)
		}
		job := s.machine.Job()
		if job == nil {
			break
		}
		job.Run(context.Background())
		s.machine.Resume(job, now)
	}
	result, err := s.machine.Done()
	switch {
	case err != nil:
		return s.fail(err)
	case result != nil:
		s.machine.Release()
		s.machine, s.up = nil, true
		s.keys = [2]record.Key{result.Read, result.Write}
		s.cid, s.seq, s.window = result.RemoteCID, result.NextSeq, result.Window
		s.client.made(s)
		return event{established: true}
	}
	return event{}
}

func (s *Session) fail(err error) event {
	s.machine.Release()
	s.machine = nil
	s.client.forget(s, s.path)
	return event{err: err}
}

func (s *Session) tick(out *fleet.Batch, now time.Time, timeout time.Duration) {
	s.mu.Lock()
	var e event
	switch {
	case s.machine == nil:
	case now.Sub(s.began) > timeout:
		e = s.fail(fmt.Errorf("session: the handshake did not end within %s", timeout))
	default:
		if d := s.machine.Deadline(); !d.IsZero() && !now.Before(d) {
			s.machine.Tick(now)
			e = s.pump(out, now)
		}
	}
	s.mu.Unlock()
	e.tell(out, s)
}

// open takes a sealed record.
func (s *Session) open(r record.Record) event {
	if s.window.Check(r.Seq) != record.Fresh {
		return event{}
	}
	if s.reader == nil {
		s.reader = record.NewCipher(&s.keys[0])
	}
	typ, text, ok := s.reader.Open(r)
	if !ok {
		return event{}
	}
	s.window.Mark(r.Seq)
	switch {
	case typ == record.TypeApplicationData:
		return event{text: text}
	case typ == record.TypeAlert && len(text) == 2 && (text[0] == 2 || text[1] == 0): // fatal, or close_notify
		s.up = false
		s.client.forget(s, s.path)
		return event{err: fmt.Errorf("session: ended by the server's alert %d", text[1]), ended: true}
	}
	return event{}
}

// Send seals one record with application data and adds it to out.
func (s *Session) Send(out *fleet.Batch, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up {
		return ErrClosed
	}
	s.seal(out, record.TypeApplicationData, b)
	return nil
}

func (s *Session) seal(out *fleet.Batch, typ record.Type, b []byte) {
	if s.writer == nil {
		s.writer = record.NewCipher(&s.keys[1])
	}
	datagram := s.writer.Seal(out.Room(), typ, epoch, s.seq, s.cid, b)
	s.seq++
	if s.tap != nil {
		s.tap(datagram)
	}
	out.Add(s.path, datagram)
}

// Close sends close_notify and forgets the session.
func (s *Session) Close(out *fleet.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up {
		s.seal(out, record.TypeAlert, []byte{1, 0}) // RFC 5246, Section 7.2.1
	}
	s.up = false
	s.client.forget(s, s.path)
}

// Move makes the session send from another place from now on, and receive there.
func (s *Session) Move(to fleet.Path) {
	c := s.client
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places[s.path] == s {
		delete(c.places, s.path)
	}
	s.path = to
	if !c.closed {
		c.places[to] = s
	}
}

// Tap calls f with each datagram that the session sends from now on, for a recording; f must copy it. nil ends it.
func (s *Session) Tap(f func([]byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tap = f
}

// ConnectionID reports whether the server gave one out.
func (s *Session) ConnectionID() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cid != nil
}
