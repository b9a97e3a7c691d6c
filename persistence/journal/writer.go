package journal

import (
	"errors"
	"fmt"
	"maps"

	"github.com/entropy-fabric/entropy"
)

// writer owns the connection that writes. Only the committer's goroutine uses it.
type writer struct {
	*conn
	mark func(inFlight bool)
	now  func() int64 // Unix milliseconds

	head                                // of what is committed
	claims  map[entropy.WorkerID]*Claim // by worker, as stored; read on first use
	numbers map[string]int64            // of some entities, by name

	begin, commit, rollback            *stmt
	save, undo, release                *stmt
	entityRows, events, jobs           *inserter
	specs, labels, links, records      *inserter
	updateJob, turnJob, recordJob      *stmt
	grantLease, replaceLease, endLease *stmt
	insertDoc, updateDoc               *stmt
	insertAction, updateAction         *stmt
	operation, claim, seal, liveness   *stmt
}

// head is where the journal stands. A transaction works on a copy and gives it
// back when it is committed.
type head struct {
	seq      uint64
	entities int64 // the newest number of an entity
	chain    chain
}

// prepareStatements compiles what the writer will run, once.
func (w *writer) prepareStatements() (err error) {
	one := func(dst **stmt, sql string) {
		if err == nil {
			*dst, err = w.statement(sql)
		}
	}
	many := func(dst **inserter, table string, columns ...string) {
		if err == nil {
			*dst, err = w.inserter(table, columns...)
		}
	}
	one(&w.begin, "BEGIN IMMEDIATE")
	one(&w.commit, "COMMIT")
	one(&w.rollback, "ROLLBACK")
	one(&w.save, "SAVEPOINT one")
	one(&w.undo, "ROLLBACK TO one")
	one(&w.release, "RELEASE one")
	many(&w.entityRows, "entity", "no", "name")
	many(&w.events, "event", "seq", "entity", "version", "type", "body", "crc")
	many(&w.jobs, "job", "ordinal", "id", "version", "state", "held", "excluded", "retried", "blocked", "priority", "name", "queue", "tenant", "handler",
		"demand", "created_ms", "eligible_ms", "wake_ms", "finished_ms")
	many(&w.specs, "job_spec", "ordinal", "spec")
	many(&w.labels, "job_label", "key", "value", "ordinal")
	many(&w.links, "job_link", "kind", "target", "ordinal")
	many(&w.records, "job_record", "ordinal", "version", "record")
	one(&w.updateJob, "UPDATE job SET version=?, state=? WHERE ordinal=? AND version=?")
	one(&w.turnJob, `UPDATE job SET version=?, state=?, held=?, excluded=?, retried=?, blocked=?, priority=?, eligible_ms=?, wake_ms=?, finished_ms=? WHERE ordinal=? AND version=?`)
	one(&w.recordJob, "INSERT OR REPLACE INTO job_record(ordinal, version, record) VALUES (?,?,?)")
	one(&w.grantLease, "INSERT INTO lease(ordinal, assignment_id, worker_id, incarnation, claim_seq) VALUES (?,?,?,?,?)")
	// Not INSERT OR REPLACE: that would also take the row of another job that
	// had the same assignment.
	one(&w.replaceLease, `INSERT INTO lease(ordinal, assignment_id, worker_id, incarnation, claim_seq) VALUES (?,?,?,?,?)
		ON CONFLICT(ordinal) DO UPDATE SET assignment_id=excluded.assignment_id, worker_id=excluded.worker_id,
		incarnation=excluded.incarnation, claim_seq=excluded.claim_seq`)
	one(&w.endLease, "DELETE FROM lease WHERE ordinal=?")
	one(&w.insertDoc, "INSERT INTO doc(kind, id, version, record) VALUES (?,?,?,?)")
	one(&w.updateDoc, "UPDATE doc SET version=?, record=? WHERE kind=? AND id=? AND version=?")
	one(&w.insertAction, "INSERT INTO action(ordinal, id, state, command, tenant, target) VALUES (?,?,?,?,?,?)")
	one(&w.updateAction, "UPDATE action SET state=?1 WHERE ordinal=?2 AND state<>?1")
	one(&w.operation, "INSERT INTO operation(principal, id, digest, entity, at_ms) VALUES (?,?,?,?,?)")
	one(&w.claim, "INSERT OR REPLACE INTO claim(worker_id, incarnation, claim_seq, items) VALUES (?,?,?,?)")
	one(&w.seal, "INSERT INTO batch_seal(last_seq, sha256) VALUES (?,?)")
	one(&w.liveness, "INSERT OR REPLACE INTO liveness(one, saved_ms, record) VALUES (1,?,?)")
	return err
}

// close finalizes the statements and closes the connection, which checkpoints
// the journal into the main file.
func (w *writer) close() error {
	var errs []error
	for _, s := range []*stmt{w.begin, w.commit, w.rollback, w.save, w.undo, w.release, w.updateJob, w.turnJob, w.recordJob, w.grantLease, w.replaceLease,
		w.endLease, w.insertDoc, w.updateDoc, w.insertAction, w.updateAction, w.operation, w.claim, w.seal, w.liveness} {
		errs = append(errs, s.close())
	}
	for _, in := range w.inserters() {
		if in != nil {
			errs = append(errs, in.close())
		}
	}
	return errors.Join(append(errs, w.Close())...)
}

// writeError is why a transaction was not committed, or may not have been.
type writeError struct {
	err        error
	begun      bool // false: BEGIN itself failed, so that nothing was tried
	rolledBack bool // the rollback is confirmed
}

func (e *writeError) Error() string { return fmt.Sprintf("write batch: %v", e.err) }
func (e *writeError) Unwrap() error { return e.err }

// write commits a batch in one transaction. Members that contradict what is
// recorded get their err set and leave no trace; wrote is false when no member was
// left. A *writeError means that nothing of the batch was committed, unless the
// outcome is unknown.
func (w *writer) write(batch []*request) (wrote bool, err error) {
	t, err := w.open()
	if err != nil {
		return false, &writeError{err: err, rolledBack: w.AutoCommit()}
	}
	if err = t.apply(batch); isConflict(err) {
		if t, err = w.again(); err == nil {
			err = t.applyEach(batch)
		}
	}
	if err == nil {
		err = t.finish(batch)
	}
	if err == nil && !t.wrote {
		return false, w.abandon(nil) // every member was refused
	}
	if err == nil {
		w.mark(true)
		_, err = w.commit.exec()
		w.mark(false)
	}
	if err != nil {
		return false, w.abandon(err)
	}
	w.adopt(t)
	return true, nil
}

// abandon rolls back and reports err, if there is one.
func (w *writer) abandon(err error) error {
	if !w.AutoCommit() { // SQLite rolls back by itself on some errors
		if _, rerr := w.rollback.exec(); rerr != nil && err == nil {
			err = rerr
		}
	}
	if err == nil {
		return nil
	}
	return &writeError{err: err, begun: true, rolledBack: w.AutoCommit()}
}

func (w *writer) open() (*tx, error) {
	w.forget()
	if _, err := w.begin.exec(); err != nil {
		return nil, err
	}
	return &tx{w: w, head: w.head, fresh: make(map[entropy.WorkerID]*Claim), added: make(map[string]int64)}, nil
}

// again rolls back and opens a new transaction.
func (w *writer) again() (*tx, error) {
	if err := w.abandon(nil); err != nil {
		return nil, err
	}
	return w.open()
}

func (w *writer) inserters() []*inserter {
	return []*inserter{w.entityRows, w.events, w.jobs, w.specs, w.labels, w.links, w.records}
}

// forget drops rows that were gathered and not inserted.
func (w *writer) forget() {
	for _, in := range w.inserters() {
		in.reset()
	}
}

// adopt makes the committed transaction's view the writer's.
func (w *writer) adopt(t *tx) {
	w.head = t.head
	maps.Copy(w.claims, t.fresh)
	if len(w.numbers)+len(t.added) > maxNumbers {
		clear(w.numbers)
	}
	maps.Copy(w.numbers, t.added)
	for _, name := range t.ended {
		delete(w.numbers, name)
	}
}

// maxNumbers bounds the entities whose numbers are kept in memory: those that are
// busy. The others are looked up.
const maxNumbers = 1 << 17
