package journal

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The kinds of rows of the table job_link.
const (
	linkAfter = "after" // the job waits for the target
	linkArray = "array" // the job is a member of the target
)

// link is a row of the table job_link, without the ordinal of the job that has it.
type link struct{ kind, target string }

// linksOf returns what a spec says about other jobs, each once.
func linksOf(s *entropy.JobSpec) []link {
	if len(s.After) == 0 && s.Array == nil {
		return nil
	}
	links := make([]link, 0, len(s.After)+1)
	for _, d := range s.After {
		links = append(links, link{linkAfter, string(d.Job)})
	}
	if s.Array != nil {
		links = append(links, link{linkArray, string(s.Array.Of)})
	}
	slices.SortFunc(links, func(a, b link) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.target, b.target)) })
	return slices.Compact(links)
}

func (v *verifier) compareLinks(p *replay, links []link) error {
	for _, l := range links {
		n, err := v.c.number(v.ctx, "SELECT count(*) FROM job_link WHERE kind=? AND target=? AND ordinal=?", l.kind, l.target, p.no)
		if err != nil {
			return err
		}
		if n != 1 {
			v.problem(p.lastSeq, p.name, "that it is %s %s is not in the table job_link", l.kind, l.target)
		}
	}
	return nil
}

// States returns the state of each of the jobs that exist.
func (r *Reader) States(ctx context.Context, ids []entropy.JobID) (map[entropy.JobID]entropy.State, error) {
	states := make(map[entropy.JobID]entropy.State, len(ids))
	names, err := json.Marshal(ids)
	if err != nil || len(ids) == 0 {
		return states, err
	}
	err = r.with(ctx, func(c *conn) error {
		const sql = "SELECT j.id, j.state FROM json_each(?) x JOIN entity e ON e.name = 'job:' || x.value JOIN job j ON j.ordinal = e.no"
		return c.each(ctx, sql, []driver.Value{string(names)}, func(row []driver.Value) error {
			states[entropy.JobID(str(row[0]))] = entropy.State(str(row[1]))
			return nil
		})
	})
	return states, err
}

// Members returns how the members of an array stand; of one that does not exist,
// the zero tally.
func (r *Reader) Members(ctx context.Context, array entropy.JobID) (entropy.ArrayTally, error) {
	t := entropy.ArrayTally{States: make(map[entropy.State]int64)}
	err := r.with(ctx, func(c *conn) error {
		var bad int64 // ordinals rise with the index
		const sql = `SELECT j.state, count(*), min(l.ordinal), max(j.finished_ms) FROM job_link l JOIN job j ON j.ordinal = l.ordinal
			WHERE l.kind = 'array' AND l.target = ? GROUP BY j.state`
		err := c.each(ctx, sql, []driver.Value{string(array)}, func(row []driver.Value) error {
			s := entropy.State(str(row[0]))
			t.States[s] = num(row[1])
			if !s.Terminal() {
				return nil
			}
			if at := time.UnixMilli(num(row[3])).UTC(); at.After(t.FinishedAt) {
				t.FinishedAt = at
			}
			if first := num(row[2]); s != entropy.Succeeded && (bad == 0 || first < bad) {
				t.BadState, bad = s, first
			}
			return nil
		})
		if err != nil || bad == 0 {
			return err
		}
		id, err := c.text(ctx, "SELECT id FROM job WHERE ordinal=?", bad)
		t.Bad = entropy.JobID(id)
		return err
	})
	return t, err
}

// EachBlocked calls f for every job that waits for others, in order of acceptance,
// with its ID and Spec. As EachQueued, it reads in pieces.
func (r *Reader) EachBlocked(ctx context.Context, f func(*entropy.Job) error) error {
	const sql = "SELECT j.ordinal, j.id, s.spec FROM job j JOIN job_spec s ON s.ordinal = j.ordinal WHERE j.blocked = 1 AND j.ordinal > ? ORDER BY j.ordinal LIMIT ?"
	return scan(ctx, r, sql, f, func(row []driver.Value) (*entropy.Job, error) {
		j := &entropy.Job{ID: entropy.JobID(str(row[1])), State: entropy.Scheduled, Blocked: true}
		return j, json.Unmarshal([]byte(str(row[2])), &j.Spec)
	})
}

// EachOpenArray calls f for every array with members that have not ended, with
// their number.
func (r *Reader) EachOpenArray(ctx context.Context, f func(id entropy.JobID, open int) error) error {
	type open struct {
		id entropy.JobID
		n  int
	}
	var all []open
	err := r.with(ctx, func(c *conn) error {
		const sql = `SELECT l.target, count(*) FROM job_link l JOIN job j ON j.ordinal = l.ordinal
			WHERE l.kind = 'array' AND j.finished_ms IS NULL GROUP BY l.target`
		return c.each(ctx, sql, nil, func(row []driver.Value) error {
			all = append(all, open{entropy.JobID(str(row[0])), int(num(row[1]))})
			return nil
		})
	})
	for i := 0; i < len(all) && err == nil; i++ {
		err = f(all[i].id, all[i].n)
	}
	return err
}

// Dependents returns the jobs whose specs say that they wait for a job or an
// array, the oldest first, at most limit.
func (r *Reader) Dependents(ctx context.Context, id entropy.JobID, limit int) (ids []entropy.JobID, err error) {
	err = r.with(ctx, func(c *conn) error {
		const sql = `SELECT j.id FROM job_link l JOIN job j ON j.ordinal = l.ordinal WHERE l.kind = 'after' AND l.target = ? ORDER BY l.ordinal LIMIT ?`
		return c.each(ctx, sql, []driver.Value{string(id), int64(limit)}, func(row []driver.Value) error {
			ids = append(ids, entropy.JobID(str(row[0])))
			return nil
		})
	})
	return ids, err
}
