package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// watch enters a job that waits for others into the index of those.
func (c *control) watch(a *actor) {
	if !a.job.Blocked {
		return
	}
	for _, d := range a.job.Spec.After {
		if up := c.jobs[d.Job]; !up.job.State.Terminal() && !slices.Contains(c.waiting[d.Job], a.id) {
			c.waiting[d.Job] = append(c.waiting[d.Job], a.id)
		}
	}
}

// look says how the jobs stand that a job waits for.
func (c *control) look(s *entropy.JobSpec) entropy.Settle {
	var out entropy.Settle
	for _, d := range s.After {
		switch up := c.jobs[d.Job].job; {
		case !up.State.Terminal():
			out.Open++
		case up.State != entropy.Succeeded && d.On != entropy.OnEnd && !c.w.mutant(DependencyOnFailure):
			out.Broken = fmt.Sprintf("%s has %s", d.Job, up.State)
		}
	}
	return out
}

// settleSoon tells a job how those stand that it waits for, again and again
// until that is recorded.
func (c *control) settleSoon(a *actor) {
	if !a.job.Blocked || a.job.State.Terminal() {
		return
	}
	settle := c.look(&a.job.Spec)
	if settle.Open > 0 && settle.Broken == "" {
		return
	}
	c.exec(byControl, a.id, settle, func(_ entropy.Decision, err error) {
		if err != nil {
			c.after(time.Second, func() { c.settleSoon(a) })
		}
	})
}
