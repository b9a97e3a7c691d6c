package study

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Result is what came of one job. Times count from the start of the workload.
type Result struct {
	Submitted time.Duration // as its row says, or later, after the job that it waits for
	Start     time.Duration // of its first attempt
	End       time.Duration
	Attempts  int // that were started
	Worker    int // of the last one, from 1
	State     entropy.State
}

// wait is how long it was queued before its first attempt.
func (r *Result) wait() time.Duration { return r.Start - r.Submitted }

// Summary is what came of a workload.
type Summary struct {
	Policy       string
	Jobs         int
	Succeeded    int
	Never        int // jobs that ask for more than any worker has
	Attempts     int
	Preemptions  int
	MeanWait     time.Duration // from submission to the first start
	MedianWait   time.Duration
	P95Wait      time.Duration
	MaxWait      time.Duration
	MeanSlowdown float64 // bounded, see [slowdownBound]
	P95Slowdown  float64
	Makespan     time.Duration // from the first submission to the last end
	Utilization  float64       // share of the slots, or of the CPUs where jobs ask for them, that ran something over the makespan
	Decisions    int           // times that a worker was offered the queue
	Deciding     time.Duration // real time in those decisions
	Took         time.Duration // real time of all
	Memory       uint64        // bytes obtained from the system
}

// slowdownBound keeps short jobs from dominating the slowdown: it is
// max(1, (wait + run) / max(run, 10 s)), the bounded slowdown of Feitelson and
// Rudolph, "Metrics and Benchmarking for Parallel Job Scheduling" (JSSPP 1998).
const slowdownBound = 10 * time.Second

func slowdown(j *Job, r *Result) float64 {
	return max(1, float64(r.wait()+j.Runtime)/float64(max(j.Runtime, slowdownBound)))
}

// summarize fills in what the results say.
func (s *Summary) summarize(jobs Workload, results []Result) {
	waits, slow := make([]time.Duration, 0, len(jobs)), make([]float64, 0, len(jobs))
	var first, last, sum time.Duration
	var total float64
	for i := range jobs {
		j, r := &jobs[i], &results[i]
		if i == 0 {
			first = j.Submit
		}
		last = max(last, r.End)
		s.Attempts += r.Attempts
		if r.State == entropy.Succeeded {
			s.Succeeded++
		}
		if r.Attempts == 0 {
			continue
		}
		waits, slow = append(waits, r.wait()), append(slow, slowdown(j, r))
		sum += r.wait() / time.Duration(len(jobs))
		total += slow[len(slow)-1]
	}
	s.Jobs, s.Makespan, s.MeanWait = len(jobs), max(last-first, 0), sum
	if len(waits) == 0 {
		return
	}
	slices.Sort(waits)
	slices.Sort(slow)
	s.MedianWait, s.P95Wait, s.MaxWait = quantile(waits, .5), quantile(waits, .95), waits[len(waits)-1]
	s.MeanSlowdown, s.P95Slowdown = total/float64(len(slow)), quantile(slow, .95)
}

// quantile returns the smallest value that a share q of the sorted values does not exceed.
func quantile[T any](sorted []T, q float64) T {
	i := int(q*float64(len(sorted))+.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// String returns the summary, one figure a line.
func (s *Summary) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-22s "+format+"\n", append([]any{name}, args...)...)
	}
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	line("policy", "%s", s.Policy)
	line("jobs", "%d (%d succeeded, %d could run nowhere)", s.Jobs, s.Succeeded, s.Never)
	line("attempts", "%d (%d preemptions)", s.Attempts, s.Preemptions)
	line("wait mean", "%s", round(s.MeanWait))
	line("wait median", "%s", round(s.MedianWait))
	line("wait p95", "%s", round(s.P95Wait))
	line("wait max", "%s", round(s.MaxWait))
	line("bounded slowdown mean", "%.2f", s.MeanSlowdown)
	line("bounded slowdown p95", "%.2f", s.P95Slowdown)
	line("utilization", "%.1f %%", 100*s.Utilization)
	line("makespan", "%s", round(s.Makespan))
	line("decisions", "%d, %.0f a second, %.2f µs each", s.Decisions, float64(s.Decisions)/max(s.Deciding.Seconds(), 1e-9),
		s.Deciding.Seconds()*1e6/float64(max(s.Decisions, 1)))
	line("real time", "%s, %.0f jobs a second", round(s.Took), float64(s.Jobs)/max(s.Took.Seconds(), 1e-9))
	line("memory", "%d MiB", s.Memory>>20)
	return b.String()
}

// Header and Row are the summary as CSV, for tables of many runs.
func (Summary) Header() []string {
	return []string{"policy", "jobs", "succeeded", "attempts", "preemptions", "wait_mean", "wait_median", "wait_p95", "wait_max",
		"slowdown_mean", "slowdown_p95", "utilization", "makespan", "decisions", "real_seconds", "memory_bytes"}
}

// Row returns the figures in the order of Header; times are seconds.
func (s *Summary) Row() []string {
	return []string{s.Policy, fmt.Sprint(s.Jobs), fmt.Sprint(s.Succeeded), fmt.Sprint(s.Attempts), fmt.Sprint(s.Preemptions),
		decimal(s.MeanWait), decimal(s.MedianWait), decimal(s.P95Wait), decimal(s.MaxWait), fmt.Sprintf("%.4f", s.MeanSlowdown),
		fmt.Sprintf("%.4f", s.P95Slowdown), fmt.Sprintf("%.6f", s.Utilization), decimal(s.Makespan), fmt.Sprint(s.Decisions),
		fmt.Sprintf("%.3f", s.Took.Seconds()), fmt.Sprint(s.Memory)}
}
