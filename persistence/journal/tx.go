package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/mattn/go-sqlite3"

	"github.com/entropy-fabric/entropy"
)

// tx is one transaction of the writer.
type tx struct {
	w *writer
	head
	fresh map[entropy.WorkerID]*Claim // claims changed by this transaction
	added map[string]int64            // numbers of entities looked up or made by it
	ended []string                    // entities that will hardly be heard of again
	wrote bool
}

// conflictError says that a member of a batch contradicts what is recorded.
type conflictError struct{ answer *entropy.Error }

func (e *conflictError) Error() string { return e.answer.Error() }

func conflict(format string, args ...any) error {
	return &conflictError{entropy.Errorf(entropy.CodeConflict, format, args...).WithHint("read the entity again and decide anew")}
}

func isConflict(err error) bool {
	_, ok := errors.AsType[*conflictError](err)
	return ok
}

// refuse makes a violated constraint a conflict and leaves other errors alone.
func refuse(err error, format string, args ...any) error {
	if e, ok := errors.AsType[sqlite3.Error](err); ok && e.Code == sqlite3.ErrConstraint {
		return conflict(format, args...)
	}
	return err
}

// errForeign means that another program writes to the file.
var errForeign = errors.New("rows are there that this journal did not write: another program writes to its file")

// foreign tells a taken primary key, which only this writer hands out, from other
// violated constraints.
func foreign(err error) error {
	if e, ok := errors.AsType[sqlite3.Error](err); ok && e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey {
		return errForeign
	}
	return err
}

// apply writes a whole batch. On a conflict, which may be any member's, the
// transaction is good for nothing but a rollback.
func (t *tx) apply(batch []*request) error {
	for _, r := range batch {
		r.first = t.seq + 1
		for i := range r.entries {
			if err := t.addEvents(&r.entries[i]); err != nil {
				return err
			}
		}
	}
	if err := foreign(t.w.entityRows.flush()); err != nil {
		return refuse(err, "an entity exists already")
	}
	if err := foreign(t.w.events.flush()); err != nil {
		return refuse(err, "an entity has moved on")
	}
	if err := t.project(batch); err != nil {
		return err
	}
	for _, r := range batch {
		if err := t.record(r); err != nil {
			return err
		}
	}
	return nil
}

// applyEach writes the members one by one, so that a conflict is its member's alone.
func (t *tx) applyEach(batch []*request) error {
	for i, r := range batch {
		before, wrote := t.head, t.wrote
		if _, err := t.w.save.exec(); err != nil {
			return err
		}
		err := t.apply(batch[i : i+1])
		if isConflict(err) {
			r.err = err
			maps.DeleteFunc(t.added, func(_ string, no int64) bool { return no > before.entities })
			t.head, t.wrote = before, wrote
			t.w.forget()
			_, err = t.w.undo.exec()
		}
		if err != nil {
			return err
		}
		if _, err := t.w.release.exec(); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) addEvents(e *entry) (err error) {
	if len(e.rows) == 0 {
		return nil
	}
	if e.no, err = t.number(e); err != nil {
		return err
	}
	t.wrote = true
	for i := range e.rows {
		row, ev := &e.rows[i], &e.change.Events[i]
		t.seq++
		t.w.events.add(int64(t.seq), e.no, int64(ev.Version), ev.Type, row.body, int64(sealCRC(row.crc, t.seq)))
	}
	return nil
}

// number returns the number of a change's entity. An entity that is new gets the next.
func (t *tx) number(e *entry) (int64, error) {
	name := e.change.Entity
	no, known := t.added[name]
	if !known {
		no, known = t.w.numbers[name]
	}
	if e.change.Expected == 0 {
		if known {
			return 0, conflict("%s exists already", name)
		}
		t.entities++
		t.added[name] = t.entities
		t.w.entityRows.add(t.entities, name)
		return t.entities, nil
	}
	if known {
		return no, nil
	}
	no, err := t.w.conn.number(context.Background(), "SELECT no FROM entity WHERE name=?", name)
	if err == nil && no == 0 {
		err = conflict("%s does not exist", name)
	}
	if err == nil {
		t.added[name] = no
	}
	return no, err
}

// record writes what a request brings besides its entities.
func (t *tx) record(r *request) error {
	for i := range r.entries {
		op := r.entries[i].change.Operation
		if op == nil {
			continue
		}
		t.wrote = true
		if _, err := t.w.operation.exec(op.Principal, op.ID, op.Digest, op.Entity, t.w.now()); err != nil {
			return refuse(err, "operation %s of %s was carried out before", op.ID, op.Principal)
		}
	}
	if r.liveness == "" {
		return nil
	}
	t.wrote = true
	_, err := t.w.liveness.exec(t.w.now(), r.liveness)
	return err
}

// finish writes what is written once per batch: the claims and the seal.
func (t *tx) finish(batch []*request) error {
	var s sealer
	s.start(t.chain)
	sealed := false
	for _, r := range batch {
		if r.err != nil {
			continue
		}
		seq := r.first
		for i := range r.entries {
			for k := range r.entries[i].rows {
				s.add(seq, &r.entries[i].rows[k].digest)
				seq++
				sealed = true
			}
			if err := t.mergeClaims(r.entries[i].claims); err != nil {
				return err
			}
		}
	}
	if err := t.storeClaims(); err != nil || !sealed {
		return err
	}
	t.chain = s.sum()
	_, err := t.w.seal.exec(int64(t.seq), t.chain[:])
	return foreign(err)
}

func (t *tx) mergeClaims(grants []grant) error {
	for i := range grants {
		g := &grants[i]
		c := t.fresh[g.worker]
		if c == nil {
			stored, err := t.storedClaim(g.worker)
			if err != nil {
				return err
			}
			copied := *stored
			c = &copied
			t.fresh[g.worker] = c
		}
		c.add(g)
	}
	return nil
}

// storedClaim returns a worker's claim as of the last commit. Its items may be
// appended to: the stored claim does not see what lies past its own end.
func (t *tx) storedClaim(w entropy.WorkerID) (*Claim, error) {
	if c := t.w.claims[w]; c != nil {
		return c, nil
	}
	return readClaim(context.Background(), t.w.conn, w)
}

func readClaim(ctx context.Context, c *conn, w entropy.WorkerID) (*Claim, error) {
	row, err := c.one(ctx, "SELECT incarnation, claim_seq, items FROM claim WHERE worker_id=?", string(w))
	if err != nil || row == nil {
		return new(Claim), err
	}
	claim := &Claim{Incarnation: uint64(num(row[0])), ClaimSeq: uint64(num(row[1]))}
	if err := json.Unmarshal([]byte(str(row[2])), &claim.Items); err != nil {
		return nil, fmt.Errorf("claim of worker %s: %w", w, err)
	}
	return claim, nil
}

func (t *tx) storeClaims() error {
	for id, c := range t.fresh {
		items, err := json.Marshal(c.Items)
		if err != nil {
			return err
		}
		if _, err := t.w.claim.exec(string(id), int64(c.Incarnation), int64(c.ClaimSeq), string(items)); err != nil {
			return err
		}
	}
	return nil
}
