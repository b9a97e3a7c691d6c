package journal

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"

	"github.com/entropy-fabric/entropy"
)

// VerifyFile checks the whole journal at path, as [Reader.Verify] does. It does
// not write to it; a running control plane is not disturbed. The error says that
// it could not be checked; what is wrong with it is in the report.
func VerifyFile(ctx context.Context, path string) (Report, error) {
	r, err := OpenReader(ctx, path)
	if err != nil {
		return Report{Path: path}, err
	}
	report, err := r.Verify(ctx, nil)
	return report, errors.Join(err, r.Close())
}

// Verify checks everything: SQLite's own structures; that every event has its
// place, its checksum and its seal; that the versions of each entity are gapless;
// and that replaying each entity gives its derived rows byte for byte. It reads
// one moment, which keeps the write-ahead log from being emptied until it is done.
// Progress, if not nil, is called now and then with how much of the work is done.
func (r *Reader) Verify(ctx context.Context, progress func(done, total uint64)) (report Report, err error) {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	report = Report{Path: r.path, ClusterID: r.clusterID, Epoch: r.epoch, States: make(map[entropy.State]uint64)}
	err = r.snapshot(ctx, func(c *conn) error {
		seq, err := c.number(ctx, "SELECT max(seq) FROM event")
		if err != nil {
			return err
		}
		report.Seq = uint64(seq)
		v := &verifier{Report: &report, ctx: ctx, c: c, progress: progress, claims: make(map[entropy.WorkerID]*Claim)}
		for _, check := range []func() error{v.structure, v.history, v.entities, v.leftovers} {
			if err := check(); err != nil && !v.damage(err) {
				return err
			}
		}
		progress(v.done, v.done)
		return nil
	})
	return report, err
}

// verifier is one run of Verify.
type verifier struct {
	*Report
	ctx      context.Context
	c        *conn
	progress func(done, total uint64)
	done     uint64 // events read, of two passes

	claims  map[entropy.WorkerID]*Claim // by replay
	leases  uint64                      // by replay
	labels  uint64
	links   uint64
	record  uint64
	actions uint64
	replay  *replay // of the entity that is being read, nil before the first
}

// damage records an error that says that the file is damaged, and reports whether
// it was one.
func (v *verifier) damage(err error) bool {
	if d, ok := errors.AsType[*damageError](err); ok {
		v.problem(d.seq, "", "%s", d.msg)
		return true
	}
	if isCorrupt(err) {
		v.problem(0, "", "the file cannot be read on: %v", err)
		return true
	}
	return false
}

// structure has SQLite check its pages and indexes.
func (v *verifier) structure() error {
	return v.c.each(v.ctx, "PRAGMA integrity_check(100)", nil, func(row []driver.Value) error {
		if s := str(row[0]); s != "ok" {
			v.problem(0, "", "SQLite: %s", s)
		}
		return nil
	})
}

func (v *verifier) step() {
	if v.done++; v.done%10_000 == 0 {
		v.progress(v.done, 2*v.Seq)
	}
}

// history follows the events in their order, and the seals beside them.
func (v *verifier) history() error {
	seals, err := v.c.cursor(v.ctx, "SELECT last_seq, sha256 FROM batch_seal ORDER BY last_seq")
	if err != nil {
		return err
	}
	defer seals.close()
	k := &checker{next: 1}
	k.start(genesis(v.ClusterID))
	next, err := v.nextSeal(seals)
	if err != nil {
		return err
	}
	// The last event is followed by the end, which seals the last batch.
	err = v.c.each(v.ctx, "SELECT "+eventColumns+" FROM event v LEFT JOIN entity n ON n.no = v.entity ORDER BY v.seq", nil, func(row []driver.Value) error {
		for seq := uint64(num(row[0])); next != nil && seq > next.last; {
			v.note(k.seal(*next))
			if next, err = v.nextSeal(seals); err != nil {
				return err
			}
		}
		v.Events++
		v.step()
		v.note(k.row(row))
		return v.noteClaim(row)
	})
	for err == nil && next != nil {
		v.note(k.seal(*next))
		next, err = v.nextSeal(seals)
	}
	if err == nil && k.next != v.Seq+1 || v.lastSeal() != v.Seq {
		v.problem(v.Seq, "", "the newest events have no seal")
	}
	return err
}

// note records damage and goes on.
func (v *verifier) note(err error) {
	if err != nil && !v.damage(err) {
		v.problem(0, "", "%v", err)
	}
}

func (v *verifier) nextSeal(seals *cursor) (*sealRow, error) {
	row, err := seals.next()
	if row == nil || err != nil {
		return nil, err
	}
	v.Batches++
	s, err := scanSeal(row)
	v.note(err)
	return &s, nil
}

func (v *verifier) lastSeal() uint64 {
	n, err := v.c.number(v.ctx, "SELECT max(last_seq) FROM batch_seal")
	v.note(err)
	return uint64(n)
}

// noteClaim follows the claims in the order of the events.
func (v *verifier) noteClaim(row []driver.Value) error {
	if str(row[3]) != entropy.JobAssigned {
		return nil
	}
	e, err := decodeRow(row)
	if err != nil {
		v.problem(uint64(num(row[0])), str(row[1]), "%v", err)
		return nil
	}
	d, err := entropy.DecodeJobEvent(e)
	if err != nil {
		v.problem(e.Seq, e.EntityID, "%v", err)
		return nil
	}
	a := &d.Attrs
	c := v.claims[a.WorkerID]
	if c == nil {
		c = new(Claim)
		v.claims[a.WorkerID] = c
	}
	_, id := entropy.SplitEntity(e.EntityID)
	c.add(&grant{a.WorkerID, a.Incarnation, a.ClaimSeq, entropy.Held{JobID: entropy.JobID(id), AssignmentID: a.AssignmentID}})
	return nil
}

// entities replays each entity and compares.
func (v *verifier) entities() error {
	err := v.c.each(v.ctx, "SELECT "+eventColumns+", v.entity FROM event v JOIN entity n ON n.no = v.entity ORDER BY v.entity, v.version", nil,
		func(row []driver.Value) error {
			v.step()
			if no := num(row[6]); v.replay == nil || v.replay.no != no {
				if err := v.compare(); err != nil {
					return err
				}
				v.replay = newReplay(no, str(row[1]))
			}
			return v.replay.apply(v, row)
		})
	if err != nil {
		return err
	}
	return v.compare()
}

// leftovers looks for derived rows that no event explains.
func (v *verifier) leftovers() error {
	for _, t := range []struct {
		table string
		want  uint64
	}{
		{"job", v.Jobs}, {"job_spec", v.Jobs}, {"job_label", v.labels}, {"job_link", v.links}, {"job_record", v.record},
		{"lease", v.leases}, {"claim", uint64(len(v.claims))}, {"doc", v.Workers + v.Tokens + v.Documents}, {"entity", v.Jobs + v.Workers + v.Tokens + v.Documents},
	} {
		got, err := v.c.number(v.ctx, "SELECT count(*) FROM "+t.table)
		if err != nil {
			return err
		}
		if uint64(got) != t.want {
			v.problem(0, "", "the table %s has %d rows, a replay gives %d", t.table, got, t.want)
		}
	}
	if has, err := v.hasActions(); err != nil || !has {
		return err
	}
	if got, err := v.c.number(v.ctx, "SELECT count(*) FROM action"); err != nil {
		return err
	} else if uint64(got) != v.actions {
		v.problem(0, "", "the table action has %d rows, a replay gives %d", got, v.actions)
	}
	for id, want := range v.claims {
		got, err := readClaim(v.ctx, v.c, id)
		if err != nil {
			return err
		}
		if a, b := asJSON(got), asJSON(want); a != b {
			v.problem(0, entropy.Entity(entropy.KindWorker, string(id)), "its claim is stored as %s, a replay gives %s", a, b)
		}
	}
	return nil
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
