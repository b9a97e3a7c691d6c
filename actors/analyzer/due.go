package analyzer

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
)

// rarely is the gap from which what recurs by itself may have a due time of the day.
const rarely = 4 * time.Hour

// again returns until when a series that ran at a time is expected to run again: by its
// gaps, or by its calendar where that knows it sooner, as of what runs on working days
// only, whose longest usual gap is a weekend.
func (a *Analyzer) again(s *series, at time.Time) (baseline.Expectation, bool) {
	e, ok := s.self.Expect()
	if s.self.Quantile(0.5) < rarely {
		s.days = nil
		return e, ok
	}
	if s.days == nil {
		s.days = new(baseline.Calendar)
	}
	s.days.Add(at)
	schedule, known := s.days.Schedule(a.config.Zone)
	if !known {
		return e, ok
	}
	due, known := schedule.Next()
	if !known || !due.At.After(at) {
		return e, ok
	}
	if by := due.Expect(at); !ok || by.Late < min(e.Late, e.Missing) {
		s.wait.by = &due
		return by, true
	}
	return e, ok
}

// dueWords says what was due, and when.
func dueWords(w *wait, zone *time.Location) string {
	d := w.by
	days := d.Weekday().String() + "s"
	if d.Pooled {
		days = "the days it runs on"
	}
	return fmt.Sprintf("%s was due about %s, on %s (80 %% of %d came from %s to %s), and has not come by %s", w.series.step,
		d.At.In(zone).Format("15:04 on Mon 2 Jan"), days, d.N, d.From.In(zone).Format("15:04"), d.To.In(zone).Format("15:04"), w.due.In(zone).Format("15:04 on Mon 2 Jan"))
}

// Due returns, of the entity's series that have learned due times, the last one that
// ran, those since that did not, and the next, as of now; of all entities when it is
// empty. At most limit, in order of the due time. It looks at every series.
func (a *Analyzer) Due(entity string, now time.Time, limit int) []entropy.EntropyDue {
	all := []entropy.EntropyDue{}
	for e := a.series.order.Front(); e != nil; e = e.Next() {
		s := e.Value.(*entry[seriesID, *series]).value
		if s.days == nil || entity != "" && s.entity != entity {
			continue
		}
		schedule, ok := s.days.Schedule(a.config.Zone)
		if !ok {
			continue
		}
		for _, r := range schedule.Runs(now) {
			d := entropy.EntropyDue{EntityID: s.entity, Step: s.step, Status: r.Status, DueAt: r.At, From: r.From, To: r.To, Until: r.Until,
				Window: r.Window.Seconds(), Weekday: r.Weekday().String(), N: r.N, Pooled: r.Pooled}
			if !r.Ran.IsZero() {
				ran := r.Ran
				d.RanAt = &ran
			}
			all = append(all, d)
		}
	}
	slices.SortStableFunc(all, func(x, y entropy.EntropyDue) int {
		return cmp.Or(x.DueAt.Compare(y.DueAt), cmp.Compare(x.EntityID, y.EntityID), cmp.Compare(x.Step, y.Step))
	})
	return all[:min(len(all), max(0, limit))]
}
