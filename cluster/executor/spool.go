package executor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// record is what the spool knows of an attempt that was begun.
type record struct {
	Order  entropy.ActionOrder `json:"order"`
	Event  entropy.Event       `json:"event"`            // the order's envelope, without its attrs
	Result *entropy.Event      `json:"result,omitempty"` // the report that ends it; nil: it had not ended
}

// spool remembers the attempts that were begun until their results are answered:
// one file for each, whole or not there, durable when a call returns. Without a
// directory it is memory only.
//
// Its methods may be called from any goroutine.
type spool struct {
	dir  string
	lock *os.File

	mu      sync.Mutex
	records map[entropy.AttemptID]*record
}

const suffix = ".json"

// openSpool opens the directory, or makes it, and reads what is there.
func openSpool(dir string) (*spool, error) {
	s := &spool{dir: dir, records: map[entropy.AttemptID]*record{}}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		return nil, entropy.Errorf(entropy.CodeConflict, "the spool %s is another process's: %v", dir, err).
			WithHint("give each executor a spool directory of its own")
	}
	if err := s.load(); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	return s, nil
}

// load reads the files. One that is not a record was damaged by something else
// than a crash; it is set aside for a person to look at, because nothing may
// keep the others from being reported.
func (s *spool) load() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(s.dir, e.Name())
		if strings.HasSuffix(e.Name(), ".new") { // the half of a write that a crash cut off
			if err := os.Remove(name); err != nil {
				return err
			}
		}
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		r := new(record)
		if err := json.Unmarshal(b, r); err != nil || r.Order.AttemptID == "" {
			if err := os.Rename(name, name+".damaged"); err != nil {
				return err
			}
			continue
		}
		s.records[r.Order.AttemptID] = r
	}
	return nil
}

func (s *spool) close() {
	if s.lock != nil {
		s.lock.Close()
	}
}

// all returns what is known now.
func (s *spool) all() []*record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rs []*record
	for _, r := range s.records {
		rs = append(rs, r)
	}
	return rs
}

func (s *spool) has(id entropy.AttemptID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[id] != nil
}

// put remembers r, in place of what was known of its attempt.
func (s *spool) put(r *record) error {
	if s.dir != "" {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		if err := s.write(s.path(r.Order.AttemptID), b); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	s.mu.Lock()
	s.records[r.Order.AttemptID] = r
	s.mu.Unlock()
	return nil
}

func (s *spool) write(name string, b []byte) error {
	tmp := name + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// forget removes an attempt whose result was answered. A crash may bring it
// back: then it is reported once more, and answered as superseded.
func (s *spool) forget(id entropy.AttemptID) error {
	s.mu.Lock()
	delete(s.records, id)
	s.mu.Unlock()
	if s.dir == "" {
		return nil
	}
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// path returns the file of an attempt. An ID that cannot be a file's name is hashed.
func (s *spool) path(id entropy.AttemptID) string {
	name := string(id)
	if entropy.ValidateID("attempt", name) != nil {
		h := sha256.Sum256([]byte(name))
		name = "x-" + hex.EncodeToString(h[:])
	}
	return filepath.Join(s.dir, name+suffix)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
