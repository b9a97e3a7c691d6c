package entropy_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entropy-fabric/entropy"
)

func groupSpec(after ...string) entropy.JobSpec {
	s := entropy.JobSpec{Command: []string{"x"}}
	for _, a := range after {
		id, on, _ := strings.Cut(a, ":")
		s.After = append(s.After, entropy.Dependency{Job: entropy.JobID(id), On: on})
	}
	return s
}

// proves J-10: cycles are found if and only if there are some, by comparison with
// a reference that sorts the jobs topologically.
func TestCyclesAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "jobs")
		subs := make([]entropy.Submission, n)
		edges := make(map[int]map[int]bool)
		for i := range subs {
			var after []string
			edges[i] = make(map[int]bool)
			for _, k := range rapid.SliceOfN(rapid.IntRange(0, 3*n), 0, 3).Draw(t, "after") {
				id := fmt.Sprint("j", k) // of n or more: outside
				if k < n {
					edges[i][k] = true
					if k%3 == 0 {
						id += ".1" // a member stands for its array
					}
				}
				after = append(after, id)
			}
			subs[i] = entropy.Submission{ID: entropy.JobID(fmt.Sprint("j", i)), Spec: groupSpec(after...)}
			if i%3 == 0 {
				subs[i].Array = &entropy.ArraySpec{Last: 2}
			}
		}
		for removed := true; removed; { // Kahn: take away what waits for nothing
			removed = false
			for i := range edges {
				if len(edges[i]) > 0 {
					continue
				}
				delete(edges, i)
				for _, e := range edges {
					delete(e, i)
				}
				removed = true
			}
		}
		_, err := entropy.NewGroup(subs, "p", time.Time{})
		if cyclic := len(edges) > 0; cyclic != (err != nil) {
			t.Fatalf("cyclic %v, error %v", cyclic, err)
		}
	})
}

// proves J-10: a chain as long as a call, and a ladder with 2^500 paths, are
// checked at once and not by every path.
func TestCyclesInTime(t *testing.T) {
	subs := []entropy.Submission{{ID: "j0", Spec: groupSpec()}, {ID: "j1", Spec: groupSpec()}}
	for i := 2; i < entropy.MaxBatch; i++ {
		subs = append(subs, entropy.Submission{ID: entropy.JobID(fmt.Sprint("j", i)), Spec: groupSpec(fmt.Sprint("j", i-1), fmt.Sprint("j", i-2))})
	}
	slices.Reverse(subs)
	if _, err := entropy.NewGroup(subs, "p", time.Time{}); err != nil {
		t.Fatal(err)
	}
	subs[len(subs)-1].Spec = groupSpec("j999")
	_, err := entropy.NewGroup(subs, "p", time.Time{})
	if err == nil || len(err.Error()) > 500 || !strings.Contains(err.Error(), "…") {
		t.Errorf("a long cycle: %v", err)
	}
}

// proves J-10: how those stand that are waited for decides; for all combinations.
func TestSettlement(t *testing.T) {
	states := append(slices.Clone(entropy.States), "")
	for _, on := range []string{"", entropy.OnSuccess, entropy.OnEnd} {
		for _, st := range states {
			for _, bad := range []entropy.JobID{"", "a.3"} {
				at := map[entropy.JobID]entropy.Standing{"a": {State: st, Bad: bad, As: entropy.Failed}}
				if bad == "" {
					at["a"] = entropy.Standing{State: st}
				}
				got := entropy.Settlement([]entropy.Dependency{{Job: "a", On: on}}, at)
				open := st != "" && !st.Terminal()
				broken := on != entropy.OnEnd && (bad != "" || st == "" || st.Terminal() && st != entropy.Succeeded)
				if (got.Broken != "") != broken || !broken && (got.Open == 1) != open {
					t.Errorf("on %q, %q, bad %q: %+v", on, st, bad, got)
				}
			}
		}
	}
	at := map[entropy.JobID]entropy.Standing{"a": {State: entropy.Failed}, "b": {State: entropy.Canceled}, "c": {State: entropy.Running}}
	got := entropy.Settlement([]entropy.Dependency{{Job: "c"}, {Job: "b"}, {Job: "a"}, {Job: "a", On: "end"}, {Job: "c", On: "end"}}, at)
	if got.Open != 2 || got.Broken != "job b, which it waits for, was canceled" {
		t.Errorf("%+v", got)
	}
}

// proves J-10: the state of the whole for every mix of members.
func TestArrayState(t *testing.T) {
	for want, states := range map[entropy.State][]entropy.State{
		entropy.Succeeded: {entropy.Succeeded}, entropy.Failed: {entropy.Succeeded, entropy.Canceled, entropy.Failed}, entropy.Canceled: {entropy.Succeeded, entropy.Canceled},
		entropy.Running: {entropy.Running, entropy.Failed, entropy.Pending}, entropy.Pending: {entropy.Succeeded, entropy.Pending, entropy.Scheduled}, entropy.Lost: {entropy.Lost, entropy.Retrying},
	} {
		tally := entropy.ArrayTally{States: map[entropy.State]int64{}}
		for _, s := range states {
			tally.States[s] = 2
		}
		if got := tally.State(); got != want {
			t.Errorf("%v: %s, want %s", states, got, want)
		}
	}
}

// proves P-2: an array's document is the fold of its event.
func TestArrayDocument(t *testing.T) {
	g, err := entropy.NewGroup([]entropy.Submission{{ID: "a", Spec: groupSpec("up:end"), Array: &entropy.ArraySpec{First: 3, Last: 5}}}, "admin:x", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ch, err := g.Arrays[0].Change()
	if err != nil {
		t.Fatal(err)
	}
	d := entropy.NewDocument(ch.Entity)
	if err := d.Apply(ch.Events[0]); err != nil {
		t.Fatal(err)
	}
	a, b := must(json.Marshal(d)), must(json.Marshal(g.Arrays[0]))
	if string(a) != string(b) {
		t.Errorf("replayed %s\nlive     %s", a, b)
	}
	if err := d.Apply(ch.Events[0]); err == nil {
		t.Error("it was applied twice")
	}
	if got := g.Upstream(); !reflect.DeepEqual(got, []entropy.JobID{"up"}) || !g.Has("a") || !g.Has("a.4") || g.Has("a.6") {
		t.Errorf("upstream %v", got)
	}
}

// proves J-10: the template is not changed by what is made from it, and {} is
// replaced in argv alone.
func TestArrayMembers(t *testing.T) {
	spec := entropy.JobSpec{Command: []string{"run", "a{}b{}", "c"}, Env: map[string]string{"K": "{}", entropy.EnvIndex: "mine"}, Cwd: "/{}"}
	before := fmt.Sprint(spec)
	g, err := entropy.NewGroup([]entropy.Submission{{ID: "a", Spec: spec, Array: &entropy.ArraySpec{Lines: []string{"x {} y", ""}}}}, "p", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	m := g.Jobs[0].Spec
	if !slices.Equal(m.Command, []string{"run", "ax {} ybx {} y", "c"}) || m.Env["K"] != "{}" || m.Cwd != "/{}" || m.Env[entropy.EnvIndex] != "0" || m.Env[entropy.EnvLine] != "x {} y" {
		t.Errorf("member %+v", m)
	}
	if line, ok := g.Jobs[1].Spec.Env[entropy.EnvLine]; !ok || line != "" || g.Jobs[1].ID != "a.1" {
		t.Errorf("an empty line: %+v", g.Jobs[1])
	}
	if after := fmt.Sprint(spec); after != before {
		t.Errorf("the template became %s", after)
	}
}

// proves J-14: what a request for many jobs may say.
func TestBulkRequest(t *testing.T) {
	ok := entropy.BulkRequest{Verb: entropy.VerbRetry, Filter: entropy.JobFilter{Queue: "q"}}
	if err := ok.Validate(); err != nil || !slices.Equal(ok.Selected().States, []entropy.State{entropy.Failed, entropy.Canceled}) || ok.Selected().Limit != entropy.MaxBatch {
		t.Errorf("%v, %+v", err, ok.Selected())
	}
	ok.Verb = entropy.VerbHold
	for _, s := range ok.Selected().States {
		if s.Terminal() {
			t.Errorf("hold selects %s", s)
		}
	}
	ok.Filter.States = []entropy.State{entropy.Pending}
	if got := ok.Selected().States; len(got) != 1 {
		t.Errorf("selected %v", got)
	}
	for _, bad := range []entropy.BulkRequest{{}, {Verb: entropy.VerbCancel}, {Verb: "x", IDs: []entropy.JobID{"a"}}, {Verb: entropy.VerbCancel, IDs: make([]entropy.JobID, 1001)},
		{Verb: entropy.VerbCancel, IDs: []entropy.JobID{"a"}, Operation: entropy.Operation{ID: "a b"}}, {Verb: entropy.VerbRetry, Dependents: true, Filter: entropy.JobFilter{Queue: "q"}},
		{Verb: entropy.VerbCancel, Filter: entropy.JobFilter{Queue: "q", Limit: -1}}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
