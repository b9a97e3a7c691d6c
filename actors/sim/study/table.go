package study

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// columns of a workload as CSV, of which only the first three must be there. Times
// are seconds. After holds the ID of a job further up.
var columns = []string{"id", "submit", "runtime", "estimate", "cpus", "gpus", "priority", "tenant", "queue", "after"}

// ReadCSV reads a workload: a header that names the columns, in any order, and a row
// per job. Errors name the line.
func ReadCSV(r io.Reader) (Workload, error) {
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "the trace has no header: %v", err).WithHint("its first line names the columns: %q", columns)
	}
	at, err := places(header)
	if err != nil {
		return nil, err
	}
	var w Workload
	known := make(map[string]int)
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return w, w.Validate()
		}
		if err != nil {
			return nil, entropy.Errorf(entropy.CodeInvalid, "%v", err)
		}
		line, _ := rows.FieldPos(0)
		j, err := readRow(row, at, known)
		if err != nil {
			return nil, entropy.Errorf(entropy.CodeInvalid, "line %d: %v", line, err)
		}
		if known[j.ID] != 0 {
			return nil, entropy.Errorf(entropy.CodeInvalid, "line %d: job %s is there already", line, j.ID)
		}
		w = append(w, j)
		known[j.ID] = len(w)
	}
}

// places finds the columns in the header.
func places(header []string) (map[string]int, error) {
	at := make(map[string]int, len(columns))
	for _, name := range columns {
		at[name] = -1
	}
	for i, name := range header {
		if old, ok := at[name]; !ok || old >= 0 {
			return nil, entropy.Errorf(entropy.CodeInvalid, "column %q is unknown or there twice", name).WithHint("the columns are %q", columns)
		}
		at[name] = i
	}
	for _, name := range columns[:3] {
		if at[name] < 0 {
			return nil, entropy.Errorf(entropy.CodeInvalid, "there is no column %q", name)
		}
	}
	return at, nil
}

func readRow(row []string, at map[string]int, known map[string]int) (j Job, err error) {
	text := func(name string) string {
		if at[name] < 0 {
			return ""
		}
		return row[at[name]]
	}
	number := func(name string, limit float64) float64 {
		s := text(name)
		if s == "" || err != nil {
			return 0
		}
		v, bad := strconv.ParseFloat(s, 64)
		if bad != nil || !(v >= 0 && v <= limit) {
			err = fmt.Errorf("%s is %q; it must be a number from 0 to %.0f", name, s, limit)
		}
		return v
	}
	duration := func(name string) time.Duration {
		return fromSeconds(number(name, swfMaxRuntime))
	}
	j = Job{ID: text("id"), Submit: duration("submit"), Runtime: duration("runtime"), Estimate: duration("estimate"),
		CPUs: entropy.Amount(number("cpus", 1e9) * float64(entropy.Unit)), GPUs: entropy.Amount(number("gpus", 1e9) * float64(entropy.Unit)),
		Tenant: text("tenant"), Queue: text("queue")}
	if s := text("priority"); s != "" && err == nil {
		if j.Priority, err = strconv.Atoi(s); err != nil {
			err = fmt.Errorf("priority is %q", s)
		}
	}
	if s := text("after"); s != "" && err == nil {
		if j.After = known[s]; j.After == 0 {
			err = fmt.Errorf("it waits for %q, which is not further up", s)
		}
	}
	return j, err
}

// WriteCSV writes a workload so that ReadCSV reads it back, to the microsecond.
func WriteCSV(w io.Writer, jobs Workload) error {
	out := csv.NewWriter(w)
	row := make([]string, len(columns))
	if err := out.Write(columns); err != nil {
		return err
	}
	for i := range jobs {
		j := &jobs[i]
		row = append(row[:0], j.ID, decimal(j.Submit), decimal(j.Runtime), decimal(j.Estimate), j.CPUs.String(), j.GPUs.String(),
			strconv.Itoa(j.Priority), j.Tenant, j.Queue, "")
		if j.After > 0 {
			row[len(row)-1] = jobs[j.After-1].ID
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// WriteResults writes one row per job. Times are seconds from the start; a job that
// never started has no start, wait and slowdown.
func WriteResults(w io.Writer, jobs Workload, results []Result) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"id", "submit", "start", "end", "wait", "runtime", "slowdown", "attempts", "worker", "state"}); err != nil {
		return err
	}
	for i := range jobs {
		j, r := &jobs[i], &results[i]
		row := []string{j.ID, decimal(r.Submitted), "", decimal(r.End), "", decimal(j.Runtime), "", strconv.Itoa(r.Attempts), "", string(r.State)}
		if r.Attempts > 0 {
			row[2], row[4], row[8] = decimal(r.Start), decimal(r.wait()), string(workerName(r.Worker-1))
			row[6] = strconv.FormatFloat(slowdown(j, r), 'f', 4, 64)
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// fromSeconds is exact to the microsecond.
func fromSeconds(v float64) time.Duration { return time.Duration(math.Round(v*1e6)) * time.Microsecond }

func decimal(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1e6, 'f', -1, 64)
}
