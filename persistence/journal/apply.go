package journal

import (
	"github.com/entropy-fabric/entropy"
)

// net is what a batch does to one entity in the end: several changes of it are
// written once, as the last says.
type net struct {
	expected uint64 // before the first change
	last     *entry
}

// project writes the derived tables.
func (t *tx) project(batch []*request) error {
	nets := make(map[string]*net)
	var order []string
	for _, r := range batch {
		for i := range r.entries {
			e := &r.entries[i]
			if len(e.rows) == 0 {
				continue
			}
			if err := t.lease(e); err != nil {
				return err
			}
			n := nets[e.change.Entity]
			switch {
			case n == nil:
				nets[e.change.Entity] = &net{expected: e.change.Expected, last: e}
				order = append(order, e.change.Entity)
			case e.change.Expected != version(n.last):
				return conflict("%s is at version %d, not %d", e.change.Entity, version(n.last), e.change.Expected)
			default:
				inheritSpec(e, n.last)
				n.last = e
			}
		}
	}
	for _, entity := range order {
		if err := t.store(nets[entity]); err != nil {
			return err
		}
	}
	return t.flushJobs()
}

func version(e *entry) uint64 { return e.change.Expected + uint64(len(e.rows)) }

// inheritSpec gives a job that was made and changed in one batch the columns that
// only its first change has.
func inheritSpec(e, first *entry) {
	if e.job == nil || first.job == nil || first.job.spec == "" {
		return
	}
	f := first.job
	e.job.spec, e.job.labels, e.job.created = f.spec, f.labels, f.created
	e.job.priority, e.job.name, e.job.queue, e.job.tenant, e.job.handler, e.job.require = f.priority, f.name, f.queue, f.tenant, f.handler, f.require
}

// lease keeps the lease table. It is done change by change, in order, so that the
// table's own keys refuse what would be a second live lease.
func (t *tx) lease(e *entry) error {
	l := &e.lease
	if !l.drop && l.grant == nil {
		return nil
	}
	id := string(e.change.State.(*entropy.Job).ID)
	if l.drop {
		if _, err := t.w.endLease.exec(id); err != nil {
			return err
		}
	}
	if l.grant == nil {
		return nil
	}
	s := t.w.grantLease
	if l.replace {
		s = t.w.replaceLease
	}
	g := l.grant
	_, err := s.exec(id, string(g.AssignmentID), string(g.WorkerID), int64(g.Incarnation), int64(g.ClaimSeq))
	return refuse(err, "job %s has a live lease, or assignment %s is taken", id, g.AssignmentID)
}

func (t *tx) store(n *net) error {
	if n.last.doc != nil {
		return t.storeDoc(n)
	}
	row := n.last.job
	if n.expected == 0 {
		t.addJob(row)
		return nil
	}
	changed, err := t.w.updateJob.exec(int64(row.version), row.state, row.held, row.excluded, row.eligible, row.wake, row.finished, row.record,
		row.id, int64(n.expected))
	return moved(changed, err, n)
}

func (t *tx) storeDoc(n *net) error {
	d, v := n.last.doc, int64(version(n.last))
	if n.expected == 0 {
		_, err := t.w.insertDoc.exec(d.kind, d.id, v, d.record)
		return refuse(err, "%s exists already", n.last.change.Entity)
	}
	changed, err := t.w.updateDoc.exec(v, d.record, d.kind, d.id, int64(n.expected))
	return moved(changed, err, n)
}

// moved reports a conflict when an update found no row at the expected version.
func moved(changed int64, err error, n *net) error {
	if err == nil && changed == 0 {
		return conflict("%s is not at version %d", n.last.change.Entity, n.expected)
	}
	return err
}

func (t *tx) addJob(r *jobRow) {
	t.ordinal++
	t.w.jobs.add(t.ordinal, r.id, int64(r.version), r.state, r.held, r.excluded, int64(r.priority), r.name, r.queue, r.tenant, r.handler,
		r.require, r.created, r.eligible, r.wake, r.finished, r.record)
	t.w.specs.add(t.ordinal, r.spec)
	for k, v := range r.labels {
		t.w.labels.add(k, v, t.ordinal)
	}
}

func (t *tx) flushJobs() error {
	if err := foreign(t.w.jobs.flush()); err != nil {
		return refuse(err, "a job exists already")
	}
	if err := t.w.specs.flush(); err != nil {
		return err
	}
	return t.w.labels.flush()
}
