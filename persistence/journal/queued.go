package journal

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
	"unique"

	"github.com/entropy-fabric/entropy"
)

// QueuedJob is what the scheduler's index holds of a pending job.
type QueuedJob struct {
	ID            entropy.JobID
	EligibleAt    time.Time       // UTC, to the millisecond
	Priority      int             // as it is now
	Demand        *entropy.Demand // shared between jobs that demand the same: do not change it; without the handler
	Handler       string
	Queue         string
	Tenant        string
	Held          bool
	HasExclusions bool // some worker may not run it: Job says which
}

// scanRows is how many rows one read transaction of a long scan covers: a long
// reader keeps the write-ahead log from being emptied.
const scanRows = 20_000

// EachQueued calls f for every pending job, in order of acceptance, until f
// returns an error, which it returns. It does not see one moment: it reads in
// pieces. It is made for the start, before anything changes.
func (r *Reader) EachQueued(ctx context.Context, f func(QueuedJob) error) error {
	demands := demands{"": new(entropy.Demand)}
	const sql = `SELECT ordinal, id, eligible_ms, priority, demand, handler, queue, tenant, held, excluded FROM job
		WHERE state='pending' AND state NOT IN ('assigned', 'running') AND ordinal > ? ORDER BY ordinal LIMIT ?`
	return scan(ctx, r, sql, f, func(row []driver.Value) (QueuedJob, error) {
		demand, err := demands.of(str(row[4]))
		if err != nil {
			return QueuedJob{}, fmt.Errorf("job %s: %w", str(row[1]), err)
		}
		return QueuedJob{ID: entropy.JobID(str(row[1])), EligibleAt: time.UnixMilli(num(row[2])).UTC(), Priority: int(num(row[3])),
			Demand: demand, Handler: intern(row[5]), Queue: intern(row[6]), Tenant: intern(row[7]),
			Held: num(row[8]) != 0, HasExclusions: num(row[9]) != 0}, nil
	})
}

// Retried returns how many jobs take up a retry slot (see Job.Retried), by queue.
func (r *Reader) Retried(ctx context.Context) (map[string]int, error) {
	n := make(map[string]int)
	err := r.with(ctx, func(c *conn) error {
		return c.each(ctx, "SELECT queue, count(*) FROM job WHERE retried=1 GROUP BY queue", nil, func(row []driver.Value) error {
			n[str(row[0])] = int(num(row[1]))
			return nil
		})
	})
	return n, err
}

// EachLeased calls f for every job that has a live lease: those assigned and
// running. As EachQueued, it reads in pieces.
func (r *Reader) EachLeased(ctx context.Context, f func(*entropy.Job) error) error {
	const sql = "SELECT " + jobColumns + " FROM lease l CROSS JOIN job j ON j.ordinal = l.ordinal " + jobJoins + " WHERE l.ordinal > ? ORDER BY l.ordinal LIMIT ?"
	load := func(row stored) error {
		var j *entropy.Job
		err := r.with(ctx, func(c *conn) (err error) {
			j, err = row.load(ctx, c)
			return err
		})
		if err != nil {
			return err
		}
		return f(j)
	}
	return scan(ctx, r, sql, load, func(row []driver.Value) (stored, error) { return scanJob(row), nil })
}

// EachWake calls f for every job whose WakeAt is set, with that time in UTC. As
// EachQueued, it reads in pieces.
func (r *Reader) EachWake(ctx context.Context, f func(id entropy.JobID, at time.Time) error) error {
	const sql = `SELECT ordinal, id, wake_ms FROM job WHERE wake_ms IS NOT NULL AND ordinal > ? ORDER BY ordinal LIMIT ?`
	type wake struct {
		id entropy.JobID
		at time.Time
	}
	return scan(ctx, r, sql, func(w wake) error { return f(w.id, w.at) }, func(row []driver.Value) (wake, error) {
		return wake{entropy.JobID(str(row[1])), time.UnixMilli(num(row[2])).UTC()}, nil
	})
}

// Leases returns the assignments that hold a lease at a worker.
func (r *Reader) Leases(ctx context.Context, worker entropy.WorkerID) (held []entropy.Held, err error) {
	err = r.with(ctx, func(c *conn) error {
		return c.each(ctx, "SELECT j.id, l.assignment_id FROM lease l JOIN job j USING(ordinal) WHERE l.worker_id=? ORDER BY l.ordinal", []driver.Value{string(worker)},
			func(row []driver.Value) error {
				held = append(held, entropy.Held{JobID: entropy.JobID(str(row[0])), AssignmentID: entropy.AssignmentID(str(row[1]))})
				return nil
			})
	})
	return held, err
}

// scan runs a query piece by piece and calls f with what decode makes of each row.
// F runs without a connection, so that it may read the journal itself. The query's
// first column is the ordinal, its arguments are the ordinal to start after and the
// size of a piece.
func scan[T any](ctx context.Context, r *Reader, sql string, f func(T) error, decode func(row []driver.Value) (T, error)) error {
	var piece []T
	for start := int64(0); ; {
		piece = piece[:0]
		err := r.with(ctx, func(c *conn) error {
			return c.each(ctx, sql, []driver.Value{start, int64(scanRows)}, func(row []driver.Value) error {
				v, err := decode(row)
				start = num(row[0])
				piece = append(piece, v)
				return err
			})
		})
		if err != nil {
			return err
		}
		for _, v := range piece {
			if err := f(v); err != nil {
				return err
			}
		}
		if len(piece) < scanRows {
			return nil
		}
	}
}

// demands decodes each distinct demand once.
type demands map[string]*entropy.Demand

func (ds demands) of(text string) (*entropy.Demand, error) {
	if d, ok := ds[text]; ok {
		return d, nil
	}
	d := new(entropy.Demand)
	if err := json.Unmarshal([]byte(text), d); err != nil {
		return nil, fmt.Errorf("decode its demand: %w", err)
	}
	ds[text] = d
	return d, nil
}

// intern returns one copy of equal strings: a million queued jobs share the name
// of their queue.
func intern(v driver.Value) string {
	s := str(v)
	if s == "" || s == entropy.DefaultQueue {
		return entropy.DefaultQueue[:len(s)]
	}
	return unique.Make(s).Value()
}
