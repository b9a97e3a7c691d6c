package live

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
)

// Origin is where the analyzer's own events come from, in the ledger.
const Origin = "analyzer"

// Component is the analyzer's name among the sources of the fabric's events.
const Component = "analyzer"

// event returns an event of the analyzer's. Its identifier is made from its key, so
// that the same finding is the same event.
func event(typ, entity, key string, at time.Time, tags map[string]string, attrs any) (entropy.Event, error) {
	b, err := json.Marshal(attrs)
	if err != nil {
		return entropy.Event{}, fmt.Errorf("encode %s of %s: %w", typ, entity, err)
	}
	if tags == nil {
		tags = make(map[string]string, 1)
	}
	tags["detected_by"] = entropy.EntropyModel
	return entropy.Event{ID: identifier(key), TS: at.UTC(), Type: typ, EntityID: entity, IdempotencyKey: key,
		Source: entropy.Source{System: "entropy", NS: map[string]string{"component": Component}}, Tags: tags, Attrs: b, Schema: entropy.EntropySchema}, nil
}

// identifier returns the ID of the event of a key.
func identifier(key string) string {
	h := sha256.Sum256([]byte(key))
	return "ent-" + hex.EncodeToString(h[:16])
}

// deviationKey names a finding: what deviates, how, and from when on.
func deviationKey(entity, step, channel, id string, from time.Time) string {
	key := entity + "/" + step
	if id != "" {
		key += "/" + id
	}
	return fmt.Sprintf("dev:%s:%s:%s", key, channel, from.UTC().Format(time.RFC3339Nano))
}

// caseOf returns the case that a deviation is about; "" for those of windows.
func caseOf(d *analyzer.Deviation) string {
	switch d.Channel {
	case analyzer.Late, analyzer.Missing, analyzer.Unseen, analyzer.Sequence:
	case analyzer.Transition:
		if d.Step == "*" {
			return ""
		}
	default:
		return ""
	}
	if len(d.Cases) == 0 {
		return ""
	}
	return d.Cases[0]
}

// correlation ties the events of one finding together: by its case, else by its window.
func correlation(entity, step, id string, from time.Time) string {
	if id != "" {
		return id
	}
	return fmt.Sprintf("win:%s/%s:%s", entity, step, from.UTC().Format(time.RFC3339Nano))
}

// deviationEvent returns the event that a finding becomes; cause is the event that
// brought it to light, "" when it was the time.
func deviationEvent(d *analyzer.Deviation, cause string) (entropy.Event, error) {
	id := caseOf(d)
	key := deviationKey(d.Entity, d.Step, d.Channel, id, d.From)
	if d.Channel == analyzer.Missing && d.Bounded && d.Expected != nil && d.To.Sub(d.From) > d.Expected.Missing {
		key += ":bounded" // it was said before, when it was not sure yet
	}
	attrs := entropy.DeviationAttrs{Step: d.Step, Channel: d.Channel, Direction: d.Direction, At: d.At.UTC(), Window: entropy.TimeWindow{From: d.From.UTC(), To: d.To.UTC()},
		Bits: finite(d.Bits), P: finite(d.P), Limit: finite(d.Limit), Bounded: d.Bounded, N: finite(d.N), Entropy: finite(d.Entropy), BaselineEntropy: finite(d.Normal),
		JSDBits: finite(d.JSD), Why: orEmpty(d.Why), Examples: orEmpty(d.Cases), Repeats: d.Repeats, Expected: expected(d.Expected),
		Suggested: []entropy.SuggestedAction{}, Model: entropy.EntropyModel}
	e, err := event(entropy.EntropyDeviation, d.Entity, key, d.At, map[string]string{"step": d.Step, "channel": d.Channel}, attrs)
	e.CorrelationID, e.CausationID = correlation(d.Entity, d.Step, id, d.From), cause
	return e, err
}

// recoveredEvent returns the event of the end of a finding.
func recoveredEvent(x *analyzer.Ended) (entropy.Event, error) {
	key := deviationKey(x.Entity, x.Step, x.Channel, x.Case, x.From)
	e, err := event(entropy.EntropyRecovered, x.Entity, "rec:"+key, x.At, map[string]string{"step": x.Step, "channel": x.Channel},
		entropy.RecoveredAttrs{Step: x.Step, Channel: x.Channel, At: x.At.UTC(), From: x.From.UTC(), How: x.How})
	e.CorrelationID, e.CausationID = correlation(x.Entity, x.Step, x.Case, x.From), identifier(key)
	return e, err
}

// predictedEvent returns the event of what is expected next of a case.
func predictedEvent(o *analyzer.Observation, p *entropy.PredictedAttrs, cause string) (entropy.Event, error) {
	key := fmt.Sprintf("pred:%s:%s:%s", o.Case, o.Step, o.At.UTC().Format(time.RFC3339Nano))
	e, err := event(entropy.EntropyPredicted, o.Entity, key, o.At, map[string]string{"step": o.Step}, p)
	e.CorrelationID, e.CausationID = o.Case, cause
	return e, err
}

// prediction returns a prediction in the words of the API.
func prediction(step string, p *analyzer.Prediction) entropy.PredictedAttrs {
	attrs := entropy.PredictedAttrs{Step: step, Since: p.Since.UTC(), Next: []entropy.ExpectedStep{}, Confidence: finite(p.Confidence), Model: entropy.EntropyModel}
	for _, x := range p.Next {
		attrs.Next = append(attrs.Next, entropy.ExpectedStep{Step: x.Step, P: finite(x.P)})
	}
	if !p.Deadline.IsZero() {
		deadline := p.Deadline.UTC()
		attrs.Deadline, attrs.Expected = &deadline, expected(&p.Expect)
	}
	return attrs
}

// silentKey names the silence of a source that was last heard of at a time.
func silentKey(system string, since time.Time) string {
	return fmt.Sprintf("silent:%s:%s", system, since.UTC().Format(time.RFC3339Nano))
}

// silent is the channel under which it is said that a source is heard of again.
const silent = "silent"

// silentEvent returns the event of a source that has become silent.
func silentEvent(system string, since, at time.Time, allowed time.Duration) (entropy.Event, error) {
	key := silentKey(system, since)
	e, err := event(entropy.EntropySourceSilent, "source:"+system, key, at, nil, entropy.SourceSilentAttrs{Since: since.UTC(), Allowed: allowed.Milliseconds()})
	e.CorrelationID = key
	return e, err
}

// spokeEvent returns the event of one that is heard of again.
func spokeEvent(system string, since, at time.Time) (entropy.Event, error) {
	key := silentKey(system, since)
	e, err := event(entropy.EntropyRecovered, "source:"+system, "rec:"+key, at, map[string]string{"channel": silent},
		entropy.RecoveredAttrs{Channel: silent, At: at.UTC(), From: since.UTC(), How: analyzer.EndedCame})
	e.CorrelationID, e.CausationID = key, identifier(key)
	return e, err
}

// phiEvent returns the event of the system entropy of an hour.
func phiEvent(s *slot, begin time.Time) (entropy.Event, error) {
	kinds := make(map[string]float64, len(s.kinds))
	for _, k := range s.kinds {
		kinds[k.kind] = finite(k.phi())
	}
	return event(entropy.EntropyPhi, "system:phi", "phi:"+begin.UTC().Format(time.RFC3339), begin.Add(time.Hour), nil,
		entropy.PhiAttrs{Phi: finite(s.all.phi()), Events: s.all.events, Absent: s.all.absent, Window: entropy.TimeWindow{From: begin.UTC(), To: begin.Add(time.Hour).UTC()}, Kinds: kinds})
}

func expected(x *baseline.Expectation) *entropy.ExpectedGap {
	if x == nil {
		return nil
	}
	return &entropy.ExpectedGap{P50: x.P50.Milliseconds(), P90: x.P90.Milliseconds(), P99: x.P99.Milliseconds(),
		Late: x.Late.Milliseconds(), Missing: x.Missing.Milliseconds(), N: finite(x.N)}
}

// finite makes a number that JSON can hold.
func finite(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return 0
	case math.IsInf(x, 1):
		return math.MaxFloat64
	case math.IsInf(x, -1):
		return -math.MaxFloat64
	}
	return x
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
