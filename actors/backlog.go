package actors

import (
	"context"
	"sync/atomic"

	"github.com/entropy-fabric/entropy"
)

// maxUnprocessable is how many messages may be kept that could not be understood.
// Beyond it they stay where they come from, which has limits of its own.
const maxUnprocessable = 10_000

// backlog counts what others put in without end if nothing stopped them. It follows
// the journal.
type backlog struct {
	actions atomic.Int64 // that have not ended
	letters atomic.Int64 // messages that could not be understood, open
	dead    atomic.Int64 // dead letters, open: those messages, and actions that failed
}

func (b *backlog) action(before, a *entropy.Action) {
	switch was, is := before != nil && !before.State.Terminal(), !a.State.Terminal(); {
	case is && !was:
		b.actions.Add(1)
	case was && !is:
		b.actions.Add(-1)
	}
}

func (b *backlog) letter(d *entropy.DeadLetter) {
	n := int64(-1) // it was open: it changes once
	if d.State == entropy.DeadLetterOpen {
		n = 1
	}
	b.dead.Add(n)
	if d.Reason == entropy.Unprocessable {
		b.letters.Add(n)
	}
}

// loadBacklog counts what is there at start, before the tap is set.
func (s *System) loadBacklog(ctx context.Context) error {
	if err := s.eachOpenAction(func(a *entropy.Action) { s.backlog.action(nil, a) }); err != nil {
		return err
	}
	return s.cfg.Journal.Documents(ctx, entropy.KindDeadLetter, func(doc entropy.Document) error {
		if d := doc.(*entropy.DeadLetter); d.State == entropy.DeadLetterOpen {
			s.backlog.letter(d)
		}
		return nil
	})
}
