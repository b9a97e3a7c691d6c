package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Config says whose checkpoints are saved or restored, and where.
type Config struct {
	Dir          Dir
	JobID        entropy.JobID
	AssignmentID entropy.AssignmentID
	Logger       *slog.Logger
}

// Result is what became of a [Saver.Save].
type Result int

// The results.
const (
	Nothing Result = iota // there was none to save
	Saved                 // it is the job's newest checkpoint
	Refused               // it never will be; the job and the fabric were told why
	Over                  // the assignment may save no more
)

// Saver saves the checkpoints of one assignment, one at a time. Its methods may be
// called from any goroutine.
type Saver struct {
	conf Config
	mu   sync.Mutex // held while one is saved
	base *base      // nil: not read yet

	waiting      string // the entry that is not settled
	waitingSince time.Time
	complained   bool // about that entry
}

// New returns a saver. It touches no disk.
func New(conf Config) *Saver {
	if conf.Logger == nil {
		conf.Logger = slog.New(slog.DiscardHandler)
	}
	conf.Logger = conf.Logger.With(slog.String("job_id", string(conf.JobID)), slog.String("assignment_id", string(conf.AssignmentID)))
	return &Saver{conf: conf}
}

// settleLimit is how long an entry of ready/ may be open for writing before that
// is reported.
const settleLimit = 30 * time.Second

// Save saves the newest entry of ready/, or goes on with one that it could not
// finish if there is none newer. With final, the job's processes are gone: what is
// in ready/ is whole. On an error it should be called again: what was sent is not
// sent again.
func (s *Saver) Save(ctx context.Context, remote entropy.CheckpointService, final bool) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == nil {
		b := s.conf.Dir.loadBase()
		s.base = &b
	}
	name, err := s.next(ctx, remote, final)
	if name == "" || err != nil {
		return Nothing, err
	}
	err = s.save(ctx, remote, name)
	if no, ok := errors.AsType[*refused](err); ok {
		err = s.refuse(ctx, remote, name, no.why)
		if err == nil || entropy.ErrorCode(err) == entropy.CodeInvalid {
			return Refused, s.conf.Dir.remove(entryDir)
		}
	}
	if over(err) {
		return Over, s.conf.Dir.remove(entryDir)
	}
	if err != nil {
		return Nothing, err
	}
	return Saved, s.conf.Dir.remove(entryDir)
}

// over reports whether the assignment may not save any more.
func over(err error) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeSuperseded, entropy.CodeForbidden, entropy.CodeNotFound:
		return true
	}
	return false
}

// next returns the name of the entry to save, which it has taken, or "": the newest
// that nobody writes any more. A job that marks one after the other without a
// pause must not keep all of them from being saved.
func (s *Saver) next(ctx context.Context, remote entropy.CheckpointService, final bool) (string, error) {
	d := s.conf.Dir
	names, err := d.marked()
	if err != nil {
		return "", err
	}
	now := time.Now()
	for i, name := range names {
		if final || d.settled(name, now) {
			s.waiting = ""
			if err := d.take(name); err != nil {
				return "", fmt.Errorf("take checkpoint: %w", err)
			}
			return name, d.drop(names[i+1:])
		}
	}
	if len(names) == 0 {
		s.waiting = ""
	} else if name := names[0]; s.waiting != name {
		s.waiting, s.waitingSince, s.complained = name, now, false
	} else if !s.complained && now.Sub(s.waitingSince) > settleLimit {
		s.complained = true
		return "", s.refuse(ctx, remote, name, fmt.Sprintf("ready/%s is still being written, %s after it appeared: write it elsewhere and rename it into ready/ when it is done", name, settleLimit))
	}
	return d.taken(), nil
}

// refuse tells the job, the log and the fabric that a checkpoint is not saved.
func (s *Saver) refuse(ctx context.Context, remote entropy.CheckpointService, name, why string) error {
	s.conf.Logger.Warn("a checkpoint is not saved", slog.String("checkpoint", name), slog.String("why", why))
	s.say("refused %s: %s", name, why)
	return remote.OfferCheckpoint(ctx, entropy.CheckpointOffer{JobID: s.conf.JobID, AssignmentID: s.conf.AssignmentID, Refused: why})
}

func (s *Saver) say(format string, args ...any) {
	if err := s.conf.Dir.say(fmt.Sprintf(format, args...)); err != nil {
		s.conf.Logger.Warn("the job cannot be told of its checkpoint", slog.Any("error", err))
	}
}

// maxRounds bounds how often a commit may be answered with something missing.
const maxRounds = 4

// save reads the entry that was taken, sends what is new and commits it.
func (s *Saver) save(ctx context.Context, remote entropy.CheckpointService, name string) error {
	began := time.Now()
	before := s.base.Manifest
	average := 0
	if before != nil {
		average = before.ChunkSize
	}
	entry, err := scan(ctx, s.conf.Dir.entry(), name, s.conf.Dir.maxSize(), average)
	if err != nil {
		return err
	}
	defer entry.root.Close()
	for range maxRounds {
		var missing []string
		p := newPlan(entry, before)
		if missing, err = s.send(ctx, remote, p); err != nil {
			return explain(err)
		}
		if len(missing) == 0 {
			s.conf.Logger.Info("checkpoint saved", slog.String("checkpoint", name), slog.Uint64("seq", s.base.Seq),
				slog.Int64("bytes", entry.Size()), slog.Int64("sent", p.upload), slog.Duration("took", time.Since(began)))
			s.say("saved %s as %d", name, s.base.Seq)
			return nil
		}
		if slices.ContainsFunc(p.kept, func(k entropy.CheckpointPart) bool { return slices.Contains(missing, k.SHA256) }) {
			s.conf.Logger.Warn("parts of the checkpoint before are gone; everything is sent again")
			before = nil
		}
	}
	return refuse("its parts are missing again and again")
}

// explain turns what the fabric will not take into a refusal.
func explain(err error) error {
	switch entropy.ErrorCode(err) {
	case entropy.CodeTooLarge, entropy.CodeDiskFull, entropy.CodeInvalid:
		if e, ok := errors.AsType[*entropy.Error](err); ok {
			return refuse("%s", e.Error())
		}
	}
	return err
}

// send sends the new packs and the manifest, and commits. It returns the parts
// that were missing nevertheless.
func (s *Saver) send(ctx context.Context, remote entropy.CheckpointService, p *plan) (missing []string, err error) {
	offer := entropy.CheckpointOffer{JobID: s.conf.JobID, AssignmentID: s.conf.AssignmentID, Size: p.Size(), Upload: p.upload}
	if err := remote.OfferCheckpoint(ctx, offer); err != nil {
		return nil, err
	}
	sent := make([]entropy.CheckpointPart, 0, len(p.send))
	buf := make([]byte, entropy.MaxCheckpointPack)
	for _, pack := range p.send {
		b, err := p.build(pack, buf)
		if err != nil {
			return nil, err
		}
		sent = append(sent, partOf(b))
		if err := s.put(ctx, remote, sent[len(sent)-1], b); err != nil {
			return nil, err
		}
	}
	m, err := p.manifest(sent)
	if err != nil {
		return nil, err
	}
	b, part, err := m.Encode()
	if err != nil {
		return nil, err
	}
	if err := s.put(ctx, remote, part, b); err != nil {
		return nil, err
	}
	return s.commit(ctx, remote, m, part, p.upload+part.Size)
}

func (s *Saver) put(ctx context.Context, remote entropy.CheckpointService, part entropy.CheckpointPart, b []byte) error {
	return remote.PutCheckpointPart(ctx, entropy.CheckpointUpload{JobID: s.conf.JobID, AssignmentID: s.conf.AssignmentID, CheckpointPart: part}, bytes.NewReader(b))
}

// commit makes the checkpoint the job's newest, and the base of the next. A seq
// that was used for one whose answer was lost is passed over.
func (s *Saver) commit(ctx context.Context, remote entropy.CheckpointService, m *entropy.CheckpointManifest, part entropy.CheckpointPart, sent int64) (missing []string, err error) {
	for range maxRounds {
		c := entropy.CheckpointCommit{JobID: s.conf.JobID, AssignmentID: s.conf.AssignmentID, Seq: s.base.Seq + 1, Manifest: part, Uploaded: sent}
		reply, err := remote.CommitCheckpoint(ctx, c)
		if entropy.ErrorCode(err) == entropy.CodeConflict {
			s.base.Seq++
			continue
		}
		if err != nil || len(reply.Missing) > 0 {
			return reply.Missing, err
		}
		s.base = &base{Seq: c.Seq, Manifest: m}
		if err := writeJSON(s.conf.Dir.base(), s.base); err != nil {
			s.conf.Logger.Warn("the base of the next checkpoint is not on disk: a new agent sends everything again", slog.Any("error", err))
		}
		return nil, nil
	}
	return nil, fmt.Errorf("commit checkpoint: every seq up to %d is taken", s.base.Seq)
}
