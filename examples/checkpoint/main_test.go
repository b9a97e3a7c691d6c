package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary be the supervisor of its own jobs, as the
// program is of its.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		main()
	}
	os.Exit(m.Run())
}

// proves H-10, J-13: the example does what its README says, word for word: it is
// killed in the middle, and goes on where its checkpoint was.
func TestCheckpointExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "$ go run ./examples/checkpoint\n")
	want, _, ok := strings.Cut(rest, "```")
	if !ok || want == "" {
		t.Fatal("the README shows no output")
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed %q, the README says %q", out.String(), want)
	}
}
