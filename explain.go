package entropy

import (
	"fmt"
	"time"
)

// Explanation says in words why a job is where it is, and what would change that.
type Explanation struct {
	JobID   JobID    `json:"id"`
	State   State    `json:"state"`
	Summary string   `json:"summary"` // one line
	Never   bool     `json:"never"`   // as the fabric is now, nothing could ever run it
	Causes  []Hurdle `json:"causes"`  // what stands in its way, the most decisive first; none: nothing does
}

// Hurdle is one thing that keeps a job from running or going on.
type Hurdle struct {
	Code string `json:"code"` // stable, for programs
	Text string `json:"text"` // a sentence, for people
	Fix  string `json:"fix"`  // the command that would change it; "" when only time or the job's owner can
}

// The codes of a [Hurdle] that a job's own state gives. Those of the scheduler
// are in its package.
const (
	HurdleHeld       = "held"
	HurdleNotBefore  = "not_before"
	HurdleDependency = "dependency"
	HurdleNotAcked   = "not_acked"
	HurdleBackoff    = "backoff"
	HurdleRetrySlot  = "retry_limit"
	HurdleLost       = "lost"
	HurdleCancel     = "cancel_requested"
	HurdlePreempt    = "preempt_requested"
	HurdleFailed     = "failed"
	HurdleCanceled   = "canceled"
)

// Explain says what the job's own state has to say about why it does not run. For
// a pending job that is only whether it is held: the rest is the scheduler's.
// Now is used for the words only.
func (j *Job) Explain(now time.Time) Explanation {
	x := Explanation{JobID: j.ID, State: j.State, Causes: []Hurdle{}}
	add := func(code, fix, format string, args ...any) {
		x.Causes = append(x.Causes, Hurdle{Code: code, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	if j.Held && !j.State.Terminal() {
		add(HurdleHeld, "entropy release "+string(j.ID), "it is held%s", because(j.Message))
	}
	switch j.State {
	case Scheduled:
		j.explainScheduled(add, now)
	case Assigned:
		add(HurdleNotAcked, "", "worker %s was given it %s ago and has not said yet that it starts it; it is given to another after %s",
			j.Lease.WorkerID, ago(j.Lease.GrantedAt, now), j.Spec.AckTimeoutOrDefault())
	case Running:
		j.explainRunning(add)
	case Lost:
		until := "its worker's word"
		if at := j.WakeAt(); !at.IsZero() {
			until += ", until " + stamp(at)
		}
		add(HurdleLost, "entropy cancel "+string(j.ID), "it may not run again (--no-retry) and its worker is not heard: it waits for %s", until)
	case Retrying:
		if !value(j.RetryAt).After(now) {
			add(HurdleRetrySlot, "entropy queue set "+j.QueueName()+" --max-retrying N", "its backoff is over and it waits for a retry slot: as many jobs are being retried as the policy allows")
			break
		}
		add(HurdleBackoff, "", "attempt %d %s; the next may start after the backoff, in %s", j.Attempt, lastEnd(j), value(j.RetryAt).Sub(now).Round(100*time.Millisecond))
	case Failed:
		add(HurdleFailed, "entropy retry "+string(j.ID), "it failed, reason %s%s", j.Reason, detail(j.Message))
	case Canceled:
		add(HurdleCanceled, "entropy retry "+string(j.ID), "it was canceled%s", because(j.Message))
	}
	x.summarize(j, now)
	return x
}

func (j *Job) explainScheduled(add func(code, fix, format string, args ...any), now time.Time) {
	if j.Blocked {
		add(HurdleDependency, "entropy explain "+string(j.Spec.After[0].Job), "it waits for %s", dependencies(j.Spec.After))
	}
	if at := j.Spec.NotBefore; at != nil && at.After(now) {
		add(HurdleNotBefore, "", "it is not to start before %s, in %s", stamp(*at), at.Sub(now).Round(time.Second))
	}
}

func (j *Job) explainRunning(add func(code, fix, format string, args ...any)) {
	if j.CancelRequested {
		add(HurdleCancel, "", "worker %s was asked to end it; it counts as canceled when its processes are gone or its lease has ended", j.Lease.WorkerID)
	}
	if j.PreemptRequested {
		add(HurdlePreempt, "", "worker %s was asked to end it, to make room for a more urgent job; it is queued again when its processes are gone", j.Lease.WorkerID)
	}
}

// summarize writes the line that says all if one reads no further.
func (x *Explanation) summarize(j *Job, now time.Time) {
	switch {
	case len(x.Causes) > 0:
		x.Summary = x.Causes[0].Text
	case j.State == Running:
		x.Summary = fmt.Sprintf("it has been running on %s for %s, attempt %d", j.Lease.WorkerID, ago(value(j.shown().StartedAt), now), j.shown().Number)
	case j.State == Succeeded:
		x.Summary = "it succeeded"
	default:
		x.Summary = "nothing stands in its way"
	}
}

func because(message string) string {
	if message == "" {
		return ""
	}
	return " (" + message + ")"
}

func ago(t, now time.Time) string { return max(now.Sub(t), 0).Round(time.Second).String() }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func lastEnd(j *Job) string {
	a := j.LastAttempt()
	if a == nil {
		return "ended"
	}
	return string(a.End) + detail(a.Message)
}

func detail(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

// dependencies names the jobs that a job waits for, at most three of them.
func dependencies(after []Dependency) string {
	text := ""
	for i, d := range after {
		if i == 3 {
			return fmt.Sprintf("%s and %d more", text, len(after)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += string(d.Job)
		if d.On == OnEnd {
			text += " to end"
		} else {
			text += " to succeed"
		}
	}
	return text
}
