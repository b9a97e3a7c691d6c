package entropy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// scenario is a job driven by a script. A script has one command a line, at the
// margin; what came of it follows, indented, and is rewritten with -update.
//
//	submit [max-attempts=N] [max-losses=N] [no-retry] [backoff=D] …
//	assign A WORKER · ack A · release A CAUSE [nobody-left]
//	end A CAUSE [uncounted] [eligible=N] [nobody-left] [before=N]
//	complete A OUTCOME [REASON] [exit=N] [by=WORKER] · reattach A [by=WORKER] [inc=N]
//	hold · unhold · prioritize N · settle [open=N] [broken=WHY] · preempt A
//	save A SEQ [size=N] [by=WORKER] [other] · refuse-checkpoint A WHY · checkpoints
//	cancel · wake (at the time the job asks for) · tick D · attempts
type scenario struct {
	now     time.Time
	start   time.Time
	job     *entropy.Job
	workers map[entropy.AssignmentID]entropy.WorkerID
	seq     uint64
	out     strings.Builder
}

// proves H-1, J-4, J-6, J-7, J-11, J-12 and the table, one script each
func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d scripts, %v", len(paths), err)
	}
	for _, p := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(p), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runScenarios(string(script))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				golden(t, p, []byte(got))
			} else if got != string(script) {
				t.Errorf("%s: if the change is meant: go test -run '^TestScenarios$' -update .\n%s", p, firstDifference([]byte(got), script))
			}
		})
	}
}

// runScenarios runs a script and returns it with fresh results. An empty line
// begins a new job.
func runScenarios(script string) (string, error) {
	s := newScenario()
	for i, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "    "):
			continue
		case line == "":
			next := newScenario()
			next.out.WriteString(s.out.String() + "\n")
			s = next
			continue
		}
		s.out.WriteString(line + "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.command(strings.Fields(line)); err != nil {
			return "", fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
	}
	return s.out.String(), nil
}

func newScenario() *scenario {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &scenario{now: start, start: start, job: &entropy.Job{ID: "j"}, workers: make(map[entropy.AssignmentID]entropy.WorkerID)}
}

// words are the arguments of a command: flags and key=value.
type words []string

func (w words) has(flag string) bool { return slices.Contains(w, flag) }

func (w words) value(key, otherwise string) string {
	for _, x := range w {
		if k, v, ok := strings.Cut(x, "="); ok && k == key {
			return v
		}
	}
	return otherwise
}

func (w words) number(key string) int {
	n, err := strconv.Atoi(w.value(key, "0"))
	if err != nil {
		panic(err)
	}
	return n
}

func (w words) duration(key string) time.Duration {
	d, err := time.ParseDuration(w.value(key, "0"))
	if err != nil {
		panic(err)
	}
	return d
}

func (s *scenario) command(f []string) error {
	verb, args := f[0], words(f[1:])
	switch verb {
	case "tick":
		d, err := time.ParseDuration(args[0])
		s.now = s.now.Add(d)
		return err
	case "attempts":
		s.attempts()
		return nil
	case "checkpoints":
		s.checkpoints()
		return nil
	case "wake":
		if at := s.job.WakeAt(); at.IsZero() {
			return errors.New("the job wants no waking")
		} else if at.After(s.now) {
			s.now = at
		}
	}
	cmd, err := s.parse(verb, args)
	if err != nil {
		return err
	}
	return s.decide(cmd)
}

func (s *scenario) parse(verb string, args words) (entropy.JobCommand, error) {
	switch verb {
	case "submit":
		return s.submit(args)
	case "wake":
		return entropy.Wake{}, nil
	case "cancel":
		return entropy.Cancel{Message: "by request"}, nil
	case "hold":
		return entropy.Hold{Message: "by request"}, nil
	case "unhold":
		return entropy.Unhold{}, nil
	case "prioritize":
		n, err := strconv.Atoi(args[0])
		return entropy.Reprioritize{Priority: n}, err
	case "settle":
		return entropy.Settle{Open: args.number("open"), Broken: args.value("broken", "")}, nil
	}
	if len(args) == 0 {
		return nil, errors.New("which assignment?")
	}
	id, rest := entropy.AssignmentID(args[0]), args[1:]
	w := entropy.WorkerID(rest.value("by", string(s.workers[id])))
	switch verb {
	case "assign":
		s.workers[id] = entropy.WorkerID(rest[0])
		return entropy.Assign{AssignmentID: id, WorkerID: s.workers[id], Incarnation: uint64(max(rest.number("inc"), 1)), ClaimSeq: 1, TTL: 15 * time.Second}, nil
	case "ack":
		return entropy.Ack{AssignmentID: id, WorkerID: w}, nil
	case "preempt":
		return entropy.Preempt{AssignmentID: id, Message: "to make room"}, nil
	case "release":
		return entropy.Release{AssignmentID: id, WorkerID: w, Cause: entropy.Cause(rest[0]), Message: "told so", NobodyLeft: rest.has("nobody-left")}, nil
	case "end":
		return entropy.EndLease{AssignmentID: id, Cause: entropy.Cause(rest[0]), Uncounted: rest.has("uncounted"),
			Eligible: max(rest.number("eligible"), 1), NobodyLeft: rest.has("nobody-left"), Before: uint64(rest.number("before"))}, nil
	case "save":
		n, err := strconv.ParseUint(rest[0], 10, 64)
		sum := strings.Repeat(rest[0][:1], 64)
		if rest.has("other") {
			sum = strings.Repeat("f", 64)
		}
		return entropy.SaveCheckpoint{AssignmentID: id, WorkerID: w, Seq: n, Manifest: entropy.CheckpointPart{SHA256: sum, Size: 9}, Size: int64(rest.number("size")), Files: 1}, err
	case "refuse-checkpoint":
		return entropy.RefuseCheckpoint{AssignmentID: id, WorkerID: w, Message: rest[0]}, nil
	case "reattach":
		return entropy.Reattach{AssignmentID: id, WorkerID: w, Incarnation: uint64(max(rest.number("inc"), 1)), TTL: 15 * time.Second}, nil
	case "complete":
		return s.complete(id, w, rest), nil
	}
	return nil, fmt.Errorf("there is no command %q", verb)
}

func (s *scenario) submit(a words) (entropy.JobCommand, error) {
	spec := entropy.JobSpec{Command: []string{"work"}, Name: a.value("name", ""),
		QueueTimeout: entropy.Duration(a.duration("queue-timeout")),
		Retry: entropy.RetryPolicy{MaxAttempts: a.number("max-attempts"), MaxLosses: a.number("max-losses"), NoRetry: a.has("no-retry"),
			Backoff: entropy.Duration(a.duration("backoff")), BackoffCap: entropy.Duration(a.duration("backoff-cap")),
			LostTimeout: entropy.Duration(a.duration("lost-timeout"))},
		Disconnect: entropy.Disconnect{Worker: a.value("worker", ""), LateResult: a.value("late", ""),
			ReassignAfter: entropy.Duration(a.duration("reassign-after"))},
		Preemptible: a.has("preemptible")}
	if a.has("checkpoint") || a.number("keep") > 0 {
		spec.Checkpoint = &entropy.CheckpointPolicy{Keep: a.number("keep"), MaxSize: int64(a.number("max-size"))}
	}
	if up := a.value("after", ""); up != "" {
		spec.After = []entropy.Dependency{{Job: entropy.JobID(up)}}
	}
	if n := a.number("non-retryable"); n != 0 {
		spec.Retry.NonRetryable = []int{n}
	}
	if d := a.duration("not-before"); d != 0 {
		t := s.start.Add(d)
		spec.NotBefore = &t
	}
	if d := a.duration("not-after"); d != 0 {
		t := s.start.Add(d)
		spec.NotAfter = &t
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	hash, err := spec.SpecHash()
	return entropy.Submit{Spec: spec, SpecHash: hash, Principal: "admin:t", Blocked: len(spec.After) > 0}, err
}

func (s *scenario) complete(id entropy.AssignmentID, w entropy.WorkerID, rest words) entropy.JobCommand {
	s.seq++
	c := entropy.Completion{JobID: "j", AssignmentID: id, SpoolID: "s", CompletionSeq: s.seq, Outcome: entropy.Outcome(rest[0])}
	if len(rest) > 1 && !strings.Contains(rest[1], "=") {
		c.Reason = entropy.Reason(rest[1])
	}
	if v := rest.value("exit", ""); v != "" {
		n := rest.number("exit")
		c.ExitCode = &n
	}
	return entropy.Complete{Completion: c, WorkerID: w, Eligible: max(rest.number("eligible"), 1), NobodyLeft: rest.has("nobody-left")}
}

// decide carries a command out and writes what came of it.
func (s *scenario) decide(cmd entropy.JobCommand) error {
	say := func(format string, args ...any) { fmt.Fprintf(&s.out, "    "+format+"\n", args...) }
	d, err := s.job.Decide(cmd, s.now)
	if err != nil {
		say("%s: %v", entropy.ErrorCode(err), err)
		return nil
	}
	next, err := s.job.Next(d.Events)
	if err != nil {
		return err
	}
	s.job = next
	for i := range d.Events {
		say("%s", s.event(&d.Events[i]))
	}
	answer := ""
	for _, x := range []struct {
		is   bool
		text string
	}{{d.Verdict != "", string(d.Verdict)}, {d.Repeat, "repeat"}, {d.Stop != "", "stop for " + string(d.Stop)}} {
		if x.is {
			answer += ", " + x.text
		}
	}
	say("= %s%s", s.state(), answer)
	return nil
}

func (s *scenario) event(e *entropy.JobEvent) string {
	a := &e.Attrs
	text := e.Type
	for _, x := range []struct{ name, value string }{
		{"", string(a.AssignmentID)}, {"reason=", string(a.Reason)}, {"cause=", string(a.Cause)}, {"counted=", a.Counted}, {"answer=", string(a.Answer)},
	} {
		if x.value != "" {
			text += " " + x.name + x.value
		}
	}
	if a.Late {
		text += " late"
	}
	if a.Exclude {
		text += " exclude"
	}
	if a.RetryAt != nil {
		text += " retry_at=+" + a.RetryAt.Sub(s.now).String()
	}
	return text
}

func (s *scenario) state() string {
	j := s.job
	text := fmt.Sprintf("%s at +%s", j.State, s.now.Sub(s.start))
	if j.Lease != nil {
		text += fmt.Sprintf(", leased as %s to %s", j.Lease.AssignmentID, j.Lease.WorkerID)
	}
	if j.Failures > 0 {
		text += fmt.Sprintf(", failures %d", j.Failures)
	}
	if j.Losses > 0 {
		text += fmt.Sprintf(", losses %d on %v", j.Losses, j.LossOn)
	}
	if len(j.Excluded) > 0 {
		text += fmt.Sprintf(", excluded %v", j.Excluded)
	}
	for _, x := range []struct {
		is   bool
		text string
	}{{j.CancelRequested, "cancel requested"}, {j.PreemptRequested, "preempt requested"}, {j.Held, "held"}, {j.Blocked, "blocked"},
		{j.PriorityNow != nil, fmt.Sprintf("priority %d", j.Priority())}} {
		if x.is {
			text += ", " + x.text
		}
	}
	if j.State.Terminal() && j.Reason != "" {
		text += ", reason " + string(j.Reason)
	}
	return text
}

// checkpoints lists what the job may resume from, in the order of an assignment.
func (s *scenario) checkpoints() {
	for _, c := range s.job.ResumeFrom() {
		fmt.Fprintf(&s.out, "    %d of attempt %d, %s\n", c.Seq, c.Attempt, c.AssignmentID)
	}
	if s.job.CheckpointRefused != "" {
		fmt.Fprintf(&s.out, "    refused: %s\n", s.job.CheckpointRefused)
	}
}

func (s *scenario) attempts() {
	for _, a := range s.job.Attempts {
		fmt.Fprintf(&s.out, "    %d %s on %s: end=%s counted=%s reason=%s answer=%s late=%t reattached=%d\n",
			a.Number, a.AssignmentID, a.WorkerID, a.End, a.Counted, a.Reason, a.Answer, a.Late, a.Reattached)
	}
}
