// Package report writes what was measured: tables for people, JSON for programs.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"coapbridge/cmd/coap-load/latency"
)

// Table is rows of text below a header.
type Table struct {
	Header []string
	Rows   [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Markdown writes the table as Markdown that is aligned as it stands.
func (t *Table) Markdown(w io.Writer) error {
	widths := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range row {
			if i < len(widths) {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
			}
		}
	}
	var b strings.Builder
	line := func(row []string) {
		b.WriteString("|")
		for i, width := range widths {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			b.WriteString(" " + cell + strings.Repeat(" ", width-utf8.RuneCountInString(cell)) + " |")
		}
		b.WriteString("\n")
	}
	line(t.Header)
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
	}
	line(rule)
	for _, row := range t.Rows {
		line(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes v, indented.
func JSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Bytes returns n in the unit that people read.
func Bytes(n int64) string {
	abs := math.Abs(float64(n))
	switch {
	case abs < 1<<10:
		return fmt.Sprintf("%d B", n)
	case abs < 1<<20:
		return fmt.Sprintf("%s KiB", Digits(float64(n)/(1<<10)))
	default:
		return fmt.Sprintf("%s MiB", Digits(float64(n)/(1<<20)))
	}
}

// Digits returns v with three digits, or all those before the point.
func Digits(v float64) string {
	switch abs := math.Abs(v); {
	case abs >= 100:
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Micros returns d in microseconds.
func Micros(d time.Duration) string { return Digits(float64(d)/1e3) + " µs" }

// Duration returns d with three digits.
func Duration(d time.Duration) string { return latency.Round(d).String() }

// Median returns the middle of values, which are not changed; NaN of none. NaNs don't count.
func Median(values []float64) float64 {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(sorted) == 0 {
		return math.NaN()
	}
	slices.Sort(sorted)
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
