package analyzer

import (
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/sequence"
)

// branches is how long each of a step's successors is waited for. While there
// is only one, its gaps are all that were learned and are not kept twice.
type branches struct {
	only string
	each []branch
}

type branch struct {
	step string
	gaps baseline.Gaps
}

// How many successors of a step have gaps of their own; the others share those
// of all. An entity's are few: there are many entities.
const (
	maxBranches     = 4
	maxKindBranches = 32
)

// followed learns that a step came a gap after one of the series.
func (s *series) followed(step string, at time.Time, gap time.Duration) {
	switch {
	case s.then == nil:
		s.then = &branches{only: step}
	case len(s.then.each) > 0 || s.then.only != step:
		if len(s.then.each) == 0 {
			s.then.each = []branch{{s.then.only, s.next.Clone()}}
		}
		if g := s.branch(step, true); g != nil {
			g.Learn(at, gap)
		}
	}
	s.next.Learn(at, gap)
}

// branch returns the gaps until a certain step, and nil when it has none of its
// own. It makes them while there is room.
func (s *series) branch(step string, add bool) *baseline.Gaps {
	for i := range s.then.each {
		if b := &s.then.each[i]; b.step == step {
			return &b.gaps
		}
	}
	most := maxBranches
	if s.kind {
		most = maxKindBranches
	}
	if !add || len(s.then.each) >= most {
		return nil
	}
	s.then.each = append(s.then.each, branch{step: step})
	return &s.then.each[len(s.then.each)-1].gaps
}

// gapsTo returns the gaps until a certain step, and nil when they are not known
// apart from all others'.
func (s *series) gapsTo(step string) *baseline.Gaps {
	switch {
	case s.then == nil:
		return nil
	case len(s.then.each) > 0:
		return s.branch(step, false)
	case s.then.only == step:
		return &s.next
	}
	return nil
}

// leastShare is the share of the cases below which a way of going on is not
// looked at for itself: what is late is later than all but one in a thousand.
const leastShare = 0.001

// branchYoung is how many gaps to a certain step must have been learned before
// that step is expected by them alone: a 99 % gap takes a hundred.
const branchYoung = 100

// branch returns in which ways a case may go on, each with the gaps until that
// step: the entity's own; while these are few, half of them and half of its
// kind's, which is the more patient of both. What is not known apart shares the
// gaps of all steps at the level that is asked about. It returns none when
// there is only one way, or nothing is known of the order. The ways are valid
// until it is called again.
func (a *Analyzer) branch(c *openCase, level, all *series) []baseline.Part {
	k := a.kinds[c.class]
	if k == nil || level.then == nil || len(level.then.each) == 0 {
		return nil
	}
	a.parts = a.parts[:0]
	rest := 1.0
	for _, e := range k.model.Likely(c.context, leastShare) {
		if e.Symbol == sequence.End {
			rest -= e.P // what is expected is expected of those that go on
			continue
		}
		own, kinds := level.gapsTo(e.Step), all.gapsTo(e.Step)
		switch {
		case own != nil && (own.Continued() >= branchYoung || kinds == nil || own == kinds):
			a.parts = append(a.parts, baseline.Part{P: e.P, Gaps: own})
		case own != nil:
			a.parts = append(a.parts, baseline.Part{P: e.P / 2, Gaps: own}, baseline.Part{P: e.P / 2, Gaps: kinds})
		case kinds != nil:
			a.parts = append(a.parts, baseline.Part{P: e.P, Gaps: kinds})
		default:
			continue
		}
		rest -= e.P
	}
	if rest >= leastShare {
		a.parts = append(a.parts, baseline.Part{P: rest, Gaps: &level.next})
	}
	total := 0.0
	for _, p := range a.parts {
		total += p.P
	}
	for i := range a.parts {
		a.parts[i].P /= total
	}
	return a.parts
}
