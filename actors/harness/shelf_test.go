package harness

import (
	"bytes"
	"context"
	"io"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// shelf is a control plane's store. What was stored is in the world and outlives
// the process; what was only staged may be lost with it.
type shelf struct {
	w     *world
	plane *plane
}

var _ actors.Store = (*shelf)(nil)

// stored is what all lives of the control plane share.
type stored struct {
	blobs  map[string][]byte
	staged map[entropy.AssignmentID]map[string][]byte
}

func newStored() stored {
	return stored{blobs: make(map[string][]byte), staged: make(map[entropy.AssignmentID]map[string][]byte)}
}

// loseStaged drops what was not published when the process died.
func (s *stored) loseStaged() { clear(s.staged) }

func (s *shelf) alive() bool { return s.w.con.alive(s.plane) }

// Put and the methods below are what actors.Store says of them.
func (s *shelf) Put(_ context.Context, hash string, _ int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil || !s.alive() {
		return gone()
	}
	s.w.stored.blobs[hash] = b
	return nil
}

func (s *shelf) Missing(hashes []string) (missing []string) {
	if !s.alive() {
		return hashes
	}
	for _, h := range hashes {
		if _, ok := s.w.stored.blobs[h]; !ok {
			missing = append(missing, h)
		}
	}
	return missing
}

func (s *shelf) Open(hash string) (io.ReadSeekCloser, int64, error) {
	if !s.alive() {
		return nil, 0, gone()
	}
	b, ok := s.w.stored.blobs[hash]
	if !ok {
		return nil, 0, entropy.Errorf(entropy.CodeNotFound, "no blob %s", hash)
	}
	return blob{bytes.NewReader(b)}, int64(len(b)), nil
}

type blob struct{ *bytes.Reader }

func (blob) Close() error { return nil }

func (s *shelf) Stage(_ context.Context, a entropy.AssignmentID, hash string, _, _ int64, r io.Reader) (int64, error) {
	b, err := io.ReadAll(r)
	if err != nil || !s.alive() {
		return 0, gone()
	}
	if s.w.stored.staged[a] == nil {
		s.w.stored.staged[a] = make(map[string][]byte)
	}
	s.w.stored.staged[a][hash] = b
	return int64(len(b)), nil
}

func (s *shelf) Publish(_ context.Context, a entropy.AssignmentID, arts []entropy.Artifact) (missing []string, err error) {
	if !s.alive() {
		return nil, gone()
	}
	for _, art := range arts {
		if b, ok := s.w.stored.staged[a][art.SHA256]; ok {
			s.w.stored.blobs[art.SHA256] = b
		} else if _, ok := s.w.stored.blobs[art.SHA256]; !ok {
			missing = append(missing, art.SHA256)
		}
	}
	return missing, nil
}

func (s *shelf) Discard(a entropy.AssignmentID) {
	if s.alive() {
		delete(s.w.stored.staged, a)
	}
}

func (s *shelf) AppendLog(entropy.AssignmentID, string, int64, []byte) (int64, error) { return 0, nil }

func (s *shelf) ReadLog(entropy.AssignmentID, string, int64, int) ([]byte, int64, error) {
	return nil, 0, nil
}

func (s *shelf) LogSize(entropy.AssignmentID, string) int64 { return 0 }
