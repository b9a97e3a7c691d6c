package journal

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The kit makes changes as the actors do: by the real machines.

var epoch0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// spec is an ordinary small job.
func spec() entropy.JobSpec {
	return entropy.JobSpec{Name: "hash", Command: []string{"/usr/bin/sha256sum", "input.tar"}, Artifacts: []string{"*.sum"}}
}

// tracker follows one job through its life.
type tracker struct {
	job *entropy.Job
	now time.Time
}

func newTracker(id string) *tracker {
	return &tracker{job: &entropy.Job{ID: entropy.JobID(id)}, now: epoch0}
}

// change decides on a command and returns what to append. The tracker follows as
// if the append will succeed.
func (k *tracker) change(tb testing.TB, cmd entropy.JobCommand) entropy.Change {
	tb.Helper()
	k.now = k.now.Add(time.Millisecond)
	d, err := k.job.Decide(cmd, k.now)
	if err != nil {
		tb.Fatalf("decide %T: %v", cmd, err)
	}
	next, err := k.job.Next(d.Events)
	if err != nil {
		tb.Fatalf("apply %T: %v", cmd, err)
	}
	ch := entropy.Change{Entity: entropy.Entity(entropy.KindJob, string(k.job.ID)), Expected: k.job.Version, Before: k.job, State: next}
	for i := range d.Events {
		e, err := d.Events[i].Envelope()
		if err != nil {
			tb.Fatal(err)
		}
		ch.Events = append(ch.Events, e)
	}
	k.job = next
	return ch
}

func submitCmd(s entropy.JobSpec) entropy.Submit {
	h, err := s.SpecHash()
	if err != nil {
		panic(err)
	}
	return entropy.Submit{Spec: s, SpecHash: h, Principal: "admin:test"}
}

func (k *tracker) submit(tb testing.TB, s entropy.JobSpec) entropy.Change {
	return k.change(tb, submitCmd(s))
}

func (k *tracker) assign(tb testing.TB, worker string, claimSeq uint64) entropy.Change {
	return k.change(tb, entropy.Assign{AssignmentID: entropy.AssignmentID(entropy.NewID()), WorkerID: entropy.WorkerID(worker),
		Incarnation: 1, ClaimSeq: claimSeq, TTL: 15 * time.Second})
}

func (k *tracker) lease() entropy.Lease { return *k.job.Lease }

func (k *tracker) ack(tb testing.TB) entropy.Change {
	l := k.lease()
	return k.change(tb, entropy.Ack{AssignmentID: l.AssignmentID, WorkerID: l.WorkerID})
}

func (k *tracker) succeed(tb testing.TB) entropy.Change {
	l, code := k.lease(), 0
	return k.change(tb, entropy.Complete{WorkerID: l.WorkerID, Eligible: 3, Completion: entropy.Completion{JobID: k.job.ID,
		AssignmentID: l.AssignmentID, SpoolID: "spool-1", CompletionSeq: 1, Outcome: entropy.OutcomeSucceeded, ExitCode: &code,
		Artifacts: []entropy.Artifact{{Name: "out.sum", SHA256: submitCmd(spec()).SpecHash, Size: 65}},
		Usage:     &entropy.Usage{UserCPU: entropy.Duration(3 * time.Millisecond), MaxRSS: 4 << 20}}})
}

func (k *tracker) lose(tb testing.TB) entropy.Change {
	return k.change(tb, entropy.EndLease{AssignmentID: k.lease().AssignmentID, Cause: entropy.CauseLeaseExpired, Eligible: 3})
}

func (k *tracker) reattach(tb testing.TB, l entropy.Lease) entropy.Change {
	return k.change(tb, entropy.Reattach{AssignmentID: l.AssignmentID, WorkerID: l.WorkerID, Incarnation: l.Incarnation, TTL: l.TTL.D()})
}

func (k *tracker) requeue(tb testing.TB) entropy.Change {
	k.now = k.job.RetryAt.Add(time.Millisecond)
	return k.change(tb, entropy.Wake{})
}

// register makes a worker.
func register(tb testing.TB, id string) (entropy.Change, *entropy.Worker) {
	tb.Helper()
	w := &entropy.Worker{ID: entropy.WorkerID(id)}
	events, _, err := w.Register(entropy.Registration{Nonce: entropy.NewID(), KeyHash: "k", BootID: "b", SpoolID: "s", Slots: 4,
		Hostname: "host-" + id, Labels: map[string]string{"os": "linux"}, Handlers: []string{"noop"}, Resources: entropy.Resources{"cpu": 4 * entropy.Unit}}, epoch0)
	if err != nil {
		tb.Fatal(err)
	}
	return workerChange(tb, w, events)
}

func workerChange(tb testing.TB, w *entropy.Worker, events []entropy.WorkerEvent) (entropy.Change, *entropy.Worker) {
	tb.Helper()
	next := w.Clone()
	ch := entropy.Change{Entity: entropy.Entity(entropy.KindWorker, string(w.ID)), Expected: w.Version, Before: w, State: next}
	for i := range events {
		if err := next.Apply(events[i]); err != nil {
			tb.Fatal(err)
		}
		e, err := events[i].Envelope()
		if err != nil {
			tb.Fatal(err)
		}
		ch.Events = append(ch.Events, e)
	}
	return ch, next
}

// open opens a journal that is closed at the end of the test.
func open(tb testing.TB, cfg Config) *Journal {
	tb.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(tb.TempDir(), "journal.db")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	j, err := Open(context.Background(), cfg)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() {
		if err := j.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return j
}

// must appends or fails the test.
func must(tb testing.TB, j *Journal, changes ...entropy.Change) entropy.Position {
	tb.Helper()
	p, err := j.Append(context.Background(), changes...)
	if err != nil {
		tb.Fatalf("append: %v", err)
	}
	return p
}

func wantCode(tb testing.TB, err error, code entropy.Code) {
	tb.Helper()
	if got := entropy.ErrorCode(err); got != code {
		tb.Fatalf("got %q (%v), want code %q", got, err, code)
	}
}

// runJob takes a job from submitted to succeeded, one append per event.
func runJob(tb testing.TB, j *Journal, id, worker string, claimSeq uint64) *tracker {
	tb.Helper()
	k := newTracker(id)
	must(tb, j, k.submit(tb, spec()))
	must(tb, j, k.assign(tb, worker, claimSeq))
	must(tb, j, k.ack(tb))
	must(tb, j, k.succeed(tb))
	return k
}

// allEvents reads the whole journal, page by page.
func allEvents(tb testing.TB, r interface {
	Events(context.Context, entropy.EventFilter) (entropy.EventPage, error)
}, limit int,
) []entropy.Event {
	tb.Helper()
	var all []entropy.Event
	f := entropy.EventFilter{Limit: limit}
	for {
		page, err := r.Events(context.Background(), f)
		if err != nil {
			tb.Fatal(err)
		}
		if len(page.Events) == 0 {
			return all
		}
		all = append(all, page.Events...)
		f.After = page.Next
	}
}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }
