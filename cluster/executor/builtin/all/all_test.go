package all_test

import (
	"os"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy/cluster/executor/builtin/all"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// proves that the settings of docs/EXECUTORS.md are accepted as they are printed.
func TestSettingsOfTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../../../docs/EXECUTORS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```json\n")
	text, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatal("the document has no settings")
	}
	conf, err := all.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	h := executortest.Handlers{}
	if err := conf.Register(h); err != nil {
		t.Error(err)
	}
	for _, command := range []string{"http_call", "notify_supplier", "s3_put", "controlm_rerun", "rotate_logs"} {
		if h[command] == nil {
			t.Errorf("%s has no handler", command)
		}
	}
	if h["restart_job"] != nil {
		t.Error("a document offers the fabric's own commands")
	}
}

// proves that settings that are not understood are refused.
func TestRefused(t *testing.T) {
	for _, text := range []string{`{"htpp":{}}`, `{"http":{"private":1}}`, `{} {}`, ``, `{"s3":{"buckets":{"a":{"wirte":true}}}}`} {
		if _, err := all.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}
