package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/entropytest"
)

func (r *recorder) RequestAction(_ context.Context, q entropy.ActionRequest) (out entropy.ActionResult, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) Action(_ context.Context, id entropy.ActionID) (out entropy.ActionInfo, err error) {
	r.call(&out, id)
	return out, nil
}

func (r *recorder) Actions(_ context.Context, f entropy.ActionFilter) (out entropy.ActionPage, err error) {
	r.call(&out, f)
	return out, nil
}

func (r *recorder) WaitAction(_ context.Context, id entropy.ActionID, limit time.Duration) (out entropy.ActionInfo, err error) {
	r.call(&out, id, limit > 50*time.Second)
	return out, nil
}

func (r *recorder) SetAction(_ context.Context, id entropy.ActionID, verb entropy.ActionVerb, op entropy.Operation) (out entropy.ActionInfo, err error) {
	r.call(&out, id, verb, op)
	return out, nil
}

func (r *recorder) DeadLetters(_ context.Context, f entropy.DeadLetterFilter) (out entropy.DeadLetterPage, err error) {
	r.call(&out, f)
	return out, nil
}

func (r *recorder) DeadLetter(_ context.Context, id string) (*entropy.DeadLetter, error) {
	out := new(entropy.DeadLetter)
	r.call(out, id)
	return out, nil
}

func (r *recorder) ReplayDeadLetter(_ context.Context, id string, op entropy.Operation) (out entropy.ActionResult, err error) {
	r.call(&out, id, op)
	return out, nil
}

func (r *recorder) DropDeadLetter(_ context.Context, id string, op entropy.Operation) (*entropy.DeadLetter, error) {
	out := new(entropy.DeadLetter)
	r.call(out, id, op)
	return out, nil
}

// proves I-3, A-5: every method about actions carries every field there and back
func TestActionServiceCarriesEveryField(t *testing.T) {
	c := newTrip(t)
	check, answer, ctx := c.check, c.answer, t.Context()
	s := c.w.adminClient()
	op := entropy.Operation{ID: "op-1", Reason: "because"}

	envelope := entropy.ActionRequest{Envelope: json.RawMessage(`{"id":"a","x":{"y":[1]}}`)}
	result, err := s.RequestAction(ctx, envelope)
	check("RequestAction", err, result, answer(new(entropy.ActionResult)), envelope)
	info, err := s.Action(ctx, "a")
	check("Action", err, info, answer(new(entropy.ActionInfo)), entropy.ActionID("a"))
	info, err = s.WaitAction(ctx, "a", time.Minute)
	check("WaitAction", err, info, answer(new(entropy.ActionInfo)), entropy.ActionID("a"), true)
	f := filled[entropy.ActionFilter]()
	f.Limit = 7
	page, err := s.Actions(ctx, f)
	check("Actions", err, page, answer(new(entropy.ActionPage)), f)
	for _, verb := range []entropy.ActionVerb{entropy.ActionApprove, entropy.ActionReject, entropy.ActionCancel} {
		info, err = s.SetAction(ctx, "a", verb, op)
		check("SetAction", err, info, answer(new(entropy.ActionInfo)), entropy.ActionID("a"), verb, op)
	}
	g := entropy.DeadLetterFilter{All: true, Command: "c", Limit: 3, Cursor: "x"}
	letters, err := s.DeadLetters(ctx, g)
	check("DeadLetters", err, letters, answer(new(entropy.DeadLetterPage)), g)
	d, err := s.DeadLetter(ctx, "d")
	check("DeadLetter", err, *d, answer(new(entropy.DeadLetter)), "d")
	result, err = s.ReplayDeadLetter(ctx, "d", op)
	check("ReplayDeadLetter", err, result, answer(new(entropy.ActionResult)), "d", op)
	d, err = s.DropDeadLetter(ctx, "d", op)
	check("DropDeadLetter", err, *d, answer(new(entropy.DeadLetter)), "d", op)
}

// proves A-5: one call asks and waits, and the stream of an action ends with it
func TestActionWaitAndStream(t *testing.T) {
	m := entropytest.NewMemory()
	w := newWorld(t, m, m, nil)
	envelope := `{"id":"a","event_type":"action.requested","attrs":{"command":"c","ttl_sec":1}}`
	_, got := w.want(request{method: "POST", path: "/v1/actions?wait=30s", token: w.admin, body: envelope}, 200)
	if !strings.Contains(got, `"reason":"expired"`) || !strings.Contains(got, `"duplicate":false`) {
		t.Errorf("after the wait: %s", got)
	}
	_, got = w.want(request{method: "GET", path: "/v1/actions/a", token: w.admin, header: map[string]string{"Accept": "text/event-stream"}}, 200)
	if !strings.Contains(got, "action.requested") || !strings.Contains(got, "action.failed") {
		t.Errorf("the stream: %s", got)
	}
	w.want(request{method: "GET", path: "/v1/actions/nobody", token: w.admin, header: map[string]string{"Accept": "text/event-stream"}}, 404)
	w.want(request{method: "POST", path: "/v1/actions/a/explode", token: w.admin}, 404)
	w.want(request{method: "POST", path: "/v1/actions", token: w.admin, body: `{"a":1,"a":2}`}, 400)
	w.want(request{method: "GET", path: "/v1/actions?state=cancel" + "led,failed", token: w.admin}, 200)
	w.want(request{method: "GET", path: "/v1/actions?state=odd", token: w.admin}, 400)
}
