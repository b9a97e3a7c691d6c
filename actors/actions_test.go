package actors_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// desk is where orders are handed over: it keeps them, in order.
type desk struct {
	mu     sync.Mutex
	orders []entropy.ActionOrder
	broken error
}

func (d *desk) Issue(_ context.Context, o entropy.ActionOrder, e entropy.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	if e.ID != string(o.AttemptID) || e.CausationID != string(o.ActionID) || e.Type != entropy.ActionRequestedType {
		return fmt.Errorf("the envelope %+v does not carry the order %+v", e, o)
	}
	d.orders = append(d.orders, o)
	return nil
}

func (d *desk) breaks(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// inOffice is inLab with a desk for orders.
func inOffice(t *testing.T, f func(l *lab)) {
	t.Helper()
	inLabWith(t, func(l *lab) { l.desk = new(desk) }, f)
}

// asks asks for an action of command c; rest is put into its envelope.
func (l *lab) asks(id, attrs, rest string) entropy.ActionResult {
	l.t.Helper()
	r, err := l.sys.RequestAction(context.Background(), envelopeOf(id, attrs, rest))
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func envelopeOf(id, attrs, rest string) entropy.ActionRequest {
	return entropy.ActionRequest{Envelope: json.RawMessage(`{"id":"` + id + `","event_type":"action.requested"` + rest + `,"attrs":{"command":"c"` + attrs + `}}`)}
}

// taken returns the orders that came in since the last call, and fails unless they
// are of these actions, by ID.
func (l *lab) taken(want string) []entropy.ActionOrder {
	l.t.Helper()
	orders := l.takenAny()
	slices.SortFunc(orders, func(a, b entropy.ActionOrder) int { return strings.Compare(string(a.ActionID), string(b.ActionID)) })
	var got []string
	for _, o := range orders {
		got = append(got, string(o.ActionID))
	}
	if strings.Join(got, " ") != want {
		l.t.Fatalf("orders of %v, want %s", got, want)
	}
	return orders
}

// takenAny returns the orders that came in since the last call.
func (l *lab) takenAny() []entropy.ActionOrder {
	synctest.Wait()
	l.desk.mu.Lock()
	defer l.desk.mu.Unlock()
	orders := l.desk.orders
	l.desk.orders = nil
	return orders
}

// says has an executor report, and fails unless the verdict is this one.
func (l *lab) says(o entropy.ActionOrder, typ, executor, want string) entropy.ActionVerdict {
	l.t.Helper()
	percent := 40.0
	attrs, err := json.Marshal(entropy.ActionReport{ActionID: o.ActionID, AttemptID: o.AttemptID, Executor: executor, Percent: &percent, Error: "broken"})
	if err != nil {
		l.t.Fatal(err)
	}
	v, err := l.sys.ReportAction(context.Background(), executor, entropy.Event{ID: entropy.NewID(), Type: "action." + typ, Attrs: attrs})
	if err != nil || v.Verdict != want {
		l.t.Fatalf("%s of %s: %+v, %v", typ, executor, v, err)
	}
	return v
}

func (l *lab) action(id entropy.ActionID, want entropy.ActionState) entropy.ActionInfo {
	l.t.Helper()
	synctest.Wait()
	info, err := l.sys.Action(context.Background(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	if info.State != want {
		l.t.Fatalf("action %s is %s (%s: %s), want %s", id, info.State, info.Reason, info.Message, want)
	}
	return info
}

// story returns the types of an action's events.
func (l *lab) story(id string) string {
	l.t.Helper()
	page, err := l.sys.Events(context.Background(), entropy.EventFilter{Entity: "action:" + id})
	if err != nil {
		l.t.Fatal(err)
	}
	var types []string
	for _, e := range page.Events {
		types = append(types, strings.TrimPrefix(e.Type, "action."))
	}
	return strings.Join(types, " ")
}

// proves A-4, H-6: an action is issued, carried out by one executor and ends once,
// and the ledger tells the story in order
func TestActionLife(t *testing.T) {
	inOffice(t, func(l *lab) {
		if r := l.asks("a", `,"args":{"x":1},"ttl_sec":60`, `,"entity_id":"job:1"`); r.Duplicate || r.Action.ID != "a" {
			t.Fatalf("%+v", r)
		}
		if r := l.asks("a", `,"args":{"x":1},"ttl_sec":60`, `,"entity_id":"job:1"`); !r.Duplicate {
			t.Fatal("asked for twice")
		}
		o := l.taken("a")[0]
		if o.Attempt != 1 || string(o.Args) != `{"x":1}` || o.RemainingMS != 60_000 || o.TimeoutMS != 60_000 {
			t.Errorf("the order is %+v", o)
		}
		waited := make(chan entropy.ActionState, 1)
		go func() {
			info, _ := l.sys.WaitAction(context.Background(), "a", time.Hour)
			waited <- info.State
		}()
		l.says(o, "accepted", "e1", entropy.ReportAccepted)
		l.says(o, "accepted", "e2", entropy.ReportSuperseded)
		l.says(o, "started", "e1", entropy.ReportAccepted)
		l.says(o, "progress", "e1", entropy.ReportAccepted)
		if p := l.action("a", entropy.ActionStarted).Progress; p == nil || *p.Percent != 40 || p.AttemptID != o.AttemptID {
			t.Errorf("its progress is %+v", p)
		}
		l.says(o, "succeeded", "e1", entropy.ReportAccepted)
		if state := <-waited; state != entropy.ActionSucceeded {
			t.Errorf("waited for %s", state)
		}
		if info := l.action("a", entropy.ActionSucceeded); info.Progress != nil {
			t.Error("its progress is kept")
		}
		if got := l.story("a"); got != "requested issued accepted started succeeded" {
			t.Errorf("its story: %s", got)
		}
	})
}

// proves A-4, H-7: a restart of the control plane re-arms what was armed: orders that
// nobody has accepted are issued again under their attempt ids, and times go on
func TestActionRestart(t *testing.T) {
	inOffice(t, func(l *lab) {
		for _, id := range []string{"a", "b", "c"} {
			l.asks(id, `,"ttl_sec":60,"timeout_sec":30,"heartbeat_sec":20,"retry":{"max":2,"initial":"10s","cap":"10s"}`, "")
		}
		orders := l.taken("a b c")
		l.says(orders[0], "accepted", "e1", entropy.ReportAccepted)
		l.says(orders[0], "started", "e1", entropy.ReportAccepted)
		l.says(orders[1], "failed", "e1", entropy.ReportAccepted)
		l.crash()
		again := l.taken("c")
		if again[0].AttemptID != orders[2].AttemptID {
			t.Error("the order has another attempt id")
		}
		l.action("b", entropy.ActionRetrying)
		l.pass(10 * time.Second)
		if o := l.taken("b"); o[0].Attempt != 2 {
			t.Errorf("%+v", o)
		}
		l.pass(9 * time.Second) // 20 s of silence count from the restart
		l.action("a", entropy.ActionStarted)
		l.pass(2 * time.Second)
		if a := l.action("a", entropy.ActionRetrying); a.Attempts[0].Kind != entropy.KindNoHeartbeat {
			t.Errorf("%+v", a.Attempts)
		}
		l.crash()
		l.pass(time.Minute)
		l.action("b", entropy.ActionFailed)
		if c := l.action("c", entropy.ActionFailed); c.Reason != entropy.FailedExpired {
			t.Errorf("%s", c.Reason)
		}
	})
}

// proves: actions of one entity are issued one after the other in the order
// in which they were asked for, a compensation first, and others beside them
func TestActionOrderPerEntity(t *testing.T) {
	inOffice(t, func(l *lab) {
		on := `,"entity_id":"job:1"`
		l.asks("a1", `,"on_failure":{"command":"undo"}`, on)
		l.asks("a2", "", on+`,"tags":{"priority":"high"}`)
		l.asks("a3", "", on)
		l.asks("b1", "", `,"entity_id":"job:2"`)
		orders := l.taken("a1 b1")
		l.says(orders[0], "accepted", "e1", entropy.ReportAccepted)
		l.taken("")
		l.says(orders[0], "failed", "e1", entropy.ReportAccepted)
		page, err := l.sys.Actions(context.Background(), entropy.ActionFilter{Command: "undo"})
		if err != nil || len(page.Actions) != 1 || page.Actions[0].Compensates != "a1" || page.Actions[0].CausationID != "a1" {
			t.Fatalf("%+v %v", page, err)
		}
		undo := string(page.Actions[0].ID)
		l.says(l.taken(undo)[0], "succeeded", "e1", entropy.ReportAccepted)
		l.taken("a2")
		l.crash()
		l.says(l.taken("a2 b1")[0], "succeeded", "e1", entropy.ReportAccepted)
		if _, err := l.sys.SetAction(context.Background(), "a3", entropy.ActionCancel, entropy.Operation{}); err != nil {
			t.Fatal(err)
		}
		l.action("a3", entropy.ActionCanceled)
		letters, err := l.sys.DeadLetters(context.Background(), entropy.DeadLetterFilter{})
		if err != nil || len(letters.Letters) != 1 || letters.Letters[0].Action != "a1" || letters.Letters[0].Message != "broken" {
			t.Errorf("%+v %v", letters, err)
		}
	})
}

// proves A-7: a command is not issued faster than its policy says, the most urgent
// first; and not at all for a while after failures in a row, until one succeeds
func TestActionRateAndCircuit(t *testing.T) {
	inOffice(t, func(l *lab) {
		l.setPolicy(func(p *entropy.Policy) {
			p.Commands = map[string]entropy.CommandPolicy{"c": {Rate: 0.5, Burst: 1, BreakAfter: 2, BreakFor: entropy.Duration(20 * time.Second)}}
		})
		l.asks("a1", "", "")
		first := l.taken("a1")
		l.asks("a2", "", `,"tags":{"priority":"low"}`)
		l.asks("a3", "", "")
		l.asks("a4", "", `,"tags":{"priority":"high"}`)
		l.pass(time.Second)
		l.taken("")
		l.pass(1100 * time.Millisecond)
		second := l.taken("a4")
		l.says(first[0], "failed", "e1", entropy.ReportAccepted)
		l.says(second[0], "failed", "e1", entropy.ReportAccepted)
		l.pass(19 * time.Second)
		l.taken("") // broken
		l.pass(2 * time.Second)
		probe := l.taken("a3")
		l.pass(10 * time.Second)
		l.taken("") // its outcome decides
		l.says(probe[0], "failed", "e1", entropy.ReportAccepted)
		l.pass(19 * time.Second)
		l.taken("")
		l.pass(2 * time.Second)
		l.says(l.taken("a2")[0], "succeeded", "e1", entropy.ReportAccepted)
		l.asks("a5", "", "")
		l.pass(2100 * time.Millisecond)
		l.taken("a5")
	})
}

// proves: a restart of the control plane neither closes a circuit that is
// broken, nor lets orders out faster, nor lets a second probe follow the first.
func TestActionCircuitOverRestart(t *testing.T) {
	inOffice(t, func(l *lab) {
		l.setPolicy(func(p *entropy.Policy) {
			p.Commands = map[string]entropy.CommandPolicy{"c": {Rate: 0.1, Burst: 2, BreakAfter: 2, BreakFor: entropy.Duration(20 * time.Minute)}}
		})
		for _, id := range []string{"a1", "a2", "a3"} {
			l.asks(id, `,"ttl_sec":7200`, "")
		}
		first := l.taken("a1 a2")
		for _, o := range first {
			l.says(o, "accepted", "e1", entropy.ReportAccepted)
			l.says(o, "started", "e1", entropy.ReportAccepted)
		}
		l.crash()
		l.pass(time.Second)
		l.taken("") // two orders at once were all
		l.pass(9500 * time.Millisecond)
		third := l.taken("a3")
		l.says(first[0], "failed", "e1", entropy.ReportAccepted)
		l.says(third[0], "failed", "e1", entropy.ReportAccepted) // broken for 20 minutes
		l.asks("b1", `,"ttl_sec":7200`, "")
		l.asks("b2", `,"ttl_sec":7200`, "")
		for range 3 {
			l.pass(5 * time.Minute)
			l.crash()
			l.pass(time.Minute)
			l.taken("")
		}
		l.pass(3 * time.Minute)
		probe := l.taken("b1")
		l.says(probe[0], "accepted", "e1", entropy.ReportAccepted)
		l.says(probe[0], "started", "e1", entropy.ReportAccepted)
		l.crash()
		l.pass(10 * time.Minute)
		l.taken("") // its outcome decides
		l.says(probe[0], "failed", "e1", entropy.ReportAccepted)
		l.crash()
		l.pass(19 * time.Minute)
		l.taken("") // it has rested once more
		l.pass(2 * time.Minute)
		l.says(l.taken("b2")[0], "succeeded", "e1", entropy.ReportAccepted)
		l.crash()
		l.asks("d1", "", "")
		l.pass(11 * time.Second)
		l.taken("d1") // whole again
		l.asks("d2", "", "")
		l.asks("d3", "", "")
		l.asks("d4", "", "")
		l.pass(time.Second)
		if n := len(l.takenAny()); n > 2 {
			t.Errorf("%d at once, 2 are allowed", n)
		}
	})
}

// proves A-4: an order that cannot be handed over is tried again; a turn that the
// journal cannot take comes again; nothing is done twice
func TestActionHandOverFails(t *testing.T) {
	inOffice(t, func(l *lab) {
		l.desk.breaks(entropy.Errorf(entropy.CodeUnavailable, "away"))
		l.asks("a", "", "")
		l.pass(20 * time.Second)
		l.taken("")
		l.desk.breaks(nil)
		l.pass(31 * time.Second)
		l.taken("a")
		if err := l.sys.ReissueActions(); err != nil {
			t.Fatal(err)
		}
		l.taken("a")
		full := func(ch entropy.Change) error {
			if strings.HasSuffix(ch.Events[0].Type, ".issued") {
				return entropy.Errorf(entropy.CodeDiskFull, "full")
			}
			return nil
		}
		l.misbehave(full)
		l.asks("b", "", "")
		l.pass(7 * time.Second)
		l.taken("")
		l.misbehave(nil)
		l.pass(6 * time.Second)
		o := l.taken("b")
		if o[0].Attempt != 1 || l.story("b") != "requested issued" {
			t.Errorf("%+v, %s", o, l.story("b"))
		}
	})
}

// proves H-6: of many who ask at once under one idempotency key one makes the action
func TestActionKeyAtOnce(t *testing.T) {
	inOffice(t, func(l *lab) {
		var wg sync.WaitGroup
		ids := make([]entropy.ActionID, 20)
		fresh := make([]bool, len(ids))
		for i := range ids {
			wg.Go(func() {
				r, err := l.sys.RequestAction(context.Background(), envelopeOf(fmt.Sprintf("a%d", i), "", `,"idempotency_key":"k"`))
				if err != nil {
					t.Error(err)
				}
				ids[i], fresh[i] = r.Action.ID, !r.Duplicate
			})
		}
		wg.Wait()
		made := 0
		for i := range ids {
			if fresh[i] {
				made++
			}
			if ids[i] != ids[0] {
				t.Errorf("two actions: %s and %s", ids[0], ids[i])
			}
		}
		if made != 1 {
			t.Errorf("%d were made", made)
		}
		l.taken(string(ids[0]))
		_, err := l.sys.RequestAction(context.Background(), envelopeOf("x", `,"args":{}`, `,"idempotency_key":"k"`))
		l.wantCode(err, entropy.CodeConflict)
	})
}

// proves A-4 (bad input): what comes off a queue and can never be processed is a dead
// letter, once, and what could be is not
func TestActionUnprocessable(t *testing.T) {
	inOffice(t, func(l *lab) {
		ctx := context.Background()
		for range 2 {
			for _, raw := range []string{"no json", `{"id":"x","event_type":"action.requested","attrs":{"command":"a.b"}}`, string([]byte{0xff, 0xfe})} {
				if err := l.sys.TakeActionRequest(ctx, "actions.requested", entropy.ActionRequest{Envelope: json.RawMessage(raw)}); err != nil {
					t.Errorf("%q: %v", raw, err)
				}
			}
			if v, err := l.sys.TakeActionReport(ctx, "actions.result.e1", "e1", []byte("{"), nil); v != nil || err != nil {
				t.Errorf("%+v %v", v, err)
			}
			forged := `{"id":"r1","event_type":"action.succeeded","attrs":{"action_id":"a","attempt_id":"t","executor":"e2"}}`
			if v, err := l.sys.TakeActionReport(ctx, "actions.result.e1", "e1", []byte(forged), nil); err != nil || v.Verdict != entropy.ReportRefused || v.Report != "r1" || v.AttemptID != "t" {
				t.Errorf("%+v %v", v, err)
			}
			unknown := `{"id":"r2","event_type":"action.started","attrs":{"action_id":"a","attempt_id":"t","executor":"e1"}}`
			if v, err := l.sys.TakeActionReport(ctx, "actions.progress.e1", "e1", []byte(unknown), nil); err != nil || v.Verdict != entropy.ReportRefused {
				t.Errorf("%+v %v", v, err)
			}
		}
		page, err := l.sys.DeadLetters(ctx, entropy.DeadLetterFilter{})
		if err != nil || len(page.Letters) != 4 {
			t.Fatalf("%d letters, %v", len(page.Letters), err)
		}
		for _, d := range page.Letters {
			if d.Reason != entropy.Unprocessable || d.Subject == "" || d.Message == "" || d.Raw != nil {
				t.Errorf("%+v", d)
			}
			if _, err := l.sys.ReplayDeadLetter(ctx, d.ID, entropy.Operation{}); entropy.ErrorCode(err) != entropy.CodeInvalid {
				t.Errorf("replayed: %v", err)
			}
		}
		l.journal.set(func(entropy.Change) error { return entropy.Errorf(entropy.CodeDiskFull, "full") })
		if err := l.sys.TakeActionRequest(ctx, "actions.requested", envelopeOf("y", "", "")); entropy.ErrorCode(err) != entropy.CodeDiskFull {
			t.Errorf("lost: %v", err)
		}
	})
}

// proves A-7: another principal approves, and then the action is issued
func TestActionApproved(t *testing.T) {
	inOffice(t, func(l *lab) {
		l.asks("a", `,"approval":true`, "")
		l.pass(time.Minute)
		l.taken("")
		other := entropy.WithPrincipal(context.Background(), entropy.Principal{Role: entropy.RoleAdmin, Name: "other"})
		for range 2 {
			if _, err := l.sys.SetAction(other, "a", entropy.ActionApprove, entropy.Operation{ID: "op"}); err != nil {
				t.Fatal(err)
			}
		}
		l.taken("a")
	})
}

// proves A-4 (bad input): more is not taken on than can be kept, and what is refused
// for that may come again; a restart forgets no place
func TestActionBacklog(t *testing.T) {
	inOffice(t, func(l *lab) {
		for i := range 30 {
			l.asks(fmt.Sprintf("a%d", i), "", "")
		}
		for range 2 {
			_, err := l.sys.RequestAction(context.Background(), envelopeOf("more", "", ""))
			l.wantCode(err, entropy.CodeOverloaded)
			if r := l.asks("a3", "", ""); !r.Duplicate {
				t.Error("what is known is taken for new")
			}
			l.crash()
		}
		if err := l.sys.TakeActionRequest(context.Background(), "actions.requested", envelopeOf("more", "", "")); entropy.ErrorCode(err) != entropy.CodeOverloaded {
			t.Errorf("it was not left on its queue: %v", err)
		}
		if _, err := l.sys.SetAction(context.Background(), "a7", entropy.ActionCancel, entropy.Operation{}); err != nil {
			t.Fatal(err)
		}
		l.asks("more", "", "")
		l.pass(11 * time.Minute)
		l.action("more", entropy.ActionFailed)
		l.asks("again", "", "")
	})
}
