package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// proves the line that scripts rely on
func TestLastLine(t *testing.T) {
	code, out, _ := command(t, "-n", "20", "-seed", "5")
	if last := lastLine(out); code != 0 || !regexp.MustCompile(`^histories=20 violations=0 seed=5 `).MatchString(last) {
		t.Errorf("exit %d, last line %q", code, last)
	}
	_, again, _ := command(t, "-n", "20", "-seed", "5", "-q", "-parallel", "1")
	hash := regexp.MustCompile(`hash=[0-9a-f]{16}`)
	if a, b := hash.FindString(out), hash.FindString(again); a == "" || a != b {
		t.Errorf("the same histories have %q and %q", a, b)
	}
	if _, other, _ := command(t, "-n", "20", "-seed", "5", "-q", "-policy", "reference"); hash.FindString(other) == hash.FindString(out) {
		t.Error("another policy makes no difference")
	}
}

func TestViolationIsShown(t *testing.T) {
	code, out, _ := command(t, "-n", "3", "-mutant", "start-before-ack")
	for _, want := range []string{"seed 1 broke INV-13", "the faults:", "the last events:", "are enough", "-seed 1 -tail 100000 -mutant start-before-ack"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if code != exitBroken || !strings.HasPrefix(lastLine(out), "histories=3 violations=3 ") {
		t.Errorf("exit %d: %s", code, lastLine(out))
	}
}

func TestOneHistoryInWords(t *testing.T) {
	code, out, _ := command(t, "-n", "1", "-seed", "2", "-tail", "100000")
	if code != 0 || !strings.Contains(out, "job.submitted") || !strings.Contains(out, "everything heals") {
		t.Errorf("exit %d:\n%.2000s", code, out)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if code := run(ctx, []string{"-n", "10"}, &out, &out); code != exitBroken || !strings.HasPrefix(lastLine(out.String()), "histories=0 ") {
		t.Errorf("exit %d: %s", code, out.String())
	}
}

func TestMutantsAndExplore(t *testing.T) {
	code, out, _ := command(t, "mutants", "-n", "1") // few are caught by one history
	if code != exitBroken || !regexp.MustCompile(`(?m)^start-before-ack +INV-13 +1 `).MatchString(out) || !regexp.MustCompile(`^mutants=\d+ missed=[1-9]`).MatchString(lastLine(out)) {
		t.Errorf("exit %d:\n%s", code, out)
	}
	code, out, _ = command(t, "explore", "-depth", "4")
	if code != 0 || !strings.Contains(out, "stop contract") || !strings.Contains(out, "depth=4 exhausted=false") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

// proves that a workload goes out, comes back the same, and its results are a table
func TestStudy(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	code, first, stderr := command(t, "study", "-jobs", "500", "-rate", "5", "-workers", "40", "-policy", "fifo,fabric", "-fail", "0.05",
		"-export", file("t.csv"), "-out", file("jobs.csv"), "-summary", file("all.csv"))
	if code != 0 || !strings.Contains(first, "bounded slowdown mean") || !strings.Contains(first, "decisions") {
		t.Fatalf("exit %d: %s\n%s", code, stderr, first)
	}
	if code, _, stderr = command(t, "study", "-trace", file("t.csv"), "-workers", "40", "-policy", "fifo", "-fail", "0.05", "-out", file("again.csv"), "-export", file("t.swf")); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if a, b := read(t, file("jobs-fifo.csv")), read(t, file("again.csv")); a != b {
		t.Errorf("the exported trace has other results:\n%.300s\n%.300s", a, b)
	}
	if code, _, stderr = command(t, "study", "-trace", file("t.swf"), "-slots", "4"); code != 0 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	rows, err := csv.NewReader(strings.NewReader(read(t, file("jobs-fabric.csv")))).ReadAll()
	if err != nil || len(rows) != 501 || strings.Join(rows[0], ",") != "id,submit,start,end,wait,runtime,slowdown,attempts,worker,state" {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if sums, err := csv.NewReader(strings.NewReader(read(t, file("all.csv")))).ReadAll(); err != nil || len(sums) != 3 || sums[1][0] != "fifo" || sums[2][0] != "fabric" {
		t.Errorf("summary: %v, %v", sums, err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"study", "-h"}, {"mutants", "-h"}, {"explore", "-h"}} {
		if code, _, err := command(t, args...); code != 0 || !strings.Contains(err, "Flags:") {
			t.Errorf("%q: exit %d, %s", args, code, err)
		}
	}
	if code, out, _ := command(t, "help"); code != 0 || !strings.Contains(out, "entropysim study") {
		t.Errorf("exit %d, %s", code, out)
	}
}

func TestBadUsage(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.csv")
	if err := os.WriteFile(bad, []byte("id,submit,runtime\na,0,x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-n", "0"}, {"-n", "many"}, {"-seed", "-1"}, {"-parallel", "0"}, {"-tail", "0"}, {"-mutant", "none"}, {"-policy", "lottery"},
		{"-frob"}, {"5"}, {"mutants", "-n", "0"}, {"explore", "-assignments", "9"}, {"study", "-jobs", "0"}, {"study", "-rate", "NaN"}, {"study", "-cpus", "x"},
		{"study", "-gpus", "0.5"}, {"study", "-policy", "fifo,lottery"}, {"study", "-workers", "-3"}, {"study", "-trace", bad}, {"study", "-trace", bad + "no"}, {"study", "-priorities", "200"}} {
		if code, out, err := command(t, args...); code != exitUsage || err == "" || out != "" {
			t.Errorf("%q: exit %d, %q, %q", args, code, out, err)
		}
	}
}
