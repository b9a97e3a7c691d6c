package journal

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"

	"github.com/entropy-fabric/entropy"
)

// raw opens the file as a plain SQLite database, to do what a journal would not.
func raw(t *testing.T, path string, sql ...string) {
	t.Helper()
	c, err := connect(path, modeCreate, synchronous)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sql {
		if err := c.run(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// proves P-1: the setting without which acknowledged events are lost.
func TestEveryWritingConnectionIsFullySynchronous(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	for pragma, want := range map[string]int64{"synchronous": 2, "mmap_size": 0, "application_id": applicationID, "user_version": 2, "trusted_schema": 0} {
		if got, err := j.w.number(bg, "PRAGMA "+pragma); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", pragma, got, err, want)
		}
	}
	if mode, err := j.w.text(bg, "PRAGMA journal_mode"); err != nil || mode != "wal" {
		t.Errorf("journal_mode is %s, %v", mode, err)
	}
	// The check is not for show: with the driver's own default it refuses.
	c, err := connect(filepath.Join(t.TempDir(), "other.db"), modeCreate, "NORMAL")
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{conn: c}
	if err := w.tune(bg, new(Config)); entropy.ErrorCode(err) != entropy.CodeInternal || !strings.Contains(err.Error(), "synchronous=1") {
		t.Errorf("synchronous=NORMAL: got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTheLinkedSQLiteIsNewEnough(t *testing.T) {
	t.Parallel()
	if v, n, _ := sqlite3.Version(); n < minSQLite {
		t.Errorf("SQLite %s is linked", v)
	}
}

// proves P-1, P-2: identity and position survive; a new journal has its own.
func TestReopeningGoesOnWhereItEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path})
	id := j.ClusterID()
	if id == "" || j.Epoch() != 1 || j.Seq() != 0 {
		t.Fatalf("new journal: %q, epoch %d, seq %d", id, j.Epoch(), j.Seq())
	}
	for i := range 3 {
		runJob(t, j, name("j%d", i), "w1", uint64(i+1))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, Config{Path: path})
		if j.ClusterID() != id || j.Seq() != uint64(4*(i+1)) {
			t.Fatalf("reopened: %q, seq %d", j.ClusterID(), j.Seq())
		}
	}
	verified(t, j)
	if other := open(t, Config{}); other.ClusterID() == id {
		t.Error("two journals have one cluster id")
	}
}

// proves P-4: what is not ours, or is newer than us, is refused and not touched.
func TestWhatIsNotAJournalIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"a text file": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("not a database\n"), 100), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not a journal"},
		"another program's database": {func(t *testing.T, path string) {
			raw(t, path, "CREATE TABLE photos(x)", "PRAGMA user_version=3", "PRAGMA journal_mode=DELETE")
		}, "of another program"},
		"a newer journal": {func(t *testing.T, path string) {
			raw(t, path, "CREATE TABLE event(x)", "PRAGMA application_id=1164866674", "PRAGMA user_version=9", "PRAGMA journal_mode=DELETE")
		}, "has format 9"},
		"a directory": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "cannot be opened"},
		"no directory": {func(t *testing.T, path string) {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, "cannot be opened"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "d", "journal.db")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, err := Open(bg, Config{Path: path})
			if e := entropy.AsError(err); e == nil || e.Code != entropy.CodeInvalid || e.Hint == "" || !strings.Contains(e.Message, c.want) {
				t.Errorf("got %v, want an invalid-error that says %q", err, c.want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// A crash while the file was being made leaves nothing that stands in the way.
//
// proves P-1
func TestAHalfMadeJournalIsMadeAnew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	raw(t, path, "PRAGMA user_version=0")
	j := open(t, Config{Path: path})
	runJob(t, j, "j", "w", 1)
	verified(t, j)
	empty := filepath.Join(t.TempDir(), "journal.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	verified(t, open(t, Config{Path: empty}))
}

// A path may hold what a URI gives a meaning to.
func TestAnyPathWillDo(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"with space", "q?mode=memory", "100%25", "a#b", "ümläut"} {
		path := filepath.Join(t.TempDir(), dir, "journal.db")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		j := open(t, Config{Path: path})
		runJob(t, j, "j", "w", 1)
		verified(t, j)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigListsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := Open(bg, Config{QueueLimit: -1, MaxBatch: -1})
	for _, want := range []string{"path is empty", "QueueLimit", "MaxBatch"} {
		if entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	_, err = OpenReader(bg, filepath.Join(t.TempDir(), "none.db"))
	wantCode(t, err, entropy.CodeNotFound)
}

// proves P-2: damage that a crash cannot make is found at the next start when it
// is in the tail, and the message names the place and the next step.
func TestADamagedTailIsRefusedAtOpen(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"a changed body":  `UPDATE event SET body = replace(body, 'admin:test', 'admin:evil') WHERE seq = 5`,
		"a missing event": `DELETE FROM event WHERE seq = 6`,
		"a lost end":      `DELETE FROM event WHERE seq = 8`,
		"a changed seal":  `UPDATE batch_seal SET sha256 = zeroblob(32) WHERE last_seq = 7`,
		"no last seal":    `DELETE FROM batch_seal WHERE last_seq = 8`,
		"a short seal":    `UPDATE batch_seal SET sha256 = x'00' WHERE last_seq = 8`,
		"a swapped pair":  `UPDATE event SET seq = CASE seq WHEN 5 THEN 6 ELSE 5 END + 100 WHERE seq IN (5,6); UPDATE event SET seq = seq - 100 WHERE seq > 100`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "journal.db")
			j := open(t, Config{Path: path})
			runJob(t, j, "a", "w", 1)
			runJob(t, j, "b", "w", 2)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			raw(t, path, sql)
			_, err := Open(bg, Config{Path: path, Logger: slog.New(slog.DiscardHandler)})
			if e := entropy.AsError(err); e == nil || e.Code != entropy.CodeConflict || !strings.Contains(e.Hint, "entropy verify") {
				t.Errorf("got %v, want a refusal", err)
			}
			r, err := VerifyFile(bg, path)
			if err != nil || r.OK() {
				t.Errorf("verify found nothing: %s, %v", r.String(), err)
			}
		})
	}
}
