package entropy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/entropy-fabric/entropy"
)

// chooser makes every choice of a random life: rapid does, or a seeded generator.
type chooser interface {
	// pick returns a number in [0, n).
	pick(n int) int
}

type rapidChooser struct{ t *rapid.T }

func (c rapidChooser) pick(n int) int { return rapid.IntRange(0, n-1).Draw(c.t, "pick") }

type seededChooser struct{ *rand.Rand }

func (c seededChooser) pick(n int) int { return c.IntN(n) }

func oneOf[T any](c chooser, choices ...T) T { return choices[c.pick(len(choices))] }

// randomJob lives one job through random commands, most of them plausible, and
// checks after each what must always hold.
type randomJob struct {
	chooser
	now  time.Time
	spec entropy.JobSpec
	hash string
	job  *entropy.Job
	log  [][]byte // its events, in their envelopes

	assignments []entropy.AssignmentID
	owner       map[entropy.AssignmentID]entropy.WorkerID
	answers     map[entropy.AssignmentID]entropy.Verdict // first given
	acks        int
	terminal    int
	patient     bool // mostly assigned and given back, so that it lives long
	seen        func(entropy.JobEvent)
}

func newRandomJob(c chooser) *randomJob {
	r := &randomJob{chooser: c, now: time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.FixedZone("CET", 3600)),
		job: &entropy.Job{ID: "j1"}, owner: make(map[entropy.AssignmentID]entropy.WorkerID), answers: make(map[entropy.AssignmentID]entropy.Verdict)}
	r.spec = r.drawSpec()
	r.hash = must(r.spec.SpecHash())
	return r
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (r *randomJob) drawSpec() entropy.JobSpec {
	s := entropy.JobSpec{Command: []string{"work", "<&>"}, Labels: map[string]string{"b": "2", "a": "1"}, Payload: json.RawMessage(`{ "x" : "<b>" }`)}
	s.Retry = entropy.RetryPolicy{MaxAttempts: r.pick(4), MaxLosses: r.pick(4), NonRetryable: oneOf[[]int](r, nil, []int{2})}
	if r.pick(4) == 0 {
		s.Retry.NoRetry, s.Retry.MaxAttempts = true, 0
	} else {
		s.Preemptible = r.pick(2) == 0
	}
	if r.pick(4) == 0 {
		s.After = []entropy.Dependency{{Job: "up", On: oneOf(r, "", entropy.OnEnd)}}
	}
	if r.pick(3) > 0 {
		s.Checkpoint = &entropy.CheckpointPolicy{Keep: r.pick(4), MaxSize: oneOf[int64](r, 0, 50)}
	}
	if r.pick(2) == 0 {
		s.Resources = entropy.Resources{entropy.ResourceCPU: 1500, entropy.ResourceGPU: entropy.Unit / 2}
	}
	s.Disconnect.LateResult = oneOf(r, "", entropy.LateAccept, entropy.LateDiscard)
	s.Disconnect.ReassignAfter = entropy.Duration(oneOf(r, 0, 0, 7*time.Second))
	s.QueueTimeout = entropy.Duration(oneOf(r, 0, 0, 3*time.Second+1))
	after := func(d time.Duration) *time.Time { t := r.now.Add(d); return &t }
	switch r.pick(4) {
	case 0:
		s.NotBefore = after(1500*time.Microsecond + 1)
	case 1:
		s.NotBefore = after(-time.Second)
	case 2:
		s.NotBefore = after(15 * time.Second)
	}
	if r.pick(4) == 0 {
		s.NotAfter = after(20*time.Second + 7)
	}
	return s
}

// someAssignment is one that exists, mostly the newest, or one that does not.
func (r *randomJob) someAssignment() (entropy.AssignmentID, entropy.WorkerID) {
	if len(r.assignments) == 0 || r.pick(20) == 0 {
		return oneOf[entropy.AssignmentID](r, "", "nobody"), "w1"
	}
	back := min(r.pick(3), r.pick(len(r.assignments)))
	id := r.assignments[len(r.assignments)-1-back]
	if r.pick(12) == 0 {
		return id, "thief"
	}
	return id, r.owner[id]
}

// awkward are texts that a record must survive.
var awkward = []string{"", "it broke", "<&>\u2028", "\xff\xfe bad", strings.Repeat("ä", entropy.MaxMessage), "x" + strings.Repeat("€", entropy.MaxMessage)}

func (r *randomJob) command() entropy.JobCommand {
	if r.patient && r.pick(20) > 0 {
		return r.patientCommand()
	}
	id, w := r.someAssignment()
	message := oneOf(r, awkward...)
	if r.job.Blocked && r.pick(3) == 0 {
		return entropy.Settle{Open: r.pick(2)}
	}
	if a := r.job.LastAcked; r.job.State == entropy.Retrying && r.pick(3) == 0 {
		return r.completion(a, r.owner[a], message) // a late word
	}
	switch r.pick(21) {
	case 0:
		return entropy.Submit{Spec: r.spec, SpecHash: oneOf(r, r.hash, r.hash, "other"), Principal: "admin:t", Operation: oneOf(r, "", "op"), Blocked: len(r.spec.After) > 0}
	case 14, 15, 16:
		return r.wish(id, message)
	case 20:
		return r.checkpoint(id, message)
	case 1, 2, 3:
		next := entropy.AssignmentID(fmt.Sprintf("a%d", len(r.assignments)+1))
		if r.pick(10) == 0 {
			next = id
		}
		return entropy.Assign{AssignmentID: next, WorkerID: oneOf[entropy.WorkerID](r, "w1", "w2", "w3"),
			Incarnation: uint64(1 + r.pick(3)), ClaimSeq: uint64(r.pick(9)), TTL: 15 * time.Second, Resources: r.spec.Resources,
			GPUs: oneOf(r, nil, []entropy.GPUShare{{Index: 1, Amount: entropy.Unit / 2}})}
	case 4, 5:
		return entropy.Ack{AssignmentID: id, WorkerID: w}
	case 6:
		return entropy.Release{AssignmentID: id, WorkerID: w, Message: message, NobodyLeft: r.pick(10) == 0,
			Cause: oneOf(r, entropy.CauseNoAck, entropy.CauseRefused, entropy.CauseTransient)}
	case 7, 8:
		return entropy.EndLease{AssignmentID: id, Message: message, Uncounted: r.pick(4) == 0, Eligible: r.pick(4), NobodyLeft: r.pick(8) == 0,
			Before: oneOf[uint64](r, 0, 0, 2), Cause: oneOf(r, entropy.CauseLeaseExpired, entropy.CauseRebooted, entropy.CauseForgotten, entropy.CauseOutage)}
	case 9, 10:
		return r.completion(id, w, message)
	case 11, 12:
		return entropy.Reattach{AssignmentID: id, WorkerID: w, Incarnation: 2, TTL: 15 * time.Second}
	case 13:
		if r.pick(3) > 0 {
			return entropy.Wake{}
		}
		return entropy.Cancel{Message: message, Operation: oneOf(r, "", "op")}
	}
	if at := r.job.WakeAt(); !at.IsZero() && r.pick(2) == 0 {
		r.now = at
	}
	return entropy.Wake{}
}

// wish is one of the commands by which people and the scheduler steer a job.
func (r *randomJob) wish(id entropy.AssignmentID, message string) entropy.JobCommand {
	switch r.pick(5) {
	case 0:
		return entropy.Hold{Message: message, Operation: oneOf(r, "", "op")}
	case 1:
		return entropy.Unhold{}
	case 2:
		return entropy.Reprioritize{Priority: oneOf(r, 0, 7, -100, 101)}
	case 3:
		return entropy.Settle{Open: r.pick(2), Broken: oneOf(r, "", "", "", "job up failed"+message)}
	}
	return entropy.Preempt{AssignmentID: id, Message: message}
}

// checkpoint is what a worker says about a checkpoint.
func (r *randomJob) checkpoint(id entropy.AssignmentID, message string) entropy.JobCommand {
	if r.pick(2) == 0 {
		return entropy.SaveCheckpoint{AssignmentID: id, WorkerID: r.owner[id], Seq: uint64(r.pick(9)), Manifest: entropy.CheckpointPart{SHA256: strings.Repeat(oneOf(r, "a", "b"), 64), Size: 7},
			Size: oneOf[int64](r, 9, 90), Files: 2, Uploaded: 3}
	}
	return entropy.RefuseCheckpoint{AssignmentID: id, WorkerID: r.owner[id], Message: message}
}

// patientCommand keeps a job going round.
func (r *randomJob) patientCommand() entropy.JobCommand {
	if l := r.job.Lease; l != nil {
		switch {
		case !l.Acked && r.pick(8) > 0:
			return entropy.Release{AssignmentID: l.AssignmentID, WorkerID: l.WorkerID, Cause: entropy.CauseNoAck}
		case !l.Acked:
			return entropy.Ack{AssignmentID: l.AssignmentID, WorkerID: l.WorkerID}
		}
		return entropy.EndLease{AssignmentID: l.AssignmentID, Cause: entropy.CauseLeaseExpired, Eligible: 3}
	}
	switch r.job.State {
	case "":
		return entropy.Submit{Spec: r.spec, SpecHash: r.hash, Blocked: len(r.spec.After) > 0}
	case entropy.Scheduled:
		return entropy.Settle{}
	case entropy.Pending:
		if r.job.Held {
			return entropy.Unhold{}
		}
		if a := r.job.LastAcked; a != "" && r.pick(40) == 0 {
			return entropy.Reattach{AssignmentID: a, WorkerID: r.owner[a], Incarnation: 3, TTL: time.Second}
		}
		return entropy.Assign{AssignmentID: entropy.AssignmentID(fmt.Sprintf("a%d", len(r.assignments)+1)),
			WorkerID: oneOf[entropy.WorkerID](r, "w4", "w5", "w6"), TTL: time.Second}
	}
	if at := r.job.WakeAt(); at.After(r.now) {
		r.now = at
	}
	return entropy.Wake{}
}

func (r *randomJob) completion(id entropy.AssignmentID, w entropy.WorkerID, message string) entropy.Complete {
	c := entropy.Completion{JobID: "j1", AssignmentID: id, SpoolID: "s", CompletionSeq: uint64(r.pick(100)), Message: message,
		Outcome: oneOf(r, entropy.OutcomeSucceeded, entropy.OutcomeFailed, entropy.OutcomeFailed, entropy.OutcomeStopped, "", "odd"),
		Reason: oneOf(r, "", "odd", entropy.ReasonExit, entropy.ReasonWorkerError, entropy.ReasonTimeout, entropy.ReasonArtifact,
			entropy.ReasonCancel, entropy.ReasonPreempt, entropy.ReasonDeadline, entropy.ReasonContract)}
	if r.pick(2) == 0 {
		code := r.pick(3)
		c.ExitCode, c.Signal = &code, oneOf(r, "", "KILL", "\xff")
	}
	if r.pick(2) == 0 {
		c.Artifacts = []entropy.Artifact{{Name: "out/a<b", SHA256: strings.Repeat("0", 64), Size: 3}}
		c.Result = json.RawMessage(`{ "sum" : 1 , "s" : "<>" }`)
		c.Usage = &entropy.Usage{UserCPU: entropy.Duration(time.Second), MaxRSS: 1}
	}
	return entropy.Complete{Completion: c, WorkerID: w, Eligible: r.pick(4), NobodyLeft: r.pick(8) == 0}
}

// fataler is what rapid and testing share.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// step carries out one command and checks what must hold.
func (r *randomJob) step(t fataler) {
	t.Helper()
	r.now = r.now.Add(time.Duration(oneOf(r, 0, 1, 999_999, 40_000_000, 1_500_000_000, 4_000_000_000)))
	cmd := r.command()
	before := r.snapshot()
	dueBefore, stateBefore := r.job.WakeAt(), r.job.State

	d, err := r.job.Decide(cmd, r.now)
	again, err2 := r.job.Decide(cmd, r.now)
	if !reflect.DeepEqual(d, again) || entropy.ErrorCode(err) != entropy.ErrorCode(err2) {
		t.Fatalf("%#v: decided as %+v and as %+v", cmd, d, again)
	}
	if err != nil && (len(d.Events) > 0 || entropy.ErrorCode(err) == "") {
		t.Fatalf("%#v: events %v with error %v", cmd, d.Events, err)
	}
	next, err3 := r.job.Next(d.Events)
	if err3 != nil {
		t.Fatalf("%#v in state %q was decided into what Apply refuses: %v", cmd, stateBefore, err3)
	}
	if r.snapshot() != before {
		t.Fatalf("%#v: deciding and applying to a clone changed the job\n%s\n%s", cmd, before, r.snapshot())
	}
	r.checkEvents(t, cmd, d)
	r.checkWake(t, cmd, d, dueBefore)
	r.checkAnswer(t, cmd, d, err)
	r.record(t, d.Events)
	r.job = next
	r.checkState(t, stateBefore)
}

func (r *randomJob) snapshot() string {
	return string(must(r.job.EncodeRecord())) + string(must(r.job.EncodeSpec()))
}

// checkEvents follows each event on a clone of its own.
func (r *randomJob) checkEvents(t fataler, cmd entropy.JobCommand, d entropy.Decision) {
	t.Helper()
	j := r.job.Clone()
	for _, e := range d.Events {
		if j.State.Terminal() && e.Type != entropy.JobEvidence {
			t.Fatalf("%#v: %s after the job has %s", cmd, e.Type, j.State)
		}
		attempt, live := j.Attempt, j.Lease
		if err := j.Apply(e); err != nil {
			t.Fatalf("%#v: %v", cmd, err)
		}
		switch e.Type {
		case entropy.JobAssigned:
			if j.Attempt != attempt+1 || live != nil {
				t.Fatalf("attempt %d after %d, with lease %v", j.Attempt, attempt, live)
			}
			r.assignments = append(r.assignments, e.Attrs.AssignmentID)
			r.owner[e.Attrs.AssignmentID] = e.Attrs.WorkerID
		case entropy.JobStarted:
			if r.acks++; r.acks > 1 && j.Spec.Retry.NoRetry {
				t.Fatalf("a no-retry job was ACKed %d times", r.acks)
			}
		case entropy.JobSucceeded, entropy.JobFailed, entropy.JobCanceled:
			if r.terminal++; r.terminal > 1 {
				t.Fatalf("%d terminal events", r.terminal)
			}
			if e.Type == entropy.JobFailed && e.Attrs.Reason == "" {
				t.Fatalf("%#v: failed without a reason", cmd)
			}
		default:
			if j.Attempt != attempt {
				t.Fatalf("%s changed the attempt from %d to %d", e.Type, attempt, j.Attempt)
			}
		}
		if len(e.Attrs.Message) > entropy.MaxMessage || !utf8.ValidString(e.Attrs.Message) {
			t.Fatalf("message of %d bytes: %q", len(e.Attrs.Message), e.Attrs.Message)
		}
		if r.seen != nil {
			r.seen(e)
		}
	}
}

// checkWake compares Wake with what WakeAt had announced.
func (r *randomJob) checkWake(t fataler, cmd entropy.JobCommand, d entropy.Decision, at time.Time) {
	t.Helper()
	if _, ok := cmd.(entropy.Wake); !ok {
		return
	}
	due := !at.IsZero() && !at.After(r.now.Truncate(time.Millisecond))
	if acts := len(d.Events) > 0 || d.Stop != ""; acts != due {
		t.Fatalf("in state %s WakeAt is %s and it is %s, Wake gives %v and stop %q", r.job.State, at, r.now.UTC(), d.Events, d.Stop)
	}
	if !at.Equal(at.Truncate(time.Millisecond)) {
		t.Fatalf("WakeAt is %s, which no decision can see", at)
	}
}

// checkAnswer checks that every repeat of a completion gets the first answer.
func (r *randomJob) checkAnswer(t fataler, cmd entropy.JobCommand, d entropy.Decision, err error) {
	t.Helper()
	c, ok := cmd.(entropy.Complete)
	if !ok || err != nil {
		return
	}
	if d.Verdict == "" {
		t.Fatalf("%#v has no answer", c)
	}
	known := false
	for _, a := range r.job.Attempts {
		known = known || a.AssignmentID == c.AssignmentID
	}
	first, answered := r.answers[c.AssignmentID]
	switch {
	case !known && d.Verdict != entropy.VerdictNotFound && d.Verdict != entropy.VerdictSuperseded:
		t.Fatalf("an unknown assignment is %s", d.Verdict)
	case known && answered && (d.Verdict != first || !d.Repeat || len(d.Events) > 0):
		t.Fatalf("%s was first %s, then %s (%v)", c.AssignmentID, first, d.Verdict, d.Events)
	case known && !answered:
		if mayErr := r.job.MayAccept(c.AssignmentID, c.WorkerID); (mayErr == nil) != (d.Verdict == entropy.VerdictAccepted) {
			t.Fatalf("MayAccept says %v, the completion is %s", mayErr, d.Verdict)
		}
		r.answers[c.AssignmentID] = d.Verdict
	}
}

// record writes events as the journal would.
func (r *randomJob) record(t fataler, events []entropy.JobEvent) {
	t.Helper()
	for i := range events {
		env, err := events[i].Envelope()
		if err != nil {
			t.Fatalf("envelope of %s: %v", events[i].Type, err)
		}
		r.log = append(r.log, must(json.Marshal(env)))
	}
}

// checkState checks what must hold of every state of a job.
func (r *randomJob) checkState(t fataler, before entropy.State) {
	t.Helper()
	j := r.job
	if before.Terminal() && j.State != before {
		t.Fatalf("%s became %s", before, j.State)
	}
	leased := j.State == entropy.Assigned || j.State == entropy.Running
	if leased != (j.Lease != nil) || leased && j.Lease.Acked != (j.State == entropy.Running) {
		t.Fatalf("state %s with lease %+v", j.State, j.Lease)
	}
	if j.Blocked && j.State != entropy.Scheduled && !j.State.Terminal() || j.PreemptRequested && j.State != entropy.Running {
		t.Fatalf("state %s, blocked %t, preempt requested %t", j.State, j.Blocked, j.PreemptRequested)
	}
	if (j.State == entropy.Retrying) != (j.RetryAt != nil) {
		t.Fatalf("state %s with RetryAt %v", j.State, j.RetryAt)
	}
	if j.State.Terminal() != (j.FinishedAt != nil) {
		t.Fatalf("state %s finished at %v", j.State, j.FinishedAt)
	}
	failures, losses, open := 0, 0, 0
	for _, a := range j.Attempts {
		switch a.Counted {
		case entropy.CountFailure:
			failures++
		case entropy.CountLoss:
			losses++
		}
		if a.End == "" {
			open++
		}
	}
	if open > 1 || leased != (open == 1) {
		t.Fatalf("state %s with %d open attempts", j.State, open)
	}
	if j.Failures < failures || j.Losses < losses || j.Attempt == len(j.Attempts) && (j.Failures != failures || j.Losses != losses) {
		t.Fatalf("%d failures and %d losses, the attempts say %d and %d", j.Failures, j.Losses, failures, losses)
	}
	maxFailures, maxLosses := budgets(&j.Spec.Retry)
	if j.Failures > maxFailures || j.Losses > maxLosses+1 || j.State != "" && !j.State.Terminal() && j.Failures == maxFailures {
		t.Fatalf("state %s with %d failures of %d and %d losses of %d", j.State, j.Failures, maxFailures, j.Losses, maxLosses)
	}
	if len(j.Attempts) > entropy.MaxAttemptsKept {
		t.Fatalf("%d attempts kept", len(j.Attempts))
	}
	r.checkCheckpoints(t)
}

// checkCheckpoints checks that no more are kept than wanted, and that they lie in
// the order in which a next attempt should prefer them.
func (r *randomJob) checkCheckpoints(t fataler) {
	t.Helper()
	kept := r.job.Checkpoints
	if len(kept) > r.job.Spec.Checkpoint.KeepOrDefault() || len(kept) > 0 && r.job.State == entropy.Succeeded {
		t.Fatalf("state %s with %d checkpoints", r.job.State, len(kept))
	}
	for i := 1; i < len(kept); i++ {
		a, b := kept[i-1], kept[i]
		if a.Attempt > b.Attempt || a.Attempt == b.Attempt && a.Seq >= b.Seq {
			t.Fatalf("checkpoint %d of attempt %d follows %d of attempt %d", b.Seq, b.Attempt, a.Seq, a.Attempt)
		}
	}
}

func budgets(p *entropy.RetryPolicy) (failures, losses int) {
	failures, losses = p.MaxAttempts, p.MaxLosses
	if failures == 0 {
		failures = entropy.DefaultMaxAttempts
	}
	if losses == 0 {
		losses = entropy.DefaultMaxLosses
	}
	if p.NoRetry {
		failures = 1
	}
	return failures, losses
}

// reload goes on with the job as a restart would find it.
func (r *randomJob) reload(t fataler) {
	t.Helper()
	if r.job.State == "" {
		return
	}
	back, err := entropy.DecodeJob(must(r.job.EncodeRecord()), must(r.job.EncodeSpec()))
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	want := r.snapshot()
	r.job = back
	if got := r.snapshot(); got != want {
		t.Fatalf("the record\n%s\nreads back as\n%s", want, got)
	}
}

// replay folds the log anew and compares.
func (r *randomJob) replay(t fataler) {
	t.Helper()
	j := &entropy.Job{ID: "j1"}
	for _, b := range r.log {
		var env entropy.Event
		if err := json.Unmarshal(b, &env); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		e, err := entropy.DecodeJobEvent(env)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if err := j.Apply(e); err != nil {
			t.Fatalf("replay: %v", err)
		}
	}
	if got, want := must(j.EncodeRecord()), must(r.job.EncodeRecord()); !bytes.Equal(got, want) {
		t.Fatalf("live:   %s\nreplay: %s", want, got)
	}
	if got, want := must(j.EncodeSpec()), must(r.job.EncodeSpec()); !bytes.Equal(got, want) {
		t.Fatalf("live:   %s\nreplay: %s", want, got)
	}
	if got := must(j.Spec.SpecHash()); j.State != "" && got != r.hash {
		t.Fatalf("the spec's hash changed from %s to %s", r.hash, got)
	}
}
