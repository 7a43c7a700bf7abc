//go:build interop

package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"coapbridge/dtls"
)

const preface = `# Interoperability

What ` + "`make interop`" + ` found when it set other people's DTLS against the bridge's. In every attempt the handshake authenticates both
sides, data goes both ways, and the bridge must name the suite and the peer that were meant. A run that finds anything else than
this page says fails; ` + "`make interop-table`" + ` writes the page. Versions are those of the run that wrote it and are not compared.

- **its role**: a client dials the bridge; a server is dialled by it. With libcoap and aiocoap as servers the bridge sends a CoAP GET,
  and gets its answer.
- **yes**: this suite alone was offered or taken by the peer, and used.
- **all suites**: the peer offered or took all that it has of these; the one that was agreed on.
- **Connection ID**: records of both directions carried one (RFC 9146), and the session went on when the client's address changed.
- **no**: the peer's build can't do it, for the reason of that number below.
`

// page is docs/interop.md while it is written.
type page struct {
	strings.Builder
	reasons []string
}

// note returns the number of a reason.
func (p *page) note(peer, why string) int {
	reason := peer + ": " + why
	if !slices.Contains(p.reasons, reason) {
		p.reasons = append(p.reasons, reason)
	}
	return slices.Index(p.reasons, reason) + 1
}

// render returns docs/interop.md.
func render(all []*peer, cells map[cell]string, versions map[string]string) string {
	var p page
	p.WriteString(preface + "\n## Peers\n\n| peer | version | run as |\n|---|---|---|\n")
	for _, peer := range all {
		fmt.Fprintf(&p, "| %s | %s | %s |\n", peer.name, versions[peer.name], peer.how)
	}
	p.table("Pre-shared keys", true, all, cells)
	p.table("Certificates of both sides", false, all, cells)
	p.WriteString("\n## Reasons\n\n")
	for i, reason := range p.reasons {
		fmt.Fprintf(&p, "%d. %s\n", i+1, reason)
	}
	return p.String()
}

// versionsIn returns the versions that a page names.
func versionsIn(text string) map[string]string {
	found := map[string]string{}
	_, text, _ = strings.Cut(text, "| run as |")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| `).FindAllStringSubmatch(text, -1) {
		found[m[1]] = m[2]
	}
	return found
}

// table writes the cells of one kind of credential.
func (p *page) table(title string, psk bool, all []*peer, cells map[cell]string) {
	columns := []string{}
	fmt.Fprintf(p, "\n## %s\n\n| peer | its role |", title)
	for _, s := range suites() {
		if s.psk == psk {
			columns = append(columns, s.name)
			fmt.Fprintf(p, " %s |", s.short())
		}
	}
	columns = append(columns, allSuites, noCID)
	fmt.Fprintf(p, " %s | %s |\n|%s\n", allSuites, noCID, strings.Repeat("---|", len(columns)+2))
	for _, peer := range all {
		for _, role := range []dtls.Role{dtls.RoleClient, dtls.RoleServer} {
			whole := cells[cell{peer.name, role, psk, ""}]
			fmt.Fprintf(p, "| %s | %s |", peer.name, roleName(role))
			for _, column := range columns {
				text := whole
				if text == "" {
					text = cells[cell{peer.name, role, psk, column}]
				}
				switch {
				case text == yes || column == allSuites && whole == "":
					fmt.Fprintf(p, " %s |", strings.TrimPrefix(text, "TLS_"))
				default:
					fmt.Fprintf(p, " no (%d) |", p.note(peer.name, text))
				}
			}
			p.WriteString("\n")
		}
	}
}

// changes returns the lines in which two texts differ, with - and + before them.
func changes(was, is string) []string {
	var found []string
	old, now := strings.Split(was, "\n"), strings.Split(is, "\n")
	for _, line := range old {
		if !slices.Contains(now, line) {
			found = append(found, "-"+line)
		}
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			found = append(found, "+"+line)
		}
	}
	return found
}
