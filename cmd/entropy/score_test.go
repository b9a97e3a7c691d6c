package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// write makes a file below a new directory and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// proves E-7: a log that changes is scored against its truth, given for all
// files or for one.
func TestScoreDrift(t *testing.T) {
	var log strings.Builder
	log.WriteString("<log>")
	for i := range 1200 {
		steps := []string{"a", "b", "c"}
		if i >= 600 {
			steps = []string{"a", "c", "b"}
		}
		log.WriteString("<trace>")
		for _, s := range steps {
			fmt.Fprintf(&log, `<event><string key="concept:name" value=%q/></event>`, s)
		}
		log.WriteString("</trace>")
	}
	log.WriteString("</log>")
	file := writeFile(t, "a.xes", log.String())
	for _, args := range [][]string{{"--truth", "600", file}, {file + "@600"}} {
		b := newBench(t)
		if code := b.run(append([]string{"score", "drift", "-o", "json"}, args...)...); code != 0 {
			t.Fatal(b.stderr.String())
		}
		var s driftScore
		if err := json.Unmarshal(b.stdout.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if s.Rates == nil || s.Rates.F1 != 1 || s.MeanLag > 10 || len(s.Logs[0].Changes) != 1 {
			t.Errorf("%s", b.stdout.String())
		}
	}
	b := newBench(t)
	if code := b.run("score", "drift", file); code != 0 || !strings.Contains(b.stdout.String(), "a → ") || strings.Contains(b.stdout.String(), "F1") {
		t.Errorf("%d\n%s", code, b.stdout.String())
	}
}

// proves E-7: a directory of NAB's shape is scored by its rules.
func TestScoreNAB(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("timestamp,value\n")
	for i := range 1000 {
		x := 10 + float64(i%7)
		if i >= 800 && i < 803 {
			x = 500
		}
		fmt.Fprintf(&rows, "2026-01-%02d %02d:%02d:00,%v\n", 1+i/288, i%288/12, i%12*5, x)
	}
	labels := writeFile(t, "labels/combined_windows.json",
		`{"real/x.csv": [["2026-01-03 17:30:00.000000", "2026-01-03 20:00:00.000000"]]}`)
	dir := filepath.Dir(filepath.Dir(labels))
	if err := os.MkdirAll(filepath.Join(dir, "data", "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "real", "x.csv"), []byte(rows.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	if code := b.run("score", "nab", dir); code != 0 || !strings.Contains(b.stdout.String(), "1 of 1") || !strings.Contains(b.stdout.String(), "2026-01-03 18:4") {
		t.Errorf("%d\n%s%s", code, b.stdout.String(), b.stderr.String())
	}
	if code := b.run("score", "nab", t.TempDir()); code != 2 {
		t.Errorf("an empty directory: exit code %d, %s", code, b.stderr.String())
	}
}

// proves E-7: sequences are judged and scored, and what is missing is said.
func TestScoreSequences(t *testing.T) {
	train := writeFile(t, "train", strings.Repeat("1 2 3\n1 2 2 3\n", 500))
	normal := writeFile(t, "normal", strings.Repeat("x,1 2 3\n", 50))
	abnormal := writeFile(t, "abnormal", strings.Repeat("y,3 1\nz,1 2 9\n", 10))
	for _, args := range [][]string{{"--normal", normal}, nil} {
		b := newBench(t)
		args = append([]string{"score", "sequences", "-o", "json", "--train", train, "--abnormal", abnormal}, args...)
		if code := b.run(args...); code != 0 {
			t.Fatal(b.stderr.String())
		}
		var s sequenceScore
		if err := json.Unmarshal(b.stdout.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if s.Frozen.F1 != 1 || len(s.Detections) != 20 || s.Detections[0].Why == "" {
			t.Errorf("%+v", s)
		}
	}
	b := newBench(t)
	if code := b.run("score", "sequences", "--train", train); code != 2 {
		t.Errorf("without --abnormal: exit code %d", code)
	}
}

// proves E-7: a stream is made as asked for, twice the same, in the envelope,
// with its labels beside it.
func TestGenerate(t *testing.T) {
	labels := filepath.Join(t.TempDir(), "labels")
	args := []string{"generate", "--days", "2", "--entities", "2", "--overlay", "missing,entity=1,step=process,from=1d,for=1d,share=0.5", "--labels", labels}
	b := newBench(t)
	if code := b.run(args...); code != 0 {
		t.Fatal(b.stderr.String())
	}
	first := b.stdout.String()
	if b.run(args...); b.stdout.String() != first {
		t.Error("the same flags give other bytes")
	}
	var e entropy.Event
	line, _, _ := strings.Cut(first, "\n")
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Tags["step"] == "" || e.CorrelationID == "" || e.IdempotencyKey == "" {
		t.Errorf("%s: %v", line, err)
	}
	truth, err := os.ReadFile(labels)
	if err != nil || !strings.Contains(string(truth), `"label":"missing","absent":true`) {
		t.Errorf("%s, %v", truth, err)
	}
	for _, bad := range []string{"earthquake", "drift,step=x", "drift,for=-1h", "drift,who=1"} {
		if code := b.run("generate", "--overlay", bad); code != 2 {
			t.Errorf("%s: exit code %d", bad, code)
		}
	}
}
