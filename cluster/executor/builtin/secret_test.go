package builtin_test

import (
	"testing"

	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
)

// proves that neither a secret nor a part of one that a limit has cut is reported.
func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"a hunter22 b hunter22": "a [secret] b [secret]",
		"it ends in hunte":      "it ends in [secret]",
		"nter22 it began":       "[secret] it began",
		"hun and 22":            "hun and 22",
		"":                      "",
	} {
		if got := builtin.Redact(text, "hunter22", "", "it"); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
