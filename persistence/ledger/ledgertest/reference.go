package ledgertest

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// reference answers plainly, from all events at each call. It is wrong in other ways
// than a database.
type reference struct {
	events     []entropy.Event // each once, as they came
	deviations map[string][]time.Time
}

func newReference(obs []entropy.Observation) *reference {
	r, seen := &reference{deviations: map[string][]time.Time{}}, map[string]bool{}
	for _, o := range obs {
		if seen[o.Event.ID] {
			continue
		}
		seen[o.Event.ID] = true
		r.events = append(r.events, o.Event)
		if o.Event.Type == "entropy.deviation" {
			r.deviations[o.Event.CorrelationID] = append(r.deviations[o.Event.CorrelationID], o.Event.TS)
		}
	}
	return r
}

type pair struct{ a, b string }

func inHours(t time.Time, f ledger.StepFilter) bool {
	return (f.From.IsZero() || !t.Before(f.From)) && (f.To.IsZero() || t.Before(f.To))
}

// counted is how an event is counted, as docs/LEDGER.md says it.
func counted(e *entropy.Event) (entity, in string) {
	switch {
	case len(e.Type) > 8 && e.Type[:8] == "entropy.":
		return "", ""
	case e.Source.System == "entropy":
		kind, _ := entropy.SplitEntity(e.EntityID)
		return kind + ":*", e.EntityID
	}
	return e.EntityID, e.CorrelationID
}

func (r *reference) steps(f ledger.StepFilter) (all []ledger.Step) {
	type sum struct {
		n       uint64
		buckets map[int]float64
		hours   map[int64]map[int]float64
	}
	sums := map[pair]*sum{}
	for _, e := range r.events {
		entity, _ := counted(&e)
		if entity == "" || f.Entity != "" && f.Entity != entity || f.Step != "" && f.Step != e.Step() || !inHours(e.TS, f) {
			continue
		}
		s := sums[pair{entity, e.Step()}]
		if s == nil {
			s = &sum{buckets: map[int]float64{}, hours: map[int64]map[int]float64{}}
			sums[pair{entity, e.Step()}] = s
		}
		s.n++
		if d, ok := e.Latency(); ok {
			h := e.TS.Unix() / 3600
			if s.hours[h] == nil {
				s.hours[h] = map[int]float64{}
			}
			s.buckets[entropy.LatencyBucket(d)]++
			s.hours[h][entropy.LatencyBucket(d)]++
		}
	}
	for k, s := range sums {
		out := ledger.Step{Entity: k.a, Step: k.b, N: s.n}
		var windows []float64
		for _, h := range s.hours {
			if n, bits, _ := shannon(h); n >= 20 {
				windows = append(windows, bits)
			}
		}
		n, bits, variance := shannon(s.buckets)
		out.Timed, out.Entropy, out.Variance, out.Windows = uint64(n), bits, variance, len(windows)
		out.Median = median(windows)
		for i, w := range windows {
			windows[i] = math.Abs(w - out.Median)
		}
		out.Scale = 1.4826 * median(windows)
		for b, n := range s.buckets {
			out.Histogram = append(out.Histogram, ledger.Cell{Bucket: b, N: uint64(n)})
		}
		slices.SortFunc(out.Histogram, func(a, b ledger.Cell) int { return a.Bucket - b.Bucket })
		all = append(all, out)
	}
	slices.SortFunc(all, func(a, b ledger.Step) int {
		return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Step, b.Step))
	})
	return all
}

// shannon is H of counts in bits, with the correction, and the variance of H without.
func shannon(counts map[int]float64) (n, bits, variance float64) {
	for _, c := range counts {
		n += c
	}
	if n == 0 {
		return 0, 0, 0
	}
	for _, c := range counts {
		bits += c / n * math.Log2(n/c)
	}
	for _, c := range counts {
		variance += c / n * (math.Log2(n/c) - bits) * (math.Log2(n/c) - bits)
	}
	return n, bits + float64(len(counts)-1)/(2*n*math.Log(2)), variance / n
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func (r *reference) transitions(f ledger.StepFilter) (all []ledger.Transition) {
	type newest struct {
		step string
		ts   time.Time
	}
	cases := map[string]newest{}
	sums := map[[3]string]uint64{}
	for _, e := range r.events {
		entity, in := counted(&e)
		if entity == "" || in == "" {
			continue
		}
		before, ok := cases[in]
		if ok && before.ts.After(e.TS) {
			continue
		}
		if ok && inHours(e.TS, f) && (f.Entity == "" || f.Entity == entity) && (f.Step == "" || f.Step == e.Step()) {
			sums[[3]string{entity, before.step, e.Step()}]++
		}
		cases[in] = newest{e.Step(), e.TS}
	}
	for k, n := range sums {
		all = append(all, ledger.Transition{Entity: k[0], From: k[1], To: k[2], N: n})
	}
	slices.SortFunc(all, func(a, b ledger.Transition) int {
		return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return all
}
