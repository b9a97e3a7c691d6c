package entropy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// proves that docs/HARD-CASES.md names only tests and scripts that exist
func TestHardCasesAreTested(t *testing.T) {
	doc, err := os.ReadFile("docs/HARD-CASES.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			var b []byte
			b, err = os.ReadFile(path)
			tests.Write(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"H-1 ", "H-2 ", "H-3 ", "H-4 ", "H-8 ", "H-9 ", "H-10 ", "H-11 ", "H-12 ", "H-13 "} {
		if !strings.Contains(string(doc), "\n| "+h) {
			t.Errorf("%sis not there", h)
		}
	}
	named := regexp.MustCompile("`(Test\\w+|(?:actors/)?testdata/[^`]+\\.txt)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 30 {
		t.Fatalf("only %d are named", len(named))
	}
	for _, m := range named {
		name := m[1]
		if strings.HasSuffix(name, ".txt") {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("there is no test %s", name)
		}
	}
}
