//go:build interop

package interop

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// conformance is the document that has the table of plugtests.
const conformance = "../../docs/conformance.md"

// plugTable writes the table: who plays each row, as the client and as the server.
func plugTable(all []*plugPeer) string {
	var b strings.Builder
	var notes []string
	cell := func(id string, lacking func(*plugPeer) map[string]string) string {
		var yes, no []string
		for _, peer := range all {
			name := strings.TrimSuffix(peer.name, "-openssl") // of the two libcoaps one is enough
			if strings.HasSuffix(name, "-gnutls") {
				continue
			}
			why := lacks(lacking(peer), id)
			if why == "" {
				yes = append(yes, name)
				continue
			}
			if !slices.Contains(notes, why) {
				notes = append(notes, why)
			}
			no = append(no, fmt.Sprintf("%s (%d)", name, slices.Index(notes, why)+1))
		}
		text := strings.Join(yes, ", ")
		if len(no) > 0 {
			text += " – not " + strings.Join(no, ", ")
		}
		return strings.TrimPrefix(text, " – ")
	}
	b.WriteString("| TD_COAP_ | what | their client, our server | our client, their server |\n|---|---|---|---|\n")
	for _, r := range plugRows() {
		theirs := cell(r.id, func(p *plugPeer) map[string]string { return p.clientLacks })
		if strings.HasPrefix(r.id, "LINK") {
			theirs = bridgeLinks()[r.id]
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.id, r.what, theirs,
			cell(r.id, func(p *plugPeer) map[string]string { return both(p.serverLacks, ourLacks()) }))
	}
	b.WriteString("\n")
	for i, why := range notes {
		fmt.Fprintf(&b, "%d. %s.\n", i+1, why)
	}
	return b.String()
}

// bridgeLinks says how the rows of links are played with the bridge, whose links have the attributes ct and obs alone.
func bridgeLinks() map[string]string {
	const all, none = "libcoap, aiocoap, Californium, by `TestInteropPlugtestLinks`", "no link of the bridge has it: an empty list, by `TestInteropPlugtestLinks`"
	return map[string]string{
		"LINK_01": all, "LINK_02": none, "LINK_03": none, "LINK_05": none, "LINK_06": none, "LINK_07": all, "LINK_08": all,
		"LINK_04": "with ct, which has several values: `TestDiscoveryByIdentity`",
		"LINK_09": "not: all links are in one document",
	}
}

// TestInteropPlugtestTable shows that docs/conformance.md says who plays which row; with -update it writes that.
func TestInteropPlugtestTable(t *testing.T) {
	was, err := os.ReadFile(conformance)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(was), "| TD_COAP_ |")
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, "\n\nNot in the table")
	require.True(t, ok)
	is := before + strings.TrimSuffix(plugTable(plugPeers(t)), "\n") + "\n\nNot in the table" + after
	if *update {
		require.NoError(t, os.WriteFile(conformance, []byte(is), 0o644))
		return
	}
	require.Empty(t, changes(string(was), is), "go test -tags interop ./internal/interop -run TestInteropPlugtestTable -update writes it")
}
