package journal

import (
	"cmp"
	"context"
	"database/sql/driver"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// defaultList is the length of a page of jobs when none is asked for.
const defaultList = 100

// Jobs lists jobs, the newest accepted first, each with only the attempt that
// stands for it. Cursor is Next of the page before. A label, a name, a queue other
// than the default and a state each have an index; what else the filter says is
// looked at row by row. It returns CodeInvalid for a cursor that no page gave.
func (r *Reader) Jobs(ctx context.Context, f entropy.JobFilter) (entropy.JobPage, error) {
	limit := min(cmp.Or(f.Limit, defaultList), entropy.MaxBatch)
	before, err := parseCursor(f.Cursor)
	if err != nil || limit < 0 {
		return entropy.JobPage{}, entropy.Errorf(entropy.CodeInvalid, "the cursor or the limit of the listing is invalid").
			WithHint("use next of the page before as the cursor, and a limit of 1 to %d", entropy.MaxBatch)
	}
	var page entropy.JobPage
	err = r.snapshot(ctx, func(c *conn) error {
		var rows []stored
		for _, q := range listQueries(&f, before) {
			if err := c.each(ctx, q.page(), append(q.args, int64(limit+1)), func(row []driver.Value) error {
				rows = append(rows, scanJob(row))
				return nil
			}); err != nil {
				return err
			}
		}
		slices.SortFunc(rows, func(a, b stored) int { return cmp.Compare(b.ordinal, a.ordinal) })
		if len(rows) > limit {
			rows = rows[:limit]
			page.Next = strconv.FormatInt(rows[limit-1].ordinal, 36)
		}
		page.Jobs, err = loadPage(ctx, c, rows)
		return err
	})
	return page, err
}

func loadPage(ctx context.Context, c *conn, rows []stored) ([]*entropy.Job, error) {
	jobs := make([]*entropy.Job, len(rows))
	for i := range rows {
		j, err := rows[i].load(ctx, c)
		if err != nil {
			return nil, err
		}
		jobs[i] = j.Summary()
	}
	return jobs, nil
}

// parseCursor returns the ordinal that the page must stay below.
func parseCursor(s string) (int64, error) {
	if s == "" {
		return 1<<63 - 1, nil
	}
	return strconv.ParseInt(s, 36, 64)
}

// CountJobs returns how many jobs the filter selects; its Limit and Cursor say nothing.
func (r *Reader) CountJobs(ctx context.Context, f entropy.JobFilter) (n int64, err error) {
	err = r.snapshot(ctx, func(c *conn) error {
		for _, q := range listQueries(&f, 1<<63-1) {
			some, err := c.number(ctx, "SELECT count(*) FROM "+q.from+" WHERE "+q.where, q.args...)
			if err != nil {
				return err
			}
			n += some
		}
		return nil
	})
	return n, err
}

// query selects jobs, called j, with its arguments.
type query struct {
	from, where string
	args        []driver.Value
}

// page is the query of a page, newest first; its last argument is the page's length.
func (q *query) page() string {
	return "SELECT " + jobColumns + " FROM " + q.from + " " + jobJoins + " WHERE " + q.where + " ORDER BY j.ordinal DESC LIMIT ?"
}

// listQueries returns the queries whose rows, merged, hold the page. Each walks one
// index from its newest end; several states need one each, because an index walks
// in order of age only within a state. A "+" keeps SQLite from choosing another index.
func listQueries(f *entropy.JobFilter, before int64) []query {
	var q query
	from := "job j"
	where := []string{"j.ordinal < ?"}
	q.args = append(q.args, before)
	and := func(cond string, args ...driver.Value) {
		where = append(where, cond)
		q.args = append(q.args, args...)
	}
	indexed := listLabels(f, &from, and)
	if f.Array != "" {
		if !indexed {
			from = "job_link a JOIN job j ON j.ordinal = a.ordinal"
			and("a.kind = 'array' AND a.target = ?", string(f.Array))
		} else {
			and("EXISTS (SELECT 1 FROM job_link a WHERE a.kind = 'array' AND a.target = ? AND a.ordinal = j.ordinal)", string(f.Array))
		}
		indexed = true
	}
	if f.Tenant != "" {
		and("+j.tenant = ?", f.Tenant)
	}
	if f.Name != "" {
		and(plus(indexed)+"j.name = ? AND j.name <> ''", f.Name)
		indexed = true
	}
	if q := f.Queue; q == entropy.DefaultQueue {
		and("+j.queue = ?", q)
	} else if q != "" {
		and(plus(indexed)+"j.queue = ? AND j.queue <> 'default'", q)
		indexed = true
	}
	finish := func(where []string, args []driver.Value) query {
		return query{from, strings.Join(where, " AND "), args}
	}
	if indexed && len(f.States) > 0 {
		and("+j.state IN (?"+strings.Repeat(",?", len(f.States)-1)+")", stateArgs(f.States)...)
	}
	if indexed || len(f.States) == 0 {
		return []query{finish(where, q.args)}
	}
	var out []query
	for _, s := range uniqueStates(f.States) {
		cond := "j.state = ? AND j.state NOT IN ('assigned', 'running')"
		if s == entropy.Assigned || s == entropy.Running { // these are few, and have a table of their own
			cond = "+j.state = ? AND j.ordinal IN (SELECT ordinal FROM lease)"
		}
		out = append(out, finish(append(slices.Clone(where), cond), append(slices.Clone(q.args), string(s))))
	}
	return out
}

// listLabels makes the first label, by name, the index that is walked, and looks
// the others up. It reports whether there is any.
func listLabels(f *entropy.JobFilter, from *string, and func(string, ...driver.Value)) bool {
	for i, k := range slices.Sorted(maps.Keys(f.Labels)) {
		if i == 0 {
			*from = "job_label l JOIN job j ON j.ordinal = l.ordinal"
			and("l.key = ? AND l.value = ?", k, f.Labels[k])
			continue
		}
		and("EXISTS (SELECT 1 FROM job_label m WHERE m.key = ? AND m.value = ? AND m.ordinal = j.ordinal)", k, f.Labels[k])
	}
	return len(f.Labels) > 0
}

func plus(indexed bool) string {
	if indexed {
		return "+"
	}
	return ""
}

func uniqueStates(states []entropy.State) []entropy.State {
	return slices.Compact(slices.Sorted(slices.Values(states)))
}

func stateArgs(states []entropy.State) []driver.Value {
	args := make([]driver.Value, len(states))
	for i, s := range states {
		args[i] = string(s)
	}
	return args
}
