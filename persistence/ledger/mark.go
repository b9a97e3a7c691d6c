package ledger

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Mark is what every ledger counts of an event. It is a function of the event
// alone, so that two ledgers that have the same events have the same numbers.
type Mark struct {
	// Entity is whose step it is: the event's, or "<kind>:*" for the fabric's own
	// events, whose jobs and actions come once and never again. "": it is not counted.
	Entity string
	Step   string
	Hour   int64         // in which it is counted, since 1970, within what both ledgers can tell
	Bucket int           // of the latency, see [entropy.LatencyBucket]; NotTimed when none is stated
	Took   time.Duration // the latency
	Case   string        // within which one step follows another; "": none does
	Begins bool          // it is known to be the first of its case
	Tenant string

	Action  *ActionMark // of a step of an action; nil: it is none
	Trigger string      // the correlation that an entropy.deviation begins; "": it is none
}

// NotTimed is the bucket of what states no latency.
const NotTimed = -1

// ActionMark is what is kept of a step of an action.
type ActionMark struct {
	ID, Command, Tenant, Correlation string

	Type  string
	State entropy.ActionState // after it; "" of a step that says nothing of it
	// Rank orders states of one instant: by the action's life.
	Rank     int
	Terminal bool
	Reason   string // of a failure
	Kind     string // of a failure, for the taxonomy; "": it is none
	DryRun   bool   // it is kept, and not counted
}

// DeviationType is the type of the event that begins what MTTR is measured from.
const DeviationType = entropy.FindingPrefix + "deviation"

// MarkOf returns what is counted of an event.
func MarkOf(e *entropy.Event) Mark {
	m := Mark{Hour: hour(e.TS), Bucket: NotTimed, Tenant: e.Tags["tenant"]}
	kind, _ := entropy.SplitEntity(e.EntityID)
	switch {
	case e.Type == DeviationType:
		m.Trigger = e.CorrelationID
		return m
	case e.Finding() || e.EntityID == "" || e.Type == "":
		return m
	case e.Own():
		m.Entity, m.Case, m.Begins = entropy.Entity(kind, "*"), e.EntityID, e.Version == 1
		if kind == entropy.KindAction {
			m.Action = actionMark(e)
		}
	default:
		m.Entity, m.Case = e.EntityID, e.CorrelationID
	}
	m.Step = e.Step()
	if d, ok := e.Latency(); ok {
		m.Bucket, m.Took = entropy.LatencyBucket(d), d
	}
	return m
}

func actionMark(e *entropy.Event) *ActionMark {
	var at struct {
		Command string              `json:"command"`
		State   entropy.ActionState `json:"state"`
		Reason  string              `json:"reason"`
		Kind    string              `json:"kind"`
		DryRun  bool                `json:"dry_run"`
	}
	if json.Unmarshal(e.Attrs, &at) != nil || at.Command == "" {
		return nil
	}
	_, id := entropy.SplitEntity(e.EntityID)
	m := &ActionMark{ID: id, Command: at.Command, Tenant: e.Tags["tenant"], Correlation: e.CorrelationID, Type: e.Type, DryRun: at.DryRun}
	if e.Type == entropy.ActionEvidenceType { // it says what became of an attempt, after the state was decided
		return m
	}
	m.State, m.Terminal, m.Rank = at.State, at.State.Terminal(), slices.Index(entropy.ActionStates, at.State)
	if e.Type == entropy.ActionFailedType || e.Type == entropy.ActionRetryingType {
		m.Reason, m.Kind = at.Reason, at.Kind
		for _, other := range []string{at.Reason, "unknown"} {
			if m.Kind == "" {
				m.Kind = other
			}
		}
	}
	return m
}

// The times within which events are counted by their own hour, those that ClickHouse
// and its client can tell; what is beyond is counted at the end.
var (
	earliest = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2261, 12, 31, 23, 0, 0, 0, time.UTC)
)

// Within returns t, or the end of the times that every ledger can tell.
func Within(t time.Time) time.Time {
	if t.Before(earliest) {
		return earliest
	}
	if t.After(latest) {
		return latest
	}
	return t
}

// hour returns the number of whole hours from 1970 to t.
func hour(t time.Time) int64 {
	s := Within(t).Unix()
	h := s / 3600
	if s%3600 < 0 {
		h--
	}
	return h
}

// HourOf returns the hour as it is counted of the time t, which is whole; the
// zero time is unbounded, and returns the fallback.
func HourOf(t time.Time, unbounded int64) int64 {
	if t.IsZero() {
		return unbounded
	}
	return hour(t)
}
