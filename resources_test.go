package entropy_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves J-9: amounts are read as people write them, and read back as written
func TestAmounts(t *testing.T) {
	for text, want := range map[string]entropy.Amount{
		"0": 0, "2": 2000, "0.5": 500, "0.125": 125, "64G": 64e12, "1Gi": 1 << 30 * 1000, "1.5k": 1_500_000, "512Mi": 512 << 20 * 1000,
	} {
		got, err := entropy.ParseAmount(text)
		if err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
		back, err := entropy.ParseAmount(got.String())
		if err != nil || back != got {
			t.Errorf("%q reads back from %q as %d (%v)", text, got, back, err)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1e9", "0x10", ".5", "1.", "1.0005", "1_000", "1 G", "G", "1GG", "1Gk", "1i", "99999999999999999999", "9999999T", "NaN"} {
		if got, err := entropy.ParseAmount(text); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	var r entropy.Resources
	if err := json.Unmarshal([]byte(`{"cpu":1.5,"mem":"64G","gpu":1}`), &r); err != nil || r.String() != "cpu 1.5, gpu 1, mem 64000000000" {
		t.Errorf("read %s, %v", r, err)
	}
	if b, err := json.Marshal(r); err != nil || string(b) != `{"cpu":1.5,"gpu":1,"mem":64000000000}` {
		t.Errorf("wrote %s, %v", b, err)
	}
}

// proves J-9: the ways in which a job can be satisfied
func TestNeeds(t *testing.T) {
	s := entropy.JobSpec{Require: map[string]string{"zone": "a", "gpu": "any"}, Resources: entropy.Resources{"cpu": 1000},
		AnyOf: []entropy.Need{{Require: map[string]string{"gpu": "h100"}, Resources: entropy.Resources{"gpu": 1000}}, {Resources: entropy.Resources{"cpu": 16_000}}}}
	needs := s.Needs()
	if len(needs) != 2 || !maps.Equal(needs[0].Require, map[string]string{"zone": "a", "gpu": "h100"}) || needs[0].Resources.String() != "cpu 1, gpu 1" ||
		!maps.Equal(needs[1].Require, s.Require) || needs[1].Resources.String() != "cpu 16" {
		t.Errorf("%+v", needs)
	}
	if s.Require["gpu"] != "any" || s.Resources["cpu"] != 1000 {
		t.Error("the spec was changed")
	}
	if needs := (&entropy.JobSpec{}).Needs(); len(needs) != 1 || len(needs[0].Require)+len(needs[0].Resources) > 0 {
		t.Errorf("%+v", needs)
	}
}

// proves J-9, H-9 (bad input): what cannot be meant is refused, by name
func TestNeedsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*entropy.JobSpec){
		"gpu is 1.5":              func(s *entropy.JobSpec) { s.Resources = entropy.Resources{"gpu": 1500} },
		"cpu is -1":               func(s *entropy.JobSpec) { s.Resources = entropy.Resources{"cpu": -1000} },
		"cpu is 0;":               func(s *entropy.JobSpec) { s.Resources = entropy.Resources{"cpu": 0, "bad name": 1} },
		"any_of[0].resources":     func(s *entropy.JobSpec) { s.AnyOf = []entropy.Need{{Resources: entropy.Resources{"gpu": -1}}} },
		"needs disconnect.worker": func(s *entropy.JobSpec) { s.ConcurrencyKey = "k" },
		"exclude each other":      func(s *entropy.JobSpec) { s.Preemptible, s.Retry.NoRetry = true, true },
		"after[0].on":             func(s *entropy.JobSpec) { s.After = []entropy.Dependency{{Job: "a", On: "failure"}} },
		"after[0].job":            func(s *entropy.JobSpec) { s.After = []entropy.Dependency{{Job: "../a"}} },
		"at most 1000":            func(s *entropy.JobSpec) { s.After = make([]entropy.Dependency, 1001) },
	} {
		s := entropy.JobSpec{Command: []string{"x"}}
		change(&s)
		if err := s.Validate(); entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error()+";", want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
