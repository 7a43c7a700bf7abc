package bridge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// TestPlainConditions: RFC 7252, Section 5.10.8.
func TestPlainConditions(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1", AllowDelete: true})
	newMemoryCSE(f)
	with := func(m *coap.Message, id coap.OptionID, values ...string) *coap.Message {
		for _, v := range values {
			m.Options = m.Options.Add(id, []byte(v))
		}
		return m
	}
	etag := func() string {
		got := f.do(plain(coap.GET, "a", ""))
		require.Equal(t, coap.Content, got.Code)
		tag, ok := got.Options.Find(coap.ETag)
		require.True(t, ok)
		return string(tag)
	}
	require.Equal(t, coap.PreconditionFailed, f.do(with(plain(coap.PUT, "a", "0"), coap.IfMatch, "")).Code, "there is none")
	require.Equal(t, coap.PreconditionFailed, f.do(with(plain(coap.DELETE, "a", ""), coap.IfMatch, "x")).Code)
	require.Empty(t, f.layer.requests(), "a device without an AE has nothing that could match")
	require.Equal(t, coap.Changed, f.do(with(plain(coap.PUT, "a", "1"), coap.IfNoneMatch, "")).Code, "nothing there")
	for _, code := range []coap.Code{coap.PUT, coap.POST, coap.DELETE} {
		answer := f.do(with(plain(code, "a", "2"), coap.IfNoneMatch, ""))
		require.Equal(t, coap.PreconditionFailed, answer.Code)
		require.Equal(t, coap.PreconditionFailed, f.do(with(plain(code, "a", "2"), coap.IfMatch, "wrong")).Code)
		require.Equal(t, coap.PreconditionFailed,
			f.do(with(with(plain(code, "a", "2"), coap.IfMatch, etag()), coap.IfNoneMatch, "")).Code, "both")
	}
	require.Equal(t, "1", string(f.do(plain(coap.GET, "a", "")).Payload))
	first := etag()
	require.Equal(t, coap.Changed, f.do(with(plain(coap.PUT, "a", "2"), coap.IfMatch, "wrong", first)).Code, "one of several")
	require.Equal(t, coap.PreconditionFailed, f.do(with(plain(coap.PUT, "a", "3"), coap.IfMatch, first)).Code, "lost update")
	require.Equal(t, coap.Created, f.do(with(plain(coap.POST, "a", "3"), coap.IfMatch, "")).Code, "it exists")
	require.Equal(t, coap.Deleted, f.do(with(plain(coap.DELETE, "a", ""), coap.IfMatch, etag())).Code)
	require.Equal(t, coap.NotFound, f.do(plain(coap.GET, "a", "")).Code)

	require.Equal(t, coap.BadOption, f.do(with(plain(coap.GET, "a", ""), coap.IfMatch, first)).Code)
	require.Equal(t, coap.BadOption, f.do(with(plain(coap.GET, ".well-known/core", ""), coap.IfNoneMatch, "")).Code)
}

// TestPlainConditionUnknown: where the CSE can't say what is there, nothing is executed.
func TestPlainConditionUnknown(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "meter1"})
	cse := newMemoryCSE(f)
	require.Equal(t, coap.Changed, f.do(plain(coap.PUT, "a", "1")).Code)
	f.layer.answer = func(ctx context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		if r.Operation == onem2m.Retrieve {
			return nil, ErrTimeout
		}
		return cse.answer(ctx, r)
	}
	m := plain(coap.PUT, "a", "2")
	m.Options = m.Options.Add(coap.IfNoneMatch, nil)
	require.Equal(t, coap.GatewayTimeout, f.do(m).Code)
	m = plain(coap.PUT, "a", "2")
	m.Options = m.Options.Add(coap.IfMatch, nil)
	require.Equal(t, coap.GatewayTimeout, f.do(m).Code)
	require.Contains(t, string(cse.latest["cse-in/meter1/a"].Content), `"con":"1"`)
}
