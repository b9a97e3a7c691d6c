package study

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/sim"
)

func s(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

func mustRun(t *testing.T, jobs Workload, cfg Config) ([]Result, Summary) {
	t.Helper()
	results, sum, err := Run(jobs, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return results, sum
}

// What every policy does with five jobs on one slot can be worked out by hand.
func TestByHand(t *testing.T) {
	jobs := Workload{
		{ID: "a", Submit: 0, Runtime: s(10), Estimate: s(10)},
		{ID: "b", Submit: s(1), Runtime: s(8), Estimate: s(8)},
		{ID: "c", Submit: s(2), Runtime: s(1), Estimate: s(1)},
		{ID: "d", Submit: s(3), Runtime: s(4), Estimate: s(4), Priority: 1},
		{ID: "e", Submit: s(3), Runtime: s(2), Estimate: s(2), After: 3, Think: s(5)},
	}
	for _, c := range []struct {
		policy string
		starts []float64
		wait   float64 // mean
	}{
		{"fifo", []float64{0, 10, 18, 19, 24}, (0 + 9 + 16 + 16 + 0) / 5.},
		{"priority", []float64{0, 14, 22, 10, 28}, (0 + 13 + 20 + 7 + 0) / 5.},
		{"sjf", []float64{0, 17, 10, 11, 15 + 1}, 0},
		{"fabric", []float64{0, 14, 22, 10, 28}, (0 + 13 + 20 + 7 + 0) / 5.},
	} {
		results, sum := mustRun(t, jobs, Config{Workers: 1, Policy: c.policy})
		var starts []float64
		for _, r := range results {
			starts = append(starts, r.Start.Seconds())
		}
		if c.policy == "sjf" { // c ends at 11, so e is submitted at 16, when d has ended and b has begun
			c.starts = []float64{0, 15, 10, 11, 23}
			c.wait = (0 + 14 + 8 + 8 + 7) / 5.
		}
		if !slices.Equal(starts, c.starts) || (sum.MeanWait-s(c.wait)).Abs() > time.Millisecond {
			t.Errorf("%s: started at %v, mean wait %s; want %v, %s", c.policy, starts, sum.MeanWait, c.starts, s(c.wait))
		}
		if sum.Succeeded != 5 || sum.Attempts != 5 || sum.MaxWait < sum.P95Wait || sum.P95Wait < sum.MedianWait {
			t.Errorf("%s: %+v", c.policy, sum)
		}
	}
}

// FCFS lets nobody pass the first; FIFO lets those that fit.
func TestStrict(t *testing.T) {
	jobs := Workload{
		{ID: "a", Runtime: s(10), CPUs: 3 * entropy.Unit},
		{ID: "wide", Submit: s(1), Runtime: s(10), CPUs: 4 * entropy.Unit},
		{ID: "small", Submit: s(2), Runtime: s(1), CPUs: entropy.Unit},
		{ID: "never", Submit: s(2), Runtime: s(1), CPUs: 5 * entropy.Unit},
	}
	for policy, want := range map[string]time.Duration{"fifo": s(2), "fcfs": s(20)} {
		results, sum := mustRun(t, jobs, Config{Workers: 1, Slots: 4, Policy: policy})
		if results[2].Start != want || results[1].Start != s(10) || sum.Never != 1 || results[3].State != entropy.Failed {
			t.Errorf("%s: %+v", policy, results)
		}
	}
}

// spy is a policy that checks every choice of another.
type spy struct {
	sim.Planner
	t      *testing.T
	limits *entropy.Worker
	slots  map[entropy.WorkerID]int
	cpus   map[entropy.WorkerID]entropy.Amount
	holds  map[entropy.JobID]*entropy.Lease
	gpus   map[string]entropy.Amount
}

func (p *spy) Sync(j *entropy.Job, now time.Time) {
	old := p.holds[j.ID]
	switch {
	case j.Lease != nil && old == nil:
		l := *j.Lease
		p.holds[j.ID] = &l
		p.count(&l, 1)
	case j.Lease == nil && old != nil:
		delete(p.holds, j.ID)
		p.count(old, -1)
	}
	p.Planner.Sync(j, now)
}

func (p *spy) count(l *entropy.Lease, sign entropy.Amount) {
	p.slots[l.WorkerID] += int(sign)
	p.cpus[l.WorkerID] += sign * l.Resources[entropy.ResourceCPU]
	for _, g := range l.GPUs {
		k := fmt.Sprint(l.WorkerID, g.Index)
		if p.gpus[k] += sign * g.Amount; p.gpus[k] > entropy.Unit {
			p.t.Errorf("%s of GPU %s are held", p.gpus[k], k)
		}
	}
	if p.slots[l.WorkerID] > p.limits.Slots || p.cpus[l.WorkerID] > p.limits.Resources[entropy.ResourceCPU] {
		p.t.Errorf("%s holds %d slots and %s CPUs", l.WorkerID, p.slots[l.WorkerID], p.cpus[l.WorkerID])
	}
}

func (p *spy) Worthwhile(w entropy.WorkerID) bool { return p.Planner.(chooser).Worthwhile(w) }
func (p *spy) Settled()                           { p.Planner.(chooser).Settled() }

// proves J-9 in the study: whatever the policy, nobody holds more than a worker
// has, every job ends, and equal seeds give equal results.
func TestEveryPolicy(t *testing.T) {
	jobs := Synthetic{Jobs: 700, Seed: 3, Rate: 4, Spread: 1, CPUs: 4, Priorities: 5, Tenants: 3}.Draw()
	for i := range jobs {
		jobs[i].GPUs = []entropy.Amount{0, 0, 500, entropy.Unit}[i%4]
	}
	urgent := 4
	for name := range policies {
		policy, _ := PolicyByName(name)
		cfg := Config{Workers: 30, Slots: 4, CPUs: 8 * entropy.Unit, GPUs: 2 * entropy.Unit, Fail: .1, Seed: 5, Grace: s(2), Policy: name,
			Scheduling: entropy.Policy{PreemptPriority: &urgent}}
		cfg.Planner = func(now time.Time) sim.Planner {
			return &spy{Planner: policy(now), t: t, limits: cfg.worker(0), slots: map[entropy.WorkerID]int{}, cpus: map[entropy.WorkerID]entropy.Amount{},
				holds: map[entropy.JobID]*entropy.Lease{}, gpus: map[string]entropy.Amount{}}
		}
		results, sum := mustRun(t, jobs, cfg)
		again, _ := mustRun(t, jobs, cfg)
		if !slices.Equal(results, again) {
			t.Errorf("%s: the same seed gives other results", name)
		}
		ended := 0
		for i, r := range results {
			if r.State.Terminal() && r.Start >= r.Submitted && r.End-r.Start >= 0 && (r.State != entropy.Succeeded || r.End-r.Start >= jobs[i].Runtime) {
				ended++
			}
		}
		if ended != len(jobs) || sum.Succeeded < 650 || sum.Attempts <= len(jobs) || sum.Utilization <= 0 || sum.Utilization > 1 || (name == "fabric") != (sum.Preemptions > 0) {
			t.Errorf("%s: %d ended, %+v", name, ended, sum)
		}
	}
}

// proves that traces survive both formats
func TestTraces(t *testing.T) {
	jobs := Synthetic{Jobs: 300, Seed: 9, Rate: 1, Spread: 1, CPUs: 8, Priorities: 3, Tenants: 3}.Draw()
	jobs[7].After, jobs[9].After, jobs[9].Think = 3, 8, 0
	var b bytes.Buffer
	if err := WriteCSV(&b, jobs); err != nil {
		t.Fatal(err)
	}
	back, err := ReadCSV(&b)
	if err != nil || !slices.Equal(back, jobs) {
		t.Fatalf("CSV: %v\n%+v\n%+v", err, back[:10], jobs[:10])
	}
	results, _ := mustRun(t, jobs, Config{Workers: 4, Slots: 8})
	b.Reset()
	if err := WriteSWF(&b, jobs, results); err != nil {
		t.Fatal(err)
	}
	swf, err := ReadSWF(&b)
	if err != nil || len(swf) != len(jobs) {
		t.Fatalf("SWF: %d jobs, %v", len(swf), err)
	}
	for i := range swf {
		a, b := swf[i], jobs[i]
		if a.CPUs != b.CPUs || (a.Submit-b.Submit).Abs() > s(1) || (a.Runtime-b.Runtime).Abs() > s(1) || a.After != b.After {
			t.Fatalf("job %d: %+v is read back as %+v", i, b, a)
		}
	}
	var rows bytes.Buffer
	if err := WriteResults(&rows, jobs, results); err != nil || strings.Count(rows.String(), "\n") != len(jobs)+1 {
		t.Errorf("results: %v\n%.300s", err, rows.String())
	}
}

// A line of a real archive's shape, with comments, and a job that never ran.
func TestReadSWF(t *testing.T) {
	jobs, err := ReadSWF(strings.NewReader("; Computer: x\n;\n 1 0 5 100 4 -1 -1 4 200 -1 1 7 1 -1 2 -1 -1 -1\n2 10 -1 -1 -1 -1 -1 4 200 -1 5 7 1 -1 2 -1 -1 -1\n3 20 1 30.5 -1 -1 -1 2 -1 -1 1 8 1 -1 -1 -1 1 60\n"))
	want := Workload{
		{ID: "1", Runtime: s(100), Estimate: s(200), CPUs: 4 * entropy.Unit, Tenant: "u7", Queue: "q2"},
		{ID: "3", Submit: s(20), Runtime: s(30.5), CPUs: 2 * entropy.Unit, Tenant: "u8", After: 1, Think: s(60)},
	}
	if err != nil || !slices.Equal(jobs, want) {
		t.Errorf("%v\n%+v", err, jobs)
	}
}

func TestBadTraces(t *testing.T) {
	for _, c := range []struct{ swf, csv, want string }{
		{swf: "1 0 5\n", want: "line 1: it has 3 fields"},
		{swf: "; x\n1 0 5 x 4 -1 -1 4 200 -1 1 7 1 -1 2 -1 -1 -1\n", want: `line 2: field 4 is "x"`},
		{swf: "1 0 5 NaN 4 -1 -1 4 200 -1 1 7 1 -1 2 -1 -1 -1\n", want: "field 4"},
		{swf: "1 9 5 1 4 -1 -1 4 200 -1 1 7 1 -1 2 -1 -1 -1\n2 8 5 1 4 -1 -1 4 200 -1 1 7 1 -1 2 -1 -1 -1\n", want: "not in the order"},
		{swf: "1 0 5 1e11 4 -1 -1 4 200 -1 1 7 1 -1 2 -1 -1 -1\n", want: "hundred years"},
		{csv: "", want: "no header"},
		{csv: "id,submit,frobs\n", want: `"frobs"`},
		{csv: "id,submit\n", want: `no column "runtime"`},
		{csv: "id,submit,runtime,runtime\n", want: "there twice"},
		{csv: "id,submit,runtime\na,0,1\na,0,1\n", want: "line 3: job a is there already"},
		{csv: "id,submit,runtime\na,0,-1\n", want: `line 2: runtime is "-1"`},
		{csv: "id,submit,runtime\na,0,1e300\n", want: "runtime is"},
		{csv: "id,submit,runtime\na,5,1\nb,0,1\n", want: "submitted before"},
		{csv: "id,submit,runtime,after\na,0,1,b\n", want: `waits for "b"`},
		{csv: "id,submit,runtime,priority\na,0,1,1000\n", want: "priority 1000"},
		{csv: "id,submit,runtime\na,0\n", want: "wrong number of fields"},
		{csv: "id,submit,runtime\n,0,1\n", want: "no ID"},
	} {
		var err error
		if c.swf != "" {
			_, err = ReadSWF(strings.NewReader(c.swf))
		} else {
			_, err = ReadCSV(strings.NewReader(c.csv))
		}
		if entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.swf+c.csv, err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{{Workers: -1}, {Slots: 2_000_000}, {GPUs: 500}, {Fail: 1}, {Policy: "lottery"}, {Grace: -1}, {CPUs: -1},
		{Scheduling: entropy.Policy{AgingStep: -1}}} {
		if _, _, err := Run(nil, cfg); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if r, sum, err := Run(nil, Config{}); err != nil || len(r) != 0 || sum.Jobs != 0 {
		t.Errorf("nothing to do: %v, %+v", err, sum)
	}
}

// A policy of one's own is a key.
func ExampleOrdered() {
	widest := Ordered(false, func(_ *entropy.Policy, j *entropy.Job) float64 {
		return -float64(j.Spec.Resources[entropy.ResourceCPU])
	})
	jobs := Workload{{ID: "first", Runtime: s(5), CPUs: 1000}, {ID: "narrow", Runtime: s(5), CPUs: 1000}, {ID: "wide", Runtime: s(5), CPUs: 4000}}
	results, _, _ := Run(jobs, Config{Workers: 1, Slots: 1, CPUs: 4000, Planner: widest, Policy: "widest"})
	fmt.Println(results[0].Start, results[1].Start, results[2].Start)
	// Output: 5s 10s 0s
}

// BenchmarkMillion is a million jobs on ten thousand workers, by the fabric's own
// planner and the real Decide and Apply.
func BenchmarkMillion(b *testing.B) {
	jobs := Synthetic{Jobs: 1_000_000, Seed: 1, Spread: 1}.Draw()
	for b.Loop() {
		_, sum, err := Run(jobs, Config{Workers: 10_000})
		if err != nil || sum.Succeeded != len(jobs) {
			b.Fatal(err, sum.Succeeded)
		}
		b.ReportMetric(float64(sum.Decisions)/sum.Deciding.Seconds(), "decisions/s")
		b.ReportMetric(float64(sum.Memory>>20), "MiB")
	}
}
