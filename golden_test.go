package entropy_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files and generated documents")

// golden compares got with a file that is kept under version control.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with: go test -run '^%s$' -update .", err, t.Name())
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not up to date; if the change is meant: go test -run '^%s$' -update .\n%s", path, t.Name(), firstDifference(got, want))
	}
}

func firstDifference(got, want []byte) string {
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			return "missing: " + string(w[i])
		case i >= len(w):
			return "unexpected: " + string(g[i])
		case !bytes.Equal(g[i], w[i]):
			return "got:  " + string(g[i]) + "\nwant: " + string(w[i])
		}
	}
	return ""
}
