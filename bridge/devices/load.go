package devices

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"coapbridge/bridge/devices/privatefile"
	"coapbridge/bridge/devices/strictyaml"
)

// header is everything in the file but the devices.
type header struct {
	Version int      `yaml:"version"`
	Devices []anyone `yaml:"devices"` // only what could not be cut out: a list in one line
}

// anyone takes any device of a list that is written in one line, which is refused as a whole.
type anyone struct{}

// item is one device that was read, with lines counted from its own first one and fields named from its own root.
type item struct {
	entry              Entry
	problems, warnings strictyaml.Problems
}

// cache keeps what was read under the digest of its text, so that a reload reads only what changed. No text is kept:
// it holds keys.
type cache map[[sha256.Size]byte]*item

// load reads a devices file. The entries are nil when there are problems.
func load(path string, cses []CSE, old cache) (items []*item, fresh cache, problems, warnings strictyaml.Problems) {
	data, problem := readFile(path)
	if problem != nil {
		return nil, nil, strictyaml.Problems{*problem}, nil
	}
	items, fresh, problems, warnings = parse(path, data, cses, old)
	if dir := filepath.Dir(path); !privatefile.FolderIsPrivate(dir) {
		warnings = append(warnings, strictyaml.Problem{
			File: dir, Message: "others can list this folder", Remedy: "run: chmod 700 " + dir,
		})
	}
	return items, fresh, problems, warnings
}

// parse reads the content of a devices file, whose name is path.
func parse(path string, data []byte, cses []CSE, old cache) (items []*item, fresh cache, problems, warnings strictyaml.Problems) {
	l := split(data)
	var h header
	doc := strictyaml.Decode(path, 1, l.head, "", &h)
	if doc.Parsed() {
		checkHeader(doc, h)
	}
	problems = append(problems, doc.Problems()...)

	fresh = make(cache, len(l.pieces))
	items = make([]*item, len(l.pieces))
	x := newIndexer(path, cses, len(l.pieces))
	for i, p := range l.pieces {
		text := data[p.start:p.end]
		sum := sha256.Sum256(text)
		it, ok := old[sum]
		if !ok {
			it = readItem(text)
		}
		fresh[sum], items[i] = it, it
		problems = append(problems, place(path, i, p.line, it.problems)...)
		warnings = append(warnings, place(path, i, p.line, it.warnings)...)
		x.add(i, p.line, &it.entry)
	}
	problems, warnings = append(problems, x.problems...), append(warnings, x.warnings...)
	problems.Sort()
	warnings.Sort()
	warnings = some(path, warnings)
	if len(problems) > 0 {
		return nil, nil, problems, warnings
	}
	return items, fresh, nil, warnings
}

// some are the first warnings of each kind, which is known by its remedy, and how many more there are.
func some(path string, warnings strictyaml.Problems) (told strictyaml.Problems) {
	seen := map[string]int{}
	for _, w := range warnings {
		if seen[w.Remedy]++; seen[w.Remedy] <= maxWarnings {
			told = append(told, w)
		}
	}
	for _, remedy := range slices.Sorted(maps.Keys(seen)) {
		if n := seen[remedy] - maxWarnings; n > 0 {
			told = append(told, strictyaml.Problem{File: path, Message: fmt.Sprintf("%d more warnings with this remedy", n), Remedy: remedy})
		}
	}
	return told
}

func readFile(path string) ([]byte, *strictyaml.Problem) {
	if err := privatefile.CheckFolder(filepath.Dir(path)); err != nil {
		return nil, fileProblem(path, err)
	}
	data, err := privatefile.Read(path, maxFile)
	if err != nil {
		return nil, fileProblem(path, err)
	}
	if !utf8.Valid(data) {
		return nil, &strictyaml.Problem{File: path, Message: "is no UTF-8 text", Remedy: "save it as UTF-8"}
	}
	return data, nil
}

// fileProblem turns an error of privatefile into a problem of the file.
func fileProblem(path string, err error) *strictyaml.Problem {
	if e := (*privatefile.Error)(nil); errors.As(err, &e) {
		return &strictyaml.Problem{File: e.Path, Message: e.Message, Remedy: e.Remedy}
	}
	return &strictyaml.Problem{File: path, Message: err.Error()}
}

func checkHeader(doc *strictyaml.Document, h header) {
	switch {
	case !doc.Has("version"):
		doc.Report("version", "is missing", "begin the file with: version: 1")
	case h.Version != 1 && len(doc.Problems()) == 0:
		doc.Report("version", fmt.Sprintf("%d is not known to this release", h.Version), "write version: 1, or install the release that wrote the file")
	}
	if len(h.Devices) > 0 {
		doc.Report("devices", "is written in one line", `write each device below it, beginning with "  - name:"`)
	}
}

func readItem(text []byte) *item {
	it := &item{}
	doc := strictyaml.DecodeItem("", 1, text, "", &it.entry)
	if doc.Parsed() {
		it.entry.check(doc)
	}
	it.problems, it.warnings = doc.Problems(), doc.Warnings()
	return it
}

// place puts problems of an item where the item stands.
func place(path string, i, line int, found strictyaml.Problems) strictyaml.Problems {
	placed := make(strictyaml.Problems, len(found))
	for k, p := range found {
		p.File, p.Line = path, p.Line+line-1
		if p.Field == "" {
			p.Field = fmt.Sprintf("devices[%d]", i)
		} else {
			p.Field = fmt.Sprintf("devices[%d].%s", i, p.Field)
		}
		placed[k] = p
	}
	return placed
}

// indexer finds what entries must not share: names, identities, certificates; and what they should not: keys.
type indexer struct {
	path     string
	cses     map[string]CSE // nil: not checked
	names    map[string]int // line of the first use
	owners   map[credential]int
	keys     map[[sha256.Size]byte]int
	dialled  map[Address]int
	problems strictyaml.Problems
	warnings strictyaml.Problems
}

func newIndexer(path string, cses []CSE, size int) *indexer {
	x := &indexer{
		path: path, names: make(map[string]int, size), owners: make(map[credential]int, size),
		keys: make(map[[sha256.Size]byte]int, size), dialled: map[Address]int{},
	}
	if cses != nil {
		x.cses = map[string]CSE{"": {}}
		for _, c := range cses {
			x.cses[c.Name] = c
			if c.Default {
				x.cses[""] = c
			}
		}
	}
	return x
}

func (x *indexer) add(i, line int, e *Entry) {
	report := func(list *strictyaml.Problems, field, message, remedy string) {
		*list = append(*list, strictyaml.Problem{
			File: x.path, Line: line, Field: fmt.Sprintf("devices[%d]%s", i, field), Message: message, Remedy: remedy,
		})
	}
	if first, again := x.names[e.Name]; again && e.Name != "" {
		report(&x.problems, ".name", fmt.Sprintf("is the name of the device on line %d already", first), "give each device a name of its own")
	} else {
		x.names[e.Name] = line
	}
	if first, again := x.dialled[e.Address]; again && !e.Address.IsZero() {
		report(&x.problems, ".address", fmt.Sprintf("is the address of the device on line %d already", first), "give each device an address of its own, or remove it")
	} else {
		x.dialled[e.Address] = line
	}
	if x.cses != nil {
		switch c, known := x.cses[e.CSE]; {
		case !known:
			report(&x.problems, ".cse", fmt.Sprintf("no CSE is named %q in the configuration", e.CSE), "correct the name, or leave it out for the default")
		case e.Client != "" && !slices.Contains(c.Clients, e.Client):
			report(&x.problems, ".client", fmt.Sprintf("the CSE has no client named %q in the configuration", e.Client), "add it to the CSE's clients, or correct the name")
		case e.Client == "" && c.PerDevice:
			report(&x.problems, ".client", "is missing: the CSE knows each device by a certificate of its own", "name one of the CSE's clients")
		}
	}
	for _, c := range e.credentials() {
		if first, again := x.owners[c]; again {
			report(&x.problems, "."+c.field(), fmt.Sprintf("is the credential of the device on line %d already", first), "give each device a credential of its own")
		} else {
			x.owners[c] = line
		}
	}
	if e.PSK == nil {
		return
	}
	e.PSK.each(func(field string, key Key) {
		sum := sha256.Sum256(key.bytes())
		if first, again := x.keys[sum]; again && first != line {
			report(&x.warnings, "."+field, fmt.Sprintf("is the key of the device on line %d too: whoever has one is both", first), "give each device a key of its own")
		} else {
			x.keys[sum] = line
		}
	})
}
