package sim

import (
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
)

// client submits jobs and cancels some, and repeats every call until it is answered.
type client struct {
	w    *world
	link link
	open int // calls not yet answered
}

func (cl *client) start(w *world) {
	cl.w, cl.link = w, link{name: "client"}
	for i := range w.shape.jobs {
		sub := entropy.Submission{ID: entropy.JobID(fmt.Sprintf("j%d", i+1)), Spec: w.drawSpec()}
		cl.open++
		at := w.between(0, w.shape.horizon*2/3)
		w.at(at, func() { cl.submit(sub) })
		if w.chance(w.shape.canceled) {
			cl.open++
			w.at(at+w.between(0, w.shape.horizon/2), func() { cl.cancel(sub.ID) })
		}
		if w.chance(.1) {
			w.at(at+w.between(0, w.shape.horizon/2), func() { cl.impostor(sub) })
		}
	}
}

// call repeats a request until one answer has come, and hands that on.
func (cl *client) call(body any, then func(any, error)) {
	answered := false
	var try func()
	try = func() {
		if answered {
			return
		}
		cl.w.request(&cl.link, body, func(v any, err error) {
			if !answered {
				answered = true
				then(v, err)
			}
		})
		cl.w.after(cl.w.between(time.Second, 3*time.Second), try)
	}
	try()
}

func (cl *client) submit(sub entropy.Submission) {
	cl.call(&submitRequest{sub}, func(v any, err error) {
		cl.open--
		r := v.(*entropy.SubmitResult)
		if r.Error != nil {
			cl.w.fail("INV-4", "the submission of %s was refused: %v", sub.ID, r.Error)
			return
		}
		cl.w.check.promised("the submission of "+string(sub.ID), cl.w.check.job(sub.ID).submitted)
	})
}

// impostor submits another job under an ID that is taken, if it is by then.
func (cl *client) impostor(sub entropy.Submission) {
	known := cl.w.check.job(sub.ID).submitted
	if !known {
		return
	}
	sub.Spec.Name = "impostor"
	cl.open++
	cl.call(&submitRequest{sub}, func(v any, err error) {
		cl.open--
		if r := v.(*entropy.SubmitResult); entropy.ErrorCode(asError(r.Error)) != entropy.CodeConflict {
			cl.w.fail("INV-4", "another job was accepted under the ID %s", sub.ID)
		}
		cl.w.tally[ConflictingSubmit]++
	})
}

func asError(e *entropy.Error) error {
	if e == nil {
		return nil
	}
	return e
}

func (cl *client) cancel(id entropy.JobID) {
	cl.call(&cancelRequest{id}, func(v any, err error) {
		switch entropy.ErrorCode(err) {
		case entropy.CodeNotFound: // its submission has not arrived yet
			cl.w.after(time.Second, func() { cl.cancel(id) })
			return
		case "":
			j := cl.w.check.job(id)
			cl.w.check.promised("the cancellation of "+string(id), j.cancelAsked || j.ended == entropy.JobCanceled)
		case entropy.CodeConflict:
			cl.w.check.promised("the end of "+string(id), cl.w.check.job(id).ended != "")
		}
		cl.open--
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
		s.Disconnect.Worker = entropy.DisconnectStop
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
	w.drawTimes(&s)
	if w.chance(.2) {
		s.Require = map[string]string{"zone": "a"}
	}
	return s
}

func (w *world) drawTimes(s *entropy.JobSpec) {
	at := func(d time.Duration) *time.Time {
		t := epoch.Add(d)
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
