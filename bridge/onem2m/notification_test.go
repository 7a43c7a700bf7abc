package onem2m

import (
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

func TestEncodeSubscription(t *testing.T) {
	t.Parallel()
	got, err := EncodeSubscription(Subscription{
		Name: "s", NotificationURIs: []string{"Cplain"}, Events: []NotificationEvent{EventCreateChild, EventDelete}, ContentType: ContentAllAttributes,
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"m2m:sub":{"rn":"s","nu":["Cplain"],"enc":{"net":[3,2]},"nct":1}}`, string(got))
	got, err = EncodeSubscription(Subscription{NotificationURIs: []string{"Cplain"}})
	require.NoError(t, err)
	require.JSONEq(t, `{"m2m:sub":{"nu":["Cplain"]}}`, string(got))
}

func TestDecodeNotification(t *testing.T) {
	t.Parallel()
	const rep = `{"m2m:cin": {"con":1e400, "po\u0061":[ ]}}`
	for _, c := range []struct {
		name, in string
		want     Notification
		ok       bool
	}{
		{"event", `{"m2m:sgn":{"nev":{"rep":` + rep + `,"net":3},"sur":"/id-in/sub1"}}`,
			Notification{Subscription: "/id-in/sub1", Event: EventCreateChild, Representation: []byte(rep)}, true},
		{"event, number with a fraction", `{"m2m:sgn":{"nev":{"net":3.0},"sur":"s"}}`,
			Notification{Subscription: "s", Event: EventCreateChild}, true},
		{"verification", `{"m2m:sgn":{"vrq":true,"sur":"s","cr":"Cdev"}}`, Notification{Subscription: "s", Verification: true, Creator: "Cdev"}, true},
		{"deletion", `{"m2m:sgn":{"sud":true,"sur":"s"}}`, Notification{Subscription: "s", Deleted: true}, true},
		{"empty", `{"m2m:sgn":{}}`, Notification{}, true},
		{"batch", `{"m2m:agn":{"m2m:sgn":[]}}`, Notification{}, false},
		{"two roots", `{"m2m:sgn":{},"m2m:sgn2":{}}`, Notification{}, false},
		{"a name twice", `{"m2m:sgn":{"sur":"a","sur":"b"}}`, Notification{}, false},
		{"sur of another type", `{"m2m:sgn":{"sur":1}}`, Notification{}, false},
		{"sur with a line end", `{"m2m:sgn":{"sur":"a\r\nb"}}`, Notification{}, false},
		{"vrq of another type", `{"m2m:sgn":{"vrq":"perhaps"}}`, Notification{}, false},
		{"net of another type", `{"m2m:sgn":{"nev":{"net":"x"}}}`, Notification{}, false},
		{"no content", ``, Notification{}, false},
		{"no map", `[]`, Notification{}, false},
		{"cut", `{"m2m:sgn":{"sur":"a"`, Notification{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := DecodeNotification([]byte(c.in), "application/json")
			require.Equal(t, c.ok, ok)
			if ok {
				require.Equal(t, c.want, got)
			}
		})
	}
	_, ok := DecodeNotification([]byte(`<m2m:sgn/>`), "application/xml")
	require.False(t, ok)
}

func TestDecodeNotificationCBOR(t *testing.T) {
	t.Parallel()
	rep := map[string]any{"m2m:cin": map[string]any{"con": 1.5}}
	raw, err := cbor.Marshal(rep)
	require.NoError(t, err)
	content, err := cbor.Marshal(map[string]any{"m2m:sgn": map[string]any{
		"nev": map[string]any{"rep": rep, "net": 3}, "sur": "s", "sud": false, "vrq": true}})
	require.NoError(t, err)
	got, ok := DecodeNotification(content, "application/cbor")
	require.True(t, ok)
	require.Equal(t, Notification{Subscription: "s", Event: EventCreateChild, Verification: true, Representation: raw}, got)
	for n := range content {
		_, ok := DecodeNotification(content[:n], "application/cbor")
		require.False(t, ok)
	}
}
