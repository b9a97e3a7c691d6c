package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// client submits jobs, cancels some, retries some that have ended, drains workers,
// and repeats every call, with the same identifiers, until its outcome is known.
type client struct {
	w     *world
	plane *plane
	link  link
	open  int // calls whose outcome is not known
	known map[entropy.JobID]bool
}

func newClient(w *world) *client {
	p := &plane{name: "client"}
	return &client{w: w, plane: p, link: link{name: "client"}, known: make(map[entropy.JobID]bool)}
}

// begin has f run after d; the history does not end before f has begun.
func (cl *client) begin(d time.Duration, f func()) {
	cl.open++
	cl.w.after(cl.plane, d, func() {
		cl.open--
		f()
	})
}

func (cl *client) start() {
	w := cl.w
	for left := w.shape.jobs; left > 0; {
		n := min(left, 1+w.rng.IntN(3))
		var subs []entropy.Submission
		at := w.between(0, w.shape.horizon*2/3)
		for range n {
			subs = append(subs, cl.submission(left, at))
			left--
		}
		cl.tie(subs)
		cl.begin(at, func() { cl.submit(subs) })
		for _, sub := range subs {
			cl.after(sub, at)
		}
	}
	for range w.shape.drains {
		cl.begin(w.between(0, w.shape.horizon), cl.drain)
	}
	for range w.shape.policies {
		cl.begin(w.between(0, w.shape.horizon), cl.govern)
	}
}

// submission draws a job and how it is named.
func (cl *client) submission(n int, at time.Duration) entropy.Submission {
	w := cl.w
	sub := entropy.Submission{Spec: w.drawSpec()}
	switch w.rng.IntN(3) {
	case 0:
		sub.ID = entropy.JobID(fmt.Sprintf("j%d", n))
	case 1: // made a moment before it is sent: taken for new without looking
		sub.ID = uuid(w.began.Add(at), uint64(n))
	default:
		sub.IdempotencyKey = fmt.Sprintf("key-%d", n)
	}
	return sub
}

// uuid is a version 7 one that is the same in every run.
func uuid(t time.Time, n uint64) entropy.JobID {
	ms := uint64(t.UnixMilli())
	return entropy.JobID(fmt.Sprintf("%08x-%04x-7000-8000-%012x", ms>>16, ms&0xffff, n))
}

// after draws what else happens to a job.
func (cl *client) after(sub entropy.Submission, at time.Duration) {
	w := cl.w
	later := func() time.Duration { return at + w.between(0, w.shape.horizon/2) }
	if w.chance(w.shape.retold) { // the caller forgot that it had submitted it
		cl.begin(at+w.between(0, 3*time.Second), func() { cl.submit([]entropy.Submission{sub}) })
	}
	if w.chance(.1) {
		cl.begin(later(), func() { cl.impostor(sub) })
	}
	if sub.ID == "" {
		return
	}
	if w.chance(w.shape.canceled) {
		cl.begin(later(), func() { cl.cancel(sub.ID, w.name("cancel")) })
	}
	if w.chance(w.shape.held) {
		cl.begin(later(), func() { cl.hold(sub.ID) })
	}
	if w.chance(.1) {
		cl.begin(later(), func() { cl.prioritize(sub.ID) })
	}
	if w.chance(.1) {
		cl.begin(later(), func() { cl.retry(sub.ID, w.name("retry"), 20) })
	}
}

// call repeats a request until its outcome is known, and hands the first such
// answer on.
func (cl *client) call(what string, do func(ctx context.Context, s *actors.System) (any, error), then func(v any, err error)) {
	cl.open++
	answered := false
	r := &request{w: cl.w, link: &cl.link, from: cl.plane, what: what, ctx: as(entropy.RoleAdmin, "client"), limit: 20 * time.Second, do: do,
		heard: func(v any, err error) {
			if answered || !known(err) {
				return
			}
			answered = true
			cl.open--
			then(v, err)
		}}
	var try func()
	try = func() {
		if !answered {
			r.send()
			cl.w.after(cl.plane, cl.w.between(500*time.Millisecond, 3*time.Second), try)
		}
	}
	try()
}

// known reports whether the outcome of a call is.
func known(err error) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeUnknown, entropy.CodeUnavailable, entropy.CodeDiskFull, entropy.CodeOverloaded:
		return false
	}
	return true
}

func (cl *client) submit(subs []entropy.Submission) {
	cl.call("submit", func(ctx context.Context, s *actors.System) (any, error) {
		return s.Submit(ctx, subs)
	}, func(v any, err error) {
		if entropy.ErrorCode(err) == entropy.CodeNotFound && len(subs) == 1 && len(subs[0].Spec.After) > 0 {
			cl.begin(time.Second, func() { cl.submit(subs) }) // what it waits for has not arrived yet
			return
		}
		if err != nil {
			cl.w.fail("INV-4", "a submission was refused: %v", err)
			return
		}
		var again []entropy.Submission
		for i, r := range v.([]entropy.SubmitResult) {
			switch {
			case !known(asError(r.Error)):
				again = append(again, subs[i])
			case r.Error != nil:
				cl.w.fail("INV-4", "the submission of %s was refused: %v", r.ID, r.Error)
			default:
				cl.w.check.promised("the submission of "+string(r.ID), cl.w.check.job(r.ID).submitted)
				cl.known[r.ID] = true
			}
		}
		if len(again) > 0 {
			cl.begin(cl.w.between(0, time.Second), func() { cl.submit(again) })
		}
	})
}

// impostor submits another job under a name that is taken, if it is by then.
func (cl *client) impostor(sub entropy.Submission) {
	if sub.ID != "" && !cl.known[sub.ID] {
		return
	}
	if sub.ID == "" { // by key: only its own ID would tell
		return
	}
	sub.Spec.Name = "impostor"
	cl.call("impostor", func(ctx context.Context, s *actors.System) (any, error) {
		r, err := s.Submit(ctx, []entropy.Submission{sub})
		if err == nil && !known(asError(r[0].Error)) {
			return nil, r[0].Error
		}
		return r, err
	}, func(v any, err error) {
		if r, ok := v.([]entropy.SubmitResult); ok && err == nil {
			err = asError(r[0].Error)
		}
		if entropy.ErrorCode(err) != entropy.CodeConflict {
			cl.w.fail("INV-4", "another job was accepted under the ID %s: %v", sub.ID, err)
		}
		cl.w.tally[ConflictingSubmit]++
	})
}

func (cl *client) cancel(id entropy.JobID, op string) {
	known := cl.known[id] // an answer may be older than it is
	cl.call("cancel "+string(id), func(ctx context.Context, s *actors.System) (any, error) {
		return s.Cancel(ctx, id, entropy.Operation{ID: op})
	}, func(_ any, err error) {
		j := cl.w.check.job(id)
		switch entropy.ErrorCode(err) {
		case entropy.CodeNotFound: // its submission has not arrived yet
			if known {
				cl.w.fail("INV-1", "%s was acknowledged and is not found", id)
			}
			cl.begin(time.Second, func() { cl.cancel(id, op) })
		case "":
			cl.w.check.promised("the cancellation of "+string(id), j.cancelAsked || j.ended == entropy.JobCanceled)
		case entropy.CodeConflict:
			cl.w.check.promised("the end of "+string(id), j.ended != "")
		default:
			cl.w.fail("J-14", "the cancellation of %s: %v", id, err)
		}
	})
}

// retry submits an ended job again; one that has not ended is waited for.
func (cl *client) retry(id entropy.JobID, op string, patience int) {
	cl.call("retry "+string(id), func(ctx context.Context, s *actors.System) (any, error) {
		return s.Retry(ctx, id, entropy.Operation{ID: op})
	}, func(v any, err error) {
		switch entropy.ErrorCode(err) {
		case entropy.CodeNotFound, entropy.CodeConflict:
			if patience > 0 {
				cl.begin(2*time.Second, func() { cl.retry(id, op, patience-1) })
			}
		case "":
			again := v.(*entropy.Job)
			j := cl.w.check.job(again.ID)
			cl.w.check.promised("the retry of "+string(id), j.submitted && j.spec.RetryOf == id)
			cl.w.tally[Retried]++
		default:
			cl.w.fail("J-2", "the retry of %s: %v", id, err)
		}
	})
}

// drain takes a worker out of service and gives it back later.
func (cl *client) drain() {
	h := cl.w.someHost()
	op, back := cl.w.name("drain"), cl.w.name("resume")
	cl.mode(h, entropy.WorkerDrain, op, func() {
		cl.begin(cl.w.between(0, 10*time.Second), func() { cl.mode(h, entropy.WorkerResume, back, func() {}) })
	})
}

func (cl *client) mode(h *host, mode entropy.WorkerMode, op string, then func()) {
	cl.call(string(mode)+" "+string(h.id), func(ctx context.Context, s *actors.System) (any, error) {
		info, err := s.SetWorker(ctx, h.id, mode, entropy.Operation{ID: op})
		return info.Draining, err
	}, func(_ any, err error) {
		switch entropy.ErrorCode(err) {
		case entropy.CodeNotFound: // it has not registered yet
			cl.begin(time.Second, func() { cl.mode(h, mode, op, then) })
		case "", entropy.CodeConflict:
			cl.w.tally[Drained]++
			then()
		default:
			cl.w.fail("W-8", "%s of %s: %v", mode, h.id, err)
		}
	})
}

// drawSpec draws what a job asks for.
func (w *world) drawSpec() entropy.JobSpec {
	s := entropy.JobSpec{Command: []string{"work"}, Priority: w.rng.IntN(5) - 2,
		AckTimeout: entropy.Duration(w.between(2*time.Second, 10*time.Second)),
		Retry: entropy.RetryPolicy{MaxAttempts: w.rng.IntN(4), MaxLosses: w.rng.IntN(5),
			Backoff:     entropy.Duration(w.between(100*time.Millisecond, 2*time.Second)),
			BackoffCap:  entropy.Duration(w.between(2*time.Second, 5*time.Second)),
			LostTimeout: entropy.Duration(w.between(5*time.Second, 30*time.Second))}}
	if w.chance(w.shape.stop) {
		s.Disconnect.Worker, s.Grace = entropy.DisconnectStop, entropy.Duration(w.shape.ttl/10)
	}
	if w.chance(w.shape.discard) {
		s.Disconnect.LateResult = entropy.LateDiscard
	}
	if w.chance(.2) {
		s.Disconnect.ReassignAfter = entropy.Duration(w.between(0, w.shape.ttl))
	}
	if w.chance(w.shape.noRetry) {
		s.Retry.NoRetry, s.Retry.MaxAttempts = true, 0
	}
	if w.chance(.3) {
		s.Retry.NonRetryable = []int{2}
	}
	if w.chance(w.shape.artifacts) {
		s.Artifacts = []string{"result"}
	}
	if w.chance(.2) {
		s.Require = map[string]string{"zone": "a"}
	}
	w.drawWishes(&s)
	w.drawTimes(&s)
	return s
}

func (w *world) drawTimes(s *entropy.JobSpec) {
	at := func(d time.Duration) *time.Time {
		t := w.began.Add(d).UTC()
		return &t
	}
	if w.chance(w.shape.delayed) {
		s.NotBefore = at(w.between(0, w.shape.horizon))
	}
	if w.chance(w.shape.impatient) {
		s.QueueTimeout = entropy.Duration(w.between(time.Second, w.shape.horizon))
	}
	if w.chance(w.shape.impatient) {
		s.NotAfter = at(w.shape.horizon + w.between(0, w.shape.horizon))
	}
}
