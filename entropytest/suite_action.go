package entropytest

import (
	"encoding/json"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// missionEnvelope is the one that the mission prints, but for its ts.
const missionEnvelope = `{
"ts": "2025-08-10T16:42:00Z",
"event_type": "action.requested",
"entity_id": "job:abc123",
"correlation_id": "slot:2025-08-10T16:30Z",
"idempotency_key": "act:restart:job:abc123:1691685720",
"source": {"system":"karma","ns":{"component":"rules-fsm"}},
"tags": {"action":"restart_job","priority":"high","tenant":"foo"},
"attrs": {
"command": "restart_job",
"args": {"job_id":"abc123","force":true},
"ttl_sec": 600
}
}`

func (s *suite) request(envelope string) entropy.ActionResult {
	s.Helper()
	r, err := s.Service.RequestAction(s.ctx, entropy.ActionRequest{Envelope: json.RawMessage(envelope)})
	s.must(err)
	return r
}

func (s *suite) requestFails(envelope string, codes ...entropy.Code) {
	s.Helper()
	_, err := s.Service.RequestAction(s.ctx, entropy.ActionRequest{Envelope: json.RawMessage(envelope)})
	s.wantCode(err, codes...)
}

// proves, H-6: the envelope of the mission is accepted as printed, once for
// its idempotency key, and what is not known in it is kept
func testActions(s *suite) {
	first := s.request(missionEnvelope)
	a := first.Action
	if first.Duplicate || a.State != entropy.ActionRequested || a.Spec.Command != "restart_job" || a.Target != "job:abc123" || a.Tenant != "foo" ||
		a.Priority <= 0 || a.CorrelationID != "slot:2025-08-10T16:30Z" || !a.Deadline.Equal(a.StoredAt.Add(600e9)) || a.CreatedAt.Year() == 2025 {
		s.Fatalf("requested %+v", a)
	}
	again := s.request(strings.Replace(missionEnvelope, "16:42", "17:42", 1))
	if !again.Duplicate || again.Action.ID != a.ID || again.Action.Version != a.Version {
		s.Fatalf("asked again: %+v", again)
	}
	s.requestFails(strings.Replace(missionEnvelope, "true", "false", 1), entropy.CodeConflict)
	other := s.request(strings.Replace(missionEnvelope, `"foo"`, `"bar"`, 1))
	if other.Duplicate || other.Action.ID == a.ID {
		s.Fatal("the key of one tenant stands for another's")
	}
	s.request(`{"id":"mine","event_type":"action.requested","future":{"x":1},"attrs":{"command":"notify","more":2}}`)
	got, err := s.Service.Action(s.ctx, "mine")
	s.must(err)
	if !strings.Contains(string(got.Request), `"future":{"x":1}`) || !strings.Contains(string(got.Request), `"more":2`) || got.ID != "mine" {
		s.Fatalf("kept %s", got.Request)
	}
	_, err = s.Service.Action(s.ctx, "nobody")
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.WaitAction(s.ctx, "nobody", 0)
	s.wantCode(err, entropy.CodeNotFound)
	s.listsActions(a.ID, other.Action.ID)
}

func (s *suite) listsActions(foo, bar entropy.ActionID) {
	s.Helper()
	for _, c := range []struct {
		f    entropy.ActionFilter
		want []entropy.ActionID
	}{
		{entropy.ActionFilter{}, []entropy.ActionID{"mine", bar, foo}},
		{entropy.ActionFilter{Command: "restart_job", States: []entropy.ActionState{entropy.ActionRequested}}, []entropy.ActionID{bar, foo}},
		{entropy.ActionFilter{Tenant: "foo"}, []entropy.ActionID{foo}},
		{entropy.ActionFilter{Target: "job:abc123", States: []entropy.ActionState{entropy.ActionFailed}}, nil},
	} {
		page, err := s.Service.Actions(s.ctx, c.f)
		s.must(err)
		var got []entropy.ActionID
		for _, a := range page.Actions {
			got = append(got, a.ID)
			if a.Request != nil {
				s.Fatal("a listing carries envelopes")
			}
		}
		if len(got) != len(c.want) || page.Next != "" {
			s.Fatalf("%+v lists %v, want %v", c.f, got, c.want)
		}
		for i := range got {
			if got[i] != c.want[i] {
				s.Fatalf("%+v lists %v, want %v", c.f, got, c.want)
			}
		}
	}
	page, err := s.Service.Actions(s.ctx, entropy.ActionFilter{Limit: 2})
	s.must(err)
	rest, err := s.Service.Actions(s.ctx, entropy.ActionFilter{Limit: 2, Cursor: page.Next})
	s.must(err)
	if len(page.Actions) != 2 || page.Next == "" || len(rest.Actions) != 1 || rest.Actions[0].ID != foo || rest.Next != "" {
		s.Fatalf("pages %+v, %+v", page, rest)
	}
}

// proves A-4: an action that nobody has is canceled at once, once; and each change
// is an event
func testActionCancel(s *suite) {
	s.request(`{"id":"a","event_type":"action.requested","correlation_id":"c-1","attrs":{"command":"notify"}}`)
	for range 2 { // the second is harmless
		info, err := s.Service.SetAction(s.ctx, "a", entropy.ActionCancel, entropy.Operation{Reason: "never mind"})
		s.must(err)
		if info.State != entropy.ActionCanceled || info.Message != "never mind" || info.FinishedAt == nil {
			s.Fatalf("canceled %+v", info)
		}
	}
	info, err := s.Service.WaitAction(s.ctx, "a", patience)
	s.must(err)
	if info.State != entropy.ActionCanceled {
		s.Fatalf("waited for %+v", info)
	}
	_, err = s.Service.SetAction(s.ctx, "a", entropy.ActionApprove, entropy.Operation{})
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.SetAction(s.ctx, "nobody", entropy.ActionCancel, entropy.Operation{})
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.SetAction(s.ctx, "a", "explode", entropy.Operation{})
	s.wantCode(err, entropy.CodeInvalid, entropy.CodeNotFound)
	events := s.events("action:a")
	for _, e := range events {
		if e.CorrelationID != "c-1" || !strings.Contains(string(e.Attrs), `"action_id":"a"`) {
			s.Fatalf("%s does not say what it belongs to: %s", e.Type, e.Attrs)
		}
	}
	if n := len(events); n != 2 && n != 3 || events[0].Type != entropy.ActionRequestedType || events[n-1].Type != entropy.ActionCanceledType {
		s.Fatalf("events %+v", events)
	}
}

// proves A-7: who asked for an action does not approve it, and may withdraw it
func testActionApproval(s *suite) {
	r := s.request(`{"id":"a","event_type":"action.requested","attrs":{"command":"notify","approval":true}}`)
	if r.Action.State != entropy.ActionAwaiting {
		s.Fatalf("requested %+v", r.Action)
	}
	_, err := s.Service.SetAction(s.ctx, "a", entropy.ActionApprove, entropy.Operation{})
	s.wantCode(err, entropy.CodeForbidden)
	for range 2 {
		info, err := s.Service.SetAction(s.ctx, "a", entropy.ActionReject, entropy.Operation{Reason: "no"})
		s.must(err)
		if info.State != entropy.ActionFailed || info.Reason != entropy.FailedRejected || info.Message != "no" {
			s.Fatalf("rejected %+v", info)
		}
	}
	page, err := s.Service.DeadLetters(s.ctx, entropy.DeadLetterFilter{})
	s.must(err)
	if len(page.Letters) != 0 {
		s.Fatalf("a rejected action is a dead letter: %+v", page.Letters[0])
	}
}

// proves A-4, H-7: what nobody takes within its TTL fails, lands among the dead
// letters, and is replayed as another action or dropped, each once
func testDeadLetters(s *suite) {
	for _, id := range []string{"a", "b"} {
		s.request(`{"id":"` + id + `","ts":"2099-01-01T00:00:00Z","event_type":"action.requested","idempotency_key":"k` + id + `","attrs":{"command":"notify","ttl_sec":1,"kept":1}}`)
	}
	for _, id := range []entropy.ActionID{"a", "b"} {
		info, err := s.Service.WaitAction(s.ctx, id, patience)
		s.must(err)
		if info.State != entropy.ActionFailed || info.Reason != entropy.FailedExpired {
			s.Fatalf("ended as %+v", info)
		}
	}
	page, err := s.Service.DeadLetters(s.ctx, entropy.DeadLetterFilter{Limit: 1, Command: "notify"})
	s.must(err)
	if len(page.Letters) != 1 || page.Letters[0].ID != "a" || page.Letters[0].Action != "a" || page.Letters[0].Reason != "expired" || page.Next != "a" {
		s.Fatalf("letters %+v", page)
	}
	first, err := s.Service.ReplayDeadLetter(s.ctx, "a", entropy.Operation{})
	s.must(err)
	again, err := s.Service.ReplayDeadLetter(s.ctx, "a", entropy.Operation{})
	s.must(err)
	if first.Duplicate || !again.Duplicate || first.Action.ID == "a" || again.Action.ID != first.Action.ID || first.Action.CausationID != "a" ||
		!strings.Contains(string(first.Action.Request), `"kept":1`) {
		s.Fatalf("replayed %+v, then %+v", first.Action, again.Action)
	}
	for range 2 {
		d, err := s.Service.DropDeadLetter(s.ctx, "b", entropy.Operation{})
		s.must(err)
		if d.State != entropy.DeadLetterGone || d.ClosedAt == nil {
			s.Fatalf("dropped %+v", d)
		}
	}
	_, err = s.Service.DropDeadLetter(s.ctx, "a", entropy.Operation{})
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.ReplayDeadLetter(s.ctx, "b", entropy.Operation{})
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.DeadLetter(s.ctx, "nobody")
	s.wantCode(err, entropy.CodeNotFound)
	d, err := s.Service.DeadLetter(s.ctx, "a")
	s.must(err)
	all, err := s.Service.DeadLetters(s.ctx, entropy.DeadLetterFilter{All: true})
	s.must(err)
	if d.State != entropy.DeadLetterAgain || d.Replay != first.Action.ID || len(all.Letters) < 2 {
		s.Fatalf("%+v of %d", d, len(all.Letters))
	}
}

// proves A-4 (bad input): what can never be meant is refused with what is wrong, and
// leaves nothing behind
func testActionRefused(s *suite) {
	for why, envelope := range map[string]string{
		"command is missing": `{"id":"x","event_type":"action.requested","attrs":{}}`,
		"letters, digits":    `{"id":"x","event_type":"action.requested","attrs":{"command":"a.b.>"}}`,
		"event_type":         `{"id":"x","event_type":"action.succeeded","attrs":{"command":"a"}}`,
		"no attrs":           `{"id":"x","event_type":"action.requested"}`,
		"idempotency_key":    `{"event_type":"action.requested","attrs":{"command":"a"}}`,
		"event id":           `{"id":"a/b","event_type":"action.requested","attrs":{"command":"a"}}`,
		"ttl_sec":            `{"id":"x","event_type":"action.requested","attrs":{"command":"a","ttl_sec":-1}}`,
		"args":               `{"id":"x","event_type":"action.requested","attrs":{"command":"a","args":[1]}}`,
		"priority":           `{"id":"x","event_type":"action.requested","tags":{"priority":"very"},"attrs":{"command":"a"}}`,
		"on_failure":         `{"id":"x","event_type":"action.requested","attrs":{"command":"a","on_failure":{"command":"b","on_failure":{"command":"c"}}}}`,
		"envelope":           `[1]`,
	} {
		_, err := s.Service.RequestAction(s.ctx, entropy.ActionRequest{Envelope: json.RawMessage(envelope)})
		s.wantCode(err, entropy.CodeInvalid)
		if !strings.Contains(err.Error(), why) {
			s.Fatalf("%v does not name %q", err, why)
		}
	}
	huge := `{"id":"x","event_type":"action.requested","attrs":{"command":"a","args":{"x":"` + strings.Repeat("x", entropy.MaxActionSize) + `"}}}`
	s.requestFails(huge, entropy.CodeTooLarge)
	page, err := s.Service.Actions(s.ctx, entropy.ActionFilter{})
	s.must(err)
	if len(page.Actions) != 0 {
		s.Fatalf("left %+v", page.Actions)
	}
}

// proves A-7: the policy of a command refuses it, allows only dry runs or asks first
func testCommandPolicy(s *suite) {
	p, err := s.Service.Policy(s.ctx)
	s.must(err)
	p.Commands = map[string]entropy.CommandPolicy{"danger": {Mode: entropy.CommandDeny}, "deploy": {Mode: entropy.CommandDryRun, Rate: 2, Burst: 3, BreakAfter: 4},
		entropy.AnyCommand: {Mode: entropy.CommandAsk}}
	set, err := s.Service.SetPolicy(s.ctx, p, entropy.Operation{})
	s.must(err)
	if set.Commands["deploy"].Burst != 3 || set.Commands["deploy"].BreakAfter != 4 {
		s.Fatalf("set %+v", set.Commands)
	}
	s.requestFails(`{"id":"a","event_type":"action.requested","attrs":{"command":"danger"}}`, entropy.CodeForbidden)
	s.requestFails(`{"id":"b","event_type":"action.requested","attrs":{"command":"deploy"}}`, entropy.CodeForbidden)
	for id, want := range map[string]struct {
		command string
		state   entropy.ActionState
	}{
		"c": {`"deploy","dry_run":true`, entropy.ActionRequested}, "d": {`"other"`, entropy.ActionAwaiting}, "e": {`"other","dry_run":true`, entropy.ActionRequested},
	} {
		if r := s.request(`{"id":"` + id + `","event_type":"action.requested","attrs":{"command":` + want.command + `}}`); r.Action.State != want.state {
			s.Fatalf("%s is %s, want %s", want.command, r.Action.State, want.state)
		}
	}
	p = set
	p.Commands = map[string]entropy.CommandPolicy{"a b": {}}
	_, err = s.Service.SetPolicy(s.ctx, p, entropy.Operation{})
	s.wantCode(err, entropy.CodeInvalid)
}
