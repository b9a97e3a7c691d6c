package main

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"
)

// table collects rows and writes them aligned. Cells are made printable, so a
// name chosen by somebody else cannot move the cursor or forge a row.
type table struct {
	rows [][]string
}

// row adds a row; the first is the header.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(w io.Writer) error {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	b := bufio.NewWriter(w)
	for _, r := range t.rows {
		for i, c := range r {
			b.WriteString(c)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
			}
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}

// list writes a listing in the chosen format: text draws the table that build
// returns, json is one array, jsonl one object a line.
func list[T any](a *app, items []T, build func([]T) *table) error {
	switch a.global.output {
	case outputJSON:
		if items == nil {
			items = []T{}
		}
		return a.writeJSON(items)
	case outputLines:
		for i := range items {
			if err := a.writeLine(items[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return build(items).write(a.stdout)
}

// one writes a single object: text calls draw, json indents, jsonl is one line.
func (a *app) one(v any, draw func() error) error {
	switch a.global.output {
	case outputJSON:
		return a.writeJSON(v)
	case outputLines:
		return a.writeLine(v)
	}
	return draw()
}

func (a *app) writeJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (a *app) writeLine(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
