package journal

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/mattn/go-sqlite3"

	"github.com/entropy-fabric/entropy"
)

// readers is how many reads run at once; more wait.
const readers = 4

// Reader reads a journal that this or another process writes, or nobody. Every
// [Journal] is one. It sees what is committed, each call as of one moment. Its
// methods are safe for concurrent use and return an [entropy.Error] with
// CodeUnavailable once it is closed.
type Reader struct {
	path      string
	clusterID string
	epoch     uint64
	newest    func() uint64 // nil: read it from the file

	free   chan *conn
	close  sync.Once
	closed chan struct{}
	err    error // what closing gave
}

// OpenReader opens the journal at path without writing to it. The caller closes
// it. It returns an [entropy.Error] as [Open] does, and CodeNotFound when there is
// no file.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := exists(abs); err != nil {
		return nil, err
	}
	r, err := newReader(ctx, abs)
	if err != nil {
		return nil, openError(abs, err)
	}
	return r, nil
}

func newReader(ctx context.Context, path string) (*Reader, error) {
	r := &Reader{path: path, free: make(chan *conn, readers), closed: make(chan struct{})}
	for range readers {
		c, err := connect(path, modeRead, "")
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.free <- c
	}
	err := r.with(ctx, func(c *conn) error {
		format, err := formatOf(ctx, c, path)
		if err != nil {
			return err
		}
		if format == 0 {
			return entropy.Errorf(entropy.CodeInvalid, "%s is not a journal yet", path).WithHint("start a control plane on it first")
		}
		return r.readMeta(ctx, c)
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) readMeta(ctx context.Context, c *conn) (err error) {
	id, err1 := c.text(ctx, "SELECT v FROM meta WHERE k='cluster_id'")
	epoch, err2 := c.text(ctx, "SELECT v FROM meta WHERE k='epoch'")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r.clusterID = id
	if r.epoch, err = strconv.ParseUint(epoch, 10, 64); err != nil || id == "" || r.epoch == 0 {
		return damaged(r.path, fmt.Errorf("it names no cluster or epoch"))
	}
	return nil
}

// Close closes the reader. It waits for reads under way, and is idempotent.
func (r *Reader) Close() error {
	r.close.Do(func() {
		close(r.closed)
		var errs []error
		for range cap(r.free) {
			select {
			case c := <-r.free:
				errs = append(errs, c.Close())
			default: // newReader did not get this far
				if r.clusterID == "" {
					continue
				}
				c := <-r.free
				errs = append(errs, c.Close())
			}
		}
		r.err = errors.Join(errs...)
	})
	return r.err
}

// with runs f with a connection of its own.
func (r *Reader) with(ctx context.Context, f func(*conn) error) error {
	var c *conn
	select {
	case <-r.closed:
		return entropy.Errorf(entropy.CodeUnavailable, "the journal is closed")
	case <-ctx.Done():
		return ctx.Err()
	case c = <-r.free:
	}
	defer func() { r.free <- c }()
	err := f(c)
	if _, ok := errors.AsType[sqlite3.Error](err); ok {
		return fmt.Errorf("read journal: %w", err)
	}
	return err
}

// snapshot runs f within one read transaction: all it reads is of one moment.
func (r *Reader) snapshot(ctx context.Context, f func(*conn) error) error {
	return r.with(ctx, func(c *conn) error {
		if err := c.run("BEGIN"); err != nil {
			return err
		}
		return errors.Join(f(c), c.run("COMMIT")) // of a read: it only ends
	})
}

// Worker returns a worker, or CodeNotFound.
func (r *Reader) Worker(ctx context.Context, id entropy.WorkerID) (w *entropy.Worker, err error) {
	err = r.with(ctx, func(c *conn) error {
		record, err := c.text(ctx, "SELECT record FROM doc WHERE kind=? AND id=?", entropy.KindWorker, string(id))
		if err != nil {
			return err
		}
		if record == "" {
			return entropy.Errorf(entropy.CodeNotFound, "there is no worker %s", id).WithHint("list the workers with: entropy workers")
		}
		w, err = entropy.DecodeWorker([]byte(record))
		return err
	})
	return w, err
}

// Workers returns every worker, by name.
func (r *Reader) Workers(ctx context.Context) ([]*entropy.Worker, error) {
	return docs[entropy.Worker](ctx, r, entropy.KindWorker)
}

// Tokens returns every token, revoked ones too, by ID.
func (r *Reader) Tokens(ctx context.Context) ([]*entropy.Token, error) {
	return docs[entropy.Token](ctx, r, entropy.KindToken)
}

// Documents calls f with every document of a kind, by ID, until f returns an
// error, which it then returns.
func (r *Reader) Documents(ctx context.Context, kind string, f func(entropy.Document) error) error {
	return r.with(ctx, func(c *conn) error {
		return c.each(ctx, "SELECT id, record FROM doc WHERE kind=? ORDER BY id", []driver.Value{kind}, func(row []driver.Value) error {
			d := entropy.NewDocument(entropy.Entity(kind, str(row[0])))
			if d == nil {
				return fmt.Errorf("there are no documents of kind %s", kind)
			}
			if err := json.Unmarshal([]byte(str(row[1])), d); err != nil {
				return fmt.Errorf("%s %s: %w", kind, str(row[0]), err)
			}
			return f(d)
		})
	})
}

// Document returns one document, or CodeNotFound.
func (r *Reader) Document(ctx context.Context, entity string) (d entropy.Document, err error) {
	kind, id := entropy.SplitEntity(entity)
	err = r.with(ctx, func(c *conn) error {
		record, err := c.text(ctx, "SELECT record FROM doc WHERE kind=? AND id=?", kind, id)
		if err != nil {
			return err
		}
		if record == "" {
			return entropy.Errorf(entropy.CodeNotFound, "there is no %s %s", kind, id)
		}
		if d = entropy.NewDocument(entity); d == nil {
			return fmt.Errorf("there are no documents of kind %s", kind)
		}
		return json.Unmarshal([]byte(record), d)
	})
	return d, err
}

func docs[T any](ctx context.Context, r *Reader, kind string) (all []*T, err error) {
	err = r.with(ctx, func(c *conn) error {
		return c.each(ctx, "SELECT id, record FROM doc WHERE kind=? ORDER BY id", []driver.Value{kind}, func(row []driver.Value) error {
			v := new(T)
			if err := json.Unmarshal([]byte(str(row[1])), v); err != nil {
				return fmt.Errorf("%s %s: %w", kind, str(row[0]), err)
			}
			all = append(all, v)
			return nil
		})
	})
	return all, err
}

// Counts returns how many jobs are in each state; states without jobs are absent.
func (r *Reader) Counts(ctx context.Context) (map[entropy.State]int64, error) {
	counts := make(map[entropy.State]int64)
	err := r.with(ctx, func(c *conn) error {
		return c.each(ctx, "SELECT state, count(*) FROM job GROUP BY state", nil, func(row []driver.Value) error {
			counts[entropy.State(str(row[0]))] = num(row[1])
			return nil
		})
	})
	return counts, err
}

// LastClaim returns the newest claim of a worker that was given anything, or the
// zero Claim.
func (r *Reader) LastClaim(ctx context.Context, worker entropy.WorkerID) (Claim, error) {
	var claim Claim
	err := r.with(ctx, func(c *conn) error {
		got, err := readClaim(ctx, c, worker)
		if err == nil {
			claim = *got
		}
		return err
	})
	return claim, err
}

// Operation returns the record of an operation that was carried out, or nil.
func (r *Reader) Operation(ctx context.Context, principal, id string) (op *entropy.OperationRecord, err error) {
	err = r.with(ctx, func(c *conn) error {
		row, err := c.one(ctx, "SELECT digest, entity FROM operation WHERE principal=? AND id=?", principal, id)
		if row != nil {
			op = &entropy.OperationRecord{Principal: principal, ID: id, Digest: str(row[0]), Entity: str(row[1])}
		}
		return err
	})
	return op, err
}

// exists refuses a path that has no file, which SQLite would report less clearly.
func exists(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return entropy.Errorf(entropy.CodeNotFound, "there is no journal at %s", path).WithHint("a control plane keeps it as journal.db in its data directory")
	case err == nil && fi.IsDir():
		return entropy.Errorf(entropy.CodeInvalid, "%s is a directory", path).WithHint("name the file journal.db in it")
	}
	return err
}
