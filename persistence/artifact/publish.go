package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entropy-fabric/entropy"
)

// Publish moves the artifacts of an assignment from its staging into the content
// store, makes its logs durable, and returns when all of that survives a power
// loss. It returns the hashes that are neither staged whole nor stored, each
// once; then the others are stored nevertheless. It is idempotent. Call it
// before the completion is journaled: a blob that nothing refers to is harmless,
// a record that refers to no blob is not.
func (s *Store) Publish(ctx context.Context, a entropy.AssignmentID, arts []entropy.Artifact) (missing []string, err error) {
	if err := s.checkArtifacts(a, arts); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(arts) == 0 {
		return nil, s.sealLogs(a, nil)
	}
	st, err := s.acquire(a)
	if err != nil {
		return nil, s.fault("publish artifacts", err)
	}
	defer s.release(a, st)
	st.publishing.Lock()
	defer st.publishing.Unlock()
	moves, missing, err := s.plan(ctx, a, arts)
	if err != nil {
		return nil, err
	}
	if err := s.sealLogs(a, moves); err != nil {
		return nil, err
	}
	s.emptied(a, st, moves)
	return missing, nil
}

// plan finds what is to be moved and what is missing.
func (s *Store) plan(ctx context.Context, a entropy.AssignmentID, arts []entropy.Artifact) (moves []move, missing []string, err error) {
	seen := make(map[string]bool, len(arts))
	for _, art := range arts {
		if seen[art.SHA256] {
			continue
		}
		seen[art.SHA256] = true
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("publish artifacts: %w", context.Cause(ctx))
		}
		ok, err := s.stored(art.SHA256, art.Size)
		if err != nil {
			return nil, nil, err
		}
		from := s.path(stageDir, string(a), art.SHA256)
		if ok {
			os.Remove(from) // a second copy; if it stays, it becomes evidence
			continue
		}
		if info, err := os.Stat(from); err != nil || info.Size() != art.Size {
			missing = append(missing, art.SHA256)
			continue
		}
		moves = append(moves, move{from: from, sum: art.SHA256, size: art.Size})
	}
	return moves, missing, nil
}

func (s *Store) checkArtifacts(a entropy.AssignmentID, arts []entropy.Artifact) error {
	if err := entropy.ValidateID("assignment id", string(a)); err != nil {
		return err
	}
	if len(arts) > entropy.MaxJobArtifacts {
		return entropy.Errorf(entropy.CodeTooLarge, "%d artifacts are too many, at most %d are allowed", len(arts), entropy.MaxJobArtifacts)
	}
	for _, art := range arts {
		if err := s.checkContent(art.SHA256, art.Size); err != nil {
			return err
		}
		if art.Size < 0 {
			return entropy.Errorf(entropy.CodeInvalid, "artifact %.80q has a negative size", art.Name)
		}
	}
	return nil
}

// sealLogs makes the logs of an assignment durable, and admits the moves with
// the same wait.
func (s *Store) sealLogs(a entropy.AssignmentID, moves []move) error {
	logs := false
	for _, stream := range streams {
		f, err := os.Open(s.logPath(a, stream))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s.fault("publish log", err)
		}
		err = s.disk.sync(f)
		f.Close()
		if err != nil {
			return s.fault("publish log", err)
		}
		logs = true
	}
	if len(moves) > 0 {
		if err := s.admit(moves...); err != nil {
			return err
		}
	}
	if logs {
		if err := s.dirs.Sync(filepath.Dir(s.logPath(a, streams[0]))); err != nil {
			return s.fault("publish log", err)
		}
	}
	return nil
}
