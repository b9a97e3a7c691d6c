package entropy

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// The types of the events that the analyzer's findings become, in the ledger.
const (
	EntropyDeviation    = "entropy.deviation"     // something is not as it normally is: [DeviationAttrs]
	EntropyRecovered    = "entropy.recovered"     // it is again, or there is no more to be said of it: [RecoveredAttrs]
	EntropyPredicted    = "entropy.predicted"     // what comes next in a case, when, and how sure: [PredictedAttrs]
	EntropySourceSilent = "entropy.source_silent" // a source says nothing any more: [SourceSilentAttrs]
	EntropyPhi          = "entropy.phi"           // the system entropy of an hour: [PhiAttrs]
	EntropyStarted      = "entropy.started"       // the analyzer listens from here on
)

// EntropySchema is the schema number of the events of the entropy layer written now.
const EntropySchema = 1

// DeviationAttrs is what an event entropy.deviation carries. Its entity is the one
// that deviates, "<kind>:*" where it is a whole kind; its correlation is the case, or
// "win:<entity>/<step>:<from>" where there is none.
type DeviationAttrs struct {
	Step            string            `json:"step"`
	Channel         string            `json:"channel"`             // location, shape, spread, tail, transition, unseen, outcome, late or missing
	Direction       string            `json:"direction,omitempty"` // slower, faster, chaotic, stuck, worse, better, …
	At              time.Time         `json:"at"`                  // when it was known, by the time of the source
	Window          TimeWindow        `json:"window"`              // in which it shows; of late and missing: since when it has been waited
	Bits            float64           `json:"bits"`                // -log2 p: what everything is ranked by
	P               float64           `json:"p"`
	Limit           float64           `json:"limit"`   // the p up to which false discoveries are bounded
	Bounded         bool              `json:"bounded"` // p is within it; of late and missing ones only some are
	N               float64           `json:"n"`       // observations
	Entropy         float64           `json:"entropy"` // bits, of the window
	BaselineEntropy float64           `json:"baseline_entropy"`
	JSDBits         float64           `json:"jsd_bits"` // Jensen-Shannon divergence from what is normal
	Why             []string          `json:"why"`
	Examples        []string          `json:"examples"`          // cases
	Repeats         int               `json:"repeats,omitempty"` // of late and missing: how many before it, since the last in time
	Expected        *ExpectedGap      `json:"expected,omitempty"`
	Suggested       []SuggestedAction `json:"suggested"`
	Model           string            `json:"model"`
}

// EntropyModel names the model that the findings are made by.
const EntropyModel = "entropy.v1"

// TimeWindow is a span of time.
type TimeWindow struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// ExpectedGap says how long something normally takes to come, in milliseconds.
type ExpectedGap struct {
	P50     int64   `json:"p50_ms"`
	P90     int64   `json:"p90_ms"`
	P99     int64   `json:"p99_ms"`
	Late    int64   `json:"late_ms"`    // beyond it, it is late
	Missing int64   `json:"missing_ms"` // beyond it, it is missing
	N       float64 `json:"n"`          // observations
}

// SuggestedAction is an action that might help.
type SuggestedAction struct {
	Command    string          `json:"command"`
	Args       json.RawMessage `json:"args,omitempty"` // an object
	Reversible bool            `json:"reversible"`
}

// RecoveredAttrs is what an event entropy.recovered carries. Its causation is the
// event of the deviation, as far as that is known.
type RecoveredAttrs struct {
	Step    string    `json:"step"`
	Channel string    `json:"channel"`
	At      time.Time `json:"at"`
	From    time.Time `json:"from"` // Window.From of the deviation
	// How it ended: normal, adopted (it is the new normal), came, given_up (it never
	// came), forgotten (for want of room).
	How string `json:"how"`
}

// PredictedAttrs is what an event entropy.predicted carries; its correlation is the case.
type PredictedAttrs struct {
	Step       string         `json:"step"` // the newest of the case
	Since      time.Time      `json:"since"`
	Next       []ExpectedStep `json:"expected_next"` // the likeliest first
	Expected   *ExpectedGap   `json:"expected"`      // nil: no time is known
	Deadline   *time.Time     `json:"deadline"`      // after it, it is late; nil: no time is known
	Confidence float64        `json:"confidence"`    // 1 - 1/sqrt(n)
	Model      string         `json:"model"`
}

// ExpectedStep is a step that may come next.
type ExpectedStep struct {
	Step string  `json:"step"` // "(end)": the case is over
	P    float64 `json:"p"`
}

// SourceSilentAttrs is what an event entropy.source_silent carries; its entity is
// "source:<system>". Nothing of that source is called late or missing while it lasts.
type SourceSilentAttrs struct {
	Since   time.Time `json:"since"`      // it was last heard of
	Allowed int64     `json:"allowed_ms"` // how long it is normally silent, at most
}

// PhiAttrs is what an event entropy.phi carries; its entity is "system:phi".
type PhiAttrs struct {
	Phi    float64            `json:"phi"` // bits per event
	Events float64            `json:"events"`
	Absent float64            `json:"absent"` // late and missing ones
	Window TimeWindow         `json:"window"`
	Kinds  map[string]float64 `json:"kinds"` // by kind of entity
}

// Deviation is a finding and what became of it.
type Deviation struct {
	ID            string `json:"id"` // of its event
	EntityID      string `json:"entity_id"`
	CorrelationID string `json:"correlation_id"`
	DeviationAttrs
	Open    bool       `json:"open"`
	EndedAt *time.Time `json:"ended_at"`
	Ended   string     `json:"ended,omitempty"` // how: see [RecoveredAttrs]
}

// DeviationFilter selects deviations.
type DeviationFilter struct {
	Entity  string    // "<kind>:<id>", or "<kind>:" for all of a kind; "" means any
	Step    string    // "" means any
	Channel string    // "" means any
	Since   time.Time // known at or after it; zero means any
	Open    bool      // those that have not ended only
	Bounded bool      // those whose false ones are bounded, and those that have not ended, only
	Recent  bool      // the newest first, not the most surprising
	Limit   int       // 0 means 50, at most 1000
}

// Selects reports whether a deviation passes the filter.
func (f *DeviationFilter) Selects(d *Deviation) bool {
	kind := strings.HasSuffix(f.Entity, ":") && strings.HasPrefix(d.EntityID, f.Entity)
	return (f.Entity == "" || kind || f.Entity == d.EntityID) && (f.Step == "" || f.Step == d.Step) && (f.Channel == "" || f.Channel == d.Channel) &&
		!d.At.Before(f.Since) && (d.Open || !f.Open) && (d.Bounded || d.Open || !f.Bounded)
}

// DeviationList is a list of deviations.
type DeviationList struct {
	Deviations []Deviation `json:"deviations"`
}

// EntropyStatus says how the analyzer is, and how surprising everything is.
type EntropyStatus struct {
	State   string          `json:"state"`            // "rebuilding": it reads the past; "live"
	Row     uint64          `json:"row"`              // of the ledger, up to which it has come
	LastRow uint64          `json:"last_row"`         // of the ledger
	Since   uint64          `json:"first_row"`        // from which it has learned
	Problem string          `json:"problem"`          // why its findings cannot be kept now; "": they are
	Health  EntropyHealth   `json:"health"`           //
	Phi     float64         `json:"phi"`              // of the last hour with events, bits per event
	Kinds   []KindEntropy   `json:"kinds"`            // the same by kind, the most surprising first
	Minutes []PhiPoint      `json:"minutes"`          // of the last hours with events, the newest last
	Hours   []PhiPoint      `json:"hours"`            // of the last days, the newest last
	Sources []EntropySource `json:"sources"`          //
	Digest  string          `json:"digest,omitempty"` // of what was learned, where it was asked for
}

// The states of the analyzer.
const (
	EntropyRebuilding = "rebuilding"
	EntropyLive       = "live"
)

// EntropyHealth counts what the analyzer did.
type EntropyHealth struct {
	Series      int     `json:"series"`       // (entity, step) pairs that are remembered
	Cases       int     `json:"cases"`        // that are open
	Open        int     `json:"open"`         // deviations that have not ended
	Evicted     uint64  `json:"evicted"`      // series forgotten for want of room
	CasesCut    uint64  `json:"cases_cut"`    // open cases forgotten for want of room
	Events      uint64  `json:"events"`       // observed
	Duplicates  uint64  `json:"duplicates"`   // seen before
	Skewed      uint64  `json:"skewed"`       // from the future
	Reordered   uint64  `json:"reordered"`    // older than what their case holds
	Unlearned   uint64  `json:"unlearned"`    // steps, contexts and kinds beyond the limits
	Tests       uint64  `json:"tests"`        // windows tested in the last day
	Limit       float64 `json:"limit"`        // the p up to which a window is reported
	FalseAlarms float64 `json:"false_alarms"` // a day, that this admits
	Deviations  uint64  `json:"deviations"`   // found
	Predictions uint64  `json:"predictions"`  // recorded
}

// KindEntropy is the entropy of one kind of entities.
type KindEntropy struct {
	Kind   string  `json:"kind"`
	Phi    float64 `json:"phi"` // bits per event
	Events float64 `json:"events"`
	Absent float64 `json:"absent"` // late and missing ones
}

// PhiPoint is the system entropy of a minute or an hour.
type PhiPoint struct {
	At     time.Time `json:"at"` // its begin
	Phi    float64   `json:"phi"`
	Events float64   `json:"events"`
	Absent float64   `json:"absent"`
}

// EntropySource is a system that events come from.
type EntropySource struct {
	System string    `json:"system"`
	Clock  time.Time `json:"clock"`  // up to which nothing more is expected of it
	Heard  time.Time `json:"heard"`  // it was last heard of
	Silent bool      `json:"silent"` // for longer than it ever is
	LagMS  int64     `json:"lag_ms"` // how old its events are when they come
}

// EntropySeries is what is known of one step of an entity: the newest window beside
// what is normal.
type EntropySeries struct {
	EntityID  string         `json:"entity_id"`
	Step      string         `json:"step"`
	N         float64        `json:"n"`       // observations that the baseline is worth
	Tested    bool           `json:"tested"`  // it has learned enough to be tested by itself
	Open      bool           `json:"open"`    // a deviation of its windows has not ended
	Channel   string         `json:"channel"` // of that
	Window    TimeWindow     `json:"window"`
	Buckets   []EntropyRange `json:"buckets"` // of durations, those that are not empty
	P50       int64          `json:"p50_ms"`
	P95       int64          `json:"p95_ms"`
	NormalP50 int64          `json:"baseline_p50_ms"`
	NormalP95 int64          `json:"baseline_p95_ms"`
	Entropy   float64        `json:"entropy"`          // bits, of the window
	Normal    float64        `json:"baseline_entropy"` // bits
	JSDBits   float64        `json:"jsd_bits"`
	P         float64        `json:"p"` // how probable a window is that differs as much
	Why       []string       `json:"why"`
	Examples  []string       `json:"examples"`
	Hours     []float64      `json:"hours"`  // share of its events by hour of the week, from Monday 0:00
	Recent    []float64      `json:"recent"` // entropy of past windows above what was expected, bits
	Next      *ExpectedGap   `json:"next"`   // until the next step of the case; nil: unknown
	Again     *ExpectedGap   `json:"again"`  // until the same again, where there are no cases
	Outcomes  []OutcomeShare `json:"outcomes"`
	Found     []Deviation    `json:"deviations"` // of it, the newest first
}

// EntropyRange is a range of durations.
type EntropyRange struct {
	From   float64 `json:"from_ms"`
	To     float64 `json:"to_ms"`
	Now    float64 `json:"now"`      // share of the window
	Normal float64 `json:"baseline"` // share that is expected
}

// OutcomeShare is how often runs end in a way.
type OutcomeShare struct {
	Outcome string  `json:"outcome"`
	Normal  float64 `json:"baseline"` // share
	Now     float64 `json:"now"`      // count in the window that is filling
}

// EntropyPrediction is what is expected next of a case.
type EntropyPrediction struct {
	Case string `json:"case"`
	PredictedAttrs
}

// EffectQuery asks how surprising everything was before and after a moment.
type EffectQuery struct {
	At     time.Time     // the moment, as when an action was carried out
	Kinds  []string      // of entities that were touched; none: all are
	Before time.Duration // 0 means an hour
	After  time.Duration // 0 means an hour
}

// EntropyEffect compares the system entropy before and after a moment: of the kinds of
// entities that something was done about, and of all others, which say what would have
// happened anyway. Spans are taken in whole minutes while those are kept, else in
// hours; the one of the moment itself is in neither.
type EntropyEffect struct {
	Before              float64 `json:"before"` // bits per event
	After               float64 `json:"after"`
	EventsBefore        float64 `json:"events_before"`
	EventsAfter         float64 `json:"events_after"`
	ControlBefore       float64 `json:"control_before"` // of the kinds that were not touched
	ControlAfter        float64 `json:"control_after"`
	ControlEventsBefore float64 `json:"control_events_before"`
	ControlEventsAfter  float64 `json:"control_events_after"`
	// Change is (After - Before) - (ControlAfter - ControlBefore), the latter where there
	// are others: below 0, it became less surprising.
	Change float64 `json:"change"`
}

// EntropyService shows what the analyzer knows.
type EntropyService interface {
	// Entropy returns how the analyzer is. With the digest it also hashes all that was
	// learned, which takes a while.
	Entropy(ctx context.Context, digest bool) (EntropyStatus, error)
	// Deviations returns what was found, the most surprising first.
	Deviations(ctx context.Context, f DeviationFilter) ([]Deviation, error)
	// EntropySeries returns what is known of a step of an entity. CodeNotFound; the hint
	// names the steps that are known.
	EntropySeries(ctx context.Context, entity, step string) (EntropySeries, error)
	// Predict returns what is expected next of a case that is under way. CodeNotFound.
	Predict(ctx context.Context, id string) (EntropyPrediction, error)
	// EntropyEffect compares the system entropy before and after a moment. CodeInvalid
	// where it is none, or a span is negative or longer than 30 days.
	EntropyEffect(ctx context.Context, q EffectQuery) (EntropyEffect, error)
}
