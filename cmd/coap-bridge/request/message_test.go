package request

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

func spec(t *testing.T, op onem2m.Operation, uri string) *Spec {
	t.Helper()
	target, err := ParseTarget(uri)
	require.NoError(t, err)
	return &Spec{Operation: op, Target: target}
}

// show writes options as "number=value", so that a test reads as a recording does.
func show(m *coap.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", m.Type, m.Code)
	for _, o := range m.Options {
		fmt.Fprintf(&b, " %d=%q", o.ID, o.Value)
	}
	return b.String()
}

// TestMessage: TS-0008, 6.2.1 and 6.2.2: method, path, query and options of each operation.
func TestMessage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		op   onem2m.Operation
		uri  string
		edit func(*Spec)
		want string
	}{
		{"create", onem2m.Create, "coaps://127.0.0.1/cse-in", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r", ResourceType: 2}
			s.Data = []byte(`{"m2m:ae":{}}`)
		}, `CON 0.02 11="cse-in" 12="2" 267="\x02" 271="3" 279="Ca" 283="r"`},
		{"retrieve with filter and accept", onem2m.Retrieve, "coaps://localhost/cse-in/a?fu=1", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r", ReleaseVersion: "4", Query: []onem2m.Parameter{{Key: "ty", Value: "3"}}}
			s.Accept = "cbor"
		}, `CON 0.01 3="localhost" 11="cse-in" 11="a" 15="fu=1" 15="ty=3" 17="<" 271="4" 279="Ca" 283="r"`},
		{"update", onem2m.Update, "coaps://127.0.0.1/~/id/c", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r"}
			s.Data = []byte(`{}`)
			s.NonConfirmable = true
		}, `NON 0.03 11="~" 11="id" 11="c" 12="2" 271="3" 279="Ca" 283="r"`},
		{"delete", onem2m.Delete, "coaps://127.0.0.1/c", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r"}
		}, `CON 0.04 11="c" 271="3" 279="Ca" 283="r"`},
		{"notify", onem2m.Notify, "coaps://127.0.0.1/c", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r"}
			s.Data = []byte(`{"m2m:sgn":{}}`)
		}, `CON 0.02 11="c" 12="2" 271="3" 279="Ca" 283="r"`},
		{"non-blocking is a POST with op", onem2m.Retrieve, "coaps://127.0.0.1/c", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r", ResponseType: onem2m.NonBlockingSynch}
		}, `CON 0.02 11="c" 15="rt=1" 15="op=2" 271="3" 279="Ca" 283="r"`},
		{"legacy numbers", onem2m.Delete, "coaps://127.0.0.1/c", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r"}
			s.Profile.Legacy = true
		}, `CON 0.04 11="c" 256="Ca" 257="r" 271="3"`},
		{"other format and any option", onem2m.Create, "coaps://127.0.0.1/c", func(s *Spec) {
			s.Primitive = onem2m.Request{From: "Ca", RequestID: "r", ResourceType: 4}
			s.Data, s.ContentFormat = []byte{0xa0}, "10010"
			s.Extra = coap.Options{{ID: 258, Value: []byte{2}}, {ID: 279, Value: []byte("Cb")}}
		}, `CON 0.02 11="c" 12="'\x1a" 258="\x02" 267="\x04" 271="3" 279="Ca" 279="Cb" 283="r"`},
		{"plain post", onem2m.Create, "coaps://localhost/a/b?x", func(s *Spec) {
			s.Plain = true
			s.Data, s.ContentFormat = []byte("21.5"), "text"
			s.Primitive = onem2m.Request{From: "not sent", Query: []onem2m.Parameter{{Key: "y", Value: "1"}}}
		}, `CON 0.02 3="localhost" 11="a" 11="b" 12="" 15="x" 15="y=1"`},
		{"plain get", onem2m.Retrieve, "coaps://127.0.0.1/.well-known/core", func(s *Spec) {
			s.Plain = true
		}, `CON 0.01 11=".well-known" 11="core"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := spec(t, tt.op, tt.uri)
			tt.edit(s)
			m, r, err := s.Message()
			require.NoError(t, err)
			require.Equal(t, tt.want, show(m))
			require.Equal(t, s.Plain, r == nil)
			require.Equal(t, string(s.Data), string(m.Payload))
		})
	}
}

func TestMessageRefuses(t *testing.T) {
	t.Parallel()
	s := spec(t, onem2m.Create, "coaps://127.0.0.1/c")
	s.Primitive = onem2m.Request{From: "Ca", ResourceType: 2}
	s.Data = []byte("21.5 degrees")
	_, _, err := s.Message()
	require.ErrorContains(t, err, "--content-format")
	s.Data, s.ContentFormat = []byte("{}"), "application/nothing"
	_, _, err = s.Message()
	require.ErrorContains(t, err, "write its number, or a media type")
	s.ContentFormat, s.Primitive.ResourceType = "", 0
	_, _, err = s.Message()
	require.ErrorContains(t, err, "Resource Type is missing")
}

// TestRequestIDIsRandom: TS-0001, 8.1.2: unique for its Originator.
func TestRequestIDIsRandom(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := NewRequestID()
		require.Len(t, id, 16)
		seen[id] = true
	}
	require.Len(t, seen, 1000)
}

func TestParseOption(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]coap.Option{
		"15,a=b,c":   {ID: 15, Value: []byte("a=b,c")},
		"258,0x02":   {ID: 258, Value: []byte{2}},
		"279,0xC0fe": {ID: 279, Value: []byte{0xc0, 0xfe}},
		"5":          {ID: 5, Value: []byte{}},
		"5,":         {ID: 5, Value: []byte{}},
		"65535,x":    {ID: 65535, Value: []byte("x")},
	} {
		got, err := ParseOption(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "x,y", "65536,x", "-1,x", "5,0x1", "5,0xgg", "5," + strings.Repeat("x", maxOption+1)} {
		_, err := ParseOption(in)
		require.Error(t, err, in)
	}
}

func TestParseOperation(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]onem2m.Operation{
		"create": onem2m.Create, "post": onem2m.Create, "Retrieve": onem2m.Retrieve, "get": onem2m.Retrieve,
		"update": onem2m.Update, "PUT": onem2m.Update, "delete": onem2m.Delete, "notify": onem2m.Notify,
	} {
		got, err := ParseOperation(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ParseOperation("patch")
	require.ErrorContains(t, err, "write create, retrieve, update, delete or notify")
	_, err = ParseParameter("fu")
	require.ErrorContains(t, err, "KEY=VALUE")
	_, err = ParseParameter("=1")
	require.ErrorContains(t, err, "KEY=VALUE")
}
