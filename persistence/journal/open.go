package journal

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/entropy-fabric/entropy"
)

// The marks of the file: applicationID is "Entr" in ASCII, and the user version is
// the number of the newest migration that was applied.
const applicationID = 0x456e7472

// minSQLite is the first SQLite without the WAL-reset bug, which could corrupt a
// file under a checkpoint that met a write.
const minSQLite = 3_051_003

//go:embed schema/*.sql
var schema embed.FS

// Open opens the journal at cfg.Path, or makes one, recovers what a crash left
// and checks the newest part of it. The caller closes it. ctx bounds the opening only.
//
// It returns an [entropy.Error]: CodeInvalid when the file is not a journal or is
// of a newer release, CodeConflict when it is damaged, CodeDiskFull when there is
// no room to open it.
func Open(ctx context.Context, cfg Config) (_ *Journal, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Path, err = filepath.Abs(cfg.Path); err != nil {
		return nil, err
	}
	start := time.Now()
	w, err := openWriter(ctx, &cfg)
	if err != nil {
		return nil, openError(cfg.Path, err)
	}
	r, k, err := openRest(ctx, w, &cfg)
	if err != nil {
		_ = w.close() // the cause is reported
		return nil, openError(cfg.Path, err)
	}
	j := &Journal{Reader: r, cfg: cfg, queue: newQueue(cfg.QueueLimit), w: w, checkpoints: k,
		fatal: make(chan struct{}), quit: make(chan struct{}), stopped: make(chan struct{})}
	j.seq.Store(w.seq)
	r.newest = j.Seq
	cfg.Logger.Info("journal open", "path", cfg.Path, "cluster_id", r.clusterID, "epoch", r.epoch, "seq", w.seq, "took", time.Since(start))
	go k.run(func(err error) {
		cfg.Logger.Error("checkpoint failed; nothing is lost, but look at the disk", "path", cfg.Path, "error", err)
	})
	go j.commitLoop()
	return j, nil
}

// openRest opens what works beside the writer, and recovers.
func openRest(ctx context.Context, w *writer, cfg *Config) (r *Reader, k *checkpointer, err error) {
	if r, err = newReader(ctx, cfg.Path); err != nil {
		return nil, nil, err
	}
	if err = w.recover(ctx, r.clusterID); err == nil {
		k, err = newCheckpointer(ctx, cfg)
	}
	if err != nil {
		_ = r.Close() // it was only read
	}
	return r, k, err
}

// openWriter opens the connection that writes and brings the schema up to date.
func openWriter(ctx context.Context, cfg *Config) (_ *writer, err error) {
	if _, v, _ := sqlite3.Version(); v < minSQLite {
		return nil, entropy.Errorf(entropy.CodeInternal, "SQLite %d is linked, which can corrupt a journal; 3.51.3 or newer is needed", v).
			WithHint("build without the tag libsqlite3")
	}
	if err := inspect(ctx, cfg.Path); err != nil {
		return nil, err
	}
	c, err := connect(cfg.Path, modeCreate, cfg.synchronous())
	if err != nil {
		return nil, err
	}
	w := &writer{conn: c, mark: cfg.CommitMark, now: func() int64 { return cfg.Now().UnixMilli() },
		claims: make(map[entropy.WorkerID]*Claim), numbers: make(map[string]int64)}
	for _, step := range []func() error{
		func() error { return w.tune(ctx, cfg) },
		func() error { return w.migrate(ctx, cfg.Now()) },
		func() error { return syncDir(filepath.Dir(cfg.Path)) },
		w.prepareStatements,
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return w, nil
}

// inspect refuses a file that is not a journal this program may write, before
// anything touches it.
func inspect(ctx context.Context, path string) error {
	switch fi, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return entropy.Errorf(entropy.CodeInvalid, "the journal %s cannot be opened: it is a directory", path).WithHint("name a file")
	case fi.Size() == 0:
		return nil
	}
	c, err := connect(path, modeRead, "")
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it was only read
	_, err = formatOf(ctx, c, path)
	return err
}

// formatOf returns the format of a journal, 0 for one that was just being made.
func formatOf(ctx context.Context, c *conn, path string) (int, error) {
	app, err1 := c.number(ctx, "PRAGMA application_id")
	version, err2 := c.number(ctx, "PRAGMA user_version")
	tables, err3 := c.number(ctx, "SELECT count(*) FROM sqlite_schema")
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, err
	}
	switch known := len(migrations()); {
	case app == 0 && tables == 0:
		return 0, nil
	case app != applicationID:
		return 0, entropy.Errorf(entropy.CodeInvalid, "%s is a database of another program", path).
			WithHint("move it away, or choose another data directory")
	case version > int64(known):
		return 0, entropy.Errorf(entropy.CodeInvalid, "%s has format %d, this program knows up to %d", path, version, known).
			WithHint("use the release that wrote it, or a newer one")
	}
	return int(version), nil
}

// tune sets what the driver does not, and asserts what must be so.
func (w *writer) tune(ctx context.Context, cfg *Config) error {
	for _, p := range []string{"cache_size=-65536", autocheckpoint(cfg), "journal_size_limit=67108864"} {
		if err := w.run("PRAGMA " + p); err != nil {
			return err
		}
	}
	journal, err1 := w.text(ctx, "PRAGMA journal_mode")
	sync, err2 := w.number(ctx, "PRAGMA synchronous")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if journal != "wal" || sync != 2 && !cfg.unsafe {
		return entropy.Errorf(entropy.CodeInternal, "SQLite did not take its settings: journal_mode=%s, synchronous=%d; acknowledged events could be lost", journal, sync).
			WithHint("is the data directory on a network file system? Move it to a local disk")
	}
	return nil
}

// migrations returns the names of the schema's steps, in order; step i makes
// format i+1. A released step never changes.
func migrations() []string {
	names, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return names
}

// migrate applies the steps that the file lacks, each in one transaction with its
// mark.
func (w *writer) migrate(ctx context.Context, now time.Time) error {
	have, err := w.number(ctx, "PRAGMA user_version")
	if err != nil {
		return err
	}
	for i, name := range migrations() {
		if int64(i) < have {
			continue
		}
		step, err := schema.ReadFile(name)
		if err != nil {
			return err
		}
		sql := "BEGIN IMMEDIATE;\n" + string(step) + fmt.Sprintf("\nPRAGMA application_id=%d;\nPRAGMA user_version=%d;\n", applicationID, i+1)
		if i == 0 {
			sql += fmt.Sprintf("INSERT INTO meta(k, v) VALUES ('cluster_id', '%s'), ('epoch', '1'), ('created', '%s');\n",
				entropy.NewID(), now.UTC().Format(time.RFC3339Nano))
		}
		if err := w.run(sql + "COMMIT;"); err != nil {
			return errors.Join(fmt.Errorf("migrate to format %d: %w", i+1, err), w.abandon(nil))
		}
	}
	return nil
}

// syncDir makes the names of new files durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // it was only read
	return d.Sync()
}

// openError says what is wrong with a file that cannot be opened, and what to do.
func openError(path string, err error) error {
	if _, ok := errors.AsType[*entropy.Error](err); ok {
		return err
	}
	if d, ok := errors.AsType[*damageError](err); ok {
		return damaged(path, d)
	}
	e, ok := errors.AsType[sqlite3.Error](err)
	switch {
	case !ok:
		return fmt.Errorf("open journal %s: %w", path, err)
	case e.Code == sqlite3.ErrNotADB:
		return entropy.Errorf(entropy.CodeInvalid, "%s is not a journal", path).WithHint("move it away, or choose another data directory")
	case isFull(e) || e.SystemErrno == syscall.ENOSPC:
		return entropy.Errorf(entropy.CodeDiskFull, "there is no room to open the journal %s", path).WithHint("free space on its file system")
	case e.Code == sqlite3.ErrCorrupt:
		return damaged(path, err)
	case e.Code == sqlite3.ErrCantOpen, e.Code == sqlite3.ErrReadonly, e.Code == sqlite3.ErrPerm:
		return entropy.Errorf(entropy.CodeInvalid, "the journal %s cannot be opened: %v", path, err).
			WithHint("does its directory exist, and may this user write it?")
	case e.Code == sqlite3.ErrBusy:
		return entropy.Errorf(entropy.CodeConflict, "another program has locked the journal %s", path).WithHint("find it with: fuser %s", path)
	}
	return fmt.Errorf("open journal %s: %w", path, err)
}

func damaged(path string, why error) error {
	return entropy.Errorf(entropy.CodeConflict, "the journal %s is damaged: %v", path, why).
		WithHint("keep a copy of it; see the extent with: entropy verify %s; then restore a backup", path)
}
