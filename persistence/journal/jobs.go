package journal

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/entropy-fabric/entropy"
)

// Job returns a job with all that is known of it, or CodeNotFound.
func (r *Reader) Job(ctx context.Context, id entropy.JobID) (job *entropy.Job, err error) {
	err = r.with(ctx, func(c *conn) error {
		row, err := c.one(ctx, "SELECT "+jobColumns+" FROM job j "+jobJoins+" WHERE j.ordinal=(SELECT no FROM entity WHERE name=?)",
			entropy.Entity(entropy.KindJob, string(id)))
		if err != nil {
			return err
		}
		if row == nil {
			return entropy.Errorf(entropy.CodeNotFound, "there is no job %s", id).WithHint("list the jobs with: entropy jobs")
		}
		s := scanJob(row)
		job, err = s.load(ctx, c)
		return err
	})
	return job, err
}

// stored is a job as the tables hold it: a record, and the version that the
// events after it lead to.
type stored struct {
	ordinal  int64
	id       string
	version  uint64
	spec     string
	recorded uint64 // version of the record, 0 without one
	record   string
}

// jobColumns and jobJoins select what scanJob reads, of a job called j.
const (
	jobColumns = "j.ordinal, j.id, j.version, s.spec, r.version, r.record"
	jobJoins   = "JOIN job_spec s ON s.ordinal = j.ordinal LEFT JOIN job_record r ON r.ordinal = j.ordinal"
)

func scanJob(row []driver.Value) stored {
	return stored{ordinal: num(row[0]), id: str(row[1]), version: uint64(num(row[2])), spec: str(row[3]),
		recorded: uint64(num(row[4])), record: str(row[5])}
}

// load rebuilds the job: it applies the events that came after the record. They
// are there for good, so that it does not matter if time has passed since the row
// was read.
func (s *stored) load(ctx context.Context, c *conn) (*entropy.Job, error) {
	j := &entropy.Job{ID: entropy.JobID(s.id)}
	if s.record != "" {
		var err error
		if j, err = entropy.DecodeJob([]byte(s.record), []byte(s.spec)); err != nil {
			return nil, fmt.Errorf("job %s: %w", s.id, err)
		}
	}
	if s.recorded == s.version {
		return j, nil
	}
	const sql = "SELECT " + eventColumns + eventTables + "WHERE v.entity=? AND v.version > ? AND v.version <= ? ORDER BY v.version"
	err := c.each(ctx, sql, []driver.Value{s.ordinal, int64(s.recorded), int64(s.version)}, func(row []driver.Value) error {
		return applyRow(j, row)
	})
	if err == nil && j.Version != s.version {
		err = fmt.Errorf("job %s: its events lead to version %d, not to %d", s.id, j.Version, s.version)
	}
	return j, err
}

// applyRow applies a row of the table event to a job.
func applyRow(j *entropy.Job, row []driver.Value) error {
	e, err := decodeRow(row)
	if err != nil {
		return err
	}
	d, err := entropy.DecodeJobEvent(e)
	if err != nil {
		return err
	}
	return j.Apply(d)
}
