package devices

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxImportLine is the longest line that can be one: hint, identity, key in hex, commas.
const maxImportLine = 4096

// Refused is one line of an imported file that can't be taken, and why.
type Refused struct {
	Line   int
	Reason string // holds no key
}

// imported is one line that can be taken.
type imported struct {
	line  int
	entry Entry
}

// Imported is what Import did.
type Imported struct {
	Added    []string  // names of the new devices, in the order of the lines
	Refused  []Refused // lines that can't be taken
	Warnings []Refused // lines that were taken, with something to say about them
}

// ErrRefused is returned by Import when it added nothing because a line is refused.
var ErrRefused = errors.New("devices: nothing was imported, because lines are refused")

// Import adds the devices of libcoap's PSK file (coap-server -i) to a devices file: lines of "hint,identity,key", "#"
// before a comment. The hint is not used. The key is the text after the second comma, or the bytes that follow "0x" in
// hex. A device's other fields are those of template, its name is made of the identity.
//
// A key below 16 bytes (S6), and a name or identity that is there already, have their line refused. Then nothing is added
// and the error is ErrRefused, unless skip says to leave such lines out. All lines are added in one step.
func Import(ctx context.Context, file string, cses []CSE, r io.Reader, template Entry, skip bool) (Imported, error) {
	lines, done, err := parseLibcoap(r, template)
	if err != nil {
		return done, err
	}
	err = edit(ctx, file, cses, func(data []byte) ([]byte, error) {
		if data == nil {
			data = []byte(newFile)
		}
		items, _, problems, _ := parse(file, data, nil, nil)
		if len(problems) > 0 {
			return nil, problems
		}
		entries := done.take(lines, items)
		if len(done.Refused) > 0 && !skip {
			return nil, ErrRefused
		}
		for _, e := range entries {
			done.Added = append(done.Added, e.Name)
		}
		return appendEntries(data, entries)
	})
	if err != nil {
		done.Added = nil
	}
	return done, err
}

// take returns the entries that don't collide with items, and refuses the others.
func (d *Imported) take(lines []imported, items []*item) []Entry {
	names, identities := map[string]bool{}, map[string]bool{}
	for _, it := range items {
		names[it.entry.Name] = true
		if it.entry.PSK != nil {
			identities[it.entry.PSK.Identity] = true
		}
	}
	var entries []Entry
	for _, l := range lines {
		switch {
		case identities[l.entry.PSK.Identity]:
			d.Refused = append(d.Refused, Refused{l.line, "its identity is in the devices file already"})
		case names[l.entry.Name]:
			d.Refused = append(d.Refused, Refused{l.line, fmt.Sprintf("a device of the name %q is in the devices file already", l.entry.Name)})
		default:
			names[l.entry.Name] = true
			entries = append(entries, l.entry)
		}
	}
	slices.SortFunc(d.Refused, func(a, b Refused) int { return a.Line - b.Line })
	return entries
}

func parseLibcoap(r io.Reader, template Entry) (taken []imported, done Imported, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxImportLine), maxImportLine)
	seen := map[string]int{} // identity: its line
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimRight(lines.Text(), "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, warnings, reason := parseLibcoapLine(line, template)
		if reason == "" && seen[e.PSK.Identity] != 0 {
			reason = fmt.Sprintf("its identity is on line %d already", seen[e.PSK.Identity])
		}
		if reason != "" {
			done.Refused = append(done.Refused, Refused{n, reason})
			continue
		}
		seen[e.PSK.Identity] = n
		for _, w := range warnings {
			done.Warnings = append(done.Warnings, Refused{n, w})
		}
		taken = append(taken, imported{n, e})
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		done.Refused = append(done.Refused, Refused{n + 1, fmt.Sprintf("is longer than %d bytes; no line after it was read", maxImportLine)})
		return taken, done, nil
	}
	return taken, done, lines.Err()
}

func parseLibcoapLine(line string, template Entry) (e Entry, warnings []string, reason string) {
	parts := strings.SplitN(line, ",", 3)
	if len(parts) != 3 {
		return e, nil, "is not hint,identity,key"
	}
	if !utf8.ValidString(line) {
		return e, nil, "is no UTF-8 text; write the key as 0x and hex"
	}
	b := []byte(parts[2])
	if digits, ok := strings.CutPrefix(parts[2], "0x"); ok {
		var err error
		if b, err = hex.DecodeString(digits); err != nil {
			return e, nil, "the key begins with 0x and is no hex"
		}
	}
	key, err := NewKey(b)
	if err != nil {
		return e, nil, err.Error()
	}
	e = template
	e.Name = nameFor(parts[1])
	e.PSK = &PSK{Identity: parts[1], Up: key}
	var c collector
	e.check(&c)
	for _, p := range c.problems {
		return e, nil, p.Field + " " + p.Message + "; " + p.Remedy
	}
	for _, p := range c.warnings {
		warnings = append(warnings, p.Message)
	}
	return e, warnings, ""
}

// nameFor makes a device's name of its identity: the identity where it is one, else its digest.
func nameFor(identity string) string {
	if plainName(identity) {
		return identity
	}
	sum := sha256.Sum256([]byte(identity))
	return "device-" + hex.EncodeToString(sum[:6])
}
