package journal

import (
	"encoding/json"
	"time"

	"github.com/entropy-fabric/entropy"
)

// This file says what the derived tables hold, as functions of a state: the
// writer stores it, and Verify computes it again from the events.

// jobRow is a row of the table job with what belongs to it in job_spec, job_label
// and job_record, without the ordinal.
type jobRow struct {
	id      string
	version uint64
	state   string
	turning      // columns that seldom change
	same    bool // turning is as it was

	// Only of a new job: columns that never change.
	name, queue, tenant, handler string
	demand                       string
	created                      int64
	spec                         string
	labels                       map[string]string
	links                        []link

	record string // "": none at this version
}

// turning are the columns of a job that only some of its events change.
type turning struct {
	held, excluded, retried  bool
	blocked                  bool
	priority                 int
	eligible, wake, finished any // int64 milliseconds, or nil
}

func turningOf(j *entropy.Job) turning {
	return turning{held: j.Held, excluded: len(j.Excluded) > 0, retried: j.Retried(), blocked: j.Blocked, priority: j.Priority(), eligible: milli(j.EligibleAt), wake: milliOrNil(j.WakeAt()), finished: milli(j.FinishedAt)}
}

// recordEvery is how many events of a live job at most lie between two of its
// records. Writing one at every event would more than double what is written; a
// job of four events has one, at its end.
const recordEvery = 16

func wantsRecord(j *entropy.Job, before uint64) bool {
	return j.State.Terminal() || j.Version/recordEvery != before/recordEvery
}

// newJobRow makes the row of a job after a change. Before is the job before it,
// nil if that is not known.
func newJobRow(j, before *entropy.Job, expected uint64) (*jobRow, error) {
	row := &jobRow{id: string(j.ID), version: j.Version, state: string(j.State), turning: turningOf(j)}
	if wantsRecord(j, expected) {
		record, err := j.EncodeRecord()
		if err != nil {
			return nil, err
		}
		row.record = string(record)
	}
	if expected == 0 {
		return row, row.addSpec(j)
	}
	row.same = before != nil && row.turning == turningOf(before)
	return row, nil
}

// stateBefore returns the job before the change, nil if the caller did not say.
func stateBefore(c *entropy.Change) *entropy.Job {
	if b, ok := c.Before.(*entropy.Job); ok && b != nil && b.Version == c.Expected {
		return b
	}
	return nil
}

// addSpec adds the columns that never change.
func (r *jobRow) addSpec(j *entropy.Job) error {
	spec, err := j.EncodeSpec()
	if err != nil {
		return err
	}
	if r.demand, err = encodeDemand(&j.Spec); err != nil {
		return err
	}
	r.name, r.queue, r.tenant, r.handler = j.Spec.Name, j.QueueName(), j.TenantName(), j.Spec.Handler
	r.created, r.spec, r.labels = j.CreatedAt.UnixMilli(), string(spec), j.Spec.Labels
	r.links = linksOf(&j.Spec)
	return nil
}

// encodeDemand returns what a spec demands beside its handler, which has a column
// of its own, as JSON; "" for the many jobs that demand nothing.
func encodeDemand(s *entropy.JobSpec) (string, error) {
	d := s.Demand()
	d.Handler = ""
	b, err := json.Marshal(d)
	if string(b) == "{}" {
		return "", err
	}
	return string(b), err
}

func milli(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UnixMilli()
}

func milliOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

func newDocRow(kind, id string, state any) (*docRow, error) {
	record, err := json.Marshal(state)
	return &docRow{kind: kind, id: id, record: string(record)}, err
}

// plain returns the worker with nothing instead of empty lists: its events do not
// tell the two apart, so its record must not either.
func plain(w *entropy.Worker) *entropy.Worker {
	c := *w
	if len(c.Labels) == 0 {
		c.Labels = nil
	}
	if len(c.Resources) == 0 {
		c.Resources = nil
	}
	if len(c.Handlers) == 0 {
		c.Handlers = nil
	}
	return &c
}

// leaseStep is what a change does to the lease table.
type leaseStep struct {
	drop    bool           // delete the job's row
	grant   *entropy.Lease // then insert this one: refused if there is one
	replace bool           // grant takes the place of whatever row there is
}

// grant is one assignment of a claim.
type grant struct {
	worker                entropy.WorkerID
	incarnation, claimSeq uint64
	item                  entropy.Held
}

// planLease derives the lease step and the grants of a job's change.
func (e *entry) planLease(j *entropy.Job) error {
	events := e.change.Events
	var ended, endedFirst bool
	granted, reattached := -1, false // the event that made the lease
	for i := range events {
		switch events[i].Type {
		case entropy.JobAssigned:
			granted, endedFirst, reattached = i, ended, false
		case entropy.JobReattached:
			granted, reattached = i, true
		case entropy.JobReleased, entropy.JobLost, entropy.JobAttemptFailed, entropy.JobPreempted:
			ended = true
		}
	}
	switch {
	case j.Lease == nil:
		e.lease.drop = granted >= 0 || mayHoldLease(&e.change)
	case granted >= 0:
		e.lease = leaseStep{drop: endedFirst && !reattached, grant: j.Lease, replace: reattached}
	}
	return e.addGrants(j, granted, reattached)
}

// mayHoldLease reports whether the job can have had a lease before the change.
func mayHoldLease(c *entropy.Change) bool {
	b := stateBefore(c)
	return c.Expected > 0 && (b == nil || b.Lease != nil)
}

// addGrants notes the job.assigned events for the claim table. The one that made
// the present lease need not be decoded again.
func (e *entry) addGrants(j *entropy.Job, granted int, reattached bool) error {
	for i := range e.change.Events {
		ev := &e.change.Events[i]
		if ev.Type != entropy.JobAssigned {
			continue
		}
		if l := j.Lease; l != nil && i == granted && !reattached {
			e.claims = append(e.claims, grant{l.WorkerID, l.Incarnation, l.ClaimSeq, entropy.Held{JobID: j.ID, AssignmentID: l.AssignmentID}})
			continue
		}
		d, err := entropy.DecodeJobEvent(*ev)
		if err != nil {
			return err
		}
		a := &d.Attrs
		e.claims = append(e.claims, grant{a.WorkerID, a.Incarnation, a.ClaimSeq, entropy.Held{JobID: j.ID, AssignmentID: a.AssignmentID}})
	}
	return nil
}

// Claim is the newest claim of a worker: what a repeat of it is answered with.
type Claim struct {
	Incarnation uint64
	ClaimSeq    uint64
	Items       []entropy.Held // every assignment the claim was given, oldest first; Spooled is never set
}

// add merges a grant into the claim: one of a newer claim starts a new set, one
// of an older claim changes nothing.
func (c *Claim) add(g *grant) {
	switch {
	case g.incarnation == c.Incarnation && g.claimSeq == c.ClaimSeq:
		c.Items = append(c.Items, g.item)
	case g.incarnation > c.Incarnation || g.incarnation == c.Incarnation && g.claimSeq > c.ClaimSeq:
		*c = Claim{Incarnation: g.incarnation, ClaimSeq: g.claimSeq, Items: []entropy.Held{g.item}}
	}
}
