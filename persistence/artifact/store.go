package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/entropy-fabric/entropy"
)

// The directories of a store. Blobs and logs are spread over sixteen each, few
// enough for calls that end together to share an fsync, enough for tens of
// millions of files.
const (
	blobDir     = "blob"     // blob/<first digit>/<sha256>
	tempDir     = "tmp"      // what a Put receives; emptied at Open
	stageDir    = "stage"    // stage/<assignment>/<sha256>, with ".part" until it is whole
	evidenceDir = "evidence" // evidence/<assignment>/…, as it was staged
	logDir      = "log"      // log/<digit>/<assignment>.<stream>
	lockFile    = "lock"
	digits      = "0123456789abcdef"

	checkpointDir = "checkpoint" // checkpoint/<job>/<sha256>
)

// Store is a content-addressed store with resumable upload, and a store of job
// logs. It is safe for concurrent use.
type Store struct {
	conf Config
	lock *os.File
	disk *disk
	dirs *dirSync

	// life is read-held by whatever changes the disk, and taken by Close.
	life   sync.RWMutex
	closed bool

	mu       sync.Mutex
	settling map[string]int // blobs renamed into place whose directory is not yet synced
	staging  map[entropy.AssignmentID]*staging

	logs     logLocks
	evidence evidence
}

// Open opens the store in conf.Dir, or makes one. It removes only what a Put was
// receiving when the last process ended. CodeConflict when another process has
// the store open.
func Open(conf Config) (*Store, error) { return open(conf, realDisk()) }

func open(conf Config, d *disk) (*Store, error) {
	conf = conf.withDefaults()
	if err := conf.validate(); err != nil {
		return nil, err
	}
	s := &Store{conf: conf, disk: d, dirs: &dirSync{disk: d}, settling: make(map[string]int), staging: make(map[entropy.AssignmentID]*staging)}
	_, err := os.Stat(conf.Dir)
	created := errors.Is(err, fs.ErrNotExist)
	if err := s.makeDirs(); err != nil {
		return nil, s.fault("open artifact store", err)
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.recover(created); err != nil {
		return nil, errors.Join(s.fault("open artifact store", err), s.lock.Close())
	}
	return s, nil
}

func (s *Store) makeDirs() error {
	for _, dir := range []string{tempDir, stageDir, evidenceDir, checkpointDir} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	for i := range digits {
		for _, dir := range []string{blobDir, logDir} {
			if err := os.MkdirAll(s.path(dir, digits[i:i+1]), 0o700); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeLock makes sure that no other process works on the directory (P-6).
func (s *Store) takeLock() error {
	f, err := os.OpenFile(s.path(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return s.fault("open artifact store", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return entropy.Errorf(entropy.CodeConflict, "the artifact store in %s is open in another process", s.conf.Dir).
				WithHint("stop the other control plane, or use another data directory with --data")
		}
		return fmt.Errorf("lock artifact store: %w", err)
	}
	s.lock = f
	return nil
}

// recover clears away unfinished puts and makes durable what the last process
// may have renamed without living to sync it.
func (s *Store) recover(created bool) error {
	left, err := os.ReadDir(s.path(tempDir))
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(s.path(tempDir, e.Name())); err != nil {
			return err
		}
	}
	if err := s.evidence.load(s.path(evidenceDir)); err != nil {
		return err
	}
	sync := []string{s.conf.Dir, s.path(blobDir), s.path(logDir)}
	if created {
		sync = append(sync, filepath.Dir(s.conf.Dir))
	}
	for i := range digits {
		sync = append(sync, s.path(blobDir, digits[i:i+1]), s.path(logDir, digits[i:i+1]))
	}
	return s.dirs.Sync(sync...)
}

// Close lets the directory go. It waits for what is being written, not for what
// is being received: a call under way fails at its next step. Content that was
// opened stays readable.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.staging {
		st.closeFiles()
	}
	return s.lock.Close()
}

// enter begins a step that changes the disk; leave ends it. Steps do not nest.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return entropy.Errorf(entropy.CodeUnavailable, "the artifact store is closed").WithHint("repeat it when the control plane is up again")
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.conf.Dir}, parts...)...)
}
