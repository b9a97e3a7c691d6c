package journal

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
				inherit(e, n.last)
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

// inherit gives the last of several changes of a job in one batch what only the
// earlier ones know.
func inherit(e, before *entry) {
	if e.job == nil || before.job == nil {
		return
	}
	j, b := e.job, before.job
	j.same = j.same && b.same
	if b.spec != "" {
		j.spec, j.labels, j.links, j.created, j.demand = b.spec, b.labels, b.links, b.created, b.demand
		j.name, j.queue, j.tenant, j.handler = b.name, b.queue, b.tenant, b.handler
	}
}

// lease keeps the lease table. It is done change by change, in order, so that the
// table's own keys refuse what would be a second live lease.
func (t *tx) lease(e *entry) error {
	l := &e.lease
	if !l.drop && l.grant == nil {
		return nil
	}
	if l.drop {
		if _, err := t.w.endLease.exec(e.no); err != nil {
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
	_, err := s.exec(e.no, string(g.AssignmentID), string(g.WorkerID), int64(g.Incarnation), int64(g.ClaimSeq))
	return refuse(err, "%s has a live lease, or assignment %s is taken", e.change.Entity, g.AssignmentID)
}

func (t *tx) store(n *net) error {
	if n.last.doc != nil {
		return t.storeDoc(n)
	}
	row := n.last.job
	if row.finished != nil {
		t.ended = append(t.ended, n.last.change.Entity)
	}
	if n.expected == 0 {
		t.addJob(n.last.no, row)
		return nil
	}
	if err := t.updateJob(row, n); err != nil || row.record == "" {
		return err
	}
	_, err := t.w.recordJob.exec(n.last.no, int64(row.version), row.record)
	return err
}

func (t *tx) updateJob(row *jobRow, n *net) error {
	if row.same {
		changed, err := t.w.updateJob.exec(int64(row.version), row.state, n.last.no, int64(n.expected))
		return moved(changed, err, n)
	}
	changed, err := t.w.turnJob.exec(int64(row.version), row.state, row.held, row.excluded, row.retried, row.blocked, int64(row.priority), row.eligible, row.wake, row.finished,
		n.last.no, int64(n.expected))
	return moved(changed, err, n)
}

func (t *tx) storeDoc(n *net) error {
	d, v := n.last.doc, int64(version(n.last))
	if n.expected == 0 {
		_, err := t.w.insertDoc.exec(d.kind, d.id, v, d.record)
		if err = refuse(err, "%s exists already", n.last.change.Entity); err != nil {
			return err
		}
		return t.storeAction(n)
	}
	changed, err := t.w.updateDoc.exec(v, d.record, d.kind, d.id, int64(n.expected))
	if err = moved(changed, err, n); err != nil {
		return err
	}
	return t.storeAction(n)
}

// moved reports a conflict when an update found no row at the expected version.
func moved(changed int64, err error, n *net) error {
	if err == nil && changed == 0 {
		return conflict("%s is not at version %d", n.last.change.Entity, n.expected)
	}
	return err
}

func (t *tx) addJob(no int64, r *jobRow) {
	t.w.jobs.add(no, r.id, int64(r.version), r.state, r.held, r.excluded, r.retried, r.blocked, int64(r.priority), r.name, r.queue, r.tenant, r.handler,
		r.demand, r.created, r.eligible, r.wake, r.finished)
	t.w.specs.add(no, r.spec)
	for k, v := range r.labels {
		t.w.labels.add(k, v, no)
	}
	for _, l := range r.links {
		t.w.links.add(l.kind, l.target, no)
	}
	if r.record != "" {
		t.w.records.add(no, int64(r.version), r.record)
	}
}

func (t *tx) flushJobs() error {
	if err := foreign(t.w.jobs.flush()); err != nil {
		return refuse(err, "a job exists already")
	}
	for _, in := range []*inserter{t.w.specs, t.w.labels, t.w.links, t.w.records} {
		if err := in.flush(); err != nil {
			return err
		}
	}
	return nil
}
