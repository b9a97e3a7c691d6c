package detect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
)

// Contribution is a range of durations whose share changed, and its part of
// the divergence.
type Contribution struct {
	From, To time.Duration
	Was, Is  float64 // shares
	Bits     float64 // Is log2(Is / Was), by which the order is
}

// Contributions returns the n ranges that speak most for a change: runs of
// neighboring buckets whose shares moved the same way, by the absolute value
// of p log2(p / q) (Kullback & Leibler 1951).
func Contributions(r *Result, n int) []Contribution {
	var all []Contribution
	for b := 0; b < len(r.Counts); b++ {
		p, q := r.Counts[b]/r.N, r.Expectation[b]
		if max(p, q) < 0.005 {
			continue
		}
		from, to := sketch.Bounds(b)
		up := p > q
		if last := len(all) - 1; last >= 0 && all[last].To == from && (all[last].Is > all[last].Was) == up {
			all[last].To, all[last].Was, all[last].Is = to, all[last].Was+q, all[last].Is+p
			continue
		}
		all = append(all, Contribution{From: from, To: to, Was: q, Is: p})
	}
	for i := range all {
		c := &all[i]
		c.Bits = max(c.Is, 1e-3) * math.Log2(max(c.Is, 1e-3)/max(c.Was, 1e-3))
	}
	slices.SortStableFunc(all, func(a, b Contribution) int { return cmp.Compare(math.Abs(b.Is-b.Was), math.Abs(a.Is-a.Was)) })
	return all[:min(n, len(all))]
}

// Explain says in words and numbers why a window deviates: at most three
// sentences on the medians and the entropy, then the ranges that moved most.
func Explain(r *Result) []string {
	why := []string{headline(r)}
	if math.Abs(r.Entropy-r.Normal) >= minEntropy {
		word := "less"
		if r.Entropy < r.Normal {
			word = "more"
		}
		why = append(why, fmt.Sprintf("it is %s predictable: entropy %.2f bits, normally %.2f", word, r.Entropy, r.Normal))
	}
	var moved []string
	for _, c := range Contributions(r, 3) {
		if math.Abs(c.Is-c.Was) >= 0.02 {
			moved = append(moved, fmt.Sprintf("%s–%s: %s → %s", Words(c.From), Words(c.To), percent(c.Was), percent(c.Is)))
		}
	}
	if len(moved) > 0 {
		why = append(why, strings.Join(moved, ", "))
	}
	return why
}

func headline(r *Result) string {
	was, is := Words(r.Was.P50), Words(r.Is.P50)
	switch r.Channel {
	case Location:
		return fmt.Sprintf("%s: half now take up to %s, normally %s (× %.2f)", r.Direction, is, was, r.Ratio)
	case Spread:
		return fmt.Sprintf("%s: 95 %% now take up to %s, normally %s, half up to %s (was %s)", r.Direction, Words(r.Is.P95), Words(r.Was.P95), is, was)
	case Tail:
		return fmt.Sprintf("the slowest got slower: 95 %% now take up to %s, normally %s; %.0f of %.0f lie beyond the normal 99 %%",
			Words(r.Is.P95), Words(r.Was.P95), r.Tests[3].Score, r.N)
	}
	return fmt.Sprintf("the times are distributed differently: %.2f bits apart, half up to %s (was %s), 95 %% up to %s (was %s)",
		r.Divergence, is, was, Words(r.Is.P95), Words(r.Was.P95))
}

// Words writes a duration as people say it, to two or three digits.
func Words(d time.Duration) string {
	switch s := d.Seconds(); {
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", s*1e3)
	case d < 2*time.Minute:
		return fmt.Sprintf("%.3g s", s)
	case d < 2*time.Hour:
		return fmt.Sprintf("%.3g min", s/60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%.3g h", s/3600)
	default:
		return fmt.Sprintf("%.3g days", s/86400)
	}
}

func percent(p float64) string {
	if p < 0.001 {
		return "0 %"
	}
	if p >= 0.1 {
		return fmt.Sprintf("%.0f %%", 100*p)
	}
	return fmt.Sprintf("%.2g %%", 100*p)
}
