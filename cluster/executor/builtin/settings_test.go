package builtin_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy/cluster/executor/builtin/controlm"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/httpcall"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/local"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/notify"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/s3"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// proves that the settings of docs/EXECUTORS.md are accepted as they are printed.
func TestSettingsOfTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/EXECUTORS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```json\n")
	text, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatal("the document has no settings")
	}
	var conf struct {
		HTTP     httpcall.Config `json:"http"`
		Notify   notify.Config   `json:"notify"`
		S3       s3.Config       `json:"s3"`
		ControlM controlm.Config `json:"controlm"`
		Local    local.Config    `json:"local"`
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&conf); err != nil {
		t.Fatal(err)
	}
	h := executortest.Handlers{}
	for _, err := range []error{httpcall.Register(h, conf.HTTP), notify.Register(h, conf.Notify), s3.Register(h, conf.S3),
		controlm.Register(h, conf.ControlM), local.Register(h, conf.Local)} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, command := range []string{"http_call", "notify_supplier", "s3_put", "controlm_rerun", "rotate_logs"} {
		if h[command] == nil {
			t.Errorf("%s has no handler", command)
		}
	}
}
