package request

import (
	"context"
	"errors"
	"fmt"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// optionRSC are the numbers of the Response Status Code, now and before TS-0008 V3.7.0.
const (
	optionRSC       coap.OptionID = 307
	optionRSCLegacy coap.OptionID = 265
)

// Job is one request with all that it takes to make it.
type Job struct {
	Spec       Spec
	Credential Credential
	BlockSize  int           // largest block, in bytes: 16 to 1024, a power of two; 0 means 1024
	Timeout    time.Duration // for everything: name, handshake and answer
}

// RefusedError says that the server answered and did not do what was asked.
type RefusedError struct{ Answer *Answer }

// Error implements error.
func (e *RefusedError) Error() string {
	if r := e.Answer.Response; r != nil {
		return "request refused: " + r.Status.String()
	}
	return "request refused: " + codeName(e.Answer.Code)
}

// UntrustedError says that an answer came which does not fit the request.
type UntrustedError struct{ Err error }

// Error implements error.
func (e *UntrustedError) Error() string { return "the answer can't be trusted: " + e.Err.Error() }

// Unwrap returns the error underneath.
func (e *UntrustedError) Unwrap() error { return e.Err }

// Run connects, sends the request and waits for the whole answer. The error is nil only when the request was taken. A
// *RefusedError comes with the answer, an *UntrustedError with what could be read of it, if anything; a *ConnectError says
// that there was none.
func (j *Job) Run(ctx context.Context) (*Answer, error) {
	m, r, err := j.Spec.Message()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, j.Timeout)
	defer cancel()
	s, err := Dial(ctx, j.Spec.Target, j.Credential, Settings{
		Options: func(id coap.OptionID) bool { return !j.Spec.Plain && onem2m.IsOption(id, j.Spec.Profile) },
		Profile: coap.Profile{MaxBlock: j.BlockSize, MaxBody: maxBody},
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	start := time.Now()
	resp, err := s.Do(ctx, m)
	if err != nil {
		return nil, j.explain(err)
	}
	return j.judge(resp, r, time.Since(start))
}

// judge reads the answer to r; r is nil for a plain request.
func (j *Job) judge(m *coap.Message, r *onem2m.Request, elapsed time.Duration) (*Answer, error) {
	a := &Answer{Code: m.Code, Options: m.Options, Content: m.Payload, Elapsed: elapsed}
	number := optionRSC
	if j.Spec.Profile.Legacy {
		number = optionRSCLegacy
	}
	if _, ok := m.Options.Find(number); ok && r != nil {
		resp, err := onem2m.ResponseFromCoAP(m, r, j.Spec.Profile)
		if err != nil {
			return a, &UntrustedError{Err: err}
		}
		a.Response = resp
	}
	if !a.Success() {
		return a, &RefusedError{Answer: a}
	}
	return a, nil
}

// explain says what a failure after the handshake means.
func (j *Job) explain(err error) error {
	where := j.Spec.Target.String()
	switch {
	case errors.Is(err, coap.ErrBadOption) && j.Spec.Plain:
		return fmt.Errorf("%s answered with a critical option that a plain client does not understand; leave --plain out: %w",
			where, err)
	case errors.Is(err, coap.ErrBadOption), errors.Is(err, coap.ErrBlock), errors.Is(err, coap.ErrBodyChanged),
		errors.Is(err, coap.ErrBodyTooLarge):
		return &UntrustedError{Err: err}
	case errors.Is(err, coap.ErrReset):
		return fmt.Errorf("%s rejected the message (Reset): %w", where, err)
	case errors.Is(err, coap.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return &ConnectError{Target: where, Err: err, Hint: fmt.Sprintf("the session was established, but no answer came "+
			"within %s. Check that the bridge reaches its CSE (coap-bridge's /readyz), or wait longer with --timeout", j.Timeout)}
	case errors.Is(err, coap.ErrClosed):
		return &ConnectError{Target: where, Err: err, Hint: "the server ended the session before it answered: its log says why " +
			"(a removed device, a shutdown)"}
	}
	return fmt.Errorf("request to %s: %w", where, err)
}
