package spool

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Sync blocks until everything appended before the call is durable.
func (s *Spool) Sync(ctx context.Context) error {
	s.mu.Lock()
	target := s.written
	for s.durable < target && s.failed == nil {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.failed
}

// syncer makes what was written durable, group by group, until Close.
func (s *Spool) syncer() {
	defer close(s.done)
	for range s.dirty {
		s.mu.Lock()
		f, target := s.f, s.written
		s.mu.Unlock()
		err := s.flush(f)

		s.mu.Lock()
		if err != nil {
			// After a failed fsync the kernel may call lost pages clean: no later
			// success would mean anything.
			s.fail(fmt.Errorf("fsync spool: %w", err))
			s.conf.Logger.Error("the spool cannot be made durable; the worker stops taking part", slog.Any("error", err))
		} else {
			s.durable = max(s.durable, target)
			s.compactIfWasteful()
			s.broadcast()
		}
		s.mu.Unlock()
	}
}

func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// compactIfWasteful rewrites the file when most of it is about decided
// assignments. It runs in the syncer, so no fsync of the old file is under way.
// The caller holds mu.
func (s *Spool) compactIfWasteful() {
	if s.failed != nil || s.size < s.conf.CompactAt || s.size < 2*s.live {
		return
	}
	if err := s.compact(); err != nil {
		s.conf.Logger.Warn("the spool could not be compacted; it goes on growing", slog.Any("error", err))
		s.conf.CompactAt = 2 * s.size // do not try at every group
	}
}

// compact writes what is still needed beside the file and renames it over the
// file. The caller holds mu.
func (s *Spool) compact() error {
	b, err := s.encodeLive()
	if err != nil {
		return err
	}
	tmp := s.conf.Path + ".new"
	f, err := writeFile(tmp, b)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, s.conf.Path); err != nil {
		f.Close()
		return err
	}
	if err := syncDir(filepath.Dir(s.conf.Path)); err != nil {
		// Which of the two files a power cut would leave is now unknown.
		s.fail(fmt.Errorf("fsync spool directory: %w", err))
	}
	s.f.Close()
	s.f, s.size, s.durable = f, int64(len(b)), s.written
	return nil
}

// encodeLive returns the contents of a file with what is still needed.
func (s *Spool) encodeLive() ([]byte, error) {
	b, err := appendRecord([]byte(headerLine), &record{Header: &header{Format: format, ID: s.id, NextSeq: s.nextSeq}})
	if err != nil {
		return nil, err
	}
	for _, e := range s.entries {
		if e.exit != nil {
			continue
		}
		if b, err = e.encode(b); err != nil {
			return nil, err
		}
	}
	for _, e := range s.ended { // in the order of their numbers
		if b, err = e.encode(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (e *entry) encode(b []byte) ([]byte, error) {
	b, err := appendRecord(b, &record{Start: e.start})
	if err == nil && e.process != nil {
		b, err = appendRecord(b, &record{Process: e.process})
	}
	if err == nil && e.exit != nil {
		b, err = appendRecord(b, &record{Exit: e.exit})
	}
	return b, err
}

// writeFile makes a durable file of the given contents and leaves it open. On
// an error nothing is left.
func writeFile(path string, b []byte) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f, nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close makes everything durable and closes the file. No other call may be in
// progress or follow, but Exits and Sync, which return ErrClosed.
func (s *Spool) Close() error {
	err := s.Sync(context.Background())
	s.mu.Lock()
	s.fail(ErrClosed)
	s.mu.Unlock()
	close(s.dirty)
	<-s.done
	if cerr := s.f.Close(); err == nil {
		err = cerr
	}
	return err
}
