package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// The file has a line for each change: its CRC-32C in eight hexadecimal digits, a
// space, and JSON, which holds no line break. So a line that something damaged costs
// that line alone: those behind it are found again at the next break.
const (
	spoolFile   = "spool.log"
	damagedFile = "spool.damaged" // lines that could not be read, for a person to look at
	spoolFormat = 1
	crcDigits   = 8

	oldSuffix = ".json" // of the files, one for each attempt, that versions before this one kept
)

// line is one change; one of its fields is set.
type line struct {
	Format int               `json:"format,omitempty"` // the first line
	Put    *record           `json:"put,omitempty"`
	End    *ending           `json:"end,omitempty"`
	Forget entropy.AttemptID `json:"forget,omitempty"`
}

// ending is the result of an attempt that was put before.
type ending struct {
	Attempt entropy.AttemptID `json:"attempt"`
	Result  *entropy.Event    `json:"result"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (l *line) encode() ([]byte, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, crcDigits+len(body)+2)
	b = fmt.Appendf(b, "%08x ", crc32.Checksum(body, castagnoli))
	return append(append(b, body...), '\n'), nil
}

func (l *line) decode(b []byte) error {
	if len(b) < crcDigits+1 || b[crcDigits] != ' ' {
		return errors.New("it is no line of a spool")
	}
	sum, err := strconv.ParseUint(string(b[:crcDigits]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(b[crcDigits+1:], castagnoli) {
		return errors.New("its checksum does not match")
	}
	return json.Unmarshal(b[crcDigits+1:], l)
}

func (s *spool) path(name string) string { return filepath.Join(s.dir, name) }

// load reads what is there, and leaves a file that can be appended to.
func (s *spool) load() error {
	old, err := s.loadOld()
	if err != nil {
		return err
	}
	b, err := os.ReadFile(s.path(spoolFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	damaged, whole, err := s.replay(b)
	if err != nil {
		return err
	}
	if len(damaged) > 0 {
		if err := s.setAside(damaged); err != nil {
			return fmt.Errorf("keep what is damaged: %w", err)
		}
	}
	if !whole || len(old) > 0 || len(b) == 0 {
		err = s.rewrite()
	} else if s.file, err = os.OpenFile(s.path(spoolFile), os.O_RDWR, 0o600); err == nil {
		s.size, s.room = int64(len(bytes.TrimRight(b, "\x00"))), int64(len(b))
		err = s.sync(s.file) // what a killed process wrote may not be on disk yet
	}
	for _, name := range old {
		if err == nil { // it is in the file now
			err = os.Remove(name)
		}
	}
	return diskError(err, s.dir)
}

// replay applies the lines of b. It returns those that cannot be read; whole says that
// there are none, and no half of one at the end, which a crash cut off.
func (s *spool) replay(b []byte) (damaged []byte, whole bool, err error) {
	whole = true
	b = bytes.TrimRight(b, "\x00") // the room ahead
	for len(b) > 0 {
		text, rest, ended := bytes.Cut(b, []byte("\n"))
		b = rest
		var l line
		whole = whole && ended
		if l.decode(text) != nil { // without a break it is what a crash cut off
			if whole = false; ended && len(bytes.Trim(text, "\x00")) > 0 {
				damaged = append(append(damaged, text...), '\n')
			}
			continue
		}
		if l.Format > spoolFormat {
			return nil, false, entropy.Errorf(entropy.CodeConflict, "it has format %d, this program knows %d", l.Format, spoolFormat).
				WithHint("run the version that wrote it, or a newer one")
		}
		s.replayLine(&l, int64(len(text)+1))
	}
	return damaged, whole, nil
}

func (s *spool) replayLine(l *line, n int64) {
	switch {
	case l.Put != nil && l.Put.Order.AttemptID != "":
		s.remember(l.Put, n, false)
	case l.End != nil && s.records[l.End.Attempt] != nil:
		r := *s.records[l.End.Attempt].record
		r.Result = l.End.Result
		s.remember(&r, n, true)
	case l.End != nil && l.End.Result != nil: // its beginning was damaged: the report says all that is needed
		s.remember(&record{Order: entropy.ActionOrder{AttemptID: l.End.Attempt}, Result: l.End.Result}, n, false)
	case l.Forget != "":
		s.drop(l.Forget)
	}
}

// setAside appends lines to the file of those that could not be read.
func (s *spool) setAside(lines []byte) error {
	f, err := os.OpenFile(s.path(damagedFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	return errors.Join(err, s.sync(f), f.Close())
}

// loadOld reads the files of a version that kept one for each attempt, and returns
// their names. One that is damaged is set aside.
func (s *spool) loadOld() (names []string, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := s.path(e.Name())
		if strings.HasSuffix(e.Name(), ".new") { // the half of a write that a crash cut off
			if err := os.Remove(name); err != nil {
				return nil, err
			}
		}
		if !strings.HasSuffix(e.Name(), oldSuffix) {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		r := new(record)
		if err := json.Unmarshal(b, r); err != nil || r.Order.AttemptID == "" {
			if err := os.Rename(name, name+".damaged"); err != nil {
				return nil, err
			}
			continue
		}
		s.remember(r, int64(len(b)), false)
		names = append(names, name)
	}
	return names, nil
}

// rewrite writes what is known to a new file, durably, and takes it in place of the
// old one. The caller holds writing, or is the only one.
func (s *spool) rewrite() error {
	first := line{Format: spoolFormat}
	b, err := first.encode()
	if err != nil {
		return err
	}
	s.mu.Lock()
	live := make(map[*kept]int64, len(s.records)) // what each takes now
	for _, k := range s.records {
		l := line{Put: k.record}
		text, err := l.encode()
		if err != nil {
			s.mu.Unlock()
			return err
		}
		b, live[k] = append(b, text...), int64(len(text))
	}
	s.mu.Unlock()
	f, err := s.replace(append(b, make([]byte, s.ahead)...))
	if err != nil {
		return diskError(err, s.dir)
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.size, s.room, s.broken = f, int64(len(b)), int64(len(b)+s.ahead), false
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.records {
		s.live += live[k] - k.bytes // none was added: that takes writing
		k.bytes = live[k]
	}
	return nil
}

// replace writes a file, whole or not at all, and returns it.
func (s *spool) replace(b []byte) (_ *os.File, err error) {
	name := s.path(spoolFile)
	f, err := os.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err == nil {
		err = s.sync(f)
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		err = s.syncDir()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *spool) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(d), d.Close())
}
