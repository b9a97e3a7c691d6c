package worker

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// shipments remembers how much of each log the fabric has.
type shipments struct {
	mu   sync.Mutex
	logs map[entropy.AssignmentID]*[2]shipment
}

// shipment is the state of one stream of one assignment.
type shipment struct {
	mu     sync.Mutex // held while a piece is on its way
	stored int64
}

func newShipments() *shipments { return &shipments{logs: map[entropy.AssignmentID]*[2]shipment{}} }

func (s *shipments) of(id entropy.AssignmentID, stream string) *shipment {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.logs[id]
	if p == nil {
		p = new([2]shipment)
		s.logs[id] = p
	}
	if stream == workspace.Stderr {
		return &p[1]
	}
	return &p[0]
}

func (s *shipments) forget(ds []spool.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		delete(s.logs, d.AssignmentID)
	}
}

// prune forgets the logs of assignments that are of no interest any more.
func (s *shipments) prune(keep func(entropy.AssignmentID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.logs {
		if !keep(id) {
			delete(s.logs, id)
		}
	}
}

// shipLog sends what the fabric does not have of a log. A log that does not
// exist yet is complete. After a restart of the agent it begins with the first
// piece, and the answer says how far the fabric has got.
func (s *session) shipLog(job entropy.JobID, id entropy.AssignmentID, stream string, dir workspace.Dir) error {
	p := s.n.logs.of(id, stream)
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := os.Open(dir.Log(stream))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() <= p.stored {
		return err
	}
	buf := make([]byte, entropy.MaxLogPiece)
	for stuck := 0; ; {
		n, err := f.ReadAt(buf, p.stored)
		if n == 0 {
			if err == io.EOF {
				return nil
			}
			return err
		}
		stored, err := s.appendLog(entropy.LogUpload{JobID: job, AssignmentID: id, Stream: stream, Offset: p.stored}, buf[:n])
		if err != nil {
			return err
		}
		if stored <= p.stored {
			if stuck++; stuck > logPatience {
				return entropy.Errorf(entropy.CodeInternal, "the control plane has %d bytes of %s and takes no more", stored, stream)
			}
		}
		p.stored = stored // less after the fabric was restored
	}
}

func (s *session) appendLog(u entropy.LogUpload, piece []byte) (int64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	return s.n.conf.Service.AppendLog(ctx, u, piece)
}
