package coap

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// Do sends a request to p and returns its response, both whole: larger bodies go in blocks in either direction. It sends
// Confirmable messages with retransmission unless m.Type is NonConfirmable. m is not changed, and may be used again once Do
// has returned; Message ID, token, Block1, Block2, Size1 and, for a body in blocks, Request-Tag are Do's own. The response
// shares nothing with anybody.
//
// A response of any code is a nil error. Errors: ctx's; ErrTimeout when a message was never acknowledged, or its response
// did not come within MAX_TRANSMIT_WAIT of the acknowledgement (93 s by default); ErrReset; ErrClosed; ErrShutdown; ErrQueueFull;
// ErrMessageIDs; ErrBodyTooLarge when the response's body exceeds the limit or the request's options leave no room for a
// block; ErrBlock, ErrBodyChanged, ErrBadOption for what the peer did; ErrCode and those of Message.AppendBinary for what
// can't be sent; and what Conn.Send returned. After ctx's error, ErrTimeout, and those for what the peer did, the request may
// have been executed.
func (e *Endpoint) Do(ctx context.Context, p *Peer, m *Message) (*Message, error) {
	t, err := e.newTransfer(ctx, p, m)
	if err != nil {
		return nil, err
	}
	defer t.end()
	return t.finish(ctx)
}

// newTransfer returns the transfer of m.
func (e *Endpoint) newTransfer(ctx context.Context, p *Peer, m *Message) (*transfer, error) {
	if !m.Code.IsRequest() {
		return nil, ErrCode
	}
	if m.Type > NonConfirmable {
		return nil, ErrType
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if e.isStopped() {
		return nil, ErrShutdown
	}
	return &transfer{peer: p, base: Message{Type: m.Type, Code: m.Code, Options: ownOptions(m.Options)}, payload: m.Payload,
		szx: p.profile.szx}, nil
}

// finish performs the transfer, and begins it again where that helps.
func (t *transfer) finish(ctx context.Context) (*Message, error) {
	for restarts := 0; ; restarts++ {
		resp, err := t.run(ctx)
		if !errors.Is(err, errRestart) {
			return resp, err
		}
		if restarts == maxTransferRestarts {
			return resp, errors.Unwrap(err)
		}
	}
}

// ownOptions returns a copy of o without what Do sets itself.
func ownOptions(o Options) Options {
	c := append(make(Options, 0, len(o)+4), o...)
	return c.Remove(Block1).Remove(Block2).Remove(Size1)
}

// errRestart says that a transfer may begin again.
var errRestart = errors.New("coap: transfer begins again")

// restart wraps err, which is what Do returns when the transfer began again too often.
type restart struct{ err error }

func (r restart) Error() string        { return r.err.Error() }
func (r restart) Unwrap() error        { return r.err }
func (r restart) Is(target error) bool { return target == errRestart }

// transfer is one Do: a request and its response with all their blocks.
type transfer struct {
	peer    *Peer
	base    Message // without payload and block options
	payload []byte
	szx     uint8 // largest block that is sent and asked for
	token   uint64
	again   bool   // it begins (again): the next message takes another token, that no late answer is matched with it
	tag     []byte // Request-Tag; nil: none was needed so far
	turn    bool   // it holds one of NSTART turns
	echo    []byte // value that the peer gave for it (RFC 9175, Section 2.3); nil: none

	observed    *Observed // it registers for; nil: for nothing
	registering bool      // the next message carries Observe, and observed's token
}

// run performs the transfer once.
func (t *transfer) run(ctx context.Context) (*Message, error) {
	t.again = true
	resp, err := t.upload(ctx)
	if err != nil {
		return resp, err
	}
	if echo, ok := resp.Options.Find(Echo); ok && resp.Code == Unauthorized && t.echo == nil {
		// RFC 9175, Section 2.3: the request was not executed, and is repeated, once, with the value.
		t.echo = echo
		t.base.Options = t.base.Options.Remove(Echo).Add(Echo, echo)
		return t.run(ctx)
	}
	if resp.Code == Continue { // RFC 7959, Section 2.9.1: no final response
		return nil, fmt.Errorf("%w: 2.31 with nothing more to send", ErrBlock)
	}
	resp.Options = resp.Options.Remove(Block1)
	return t.download(ctx, resp)
}

// end hands the turn on.
func (t *transfer) end() {
	if t.turn {
		t.peer.passTurn()
	}
}

// exchange sends one message of the transfer. The transfer keeps its turn from block to block, so that a peer has to
// remember no more than NSTART bodies of ours; it loses it when a response comes separately.
func (t *transfer) exchange(ctx context.Context, options Options, payload []byte) (*Message, error) {
	if t.base.Type == NonConfirmable {
		if err := t.peer.probe(ctx, headerLen+maxTokenLen+options.size()+1+len(payload)); err != nil {
			return nil, err
		}
	}
	if !t.turn {
		if err := t.peer.takeTurn(ctx); err != nil {
			return nil, err
		}
		t.turn = true
	}
	switch {
	case t.registering: // RFC 7641, Section 3.3.1: again with the same token
		t.token = t.observed.token
	case t.again || !t.peer.profile.OneToken:
		t.token, t.again = t.peer.newToken(), false // S30; RFC 9175, Section 4.2
	}
	m := Message{Type: t.base.Type, Code: t.base.Code, Options: options, Payload: payload}
	return t.peer.roundTrip(ctx, &m, t.token, &t.turn)
}

// copyOptions returns the transfer's options, to which more may be added.
func (t *transfer) copyOptions() Options {
	return append(make(Options, 0, len(t.base.Options)+4), t.base.Options...)
}

// upload sends the request, in blocks when it is too large for one message, and returns the first message of the response.
func (t *transfer) upload(ctx context.Context) (*Message, error) {
	options := t.copyOptions()
	if t.observed != nil {
		t.registering = true
		defer func() { t.registering = false }()
		options = options.AddUint(Observe, 0)
	}
	if t.peer.profile.szx < maxSZX { // RFC 7959, Section 2.4: early negotiation of the response's block size
		options = options.AddUint(Block2, block{szx: t.peer.profile.szx}.value())
	}
	whole := Message{Token: make([]byte, maxTokenLen), Options: options, Payload: t.payload}
	if len(t.payload) <= 16<<t.szx && whole.size() <= t.peer.conn.MaxPlaintext() {
		resp, err := t.exchange(ctx, options, t.payload)
		if err != nil || resp.Code != RequestEntityTooLarge || !t.shrinkTo(resp, len(t.payload)) {
			return resp, err
		}
	}
	if t.observed != nil { // of several messages, which one registers is not clear
		return nil, ErrBodyTooLarge
	}
	const added = 2 + 3 + 2 + 4 + 2 + 4 + 1 // Block1, Size1, Request-Tag with at most 2 bytes before each, payload marker
	whole.Payload = nil
	fit, ok := fitSZX(t.peer.conn.MaxPlaintext() - whole.size() - added)
	if !ok {
		return nil, ErrBodyTooLarge
	}
	t.szx = min(t.szx, fit)
	return t.uploadBlocks(ctx, options)
}

// uploadBlocks sends the request's body block by block (RFC 7959, Section 2.3).
func (t *transfer) uploadBlocks(ctx context.Context, options Options) (*Message, error) {
	if _, ok := options.Find(RequestTag); !ok {
		if t.tag == nil { // RFC 9175, Section 3.4: no two bodies to one resource are mixed
			t.tag = make([]byte, 4)
			rand.Read(t.tag) // never fails
		}
		options = options.Add(RequestTag, t.tag)
	}
	for start := 0; ; {
		b := block{num: uint32(start >> (t.szx + 4)), szx: t.szx}
		if start>>(t.szx+4) > maxBlockNum {
			return nil, ErrBodyTooLarge
		}
		end := min(start+b.size(), len(t.payload))
		b.more = end < len(t.payload)
		o := append(make(Options, 0, len(options)+2), options...).AddUint(Block1, b.value())
		if start == 0 { // RFC 7959, Section 4
			o = o.AddUint(Size1, uint32(len(t.payload)))
		}
		resp, err := t.exchange(ctx, o, t.payload[start:end])
		if err != nil {
			return nil, err
		}
		echo, echoed := resp.Options.block(Block1)
		switch {
		case resp.Code == RequestEntityTooLarge && start == 0 && t.shrinkTo(resp, b.size()):
			continue // RFC 7959, Section 2.9.3: again in the smaller size
		case resp.Code == RequestEntityIncomplete: // RFC 7959, Section 2.9.2
			return resp, restart{nil}
		case resp.Code == Continue && !echoed, echoed && (echo.szx > maxSZX || echo.num != b.num && resp.Code.Class() == 2):
			return nil, fmt.Errorf("%w: Block1 of the response", ErrBlock)
		case !b.more, resp.Code.Class() != 2, !echoed: // the final response
			return resp, nil
		}
		if echo.szx < t.szx { // RFC 7959, Section 2.3: the server asks for smaller blocks from now on
			t.szx = echo.szx
		}
		start = end
	}
}

// shrinkTo takes the smaller block size that a 4.13 asks for, in which the transfer begins again; false when it asks for
// none below size bytes.
func (t *transfer) shrinkTo(resp *Message, size int) bool {
	b, ok := resp.Options.block(Block1)
	if !ok || b.szx > maxSZX || b.size() >= size || b.szx > t.szx {
		return false
	}
	t.szx, t.again = b.szx, true
	return true
}

// download fetches the rest of the response's body (RFC 7959, Section 2.4).
func (t *transfer) download(ctx context.Context, first *Message) (*Message, error) {
	b, ok := first.Options.block(Block2)
	if !ok {
		return first, nil
	}
	if err := checkBlock2(b, first, 0); err != nil {
		return nil, err
	}
	whole := *first
	tag, _ := first.Options.Find(ETag)
	for last := first; b.more; {
		if announced, _ := last.Options.Uint(Size2); len(whole.Payload)+b.size() > t.peer.maxBody()+b.size()-1 ||
			int64(announced) > int64(t.peer.maxBody()) {
			return nil, ErrBodyTooLarge // C05
		}
		options := t.copyOptions()
		szx := min(b.szx, t.peer.profile.szx)
		want := block{num: uint32(len(whole.Payload) >> (szx + 4)), szx: szx}
		if t.tag != nil { // RFC 9175, Section 3.4: all requests of one operation carry it
			options = options.Add(RequestTag, t.tag)
		}
		var payload []byte
		if t.base.Code == FETCH && t.tag == nil { // RFC 8132, Section 2: the body is part of what is asked for
			payload = t.payload
		}
		next, err := t.exchange(ctx, options.AddUint(Block2, want.value()), payload)
		if err != nil {
			return nil, err
		}
		if next.Code != first.Code {
			return t.interrupted(next)
		}
		if b, ok = next.Options.block(Block2); !ok {
			return nil, fmt.Errorf("%w: no Block2 in a later block", ErrBlock)
		}
		if other, _ := next.Options.Find(ETag); !bytes.Equal(tag, other) { // C04
			return t.changed()
		}
		if err := checkBlock2(b, next, len(whole.Payload)); err != nil {
			return nil, err
		}
		whole.Payload = append(whole.Payload, next.Payload...)
		last = next
	}
	if len(whole.Payload) > t.peer.maxBody() {
		return nil, ErrBodyTooLarge
	}
	whole.Options = whole.Options.Remove(Block2).Remove(Size2)
	return &whole, nil
}

// complete fetches the rest of a notification's body, if there is one (RFC 7959, Section 2.6).
func (t *transfer) complete(m *Message) (*Message, error) {
	defer t.end()
	t.again = true
	whole, err := t.download(context.Background(), m) // Shutdown, ClosePeer and MAX_TRANSMIT_WAIT end it
	switch {
	case errors.Is(err, errRestart):
		return nil, ErrBodyChanged
	case err == nil && whole.Code != m.Code: // it is not the observation that has ended
		return nil, ErrBlock
	}
	return whole, err
}

// checkBlock2 checks that m is the block that begins at offset. A block that is too short would never end.
func checkBlock2(b block, m *Message, offset int) error {
	switch {
	case b.szx > maxSZX, b.offset() != offset:
		return fmt.Errorf("%w: Block2 of another place", ErrBlock)
	case b.more && len(m.Payload) != b.size(), len(m.Payload) > b.size():
		return fmt.Errorf("%w: payload is not of the block's size", ErrBlock)
	}
	return nil
}

// interrupted is the end of a download in which a block came with another code.
func (t *transfer) interrupted(next *Message) (*Message, error) {
	switch {
	case next.Code == RequestEntityIncomplete && t.base.Code == GET: // the server forgot the body
		return next, restart{nil}
	case next.Code == Continue: // RFC 7959, Section 2.9.1: no final response
		return nil, fmt.Errorf("%w: 2.31 with nothing more to send", ErrBlock)
	case next.Code.Class() == 2:
		return t.changed()
	}
	return next, nil
}

// changed is the end of a download of two bodies. Only a GET may be executed again.
func (t *transfer) changed() (*Message, error) {
	if t.base.Code == GET {
		return nil, restart{ErrBodyChanged}
	}
	return nil, ErrBodyChanged
}
