package entropy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves J-8, J-10 (bad input): a policy that cannot be meant is refused, by name
func TestPolicyIsChecked(t *testing.T) {
	high := 101
	for want, p := range map[string]entropy.Policy{
		"gate of 0 slots":       {Gates: []entropy.Gate{{Priority: 5}}},
		"priority in -100":      {Gates: []entropy.Gate{{Slots: 1, Priority: -101}}},
		"preempt_priority 101":  {PreemptPriority: &high},
		"tenant a: weight 0":    {Tenants: map[string]entropy.TenantPolicy{"a": {}}},
		"queue q: its limits":   {Queues: map[string]entropy.QueuePolicy{"q": {MaxRunning: -1}}},
		"must not be negative":  {MaxRetrying: -1},
		"at most 1000 gates":    {Gates: make([]entropy.Gate, 1001)},
		"tenant \"no spaces\"":  {Tenants: map[string]entropy.TenantPolicy{"no spaces": {Weight: 1}}},
		"aging_step, reserve_a": {AgingStep: -1},
	} {
		if err := p.Validate(); entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	ok := entropy.Policy{Gates: []entropy.Gate{{Slots: 2, Priority: 50}}, Tenants: map[string]entropy.TenantPolicy{"a": {Weight: 3}}}
	if err := ok.Validate(); err != nil || ok.Weight("a") != 3 || ok.Weight("b") != 1 || ok.AgingStepOrDefault() != time.Minute {
		t.Errorf("%v, %v %v", err, ok.Weight("a"), ok.Weight("b"))
	}
}

// proves P-2: the policy is the fold of its events, and each follows the one before
func TestPolicyFollowsItsEvents(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	live, fold := new(entropy.Policy), entropy.NewDocument("policy:scheduling")
	var first entropy.Event
	for i := range 3 {
		e, next, err := live.Change(entropy.Policy{Version: 99, MaxRetrying: i + 1}, "admin:t", entropy.Operation{ID: "op", Reason: "why"}, now)
		if err != nil || next.Version != live.Version+1 {
			t.Fatalf("%+v, %v", next, err)
		}
		if err := fold.Apply(e); err != nil {
			t.Fatal(err)
		}
		if live = next; i == 0 {
			first = e
		}
	}
	a, b := must(json.Marshal(live)), must(json.Marshal(fold))
	if string(a) != string(b) {
		t.Errorf("live %s, replayed %s", a, b)
	}
	if err := fold.Apply(first); err == nil {
		t.Error("an old event was applied again")
	}
	if entropy.NewDocument("job:x") != nil {
		t.Error("a job is not a document")
	}
}
