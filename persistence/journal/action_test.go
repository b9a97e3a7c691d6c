package journal

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

func requested(t *testing.T, id, command, entity string) entropy.Change {
	t.Helper()
	envelope := `{"id":"` + id + `","event_type":"action.requested","entity_id":"` + entity + `","x":[1,2],"tags":{"tenant":"foo"},"attrs":{"command":"` + command + `"}}`
	q, err := (&entropy.ActionRequest{Envelope: json.RawMessage(envelope)}).Read(epoch0)
	if err != nil {
		t.Fatal(err)
	}
	events, err := q.Create(nil, entropy.CommandPolicy{}, "admin:t", epoch0)
	if err != nil {
		t.Fatal(err)
	}
	return followed(t, nil, events)
}

func followed(t *testing.T, a *entropy.Action, events []entropy.Event) entropy.Change {
	t.Helper()
	next, err := a.Next(events)
	if err != nil {
		t.Fatal(err)
	}
	entity, _ := next.Entity()
	ch := entropy.Change{Entity: entity, Events: events, State: next}
	if a != nil {
		ch.Expected, ch.Before = a.Version, a
	}
	return ch
}

// proves A-4, P-2: actions are listed newest first by state, command, tenant and
// entity, in pages, also after a restart, and a replay gives every row
func TestActions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path})
	for i := range 5 {
		command := []string{"restart", "notify"}[i%2]
		must(t, j, requested(t, "a"+strconv.Itoa(i), command, "job:"+strconv.Itoa(i%3)))
	}
	d, err := j.Document(bg, "action:a1")
	if err != nil {
		t.Fatal(err)
	}
	a := d.(*entropy.Action)
	events, err := a.Set(entropy.ActionCancel, "admin:t", entropy.Operation{}, epoch0.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	must(t, j, followed(t, a, events))
	if _, err := j.Append(bg, requested(t, "a1", "other", "")); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("a second action of an ID: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Config{Path: path})
	for _, c := range []struct {
		f    entropy.ActionFilter
		want string
	}{
		{entropy.ActionFilter{}, "a4 a3 a2 a1 a0"},
		{entropy.ActionFilter{Limit: 2}, "a4 a3 +"},
		{entropy.ActionFilter{States: []entropy.ActionState{entropy.ActionCanceled}}, "a1"},
		{entropy.ActionFilter{States: []entropy.ActionState{entropy.ActionRequested, entropy.ActionCanceled}, Command: "notify"}, "a3 a1"},
		{entropy.ActionFilter{Target: "job:1", Tenant: "foo"}, "a4 a1"},
		{entropy.ActionFilter{Tenant: "bar"}, ""},
	} {
		if got := actionList(t, j, c.f); got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
	page, err := j.Actions(bg, entropy.ActionFilter{Limit: 3})
	if err != nil || actionList(t, j, entropy.ActionFilter{Limit: 3, Cursor: page.Next}) != "a1 a0" {
		t.Errorf("the second page: %v", err)
	}
	_, err = j.Actions(bg, entropy.ActionFilter{Cursor: "?"})
	wantCode(t, err, entropy.CodeInvalid)
	report, err := j.Verify(bg, nil)
	if err != nil || !report.OK() || report.Documents != 5 {
		t.Errorf("%v, %v", report, err)
	}
}

func actionList(t *testing.T, j *Journal, f entropy.ActionFilter) string {
	t.Helper()
	page, err := j.Actions(bg, f)
	if err != nil {
		t.Fatal(err)
	}
	s := ""
	for _, a := range page.Actions {
		s += " " + string(a.ID)
	}
	if page.Next != "" {
		s += " +"
	}
	return s[min(len(s), 1):]
}

// proves A-4 (bad input): pages of large actions are short, and miss none
func TestLargeActions(t *testing.T) {
	t.Parallel()
	j := open(t, Config{Path: filepath.Join(t.TempDir(), "journal.db")})
	const n = 20
	for i := range n {
		envelope := `{"id":"a` + strconv.Itoa(i) + `","event_type":"action.requested","attrs":{"command":"c","args":{"x":"` + strings.Repeat("x", entropy.MaxActionSize-500) + `"}}}`
		q, err := (&entropy.ActionRequest{Envelope: json.RawMessage(envelope)}).Read(epoch0)
		if err != nil {
			t.Fatal(err)
		}
		events, err := q.Create(nil, entropy.CommandPolicy{}, "admin:t", epoch0)
		if err != nil {
			t.Fatal(err)
		}
		must(t, j, followed(t, nil, events))
	}
	seen, pages := n, 0
	for f := (entropy.ActionFilter{Limit: entropy.MaxBatch}); ; pages++ {
		page, err := j.Actions(bg, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Actions {
			if seen--; string(a.ID) != "a"+strconv.Itoa(seen) {
				t.Fatalf("%s comes where a%d should", a.ID, seen)
			}
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			break
		}
	}
	if seen != 0 || pages < 1 {
		t.Errorf("%d were missed, on %d pages", seen, pages+1)
	}
}
