package actors

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
)

// savedLiveness is who was heard when, as it is on the disk.
type savedLiveness struct {
	writing chan struct{} // has room for one: who writes
	onDisk  atomic.Pointer[Liveness]
}

func newSavedLiveness(l Liveness) *savedLiveness {
	s := &savedLiveness{writing: make(chan struct{}, 1)}
	s.onDisk.Store(&l)
	return s
}

// overlooked returns by how much longer silent than it is a restart could take a
// worker that is heard now, by what is on the disk. Restarts do not add to it: each
// goes on from the same record.
func (s *System) overlooked(w entropy.WorkerID) time.Duration {
	l := s.saved.onDisk.Load()
	heard, ok := l.Heard[w]
	if !ok {
		return 0 // a restart takes it for heard just before
	}
	return max(0, l.Listening-heard-s.restartSlack())
}

// heardOnDisk returns when a restart would not take a worker that was just heard
// for more silent than it is. A restart adds restartSlack to what the disk has, so
// that a worker which reports regularly never waits here. One that was silent for
// longer when that was saved does, once: its trust in its leases is renewed by the
// answer, and must not end before they do (L-2, L-3). The harness found that it could.
func (s *System) heardOnDisk(ctx context.Context, w entropy.WorkerID) error {
	if s.overlooked(w) == 0 {
		return nil
	}
	return s.saveLiveness(ctx)
}

// renewed completes the answer to a heartbeat. While the disk is full it cannot be
// made to renew a whole lease of a worker that was silent when that was last saved,
// and is not kept back either (H-3): it says how much of the lease would be left
// after a restart at once. The next heartbeat renews as much again.
func (s *System) renewed(ctx context.Context, w entropy.WorkerID, reply *entropy.HeartbeatReply) error {
	err := s.heardOnDisk(ctx, w)
	if entropy.ErrorCode(err) != entropy.CodeDiskFull {
		return err
	}
	reply.Deduct = entropy.Duration(min(s.overlooked(w), s.cfg.LeaseTTL))
	return nil
}

// saveLiveness writes who was heard when, one writer after the other.
func (s *System) saveLiveness(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return entropy.Errorf(entropy.CodeUnavailable, "the call was given up: %v", err)
	}
	wait := s.host.Enter()
	select {
	case s.saved.writing <- struct{}{}:
	case <-ctx.Done():
		wait()
		return entropy.Errorf(entropy.CodeUnavailable, "the call was given up: %v", ctx.Err())
	}
	wait()
	defer func() { <-s.saved.writing }()
	l := Liveness{Listening: s.listening.Elapsed(), Heard: s.registry.Heard()}
	if len(l.Heard) == 0 {
		return nil // nobody to lose
	}
	if err := s.cfg.Journal.SaveLiveness(ctx, l); err != nil {
		return err
	}
	s.saved.onDisk.Store(&l)
	return nil
}
