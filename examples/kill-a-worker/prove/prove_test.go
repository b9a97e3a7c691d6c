package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/examples/kill-a-worker/witness"
)

// tellAll makes stories of lines "job type assignment attempt".
func tellAll(t *testing.T, lines ...string) map[entropy.JobID]*story {
	t.Helper()
	stories := map[entropy.JobID]*story{}
	attempts := map[entropy.JobID]int{}
	for _, l := range lines {
		f := strings.Fields(l + " -")
		id := entropy.JobID(f[0])
		a := entropy.JobAttrs{AssignmentID: entropy.AssignmentID(f[2])}
		switch f[1] {
		case entropy.JobAssigned:
			attempts[id]++
			a.Attempt = attempts[id]
		case entropy.JobSucceeded:
			a.Artifacts = make([]entropy.Artifact, 3)
		}
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if stories[id] == nil {
			stories[id] = new(story)
		}
		if err := stories[id].tell(&entropy.Event{Type: f[1], Attrs: b}); err != nil {
			t.Fatal(err)
		}
	}
	return stories
}

// good is a demonstration in small: a ran on the dead worker, b waited in its
// spool, c waited for the control plane.
var good = []string{
	"a job.submitted", "b job.submitted", "c job.submitted",
	"a job.assigned a1", "a job.started a1", "b job.assigned b1", "b job.started b1", "c job.assigned c1", "c job.started c1",
	"b job.succeeded b1", "c job.succeeded c1",
	"a job.lost a1", "a job.retrying a1", "a job.requeued", "a job.assigned a2", "a job.started a2", "a job.succeeded a2",
}

func goodWitness() *witness.Witness {
	return &witness.Witness{
		Jobs: []entropy.JobID{"a", "b", "c"}, Running: []witness.Seen{{JobID: "a", AssignmentID: "a1"}},
		Spooled: []witness.Seen{{JobID: "b", AssignmentID: "b1"}}, Waiting: []witness.Seen{{JobID: "c", AssignmentID: "c1"}},
		Table: witness.Table{Succeeded: 3, Lost: 1, Retried: 1, Replayed: 2, Artifacts: 9},
	}
}

// proves that the program accepts a true story and refuses each kind of a false
// one: a proof that cannot fail proves nothing.
func TestOnlyATrueStoryIsProved(t *testing.T) {
	if err := compare(goodWitness(), tellAll(t, good...)); err != nil {
		t.Fatalf("a true story: %v", err)
	}
	change := func(old, new string) []string {
		return strings.Split(strings.Replace(strings.Join(good, "\n"), old, new, 1), "\n")
	}
	for want, lines := range map[string][]string{
		"is not in the journal":            good[3:4],
		"3 were submitted":                 append([]string{"x job.submitted", "x job.assigned x1", "x job.succeeded x1"}, good...),
		"submitted 2 times":                append([]string{"a job.submitted"}, good...),
		"succeeded 2 times":                append(append([]string(nil), good...), "b job.succeeded b1"),
		"ended otherwise 1 times":          change("c job.succeeded c1", "c job.failed c1"),
		"changed it after its end":         append(append([]string(nil), good...), "b job.lost b1"),
		"which it was never given":         change("c job.succeeded c1", "c job.succeeded z9"),
		"did not count":                    change("b job.succeeded b1", "b job.lost b1\nb job.assigned b2\nb job.succeeded b2"),
		"waited for the control plane":     change("c job.succeeded c1", "c job.lost c1\nc job.assigned c2\nc job.succeeded c2"),
		"does not say that this attempt":   change("a job.lost a1", "a job.released a1"),
		"the table says {Succeeded:3 Lost": change("c job.succeeded c1", "c job.lost c1\nc job.reattached c1\nc job.succeeded c1"),
	} {
		if err := compare(goodWitness(), tellAll(t, lines...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a story in which something is wrong gives %v, want %q", err, want)
		}
	}
}
