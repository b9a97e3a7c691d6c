package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/examples/kill-a-worker/witness"
)

const (
	// wantRunning and wantFinished are what the victim must hold when it dies.
	wantRunning  = 2
	wantFinished = 1
	// spare is how many more jobs it must run when the kill begins: some may end
	// by themselves before it reaches them.
	spare = 1
	// strikes is how often the moment is sought before the demonstration fails.
	strikes = 20
	// cutFor is how long one search lasts with the cable cut.
	cutFor = 1500 * time.Millisecond
	// look is the pause between two looks at the spool.
	look = 5 * time.Millisecond
)

// strike kills the victim at a moment when it runs at least two jobs and has a
// finished result that nobody else knows. To get there it cuts the victim's
// cable, so that what finishes stays in its spool; if the jobs do not play along
// the cable is mended and the search begins again.
func (d *demo) strike(ctx context.Context) error {
	for range strikes {
		if err := d.busy(ctx); err != nil {
			return err
		}
		d.link.cut()
		if found, err := d.moment(ctx); found || err != nil {
			return err
		}
		d.link.mend()
	}
	return fmt.Errorf("the victim never ran %d jobs with a finished result in its spool, in %d tries", wantRunning, strikes)
}

// busy waits until the victim runs more jobs than it must run when it dies.
func (d *demo) busy(ctx context.Context) error {
	for {
		running, _, err := readSpool(ctx, d.victimSpool)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(running) > wantRunning+spare {
			return nil
		}
		if d.progress.succeeded() == d.progress.total {
			return fmt.Errorf("the batch was over before the victim ran %d jobs at once", wantRunning+spare+1)
		}
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
}

// moment looks for the moment to strike while the cable is cut, and strikes. A
// result that was in the spool right after the cut may have been reported before
// it; one that comes later cannot have been.
func (d *demo) moment(ctx context.Context) (bool, error) {
	_, before, err := readSpool(ctx, d.victimSpool)
	if err != nil {
		return false, err
	}
	for deadline := time.Now().Add(cutFor); time.Now().Before(deadline); {
		running, finished, err := readSpool(ctx, d.victimSpool)
		if err != nil {
			return false, err
		}
		if len(running) < wantRunning+spare {
			return false, nil
		}
		d.witness.Spooled = nil
		for _, h := range finished {
			if !slices.ContainsFunc(before, func(b entropy.Held) bool { return b.AssignmentID == h.AssignmentID }) {
				d.witness.Spooled = append(d.witness.Spooled, seen(h))
			}
		}
		if len(d.witness.Spooled) >= wantFinished {
			all, err := d.lab.processes()
			if err != nil {
				return false, err
			}
			doomed := below(all, d.victim.dir)
			if len(living(running, doomed)) >= wantRunning+spare {
				return true, d.killVictim(ctx, doomed)
			}
		}
		if err := pause(ctx, look); err != nil {
			return false, err
		}
	}
	return false, nil
}

// living returns those of the assignments that have a process among the given
// ones. Others have just begun, or have ended and their artifacts are collected.
func living(running []entropy.Held, processes []process) (out []witness.Seen) {
	ids := assignments(processes)
	for _, h := range running {
		if ids[h.AssignmentID] {
			out = append(out, seen(h))
		}
	}
	return out
}

func seen(h entropy.Held) witness.Seen {
	return witness.Seen{JobID: h.JobID, AssignmentID: h.AssignmentID}
}

// killVictim pulls the plug and writes down what the dead machine held: of the
// processes that were just seen, those whose job has no end in the spool.
func (d *demo) killVictim(ctx context.Context, doomed []process) error {
	if err := d.lab.kill(doomed, d.victim); err != nil {
		return err
	}
	running, _, err := readSpool(ctx, d.victimSpool)
	if err != nil {
		return err
	}
	d.witness.Running = living(running, doomed)
	d.progress.say("kill -9 of worker %s (%d processes): it ran %d jobs and had %d finished result(s) in its spool",
		d.victim.name, len(doomed), len(d.witness.Running), len(d.witness.Spooled))
	if len(d.witness.Running) < wantRunning {
		return fmt.Errorf("the victim died with %d jobs running, wanted %d", len(d.witness.Running), wantRunning)
	}
	return d.unreported(ctx)
}

// unreported makes sure that the control plane does not know the results that
// the dead machine holds.
func (d *demo) unreported(ctx context.Context) error {
	for _, s := range d.witness.Spooled {
		j, err := d.client.Job(ctx, s.JobID)
		if err != nil {
			return err
		}
		if j.State.Terminal() {
			return fmt.Errorf("job %s is %s although its result never left the dead worker", s.JobID, j.State)
		}
	}
	return nil
}

// assignments returns those whose processes are among the given ones.
func assignments(processes []process) map[entropy.AssignmentID]bool {
	found := map[entropy.AssignmentID]bool{}
	for _, p := range processes {
		for _, v := range strings.Split(p.environ, "\x00") {
			if id, ok := strings.CutPrefix(v, "ENTROPY_ASSIGNMENT_ID="); ok {
				found[entropy.AssignmentID(id)] = true
			}
		}
	}
	return found
}

// killControl kills the control plane while the other workers run jobs, and
// waits until one of them has finished something that it cannot report.
func (d *demo) killControl(ctx context.Context) error {
	if err := d.lab.kill(nil, d.control); err != nil {
		return err
	}
	d.progress.say("kill -9 of the control plane, with %d of %d jobs done; the workers go on", d.progress.succeeded(), d.progress.total)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		d.witness.Waiting = nil
		for _, m := range d.others {
			_, finished, err := readSpool(ctx, spoolOf(m))
			if err != nil {
				return err
			}
			for _, h := range finished {
				d.witness.Waiting = append(d.witness.Waiting, seen(h))
			}
		}
		if len(d.witness.Waiting) > 0 {
			return nil
		}
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
	return errors.New("no worker finished a job while the control plane was dead")
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
