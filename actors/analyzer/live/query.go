package live

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/graph"
	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
)

var _ entropy.EntropyService = (*Watcher)(nil)

// Stats is what a watcher says of itself, as of a moment ago.
type Stats struct {
	State        string
	Row, LastRow uint64
	Phi          float64
	Problem      string
	Silent       int // sources
	Health       entropy.EntropyHealth
}

// Stats returns what the watcher says of itself; it does not wait for it.
func (w *Watcher) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// snapshot renews the statistics.
func (w *Watcher) snapshot(ctx context.Context) {
	st := Stats{State: entropy.EntropyRebuilding, Row: w.engine.row, Problem: w.problem, Health: w.engine.health()}
	if w.live {
		st.State = entropy.EntropyLive
	}
	st.Phi, _ = w.engine.phi.now()
	for _, s := range w.engine.order {
		if s.silent {
			st.Silent++
		}
	}
	if last, err := w.conf.Ledger.Last(ctx); err == nil {
		st.LastRow = last
	}
	w.mu.Lock()
	w.stats = st
	w.mu.Unlock()
	if !w.engine.evicted && st.Health.Evicted > 0 {
		w.engine.evicted = true
		w.log.Warn("there are more series than there is room for: those that were quiet longest are forgotten, and learned anew when they come again",
			"remembered", st.Health.Series, "hint", "give it more room with --analyzer-memory, or leave out what makes entities without bound")
	}
}

func (e *engine) health() entropy.EntropyHealth {
	h := e.analyzer.Health()
	return entropy.EntropyHealth{Series: h.Series, Cases: h.Cases, Open: len(e.book.open), Evicted: h.Evicted, CasesCut: h.CasesCut, Events: e.events, Duplicates: h.Duplicates,
		Skewed: h.Skewed + e.skewed, Reordered: h.Reordered, Unlearned: h.Unlearned, Tests: h.Tests, Limit: finite(h.Limit), FalseAlarms: finite(h.Expected),
		Deviations: e.deviations, Predictions: e.predictions}
}

// Numbers of points of one answer.
const (
	someMinutes = 6 * 60
	someHours   = 14 * 24
)

// Entropy implements [entropy.EntropyService].
func (w *Watcher) Entropy(ctx context.Context, digest bool) (st entropy.EntropyStatus, err error) {
	err = w.ask(ctx, func(e *engine) {
		st = entropy.EntropyStatus{State: entropy.EntropyRebuilding, Row: e.row, Since: e.first, Problem: w.problem, Health: e.health(),
			Minutes: e.phi.minutes.points(someMinutes), Hours: e.phi.hours.points(someHours), Sources: []entropy.EntropySource{}}
		if w.live {
			st.State = entropy.EntropyLive
		}
		st.Phi, st.Kinds = e.phi.now()
		for _, s := range e.order {
			st.Sources = append(st.Sources, entropy.EntropySource{System: s.system, Clock: s.clock(e.mark).UTC(), Heard: s.spoke.UTC(), Silent: s.silent, LagMS: s.lag.Milliseconds()})
		}
		if digest {
			st.Digest = e.analyzer.Digest()
		}
	})
	if err == nil {
		st.LastRow, err = w.conf.Ledger.Last(ctx)
	}
	return st, err
}

// Deviations implements [entropy.EntropyService].
func (w *Watcher) Deviations(ctx context.Context, f entropy.DeviationFilter) (list []entropy.Deviation, err error) {
	err = w.ask(ctx, func(e *engine) { list = e.book.list(f) })
	return list, err
}

// EntropyEffect implements [entropy.EntropyService].
func (w *Watcher) EntropyEffect(ctx context.Context, q entropy.EffectQuery) (x entropy.EntropyEffect, err error) {
	for _, d := range []*time.Duration{&q.Before, &q.After} {
		if *d == 0 {
			*d = time.Hour
		}
		if *d < 0 || *d > longestSpan {
			return x, entropy.Errorf(entropy.CodeInvalid, "%v is no span to compare", *d).WithHint("it is up to 30 days, as in 1h")
		}
	}
	if q.At.IsZero() {
		return x, entropy.Errorf(entropy.CodeInvalid, "there is no moment to compare around").WithHint("give it as in at=2026-01-31T16:42:00Z")
	}
	err = w.ask(ctx, func(e *engine) { x = e.phi.around(q.Kinds, q.At, q.Before, q.After) })
	return x, err
}

// longestSpan bounds what is compared.
const longestSpan = 30 * 24 * time.Hour

// Predict implements [entropy.EntropyService].
func (w *Watcher) Predict(ctx context.Context, id string) (p entropy.EntropyPrediction, err error) {
	found := false
	if err = w.ask(ctx, func(e *engine) {
		var x analyzer.Prediction
		if x, found = e.analyzer.Predict(id); found {
			p = entropy.EntropyPrediction{Case: id, PredictedAttrs: prediction(x.Step, &x)}
		}
	}); err == nil && !found {
		err = entropy.Errorf(entropy.CodeNotFound, "no case %.80q is under way", id).WithHint("a case is what events share a correlation_id for; one that has ended is not expected to go on")
	}
	return p, err
}

// EntropyGraph implements [entropy.EntropyService].
func (w *Watcher) EntropyGraph(ctx context.Context, kind string, nodes, edges int) (entropy.EntropyGraph, error) {
	var g *graph.Graph
	var kinds []string
	if err := w.ask(ctx, func(e *engine) {
		var ok bool
		if g, ok = e.analyzer.Graph(kind); !ok {
			kinds = e.analyzer.Kinds()
		}
	}); err != nil {
		return entropy.EntropyGraph{}, err
	}
	if g == nil {
		notFound := entropy.Errorf(entropy.CodeNotFound, "no case of the kind %.80q was seen", kind)
		if len(kinds) == 0 {
			return entropy.EntropyGraph{}, notFound.WithHint("a case is what events share a correlation_id for")
		}
		return entropy.EntropyGraph{}, notFound.WithHint("kinds with cases are: %s", strings.Join(kinds[:min(20, len(kinds))], ", "))
	}
	return *graph.Bound(g, cmp.Or(nodes, entropy.DefaultGraphNodes), cmp.Or(edges, entropy.DefaultGraphEdges)), nil
}

// EntropyDue implements [entropy.EntropyService].
func (w *Watcher) EntropyDue(ctx context.Context, entity string) (due []entropy.EntropyDue, err error) {
	err = w.ask(ctx, func(e *engine) { due = e.analyzer.Due(entity, e.mark, entropy.MaxDue) })
	return due, err
}

// EntropySeries implements [entropy.EntropyService].
func (w *Watcher) EntropySeries(ctx context.Context, entity, step string) (s entropy.EntropySeries, err error) {
	found, steps := false, []string(nil)
	if err = w.ask(ctx, func(e *engine) {
		var v analyzer.View
		if v, found = e.analyzer.View(entity, step); found {
			s = seriesReport(&v)
			s.Found = e.book.list(entropy.DeviationFilter{Entity: entity, Step: step, Recent: true, Limit: 10})
		} else {
			steps = e.analyzer.Steps(entity, 20)
		}
	}); err != nil || found {
		return s, err
	}
	notFound := entropy.Errorf(entropy.CodeNotFound, "nothing is known of step %.80q of %.80q", step, entity)
	if len(steps) == 0 {
		return s, notFound.WithHint("entropy surprise lists what deviates; of a whole kind, write KIND:*")
	}
	return s, notFound.WithHint("its steps are %s", strings.Join(steps, ", "))
}

func seriesReport(v *analyzer.View) entropy.EntropySeries {
	r := &v.Result
	s := entropy.EntropySeries{EntityID: v.Entity, Step: v.Step, N: finite(max(v.N, v.Ended)), Tested: v.Tested, Open: !v.Deviating.IsZero(), Channel: v.Channel,
		Window: entropy.TimeWindow{From: v.From.UTC(), To: v.To.UTC()}, Buckets: []entropy.EntropyRange{}, Entropy: finite(r.Entropy), Normal: finite(r.Normal),
		P50: r.Is.P50.Milliseconds(), P95: r.Is.P95.Milliseconds(), NormalP50: r.Was.P50.Milliseconds(), NormalP95: r.Was.P95.Milliseconds(),
		JSDBits: finite(r.Divergence), P: finite(r.P), Why: []string{}, Examples: orEmpty(v.Cases()), Hours: append([]float64{}, v.Hours...), Recent: []float64{},
		Next: expected(v.Next), Again: expected(v.Again), Outcomes: []entropy.OutcomeShare{}}
	if s.Open || r.P < 0.01 {
		s.Why = orEmpty(v.Why)
	}
	total := 0.0
	for _, n := range v.Now {
		total += n
	}
	for b := range v.Now {
		now := v.Now[b] / max(1, total)
		if now == 0 && v.Normal[b] < 0.001 {
			continue
		}
		from, to := sketch.Bounds(b)
		s.Buckets = append(s.Buckets, entropy.EntropyRange{From: milliseconds(from), To: milliseconds(to), Now: now, Normal: finite(v.Normal[b])})
	}
	for _, x := range v.Recent {
		s.Recent = append(s.Recent, finite(float64(x.Excess)))
	}
	for word, n := range v.Outcomes {
		s.Outcomes = append(s.Outcomes, entropy.OutcomeShare{Outcome: word, Normal: finite(n[0]), Now: n[1]})
	}
	slices.SortFunc(s.Outcomes, func(a, b entropy.OutcomeShare) int {
		return cmp.Or(cmp.Compare(b.Normal, a.Normal), cmp.Compare(a.Outcome, b.Outcome))
	})
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
