package strictyaml

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one fault of a file, in the form in which an operator can act on it.
type Problem struct {
	File    string
	Line    int    // 1 is the first line; 0 when the fault has no line
	Field   string // "cses[0].url"; "" for the file as a whole
	Message string // what is wrong; never holds a secret
	Remedy  string // what to write or do instead
}

// Error returns the problem on one line: file:line: field: message; remedy.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Message)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// Problems are all the faults of one or more files. A nil Problems is none.
type Problems []Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps as an error, and nil when there is none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Sort orders problems by line within a file and keeps the order of the files.
func (ps Problems) Sort() {
	order := map[string]int{}
	for _, p := range ps {
		if _, ok := order[p.File]; !ok {
			order[p.File] = len(order)
		}
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.File != b.File {
			return order[a.File] - order[b.File]
		}
		return a.Line - b.Line
	})
}

// Invalid is what an UnmarshalText returns to say what is wrong and what to write instead. Neither may hold a secret.
type Invalid struct{ Message, Remedy string }

// Error implements error.
func (e *Invalid) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + "; " + e.Remedy
}
