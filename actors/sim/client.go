package sim

import (
	"maps"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// client submits jobs, has wishes about some, and operates the fabric. It repeats
// every call until it is answered for good.
type client struct {
	w    *world
	link link
	open int // calls not yet answered
}

func (cl *client) start(w *world) {
	cl.w, cl.link = w, link{name: "client"}
	for i := range w.shape.jobs {
		sub := entropy.Submission{ID: entropy.JobID("j" + strconv.Itoa(i+1)), Spec: w.drawSpec(i)}
		at := w.between(0, w.shape.horizon*2/3)
		cl.open++
		w.at(at, func() { cl.submit(sub) })
		soon := func(share float64, f func()) {
			if w.chance(share) {
				cl.open++
				w.at(at+w.between(0, w.shape.horizon/2), f)
			}
		}
		soon(w.shape.canceled, func() { cl.wish(sub.ID, entropy.Cancel{Message: "by request"}, nil) })
		soon(w.shape.reprioritized, func() { cl.wish(sub.ID, entropy.Reprioritize{Priority: w.rng.IntN(9) - 4}, nil) })
		soon(w.shape.held, func() { cl.hold(sub.ID) })
		soon(.1, func() { cl.impostor(sub) })
	}
	for range w.shape.operated {
		cl.open++
		w.at(w.between(0, w.shape.horizon), cl.operate)
	}
	if w.shape.operated > 0 {
		w.at(w.shape.horizon, cl.patrol)
	}
}

// call repeats a request until an answer has come that decides it, and hands that on.
func (cl *client) call(body any, then func(any, error)) {
	answered := false
	var try func()
	try = func() {
		if answered {
			return
		}
		cl.w.request(&cl.link, body, func(v any, err error) {
			if !answered && (err == nil || !retryable(err)) {
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
		if entropy.ErrorCode(err) == entropy.CodeNotFound { // what it waits for is still on its way
			cl.w.after(time.Second, func() { cl.submit(sub) })
			return
		}
		cl.open--
		if err == nil && v.(*entropy.SubmitResult).Error != nil {
			err = v.(*entropy.SubmitResult).Error
		}
		if err != nil {
			cl.w.fail(SubmitIdempotency, "the submission of %s was refused: %v", sub.ID, err)
			return
		}
		cl.w.check.promised("the submission of "+string(sub.ID), cl.w.check.job(sub.ID).submitted)
	})
}

// impostor submits another job under an ID that is taken, if it is by then.
func (cl *client) impostor(sub entropy.Submission) {
	if !cl.w.check.job(sub.ID).submitted {
		cl.open--
		return
	}
	sub.Spec.Name = "impostor"
	cl.call(&submitRequest{sub}, func(v any, err error) {
		cl.open--
		if err == nil && v.(*entropy.SubmitResult).Error != nil {
			err = v.(*entropy.SubmitResult).Error
		}
		if entropy.ErrorCode(err) != entropy.CodeConflict {
			cl.w.fail(SubmitIdempotency, "another job was accepted under the ID %s", sub.ID)
		}
		cl.w.tally[ConflictingSubmit]++
	})
}

// wish asks for something until it is done or the job has ended.
func (cl *client) wish(id entropy.JobID, cmd entropy.JobCommand, then func()) {
	cl.tryWish(id, cmd, cl.operation(&cmd), then)
}

func (cl *client) tryWish(id entropy.JobID, cmd entropy.JobCommand, op string, then func()) {
	cl.call(&wishRequest{id, cmd, op}, func(v any, err error) {
		j := cl.w.check.job(id)
		switch entropy.ErrorCode(err) {
		case entropy.CodeNotFound: // its submission has not arrived yet
			cl.w.after(time.Second, func() { cl.tryWish(id, cmd, op, then) })
			return
		case entropy.CodeConflict:
			cl.w.check.promised("the end of "+string(id), j.ended != "")
		case "":
			cl.w.check.granted(j, cmd)
		}
		cl.open--
		if then != nil {
			then()
		}
	})
}

// operation names a new operation and, where the events of the command say so,
// enters the name there.
func (cl *client) operation(cmd *entropy.JobCommand) string {
	op := cl.w.name("op")
	switch m := (*cmd).(type) {
	case entropy.Cancel:
		m.Operation = op
		*cmd = m
	case entropy.Hold:
		m.Operation = op
		*cmd = m
	case entropy.Unhold:
		m.Operation = op
		*cmd = m
	case entropy.Reprioritize:
		m.Operation = op
		*cmd = m
	}
	return op
}

// hold holds a job, and lets it go some time later.
func (cl *client) hold(id entropy.JobID) {
	cl.wish(id, entropy.Hold{Message: "wait"}, func() {
		cl.open++
		cl.w.after(cl.w.between(0, 10*time.Second), func() { cl.wish(id, entropy.Unhold{}, nil) })
	})
}

// operate drains or quarantines a worker, or pauses the limited queue, and takes
// it back later.
func (cl *client) operate() {
	w := cl.w
	do := operateRequest{op: w.name("op"), worker: w.someWorker().id, event: []string{"", entropy.WorkerDrained, entropy.WorkerWasQuarantined}[w.rng.IntN(3)], pause: true}
	undo := do
	undo.pause, undo.op = false, w.name("op")
	if undo.event != "" {
		undo.event = entropy.WorkerResumed
	}
	cl.call(&do, func(any, error) {
		w.after(w.between(0, 15*time.Second), func() { cl.call(&undo, func(any, error) { cl.open-- }) })
	})
}

// patrol resumes, after the healing, the workers that have failed their probation.
func (cl *client) patrol() {
	for _, wk := range cl.w.workers {
		if cl.w.check.worker(wk.id).fold.Quarantined {
			cl.w.tally[ProbationFailed]++
			cl.open++
			cl.call(&operateRequest{op: cl.w.name("op"), worker: wk.id, event: entropy.WorkerResumed}, func(any, error) { cl.open-- })
		}
	}
	cl.w.after(10*time.Second, cl.patrol)
}

func (w *world) someWorker() *worker { return w.workers[w.rng.IntN(len(w.workers))] }

// pauseQueue pauses the queue that has limits, or resumes it.
func (w *world) pauseQueue(pause bool) {
	queues := maps.Clone(w.policy.Queues)
	q := queues[limitedQueue]
	q.Paused = pause
	queues[limitedQueue] = q
	w.policy.Queues = queues
	if pause {
		w.tally[QueuePaused]++
	}
}

// drawPolicy draws how the fabric chooses.
func (w *world) drawPolicy() entropy.Policy {
	p := entropy.Policy{AgingStep: entropy.Duration(agingStep), MaxRetrying: w.shape.maxRetrying,
		Queues: map[string]entropy.QueuePolicy{limitedQueue: {MaxRunning: w.shape.maxRunning}}}
	if w.shape.preempts {
		urgent := 2
		p.PreemptPriority = &urgent
	}
	if w.shape.reserves {
		p.ReserveAfter = entropy.Duration(w.between(time.Second, 10*time.Second))
	}
	if w.shape.gates && w.shape.workers >= 4 {
		p.Gates = []entropy.Gate{{Slots: 1, Priority: 1}}
	}
	if w.shape.tenants > 1 {
		p.Tenants = map[string]entropy.TenantPolicy{"t1": {Weight: 3}}
	}
	return p
}
