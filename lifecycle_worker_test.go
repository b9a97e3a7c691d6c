package entropy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entropy-fabric/entropy"
)

var workerEvents = []string{entropy.WorkerRegistered, entropy.WorkerWentLost, entropy.WorkerReturned, entropy.WorkerDeparted,
	entropy.WorkerDrained, entropy.WorkerResumed, entropy.WorkerWasQuarantined}

func registration(nonce, boot string) entropy.Registration {
	return entropy.Registration{Nonce: nonce, KeyHash: "key", BootID: boot, SpoolID: "spool", Hostname: "host", Slots: 2,
		Labels: map[string]string{"zone": "a"}, Handlers: []string{"sum"}, Inventory: []entropy.Held{{JobID: "j", AssignmentID: "a"}}}
}

// registered applies what a registration is decided into.
func registered(t *testing.T, w *entropy.Worker, r entropy.Registration) (rebooted bool) {
	t.Helper()
	events, rebooted, err := w.Register(r, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := w.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	return rebooted
}

// proves J-1 for workers: what is not in the table is refused and changes nothing
func TestWorkerTransitionMatrix(t *testing.T) {
	to := make(map[string]entropy.WorkerState)
	for _, x := range entropy.WorkerTransitions {
		to[string(x.From)+" "+x.Event] = x.To
	}
	for _, from := range []entropy.WorkerState{"", entropy.WorkerAlive, entropy.WorkerLost, entropy.WorkerLeft} {
		for _, event := range append(workerEvents, "worker.unheard_of", "") {
			w := &entropy.Worker{ID: "w", State: from}
			e := entropy.WorkerEvent{Type: event}
			if event == entropy.WorkerRegistered {
				r := registration("n", "b")
				e.Attrs = entropy.WorkerAttrs{Registration: &r, Incarnation: 1}
			}
			before := string(must(w.EncodeRecord()))
			err := w.Apply(e)
			want, ok := to[string(from)+" "+event]
			if (err == nil) != ok || ok && w.State != want {
				t.Errorf("%q in state %q: state %s, %v", event, from, w.State, err)
			}
			if err != nil && string(must(w.EncodeRecord())) != before {
				t.Errorf("%q in state %q was refused and changed the worker", event, from)
			}
		}
	}
}

// proves L-5: incarnations only rise, a repeat gets the same, a reboot is seen
func TestRegister(t *testing.T) {
	w := &entropy.Worker{ID: "w"}
	if registered(t, w, registration("n1", "b1")) {
		t.Error("the first registration is taken for a reboot")
	}
	if w.Incarnation != 1 || w.State != entropy.WorkerAlive || !w.Schedulable() {
		t.Fatalf("%+v", w)
	}
	registered(t, w, registration("n1", "b1")) // the answer was lost
	if w.Incarnation != 1 || w.Version != 1 {
		t.Errorf("a repeat made incarnation %d, version %d", w.Incarnation, w.Version)
	}
	if registered(t, w, registration("n2", "b1")) || w.Incarnation != 2 {
		t.Errorf("a new agent process: incarnation %d", w.Incarnation)
	}
	if !registered(t, w, registration("n3", "b2")) || w.Incarnation != 3 {
		t.Errorf("a reboot: incarnation %d", w.Incarnation)
	}
	_, _, err := w.Register(registration("n1", "b1"), time.Now())
	if entropy.ErrorCode(err) != entropy.CodeStale {
		t.Errorf("a registration that was delayed: %v", err)
	}
	r := registration("n4", "b2")
	events, _, err := w.Register(r, time.Now())
	if err != nil || len(events) != 1 || events[0].Attrs.Registration.Inventory != nil {
		t.Errorf("the inventory is journaled: %+v, %v", events, err)
	}
	if r.Inventory == nil {
		t.Error("the caller's registration was changed")
	}
	if err := w.Apply(entropy.WorkerEvent{Type: entropy.WorkerRegistered, Attrs: entropy.WorkerAttrs{Registration: &r, Incarnation: 3}}); err == nil {
		t.Error("an incarnation that does not rise was applied")
	}
}

func TestDelayedRegistrationsAreRemembered(t *testing.T) {
	w := &entropy.Worker{ID: "w"}
	for i := range 20 {
		registered(t, w, registration(fmt.Sprintf("n%d", i), "b"))
	}
	for i := range 20 {
		_, _, err := w.Register(registration(fmt.Sprintf("n%d", i), "b"), time.Now())
		stale := entropy.ErrorCode(err) == entropy.CodeStale
		if remembered := i >= 19-entropy.MaxPastNonces && i < 19; stale != remembered {
			t.Errorf("nonce %d of 20: %v", i, err)
		}
	}
	if len(w.PastNonces) != entropy.MaxPastNonces {
		t.Errorf("%d nonces are kept", len(w.PastNonces))
	}
}

func TestRegisterRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		code entropy.Code
		set  func(*entropy.Registration)
	}{
		{"another key", entropy.CodeConflict, func(r *entropy.Registration) { r.KeyHash = "other" }},
		{"no nonce", entropy.CodeInvalid, func(r *entropy.Registration) { r.Nonce = "" }},
		{"a long nonce", entropy.CodeInvalid, func(r *entropy.Registration) { r.Nonce = strings.Repeat("n", 65) }},
		{"no slots", entropy.CodeInvalid, func(r *entropy.Registration) { r.Slots = 0 }},
		{"too many slots", entropy.CodeInvalid, func(r *entropy.Registration) { r.Slots = 100_001 }},
		{"no boot", entropy.CodeInvalid, func(r *entropy.Registration) { r.BootID = "" }},
		{"no spool", entropy.CodeInvalid, func(r *entropy.Registration) { r.SpoolID = "" }},
		{"too many handlers", entropy.CodeInvalid, func(r *entropy.Registration) { r.Handlers = make([]string, 1001) }},
	} {
		w := &entropy.Worker{ID: "w"}
		registered(t, w, registration("n1", "b1"))
		r := registration("n2", "b1")
		c.set(&r)
		events, _, err := w.Register(r, time.Now())
		if entropy.ErrorCode(err) != c.code || len(events) > 0 {
			t.Errorf("%s: %v, %v", c.name, events, err)
		}
	}
}

// proves W-8: a quarantine outlasts silence, return and registration, with its reason
func TestModesOutlastSilence(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, event := range []string{entropy.WorkerDrained, entropy.WorkerWasQuarantined} {
		w := &entropy.Worker{ID: "w"}
		registered(t, w, registration("n1", "b1"))
		for _, m := range []struct{ event, reason string }{{event, "it smells"}, {entropy.WorkerWentLost, "silent"}, {entropy.WorkerReturned, ""}, {entropy.WorkerDeparted, "bye"}} {
			for _, e := range w.Mark(m.event, m.reason, entropy.Operation{ID: "op"}, now) {
				if err := w.Apply(e); err != nil {
					t.Fatal(err)
				}
			}
			if w.Reason != "it smells" || w.Schedulable() {
				t.Errorf("after %s: reason %q, schedulable %t", m.event, w.Reason, w.Schedulable())
			}
		}
		registered(t, w, registration("n2", "b1"))
		if w.Reason != "it smells" || w.Schedulable() {
			t.Errorf("after a registration: reason %q, schedulable %t", w.Reason, w.Schedulable())
		}
		for _, e := range w.Mark(entropy.WorkerResumed, "", entropy.Operation{}, now) {
			if err := w.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
		if w.Reason != "" || !w.Schedulable() {
			t.Errorf("resumed: reason %q, schedulable %t", w.Reason, w.Schedulable())
		}
	}
}

func TestMarkSaysNothingTwice(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 999_999, time.FixedZone("", 7200))
	w := &entropy.Worker{ID: "w"}
	if e := w.Mark(entropy.WorkerDrained, "", entropy.Operation{}, now); len(e) > 0 {
		t.Errorf("an unknown worker: %v", e)
	}
	registered(t, w, registration("n1", "b1"))
	if e := w.Mark(entropy.WorkerResumed, "", entropy.Operation{}, now); len(e) > 0 {
		t.Errorf("nothing to resume: %v", e)
	}
	for _, event := range []string{entropy.WorkerDrained, entropy.WorkerWasQuarantined, entropy.WorkerWentLost} {
		e := w.Mark(event, strings.Repeat("é", entropy.MaxMessage), entropy.Operation{ID: "op"}, now)
		if len(e) != 1 || len(e[0].Attrs.Reason) > entropy.MaxMessage || e[0].Attrs.Operation != "op" {
			t.Fatalf("%s: %v", event, e)
		}
		if err := w.Apply(e[0]); err != nil {
			t.Fatal(err)
		}
		if again := w.Mark(event, "", entropy.Operation{}, now); len(again) > 0 {
			t.Errorf("%s twice: %v", event, again)
		}
	}
}

// proves P-2 for workers: replay = live, and a clone shares nothing that changes
func TestWorkerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, log := &entropy.Worker{ID: "w"}, [][]byte(nil)
		now := time.Date(2026, 1, 1, 0, 0, 0, 1, time.FixedZone("", 3600))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Second)
			var events []entropy.WorkerEvent
			if rapid.IntRange(0, 2).Draw(t, "register") == 0 {
				var err error
				nonce := fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "nonce"))
				if events, _, err = w.Register(registration(nonce, rapid.SampledFrom([]string{"b1", "b2"}).Draw(t, "boot")), now); entropy.ErrorCode(err) != "" && entropy.ErrorCode(err) != entropy.CodeStale {
					t.Fatal(err)
				}
			} else {
				events = w.Mark(rapid.SampledFrom(workerEvents[1:]).Draw(t, "event"), rapid.SampledFrom(awkward).Draw(t, "reason"), entropy.Operation{}, now)
			}
			before := string(must(w.EncodeRecord()))
			next := w.Clone()
			for i := range events {
				if err := next.Apply(events[i]); err != nil {
					t.Fatalf("decided into what Apply refuses: %v", err)
				}
				log = append(log, must(json.Marshal(must(events[i].Envelope()))))
			}
			if string(must(w.EncodeRecord())) != before {
				t.Fatal("applying to a clone changed the worker")
			}
			if next.Incarnation < w.Incarnation {
				t.Fatalf("incarnation %d after %d", next.Incarnation, w.Incarnation)
			}
			w = next
		}
		replayed := &entropy.Worker{ID: "w"}
		for _, b := range log {
			var env entropy.Event
			if err := json.Unmarshal(b, &env); err != nil {
				t.Fatal(err)
			}
			if err := replayed.Apply(must(entropy.DecodeWorkerEvent(env))); err != nil {
				t.Fatal(err)
			}
		}
		live := string(must(w.EncodeRecord()))
		if got := string(must(replayed.EncodeRecord())); got != live {
			t.Fatalf("live:   %s\nreplay: %s", live, got)
		}
		if got := string(must(must(entropy.DecodeWorker([]byte(live))).EncodeRecord())); got != live {
			t.Fatalf("the record %s reads back as %s", live, got)
		}
	})
}

func TestOffers(t *testing.T) {
	w := &entropy.Worker{Labels: map[string]string{"zone": "a", "gpu": "h100"}, Handlers: []string{"sum"}}
	for _, c := range []struct {
		spec entropy.JobSpec
		want bool
	}{
		{entropy.JobSpec{}, true},
		{entropy.JobSpec{Require: map[string]string{"zone": "a"}}, true},
		{entropy.JobSpec{Require: map[string]string{"zone": "a", "gpu": "a100"}}, false},
		{entropy.JobSpec{Require: map[string]string{"disk": ""}}, false},
		{entropy.JobSpec{Handler: "sum"}, true},
		{entropy.JobSpec{Handler: "product"}, false},
	} {
		if got := w.Offers(&c.spec); got != c.want {
			t.Errorf("%+v: %t", c.spec, got)
		}
	}
}

// proves W-8: a worker that comes back from quarantine runs one job at a time
// until some have ended well; one that it loses puts it back
func TestProbation(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &entropy.Worker{ID: "w"}
	registered(t, w, registration("n1", "b1"))
	slots := w.Slots
	apply := func(events []entropy.WorkerEvent, want int) {
		t.Helper()
		if len(events) != want {
			t.Fatalf("%d events, want %d: %+v", len(events), want, events)
		}
		for _, e := range events {
			if err := w.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	mark := func(event string) []entropy.WorkerEvent { return w.Mark(event, "why", entropy.Operation{}, now) }
	apply(w.Judge(false, "lost", now), 0) // it is trusted
	apply(mark(entropy.WorkerDrained), 1)
	apply(mark(entropy.WorkerResumed), 1)
	if w.Probation != 0 || w.Capacity() != slots {
		t.Errorf("a drained worker is on probation: %+v", w)
	}
	for range 2 {
		apply(mark(entropy.WorkerWasQuarantined), 1)
		apply(mark(entropy.WorkerResumed), 1)
		if w.Probation != entropy.ProbationJobs || w.Capacity() != 1 || !w.Schedulable() {
			t.Fatalf("after quarantine: %+v", w)
		}
		apply(w.Judge(true, "", now), 1)
		apply(w.Judge(false, "job x was lost with it", now), 1)
		if w.Schedulable() || !w.Quarantined || !strings.Contains(w.Reason, "job x") || w.Probation != 0 {
			t.Fatalf("after a loss on probation: %+v", w)
		}
		apply(mark(entropy.WorkerResumed), 1)
		for range entropy.ProbationJobs {
			apply(w.Judge(true, "", now), 1)
		}
		apply(w.Judge(true, "", now), 0)
		if w.Probation != 0 || w.Capacity() != slots {
			t.Fatalf("after its probation: %+v", w)
		}
	}
	apply(mark(entropy.WorkerWasQuarantined), 1)
	apply(mark(entropy.WorkerResumed), 1)
	apply(mark(entropy.WorkerResumed), 1) // once more: trusted at once
	apply(mark(entropy.WorkerResumed), 0)
	if w.Probation != 0 {
		t.Errorf("%+v", w)
	}
}

// proves J-9: what a worker can run at all: by labels and by what it has, free or not
func TestWorkerOffers(t *testing.T) {
	w := &entropy.Worker{Labels: map[string]string{"gpu": "a100"}, Resources: entropy.Resources{"cpu": 8000, "gpu": 2000}}
	for _, c := range []struct {
		name string
		spec entropy.JobSpec
		want bool
	}{
		{"nothing", entropy.JobSpec{}, true},
		{"what it has", entropy.JobSpec{Resources: entropy.Resources{"cpu": 8000, "gpu": 500}}, true},
		{"more than it has", entropy.JobSpec{Resources: entropy.Resources{"gpu": 3000}}, false},
		{"what it does not know", entropy.JobSpec{Resources: entropy.Resources{"license": 1000}}, false},
		{"another label", entropy.JobSpec{Require: map[string]string{"gpu": "h100"}}, false},
		{"an alternative", entropy.JobSpec{AnyOf: []entropy.Need{{Require: map[string]string{"gpu": "h100"}}, {Resources: entropy.Resources{"gpu": 2000}}}}, true},
		{"no alternative", entropy.JobSpec{AnyOf: []entropy.Need{{Require: map[string]string{"gpu": "h100"}}, {Resources: entropy.Resources{"gpu": 9000}}}}, false},
		{"a handler", entropy.JobSpec{Handler: "x"}, false},
	} {
		if got := w.Offers(&c.spec); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
