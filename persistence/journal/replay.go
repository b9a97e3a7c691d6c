package journal

import (
	"cmp"
	"database/sql/driver"
	"fmt"

	"github.com/entropy-fabric/entropy"
)

// replay rebuilds one entity from its events.
type replay struct {
	no       int64
	name     string
	version  uint64
	lastSeq  uint64
	broken   bool // its events cannot be applied: comparing would only repeat it
	job      *entropy.Job
	worker   *entropy.Worker
	token    *entropy.Token
	document entropy.Document
	finding  JobFinding
	recorded uint64 // version of the stored record, 0 without one
	record   string
}

func newReplay(no int64, name string) *replay {
	p := &replay{no: no, name: name}
	switch kind, id := entropy.SplitEntity(name); kind {
	case entropy.KindJob:
		p.job = &entropy.Job{ID: entropy.JobID(id)}
		p.finding.ID = p.job.ID
	case entropy.KindWorker:
		p.worker = &entropy.Worker{ID: entropy.WorkerID(id)}
	case entropy.KindToken:
		p.token = new(entropy.Token)
	default:
		p.document = entropy.NewDocument(name)
	}
	return p
}

// apply follows one event.
func (p *replay) apply(v *verifier, row []driver.Value) error {
	e, err := decodeRow(row)
	seq, version := uint64(num(row[0])), uint64(num(row[2]))
	switch {
	case err != nil:
	case version != p.version+1:
		err = fmt.Errorf("version %d follows version %d", version, p.version)
	case seq <= p.lastSeq:
		err = fmt.Errorf("version %d stands at seq %d, before version %d", version, seq, p.version)
	case p.broken:
	case p.job != nil:
		err = p.applyJob(v, e)
	case p.worker != nil:
		var d entropy.WorkerEvent
		if d, err = entropy.DecodeWorkerEvent(e); err == nil {
			err = p.worker.Apply(d)
		}
	case p.token != nil:
		err = p.token.Apply(e)
	case p.document != nil:
		err = p.document.Apply(e)
	}
	p.version, p.lastSeq = version, seq
	if err != nil {
		p.broken = true
		v.problem(seq, p.name, "%v", err)
	}
	return nil
}

func (p *replay) applyJob(v *verifier, e entropy.Event) error {
	if e.Version == 1 {
		row, err := v.c.one(v.ctx, "SELECT version, record FROM job_record WHERE ordinal=?", p.no)
		if err != nil {
			return err
		}
		if row != nil {
			p.recorded, p.record = uint64(num(row[0])), str(row[1])
			v.record++
		}
	}
	d, err := entropy.DecodeJobEvent(e)
	if err != nil {
		return err
	}
	if err := p.job.Apply(d); err != nil {
		return err
	}
	p.finding.count(e.Type, d.Attrs.Late)
	if e.Version != p.recorded {
		return nil
	}
	got, err := p.job.EncodeRecord()
	if err == nil && string(got) != p.record {
		err = fmt.Errorf("its record is stored as %s, a replay gives %s", p.record, got)
	}
	return err
}

// compare checks the derived rows of the entity that was just replayed.
func (v *verifier) compare() error {
	p := v.replay
	if p == nil {
		return nil
	}
	switch {
	case p.job != nil:
		v.Jobs++
		v.States[p.job.State]++
		v.finish(p)
		if p.broken {
			return nil
		}
		return v.compareJob(p)
	case p.worker != nil:
		v.Workers++
		if p.broken {
			return nil
		}
		return v.compareDoc(p, entropy.KindWorker, asJSON(plain(p.worker)))
	case p.token != nil:
		v.Tokens++
		if p.broken {
			return nil
		}
		return v.compareDoc(p, entropy.KindToken, asJSON(p.token))
	case p.document != nil:
		v.Documents++
		if p.broken {
			return nil
		}
		if a, ok := p.document.(*entropy.Action); ok {
			if err := v.compareAction(p, a); err != nil {
				return err
			}
		}
		kind, _ := entropy.SplitEntity(p.name)
		return v.compareDoc(p, kind, asJSON(p.document))
	}
	v.problem(p.lastSeq, p.name, "an entity of a kind that this program does not know")
	return nil
}

// finish notes the job's finding and the promises that it breaks.
func (v *verifier) finish(p *replay) {
	p.finding.State = p.job.State
	if len(v.Findings) < MaxFindings {
		v.Findings = append(v.Findings, p.finding)
	}
	if p.finding.Terminal > 1 {
		v.problem(p.lastSeq, p.name, "it ended %d times", p.finding.Terminal)
	}
	if p.recorded > p.version {
		v.problem(p.lastSeq, p.name, "its record is of version %d, its events end at %d", p.recorded, p.version)
	}
}

// compareJob compares every column that is derived from the job.
func (v *verifier) compareJob(p *replay) error {
	want, err := newJobRow(p.job, nil, 0)
	if err != nil {
		return err
	}
	v.labels += uint64(len(want.labels))
	v.links += uint64(len(want.links))
	row, err := v.c.one(v.ctx, `SELECT id, j.version, state, held, excluded, retried, blocked, priority, name, queue, tenant, handler, demand, created_ms, eligible_ms,
		wake_ms, finished_ms, spec FROM job j JOIN job_spec USING(ordinal) WHERE ordinal=?`, p.no)
	if err != nil {
		return err
	}
	if row == nil {
		v.problem(p.lastSeq, p.name, "it has no row in the table job")
		return nil
	}
	bit := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	for i, col := range []struct {
		name string
		want any
	}{
		{"id", want.id}, {"version", int64(want.version)}, {"state", want.state}, {"held", bit(want.held)}, {"excluded", bit(want.excluded)}, {"retried", bit(want.retried)}, {"blocked", bit(want.blocked)},
		{"priority", int64(want.priority)}, {"name", want.name}, {"queue", want.queue}, {"tenant", want.tenant}, {"handler", want.handler},
		{"demand", want.demand}, {"created_ms", want.created}, {"eligible_ms", want.eligible}, {"wake_ms", want.wake},
		{"finished_ms", want.finished}, {"spec", want.spec},
	} {
		if row[i] != col.want {
			v.problem(p.lastSeq, p.name, "job.%s is stored as %v, a replay gives %v", col.name, row[i], col.want)
		}
	}
	if err := v.compareLabels(p, want.labels); err != nil {
		return err
	}
	if err := v.compareLinks(p, want.links); err != nil {
		return err
	}
	return v.compareLease(p)
}

func (v *verifier) compareLabels(p *replay, labels map[string]string) error {
	for k, val := range labels {
		n, err := v.c.number(v.ctx, "SELECT count(*) FROM job_label WHERE key=? AND value=? AND ordinal=?", k, val, p.no)
		if err != nil {
			return err
		}
		if n != 1 {
			v.problem(p.lastSeq, p.name, "its label %s=%s is not in the table job_label", k, val)
		}
	}
	return nil
}

func (v *verifier) compareLease(p *replay) error {
	l := p.job.Lease
	if l == nil {
		return nil // a row too many shows in the count
	}
	v.leases++
	row, err := v.c.one(v.ctx, "SELECT assignment_id, worker_id, incarnation, claim_seq FROM lease WHERE ordinal=?", p.no)
	if err != nil {
		return err
	}
	want := []driver.Value{string(l.AssignmentID), string(l.WorkerID), int64(l.Incarnation), int64(l.ClaimSeq)}
	if fmt.Sprint(row) != fmt.Sprint(want) {
		v.problem(p.lastSeq, p.name, "its lease is stored as %v, a replay gives %v", row, want)
	}
	return nil
}

func (v *verifier) compareDoc(p *replay, kind, want string) error {
	_, id := entropy.SplitEntity(p.name)
	row, err := v.c.one(v.ctx, "SELECT record, version FROM doc WHERE kind=? AND id=?", kind, id)
	if err != nil {
		return err
	}
	if row == nil {
		v.problem(p.lastSeq, p.name, "it has no row in the table doc")
		return nil
	}
	if got := cmp.Or(str(row[0]), "nothing"); got != want || num(row[1]) != int64(p.version) {
		v.problem(p.lastSeq, p.name, "version %d is stored as %s, a replay gives version %d: %s", num(row[1]), got, p.version, want)
	}
	return nil
}
