package analyzer

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
)

// Observation is one event as the analyzer sees it.
type Observation struct {
	Entity string    // "<kind>:<id>"
	Step   string    // what happened
	Case   string    // what it belongs to; empty: nothing, and the step is expected to recur by itself
	At     time.Time // when, by the source's clock
	Key    string    // idempotency key; empty: it cannot be told from a repetition
	Timed  bool      // Latency is stated; else it is the time since the last event of the case
	// Latency is how long the step took. Negative ones, of clocks that
	// disagree, count as 0.
	Latency time.Duration
	Last    bool // the case has ended with this event
	// Value is a number that the event states, when Valued. Where no latency is
	// stated it is watched, value by value. What is not finite is no value.
	Value  float64
	Valued bool
	// Alone says that it is neither a step of its case, which is only an example of what
	// is found, nor expected to recur: what is learned is its duration and outcome.
	Alone bool
	// Source names the system that states it: what is expected of a source becomes
	// late by its own time, see Analyzer.AdvanceSource. Callers bound how many there are.
	Source string
	// Outcome is how what has ended went: "succeeded" and words of its kind, or what
	// went wrong. Empty: it is not of those that go well or badly.
	Outcome string
}

// FromEvent returns the observation that an event of the envelope is, and
// false when it is none: without an entity, or one of the analyzer's own,
// which must not feed it. The step is the tag "step", else the type. The
// latency is the attribute latency_ms, duration_ms or latency_sec, the value the
// attribute "value" when it is a number, the outcome the tag or the attribute "outcome".
func FromEvent(e *entropy.Event) (Observation, bool) {
	if e.EntityID == "" || e.Type == "" || strings.HasPrefix(e.Type, OwnPrefix) {
		return Observation{}, false
	}
	o := Observation{Entity: e.EntityID, Step: e.Type, Case: e.CorrelationID, At: e.TS, Key: e.IdempotencyKey,
		Source: e.Source.System, Outcome: e.Tags["outcome"]}
	if step := e.Tags["step"]; step != "" {
		o.Step = step
	}
	var attrs struct {
		LatencyMS  *float64 `json:"latency_ms"`
		DurationMS *float64 `json:"duration_ms"`
		LatencySec *float64 `json:"latency_sec"`
		Outcome    any      `json:"outcome"`
		Value      any      `json:"value"`
	}
	if len(e.Attrs) > 0 && json.Unmarshal(e.Attrs, &attrs) == nil {
		switch {
		case attrs.LatencyMS != nil:
			o.Latency, o.Timed = milliseconds(*attrs.LatencyMS), true
		case attrs.DurationMS != nil:
			o.Latency, o.Timed = milliseconds(*attrs.DurationMS), true
		case attrs.LatencySec != nil:
			o.Latency, o.Timed = milliseconds(1000**attrs.LatencySec), true
		}
		o.Value, o.Valued = attrs.Value.(float64)
		if said, ok := attrs.Outcome.(string); ok && o.Outcome == "" {
			o.Outcome = said
		}
	}
	return o, true
}

// OwnPrefix begins the types of the events that the analyzer's findings become.
const OwnPrefix = "entropy."

func milliseconds(ms float64) time.Duration {
	const most = float64(math.MaxInt64) / float64(time.Millisecond)
	return time.Duration(max(0, min(ms, most/2)) * float64(time.Millisecond))
}

// Reading is how surprising one event was, in bits. What could not be said is
// 0.
type Reading struct {
	Bits   float64 `json:"bits"`   // Order + Timing
	Order  float64 `json:"order"`  // -log2 P(step | the steps before)
	Timing float64 `json:"timing"` // -log2 P(bucket of the latency)
	Start  float64 `json:"start"`  // -log2 P(hour of the week)

	Duplicate bool `json:"duplicate,omitempty"` // seen before: nothing was learned
	Skewed    bool `json:"skewed,omitempty"`    // from the future: nothing was learned
	Reordered bool `json:"reordered,omitempty"` // older than what its case already holds: order and gap were not learned
}

// Deviation is something that is not as it normally is.
type Deviation struct {
	Entity    string    `json:"entity"` // "<kind>:*" when no single entity was known well enough
	Step      string    `json:"step"`
	Channel   string    `json:"channel"` // location, shape, spread, tail, transition, unseen, sequence, value, outcome, late or missing
	Direction string    `json:"direction,omitempty"`
	At        time.Time `json:"at"`   // when it was known
	From      time.Time `json:"from"` // the window, or since when it has been waited
	To        time.Time `json:"to"`
	Bits      float64   `json:"bits"` // what everything is ranked by: -log2 p
	P         float64   `json:"p"`
	Limit     float64   `json:"limit"`   // the p up to which false discoveries are bounded, when it was decided
	Bounded   bool      `json:"bounded"` // P is within Limit; of late and missing ones only some are
	N         float64   `json:"n"`
	Entropy   float64   `json:"entropy"`
	Normal    float64   `json:"baselineEntropy"`
	JSD       float64   `json:"jsdBits"`
	Why       []string  `json:"why"`
	Cases     []string  `json:"cases"`             // examples
	Repeats   int       `json:"repeats,omitempty"` // of late and missing: how many before it, since the last in time

	Expected *baseline.Expectation `json:"expected,omitempty"` // of late and missing
}

// The ways of deviating that are not of a window.
const (
	Transition = "transition" // the order of steps has changed
	Unseen     = "unseen"     // a step follows that never did
	Sequence   = "sequence"   // a whole case is not like others
	Value      = "value"      // a number is not like those before it
	Late       = "late"       // not there when nearly all are
	Missing    = "missing"    // nor long after
	Outcome    = "outcome"    // it ends badly more or less often than it used to
)

// Health is what an Analyzer says of itself.
type Health struct {
	Series     int     `json:"series"`
	Cases      int     `json:"cases"`
	Values     int     `json:"values"`     // series of numbers that are watched
	Open       int     `json:"open"`       // deviations of windows that have not ended
	Evicted    uint64  `json:"evicted"`    // series, also of numbers, forgotten for want of room
	CasesCut   uint64  `json:"casesCut"`   // open cases forgotten for want of room
	Duplicates uint64  `json:"duplicates"` // events seen before
	Skewed     uint64  `json:"skewed"`     // events from the future
	Reordered  uint64  `json:"reordered"`  // events older than what their case holds
	Unlearned  uint64  `json:"unlearned"`  // steps, contexts and kinds beyond the limits
	Tests      uint64  `json:"tests"`      // windows tested in the last day
	Limit      float64 `json:"limit"`      // the p up to which a window is reported
	Expected   float64 `json:"expected"`   // false alarms per day that this admits
}
