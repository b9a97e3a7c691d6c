package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/ingest"
)

const importLong = `Take events from files into the ledger, through the control plane's rules.

A file holds JSON lines, one object each, or CSV with a header: each row becomes an
object with the header's names, in which numbers are numbers. What is in the
fabric's envelope needs no rule; see docs/INGEST.md for the others. An import may be
repeated: what is there already is told apart. What is not understood is kept, see
entropy ledger dead; then the exit code is 1.`

func (a *app) importCommand() *cobra.Command {
	var format string
	c := &cobra.Command{Use: "import FILE… | -", Short: "Take events from CSV or JSON lines", Long: importLong,
		Example: "  entropy import orders.csv\n  zcat events.jsonl.gz | entropy import --format jsonl -", Args: argument(1, 1000, "FILE")}
	c.Flags().StringVar(&format, "format", "", "`FORMAT`: csv or jsonl (default: by the file's name)")
	return a.command(c, func(ctx context.Context, args []string) error {
		in, err := a.ingestService()
		if err != nil {
			return err
		}
		total := new(imported)
		for _, name := range args {
			if err := a.importFile(ctx, in, name, format, total); err != nil {
				return err
			}
		}
		if err := a.one(total, func() error { return a.printf("%s\n", total) }); err != nil {
			return err
		}
		if total.Dead > 0 {
			return entropy.Errorf(entropy.CodeInternal, "%d were not understood; they are kept", total.Dead).
				WithHint("entropy ledger dead ls says why; after a change of the rules: entropy ledger dead replay --all")
		}
		return nil
	})
}

// ingestService connects to who takes events from outside.
func (a *app) ingestService() (entropy.IngestService, error) {
	service, err := a.connect()
	if err != nil {
		return nil, err
	}
	if in, ok := service.(entropy.IngestService); ok {
		return in, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "this control plane takes no events from outside")
}

// imported counts what became of the items.
type imported struct {
	Accepted  int `json:"accepted"`
	Duplicate int `json:"duplicate"`
	Discarded int `json:"discarded"`
	Dead      int `json:"dead_lettered"`
}

// String tells the counts in words.
func (t *imported) String() string {
	return fmt.Sprintf("%d accepted, %d known already, %d discarded by a rule, %d not understood", t.Accepted, t.Duplicate, t.Discarded, t.Dead)
}

func (t *imported) add(results []entropy.IngestResult) {
	for _, r := range results {
		switch r.Status {
		case entropy.IngestAccepted:
			t.Accepted++
		case entropy.IngestDuplicate:
			t.Duplicate++
		case entropy.IngestDiscarded:
			t.Discarded++
		case entropy.IngestDead:
			t.Dead++
		}
	}
}

func (a *app) importFile(ctx context.Context, in entropy.IngestService, name, format string, total *imported) error {
	r := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return usagef("%v", err).WithHint("name a readable file, or - for the standard input")
		}
		defer f.Close() //nolint:errcheck // it was only read
		r = f
	}
	if format == "" {
		format = strings.TrimPrefix(filepath.Ext(name), ".")
	}
	b := &batch{in: in, total: total, p: &patience{a: a, limit: sendPatience}}
	var err error
	switch format {
	case "csv":
		err = eachRecord(r, func(item []byte) error { return b.add(ctx, item) })
	case "jsonl", "json", "ndjson":
		err = eachLine(r, func(item []byte) error { return b.add(ctx, item) })
	default:
		return usagef("the format of %s is not known", name).WithHint("say --format csv or --format jsonl")
	}
	if err == nil {
		err = b.send(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s, after %s: %w", name, total, err)
	}
	return nil
}

// batch collects items and sends them when there are enough.
type batch struct {
	in    entropy.IngestService
	total *imported
	p     *patience
	items []json.RawMessage
	size  int
}

const batchBytes = 1 << 20

func (b *batch) add(ctx context.Context, item []byte) error {
	if !json.Valid(item) { // it would spoil the whole call: it travels as text, and is kept as that
		item, _ = json.Marshal(string(item)) // a string can always be encoded
	}
	if len(item) > entropy.MaxObservation { // of what is too large the beginning is kept
		item, _ = json.Marshal(string(item[:entropy.MaxObservation/8]))
	}
	b.items, b.size = append(b.items, bytes.Clone(item)), b.size+len(item)
	if len(b.items) < entropy.MaxIngest && b.size < batchBytes {
		return nil
	}
	return b.send(ctx)
}

func (b *batch) send(ctx context.Context) error {
	if len(b.items) == 0 {
		return nil
	}
	var results []entropy.IngestResult
	err := b.p.do(ctx, func() (err error) {
		results, err = b.in.Ingest(ctx, b.items)
		return err
	})
	b.total.add(results)
	b.items, b.size = nil, 0
	return err
}

// maxLine bounds one line of a file, in bytes.
const maxLine = 8 << 20

func eachLine(r io.Reader, f func([]byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			if err := f(line); err != nil {
				return err
			}
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return usagef("a line has more than %d bytes", maxLine).WithHint("is it JSON lines, one object each?")
	}
	return lines.Err()
}

// eachRecord calls f with every row of a CSV file as an object.
func eachRecord(r io.Reader, f func([]byte) error) error {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return usagef("%v", err).WithHint("the first line names the columns")
	}
	names := make([]string, len(header))
	for i, name := range header {
		names[i] = strings.TrimPrefix(name, "\ufeff")
	}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return usagef("%v", err).WithHint("what stands before that line was imported; mend it and import the file again")
		}
		object := make(map[string]any, len(row))
		for i, cell := range row {
			object[names[i]] = cellValue(cell)
		}
		item, err := json.Marshal(object)
		if err != nil {
			return err
		}
		if err := f(item); err != nil {
			return err
		}
	}
}

// cellValue reads a cell: a number if it is written as one is, else text, so that
// 007 stays what it is. An empty cell is no value.
func cellValue(cell string) any {
	if cell == "" {
		return nil
	}
	x, err := strconv.ParseFloat(cell, 64)
	if err == nil && (strconv.FormatFloat(x, 'f', -1, 64) == cell || strings.Contains(cell, ".") && json.Valid([]byte(cell))) {
		return json.Number(cell)
	}
	return cell
}

// readRules reads a file of rules; "" means none. Unknown keys are errors.
func readRules(file string) (ingest.Config, error) {
	var c ingest.Config
	if file == "" {
		return c, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return c, usagef("--normalize: %v", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, usagef("--normalize %s: %v", file, err).WithHint("docs/INGEST.md has every field with an example")
	}
	if _, err := ingest.New(c); err != nil {
		return c, fmt.Errorf("--normalize %s: %w", file, err)
	}
	return c, nil
}
