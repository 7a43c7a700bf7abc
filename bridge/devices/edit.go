package devices

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"coapbridge/bridge/devices/privatefile"
)

// newFile is what a devices file begins with when Add makes it.
const newFile = `# Who the devices are and what each may do. Keep this file to yourself (mode 0600): it holds their keys.
# "coap-bridge device --help" edits it; a running bridge takes a change within a second.
version: 1
devices:
`

// Errors of an edit.
var (
	ErrExists   = errors.New("devices: device exists already")
	ErrNotFound = errors.New("devices: no such device")
)

// Add appends entries to a devices file, which it makes when it is missing: all of them, or none. The rest of the file
// stays as it is, byte by byte. cses are the CSEs of the configuration, as in Options. Faults of the file and of the
// entries are Problems; a name or an identity that is taken is among them.
func Add(ctx context.Context, file string, cses []CSE, entries ...Entry) error {
	return edit(ctx, file, cses, func(data []byte) ([]byte, error) {
		if data == nil {
			data = []byte(newFile)
		}
		return appendEntries(data, entries)
	})
}

// Remove takes devices out of the file, with the comment lines right above each: all of them, or none. ErrNotFound names
// the first that isn't there.
func Remove(ctx context.Context, file string, names ...string) error {
	return edit(ctx, file, nil, func(data []byte) ([]byte, error) {
		if data == nil {
			return nil, fmt.Errorf("%s: %w", file, fs.ErrNotExist)
		}
		return removeEntries(data, names)
	})
}

// edit changes the file under its lock and checks both what it finds and what it leaves.
func edit(ctx context.Context, file string, cses []CSE, change func([]byte) ([]byte, error)) (err error) {
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, err := privatefile.Lock(wait, file+".lock")
	if err != nil {
		return Problems{*fileProblem(file, err)}
	}
	defer func() { err = errors.Join(err, unlock()) }()

	data, problem := readFile(file)
	if problem != nil {
		if _, statErr := privatefile.Read(file, maxFile); !errors.Is(statErr, fs.ErrNotExist) {
			return Problems{*problem}
		}
	}
	edited, err := change(data)
	if err != nil {
		return err
	}
	if _, _, problems, _ := parse(file, edited, cses, nil); len(problems) > 0 {
		return problems
	}
	if err := privatefile.Replace(file, edited); err != nil {
		return Problems{*fileProblem(file, err)}
	}
	return nil
}

func appendEntries(data []byte, entries []Entry) ([]byte, error) {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(slices.Clip(data), '\n')
	}
	l := split(data)
	if l.end < 0 {
		// "devices: []" or no such line: a list has to be begun.
		rest := emptyList.ReplaceAll(data, []byte("devices:${1}\n"))
		if bytes.Equal(rest, data) && !bytes.Contains(data, []byte("devices:")) {
			rest = append(slices.Clip(data), "devices:\n"...)
		}
		data, l = rest, split(rest)
		if l.end < 0 {
			return nil, errors.New(`the devices are written in one line; write each below "devices:", beginning with "  - name:"`)
		}
	}
	indent := "  "
	if len(l.pieces) > 0 {
		indent = l.indent
	}
	var buf bytes.Buffer
	buf.Write(data[:l.end])
	for i := range entries {
		writeEntry(&buf, indent, &entries[i])
	}
	buf.Write(data[l.end:])
	return buf.Bytes(), nil
}

// emptyList matches a list without members, and the comment after it.
var emptyList = regexp.MustCompile(`(?m)^devices:[ \t]*\[[ \t]*\]([ \t]+#.*)?[ \t]*\r?\n`)

func removeEntries(data []byte, names []string) ([]byte, error) {
	l := split(data)
	found := map[string]int{}
	for i, p := range l.pieces {
		found[readItem(data[p.start:p.end]).entry.Name] = i
	}
	cut := map[int]bool{}
	for _, name := range names {
		i, ok := found[name]
		if !ok {
			return nil, fmt.Errorf("%w: %q", ErrNotFound, name)
		}
		cut[i] = true
	}
	var buf bytes.Buffer
	at := 0
	for i, p := range l.pieces {
		if cut[i] {
			buf.Write(data[at:l.lead(data, i)])
			at = p.end
		}
	}
	buf.Write(data[at:])
	return buf.Bytes(), nil
}

// writeEntry writes an entry as a person would. Fields at their defaults are left out.
func writeEntry(buf *bytes.Buffer, indent string, e *Entry) {
	fmt.Fprintf(buf, "%s- name: %s\n", indent, spell(e.Name))
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(buf, "%s  %s: %s\n", indent, name, value)
		}
	}
	text := func(name, value string) {
		if value != "" {
			field(name, spell(value))
		}
	}
	flag := func(name string, set bool) {
		if set {
			field(name, "true")
		}
	}
	flag("entity", e.Entity)
	text("tenant", e.Tenant)
	text("cse", e.CSE)
	text("client", e.Client)
	if e.Profile != 0 {
		text("profile", e.Profile.String())
	}
	flag("legacyOptions", e.LegacyOptions)
	flag("strictTimestamps", e.StrictTimestamps)
	field("originators", spellList(e.Originators))
	var operations []string
	for _, o := range e.Operations {
		operations = append(operations, o.String())
	}
	field("operations", spellList(operations))
	field("targets", spellList(e.Targets))
	if e.MaxPayload != 0 {
		field("maxPayload", strconv.Itoa(e.MaxPayload))
	}
	flag("allowDelete", e.AllowDelete)
	flag("noExtendedMasterSecret", e.NoExtendedMasterSecret)
	text("appID", e.AppID)
	text("address", e.Address.String())
	flag("actuator", e.Actuator)
	if e.Timing != 0 {
		text("timing", e.Timing.String())
	}
	if len(e.Observe) > 0 {
		fmt.Fprintf(buf, "%s  observe:\n", indent)
	}
	for _, o := range e.Observe {
		text("  - path", o.Path)
		text("    container", o.Container)
	}
	if e.PSK != nil {
		fmt.Fprintf(buf, "%s  psk:\n", indent)
		text("  identity", e.PSK.Identity)
		text("  up", e.PSK.Up.spell())
		if !e.PSK.Down.IsZero() {
			text("  down", e.PSK.Down.spell())
		}
	}
	if c := e.Certificate; c != nil {
		fmt.Fprintf(buf, "%s  certificate:\n", indent)
		text("  fingerprint", string(c.Fingerprint))
		text("  san", c.SAN.String())
	}
	text("rawPublicKey", string(e.RawPublicKey))
}

// bare matches texts that no YAML reader takes for anything else; the words that one might are caught beside it.
var bare = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*(:[A-Za-z0-9._-]+)*$`)

// spell writes a text as YAML, in quotes where it could be read as something else.
func spell(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return strconv.Quote(s)
	}
	if bare.MatchString(s) {
		return s
	}
	return strconv.Quote(s) // YAML 1.2, 5.7: its escapes are YAML's as well for printable UTF-8
}

func spellList(list []string) string {
	if len(list) == 0 {
		return ""
	}
	spelled := make([]string, len(list))
	for i, s := range list {
		spelled[i] = spell(s)
	}
	return "[" + strings.Join(spelled, ", ") + "]"
}
