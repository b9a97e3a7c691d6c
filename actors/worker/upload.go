package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// artifactPiece is how much of an artifact one call carries, in bytes: what is
// lost with a connection.
const artifactPiece = 4 << 20

// upload brings results' logs and artifacts to the fabric, then passes them on
// to be completed.
func (s *session) upload() {
	for {
		next := s.n.out.uploads.take(s.ctx, 1)
		if len(next) == 0 {
			return
		}
		r := next[0]
		if !s.n.out.current(r) {
			continue
		}
		s.finishLogs(r)
		s.finishCheckpoint(r)
		err := s.stageAll(r)
		switch {
		case s.ctx.Err() != nil:
			s.n.out.uploads.put(r) // the next session goes on where this one was
			return
		case err != nil:
			s.giveUp(r, err.Error())
		default:
			s.n.out.ready.put(r)
		}
	}
}

// stageAll stages the artifacts of a result. An error means that they will never
// be complete; the end of the session leaves it unfinished without one.
func (s *session) stageAll(r *result) error {
	c := &r.exit.Completion
	for i, a := range c.Artifacts {
		if r.missing != nil && !slices.Contains(r.missing, a.SHA256) {
			continue
		}
		more, err := s.stage(r, c, a, r.exit.Files[i])
		if err != nil {
			return fmt.Errorf("artifact %s: %w", a.Name, err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// stage uploads one artifact piece by piece, from wherever the fabric has got
// to. It reports whether it is worth going on with the next.
func (s *session) stage(r *result, c *entropy.Completion, a entropy.Artifact, file spool.File) (more bool, err error) {
	f, err := workspace.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	wait := newBackoff()
	for offset := int64(0); s.ctx.Err() == nil; {
		n := min(artifactPiece, a.Size-offset)
		staged, err := s.stagePiece(c, a, offset, io.NewSectionReader(f, offset, n))
		switch code := entropy.ErrorCode(err); {
		case err == nil && staged >= a.Size:
			return true, nil
		case err == nil && staged > offset:
			offset, wait = staged, newBackoff()
			continue
		case err == nil: // the fabric has less than was thought: go back to there
			offset = max(0, staged)
		case code == entropy.CodeInvalid:
			if r.reuploads++; r.reuploads > maxReuploads {
				return false, fmt.Errorf("the content differs from its digest, %w", err)
			}
			offset = 0
		case code == entropy.CodeSuperseded || code == entropy.CodeNotFound || code == entropy.CodeForbidden:
			return false, nil // the completion will be told the same
		case code == entropy.CodeTooLarge:
			return false, err
		case s.ctx.Err() == nil:
			s.failed(err)
			s.n.trouble("an artifact could not be uploaded yet: "+a.Name, err)
		}
		wait.pause(s.ctx)
	}
	return false, nil
}

func (s *session) stagePiece(c *entropy.Completion, a entropy.Artifact, offset int64, piece io.Reader) (int64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*callTimeout) // a piece over the slowest of links
	defer cancel()
	return s.n.conf.Service.StageArtifact(ctx, entropy.ArtifactUpload{JobID: c.JobID, AssignmentID: c.AssignmentID,
		SHA256: a.SHA256, Size: a.Size, Offset: offset}, piece)
}

// logInterval is how often growing logs are shipped.
const logInterval = 300 * time.Millisecond

// logPatience is how many times a log may fail to be shipped, while the control
// plane answers otherwise, before its result goes without it.
const logPatience = 5

// shipLogs sends on what running jobs have written, while they run.
func (s *session) shipLogs() {
	if s.n.exec == nil {
		return
	}
	tick := time.NewTicker(logInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		running := s.n.slots.runningOn(s.n.exec)
		s.n.logs.prune(func(id entropy.AssignmentID) bool { return running[id] != "" || s.n.out.has(id) })
		for id, job := range running {
			for _, stream := range []string{workspace.Stdout, workspace.Stderr} {
				_ = s.shipLog(job, id, stream, s.n.exec.root.Dir(id)) // what fails is shipped with the end
			}
		}
	}
}

// finishLogs ships what is left of a result's logs, with bounded patience: a log
// that cannot be stored does not hold the result back for ever.
func (s *session) finishLogs(r *result) {
	c := &r.exit.Completion
	dir := s.dirOf(r)
	for stream, size := range map[string]int64{workspace.Stdout: r.exit.Stdout, workspace.Stderr: r.exit.Stderr} {
		if size == 0 {
			continue
		}
		wait, failures := newBackoff(), 0
		for failures < logPatience && s.ctx.Err() == nil {
			began := time.Now()
			err := s.shipLog(c.JobID, c.AssignmentID, stream, dir)
			if err == nil || hopelessLog(err) {
				break
			}
			if s.n.connected(began) || !unreachable(err) {
				failures++
			}
			if failures == logPatience {
				s.n.log.Warn("a log could not be stored; its result is reported without it", slog.String("assignment_id", string(c.AssignmentID)), slog.Any("error", err))
			}
			wait.pause(s.ctx)
		}
	}
}

func hopelessLog(err error) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeSuperseded, entropy.CodeTooLarge, entropy.CodeNotFound, entropy.CodeForbidden, entropy.CodeInvalid:
		return true
	}
	return errors.Is(err, fs.ErrNotExist)
}

func (s *session) dirOf(r *result) workspace.Dir {
	if r.ex == executor(s.n.hands) {
		return s.n.hands.root.Dir(r.exit.ID())
	}
	return s.n.exec.root.Dir(r.exit.ID())
}
