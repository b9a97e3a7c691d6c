package entropytest

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Service is the behavior that every implementation of [entropy.Service] and
// [entropy.WorkerService] shares. open returns a fabric without jobs and
// workers; it is called once for each part of the suite and cleans up with
// t.Cleanup. The suite needs no clock: it waits on the fabric itself.
func Service(t *testing.T, open func(t *testing.T) Fabric) {
	for _, part := range []struct {
		name string
		run  func(*suite)
	}{
		{"Submit", testSubmit}, {"SubmitIdempotent", testSubmitIdempotent}, {"SubmitBatch", testSubmitBatch},
		{"NotFound", testNotFound}, {"Jobs", testJobs}, {"Life", testLife}, {"JobRoundTrip", testJobRoundTrip},
		{"ClaimWaits", testClaimWaits}, {"ClaimRepeat", testClaimRepeat}, {"ClaimRequire", testClaimRequire},
		{"Ack", testAck}, {"Refuse", testRefuse}, {"RefusedByAll", testRefusedByAll},
		{"CompleteRepeat", testCompleteRepeat}, {"CompleteUnknown", testCompleteUnknown}, {"CompleteForeign", testCompleteForeign},
		{"Failure", testFailure}, {"NonRetryable", testNonRetryable}, {"Result", testResult},
		{"Dependencies", testDependencies}, {"DependencyFails", testDependencyFails}, {"DependencyAndDelay", testDependencyAndDelay},
		{"GroupRefused", testGroupRefused}, {"GroupRepeat", testGroupRepeat}, {"Array", testArray}, {"ArrayWishes", testArrayWishes},
		{"Hold", testHold}, {"Bulk", testBulk}, {"RetryDependents", testRetryDependents},
		{"CancelPending", testCancelPending}, {"CancelRunning", testCancelRunning}, {"Retry", testRetry},
		{"Wait", testWait}, {"WaitCanceled", testWaitCanceled},
		{"Events", testEvents}, {"EventsFilter", testEventsFilter}, {"EventsPosition", testEventsPosition},
		{"Logs", testLogs}, {"LogsFollow", testLogsFollow},
		{"Artifacts", testArtifacts}, {"ArtifactMissing", testArtifactMissing}, {"Blobs", testBlobs},
		{"Checkpoints", testCheckpoints}, {"CheckpointFence", testCheckpointFence}, {"CheckpointRefused", testCheckpointRefused},
		{"Register", testRegister}, {"Inventory", testInventory}, {"Drain", testDrain}, {"Heartbeat", testHeartbeat}, {"Leave", testLeave},
		{"Schedules", testSchedules}, {"ScheduleModes", testScheduleModes}, {"ScheduleFire", testScheduleFire}, {"ScheduleRefused", testScheduleRefused},
		{"Actions", testActions}, {"ActionCancel", testActionCancel}, {"ActionApproval", testActionApproval}, {"DeadLetters", testDeadLetters},
		{"ActionRefused", testActionRefused}, {"CommandPolicy", testCommandPolicy},
		{"Policy", testPolicy}, {"Explain", testExplain}, {"Status", testStatus}, {"Handle", testHandle},
	} {
		t.Run(part.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			f := open(t)
			if f.KeyHash == nil {
				f.KeyHash = KeyHash
			}
			part.run(&suite{T: t, ctx: ctx, Fabric: f})
		})
	}
}

// suite is one part's view of the fabric under test.
type suite struct {
	*testing.T
	Fabric
	ctx context.Context
}

// node is a registered worker.
type node struct {
	*suite
	entropy.WorkerService
	name        entropy.WorkerID
	incarnation uint64
	seq         uint64
	completions uint64
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) wantCode(err error, codes ...entropy.Code) {
	s.Helper()
	if !slices.Contains(codes, entropy.ErrorCode(err)) {
		s.Fatalf("got error %v (code %q), want code %q", err, entropy.ErrorCode(err), codes)
	}
}

// command is the spec of a job that retries at once.
func command(argv ...string) entropy.JobSpec {
	return entropy.JobSpec{Command: argv, Retry: entropy.RetryPolicy{Backoff: entropy.Duration(time.Millisecond)}}
}

// submit submits one job and returns its ID.
func (s *suite) submit(spec entropy.JobSpec) entropy.JobID {
	s.Helper()
	res, err := s.Service.Submit(s.ctx, []entropy.Submission{{ID: entropy.JobID(entropy.NewID()), Spec: spec}})
	s.must(err)
	if len(res) != 1 || res[0].Error != nil || !res[0].Created {
		s.Fatalf("submit: %+v", res)
	}
	return res[0].ID
}

func (s *suite) job(id entropy.JobID) *entropy.Job {
	s.Helper()
	j, err := s.Service.Job(s.ctx, id)
	s.must(err)
	return j
}

// wantState fails unless the job is in the state now.
func (s *suite) wantState(id entropy.JobID, want entropy.State) *entropy.Job {
	s.Helper()
	j := s.job(id)
	if j.State != want {
		s.Fatalf("job %s is %s (%s %s), want %s", id, j.State, j.Reason, j.Message, want)
	}
	return j
}

// ended waits for the job's end and fails unless it is this one.
func (s *suite) ended(id entropy.JobID, want entropy.State) *entropy.Job {
	s.Helper()
	done, err := s.Service.Wait(s.ctx, []entropy.JobID{id}, patience)
	s.must(err)
	if len(done) != 1 || done[0].State != want {
		s.Fatalf("job %s did not end as %s: %+v", id, want, s.job(id))
	}
	return done[0]
}

func (s *suite) registration(name entropy.WorkerID) entropy.Registration {
	return entropy.Registration{Nonce: entropy.NewID(), KeyHash: s.KeyHash(name), BootID: "boot-" + string(name), SpoolID: "spool-" + string(name),
		Hostname: "host-" + string(name), Version: "test", Slots: 64, Labels: map[string]string{"zone": string(name)}}
}

// node registers a worker.
func (s *suite) node(name entropy.WorkerID) *node {
	s.Helper()
	n := &node{suite: s, WorkerService: s.Worker(name), name: name}
	reg, err := n.Register(s.ctx, s.registration(name))
	s.must(err)
	if reg.WorkerID != name || reg.Incarnation == 0 || reg.LeaseTTL <= 0 || reg.Heartbeat <= 0 || reg.Epoch == 0 {
		s.Fatalf("register: %+v", reg)
	}
	n.incarnation = reg.Incarnation
	return n
}

// claim makes the next claim and waits up to a while for it.
func (n *node) claim(want int, wait time.Duration) []entropy.Assignment {
	n.Helper()
	n.seq++
	reply, err := n.Claim(n.ctx, entropy.ClaimRequest{Incarnation: n.incarnation, ClaimSeq: n.seq, Want: want, Wait: entropy.Duration(wait)})
	n.must(err)
	return reply.Assignments
}

// claimOne claims until it has an assignment.
func (n *node) claimOne() entropy.Assignment {
	n.Helper()
	if got := n.claim(1, patience); len(got) == 1 {
		return got[0]
	}
	n.Fatalf("worker %s was given no job in time", n.name)
	return entropy.Assignment{}
}

// start claims a job and ACKs it.
func (n *node) start() entropy.Assignment {
	n.Helper()
	a := n.claimOne()
	n.ack(a)
	return a
}

func (n *node) ack(a entropy.Assignment) {
	n.Helper()
	res, err := n.Ack(n.ctx, entropy.AckRequest{Incarnation: n.incarnation, Items: []entropy.Held{{JobID: a.JobID, AssignmentID: a.AssignmentID}}})
	n.must(err)
	if len(res) != 1 || res[0].Error != nil || res[0].AssignmentID != a.AssignmentID {
		n.Fatalf("ack: %+v", res)
	}
}

// completion returns a completion of a with this outcome.
func (n *node) completion(a entropy.Assignment, outcome entropy.Outcome) entropy.Completion {
	n.completions++
	now := time.Now().UTC().Truncate(time.Millisecond)
	return entropy.Completion{JobID: a.JobID, AssignmentID: a.AssignmentID, SpoolID: "spool-" + string(n.name), CompletionSeq: n.completions,
		Outcome: outcome, StartedAt: now, FinishedAt: now}
}

// exit returns the completion of a process that exited with a code.
func (n *node) exit(a entropy.Assignment, code int) entropy.Completion {
	c := n.completion(a, entropy.OutcomeSucceeded)
	c.ExitCode = &code
	if code != 0 {
		c.Outcome, c.Reason = entropy.OutcomeFailed, entropy.ReasonExit
	}
	return c
}

func (n *node) complete(c entropy.Completion) entropy.CompletionReply {
	n.Helper()
	replies, err := n.Complete(n.ctx, entropy.CompleteRequest{Incarnation: n.incarnation, Items: []entropy.Completion{c}})
	n.must(err)
	if len(replies) != 1 || replies[0].AssignmentID != c.AssignmentID {
		n.Fatalf("complete: %+v", replies)
	}
	return replies[0]
}

// accept completes and fails unless the completion is accepted.
func (n *node) accept(c entropy.Completion) {
	n.Helper()
	if r := n.complete(c); r.Verdict != entropy.VerdictAccepted {
		n.Fatalf("complete: %+v, want accepted", r)
	}
}

// stage uploads content for an assignment and returns it as an artifact.
func (n *node) stage(a entropy.Assignment, name string, content []byte) entropy.Artifact {
	n.Helper()
	art := entropy.Artifact{Name: name, SHA256: hash(content), Size: int64(len(content))}
	u := entropy.ArtifactUpload{JobID: a.JobID, AssignmentID: a.AssignmentID, SHA256: art.SHA256, Size: art.Size}
	staged, err := n.StageArtifact(n.ctx, u, bytes.NewReader(content))
	n.must(err)
	if staged != art.Size {
		n.Fatalf("staged %d of %d bytes", staged, art.Size)
	}
	return art
}

// events returns all events of an entity so far.
func (s *suite) events(entity string) []entropy.Event {
	s.Helper()
	var all []entropy.Event
	f := entropy.EventFilter{Entity: entity}
	for {
		page, err := s.Service.Events(s.ctx, f)
		s.must(err)
		all = append(all, page.Events...)
		if page.Next == f.After || len(page.Events) == 0 {
			return all
		}
		f.After = page.Next
	}
}

func (s *suite) read(r io.ReadCloser) []byte {
	s.Helper()
	b, err := io.ReadAll(r)
	s.must(err)
	s.must(r.Close())
	return b
}
