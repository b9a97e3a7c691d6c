// Command prove holds the table of a demonstration to the journal it left: it
// checks the journal itself, then tells the story of every job from its events
// alone, and compares that with what the demonstration saw and claims.
//
//	prove JOURNAL WITNESS
//
// It exits with 0 only if nothing contradicts anything.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/examples/kill-a-worker/witness"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: prove JOURNAL WITNESS")
		os.Exit(2)
	}
	if err := prove(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "NOT PROVED:\n%v\n", err)
		os.Exit(1)
	}
}

func prove(ctx context.Context, file, witnessFile string) error {
	w, err := witness.Read(witnessFile)
	if err != nil {
		return err
	}
	report, err := journal.VerifyFile(ctx, file)
	if err != nil {
		return fmt.Errorf("the journal itself: %w", err)
	}
	if !report.OK() {
		return fmt.Errorf("the journal itself: %s", report.String())
	}
	stories, err := readStories(ctx, file)
	if err != nil {
		return err
	}
	if err := compare(w, stories); err != nil {
		return err
	}
	fmt.Printf("PROVED from the journal: %d events, gapless and sealed; %d jobs, each submitted once and succeeded once.\n"+
		"  In the dead worker's spool: %d, counted, not run again. Running on it: %d, lost, run again.\n",
		report.Events, len(stories), len(w.Spooled), len(w.Running))
	return nil
}

// readStories reads every job's events, in order.
func readStories(ctx context.Context, file string) (map[entropy.JobID]*story, error) {
	r, err := journal.OpenReader(ctx, file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	stories := map[entropy.JobID]*story{}
	for after := (entropy.Position{}); ; {
		page, err := r.Events(ctx, entropy.EventFilter{After: after, Limit: 10_000})
		if err != nil {
			return nil, err
		}
		for i := range page.Events {
			kind, id := entropy.SplitEntity(page.Events[i].EntityID)
			if kind != entropy.KindJob {
				continue
			}
			if stories[entropy.JobID(id)] == nil {
				stories[entropy.JobID(id)] = new(story)
			}
			if err := stories[entropy.JobID(id)].tell(&page.Events[i]); err != nil {
				return nil, fmt.Errorf("job %s, event %d: %w", id, page.Events[i].Seq, err)
			}
		}
		if len(page.Events) == 0 {
			return stories, nil
		}
		after = page.Next
	}
}

// compare lists everything in which the stories contradict the witness.
func compare(w *witness.Witness, stories map[entropy.JobID]*story) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, id := range w.Jobs {
		if s := stories[id]; s == nil {
			bad("job %s was acknowledged and is not in the journal", id)
		} else if err := s.whole(); err != nil {
			bad("job %s: %w", id, err)
		}
	}
	if len(stories) != len(w.Jobs) {
		bad("the journal has %d jobs, %d were submitted", len(stories), len(w.Jobs))
	}
	if err := errors.Join(errs...); err != nil {
		return err // the rest would only repeat it
	}
	for _, seen := range w.Spooled {
		if s := stories[seen.JobID]; s.winner != seen.AssignmentID || s.assigned[len(s.assigned)-1] != seen.AssignmentID {
			bad("job %s: the result in the dead worker's spool did not count, or the job was assigned again", seen.JobID)
		}
	}
	for _, seen := range w.Waiting {
		if s := stories[seen.JobID]; s.winner != seen.AssignmentID {
			bad("job %s: the result that waited for the control plane did not count", seen.JobID)
		}
	}
	for _, seen := range w.Running {
		if s := stories[seen.JobID]; !s.lostTo(seen.AssignmentID) || s.winner == seen.AssignmentID {
			bad("job %s ran on the dead worker, and the journal does not say that this attempt was lost", seen.JobID)
		}
	}
	if got := recount(stories, w); got != w.Table {
		bad("the table says %+v, the journal %+v", w.Table, got)
	}
	return errors.Join(errs...)
}

// recount makes the table from the journal.
func recount(stories map[entropy.JobID]*story, w *witness.Witness) witness.Table {
	t := witness.Table{Replayed: len(w.Spooled) + len(w.Waiting)} // each is known to have counted
	for _, s := range stories {
		t.Succeeded += s.succeeded
		t.Lost += len(s.lost)
		t.Artifacts += s.artifacts
		if s.again() {
			t.Retried++
		}
	}
	return t
}
