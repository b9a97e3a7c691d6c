package main

import (
	"bytes"
	"context"
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
}

func TestViolationIsShown(t *testing.T) {
	code, out, _ := command(t, "-n", "3", "-mutant", "start-before-ack")
	if code != exitBroken || !strings.Contains(out, "seed 1 broke INV-13") || !strings.Contains(out, "-seed 1 -tail 100000 -mutant start-before-ack") ||
		!strings.HasPrefix(lastLine(out), "histories=3 violations=3 ") {
		t.Errorf("exit %d:\n%s", code, out)
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

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{{"-n", "0"}, {"-n", "many"}, {"-seed", "-1"}, {"-parallel", "0"}, {"-tail", "0"}, {"-mutant", "none"}, {"-frob"}, {"5"}} {
		if code, out, err := command(t, args...); code != exitUsage || err == "" || out != "" {
			t.Errorf("%q: exit %d, %q, %q", args, code, out, err)
		}
	}
}
