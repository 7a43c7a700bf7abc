//go:build interop

package interop

import (
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// links asks for /.well-known/core with a filter and returns the paths that it is answered with.
func (p *play) links(filter string) []string {
	p.t.Helper()
	all := p.ask("CON GET /.well-known/core" + filter)
	var document strings.Builder
	for _, x := range all {
		p.format(p.code(x, coap.Content), 40)
		document.Write(x.response.Payload)
	}
	var paths []string
	for _, m := range regexp.MustCompile(`<([^>]*)>`).FindAllStringSubmatch(document.String(), -1) {
		paths = append(paths, "/"+strings.TrimPrefix(m[1], "/"))
	}
	return paths
}

// linkRows are those of link.yml. Where we are the server, the bridge plays them, for coap knows no links.
func linkRows() []row {
	only := func(filter string, want ...string) func(*play) {
		return func(p *play) { require.ElementsMatch(p.t, want, p.links(filter)) }
	}
	return []row{
		{"LINK_01", "all links", func(p *play) {
			if !p.plain {
				require.Subset(p.t, p.links(""), []string{"/test", "/link1", "/link2", "/link3"})
				return
			}
			require.Subset(p.t, p.links(""), []string{"/time", "/async"})
		}},
		{"LINK_02", "those of a resource type", only("?rt=Type1", "/link1", "/link3")},
		{"LINK_03", "those of any resource type", only("?rt=*", "/link1", "/link2", "/link3")},
		{"LINK_04", "those of one of several resource types", only("?rt=Type2", "/link1", "/link2")},
		{"LINK_05", "those of interfaces that begin alike", only("?if=If*", "/link1", "/link2")},
		{"LINK_06", "those with a size", only("?sz=*", "/large")},
		{"LINK_07", "the one of a path", only("?href=/link1", "/link1")},
		{"LINK_08", "those of paths that begin alike", only("?href=/link*", "/link1", "/link2", "/link3")},
		{"LINK_09", "links of links", func(p *play) {
			require.Contains(p.t, p.links("?ct=40"), "/path")
			x := p.one("CON GET /path")
			p.format(p.code(x, coap.Content), 40)
			require.Contains(p.t, string(x.response.Payload), "</path/sub1>")
			require.Equal(p.t, "/path/sub1", string(p.code(p.one("CON GET /path/sub1"), coap.Content).response.Payload))
		}},
	}
}
