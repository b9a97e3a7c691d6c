package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// inbox is a control plane that takes events from outside.
type inbox struct {
	entropy.Service
	entropy.IngestService
	calls [][]json.RawMessage
	fails int // so many calls are not answered first
}

func (in *inbox) Ingest(_ context.Context, items []json.RawMessage) ([]entropy.IngestResult, error) {
	if in.fails > 0 {
		in.fails--
		return nil, entropy.Errorf(entropy.CodeUnknown, "who knows")
	}
	in.calls = append(in.calls, items)
	results := make([]entropy.IngestResult, len(items))
	for i, item := range items {
		results[i].Status = entropy.IngestAccepted
		if item[0] != '{' {
			results[i].Status = entropy.IngestDead
		}
	}
	return results, nil
}

func importBench(t *testing.T, content, name string) (*bench, *inbox, string) {
	t.Helper()
	b, in := newBench(t), new(inbox)
	b.app.dial = func(entropy.ClientConfig) (entropy.Service, error) { return in, nil }
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return b, in, file
}

// proves E-1: CSV becomes objects in which numbers are numbers and codes are not.
func TestImportCSV(t *testing.T) {
	b, in, file := importBench(t, "\ufeffid,n,x,code,zip,none\n7,1,12.50,007,1e5,\n\"a,\"\"b\",-3,0.5,+1,0x10,\n", "f.csv")
	if code := b.run("import", file); code != exitOK {
		t.Fatal(code, b.stderr.String())
	}
	want := []string{`{"code":"007","id":7,"n":1,"none":null,"x":12.50,"zip":"1e5"}`, `{"code":"+1","id":"a,\"b","n":-3,"none":null,"x":0.5,"zip":"0x10"}`}
	if len(in.calls) != 1 || len(in.calls[0]) != 2 || string(in.calls[0][0]) != want[0] || string(in.calls[0][1]) != want[1] {
		t.Errorf("%s", in.calls)
	}
}

// proves E-1: lines go in batches, over an outage; what is no JSON is not lost and
// harms no other.
func TestImportLines(t *testing.T) {
	b, in, file := importBench(t, strings.Repeat("{\"a\":1}\n\n", 2500)+"rubbish \xff{\n", "f.jsonl")
	in.fails = 1
	if code := b.run("import", file); code != exitError {
		t.Errorf("exit %d with something not understood", code)
	}
	n := 0
	for _, call := range in.calls {
		n += len(call)
		if len(call) > entropy.MaxIngest {
			t.Errorf("%d items at once", len(call))
		}
	}
	if n != 2501 || len(in.calls) != 3 || !strings.Contains(b.stdout.String(), "2500 accepted") || !strings.Contains(b.stdout.String(), "1 not understood") {
		t.Errorf("%d items in %d calls: %s", n, len(in.calls), b.stdout.String())
	}
}

// proves I: bad input is told what and why.
func TestImportBadInput(t *testing.T) {
	for name, c := range map[string]struct{ file, content, want string }{
		"ragged":  {"f.csv", "a,b\n1\n", "wrong number of fields"},
		"unknown": {"f.txt", "a", "--format"},
		"quote":   {"f.csv", "a\n\"x\n", "import the file again"},
	} {
		b, _, file := importBench(t, c.content, c.file)
		if code := b.run("import", file); code != exitUsage || !strings.Contains(b.stderr.String(), c.want) {
			t.Errorf("%s: exit %d, %s", name, code, b.stderr.String())
		}
	}
	for content, want := range map[string]string{"rulez: []": "rulez", "rules:\n  - {name: x, machh: {}}": "line 2", "rules: [{name: x}]": "match is empty"} {
		_, _, file := importBench(t, content, "rules.yaml")
		if _, err := readRules(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
}
