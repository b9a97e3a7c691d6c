package executor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/entropy-fabric/entropy"
)

func recordOf(id string) *record {
	return &record{Order: entropy.ActionOrder{ActionID: "a", AttemptID: entropy.AttemptID(id), Command: "c"}}
}

// proves A-3: what was put into the spool is there for the next process, whatever
// the attempt's ID holds; half-written and damaged files harm nothing else.
func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{"plain-1", "../../escape", "a/b", ".hidden", "lock"}
	for _, id := range ids {
		if err := s.put(recordOf(id)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openSpool(dir); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("a second process: %v", err)
	}
	s.close()
	for name, text := range map[string]string{"half.json.new": `{"order":`, "bad.json": "not JSON"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err = openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.all()); n != len(ids) {
		t.Errorf("%d records, want %d", n, len(ids))
	}
	if _, err := os.Stat(filepath.Join(dir, "bad.json.damaged")); err != nil {
		t.Errorf("the damaged file is not kept: %v", err)
	}
	for _, id := range ids {
		if err := s.forget(entropy.AttemptID(id)); err != nil {
			t.Fatal(err)
		}
	}
	s.close()
	if s, err = openSpool(dir); err != nil || len(s.all()) != 0 {
		t.Errorf("%d records after all were forgotten, %v", len(s.all()), err)
	}
	s.close()
}
