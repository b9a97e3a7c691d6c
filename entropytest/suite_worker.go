package entropytest

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }

// proves W-2: acquisition is a long poll
func testClaimWaits(s *suite) {
	w := s.node("w1")
	if got := w.claim(1, 0); len(got) != 0 {
		s.Fatalf("nothing was submitted, but %+v assigned", got)
	}
	w.seq++
	got := make(chan entropy.ClaimReply, 1)
	go func() {
		reply, err := w.Claim(s.ctx, entropy.ClaimRequest{Incarnation: w.incarnation, ClaimSeq: w.seq, Want: 5, Wait: entropy.Duration(patience)})
		if err != nil {
			s.Errorf("claim: %v", err)
		}
		got <- reply
	}()
	id := s.submit(command("true"))
	if reply := <-got; len(reply.Assignments) != 1 || reply.Assignments[0].JobID != id || reply.Epoch == 0 {
		s.Fatalf("claim: %+v", reply)
	}
	for range 4 {
		s.submit(command("true"))
	}
	if n := len(w.claim(3, patience)); n < 1 || n > 3 {
		s.Fatalf("asked for up to 3, got %d", n)
	}
}

// proves W-2: a repeat of a claim returns the original set, and gives out nothing new
func testClaimRepeat(s *suite) {
	w := s.node("w1")
	id := s.submit(command("true"))
	a := w.claimOne()
	s.submit(command("true"))
	again, err := w.Claim(s.ctx, entropy.ClaimRequest{Incarnation: w.incarnation, ClaimSeq: w.seq, Want: 10})
	s.must(err)
	if len(again.Assignments) != 1 || again.Assignments[0].AssignmentID != a.AssignmentID || again.Assignments[0].JobID != id || again.Assignments[0].Revoked {
		s.Fatalf("repeat: %+v, first %+v", again, a)
	}
	_, err = s.Service.Cancel(s.ctx, id, entropy.Operation{ID: "op"})
	s.must(err)
	again, err = w.Claim(s.ctx, entropy.ClaimRequest{Incarnation: w.incarnation, ClaimSeq: w.seq, Want: 10})
	s.must(err)
	if len(again.Assignments) != 1 || !again.Assignments[0].Revoked {
		s.Fatalf("repeat after the cancel: %+v, want it revoked", again)
	}
}

// proves J-9: required labels
func testClaimRequire(s *suite) {
	spec := command("true")
	spec.Require = map[string]string{"zone": "w2"}
	id := s.submit(spec)
	if got := s.node("w1").claim(1, 0); len(got) != 0 {
		s.Fatalf("w1 lacks the label, but got %+v", got)
	}
	if a := s.node("w2").claimOne(); a.JobID != id {
		s.Fatalf("w2 got %+v", a)
	}
}

// proves W-2: an ACK is idempotent and fenced by assignment and by worker
func testAck(s *suite) {
	id := s.submit(command("true"))
	w, other := s.node("w1"), s.node("w2")
	a := w.claimOne()
	ack := func(n *node, h entropy.Held) entropy.ItemResult {
		s.Helper()
		res, err := n.Ack(s.ctx, entropy.AckRequest{Incarnation: n.incarnation, Items: []entropy.Held{h}})
		s.must(err)
		if len(res) != 1 || res[0].AssignmentID != h.AssignmentID {
			s.Fatalf("ack: %+v", res)
		}
		return res[0]
	}
	mine := entropy.Held{JobID: id, AssignmentID: a.AssignmentID}
	if r := ack(other, mine); r.Error == nil {
		s.Fatal("another worker's ACK was accepted")
	}
	s.wantState(id, entropy.Assigned)
	w.ack(a)
	w.ack(a)
	unknown := ack(w, entropy.Held{JobID: id, AssignmentID: "none"})
	s.wantCode(orNil(unknown.Error), entropy.CodeNotFound)
	unknown = ack(w, entropy.Held{JobID: "none", AssignmentID: a.AssignmentID})
	s.wantCode(orNil(unknown.Error), entropy.CodeNotFound)
	w.accept(w.exit(a, 0))
	if r := ack(w, mine); r.Error == nil {
		s.Fatal("the assignment has ended, but its ACK was accepted")
	}
}

// proves J-6: a refusal excludes the worker and spends nothing; a transient one does not exclude
func testRefuse(s *suite) {
	id := s.submit(command("true"))
	w1, w2 := s.node("w1"), s.node("w2")
	refuse := func(n *node, a entropy.Assignment, transient bool) {
		s.Helper()
		req := entropy.RefuseRequest{Incarnation: n.incarnation, Items: []entropy.Refusal{{JobID: a.JobID, AssignmentID: a.AssignmentID, Message: "not here", Transient: transient}}}
		for range 2 { // repeating it is harmless
			res, err := n.Refuse(s.ctx, req)
			s.must(err)
			if len(res) != 1 || res[0].Error != nil {
				s.Fatalf("refuse: %+v", res)
			}
		}
	}
	refuse(w1, w1.claimOne(), true)
	a := w1.claimOne()
	refuse(w1, a, false)
	if got := w1.claim(1, 0); len(got) != 0 {
		s.Fatalf("w1 refused the job and got it again: %+v", got)
	}
	a = w2.start()
	w2.accept(w2.exit(a, 0))
	j := s.ended(id, entropy.Succeeded)
	if j.Attempt != 3 || j.Failures != 0 || j.Losses != 0 || !slices.Contains(j.Excluded, "w1") {
		s.Fatalf("job: %+v", j)
	}
}

// proves J-6: refused by every known worker, the job fails by policy
func testRefusedByAll(s *suite) {
	id := s.submit(command("/not/allowed"))
	for _, w := range []*node{s.node("w1"), s.node("w2")} {
		a := w.claimOne()
		_, err := w.Refuse(s.ctx, entropy.RefuseRequest{Incarnation: w.incarnation, Items: []entropy.Refusal{{JobID: id, AssignmentID: a.AssignmentID, Message: "not allowed"}}})
		s.must(err)
	}
	if j := s.ended(id, entropy.Failed); j.Reason != entropy.ReasonPolicy || !strings.Contains(j.Message, "not allowed") {
		s.Fatalf("job: %+v", j)
	}
}

// proves J-4: a repeat gets the original answer, whatever it says
func testCompleteRepeat(s *suite) {
	id := s.submit(command("true"))
	w := s.node("w1")
	a := w.start()
	c := w.exit(a, 0)
	if r := w.complete(c); r.Verdict != entropy.VerdictAccepted || r.Repeat {
		s.Fatalf("first: %+v", r)
	}
	if r := w.complete(c); r.Verdict != entropy.VerdictAccepted || !r.Repeat {
		s.Fatalf("repeat: %+v", r)
	}
	if r := w.complete(w.exit(a, 1)); r.Verdict != entropy.VerdictAccepted || !r.Repeat {
		s.Fatalf("contradicting repeat: %+v", r)
	}
	if j := s.wantState(id, entropy.Succeeded); j.Version != 4 {
		s.Fatalf("repeats left events: %+v", j)
	}
}

// proves W-4: what the fabric does not know is neither an error nor forgotten
func testCompleteUnknown(s *suite) {
	id := s.submit(command("true"))
	w := s.node("w1")
	a := w.start()
	replies, err := w.Complete(s.ctx, entropy.CompleteRequest{Incarnation: w.incarnation, Items: []entropy.Completion{
		w.exit(entropy.Assignment{JobID: "none", AssignmentID: "x"}, 0),
		w.exit(entropy.Assignment{JobID: id, AssignmentID: "y"}, 0),
		w.exit(a, 0),
	}})
	s.must(err)
	var got []entropy.Verdict
	for _, r := range replies {
		got = append(got, r.Verdict)
	}
	if want := []entropy.Verdict{entropy.VerdictNotFound, entropy.VerdictNotFound, entropy.VerdictAccepted}; !slices.Equal(got, want) {
		s.Fatalf("verdicts %v, want %v", got, want)
	}
	s.wantState(id, entropy.Succeeded)
}

// proves S-2: another worker cannot complete an assignment that it was not given
func testCompleteForeign(s *suite) {
	id := s.submit(command("true"))
	w1, w2 := s.node("w1"), s.node("w2")
	a := w1.start()
	replies, err := w2.Complete(s.ctx, entropy.CompleteRequest{Incarnation: w2.incarnation, Items: []entropy.Completion{w2.exit(a, 0)}})
	if err == nil && (len(replies) != 1 || replies[0].Verdict == entropy.VerdictAccepted) {
		s.Fatalf("a foreign completion: %+v", replies)
	}
	s.wantState(id, entropy.Running)
	_, err = w2.AppendLog(s.ctx, entropy.LogUpload{JobID: id, AssignmentID: a.AssignmentID, Stream: "stdout"}, []byte("forged"))
	s.wantCode(err, entropy.CodeForbidden, entropy.CodeSuperseded, entropy.CodeNotFound)
	w1.accept(w1.exit(a, 0))
}

// proves J-6, J-7: failures are counted, retried and bounded
func testFailure(s *suite) {
	spec := command("false")
	spec.Retry.MaxAttempts = 2
	id := s.submit(spec)
	w := s.node("w1")
	first := w.start()
	w.accept(w.exit(first, 3))
	if j := s.job(id); j.State.Terminal() || j.Failures != 1 {
		s.Fatalf("after the first failure: %+v", j)
	}
	second := w.start()
	if second.JobID != id || second.Attempt != 2 || second.AssignmentID == first.AssignmentID {
		s.Fatalf("second attempt: %+v", second)
	}
	c := w.exit(second, 4)
	c.Message = "four"
	w.accept(c)
	j := s.ended(id, entropy.Failed)
	if j.Reason != entropy.ReasonExit || j.Failures != 2 || j.ExitCode == nil || *j.ExitCode != 4 || j.Message != "four" || len(j.Attempts) != 2 {
		s.Fatalf("failed: %+v", j)
	}
}

// proves J-7
func testNonRetryable(s *suite) {
	spec := command("false")
	spec.Retry.NonRetryable = []int{64}
	id := s.submit(spec)
	w := s.node("w1")
	w.accept(w.exit(w.start(), 64))
	if j := s.ended(id, entropy.Failed); j.Failures != 1 {
		s.Fatalf("failed: %+v", j)
	}
}

// proves L-5, W-1: incarnations rise, a repeat of a nonce does not, old agents are told
func testRegister(s *suite) {
	w := s.Worker("w1")
	r := s.registration("w1")
	r.Resources = entropy.Resources{"cpu": 8 * entropy.Unit, "mem": (1 << 34) * entropy.Unit}
	first, err := w.Register(s.ctx, r)
	s.must(err)
	again, err := w.Register(s.ctx, r)
	s.must(err)
	if again.Incarnation != first.Incarnation {
		s.Fatalf("the same nonce got incarnation %d after %d", again.Incarnation, first.Incarnation)
	}
	infos, err := s.Service.Workers(s.ctx)
	s.must(err)
	if len(infos) != 1 || infos[0].ID != "w1" || infos[0].State != entropy.WorkerAlive || infos[0].Slots != 64 || infos[0].Resources["cpu"] != 8*entropy.Unit ||
		infos[0].Labels["zone"] != "w1" || infos[0].Hostname != "host-w1" || infos[0].Incarnation != first.Incarnation {
		s.Fatalf("workers: %+v", infos)
	}
	r.Nonce = entropy.NewID()
	newer, err := w.Register(s.ctx, r)
	s.must(err)
	if newer.Incarnation <= first.Incarnation {
		s.Fatalf("incarnation %d after %d", newer.Incarnation, first.Incarnation)
	}
	_, err = w.Claim(s.ctx, entropy.ClaimRequest{Incarnation: first.Incarnation, ClaimSeq: 1, Want: 1})
	s.wantCode(err, entropy.CodeStale)
	_, err = w.Heartbeat(s.ctx, entropy.Heartbeat{Incarnation: first.Incarnation, Seq: 1})
	s.wantCode(err, entropy.CodeStale)
	bad := s.registration("w1")
	bad.Slots = 0
	_, err = w.Register(s.ctx, bad)
	s.wantCode(err, entropy.CodeInvalid)
}

// proves W-5: a registration gets a verdict on everything it holds
func testInventory(s *suite) {
	s.submit(command("sleep", "9"))
	w := s.node("w1")
	a := w.start()
	r := s.registration("w1")
	r.Inventory = []entropy.Held{{JobID: a.JobID, AssignmentID: a.AssignmentID}, {JobID: "none", AssignmentID: "none"}}
	reg, err := w.Register(s.ctx, r)
	s.must(err)
	w.incarnation = reg.Incarnation
	got := map[entropy.AssignmentID]entropy.Verdict{}
	for _, h := range reg.Held {
		got[h.AssignmentID] = h.Verdict
	}
	if v := got[a.AssignmentID]; v != entropy.VerdictKeep && v != entropy.VerdictReattached {
		s.Fatalf("verdict %q on a running assignment: %+v", v, reg)
	}
	if got["none"] != entropy.VerdictStop {
		s.Fatalf("verdict %q on an unknown assignment", got["none"])
	}
	s.wantState(a.JobID, entropy.Running)
	w.accept(w.exit(a, 0))
}

// proves W-8
func testDrain(s *suite) {
	w := s.node("w1")
	for _, mode := range []entropy.WorkerMode{entropy.WorkerDrain, entropy.WorkerQuarantine} {
		info, err := s.Service.SetWorker(s.ctx, "w1", mode, entropy.Operation{ID: "op-" + string(mode), Reason: "maintenance"})
		s.must(err)
		if info.Schedulable() || info.Reason != "maintenance" {
			s.Fatalf("%s: %+v", mode, info)
		}
		d, err := w.Directives(s.ctx, entropy.DirectivesRequest{Incarnation: w.incarnation})
		s.must(err)
		if !d.Drain {
			s.Fatalf("%s: directives %+v", mode, d)
		}
		id := s.submit(command("true"))
		if got := w.claim(1, 0); len(got) != 0 {
			s.Fatalf("%s: still given %+v", mode, got)
		}
		info, err = s.Service.SetWorker(s.ctx, "w1", entropy.WorkerResume, entropy.Operation{ID: "resume-" + string(mode)})
		s.must(err)
		if !info.Schedulable() {
			s.Fatalf("resume: %+v", info)
		}
		a := w.claimOne()
		if a.JobID != id {
			s.Fatalf("after resume: %+v", a)
		}
		w.ack(a)
		w.accept(w.exit(a, 0))
	}
}

// proves W-3: repeated and older heartbeats change nothing
func testHeartbeat(s *suite) {
	w := s.node("w1")
	s.submit(command("sleep", "9"))
	a := w.start()
	held := []entropy.Held{{JobID: a.JobID, AssignmentID: a.AssignmentID}}
	for _, seq := range []uint64{1, 2, 2, 1} {
		reply, err := w.Heartbeat(s.ctx, entropy.Heartbeat{Incarnation: w.incarnation, Seq: seq, Held: held, SlotsFree: 63})
		s.must(err)
		if reply.Epoch == 0 {
			s.Fatalf("heartbeat: %+v", reply)
		}
	}
	infos, err := s.Service.Workers(s.ctx)
	s.must(err)
	if i := infos[0]; i.HeartbeatSeq != 2 || i.LastHeartbeat == nil || i.Running != 1 {
		s.Fatalf("worker: %+v", i)
	}
	s.wantState(a.JobID, entropy.Running)
}

func testLeave(s *suite) {
	w := s.node("w1")
	s.must(w.Leave(s.ctx, entropy.LeaveRequest{Incarnation: w.incarnation, Final: true}))
	infos, err := s.Service.Workers(s.ctx)
	s.must(err)
	if len(infos) != 1 || infos[0].State != entropy.WorkerLeft {
		s.Fatalf("workers: %+v", infos)
	}
	s.submit(command("true"))
	if a := s.node("w1").claimOne(); a.Attempt != 1 { // it may come back
		s.Fatalf("assignment: %+v", a)
	}
}

func testStatus(s *suite) {
	w := s.node("w1")
	for range 3 {
		s.submit(command("true"))
	}
	w.accept(w.exit(w.start(), 0))
	st, err := s.Service.Status(s.ctx)
	s.must(err)
	if st.Jobs[entropy.Pending] != 2 || st.Jobs[entropy.Succeeded] != 1 || st.Workers[string(entropy.WorkerAlive)] != 1 || st.Epoch == 0 ||
		st.Seq == 0 || st.ClusterID == "" || st.StartedAt.IsZero() || st.StartedAt.After(time.Now().Add(time.Minute)) || st.ReadOnly {
		s.Fatalf("status: %+v", st)
	}
}
