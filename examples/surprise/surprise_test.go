package main

import (
	"bytes"
	"strings"
	"testing"
)

// proves E-4, I-2: a program that embeds the fabric finds both faults of two weeks, and
// says why.
func TestSurprise(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"slower: half now take up to", "deliver (in 100 % of the cases the next step) has not come in", "is learned from"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
	t.Log("\n" + out.String())
}
