package entropy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var actionEpoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// proves A-4: every state × event pair of an action is in the table or refused
func TestActionTransitionMatrix(t *testing.T) {
	var b strings.Builder
	for _, event := range entropy.ActionEventTypes {
		for _, from := range append([]entropy.ActionState{""}, entropy.ActionStates...) {
			fmt.Fprintf(&b, "%-23s in %-17s", event, orNone(entropy.State(from)))
			outcome := ""
			for _, to := range entropy.ActionStates {
				if got, ok := entropy.NextActionState(from, event, to); ok && got == to {
					outcome += " " + string(to)
				}
			}
			if outcome == "" {
				outcome = " refused"
			}
			b.WriteString(" →" + outcome + "\n")
		}
	}
	golden(t, "testdata/action_transitions.golden", []byte(b.String()))
}

// life is an action that is lived step by step: every decision is applied, and
// replayed from what would be in the journal.
type life struct {
	t      *testing.T
	a      *entropy.Action
	now    time.Time
	events []entropy.Event
	long   bool // it is replayed once, at its end
}

func newLife(t *testing.T, attrs string) *life {
	t.Helper()
	l := &life{t: t, now: actionEpoch}
	q, err := (&entropy.ActionRequest{Envelope: json.RawMessage(`{"id":"a","event_type":"action.requested","entity_id":"job:1","correlation_id":"c","attrs":` + attrs + `}`)}).Read(l.now)
	if err != nil {
		t.Fatal(err)
	}
	l.do(q.Create(nil, entropy.CommandPolicy{}, "admin:asker", l.now))
	return l
}

// do applies what was decided.
func (l *life) do(events []entropy.Event, err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range events {
		b, err := json.Marshal(e)
		if err != nil {
			l.t.Fatal(err)
		}
		var stored entropy.Event
		if err := json.Unmarshal(b, &stored); err != nil {
			l.t.Fatal(err)
		}
		l.events = append(l.events, stored)
	}
	next, err := l.a.Next(events)
	if err != nil {
		l.t.Fatal(err)
	}
	l.a = next
	if len(events) > 0 && !l.long {
		l.replay()
	}
}

// replay fails unless what would be in the journal gives the same action.
func (l *life) replay() {
	l.t.Helper()
	replayed, err := (*entropy.Action)(nil).Next(l.events)
	if err != nil {
		l.t.Fatalf("replay: %v", err)
	}
	if x, y := actionText(l.t, replayed), actionText(l.t, l.a); x != y {
		l.t.Fatalf("a replay gives\n%s\nand not\n%s", x, y)
	}
}

func actionText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (l *life) after(d time.Duration) *life { l.now = l.now.Add(d); return l }

func (l *life) issue(id entropy.AttemptID) *life {
	l.t.Helper()
	l.do(l.a.Issue(id, l.now))
	if l.a.Live() == nil || l.a.Live().ID != id {
		l.t.Fatalf("attempt %s was not issued", id)
	}
	return l
}

// say reports and returns the verdict.
func (l *life) say(typ string, attempt entropy.AttemptID, executor, report string) entropy.ActionVerdict {
	l.t.Helper()
	return l.report(typ, report, entropy.ActionReport{ActionID: "a", AttemptID: attempt, Executor: executor, Error: "broken", Kind: "io", Result: json.RawMessage(`{"n":1}`)})
}

func (l *life) report(typ, id string, r entropy.ActionReport) entropy.ActionVerdict {
	l.t.Helper()
	events, v, err := l.a.Report(typ, id, r, l.now)
	l.do(events, err)
	if v.Report != id || v.AttemptID != r.AttemptID || v.ActionID != "a" {
		l.t.Fatalf("the verdict %+v is on another report than %s", v, id)
	}
	return v
}

func (l *life) wants(state entropy.ActionState) *life {
	l.t.Helper()
	if l.a.State != state {
		l.t.Fatalf("the action is %s (%s: %s), want %s", l.a.State, l.a.Reason, l.a.Message, state)
	}
	return l
}

func (l *life) verdict(got entropy.ActionVerdict, want string) {
	l.t.Helper()
	if got.Verdict != want {
		l.t.Fatalf("the verdict is %+v, want %s", got, want)
	}
}

const (
	accepted  = entropy.ActionAcceptedType
	started   = entropy.ActionStartedType
	progress  = entropy.ActionProgressType
	succeeded = entropy.ActionSucceededType
	failed    = entropy.ActionFailedType
	canceled  = entropy.ActionCanceledType
)

// proves H-6: the first executor that accepts is bound, others are refused, and a
// repeat of its result gets the answer again
func TestActionOneExecutor(t *testing.T) {
	l := newLife(t, `{"command":"c","ttl_sec":60}`).issue("t1")
	l.verdict(l.say(accepted, "t1", "e1", "r1"), entropy.ReportAccepted)
	l.verdict(l.say(accepted, "t1", "e1", "r1"), entropy.ReportAccepted)
	l.verdict(l.say(accepted, "t1", "e2", "r2"), entropy.ReportSuperseded)
	l.verdict(l.say(started, "t1", "e2", "r3"), entropy.ReportRefused)
	l.verdict(l.say(succeeded, "t1", "e2", "r4"), entropy.ReportRefused)
	l.verdict(l.say(succeeded, "t0", "e1", "r5"), entropy.ReportRefused)
	l.wants(entropy.ActionAccepted)
	l.verdict(l.say(started, "t1", "e1", "r6"), entropy.ReportAccepted)
	l.verdict(l.say(accepted, "t1", "e1", "r7"), entropy.ReportSuperseded) // it has forgotten that it started
	version := l.a.Version
	l.verdict(l.say(progress, "t1", "e1", "r8"), entropy.ReportAccepted)
	if l.a.Version != version {
		t.Error("progress was journaled")
	}
	l.verdict(l.say(succeeded, "t1", "e1", "r9"), entropy.ReportAccepted)
	l.wants(entropy.ActionSucceeded)
	version = l.a.Version
	l.verdict(l.say(succeeded, "t1", "e1", "r9"), entropy.ReportAccepted)
	l.verdict(l.say(failed, "t1", "e1", "r10"), entropy.ReportSuperseded)
	l.verdict(l.say(started, "t1", "e1", "r6"), entropy.ReportSuperseded)
	if l.a.Version != version || string(l.a.Result) != `{"n":1}` || l.a.Attempts[0].Executor != "e1" {
		t.Errorf("ended as %+v", l.a)
	}
}

// proves H-6: a late success of an attempt that was given up wins while the action
// lasts, its late failure is evidence, and both are judged once
func TestActionLateResults(t *testing.T) {
	retried := `{"command":"c","ttl_sec":600,"timeout_sec":10,"retry":{"max":3,"initial":"1s","cap":"1s"}}`
	lost := func(t *testing.T) *life {
		l := newLife(t, retried).issue("t1")
		l.say(accepted, "t1", "e1", "r1")
		l.say(started, "t1", "e1", "r2")
		l.after(10 * time.Second)
		l.do(l.a.Wake(time.Time{}, l.now))
		l.wants(entropy.ActionRetrying).after(time.Second).issue("t2")
		if l.a.Attempts[0].Outcome != entropy.AttemptLost || l.a.Attempts[0].Kind != entropy.KindTimeout {
			t.Errorf("the first attempt is %+v", l.a.Attempts[0])
		}
		return l
	}
	for _, second := range []string{"", "accepted", "started"} {
		l := lost(t)
		if second != "" {
			l.say(accepted, "t2", "e2", "s1")
		}
		if second == "started" {
			l.say(started, "t2", "e2", "s2")
		}
		l.verdict(l.say(succeeded, "t1", "e1", "r3"), entropy.ReportAccepted)
		l.wants(entropy.ActionSucceeded)
		l.verdict(l.say(succeeded, "t1", "e1", "r3"), entropy.ReportAccepted)
		if a := l.a.Attempts; !a[0].Late || a[0].Outcome != entropy.AttemptSucceeded || a[1].Outcome != entropy.AttemptSuperseded {
			t.Errorf("attempts %+v", a)
		}
		if second != "" {
			l.verdict(l.say(succeeded, "t2", "e2", "s3"), entropy.ReportSuperseded)
			l.wants(entropy.ActionSucceeded)
		}
	}
	l := lost(t)
	l.verdict(l.say(failed, "t1", "e1", "r3"), entropy.ReportSuperseded)
	version := l.wants(entropy.ActionRetrying).a.Version
	l.verdict(l.say(failed, "t1", "e1", "r3"), entropy.ReportSuperseded)
	l.verdict(l.say(succeeded, "t1", "e1", "r4"), entropy.ReportSuperseded)
	if l.a.Version != version || l.a.Attempts[0].Report != "r3" || l.a.Attempts[0].Error != "broken" {
		t.Errorf("after a late failure: %+v", l.a.Attempts)
	}
}

// proves A-4: attempts follow a backoff, an error that nothing would cure or the end
// of the attempts fails the action, and a hint of its executor is kept
func TestActionRetries(t *testing.T) {
	l := newLife(t, `{"command":"c","ttl_sec":600,"retry":{"max":2,"initial":"4s","non_retryable":["auth"]}}`).issue("t1")
	l.verdict(l.report(failed, "r1", entropy.ActionReport{ActionID: "a", AttemptID: "t1", Executor: "e1", Error: "busy", RetryAfter: 60_000}), entropy.ReportAccepted)
	l.wants(entropy.ActionRetrying)
	if !l.a.RetryAt.Equal(l.now.Add(time.Minute)) || l.a.Ready(l.now.Add(59*time.Second)) {
		t.Errorf("it is tried again at %v", l.a.RetryAt)
	}
	l.after(time.Minute).issue("t2")
	l.say(failed, "t2", "e2", "r2")
	l.wants(entropy.ActionFailed)
	if l.a.Reason != entropy.FailedExhausted || l.a.Message != "broken" || l.a.DeadLetter() == nil {
		t.Errorf("failed as %s: %s", l.a.Reason, l.a.Message)
	}
	for _, r := range []entropy.ActionReport{{Final: true}, {Kind: "auth"}} {
		l := newLife(t, `{"command":"c","retry":{"max":5,"non_retryable":["auth"]}}`).issue("t1")
		r.ActionID, r.AttemptID, r.Executor = "a", "t1", "e1"
		l.report(failed, "r1", r)
		if l.wants(entropy.ActionFailed).a.Reason != entropy.FailedFinal {
			t.Errorf("%+v failed as %s", r, l.a.Reason)
		}
	}
}

// proves H-7: the TTL counts from the storage of the request by the server's clock,
// whatever the producer's ts says; after it nobody may begin
func TestActionTTL(t *testing.T) {
	for _, ts := range []string{"1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z"} {
		r := entropy.ActionRequest{Envelope: json.RawMessage(`{"id":"a","ts":"` + ts + `","event_type":"action.requested","attrs":{"command":"c","ttl_sec":60}}`),
			StoredAt: actionEpoch.Add(-50 * time.Second)}
		q, err := r.Read(actionEpoch)
		if err != nil {
			t.Fatal(err)
		}
		l := &life{t: t, now: actionEpoch}
		l.do(q.Create(nil, entropy.CommandPolicy{}, "p", l.now))
		l.issue("t1")
		o, envelope, ok := l.a.Order(l.now.Add(4 * time.Second))
		if !ok || o.RemainingMS != 6000 || envelope.ID != "t1" || envelope.CausationID != "a" {
			t.Errorf("the order is %+v in %+v", o, envelope)
		}
		l.after(10 * time.Second)
		l.verdict(l.say(accepted, "t1", "e1", "r1"), entropy.ReportSuperseded)
		l.wants(entropy.ActionFailed)
		if l.a.Reason != entropy.FailedExpired || l.a.Attempts[0].Outcome != entropy.AttemptUntaken {
			t.Errorf("%s %+v", l.a.Reason, l.a.Attempts)
		}
	}
	l := newLife(t, `{"command":"c","ttl_sec":60}`).issue("t1")
	l.after(59 * time.Second)
	l.say(accepted, "t1", "e1", "r1")
	l.after(29 * time.Second) // accepted in time, it has half a minute to start
	l.do(l.a.Wake(time.Time{}, l.now))
	l.verdict(l.say(started, "t1", "e1", "r2"), entropy.ReportAccepted)
	l.wants(entropy.ActionStarted)
}

// proves A-4: an attempt is given up when its executor does not start, goes silent or
// takes too long
func TestActionTimeouts(t *testing.T) {
	for kind, lives := range map[string]func(l *life) (heard time.Time){
		entropy.KindNotStarted: func(l *life) time.Time { l.after(entropy.ActionStartWithin); return time.Time{} },
		entropy.KindNoHeartbeat: func(l *life) time.Time {
			l.say(started, "t1", "e1", "r2")
			l.after(70 * time.Second)
			return l.now.Add(-40 * time.Second)
		},
		entropy.KindTimeout: func(l *life) time.Time {
			l.say(started, "t1", "e1", "r2")
			l.after(100 * time.Second)
			return l.now
		},
	} {
		l := newLife(t, `{"command":"c","timeout_sec":100,"heartbeat_sec":40}`).issue("t1")
		l.say(accepted, "t1", "e1", "r1")
		heard := lives(l)
		if early, err := l.a.Wake(heard, l.a.WakeAt(heard).Add(-time.Millisecond)); err != nil || len(early) > 0 {
			t.Errorf("%s: it is given up too early", kind)
		}
		l.do(l.a.Wake(heard, l.now))
		if l.wants(entropy.ActionFailed); l.a.Attempts[0].Kind != kind {
			t.Errorf("given up for %s, want %s", l.a.Attempts[0].Kind, kind)
		}
	}
}

// proves A-4: an action that an executor has is canceled when that confirms it, or
// when its times are over; what has succeeded meanwhile stays so
func TestActionCancel(t *testing.T) {
	for end, want := range map[string]entropy.ActionState{canceled: entropy.ActionCanceled, failed: entropy.ActionCanceled, succeeded: entropy.ActionSucceeded, "": entropy.ActionCanceled} {
		l := newLife(t, `{"command":"c","timeout_sec":10,"retry":{"max":3}}`).issue("t1")
		l.say(accepted, "t1", "e1", "r1")
		l.say(started, "t1", "e1", "r2")
		l.do(l.a.Set(entropy.ActionCancel, "admin:x", entropy.Operation{Reason: "stop"}, l.now))
		if v := l.wants(entropy.ActionStarted).say(progress, "t1", "e1", "r3"); !v.Cancel {
			t.Error("its executor is not told")
		}
		if end == "" {
			l.after(10 * time.Second)
			l.do(l.a.Wake(l.now, l.now))
		} else {
			l.verdict(l.say(end, "t1", "e1", "r4"), entropy.ReportAccepted)
		}
		l.wants(want)
	}
	l := newLife(t, `{"command":"c"}`).issue("t1")
	l.do(l.a.Set(entropy.ActionCancel, "admin:x", entropy.Operation{}, l.now))
	l.wants(entropy.ActionCanceled)
	l.verdict(l.say(accepted, "t1", "e1", "r1"), entropy.ReportSuperseded)
}

// proves A-7: another than who asked approves; approval comes within the TTL
func TestActionApproval(t *testing.T) {
	l := newLife(t, `{"command":"c","approval":true,"ttl_sec":60}`).wants(entropy.ActionAwaiting)
	if _, err := l.a.Set(entropy.ActionApprove, "admin:asker", entropy.Operation{}, l.now); entropy.ErrorCode(err) != entropy.CodeForbidden {
		t.Errorf("who asked approves: %v", err)
	}
	if l.a.Ready(l.now) {
		t.Error("it does not wait for approval")
	}
	if _, err := l.a.Set(entropy.ActionApprove, "admin:other", entropy.Operation{}, l.now.Add(time.Minute)); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("approved after its TTL: %v", err)
	}
	l.do(l.a.Set(entropy.ActionApprove, "admin:other", entropy.Operation{}, l.now))
	if l.wants(entropy.ActionRequested); l.a.Approver != "admin:other" || !l.a.Ready(l.now) {
		t.Errorf("approved %+v", l.a)
	}
	l = newLife(t, `{"command":"c","approval":true,"ttl_sec":60}`)
	l.after(time.Minute)
	l.do(l.a.Wake(time.Time{}, l.now))
	if l.wants(entropy.ActionFailed); l.a.Reason != entropy.FailedExpired {
		t.Errorf("failed as %s", l.a.Reason)
	}
}

// proves A-4: a failure asks for its compensation, which knows its cause, once
func TestActionCompensation(t *testing.T) {
	l := newLife(t, `{"command":"c","on_failure":{"command":"undo","args":{"x":1}}}`).issue("t1")
	rule := func(string) entropy.CommandPolicy { return entropy.CommandPolicy{} }
	if id, _, err := l.a.Compensation(rule, l.now); id != "" || err != nil {
		t.Fatal("compensated before it failed")
	}
	l.say(failed, "t1", "e1", "r1")
	id, events, err := l.wants(entropy.ActionFailed).a.Compensation(rule, l.now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := (*entropy.Action)(nil).Next(events)
	if err != nil || c.ID != id || c.Spec.Command != "undo" || c.Compensates != "a" || c.CausationID != "a" || c.CorrelationID != "c" || c.Target != "job:1" ||
		!c.Deadline.Equal(l.now.Add(entropy.DefaultTTL)) {
		t.Errorf("the compensation is %+v, %v", c, err)
	}
	if again, _, _ := l.a.Compensation(rule, l.now); again != id {
		t.Error("it has another ID the second time")
	}
	deny := func(string) entropy.CommandPolicy { return entropy.CommandPolicy{Mode: entropy.CommandDeny} }
	if _, _, err := l.a.Compensation(deny, l.now); entropy.ErrorCode(err) != entropy.CodeForbidden {
		t.Errorf("the policy was not asked: %v", err)
	}
}

// proves A-4: what others write in their own way is understood, and who speaks for
// another is refused
func TestReadActionReport(t *testing.T) {
	e := entropy.Event{ID: "r1", Type: "ACTION.CANCEL" + "LED", Attrs: json.RawMessage(`{"action_id":"a","attempt_id":"t","executor":"e1","new":1}`)}
	typ, r, err := entropy.ReadActionReport("e1", &e)
	if err != nil || typ != canceled || r.AttemptID != "t" {
		t.Errorf("%s %+v %v", typ, r, err)
	}
	for want, bad := range map[entropy.Code]entropy.Event{
		entropy.CodeForbidden: {ID: "r1", Type: started, Attrs: json.RawMessage(`{"action_id":"a","attempt_id":"t","executor":"e2"}`)},
		entropy.CodeInvalid:   {ID: "r1", Type: started, Attrs: json.RawMessage(`{"executor":"e1"}`)},
		entropy.CodeTooLarge:  {ID: "r1", Type: succeeded, Attrs: json.RawMessage(`{"result":"` + strings.Repeat("x", entropy.MaxActionSize) + `"}`)},
	} {
		if _, _, err := entropy.ReadActionReport("e1", &bad); entropy.ErrorCode(err) != want {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, typ := range []string{"action.requested", "action.approved", "job.started", ""} {
		e.Type = typ
		if _, _, err := entropy.ReadActionReport("e1", &e); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%q is taken for a report: %v", typ, err)
		}
	}
}

// proves H-6, A-4, INV-15: whatever is reported, wished for and waited for, in any
// order and any number of times: a replay gives the same action, an end absorbs,
// there is one outcome, and one attempt lasts at most
func TestActionProperties(t *testing.T) {
	seen := make(map[string]int)
	for seed := range uint64(600) {
		w := &walk{life: newLife(t, []string{`{"command":"c","ttl_sec":100,"timeout_sec":30,"heartbeat_sec":10,"retry":{"max":3,"initial":"5s"}}`,
			`{"command":"c","ttl_sec":1000,"approval":true,"retry":{"max":4,"initial":"1s","non_retryable":["io"]}}`}[seed%2]), r: rand.New(rand.NewPCG(seed, 3))}
		w.long = true
		for range 60 {
			w.step()
			w.check()
		}
		w.replay()
		for _, e := range w.events {
			seen[e.Type]++
		}
	}
	for _, typ := range entropy.ActionEventTypes {
		if seen[typ] < 5 {
			t.Errorf("only %d of %s were seen", seen[typ], typ)
		}
	}
}

// walk is a life of random steps.
type walk struct {
	*life
	r     *rand.Rand
	tries int
	said  []said // reports of ends
	ended string // the action as it ended
}

type said struct {
	id, typ string
	report  entropy.ActionReport
	verdict string
}

func (w *walk) step() {
	w.t.Helper()
	switch w.r.IntN(12) {
	case 0:
		w.after(time.Duration(w.r.IntN(8000)) * time.Millisecond)
	case 1:
		if at := w.a.WakeAt(w.now); !at.IsZero() && w.r.IntN(2) == 0 {
			w.now = at
		}
		w.do(w.a.Wake(w.now.Add(-time.Duration(w.r.IntN(15))*time.Second), w.now))
	case 2, 3:
		w.tries++
		w.do(w.a.Issue(entropy.AttemptID(fmt.Sprintf("t%d", w.tries)), w.now))
	case 4:
		verb := []entropy.ActionVerb{entropy.ActionApprove, entropy.ActionApprove, entropy.ActionApprove, entropy.ActionReject, entropy.ActionCancel}[w.r.IntN(5)]
		if events, err := w.a.Set(verb, []string{"admin:asker", "admin:b"}[w.r.IntN(2)], entropy.Operation{}, w.now); err == nil {
			w.do(events, nil)
		}
	case 5:
		if len(w.said) == 0 {
			return
		}
		s := w.said[w.r.IntN(len(w.said))] // a repeat
		if v := w.report(s.typ, s.id, s.report); v.Verdict != s.verdict {
			w.t.Fatalf("the report %s of %s got %s, and then %s", s.id, s.typ, s.verdict, v.Verdict)
		}
	default:
		w.speak()
	}
}

func (w *walk) speak() {
	w.t.Helper()
	typ := []string{accepted, started, progress, succeeded, failed, canceled, started, accepted, accepted}[w.r.IntN(9)]
	id := fmt.Sprintf("t%d", max(w.tries-w.r.IntN(2), 0))
	if n := len(w.a.Attempts); n > 0 && w.r.IntN(4) > 0 {
		id = string(w.a.Attempts[w.r.IntN(n)].ID)
	}
	executor := []string{"e1", "e1", "e1", "e2"}[w.r.IntN(4)]
	report := fmt.Sprintf("r%d", w.r.IntN(1<<30))
	r := entropy.ActionReport{ActionID: "a", AttemptID: entropy.AttemptID(id), Executor: executor, Error: "x", Kind: []string{"io", "net"}[w.r.IntN(2)], Final: w.r.IntN(8) == 0,
		Result: json.RawMessage(`{"by":"` + report + `"}`)}
	before := actionText(w.t, w.a)
	bound := ""
	for _, t := range w.a.Attempts {
		if t.ID == r.AttemptID {
			bound = t.Executor
		}
	}
	v := w.report(typ, report, r)
	if bound != "" && bound != executor && (v.Verdict == entropy.ReportAccepted || actionText(w.t, w.a) != before) {
		w.t.Fatalf("%s of %s was heard although %s is bound", typ, executor, bound)
	}
	if typ == succeeded || typ == failed || typ == canceled {
		w.said = append(w.said, said{report, typ, r, v.Verdict})
	}
	if typ == succeeded && v.Verdict == entropy.ReportAccepted && (w.a.State != entropy.ActionSucceeded || !strings.Contains(string(w.a.Result), report)) {
		w.t.Fatalf("a success was accepted and the action is %s", w.a.State)
	}
}

func (w *walk) check() {
	w.t.Helper()
	ends := 0
	for _, e := range w.events {
		if e.Type == succeeded || e.Type == failed || e.Type == canceled {
			ends++
		}
	}
	for i, t := range w.a.Attempts {
		if t.EndedAt == nil && (i != len(w.a.Attempts)-1 || w.a.State.Terminal()) {
			w.t.Fatalf("attempt %d of %d lasts in state %s", i+1, len(w.a.Attempts), w.a.State)
		}
	}
	if terminal := w.a.State.Terminal(); terminal != (ends == 1) || ends > 1 || len(w.a.Attempts) > w.a.Spec.Retry.Tries() {
		w.t.Fatalf("%d ends and %d attempts in state %s", ends, len(w.a.Attempts), w.a.State)
	} else if !terminal {
		return
	}
	end := *w.a
	end.Version, end.Attempts = 0, nil // evidence may follow
	if text := actionText(w.t, end); w.ended == "" {
		w.ended = text
	} else if text != w.ended {
		w.t.Fatalf("it ended as\n%s\nand is now\n%s", w.ended, text)
	}
}
