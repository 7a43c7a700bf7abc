package strictyaml

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type colour string

func (c *colour) UnmarshalText(b []byte) error {
	if string(b) != "red" {
		return &Invalid{Message: "is no colour", Remedy: "write red"}
	}
	*c = "red"
	return nil
}

type inner struct {
	URL string `yaml:"url"`
	Max int    `yaml:"maxAnswer"`
	On  bool   `yaml:"on"`
}

type outer struct {
	Version int               `yaml:"version"`
	Wait    time.Duration     `yaml:"wait"`
	Rate    float64           `yaml:"rate"`
	Names   []string          `yaml:"names"`
	Items   []inner           `yaml:"items"`
	One     *inner            `yaml:"one"`
	Labels  map[string]string `yaml:"labels"`
	Colour  colour            `yaml:"colour"`
	Ours    []string          `yaml:"-"` // no file sets it
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var got outer
	d := Decode("f.yaml", 1, []byte(`# comment
version: 1
wait: 30s
rate: 2
names: [a, "b", 0123]
items:
  - url: https://x
    maxAnswer: 5
  - {url: y, on: true}
one:
  url: z
labels: {k: v}
colour: red
`), "", &got)
	require.Empty(t, d.Problems())
	require.Equal(t, outer{
		Version: 1, Wait: 30 * time.Second, Rate: 2, Names: []string{"a", "b", "0123"},
		Items: []inner{{URL: "https://x", Max: 5}, {URL: "y", On: true}}, One: &inner{URL: "z"},
		Labels: map[string]string{"k": "v"}, Colour: "red",
	}, got)
	require.Equal(t, 8, d.Line("items[0].maxAnswer"))
	require.Equal(t, 9, d.Line("items[1].maxAnswer"), "of an absent field: the line of what is around it")
	require.True(t, d.Has("one.url"))
	require.False(t, d.Has("one.on"))
}

func TestDecodeFindsEveryFault(t *testing.T) {
	t.Parallel()
	var got outer
	d := Decode("f.yaml", 1, []byte(`version: one
wait: 30
rate: fast
version: 2
names: a
items:
  - URL: x
    max_answer: 5
    on: maybe
one: [1]
labels: {k: [1]}
colour: blue
nonsense: 1
wiat: 1s
versoin: 1
"-": [a]
`), "", &got)
	require.Equal(t, strings.TrimSpace(`
f.yaml:1: version: is a text; write a whole number
f.yaml:2: wait: is a number; write a number with its unit, such as 30s, 5m or 24h
f.yaml:3: rate: is a text; write a number
f.yaml:4: version: stands here again after line 1; remove one of the two
f.yaml:5: names: is a text; write a list: [a, b], or one "- " line for each
f.yaml:7: items[0].URL: unknown field; did you mean "url"?
f.yaml:8: items[0].max_answer: unknown field; did you mean "maxAnswer"?
f.yaml:9: items[0].on: is a text; write true or false
f.yaml:10: one: is a list; write fields: maxAnswer, on, url
f.yaml:11: labels.k: is a list; write a text
f.yaml:12: colour: is no colour; write red
f.yaml:13: nonsense: unknown field; known here are colour, items, labels, names, one, rate, version, wait
f.yaml:14: wiat: unknown field; known here are colour, items, labels, names, one, rate, version, wait
f.yaml:15: versoin: unknown field; did you mean "version"?
f.yaml:16: -: unknown field; known here are colour, items, labels, names, one, rate, version, wait`), d.Problems().Error())
}

func TestDecodeSyntax(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, in, want string }{
		{"bracket", "version: 1\nnames: [a\nrate: 1\n", "f.yaml:12: is no YAML"},
		{"alias", "names: &a [x]\nlabels: *a\n", "an anchor, alias or tag"},
		{"merge", "<<: {version: 1}\n", "field name that is no plain text"},
		{"tag", "version: !!str 1\n", "an anchor, alias or tag"},
		{"documents", "version: 1\n---\nversion: 1\n", "more than one YAML document"},
		{"top", "- a\n", "f.yaml:10: is a list; write fields"},
		{"deep flow", "names: " + strings.Repeat("[", 100_000), "nested too deeply"},
		{"deep flow, by line", "names: \n" + strings.Repeat("  [\n", 1_000), "nested too deeply"},
		{"deep block", "a:\n" + strings.Repeat(" ", 1000) + "b: 1\n", "nested too deeply"},
		{"deep list", strings.Repeat("- ", 1000), "nested too deeply"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got outer
			require.Contains(t, Decode("f.yaml", 10, []byte(c.in), "", &got).Problems().Error(), c.want)
		})
	}
}

func TestDecodeEmpty(t *testing.T) {
	t.Parallel()
	got := outer{Version: 7}
	require.Empty(t, Decode("f.yaml", 1, []byte("# nothing\nversion:\n"), "", &got).Problems())
	require.Equal(t, 7, got.Version, "an empty field leaves the default")
	require.Empty(t, Decode("f.yaml", 1, nil, "", &got).Problems())
}

func TestDecodeItem(t *testing.T) {
	t.Parallel()
	var got inner
	d := DecodeItem("f.yaml", 5, []byte("  - url: x\n    maxAnswer: many\n"), "items[3]", &got)
	require.Equal(t, "x", got.URL)
	require.Equal(t, "f.yaml:6: items[3].maxAnswer: is a text; write a whole number", d.Problems().Error())
	require.NotEmpty(t, DecodeItem("f.yaml", 5, []byte("url: x\n"), "items[3]", &got).Problems())
}

// TestSyntaxErrorsShowNoSource keeps S46: the parser's own message would print the lines around the fault.
func TestSyntaxErrorsShowNoSource(t *testing.T) {
	t.Parallel()
	var got outer
	d := Decode("f.yaml", 1, []byte("names: [\"text:my secret key\"\nversion: 1\n"), "", &got)
	require.NotEmpty(t, d.Problems())
	require.NotContains(t, d.Problems().Error(), "secret")
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("version: 1\nitems:\n  - url: x\n"))
	f.Add([]byte("names: &a [*a]\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("one: |\n x\nlabels: {<<: {}}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var got outer
		for _, p := range Decode("f.yaml", 1, in, "", &got).Problems() {
			require.NotEmpty(t, p.Message)
		}
	})
}
