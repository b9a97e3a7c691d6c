package harness

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// agent is one life of a host's agent process.
type agent struct {
	h     *host
	w     *world
	plane *plane
	inc   uint64 // 0: not registered

	session  int // rises with every registration: what was asked before is void
	beatSeq  uint64
	claimSeq uint64
	claiming bool
	drain    bool
	known    uint64                 // version of the directives
	claimed  []entropy.AssignmentID // neither started nor given back
}

// startAgent starts the agent process.
func (h *host) startAgent() {
	a := &agent{h: h, w: h.w, plane: &plane{name: string(h.id) + " agent", parent: h.plane}}
	h.agent = a
	a.register()
}

// timeout is how long a short call is awaited.
const timeout = 2 * time.Second

// call asks the control plane. Exactly one of the outcomes is handed on: the first
// answer, or none in time; neither once the session is over.
func (a *agent) call(what string, wait time.Duration, do func(ctx context.Context, s *actors.System) (any, error), then func(v any, err error, answered bool)) {
	session, done := a.session, false
	finish := func(v any, err error, answered bool) {
		if done || a.session != session {
			return
		}
		done = true
		if entropy.ErrorCode(err) == entropy.CodeStale && a.inc != 0 {
			a.register()
			return
		}
		then(v, err, answered && entropy.ErrorCode(err) != entropy.CodeUnavailable)
	}
	r := &request{w: a.w, link: &a.h.link, from: a.plane, what: what, ctx: as(entropy.RoleWorker, string(a.h.id)), limit: wait, do: do,
		heard: func(v any, err error) { finish(v, err, true) }}
	r.send()
	a.w.after(a.plane, wait, func() { finish(nil, nil, false) })
}

// later runs f after a pause, if the session still lasts.
func (a *agent) later(d time.Duration, f func()) {
	session := a.session
	a.w.after(a.plane, d, func() {
		if a.session == session {
			f()
		}
	})
}

// register introduces the process, again and again under one nonce until it is
// answered.
func (a *agent) register() {
	a.session++
	a.inc, a.beatSeq, a.claimSeq, a.claiming, a.claimed, a.known = 0, 0, 0, false, nil, 0
	for _, e := range a.h.spool {
		e.sending = false
	}
	h := a.h
	a.tryRegister(entropy.Registration{Nonce: a.w.name("nonce"), KeyHash: keyOf(entropy.RoleWorker, string(h.id)), BootID: h.bootID,
		SpoolID: h.spoolID, Hostname: string(h.id), Slots: h.slots, Labels: h.labels,
		Resources: entropy.Resources{"cpu": h.cpu}, Inventory: h.inventory()})
}

func (a *agent) tryRegister(r entropy.Registration) {
	what := "register " + r.Nonce
	a.call(what, timeout, func(ctx context.Context, s *actors.System) (any, error) {
		return s.Register(ctx, r)
	}, func(v any, err error, answered bool) {
		switch {
		case !answered || entropy.ErrorCode(err) == entropy.CodeUnknown:
			a.later(a.w.between(100*time.Millisecond, time.Second), func() { a.tryRegister(r) })
		case err != nil: // the next try is another one
			a.later(a.w.between(100*time.Millisecond, time.Second), a.register)
		default:
			a.registered(v.(entropy.Registered))
		}
	})
}

func (a *agent) registered(r entropy.Registered) {
	a.w.check.registered(a.h, &r)
	a.inc = r.Incarnation
	for _, h := range r.Held {
		if h.Verdict == entropy.VerdictStop {
			a.h.stop(h.AssignmentID, entropy.ReasonSuperseded)
		}
	}
	a.beat()
	a.follow()
	a.claim()
	a.report()
}

// beat sends a heartbeat now and another after every interval.
func (a *agent) beat() {
	a.beatSeq++
	b := entropy.Heartbeat{Incarnation: a.inc, Seq: a.beatSeq, Held: a.h.inventory()}
	sent := a.w.now()
	a.call("heartbeat", a.w.shape.heartbeat, func(ctx context.Context, s *actors.System) (any, error) {
		return a.w.heartbeat(ctx, s, a.h, b)
	}, func(v any, err error, answered bool) {
		if answered && entropy.ErrorCode(err) == entropy.CodeDiskFull {
			a.w.fail("H-3", "a heartbeat of %s is not answered: %v", a.h.id, err)
		}
		if !answered || err != nil {
			return
		}
		reply := v.(entropy.HeartbeatReply)
		d := reply.Directives
		for _, held := range b.Held {
			stopped := slices.ContainsFunc(d.Stop, func(s entropy.StopDirective) bool { return s.AssignmentID == held.AssignmentID })
			if r := a.h.running(held.AssignmentID); r != nil && !stopped {
				r.trust = max(r.trust, sent+a.trusted()-reply.Deduct.D())
			}
		}
		a.obey(d)
	})
	a.later(a.w.shape.heartbeat, a.beat)
}

// trusted is how long a lease may be relied on after it was asked for.
func (a *agent) trusted() time.Duration { return a.w.shape.ttl - time.Second - a.w.shape.ttl/100 }

// follow waits for the directives to change, for ever.
func (a *agent) follow() {
	q := entropy.DirectivesRequest{Incarnation: a.inc, Known: a.known, Wait: entropy.Duration(5 * time.Second)}
	a.call("directives", q.Wait.D()+timeout, func(ctx context.Context, s *actors.System) (any, error) {
		return s.Directives(ctx, q)
	}, func(v any, err error, answered bool) {
		if answered && err == nil {
			d := v.(entropy.Directives)
			a.known = d.Version
			a.obey(d)
		}
		a.later(a.w.between(time.Millisecond, 200*time.Millisecond), a.follow)
	})
}

// obey carries out directives. Doing so twice is harmless.
func (a *agent) obey(d entropy.Directives) {
	resumed := a.drain && !d.Drain
	a.drain = d.Drain
	for _, s := range d.Stop {
		a.h.stop(s.AssignmentID, s.Reason)
	}
	if resumed {
		a.claim()
	}
}

// claim asks for as much work as there is room for.
func (a *agent) claim() {
	want := a.h.slots - len(a.h.runs) - len(a.claimed)
	if a.inc == 0 || a.claiming || a.drain || want <= 0 {
		return
	}
	a.claiming = true
	a.claimSeq++
	a.tryClaim(entropy.ClaimRequest{Incarnation: a.inc, ClaimSeq: a.claimSeq, Want: want, Wait: entropy.Duration(5 * time.Second)})
}

func (a *agent) tryClaim(r entropy.ClaimRequest) {
	a.call("claim", r.Wait.D()+timeout, func(ctx context.Context, s *actors.System) (any, error) {
		return a.w.claim(ctx, s, a.h, r)
	}, func(v any, err error, answered bool) {
		if !answered || err != nil {
			a.later(a.w.between(time.Millisecond, 500*time.Millisecond), func() { a.tryClaim(r) }) // the same claim_seq: it gets the same set
			return
		}
		a.claiming = false
		var mine []entropy.Assignment
		for _, item := range v.(entropy.ClaimReply).Assignments {
			if !item.Revoked {
				mine = append(mine, item)
			}
		}
		a.take(mine)
		a.later(time.Millisecond, a.claim)
	})
}

// take accepts assignments or refuses them.
func (a *agent) take(items []entropy.Assignment) {
	var accepted []entropy.Assignment
	var refused []entropy.Refusal
	for _, item := range items {
		a.w.check.granted(&item)
		a.claimed = append(a.claimed, item.AssignmentID)
		switch {
		case a.h.refuses(item.JobID):
			refused = append(refused, entropy.Refusal{JobID: item.JobID, AssignmentID: item.AssignmentID, Message: "policy"})
		case a.w.mutant == StartBeforeAck:
			a.h.start(&item, a.w.now()+a.trusted())
			fallthrough
		default:
			accepted = append(accepted, item)
		}
	}
	if len(refused) > 0 {
		a.refuse(refused)
	}
	if len(accepted) > 0 {
		a.ack(accepted, a.w.now())
	}
}

func (a *agent) drop(id entropy.AssignmentID) {
	a.claimed = slices.DeleteFunc(a.claimed, func(o entropy.AssignmentID) bool { return o == id })
}

// ack accepts assignments. Only one whose ACK was answered may start. Trust counts
// from the first try: the control plane's renewal is that of the one that reached
// it first.
func (a *agent) ack(items []entropy.Assignment, first time.Duration) {
	r := entropy.AckRequest{Incarnation: a.inc}
	for _, item := range items {
		r.Items = append(r.Items, entropy.Held{JobID: item.JobID, AssignmentID: item.AssignmentID})
	}
	a.call("ack", timeout, func(ctx context.Context, s *actors.System) (any, error) {
		return s.Ack(ctx, r)
	}, func(v any, err error, answered bool) {
		if !answered || err != nil {
			a.later(a.w.between(0, 300*time.Millisecond), func() { a.ack(items, first) })
			return
		}
		var again []entropy.Assignment
		for i, result := range v.([]entropy.ItemResult) {
			switch {
			case result.Error == nil:
				a.w.check.acked(&items[i])
				a.h.start(&items[i], first+a.trusted())
			case undecided(result.Error):
				again = append(again, items[i])
				continue
			}
			a.drop(items[i].AssignmentID)
		}
		if len(again) > 0 {
			a.later(a.w.between(0, 300*time.Millisecond), func() { a.ack(again, first) })
		}
		a.claim()
	})
}

// undecided reports whether an item's error says that it must be asked again.
func undecided(e *entropy.Error) bool {
	switch e.Code {
	case entropy.CodeUnknown, entropy.CodeUnavailable, entropy.CodeDiskFull, entropy.CodeOverloaded:
		return true
	}
	return false
}

func (a *agent) refuse(items []entropy.Refusal) {
	r := entropy.RefuseRequest{Incarnation: a.inc, Items: items}
	a.call("refuse", timeout, func(ctx context.Context, s *actors.System) (any, error) {
		return s.Refuse(ctx, r)
	}, func(_ any, err error, answered bool) {
		if !answered || err != nil {
			a.later(a.w.between(0, 300*time.Millisecond), func() { a.refuse(items) })
			return
		}
		for _, item := range items { // what could not be given back is taken back in time
			a.drop(item.AssignmentID)
		}
		a.claim()
	})
}

// report sends what is in the spool and on disk: those with artifacts one by one,
// once these are staged, and the others together.
func (a *agent) report() {
	if a.inc == 0 {
		return
	}
	var batch []*entry
	for _, e := range a.h.spool {
		if e.sending || !e.durable && a.w.mutant != ReportBeforeSync {
			continue
		}
		e.sending = true
		if len(e.completion.Artifacts) == 0 {
			batch = append(batch, e)
		} else if e.staged {
			a.complete([]*entry{e})
		} else {
			a.stage(e)
		}
	}
	if len(batch) > 0 {
		a.complete(batch)
	}
}

// retry has entries reported again after a pause.
func (a *agent) retry(entries []*entry) {
	a.later(a.w.between(100*time.Millisecond, 2*time.Second), func() {
		for _, e := range entries {
			e.sending = false
		}
		a.report()
	})
}

func (a *agent) stage(e *entry) {
	c := &e.completion
	content := contentOf(c.JobID)
	u := entropy.ArtifactUpload{JobID: c.JobID, AssignmentID: c.AssignmentID, SHA256: c.Artifacts[0].SHA256, Size: int64(len(content))}
	a.call("stage", timeout, func(ctx context.Context, s *actors.System) (any, error) {
		return s.StageArtifact(ctx, u, bytes.NewReader(content))
	}, func(_ any, err error, answered bool) {
		code := entropy.ErrorCode(err)
		if answered && (err == nil || code == entropy.CodeSuperseded || code == entropy.CodeNotFound) { // the completion will be told
			e.staged = true
			a.complete([]*entry{e})
			return
		}
		a.retry([]*entry{e})
	})
}

func (a *agent) complete(entries []*entry) {
	r := entropy.CompleteRequest{Incarnation: a.inc}
	for _, e := range entries {
		a.w.check.reports(e)
		if e.agent != a {
			a.w.tally[SpoolReplayed]++
		}
		r.Items = append(r.Items, e.completion)
		if a.w.mutant == SpoolForgetsEarly {
			a.h.forget(e)
		}
	}
	a.call("complete", timeout, func(ctx context.Context, s *actors.System) (any, error) {
		return a.w.complete(ctx, s, a.h, r)
	}, func(v any, err error, answered bool) {
		if !answered || err != nil {
			a.retry(entries)
			return
		}
		var again []*entry
		for i, reply := range v.([]entropy.CompletionReply) {
			switch reply.Verdict {
			case entropy.VerdictAccepted, entropy.VerdictSuperseded, entropy.VerdictRefused:
				a.h.forget(entries[i])
				continue
			case entropy.VerdictNotFound:
				a.w.fail("INV-1", "the control plane knows nothing of %s", reply.AssignmentID)
			case entropy.VerdictReupload:
				a.w.tally[Reuploaded]++
				entries[i].staged = false
			}
			again = append(again, entries[i])
		}
		if len(again) > 0 {
			a.retry(again)
		}
	})
}
