package journal

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// layOut returns the changes that make an array and its members.
func layOut(t *testing.T, id entropy.JobID, n int, s entropy.JobSpec) ([]entropy.Change, []*tracker) {
	t.Helper()
	g, err := entropy.NewGroup([]entropy.Submission{{ID: id, Spec: s, Array: &entropy.ArraySpec{Last: n - 1}}}, "admin:t", epoch0)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := g.Arrays[0].Change()
	if err != nil {
		t.Fatal(err)
	}
	changes := []entropy.Change{ch}
	members := make([]*tracker, n)
	for i := range g.Jobs {
		j := &g.Jobs[i]
		members[i] = newTracker(string(j.ID))
		changes = append(changes, members[i].change(t, entropy.Submit{Spec: j.Spec, SpecHash: j.Hash, Principal: "admin:t", Blocked: len(s.After) > 0}))
	}
	return changes, members
}

// proves J-10, H-2, P-2: an array and its members are one append, all or nothing;
// what is listed, counted and tallied of them is what a replay gives.
func TestArraysAndDependencies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path})
	up := newTracker("up")
	must(t, j, up.submit(t, spec()))
	s := spec()
	s.Tenant, s.Labels, s.After = "lab", map[string]string{"team": "x"}, []entropy.Dependency{{Job: "up"}, {Job: "up", On: entropy.OnEnd}}
	changes, _ := layOut(t, "arr", 25, s)
	taken := newTracker("arr.24") // a member's ID that is in use refuses the whole
	must(t, j, taken.submit(t, spec()))
	_, err := j.Append(bg, changes...)
	wantCode(t, err, entropy.CodeConflict)
	_, err = j.Job(bg, "arr.0")
	wantCode(t, err, entropy.CodeNotFound)
	_, err = j.Document(bg, "array:arr")
	wantCode(t, err, entropy.CodeNotFound)

	changes, members := layOut(t, "arr", 24, s)
	must(t, j, changes...)
	var blocked []entropy.JobID
	if err := j.EachBlocked(bg, func(b *entropy.Job) error {
		blocked = append(blocked, b.ID)
		if len(b.Spec.After) != 2 || !b.Blocked {
			t.Errorf("blocked: %+v", b)
		}
		return nil
	}); err != nil || len(blocked) != 24 || blocked[3] != "arr.3" {
		t.Fatalf("blocked %v, %v", blocked, err)
	}
	for i, m := range members[:20] {
		must(t, j, m.change(t, entropy.Settle{}))
		must(t, j, m.assign(t, "w1", uint64(i+1)), m.ack(t), m.succeed(t))
	}
	must(t, j, members[22].change(t, entropy.Settle{Broken: "up failed"}), members[21].change(t, entropy.Cancel{}))
	checkArray(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Config{Path: path})
	checkArray(t, j)
	report, err := j.Verify(bg, nil)
	if err != nil || !report.OK() || report.Documents != 1 {
		t.Errorf("%v, %v", report, err)
	}
}

func checkArray(t *testing.T, j *Journal) {
	t.Helper()
	tally, err := j.Members(bg, "arr")
	if err != nil || tally.States[entropy.Succeeded] != 20 || tally.States[entropy.Scheduled] != 2 || tally.Bad != "arr.21" || tally.BadState != entropy.Canceled || tally.FinishedAt.IsZero() {
		t.Errorf("tally %+v, %v", tally, err)
	}
	if none, err := j.Members(bg, "nothing"); err != nil || len(none.States) != 0 || none.Bad != "" {
		t.Errorf("of nothing: %+v, %v", none, err)
	}
	states, err := j.States(bg, []entropy.JobID{"up", "arr.21", "arr", "nobody", "arr.23", `x"y`})
	if want := map[entropy.JobID]entropy.State{"up": entropy.Pending, "arr.21": entropy.Canceled, "arr.23": entropy.Scheduled}; err != nil || fmt.Sprint(states) != fmt.Sprint(want) {
		t.Errorf("states %v, %v", states, err)
	}
	open := map[entropy.JobID]int{}
	if err := j.EachOpenArray(bg, func(id entropy.JobID, n int) error { open[id] = n; return nil }); err != nil || len(open) != 1 || open["arr"] != 2 {
		t.Errorf("open %v, %v", open, err)
	}
	ids, err := j.Dependents(bg, "up", 3)
	if err != nil || !slices.Equal(ids, []entropy.JobID{"arr.0", "arr.1", "arr.2"}) {
		t.Errorf("dependents %v, %v", ids, err)
	}
	for _, f := range []entropy.JobFilter{
		{Array: "arr"}, {Tenant: "lab"}, {Array: "arr", States: []entropy.State{entropy.Succeeded}, Limit: 7}, {Array: "arr", Labels: map[string]string{"team": "x"}, Name: "hash"},
		{Array: "other"}, {Tenant: "lab", States: []entropy.State{entropy.Failed, entropy.Canceled}}, {States: []entropy.State{entropy.Pending}},
	} {
		var listed int64
		for g := f; ; {
			page, err := j.Jobs(bg, g)
			if err != nil {
				t.Fatal(err)
			}
			for _, job := range page.Jobs {
				if !f.Selects(job) {
					t.Errorf("%+v lists %s", f, job.ID)
				}
			}
			listed += int64(len(page.Jobs))
			if g.Cursor = page.Next; page.Next == "" {
				break
			}
		}
		want := map[string]int64{"arr": 24, "other": 0}[string(f.Array)]
		n, err := j.CountJobs(bg, f)
		if err != nil || n != listed || f.Array != "" && len(f.States) == 0 && n != want || n == 0 && f.Array != "other" {
			t.Errorf("%+v: counted %d, listed %d, %v", f, n, listed, err)
		}
	}
}

// proves P-2: verify finds what is wrong in the table of links.
func TestVerifyFindsBrokenLinks(t *testing.T) {
	t.Parallel()
	for what, sql := range map[string]string{
		"gone":    `DELETE FROM job_link WHERE kind = 'after'`,
		"moved":   `UPDATE job_link SET target = 'other' WHERE kind = 'array' AND ordinal = (SELECT min(ordinal) FROM job_link)`,
		"extra":   `INSERT INTO job_link SELECT 'after', 'x', ordinal FROM job LIMIT 1`,
		"blocked": `UPDATE job SET blocked = 0 WHERE id = 'arr.1'`,
	} {
		path := filepath.Join(t.TempDir(), "journal.db")
		j := open(t, Config{Path: path})
		s := spec()
		s.After = []entropy.Dependency{{Job: "up"}}
		up := newTracker("up")
		changes, _ := layOut(t, "arr", 3, s)
		must(t, j, append([]entropy.Change{up.submit(t, spec())}, changes...)...)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		raw(t, path, sql)
		r, err := VerifyFile(bg, path)
		if err != nil || r.OK() || !strings.Contains(r.String(), "job_link") && what != "blocked" {
			t.Errorf("%s: %v, %v", what, r, err)
		}
	}
}

// proves J-10: an array of MaxArray members is accepted in one append, in time.
func TestLargestArray(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	changes, _ := layOut(t, "big", entropy.MaxArray, spec())
	start := time.Now()
	must(t, j, changes...)
	t.Logf("%d members in %s", entropy.MaxArray, time.Since(start))
	if tally, err := j.Members(bg, "big"); err != nil || tally.States[entropy.Pending] != entropy.MaxArray {
		t.Errorf("%v %v", tally, err)
	}
}
