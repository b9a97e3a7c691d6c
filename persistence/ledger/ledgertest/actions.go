package ledgertest

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// story is all events of one action.
type story struct {
	state  ledger.ActionState
	events []entropy.Event
	errors map[string]uint64
}

type actionWords struct {
	Command, State, Reason, Kind string
	DryRun                       bool `json:"dry_run"`
}

func words(e *entropy.Event) (w actionWords) {
	if err := json.Unmarshal(e.Attrs, &w); err != nil {
		panic(err)
	}
	return w
}

func (r *reference) stories(f entropy.ActionStatsFilter) (all []*story) {
	byID := map[string]*story{}
	for _, e := range r.events {
		if id, ok := strings.CutPrefix(e.EntityID, "action:"); ok {
			if byID[id] == nil {
				byID[id] = &story{errors: map[string]uint64{}}
				byID[id].state.ID = id
			}
			byID[id].events = append(byID[id].events, e)
		}
	}
	for _, s := range byID {
		s.tell()
		at := s.state.RequestedAt
		if at.IsZero() || f.Command != "" && f.Command != s.state.Command || f.Tenant != "" && f.Tenant != s.state.Tenant ||
			!f.From.IsZero() && at.Before(f.From) || !f.To.IsZero() && !at.Before(f.To) {
			continue
		}
		for _, d := range r.deviations[s.state.Correlation] {
			if !d.After(at) && (s.state.TriggeredAt == nil || d.After(*s.state.TriggeredAt)) {
				s.state.TriggeredAt = &d
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *story) int {
		return cmp.Or(a.state.RequestedAt.Compare(b.state.RequestedAt), cmp.Compare(a.state.ID, b.state.ID))
	})
	return all
}

// tell works out where the action stands.
func (s *story) tell() {
	a := &s.state
	var decided time.Time
	for _, e := range s.events {
		w := words(&e)
		a.Command, a.Tenant, a.Correlation = w.Command, e.Tags["tenant"], e.CorrelationID
		a.DryRun = a.DryRun || w.DryRun
		if e.Type == "action.evidence" {
			continue
		}
		state := entropy.ActionState(w.State)
		if a.State == "" || later(state, e.TS, a.State, decided) {
			a.State, decided, a.Reason = state, e.TS, ""
			if state == entropy.ActionFailed {
				a.Reason = w.Reason
			}
		}
		switch e.Type {
		case "action.requested":
			a.RequestedAt = e.TS
		case "action.accepted":
			if a.AcceptedAt == nil || e.TS.Before(*a.AcceptedAt) {
				a.AcceptedAt = &e.TS
			}
		case "action.retrying":
			a.Retries++
			s.errors[cmp.Or(w.Kind, w.Reason, "unknown")]++
		case "action.failed":
			s.errors[cmp.Or(w.Kind, w.Reason, "unknown")]++
		}
	}
	if a.State.Terminal() {
		a.FinishedAt = &decided
	}
}

func later(a entropy.ActionState, at time.Time, b entropy.ActionState, bt time.Time) bool {
	if a.Terminal() != b.Terminal() {
		return a.Terminal()
	}
	if !at.Equal(bt) {
		return at.After(bt)
	}
	return slices.Index(entropy.ActionStates, a) > slices.Index(entropy.ActionStates, b)
}

func (r *reference) actionStates(f entropy.ActionStatsFilter) (all []ledger.ActionState) {
	for _, s := range r.stories(f) {
		all = append(all, s.state)
	}
	return all
}

func (r *reference) actionStats(f entropy.ActionStatsFilter) (all []entropy.ActionStats) {
	type sum struct {
		entropy.ActionStats
		accept, repair float64
		errors         map[string]uint64
	}
	sums := map[pair]*sum{}
	for _, s := range r.stories(f) {
		a := s.state
		if a.DryRun {
			continue
		}
		t := sums[pair{a.Command, a.Tenant}]
		if t == nil {
			t = &sum{ActionStats: entropy.ActionStats{Command: a.Command, Tenant: a.Tenant}, errors: map[string]uint64{}}
			sums[pair{a.Command, a.Tenant}] = t
		}
		t.Requested++
		t.Retries += a.Retries
		*map[entropy.ActionState]*uint64{entropy.ActionSucceeded: &t.Succeeded, entropy.ActionFailed: &t.Failed, entropy.ActionCanceled: &t.Canceled,
			entropy.ActionRequested: &t.Open, entropy.ActionAccepted: &t.Open, entropy.ActionStarted: &t.Open, entropy.ActionRetrying: &t.Open}[a.State]++
		if a.AcceptedAt != nil {
			t.Accepted++
			t.accept += a.AcceptedAt.Sub(a.RequestedAt).Seconds()
		}
		if a.State == entropy.ActionSucceeded && a.TriggeredAt != nil {
			t.Resolved++
			t.repair += a.FinishedAt.Sub(*a.TriggeredAt).Seconds()
		}
		for k, n := range s.errors {
			t.errors[k] += n
		}
	}
	mean := func(s float64, n uint64) *float64 {
		if n == 0 {
			return nil
		}
		s /= float64(n)
		return &s
	}
	for _, t := range sums {
		t.SuccessRate = mean(float64(t.Succeeded), t.Succeeded+t.Failed+t.Canceled)
		t.MTTA, t.MTTR = mean(t.accept, t.Accepted), mean(t.repair, t.Resolved)
		t.Errors = []entropy.ActionErrors{}
		for k, n := range t.errors {
			t.Errors = append(t.Errors, entropy.ActionErrors{Kind: k, N: n})
		}
		slices.SortFunc(t.Errors, func(a, b entropy.ActionErrors) int {
			return cmp.Or(-cmp.Compare(a.N, b.N), cmp.Compare(a.Kind, b.Kind))
		})
		all = append(all, t.ActionStats)
	}
	slices.SortFunc(all, func(a, b entropy.ActionStats) int {
		return cmp.Or(cmp.Compare(a.Command, b.Command), cmp.Compare(a.Tenant, b.Tenant))
	})
	return all
}
