package devices

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coapbridge/bridge"
	"coapbridge/bridge/devices/privatefile"
)

// record is one line of the bindings file. The first line has only Version, every other one all but it.
type record struct {
	Version int    `json:"version,omitempty"`
	Bind    string `json:"bind,omitempty"`   // AE-ID that is bound
	Unbind  string `json:"unbind,omitempty"` // AE-ID that is no more
	CSE     string `json:"cse,omitempty"`    // "" is the default CSE
	Device  string `json:"device,omitempty"` // name of the device; lines of older releases have none
	Kind    string `json:"kind,omitempty"`   // of the credential
	ID      string `json:"id,omitempty"`     // of the credential
	// Token and POA are how the AE is reached; lines of older releases have neither. They are secret.
	Token string   `json:"token,omitempty"`
	POA   []string `json:"poa,omitzero"`
}

// access is how the AE of the line is reached; nil when the line doesn't say.
func (r *record) access() *bridge.Access {
	a := &bridge.Access{Token: r.Token, POA: r.POA}
	if a.IsZero() {
		return nil
	}
	return a
}

// appendLine appends c as the file has it.
func (c change) appendLine(buf []byte) []byte {
	r := record{CSE: c.key.cse, Device: c.of.device, Kind: c.of.by.kind, ID: c.of.by.id}
	if c.bind {
		r.Bind = c.key.aei
		if c.access != nil {
			r.Token, r.POA = c.access.Token, c.access.POA
		}
	} else {
		r.Unbind = c.key.aei
	}
	return appendRecord(buf, r)
}

func appendRecord(buf []byte, r record) []byte {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and an int can be marshalled
	}
	return append(append(buf, line...), '\n')
}

// read reads the file, or makes it. What follows the last end of a line was being written when the bridge died: nobody
// was told that it is bound, so it is cut off.
func (b *bindings) read() (warnings Problems, err error) {
	f, err := privatefile.Open(b.path, os.O_RDWR|os.O_APPEND)
	if errors.Is(err, fs.ErrNotExist) {
		if err := privatefile.Create(b.path, appendRecord(nil, record{Version: 1})); err != nil {
			return nil, Problems{*fileProblem(b.path, err)}
		}
		f, err = privatefile.Open(b.path, os.O_RDWR|os.O_APPEND)
	}
	if err != nil {
		return nil, Problems{*fileProblem(b.path, err)}
	}
	data, err := privatefile.Read(b.path, maxBindings)
	if err != nil {
		return nil, errors.Join(Problems{*fileProblem(b.path, err)}, f.Close())
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	if whole < len(data) {
		warnings = append(warnings, Problem{
			File: b.path, Line: bytes.Count(data, []byte{'\n'}) + 1,
			Message: "the last line was cut short when the bridge ended; the binding in it was never confirmed and is dropped",
		})
		if err := errors.Join(f.Truncate(int64(whole)), f.Sync()); err != nil {
			return nil, errors.Join(Problems{*fileProblem(b.path, err)}, f.Close())
		}
	}
	if err := b.replay(data[:whole]); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b.file = f
	if whole == 0 { // even the first line was cut short
		return warnings, b.rewrite(nil, nil)
	}
	return warnings, nil
}

// replay applies the whole lines of the file.
func (b *bindings) replay(data []byte) error {
	var problems Problems
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if message := b.replayLine(n, line); message != "" {
			problems = append(problems, Problem{
				File: b.path, Line: n, Message: message, Remedy: "restore the file, or remove the line: its device registers again",
			})
		}
	}
	b.lines = max(n-1, 0)
	return problems.Err()
}

func (b *bindings) replayLine(n int, line []byte) (message string) {
	var r record
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return "is no line of a bindings file"
	}
	if n == 1 {
		if !bytes.Equal(appendRecord(nil, r), appendRecord(nil, record{Version: 1})) {
			return "is no version that this release knows"
		}
		return ""
	}
	of := holder{r.Device, credential{r.Kind, r.ID}}
	key := binding{r.CSE, r.Bind + r.Unbind}
	held, bound := b.table[key]
	access := r.access()
	switch {
	case r.Version != 0 || (r.Bind == "") == (r.Unbind == "") || !knownKind(r.Kind) || r.ID == "" ||
		r.Device != "" && !plainName(r.Device), access != nil && (r.Bind == "" || !access.Valid()):
		return "is no binding"
	case r.Bind != "" && bound && held.of != of:
		return "binds an AE-ID again, to another credential"
	case r.Unbind != "" && (!bound || held.of != of):
		return "unbinds an AE-ID that is not bound"
	case !b.freeLocked(access, key): // nobody else has b yet
		return "has the token of another line"
	}
	b.applyLocked(change{bind: r.Bind != "", key: key, of: of, access: access})
	return ""
}

func knownKind(kind string) bool {
	return kind == kindPSK || kind == kindCertificate || kind == kindSAN || kind == kindRawKey
}

// append makes changes durable; the caller holds write. After a failure the state of the file is unknown (a failed fsync
// can lose what was written before it), so that the next call writes it anew.
func (b *bindings) append(changes []change) error {
	if b.closed {
		return errClosed
	}
	if b.file == nil || b.lines > 2*b.size()+compactSlack {
		return b.rewrite(nil, changes)
	}
	var buf []byte
	for _, c := range changes {
		buf = c.appendLine(buf)
	}
	_, err := b.file.Write(buf)
	if err == nil {
		err = b.file.Sync()
	}
	if err != nil {
		err = fmt.Errorf("devices: write %s: %w", filepath.Base(b.path), errors.Join(err, b.file.Close()))
		b.file = nil
		return err
	}
	b.lines += len(changes)
	return nil
}

func (b *bindings) size() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.table)
}

// rewrite puts a file in place that holds what is bound now, of its holder in moved where there is one, and changes.
func (b *bindings) rewrite(moved map[binding]holder, changes []change) error {
	buf := appendRecord(nil, record{Version: 1})
	b.mu.RLock()
	lines := len(b.table) + len(changes)
	for key, held := range b.table {
		if to, ok := moved[key]; ok {
			held.of = to
		}
		buf = change{bind: true, key: key, of: held.of, access: held.access}.appendLine(buf)
	}
	b.mu.RUnlock()
	for _, c := range changes {
		buf = c.appendLine(buf)
	}
	if b.file != nil {
		_ = b.file.Close() // nothing is buffered: it was synced
		b.file = nil
	}
	if err := privatefile.Replace(b.path, buf); err != nil {
		return fmt.Errorf("devices: write %s: %w", filepath.Base(b.path), err)
	}
	f, err := privatefile.Open(b.path, os.O_RDWR|os.O_APPEND)
	if err != nil {
		return fmt.Errorf("devices: open %s: %w", filepath.Base(b.path), err)
	}
	b.file, b.lines = f, lines
	return nil
}
