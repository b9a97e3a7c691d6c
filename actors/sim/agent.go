package sim

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// agent is one life of a worker's agent process.
type agent struct {
	wk  *worker
	w   *world
	inc uint64 // 0: not registered

	session  int // rises with every registration: what was asked before is void
	beatSeq  uint64
	claimSeq uint64
	claiming bool
	claimed  []entropy.AssignmentID // neither started nor given back
}

// startAgent starts the agent process.
func (wk *worker) startAgent() {
	a := &agent{wk: wk, w: wk.w}
	wk.agent = a
	for _, e := range wk.spool {
		e.sending = false
	}
	a.register()
}

// alive reports whether this process still runs, in this session.
func (a *agent) alive(session int) bool { return a.wk.agent == a && a.session == session }

// timeout is how long an answer is awaited.
const timeout = 2 * time.Second

// call asks the control plane. Exactly one of the outcomes is handed on: the first
// answer, or nil for none in time; neither once the session is over.
func (a *agent) call(body any, wait time.Duration, then func(v any, err error, answered bool)) {
	session, done := a.session, false
	finish := func(v any, err error, answered bool) {
		if done || !a.alive(session) {
			return
		}
		done = true
		if entropy.ErrorCode(err) == entropy.CodeStale && a.inc != 0 {
			a.register()
			return
		}
		then(v, err, answered)
	}
	a.w.request(&a.wk.link, body, func(v any, err error) { finish(v, err, true) })
	a.wk.after(wait, func() { finish(nil, nil, false) })
}

// later runs f after a pause, if the session still lasts.
func (a *agent) later(d time.Duration, f func()) {
	session := a.session
	a.wk.after(d, func() {
		if a.alive(session) {
			f()
		}
	})
}

// register introduces the process, again and again under one nonce until it is heard.
func (a *agent) register() {
	a.session++
	a.inc, a.beatSeq, a.claimSeq, a.claiming, a.claimed = 0, 0, 0, false, nil
	for _, e := range a.wk.spool {
		e.sending = false
	}
	a.tryRegister(a.w.name("nonce"))
}

func (a *agent) tryRegister(nonce string) {
	r := &entropy.Registration{Nonce: nonce, KeyHash: "key-" + string(a.wk.id), BootID: a.wk.bootID, SpoolID: a.wk.spoolID,
		Hostname: string(a.wk.id), Slots: a.wk.slots, Labels: a.wk.labels, Resources: a.wk.resources, Inventory: a.wk.inventory()}
	a.call(r, timeout, func(v any, err error, answered bool) {
		switch {
		case entropy.ErrorCode(err) == entropy.CodeStale: // this nonce is history
			a.register()
		case err != nil || !answered:
			a.later(a.w.between(100*time.Millisecond, time.Second), func() { a.tryRegister(nonce) })
		default:
			a.registered(v.(*entropy.Registered))
		}
	})
}

func (a *agent) registered(r *entropy.Registered) {
	a.w.check.promised("registration", a.w.check.incarnation(r.WorkerID) >= r.Incarnation)
	a.inc = r.Incarnation
	for _, h := range r.Held {
		if h.Verdict == entropy.VerdictStop {
			a.wk.stop(h.AssignmentID, entropy.ReasonSuperseded)
		}
	}
	a.beat()
	a.claim()
	a.report()
}

// beat sends a heartbeat now and another after every interval.
func (a *agent) beat() {
	a.beatSeq++
	h := &entropy.Heartbeat{Incarnation: a.inc, Seq: a.beatSeq, Held: a.wk.inventory()}
	sent := a.w.now
	a.call(h, a.w.shape.heartbeat, func(v any, err error, answered bool) {
		if !answered || err != nil {
			return
		}
		answer := v.(*entropy.HeartbeatReply)
		stops := answer.Directives.Stop
		for _, held := range h.Held {
			if r := a.wk.running(held.AssignmentID); r != nil {
				r.renew(a.w.now, sent+a.trusted()-answer.Deduct.D())
			}
		}
		for _, d := range stops {
			a.wk.stop(d.AssignmentID, d.Reason)
		}
	})
	a.later(a.w.shape.heartbeat, a.beat)
}

// trusted is how long a lease may be relied on after it was asked for.
func (a *agent) trusted() time.Duration { return a.w.shape.ttl - time.Second - a.w.shape.ttl/100 }

// claim asks for as much work as there is room for.
func (a *agent) claim() {
	want := a.wk.slots - len(a.wk.runs) - len(a.claimed)
	if a.inc == 0 || a.claiming || want <= 0 {
		return
	}
	a.claiming = true
	a.claimSeq++
	a.tryClaim(&entropy.ClaimRequest{Incarnation: a.inc, ClaimSeq: a.claimSeq, Want: want, Wait: entropy.Duration(5 * time.Second)})
}

func (a *agent) tryClaim(r *entropy.ClaimRequest) {
	a.call(r, r.Wait.D()+timeout, func(v any, err error, answered bool) {
		if !answered {
			a.tryClaim(r) // the same claim_seq: it gets the same set
			return
		}
		a.claiming = false
		if err == nil {
			for _, item := range v.(*entropy.ClaimReply).Assignments {
				if !item.Revoked {
					a.take(&item)
				}
			}
		}
		pause := time.Millisecond
		if err != nil { // it had no room: do not ask again at once
			pause = a.w.between(100*time.Millisecond, time.Second)
		}
		a.later(pause, a.claim)
	})
}

// take accepts an assignment or refuses it.
func (a *agent) take(item *entropy.Assignment) {
	a.w.check.promised("the grant of "+string(item.AssignmentID), a.w.check.assignment(item.JobID, item.AssignmentID) != nil)
	a.claimed = append(a.claimed, item.AssignmentID)
	switch {
	case a.wk.refuses(item.JobID):
		a.refuse(item, false)
	case !a.wk.hasRoom(item): // an attempt that is ending still holds it
		a.refuse(item, true)
	case a.w.mutant(StartBeforeAck):
		a.wk.start(item, a.w.now+a.trusted())
		a.ack(item, a.w.now)
	default:
		a.ack(item, a.w.now)
	}
}

func (a *agent) drop(id entropy.AssignmentID) {
	a.claimed = slices.DeleteFunc(a.claimed, func(o entropy.AssignmentID) bool { return o == id })
	a.claim()
}

// ack accepts an assignment. Only when that was answered may it start. Trust
// counts from the first try: the control plane's renewal is that of the one that
// reached it first.
func (a *agent) ack(item *entropy.Assignment, first time.Duration) {
	session, decided := a.session, false
	r := &entropy.AckRequest{Incarnation: a.inc, Items: []entropy.Held{{JobID: item.JobID, AssignmentID: item.AssignmentID}}}
	a.w.request(&a.wk.link, r, func(v any, err error) {
		switch {
		case !a.alive(session):
			return
		case entropy.ErrorCode(err) == entropy.CodeStale:
			a.register()
			return
		case err != nil && retryable(err):
			return // the next try will tell
		case err == nil && v.(*entropy.ItemResult).Error == nil: // every copy of the answer says so
			acked := a.w.check.assignment(item.JobID, item.AssignmentID)
			a.w.check.promised("the ACK of "+string(item.AssignmentID), acked != nil && acked.acked)
			// An answer that was overtaken by another has no say any more.
			if slices.Contains(a.claimed, item.AssignmentID) || a.w.mutant(StartTwice) {
				a.wk.start(item, first+a.trusted())
			}
		}
		if !decided {
			decided = true
			a.drop(item.AssignmentID)
		}
	})
	a.later(timeout, func() {
		if !decided {
			decided = true
			a.ack(item, first)
		}
	})
}

func (a *agent) refuse(item *entropy.Assignment, transient bool) {
	r := &entropy.RefuseRequest{Incarnation: a.inc, Items: []entropy.Refusal{{JobID: item.JobID, AssignmentID: item.AssignmentID, Message: "policy", Transient: transient}}}
	a.call(r, timeout, func(v any, err error, answered bool) {
		if !answered || err != nil && retryable(err) {
			a.later(100*time.Millisecond, func() { a.refuse(item, transient) })
			return
		}
		a.drop(item.AssignmentID)
	})
}

// report sends what is in the spool and on disk.
func (a *agent) report() {
	if a.inc == 0 {
		return
	}
	for _, e := range slices.Clone(a.wk.spool) {
		if !e.sending && (e.durable || a.w.mutant(ReportBeforeSync)) {
			a.send(e)
		}
	}
}

func (a *agent) send(e *entry) {
	e.sending = true
	a.w.check.reports(e)
	if e.agent != a {
		a.w.tally[SpoolReplayed]++
	}
	if a.w.mutant(SpoolForgetsEarly) {
		a.wk.forget(e)
	}
	r := &entropy.CompleteRequest{Incarnation: a.inc, Items: []entropy.Completion{e.completion}}
	a.call(r, timeout, func(v any, err error, answered bool) {
		if answered && err == nil {
			switch v.(*entropy.CompletionReply).Verdict {
			case entropy.VerdictAccepted, entropy.VerdictSuperseded, entropy.VerdictRefused:
				a.wk.forget(e)
				return
			case entropy.VerdictNotFound:
				a.w.fail(Durability, "the control plane knows nothing of %s", e.completion.AssignmentID)
			}
		}
		if !answered && a.w.mutant(SpoolStuck) {
			return
		}
		a.later(a.w.between(100*time.Millisecond, 2*time.Second), func() {
			e.sending = false
			a.report()
		})
	})
}
