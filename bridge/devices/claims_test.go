package devices

import (
	"coapbridge/bridge"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls"
)

// TestB02BelongsToOther: no wildcard of one device covers the AE-IDs that others have by their entries, before any CSE gave
// them one.
func TestB02BelongsToOther(t *testing.T) {
	t.Parallel()
	const text = `version: 1
devices:
  - name: meter
    psk: {identity: meter, up: "hex:a0b1c2d3e4f5061728394a5b6c7d8e9f"}
    originators: [Cmeter1, "Cx*"]
  - name: lamp
    psk: {identity: lamp, up: "hex:b0b1c2d3e4f5061728394a5b6c7d8e9f"}
  - name: fan
    psk: {identity: fan, up: "hex:c0b1c2d3e4f5061728394a5b6c7d8e9f"}
    originators: ["Cfan*"]
  - name: entity
    entity: true
    psk: {identity: entity, up: "hex:d0b1c2d3e4f5061728394a5b6c7d8e9f"}
    originators: ["C*"]
  - name: partner
    psk: {identity: partner, up: "hex:e0b1c2d3e4f5061728394a5b6c7d8e9f"}
    originators: [Cmeter1, "C*"]
  - name: elsewhere
    cse: second
    psk: {identity: elsewhere, up: "hex:f0b1c2d3e4f5061728394a5b6c7d8e9f"}
    originators: ["C*", Cthere]
`
	s, _ := open(t, text, Options{DefaultCSE: "main"})
	cases := []struct {
		device, aei string
		want        bool
	}{
		{"entity", "Cmeter1", true},   // named in full by meter and partner
		{"entity", "Clamp", true},     // the default of a device without a list
		{"entity", "Cfan", true},      // and of one with wildcards only
		{"entity", "Cmeter", false},   // meter names another one in full
		{"entity", "Centity", false},  // an entity has no AE
		{"partner", "Centity", false}, //
		{"entity", "Cx1", false},      // wildcards give nothing away
		{"entity", "Cthere", false},   // another CSE's
		{"meter", "Cmeter1", false},   // shared, because both say so
		{"partner", "Cmeter1", false},
		{"lamp", "Clamp", false},
		{"fan", "Cfan", false},
		{"elsewhere", "Clamp", false},
		{"elsewhere", "Cthere", false},
	}
	for _, c := range cases {
		d, ok := s.Device(&dtls.Peer{ID: psk(c.device)})
		require.True(t, ok)
		require.Equal(t, c.want, s.BelongsToOther(d, c.aei), "%s as %s", c.device, c.aei)
	}
	require.NoError(t, s.Bind(psk("partner"), "main", "Cmeter1", bridge.Access{}))
	d, _ := s.Device(&dtls.Peer{ID: psk("meter")})
	require.True(t, s.BelongsToOther(d, "Cmeter1"), "what the CSE gave to one is nobody else's")
	d, _ = s.Device(&dtls.Peer{ID: psk("entity")})
	removed := *d
	removed.Name = "removed meanwhile"
	require.True(t, s.BelongsToOther(&removed, "Clamp"))
}
