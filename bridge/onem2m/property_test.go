package onem2m

import (
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// anyRequest is a request primitive that both bindings can carry, drawn at random.
type anyRequest struct{ Request }

// Generate implements quick.Generator.
func (anyRequest) Generate(rnd *rand.Rand, _ int) reflect.Value {
	r := Request{
		Operation:      Operation(1 + rnd.Intn(5)),
		To:             anyTo(rnd),
		From:           anyText(rnd, 1),
		RequestID:      anyText(rnd, 1),
		ReleaseVersion: pick(rnd, "", "2a", "3", "4", "5"),
		ResponseType:   ResponseType(rnd.Intn(6)),
		EventCategory:  pick[uint32](rnd, 0, 2, 3, 4, 100, 255, 256, 999),
	}
	for _, at := range []*string{
		&r.OriginatingTimestamp, &r.RequestExpiration, &r.ResultExpiration, &r.OperationExecutionTime,
		&r.GroupRequestID, &r.AuthorizationSignature, &r.VendorInformation,
	} {
		*at = anyText(rnd, 0)
	}
	if n := rnd.Intn(4); n < 3 {
		r.NotificationURIs = []string{}
		for range n {
			r.NotificationURIs = append(r.NotificationURIs, strings.ReplaceAll(anyText(rnd, 1), "&", "-"))
		}
	}
	for range rnd.Intn(4) {
		r.Query = append(r.Query, Parameter{pick(rnd, "lbl", "fu", "c.rn", "a-b", "cty", "x:y"), anyValue(rnd)})
	}
	for range rnd.Intn(3) {
		r.Tokens = append(r.Tokens, pick(rnd, "eyJ0.eyJp.dBjf-_", "a..b.c.d"))
	}
	if r.Operation == Create {
		r.ResourceType = ResourceType(1 + rnd.Intn(0xffff))
	}
	if r.Operation != Retrieve && r.Operation != Delete && rnd.Intn(4) > 0 {
		r.Content = make([]byte, 1+rnd.Intn(40))
		rnd.Read(r.Content)
		r.MediaType = pick(rnd, "application/json", "application/cbor", "application/xml")
	}
	if rnd.Intn(2) == 0 {
		r.Accept = []string{pick(rnd, "application/json", "application/vnd.onem2m-res+cbor", "application/xml")}
	}
	return reflect.ValueOf(anyRequest{r})
}

// anyResponse is a response primitive that both bindings can carry, drawn at random.
type anyResponse struct{ Response }

// Generate implements quick.Generator.
func (anyResponse) Generate(rnd *rand.Rand, _ int) reflect.Value {
	s := Response{
		Status:         StatusCode(1000 + rnd.Intn(9000)),
		RequestID:      anyText(rnd, 1),
		ReleaseVersion: pick(rnd, "2a", "3", "4"),
		EventCategory:  pick[uint32](rnd, 0, 4, 999),
		ContentStatus:  uint32(rnd.Intn(3)),
	}
	for _, at := range []*string{
		&s.From, &s.OriginatingTimestamp, &s.ResultExpiration, &s.AssignedTokenIDs, &s.AuthSignatureRequest,
		&s.VendorInformation,
	} {
		*at = anyText(rnd, 0)
	}
	if rnd.Intn(2) == 0 {
		offset := uint32(rnd.Intn(0x10000))
		s.ContentOffset = &offset
	}
	if rnd.Intn(2) == 0 {
		s.Content = make([]byte, 1+rnd.Intn(40))
		rnd.Read(s.Content)
		s.MediaType = pick(rnd, "application/json", "application/cbor", "application/xml")
	}
	if rnd.Intn(4) == 0 {
		s.Status, s.Created = pick(rnd, StatusCreated, StatusAcceptedNonBlockingSynch, StatusAcceptedNonBlockingAsynch), anyTo(rnd)
	}
	return reflect.ValueOf(anyResponse{s})
}

func pick[T any](rnd *rand.Rand, from ...T) T { return from[rnd.Intn(len(from))] }

// anyText returns printable ASCII of at least least bytes, without blanks at the ends.
func anyText(rnd *rand.Rand, least int) string {
	b := make([]byte, least+rnd.Intn(30))
	for i := range b {
		b[i] = byte('!' + rnd.Intn('~'-'!'+1))
		if rnd.Intn(5) == 0 && i > 0 && i < len(b)-1 {
			b[i] = ' '
		}
	}
	return string(b)
}

func anyValue(rnd *rand.Rand) string {
	var b strings.Builder
	for range rnd.Intn(20) {
		b.WriteRune(pick(rnd, 'a', '+', '=', '%', '?', '#', '/', '\\', '.', ' ', 'ü', '世', '2', 'f', ';', '"', '~'))
	}
	return b.String()
}

func anyTo(rnd *rand.Rand) string {
	segments := make([]string, 2+rnd.Intn(4))
	for i := range segments {
		for {
			var b strings.Builder
			for range 1 + rnd.Intn(8) {
				b.WriteRune(pick(rnd, 'a', 'B', '7', '-', '_', '~', '.', '%', '?', '#', '&', '+', ' ', 'ü', '世', ';', '2', 'e'))
			}
			if s := b.String(); checkSegment(s) == nil && s != "~" && s != "_" {
				segments[i] = s
				break
			}
		}
	}
	return pick(rnd, "", "/", "//") + strings.Join(segments, "/")
}

// TestRequestRoundTrip is the property that a primitive survives each binding, and the way from one to the other.
func TestRequestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]CoAPProfile{"standard": {}, "legacy": {Legacy: true}, "method only": {MethodOnly: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, quick.Check(func(in anyRequest) bool {
				r := in.Request
				m, err := r.CoAP(p)
				require.NoError(t, err, "%+v", r)
				require.IsNonDecreasing(t, optionIDs(m))
				back, err := RequestFromCoAP(m, p)
				require.NoError(t, err, "%+v", r)
				require.Equal(t, &r, back)
				h, err := back.HTTP(HTTPProfile{})
				require.NoError(t, err, "%+v", r)
				requireCleanHTTP(t, back, h)
				back, err = RequestFromHTTP(h)
				require.NoError(t, err, "%+v", r)
				require.Equal(t, &r, back)
				h, err = back.HTTP(HTTPProfile{TokensInQuery: true})
				require.NoError(t, err)
				back, err = RequestFromHTTP(h)
				require.NoError(t, err)
				require.Equal(t, &r, back)
				return true
			}, &quick.Config{MaxCount: 1000}))
		})
	}
}

// TestResponseRoundTrip is the same for responses.
func TestResponseRoundTrip(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]CoAPProfile{"standard": {}, "legacy": {Legacy: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, quick.Check(func(in anyResponse) bool {
				s := in.Response
				req := request(func(r *Request) { r.RequestID = s.RequestID })
				m, err := s.CoAP(req, p)
				require.NoError(t, err, "%+v", s)
				require.IsNonDecreasing(t, optionIDs(m))
				back, err := ResponseFromCoAP(m, req, p)
				require.NoError(t, err, "%+v", s)
				require.Equal(t, &s, back)
				h, err := back.HTTP(req)
				require.NoError(t, err, "%+v", s)
				back, err = ResponseFromHTTP(h, req)
				require.NoError(t, err, "%+v", s)
				require.Equal(t, &s, back)
				return true
			}, &quick.Config{MaxCount: 1000}))
		})
	}
}

func optionIDs(m *coap.Message) []coap.OptionID {
	ids := make([]coap.OptionID, 0, len(m.Options))
	for _, o := range m.Options {
		ids = append(ids, o.ID)
	}
	return ids
}

// requireCleanHTTP checks what no device may change (S40, W01): the path has as many segments as To, every byte of the target
// is unreserved, an encoded one or a separator of ours, and the header names are this package's, with values of one line.
func requireCleanHTTP(t testing.TB, r *Request, h *HTTPRequest) {
	t.Helper()
	path, query, _ := strings.Cut(h.Target, "?")
	segments, err := Segments(r.To)
	require.NoError(t, err)
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	require.Len(t, parts, len(segments))
	for i, part := range parts {
		decoded, ok := unescape(part)
		require.True(t, ok)
		require.Equal(t, segments[i], decoded)
		require.NotContains(t, []string{"", ".", ".."}, part)
		requireBytes(t, part, "%")
	}
	if query != "" {
		pairs := strings.Split(query, "&")
		want := len(r.Query)
		if r.ResponseType != 0 {
			want++
		}
		require.Len(t, pairs, want)
		for _, pair := range pairs {
			requireBytes(t, pair, "%+=")
			require.Equal(t, 1, strings.Count(pair, "="))
		}
	}
	known := map[string]bool{headerContentType: true, headerAccept: true, headerAuthorization: true, headerIfMatch: true,
		headerIfNoneMatch: true}
	for i := range parameters {
		known[parameters[i].header] = true
	}
	seen := map[string]bool{}
	for _, f := range h.Header {
		require.True(t, known[f.Name] && !seen[f.Name], f.Name)
		seen[f.Name] = true
		require.NotContains(t, f.Value, "\x7f")
		for i := range len(f.Value) {
			require.True(t, f.Value[i] >= ' ' && f.Value[i] < 0x7f)
		}
	}
}

func requireBytes(t testing.TB, s, besides string) {
	t.Helper()
	for i := range len(s) {
		require.True(t, unreserved(s[i]) || strings.IndexByte(besides, s[i]) >= 0, "%q in %q", s[i], s)
	}
}
