package entropy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// allStates is every state a job can be in, and not yet being.
var allStates = append([]entropy.State{""}, entropy.States...)

// proves J-1: every state × event pair is in the table or refused
func TestTransitionMatrix(t *testing.T) {
	var b strings.Builder
	for _, event := range entropy.JobEventTypes {
		for _, from := range allStates {
			fmt.Fprintf(&b, "%-22s in %-10s", event, orNone(from))
			outcome := "refused"
			for _, to := range entropy.States {
				if got, ok := entropy.NextState(from, event, to); ok && got == to {
					if outcome == "refused" {
						outcome = ""
					}
					outcome += " " + string(to)
				}
			}
			b.WriteString(strings.TrimRight(" → "+strings.TrimSpace(outcome), " ") + "\n")
		}
	}
	golden(t, "testdata/transitions.golden", []byte(b.String()))
}

func orNone(s entropy.State) string {
	if s == "" {
		return "(none)"
	}
	return string(s)
}

// proves J-1: Apply refuses what the table does not have, and then changes nothing
func TestApplyFollowsTheTable(t *testing.T) {
	allowed := make(map[string]bool)
	for _, x := range entropy.JobTransitions {
		allowed[string(x.From)+" "+x.Event] = true
	}
	for _, from := range allStates {
		for _, event := range append(slices.Clone(entropy.JobEventTypes), "job.unheard_of", "") {
			j := jobIn(from)
			before := string(must(j.EncodeRecord()))
			err := j.Apply(eventFor(event, j))
			if (err == nil) != allowed[string(from)+" "+event] {
				t.Errorf("%s in state %s: %v", event, orNone(from), err)
			}
			if err != nil && string(must(j.EncodeRecord())) != before {
				t.Errorf("%s in state %s was refused and changed the job", event, orNone(from))
			}
		}
	}
}

// jobIn returns a plausible job in a state, whose attempt a1 was ACKed and a2, if
// there is one, not.
func jobIn(s entropy.State) *entropy.Job {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	j := &entropy.Job{ID: "j", State: s}
	switch s {
	case "", entropy.Scheduled:
		return j
	}
	a1 := entropy.Attempt{Number: 1, AssignmentID: "a1", WorkerID: "w1", StartedAt: &at}
	j.Attempt, j.LastAcked, j.EligibleAt = 1, "a1", &at
	switch s {
	case entropy.Running:
		j.Lease = &entropy.Lease{AssignmentID: "a1", WorkerID: "w1", Acked: true}
	case entropy.Assigned:
		a1.End = entropy.EndLost
		j.Attempt = 2
		j.Lease = &entropy.Lease{AssignmentID: "a2", WorkerID: "w2"}
		j.Attempts = []entropy.Attempt{a1, {Number: 2, AssignmentID: "a2", WorkerID: "w2"}}
		return j
	default:
		a1.End = entropy.EndLost
	}
	j.Attempts = []entropy.Attempt{a1}
	return j
}

// eventFor returns an event of a type that names what it should name in j.
func eventFor(typ string, j *entropy.Job) entropy.JobEvent {
	at := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)
	e := entropy.JobEvent{Type: typ, TS: at}
	switch typ {
	case entropy.JobSubmitted:
		e.Attrs = entropy.JobAttrs{Spec: &entropy.JobSpec{Command: []string{"x"}}, State: entropy.Pending}
	case entropy.JobAssigned:
		e.Attrs = entropy.JobAttrs{AssignmentID: "a9", WorkerID: "w9", Attempt: j.Attempt + 1}
	case entropy.JobStarted, entropy.JobReleased, entropy.JobLost, entropy.JobAttemptFailed, entropy.JobPreempted, entropy.JobPreemptRequested:
		if j.Lease != nil {
			e.Attrs.AssignmentID = j.Lease.AssignmentID
		}
		e.Attrs.RetryAt = &at
	case entropy.JobCheckpointed, entropy.JobCheckpointRefused:
		if j.Lease != nil {
			e.Attrs.AssignmentID = j.Lease.AssignmentID
		}
		e.Attrs.Message, e.Attrs.Checkpoint = "why", &entropy.Checkpoint{Seq: 1}
	case entropy.JobReattached, entropy.JobLateFailure, entropy.JobEvidence, entropy.JobSucceeded:
		e.Attrs.AssignmentID = j.LastAcked
		e.Attrs.Late = typ == entropy.JobSucceeded && j.State != entropy.Running
	case entropy.JobRetrying:
		e.Attrs.RetryAt = &at
	}
	return e
}

// proves J-3, J-4: the fence is checked where events are applied, too
func TestApplyChecksTheFence(t *testing.T) {
	for _, c := range []struct {
		in    entropy.State
		event string
		attrs entropy.JobAttrs
	}{
		{"", entropy.JobSubmitted, entropy.JobAttrs{State: entropy.Pending}},
		{"", entropy.JobSubmitted, entropy.JobAttrs{Spec: &entropy.JobSpec{}, State: entropy.Running}},
		{entropy.Pending, entropy.JobAssigned, entropy.JobAttrs{AssignmentID: "", Attempt: 2}},
		{entropy.Pending, entropy.JobAssigned, entropy.JobAttrs{AssignmentID: "a1", Attempt: 2}},
		{entropy.Pending, entropy.JobAssigned, entropy.JobAttrs{AssignmentID: "a2", Attempt: 1}},
		{entropy.Assigned, entropy.JobStarted, entropy.JobAttrs{AssignmentID: "a1"}},
		{entropy.Assigned, entropy.JobReleased, entropy.JobAttrs{AssignmentID: "a1"}},
		{entropy.Running, entropy.JobLost, entropy.JobAttrs{AssignmentID: "a2"}},
		{entropy.Running, entropy.JobLost, entropy.JobAttrs{}},
		{entropy.Running, entropy.JobAttemptFailed, entropy.JobAttrs{}},
		{entropy.Running, entropy.JobPreempted, entropy.JobAttrs{AssignmentID: "a3"}},
		{entropy.Running, entropy.JobSucceeded, entropy.JobAttrs{}},
		{entropy.Running, entropy.JobSucceeded, entropy.JobAttrs{AssignmentID: "a2"}},
		{entropy.Running, entropy.JobFailed, entropy.JobAttrs{AssignmentID: "a2"}},
		{entropy.Running, entropy.JobCanceled, entropy.JobAttrs{AssignmentID: "a2"}},
		{entropy.Assigned, entropy.JobSucceeded, entropy.JobAttrs{AssignmentID: "a2", Late: true}},
		{entropy.Assigned, entropy.JobReattached, entropy.JobAttrs{AssignmentID: "a2"}},
		{entropy.Lost, entropy.JobReattached, entropy.JobAttrs{}},
		{entropy.Running, entropy.JobCheckpointed, entropy.JobAttrs{AssignmentID: "a2", Checkpoint: &entropy.Checkpoint{Seq: 1}}},
		{entropy.Running, entropy.JobCheckpointed, entropy.JobAttrs{AssignmentID: "a1"}},
		{entropy.Retrying, entropy.JobLateFailure, entropy.JobAttrs{AssignmentID: "a7"}},
		{entropy.Succeeded, entropy.JobEvidence, entropy.JobAttrs{AssignmentID: "a7"}},
	} {
		j := jobIn(c.in)
		before := string(must(j.EncodeRecord()))
		if err := j.Apply(entropy.JobEvent{Type: c.event, Attrs: c.attrs}); err == nil {
			t.Errorf("%s %+v was applied in state %s", c.event, c.attrs, orNone(c.in))
		}
		if string(must(j.EncodeRecord())) != before {
			t.Errorf("%s in state %s was refused and changed the job", c.event, orNone(c.in))
		}
	}
	fresh := &entropy.Job{ID: "j", State: entropy.Pending} // never ACKed
	for _, typ := range []string{entropy.JobReattached, entropy.JobLateFailure, entropy.JobSucceeded} {
		if fresh.Apply(entropy.JobEvent{Type: typ}) == nil {
			t.Errorf("%s was applied to a job that never ran", typ)
		}
	}
}

// proves J-1: the page is generated from the tables
func TestLifecycleDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Lifecycles

<!-- Generated from the tables in the code. Do not edit: go test -run '^TestLifecycleDoc$' -update . -->

Which event may follow which state, of a job, of a worker and of an action. Every pair that is not here is refused.

## Job

`)
	writeJobDiagram(&b)
	b.WriteString("\n| from | event | to | note |\n|---|---|---|---|\n")
	for _, x := range entropy.JobTransitions {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", orDash(string(x.From)), x.Event, x.To, x.Note)
	}
	b.WriteString(`
"Late" means after the attempt's lease had ended. ` + "`cancel_requested`" + ` is a flag, not a state: a running job keeps
running until its worker confirms the end of its processes or its lease ends.

### What the events carry

Beside the envelope, in ` + "`attrs`" + `. What is in parentheses is there only when it has something to say.

| event | attrs |
|---|---|
`)
	attrs := seenAttrs()
	for _, typ := range entropy.JobEventTypes {
		fmt.Fprintf(&b, "| `%s` | %s |\n", typ, attrs[typ])
	}
	b.WriteString("\n## Worker\n\n")
	writeWorkerDiagram(&b)
	b.WriteString("\n| from | event | to | note |\n|---|---|---|---|\n")
	for _, x := range entropy.WorkerTransitions {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", orDash(string(x.From)), x.Event, x.To, x.Note)
	}
	b.WriteString("\nDraining and quarantined are flags beside the state. Only `worker.resumed` clears them.\n")
	b.WriteString("\n## Action\n\n")
	writeActionDiagram(&b)
	b.WriteString("\n| from | event | to | note |\n|---|---|---|---|\n")
	for _, x := range entropy.ActionTransitions {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", orDash(string(x.From)), x.Event, x.To, x.Note)
	}
	b.WriteString("\n`cancel_requested` is a flag here, too. What executors say of their progress is no event: it is kept in memory.\n")
	golden(t, "docs/LIFECYCLE.md", []byte(b.String()))
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// edges groups the events of a table by the states they join, in its order.
type edges struct {
	order  []string
	labels map[string][]string
}

func (e *edges) add(from, to, event string) {
	if e.labels == nil {
		e.labels = make(map[string][]string)
	}
	if from == "" {
		from = "[*]"
	}
	k := from + " --> " + to
	if e.labels[k] == nil {
		e.order = append(e.order, k)
	}
	e.labels[k] = append(e.labels[k], event[strings.Index(event, ".")+1:])
}

func (e *edges) write(b *strings.Builder, ends ...string) {
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	for _, k := range e.order {
		fmt.Fprintf(b, "    %s: %s\n", k, strings.Join(e.labels[k], ", "))
	}
	for _, s := range ends {
		fmt.Fprintf(b, "    %s --> [*]\n", s)
	}
	b.WriteString("```\n")
}

func writeJobDiagram(b *strings.Builder) {
	var e edges
	for _, x := range entropy.JobTransitions {
		if x.From != x.To { // what leaves the state as it is would only clutter
			e.add(string(x.From), string(x.To), x.Event)
		}
	}
	e.write(b, "succeeded", "failed", "canceled")
}

func writeWorkerDiagram(b *strings.Builder) {
	var e edges
	for _, x := range entropy.WorkerTransitions {
		if string(x.From) != string(x.To) || x.Event == entropy.WorkerRegistered {
			e.add(string(x.From), string(x.To), x.Event)
		}
	}
	e.write(b)
}

func writeActionDiagram(b *strings.Builder) {
	var e edges
	for _, x := range entropy.ActionTransitions {
		if x.From != x.To {
			e.add(string(x.From), string(x.To), x.Event)
		}
	}
	e.write(b)
}

// seenAttrs lives many random lives and lists what each event type carried: a
// name that was always there plainly, one that was not in parentheses.
func seenAttrs() map[string]string {
	count := make(map[string]int)
	keys := make(map[string]map[string]int)
	for seed := range uint64(2000) {
		r := newRandomJob(seededChooser{rand.New(rand.NewPCG(seed, 3))})
		r.seen = func(e entropy.JobEvent) {
			var m map[string]json.RawMessage
			if err := json.Unmarshal(must(json.Marshal(&e.Attrs)), &m); err != nil {
				panic(err)
			}
			count[e.Type]++
			if keys[e.Type] == nil {
				keys[e.Type] = make(map[string]int)
			}
			for k := range m {
				keys[e.Type][k]++
			}
		}
		for range 60 {
			r.step(panicker{})
		}
	}
	return describeAttrs(count, keys)
}

func describeAttrs(count map[string]int, keys map[string]map[string]int) map[string]string {
	order := attrOrder()
	out := make(map[string]string)
	for typ, seen := range keys {
		var names []string
		for _, k := range slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return order[a] - order[b] }) {
			if seen[k] == count[typ] {
				names = append(names, "`"+k+"`")
			} else {
				names = append(names, "(`"+k+"`)")
			}
		}
		out[typ] = strings.Join(names, ", ")
	}
	return out
}

// attrOrder is the order of JobAttrs' fields, by their names in JSON.
func attrOrder() map[string]int {
	order := make(map[string]int)
	typ := reflect.TypeFor[entropy.JobAttrs]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		order[name] = i
	}
	return order
}

// panicker is a fataler where no test is at hand.
type panicker struct{}

func (panicker) Helper() {}

func (panicker) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
