package spool

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/entropy-fabric/entropy"
)

func (c Config) withDefaults() Config {
	if c.CompactAt == 0 {
		c.CompactAt = 8 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Open opens the spool at conf.Path, or makes one.
func Open(conf Config) (*Spool, error) { return open(conf, fdatasync) }

func open(conf Config, flush func(*os.File) error) (*Spool, error) {
	conf = conf.withDefaults()
	s := &Spool{conf: conf, flush: flush, nextSeq: 1, entries: map[entropy.AssignmentID]*entry{},
		changed: make(chan struct{}), dirty: make(chan struct{}, 1), done: make(chan struct{})}
	b, err := os.ReadFile(conf.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = s.create()
	case err == nil:
		err = s.load(b)
	}
	if err != nil {
		return nil, fmt.Errorf("open spool %s: %w", conf.Path, err)
	}
	s.durable = s.written
	go s.syncer()
	return s, nil
}

func (s *Spool) create() error {
	var id [16]byte
	rand.Read(id[:]) // never fails: crypto/rand documents it
	s.id = hex.EncodeToString(id[:])
	return s.writeFirst()
}

// writeFirst writes the first file of a spool, whole or not at all.
func (s *Spool) writeFirst() error {
	b, err := s.encodeLive()
	if err != nil {
		return err
	}
	tmp := s.conf.Path + ".new"
	if s.f, err = writeFile(tmp, b); err != nil {
		return err
	}
	s.size = int64(len(b))
	if err := os.Rename(tmp, s.conf.Path); err != nil {
		s.f.Close()
		return err
	}
	return syncDir(filepath.Dir(s.conf.Path))
}

// load reads the file's contents and cuts off what a crash left half-written.
func (s *Spool) load(b []byte) error {
	good, err := s.replay(b)
	if good == 0 {
		return fmt.Errorf("it does not begin as a spool: %w", err)
	}
	if s.f, err = os.OpenFile(s.conf.Path, os.O_RDWR, 0o600); err != nil {
		return err
	}
	s.size = int64(good)
	if good < len(b) {
		if err := s.cut(b, good); err != nil {
			s.f.Close()
			return err
		}
	}
	// What a killed process had written may not be on disk yet.
	return s.f.Sync()
}

// replay applies the records of b and returns where the good part ends: 0 when
// b has no header.
func (s *Spool) replay(b []byte) (good int, err error) {
	if !bytes.HasPrefix(b, []byte(headerLine)) {
		return 0, errors.New("the first line is not that of a spool")
	}
	at := len(headerLine)
	for first := true; at < len(b); first = false {
		r, n, err := readRecord(b[at:])
		switch {
		case err != nil:
			return good, err
		case first && (r.Header == nil || r.Header.ID == ""):
			return 0, errors.New("the first record is not a header")
		case first && r.Header.Format != format:
			return 0, fmt.Errorf("it has format %d, this program knows %d", r.Header.Format, format)
		case first:
			s.id, s.nextSeq = r.Header.ID, max(1, r.Header.NextSeq)
		default:
			s.written++
			s.apply(&r, int64(n))
		}
		at += n
		good = at
	}
	return good, nil
}

// cut removes everything from good on, keeping it in a file for inspection: it
// is normally the half-written end of records that were never reported.
func (s *Spool) cut(b []byte, good int) error {
	tail := b[good:]
	keep := ""
	if len(bytes.Trim(tail, "\x00")) > 0 {
		keep = fmt.Sprintf("%s.damaged-%s", s.conf.Path, time.Now().UTC().Format("20060102T150405.000"))
		f, err := writeFile(keep, tail)
		if err != nil {
			return fmt.Errorf("keep the damaged end: %w", err)
		}
		f.Close()
	}
	s.conf.Logger.Warn("the spool ended in an incomplete record, which was cut off",
		slog.Int("bytes", len(tail)), slog.Int("kept_records", int(s.written)), slog.String("kept_in", keep))
	return s.f.Truncate(int64(good))
}
