package journal

import (
	"encoding/json"
	"time"

	"github.com/entropy-fabric/entropy"
)

// This file says what the derived tables hold, as functions of a state: the
// writer stores it, and Verify computes it again from the events.

// jobRow is a row of the table job with what belongs to it in job_spec and
// job_label, without the ordinal.
type jobRow struct {
	id                           string
	version                      uint64
	state                        string
	held, excluded               bool
	priority                     int
	name, queue, tenant, handler string
	require                      string
	created                      int64
	eligible, wake, finished     any // int64 milliseconds, or nil
	record                       string

	spec   string            // only of a new job
	labels map[string]string // only of a new job
}

func newJobRow(j *entropy.Job, fresh bool) (*jobRow, error) {
	record, err := j.EncodeRecord()
	if err != nil {
		return nil, err
	}
	row := &jobRow{id: string(j.ID), version: j.Version, state: string(j.State), held: j.Held, excluded: len(j.Excluded) > 0,
		eligible: milli(j.EligibleAt), wake: milliOrNil(j.WakeAt()), finished: milli(j.FinishedAt), record: string(record)}
	if fresh {
		err = row.addSpec(j)
	}
	return row, err
}

// addSpec adds the columns that never change.
func (r *jobRow) addSpec(j *entropy.Job) error {
	spec, err := j.EncodeSpec()
	if err != nil {
		return err
	}
	if len(j.Spec.Require) > 0 {
		b, err := json.Marshal(j.Spec.Require)
		if err != nil {
			return err
		}
		r.require = string(b)
	}
	r.priority, r.name, r.queue, r.tenant, r.handler = j.Spec.Priority, j.Spec.Name, j.QueueName(), j.TenantName(), j.Spec.Handler
	r.created, r.spec, r.labels = j.CreatedAt.UnixMilli(), string(spec), j.Spec.Labels
	return nil
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
	c := &e.change
	var ended, granted, endedFirst, reattached bool
	for i := range c.Events {
		switch c.Events[i].Type {
		case entropy.JobAssigned:
			if err := e.addGrant(j, &c.Events[i]); err != nil {
				return err
			}
			granted, endedFirst, reattached = true, ended, false
		case entropy.JobReattached:
			granted, reattached = true, true
		case entropy.JobReleased, entropy.JobLost, entropy.JobAttemptFailed, entropy.JobPreempted:
			ended = true
		}
	}
	switch {
	case j.Lease == nil:
		e.lease.drop = granted || mayHoldLease(c)
	case granted:
		e.lease = leaseStep{drop: endedFirst && !reattached, grant: j.Lease, replace: reattached}
	}
	return nil
}

// mayHoldLease reports whether the job can have had a lease before the change.
func mayHoldLease(c *entropy.Change) bool {
	if c.Expected == 0 {
		return false
	}
	b, ok := c.Before.(*entropy.Job)
	return !ok || b == nil || b.Version != c.Expected || b.Lease != nil
}

// addGrant notes a job.assigned for the claim table.
func (e *entry) addGrant(j *entropy.Job, ev *entropy.Event) error {
	d, err := entropy.DecodeJobEvent(*ev)
	if err != nil {
		return err
	}
	a := &d.Attrs
	e.claims = append(e.claims, grant{worker: a.WorkerID, incarnation: a.Incarnation, claimSeq: a.ClaimSeq,
		item: entropy.Held{JobID: j.ID, AssignmentID: a.AssignmentID}})
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
