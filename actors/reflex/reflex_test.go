package reflex

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// book is a ledger in memory.
type book struct {
	mu   sync.Mutex
	rows []entropy.LedgerEntry
	ids  map[string]bool
	fail error
}

func (b *book) Record(_ context.Context, at time.Time, obs []entropy.Observation, _ []entropy.DeadItem) (known []bool, _ []int64, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, nil, b.fail
	}
	for _, o := range obs {
		known = append(known, b.ids[o.Event.ID])
		if !b.ids[o.Event.ID] {
			b.ids[o.Event.ID] = true
			b.rows = append(b.rows, entropy.LedgerEntry{Row: uint64(len(b.rows) + 1), ReceivedAt: at, Origin: o.Origin, Event: o.Body})
		}
	}
	return known, nil, nil
}

func (b *book) Events(_ context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	page := entropy.LedgerPage{Next: f.After}
	for _, r := range b.rows {
		var e entropy.Event
		if err := json.Unmarshal(r.Event, &e); err != nil {
			return page, err
		}
		of := slices.ContainsFunc(f.Types, func(t string) bool { return t == e.Type || strings.HasSuffix(t, ".") && strings.HasPrefix(e.Type, t) })
		if r.Row > f.After && of && !e.TS.Before(f.From) && len(page.Entries) < f.Limit {
			page.Entries, page.Next = append(page.Entries, r), r.Row
		}
	}
	return page, nil
}

func (b *book) deviate(t *testing.T, id, entity string, at time.Time) {
	t.Helper()
	attrs, _ := json.Marshal(map[string]any{"step": "s", "channel": "late", "bits": 20, "at": at})
	e := entropy.Event{ID: id, TS: at, Type: "entropy.deviation", EntityID: entity, CorrelationID: "c-" + id, Source: entropy.Source{System: "entropy"}, Attrs: attrs}
	body, _ := json.Marshal(&e)
	if _, _, err := b.Record(t.Context(), at, []entropy.Observation{{Event: e, Body: body}}, nil); err != nil {
		t.Fatal(err)
	}
}

func (b *book) types() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.rows {
		var e entropy.Event
		if json.Unmarshal(r.Event, &e) == nil {
			all = append(all, e.Type)
		}
	}
	return all
}

// office is a ledger and whom actions are asked of.
type office struct {
	book  *book
	asked []entropy.Event
	by    []string
	err   error
	file  string
}

func (o *office) ask(ctx context.Context, r entropy.ActionRequest) (entropy.ActionResult, error) {
	if o.err != nil {
		return entropy.ActionResult{}, o.err
	}
	var e entropy.Event
	if err := json.Unmarshal(r.Envelope, &e); err != nil {
		return entropy.ActionResult{}, err
	}
	o.asked, o.by = append(o.asked, e), append(o.by, entropy.PrincipalFrom(ctx).String())
	return entropy.ActionResult{}, nil
}

const actAtOnce = "entity_cooldown: 0s\nrules: [{name: r, when: 'true', mode: act, reversible: true, do: {command: c}}]"

func newOffice(t *testing.T, rules string) *office {
	t.Helper()
	o := &office{book: &book{ids: map[string]bool{}}, file: filepath.Join(t.TempDir(), "rules.yaml")}
	o.write(t, rules)
	return o
}

func (o *office) write(t *testing.T, rules string) {
	t.Helper()
	if err := os.WriteFile(o.file, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (o *office) begin(t *testing.T, row uint64) *Reflex {
	t.Helper()
	r, err := New(Config{Ledger: o.book, Ask: o.ask, File: o.file})
	if err == nil {
		err = r.Begin(t.Context(), row)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// proves E-5: what the analyzer finds is asked for once, by the rules' own name, and
// after a crash at any place not again.
func TestAsksOnce(t *testing.T) {
	o := newOffice(t, actAtOnce)
	o.book.deviate(t, "d1", "k:1", time.Now())
	o.book.deviate(t, "d2", "k:2", time.Now())
	r := o.begin(t, 0)
	if err := r.Handle(t.Context(), o.book.rows); err != nil {
		t.Fatal(err)
	}
	if len(o.asked) != 2 || o.asked[0].CausationID != "d1" || o.asked[0].CorrelationID != "c-d1" || o.by[0] != "producer:rules" {
		t.Fatalf("%+v by %v", o.asked, o.by)
	}
	if got := strings.Join(o.book.types(), " "); got != "entropy.deviation entropy.deviation entropy.suggested entropy.suggested" {
		t.Error(got)
	}
	for row := range uint64(5) { // the cursor was kept nowhere, or further on
		r := o.begin(t, row)
		if err := r.Handle(t.Context(), o.book.rows[row:]); err != nil {
			t.Fatal(err)
		}
		for _, e := range o.asked[2:] { // asked for again by the same name: the same action
			if e.ID != o.asked[0].ID && e.ID != o.asked[1].ID {
				t.Errorf("from row %d it asks for %s", row, e.ID)
			}
		}
	}
	if len(o.book.rows) != 4 {
		t.Errorf("%q", o.book.types())
	}
}

// proves E-5: what cannot be done now is done later, once and in order; what never can
// be is recorded as refused.
func TestTroubles(t *testing.T) {
	o := newOffice(t, actAtOnce)
	r := o.begin(t, 0)
	o.book.deviate(t, "d1", "k:1", time.Now())
	o.book.deviate(t, "d2", "k:2", time.Now())
	rows := slices.Clone(o.book.rows)
	full := entropy.Errorf(entropy.CodeDiskFull, "the disk is full")
	o.book.fail = full
	if err := r.Handle(t.Context(), rows); !errors.Is(err, full) {
		t.Fatal(err)
	}
	o.book.fail, o.err = nil, entropy.Errorf(entropy.CodeUnavailable, "stopping")
	for range 3 {
		if err := r.Handle(t.Context(), rows); entropy.ErrorCode(err) != entropy.CodeUnavailable {
			t.Fatal(err)
		}
	}
	o.err = nil
	if err := r.Handle(t.Context(), rows); err != nil || len(o.asked) != 2 || o.asked[0].CausationID != "d1" {
		t.Fatal(err, o.asked)
	}
	o.err = entropy.Errorf(entropy.CodeForbidden, "the policy denies c")
	o.book.deviate(t, "d3", "k:3", time.Now())
	if err := r.Handle(t.Context(), o.book.rows[len(o.book.rows)-1:]); err != nil {
		t.Fatal(err)
	}
	all, err := r.Suggestions(t.Context(), entropy.SuggestionFilter{State: entropy.SuggestionRefused})
	if err != nil || len(all) != 1 || all[0].Message != "the policy denies c" || !slices.Contains(o.book.types(), entropy.SuggestionRefusedType) {
		t.Errorf("%+v %v", all, err)
	}
}

// proves E-5: what lay in the ledger for long is known, and not acted on.
func TestTooLate(t *testing.T) {
	o := newOffice(t, actAtOnce)
	o.book.deviate(t, "d1", "k:1", time.Now().Add(-tooLate-time.Minute))
	r := o.begin(t, 0)
	if err := r.Handle(t.Context(), o.book.rows); err != nil || len(o.asked) != 0 {
		t.Error(err, o.asked)
	}
	if rep, err := r.Rules(t.Context()); err != nil || rep.Deviations != 1 || rep.File != o.file {
		t.Errorf("%+v %v", rep, err)
	}
}

// proves that after a restart the newest rows are known, when there are too many.
func TestManyRows(t *testing.T) {
	defer func(n int) { mostRows = n }(mostRows)
	mostRows = 3
	o := newOffice(t, "rules: [{name: r, when: 'true', mode: observe}]")
	for i := range 10 {
		o.book.deviate(t, fmt.Sprint("d", i), "k:1", time.Now().Add(-memory/10*time.Duration(9-i)-time.Minute))
	}
	rep, err := o.begin(t, 10).Rules(t.Context())
	if err != nil || rep.Deviations != 3 {
		t.Errorf("%d deviations are known, %v", rep.Deviations, err)
	}
}

// proves E-5: time alone makes a rule fire, when all rows were seen, and a storm end.
func TestTimePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, "storm: {limit: 1 per 1h, quiet: 5m}\nentity_cooldown: 0s\nrules: [{name: r, when: 'true', mode: act, reversible: true, for: 10m, do: {command: c}}]")
		r := o.begin(t, 0)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		o.book.deviate(t, "d1", "k:1", time.Now())
		o.book.deviate(t, "d2", "k:2", time.Now())
		if err := r.Handle(ctx, o.book.rows[:2]); err != nil {
			t.Fatal(err)
		}
		after := func(d time.Duration, events int) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(o.book.rows) != events {
				t.Errorf("after %v more: %q", d, o.book.types())
			}
		}
		after(11*time.Minute, 2) // rows may still be to come
		r.Reached(2)
		after(2*time.Second, 5) // two suggestions, and the storm that the second one made
		if len(o.asked) != 1 || !slices.Contains(o.book.types(), entropy.RuleStormType) {
			t.Errorf("%d asked for, %q", len(o.asked), o.book.types())
		}
		after(6*time.Minute, 6) // and its end
		stop()
		<-done
	})
}

// proves I-4: a file that has changed is put in force; one that is wrong is not, and
// that is said until it is right.
func TestReload(t *testing.T) {
	o := newOffice(t, actAtOnce)
	r := o.begin(t, 0)
	report := func() entropy.RuleReport {
		t.Helper()
		r.reload(t.Context())
		rep, err := r.Rules(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	was := report()
	o.write(t, "rules: [{name: x, when: 'nothing > 3', do: {command: c}}]")
	if rep := report(); rep.Digest != was.Digest || !strings.Contains(rep.Problem, "there is no nothing") {
		t.Errorf("%+v", rep)
	}
	o.write(t, "rules: [{name: other, when: 'true', mode: observe}]")
	if rep := report(); rep.Digest == was.Digest || rep.Problem != "" || len(rep.Rules) != 1 || rep.Rules[0].Name != "other" {
		t.Errorf("%+v", rep)
	}
	if err := os.Remove(o.file); err != nil {
		t.Fatal(err)
	}
	if rep := report(); rep.Problem == "" || rep.Rules[0].Name != "other" {
		t.Errorf("%+v", rep)
	}
	o.write(t, actAtOnce)
	if rep := report(); rep.Digest != was.Digest || rep.Problem != "" {
		t.Errorf("%+v", rep)
	}
	for _, file := range []string{o.file + "x", t.TempDir()} {
		if _, err := New(Config{File: file}); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// proves E-5: a person answers suggestions; the action is asked for in that person's
// name, and once.
func TestAnswers(t *testing.T) {
	o := newOffice(t, strings.Replace(actAtOnce, "mode: act", "mode: suggest", 1))
	early, err := New(Config{Ledger: o.book, Ask: o.ask, File: o.file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := early.Suggestions(t.Context(), entropy.SuggestionFilter{}); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Error(err)
	}
	r := o.begin(t, 0)
	for i := range 3 {
		o.book.deviate(t, fmt.Sprint("d", i), fmt.Sprint("k:", i), time.Now())
	}
	if err := r.Handle(t.Context(), o.book.rows); err != nil || len(o.asked) != 0 {
		t.Fatal(err, o.asked)
	}
	me := entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "me"})
	all, _ := r.Suggestions(me, entropy.SuggestionFilter{})
	for range 2 {
		if s, err := r.AcceptSuggestion(me, all[0].ID); err != nil || s.State != entropy.SuggestionRequested || s.By != "admin:me" || len(o.asked) != 1 || o.by[0] != "admin:me" {
			t.Fatal(s, err, o.by)
		}
		if s, err := r.DismissSuggestion(me, all[1].ID); err != nil || s.State != entropy.SuggestionDismissed {
			t.Fatal(s, err)
		}
	}
	o.err = entropy.Errorf(entropy.CodeUnavailable, "stopping")
	if _, err := r.AcceptSuggestion(me, all[2].ID); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Fatal(err)
	}
	o.err = nil
	r.Reached(0)
	r.pass(t.Context(), time.Now())
	if len(o.asked) != 2 || string(all[2].ActionID) != o.asked[1].ID {
		t.Errorf("what was accepted is not asked for: %v", o.asked)
	}
	for _, f := range []entropy.SuggestionFilter{{State: "lost"}, {Limit: -1}, {Limit: entropy.MaxBatch + 1}} {
		if _, err := r.Suggestions(me, f); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if err := r.ResetRule(me, "r"); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Error(err)
	}
	again := o.begin(t, uint64(len(o.book.rows)))
	if s, err := again.Suggestions(me, entropy.SuggestionFilter{State: entropy.SuggestionDismissed}); err != nil || len(s) != 1 || s[0].By != "admin:me" {
		t.Errorf("after a restart: %+v %v", s, err)
	}
}
