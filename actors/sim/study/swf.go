package study

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The fields of the Standard Workload Format, version 2.2, of the Parallel Workloads
// Archive (D. Feitelson et al.). −1 is "unknown". Those that are not named here are
// passed over, and written as unknown.
const (
	swfNumber     = 0
	swfSubmit     = 1 // seconds
	swfWait       = 2
	swfRun        = 3
	swfAllocated  = 4 // processors
	swfRequested  = 7
	swfEstimate   = 8
	swfStatus     = 10
	swfUser       = 11
	swfQueue      = 14
	swfPreceding  = 16
	swfThink      = 17
	swfFields     = 18
	swfMaxLine    = 1 << 16
	swfMaxRuntime = 100 * 365 * 24 * 3600
)

// ReadSWF reads a trace in the Standard Workload Format. Jobs that never ran (run
// time unknown) are left out; a job's processors become its CPUs, its user its
// tenant, its queue number its queue. Errors name the line.
func ReadSWF(r io.Reader) (Workload, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), swfMaxLine)
	var w Workload
	numbers := make(map[int64]int) // number in the trace -> number here, from 1
	for at := 1; lines.Scan(); at++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == ';' {
			continue
		}
		f, err := swfLine(text)
		if err != nil {
			return nil, entropy.Errorf(entropy.CodeInvalid, "line %d: %v", at, err).WithHint("a line has %d numbers; see the Standard Workload Format", swfFields)
		}
		if f[swfRun] < 0 || f[swfSubmit] < 0 {
			continue
		}
		j := swfJob(f)
		j.After = numbers[int64(f[swfPreceding])]
		w = append(w, j)
		numbers[int64(f[swfNumber])] = len(w)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	if !slices.IsSortedFunc(w, bySubmit) {
		return nil, entropy.Errorf(entropy.CodeInvalid, "the trace is not in the order of submission").WithHint("sort its lines by the second field")
	}
	return w, w.Validate()
}

func bySubmit(a, b Job) int { return cmp.Compare(a.Submit, b.Submit) }

func swfLine(text string) (f [swfFields]float64, err error) {
	words := strings.Fields(text)
	if len(words) != swfFields {
		return f, fmt.Errorf("it has %d fields", len(words))
	}
	for i, word := range words {
		if f[i], err = strconv.ParseFloat(word, 64); err != nil || !(f[i] >= -1 && f[i] <= 1e12) {
			return f, fmt.Errorf("field %d is %q", i+1, word)
		}
	}
	if f[swfRun] > swfMaxRuntime || f[swfSubmit] > swfMaxRuntime {
		return f, fmt.Errorf("a time of more than a hundred years")
	}
	return f, nil
}

func swfJob(f [swfFields]float64) Job {
	seconds := func(i int) time.Duration { return fromSeconds(max(f[i], 0)) }
	cpus := f[swfAllocated]
	if cpus <= 0 {
		cpus = f[swfRequested]
	}
	j := Job{ID: strconv.FormatInt(int64(f[swfNumber]), 10), Submit: seconds(swfSubmit), Runtime: seconds(swfRun), Estimate: seconds(swfEstimate),
		CPUs: entropy.Amount(max(cpus, 1)) * entropy.Unit, Think: seconds(swfThink)}
	if f[swfUser] >= 0 {
		j.Tenant = "u" + strconv.Itoa(int(f[swfUser]))
	}
	if f[swfQueue] >= 0 {
		j.Queue = "q" + strconv.Itoa(int(f[swfQueue]))
	}
	return j
}

// WriteSWF writes a workload in the Standard Workload Format, and what came of it
// if results is not nil. Users and queues are numbered in the order of appearance.
func WriteSWF(w io.Writer, jobs Workload, results []Result) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "; Version: 2.2\n; Computer: Entropy simulation\n; MaxJobs: %d\n; UnixStartTime: 0\n", len(jobs))
	users, queues := make(map[string]int), make(map[string]int)
	number := func(m map[string]int, name string) int {
		if m[name] == 0 {
			m[name] = len(m) + 1
		}
		return m[name]
	}
	for i := range jobs {
		j := &jobs[i]
		wait, status, preceding, think, estimate := int64(-1), -1, -1, int64(-1), int64(-1)
		if results != nil && results[i].End > 0 {
			wait, status = seconds(results[i].wait()), 1
			if results[i].State != entropy.Succeeded {
				status = 0
			}
		}
		if j.After > 0 {
			preceding, think = j.After, seconds(j.Think)
		}
		if j.Estimate > 0 {
			estimate = seconds(j.Estimate)
		}
		cpus := max(int64((j.CPUs+entropy.Unit-1)/entropy.Unit), 1)
		fmt.Fprintf(out, "%d %d %d %d %d -1 -1 %d %d -1 %d %d -1 -1 %d -1 %d %d\n", i+1, seconds(j.Submit), wait, seconds(j.Runtime), cpus,
			cpus, estimate, status, number(users, j.Tenant), number(queues, j.Queue), preceding, think)
	}
	return out.Flush()
}

// seconds rounds to whole ones: the format has no others.
func seconds(d time.Duration) int64 { return int64(d.Round(time.Second) / time.Second) }
