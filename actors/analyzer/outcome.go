package analyzer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// outcomes is what is known of how a series' runs end. A window of them is
// compared with the series' own past, shrunk to its kind's.
//
// Invariant: the words of base and now are different each, at most maxOutcomes.
type outcomes struct {
	base    mix
	origin  time.Time // where the weight is 1
	current float64   // the weight at the newest

	now      mix
	from, to time.Time
	cases    []string // examples of what went wrong
	pending  *mix     // the window before, which teaches when the one after it is normal too
	score    float64  // its standard score, squared
	scores   [baseline.Remembered]float32
	windows  int
	lastP    float64
	tested   bool
	opened   time.Time
	openFrom time.Time
	clean    int
}

// mix counts outcomes by word.
type mix []outcomeCount

type outcomeCount struct {
	word string
	n    float64
}

// maxOutcomes bounds the words that are told apart; further ones are "other".
const maxOutcomes = 8

func (m *mix) add(word string, n float64) {
	for i := range *m {
		if (*m)[i].word == word {
			(*m)[i].n += n
			return
		}
	}
	if len(*m) >= maxOutcomes && word != "other" {
		m.add("other", n)
		return
	}
	*m = append(*m, outcomeCount{word, n})
}

func (m mix) total() (n float64) {
	for _, c := range m {
		n += c.n
	}
	return n
}

// count returns how many have a word.
func (m mix) count(word string) float64 {
	for _, c := range m {
		if c.word == word {
			return c.n
		}
	}
	return 0
}

// bad returns how many went wrong: all that are not good.
func (m mix) bad(good string) (n float64) {
	for _, c := range m {
		if c.word != good && !wellEnded[c.word] {
			n += c.n
		}
	}
	return n
}

// wellEnded are the words for what went well.
var wellEnded = map[string]bool{"succeeded": true, "success": true, "ok": true, "passed": true, "completed": true, "done": true, "met": true}

// usual returns the word that stands for having gone well where none of the
// known ones is used: the commonest.
func (m mix) usual() string {
	best := outcomeCount{}
	for _, c := range m {
		if wellEnded[c.word] {
			return c.word
		}
		if c.n > best.n || c.n == best.n && c.word < best.word {
			best = c
		}
	}
	return best.word
}

// outcome counts how an event ended in its series' window, and in the kind's
// distribution, and closes the window when it is full or old.
func (a *Analyzer) outcome(o *Observation, own, all *series) {
	for _, s := range [2]*series{own, all} {
		if s.outcomes == nil {
			s.outcomes = new(outcomes)
		}
	}
	x, kind := own.outcomes, all.outcomes
	if n := x.now.total(); n >= baseline.Young && o.At.Sub(x.from) >= a.config.MaxSpan {
		a.closeOutcomes(own, kind, o.At)
	}
	if len(x.now) == 0 {
		x.from = o.At
	}
	x.now.add(o.Outcome, 1)
	if x.from.After(o.At) {
		x.from = o.At
	}
	if o.At.After(x.to) {
		x.to = o.At
	}
	if x.now.bad(x.good(kind)) > 0 && !wellEnded[o.Outcome] && o.Case != "" && len(x.cases) < 3 {
		x.cases = append(x.cases, o.Case)
	}
	if int(x.now.total()) >= a.config.Window && x.to.Sub(x.from) >= a.config.MinSpan {
		a.closeOutcomes(own, kind, o.At)
	}
}

// good returns the word for having gone well.
func (x *outcomes) good(kind *outcomes) string {
	if len(kind.base) > 0 {
		return kind.base.usual()
	}
	return x.base.usual()
}

// learn lets a window into the baseline, which decays as [baseline.Baseline] does.
func (x *outcomes) learn(at time.Time, m mix) {
	if x.origin.IsZero() {
		x.origin, x.current = at, 1
	}
	w := math.Exp2(max(0, at.Sub(x.origin).Hours()) / baseline.HalfLife.Hours())
	if w > 1<<20 {
		for i := range x.base {
			x.base[i].n /= w
		}
		x.origin, x.current, w = at, 1, 1
	}
	x.current = max(x.current, w)
	for _, c := range m {
		x.base.add(c.word, c.n*w)
	}
}

// n returns how many outcomes the baseline is worth, the newest weighing 1.
func (x *outcomes) n() float64 {
	if x.current == 0 {
		return 0
	}
	return x.base.total() / x.current
}

// ready reports whether windows are tested.
func (x *outcomes) ready() bool { return x.windows >= 2 && x.n() >= 50 }

// closeOutcomes tests a window of outcomes against what is normal, and opens,
// continues or ends a deviation, as close does for durations.
func (a *Analyzer) closeOutcomes(s *series, kind *outcomes, at time.Time) {
	x := s.outcomes
	w, from, to, cases := x.now, x.from, x.to, x.cases
	x.now, x.from, x.to, x.cases = nil, time.Time{}, time.Time{}, nil
	if !x.opened.IsZero() && at.Sub(x.opened) >= a.config.Adopt {
		a.outcomesEnded(s, at, EndedAdopted)
		*x = outcomes{}
		a.tested--
	}
	t := x.test(w, kind)
	if !x.ready() {
		a.teachOutcomes(x, kind, to, w, t.score)
		if x.ready() && !x.tested {
			x.tested = true
			a.tested++
		}
		return
	}
	p := t.p
	if x.lastP > 0 {
		p = min(1, 2*min(p, detect.Together(p, x.lastP)))
	}
	x.lastP = t.p
	a.discovery.Note(at, p)
	if !x.opened.IsZero() {
		if x.clean++; t.p <= 0.01 {
			x.clean = 0
		}
		if x.clean >= cleanWindows {
			a.outcomesEnded(s, at, EndedNormal)
		}
		return
	}
	if limit := a.discovery.Limit(a.tested); p <= limit && t.material() {
		x.opened, x.openFrom, x.clean, x.pending = at, from, 0, nil
		a.open++
		a.found = append(a.found, Deviation{Entity: s.name(), Step: s.step, Channel: Outcome, Direction: t.direction(), At: to, From: from, To: to,
			Bits: surprisal(p), P: p, Limit: limit, Bounded: true, N: t.n, Entropy: t.entropy, Normal: t.normal, JSD: t.divergence,
			Why: t.why(w), Cases: cases})
		return
	}
	if x.pending != nil {
		a.teachOutcomes(x, kind, to, *x.pending, x.score)
	}
	x.pending, x.score = &w, t.score
}

func (a *Analyzer) teachOutcomes(x, kind *outcomes, at time.Time, w mix, score float64) {
	x.learn(at, w)
	kind.learn(at, w)
	x.scores[x.windows%len(x.scores)] = float32(score)
	x.windows++
}

func (a *Analyzer) outcomesEnded(s *series, at time.Time, how string) {
	x := s.outcomes
	a.ended = append(a.ended, Ended{Entity: s.name(), Step: s.step, Channel: Outcome, From: x.openFrom, At: at, How: how})
	x.opened, x.openFrom = time.Time{}, time.Time{}
	a.open--
}

// forgetOutcomes lets go of the outcomes of a series that was evicted.
func (a *Analyzer) forgetOutcomes(s *series) {
	if s.outcomes == nil {
		return
	}
	if !s.outcomes.opened.IsZero() {
		a.outcomesEnded(s, s.outcomes.opened, EndedForgotten)
	}
	if s.outcomes.tested {
		a.tested--
	}
}

// outcomeTest is a window of outcomes compared with what is normal.
type outcomeTest struct {
	p, score           float64 // of the test; the squared standard score
	n, bad             float64
	share              float64 // normally bad
	entropy, normal    float64 // bits
	divergence         float64 // Jensen-Shannon, bits
	good               string
	dispersion, weight float64
}

// test asks how probable so many bad ones are, or so few: by the beta-binomial
// distribution of a window given the baseline, which is what the binomial becomes
// when its probability is known from counts only. Its weight is at most what makes
// windows scatter as much as the past ones did: phi = 1 + (n - 1) / (weight + 1).
func (x *outcomes) test(w mix, kind *outcomes) outcomeTest {
	good := x.good(kind)
	t := outcomeTest{p: 1, n: w.total(), bad: w.bad(good), good: good, dispersion: x.dispersion()}
	share := (kind.of(good) + 0.5) / (kind.n() + 1)
	a := baseline.KindPrior*share + x.of(good)
	t.weight = baseline.KindPrior + x.n()
	t.share = a / t.weight
	if v := t.n * t.share * (1 - t.share); v > 0 {
		d := max(0, math.Abs(t.bad-t.n*t.share)-0.5)
		t.score = d * d / v
	}
	if t.dispersion > 1 {
		t.weight = min(t.weight, max(1, (t.n-1)/(t.dispersion-1)-1))
	}
	upper, lower := stat.BetaBinomialTails(int(t.bad), int(t.n), t.share*t.weight, (1-t.share)*t.weight)
	t.p = min(1, 2*min(upper, lower))
	counts, q := x.align(w)
	t.entropy, t.normal = stat.Grassberger(counts), entropyOf(q)
	t.divergence = stat.Divergence(counts, q)
	return t
}

// of returns how many bad ones the baseline has, the newest weighing 1.
func (x *outcomes) of(good string) float64 {
	if x.current == 0 {
		return 0
	}
	return x.base.bad(good) / x.current
}

// dispersion returns by how much more past windows scattered than independent
// outcomes would: the mean of their squared scores, begun with four windows of 2.
func (x *outcomes) dispersion() float64 {
	sum, n := 8.0, 4.0
	for i := range min(x.windows, len(x.scores)) {
		sum, n = sum+float64(x.scores[i]), n+1
	}
	return max(1, sum/n)
}

// align returns the counts of a window and the normal shares over the same words.
func (x *outcomes) align(w mix) (counts, q []float64) {
	words := make([]string, 0, len(w)+len(x.base))
	for _, m := range [2]mix{x.base, w} {
		for _, c := range m {
			if !slices.Contains(words, c.word) {
				words = append(words, c.word)
			}
		}
	}
	total := x.base.total() + 0.5*x.unit()*float64(len(words))
	for _, word := range words {
		counts = append(counts, w.count(word))
		q = append(q, (x.base.count(word)+0.5*x.unit())/total)
	}
	return counts, q
}

// unit is the weight of one observation now.
func (x *outcomes) unit() float64 { return max(1, x.current) }

func entropyOf(q []float64) (h float64) {
	for _, p := range q {
		if p > 0 {
			h -= p * math.Log2(p)
		}
	}
	return h
}

// material reports whether the change is worth anyone's attention: a twentieth of
// all, and a half more or less than before.
func (t *outcomeTest) material() bool {
	is := t.bad / max(1, t.n)
	return math.Abs(is-t.share) >= 0.05 && math.Abs(math.Log((is+0.01)/(t.share+0.01))) >= plainChange
}

var plainChange = math.Log(1.5)

func (t *outcomeTest) direction() string {
	if t.bad/max(1, t.n) > t.share {
		return "worse"
	}
	return "better"
}

func (t *outcomeTest) why(w mix) []string {
	why := []string{fmt.Sprintf("%.0f of %.0f did not end well (%.0f %%), normally %.2g %%", t.bad, t.n, 100*t.bad/t.n, 100*t.share)}
	sorted := slices.Clone(w)
	slices.SortFunc(sorted, func(a, b outcomeCount) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.word, b.word)) })
	var parts []string
	for _, c := range sorted {
		parts = append(parts, fmt.Sprintf("%s %.0f", c.word, c.n))
	}
	return append(why, "now: "+strings.Join(parts, ", "))
}
