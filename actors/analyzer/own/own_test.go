package own

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var at0 = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// line is one event of the journal in short: seconds, entity, type, attrs.
type line struct {
	at          int
	entity, typ string
	attrs       string
}

// tell returns what the mapper says of events, in short.
func tell(t *testing.T, m *Mapper, lines []line) (said []string) {
	t.Helper()
	for _, l := range lines {
		e := entropy.Event{TS: at0.Add(time.Duration(l.at) * time.Second), Type: l.typ, EntityID: l.entity, Source: entropy.Source{System: "entropy"}}
		if l.attrs != "" {
			if !json.Valid([]byte(l.attrs)) {
				t.Fatalf("%s", l.attrs)
			}
			e.Attrs = json.RawMessage(l.attrs)
		}
		for _, o := range m.Observations(&e) {
			s := o.Entity + " " + o.Step
			if o.Timed {
				s += " " + o.Latency.String()
			}
			if o.Outcome != "" {
				s += " =" + o.Outcome
			}
			if o.Last || o.Alone {
				s += " ."
			}
			if o.Case == "" {
				s += " recurs"
			}
			if !o.At.Equal(e.TS) || o.Source != "entropy" {
				t.Errorf("%s at %v of %q", s, o.At, o.Source)
			}
			said = append(said, s)
		}
	}
	return said
}

// proves E-2 of the fabric itself: what each kind of event of the journal says.
func TestObservations(t *testing.T) {
	for name, tt := range map[string]struct {
		lines []line
		want  []string
	}{
		"a job that succeeds": {[]line{
			{0, "job:1", entropy.JobSubmitted, `{"spec":{"name":"nightly","command":["/bin/true"],"queue":"q"},"state":"pending"}`},
			{3, "job:1", entropy.JobAssigned, `{"assignment_id":"a1","worker_id":"w"}`},
			{4, "job:1", entropy.JobStarted, `{"assignment_id":"a1"}`},
			{5, "job:1", entropy.JobHeld, ``},
			{64, "job:1", entropy.JobSucceeded, `{"assignment_id":"a1","exit_code":0}`},
		}, []string{"jobs:nightly submitted", "queue:q wait 3s .", "jobs:nightly assigned", "worker:w ack 1s .", "jobs:nightly started",
			"worker:w attempt =succeeded .", "jobs:nightly attempt 1m0s =succeeded .", "jobs:nightly succeeded ."}},
		"one that fails, is tried again and is lost": {[]line{
			{0, "job:2", entropy.JobSubmitted, `{"spec":{"command":["/opt/x/train.sh"]},"state":"scheduled"}`},
			{1, "job:2", entropy.JobEligible, ``},
			{2, "job:2", entropy.JobAssigned, `{"assignment_id":"a1","worker_id":"w"}`},
			{2, "job:2", entropy.JobStarted, ``},
			{5, "job:2", entropy.JobAttemptFailed, `{"reason":"exit","exit_code":1}`},
			{9, "job:2", entropy.JobRequeued, ``},
			{9, "job:2", entropy.JobAssigned, `{"assignment_id":"a2","worker_id":"v"}`},
			{10, "job:2", entropy.JobStarted, ``},
			{99, "job:2", entropy.JobLost, `{"cause":"lease_expired"}`},
			{99, "job:2", entropy.JobFailed, `{"reason":"lost"}`},
		}, []string{"jobs:train.sh submitted", "jobs:train.sh eligible", "queue:default wait 1s .", "jobs:train.sh assigned", "worker:w ack 0s .", "jobs:train.sh started",
			"worker:w attempt =exit .", "jobs:train.sh attempt 3s =exit .", "jobs:train.sh attempt_failed", "jobs:train.sh requeued",
			"queue:default wait 0s .", "jobs:train.sh assigned", "worker:v ack 1s .", "jobs:train.sh started",
			"worker:v attempt =lost .", "jobs:train.sh attempt 1m29s =lost .", "jobs:train.sh lost", "jobs:train.sh failed ."}},
		"one that is canceled while it waits says nothing of a worker": {[]line{
			{0, "job:3", entropy.JobSubmitted, `{"spec":{"handler":"h"},"state":"pending"}`},
			{1, "job:3", entropy.JobCancelRequested, ``}, {2, "job:3", entropy.JobCanceled, ``},
		}, []string{"jobs:h submitted", "jobs:h canceled ."}},
		"an outage of the control plane is not the worker's": {[]line{
			{0, "job:4", entropy.JobAssigned, `{"assignment_id":"a","worker_id":"w"}`},
			{1, "job:4", entropy.JobStarted, ``}, {9, "job:4", entropy.JobLost, `{"cause":"outage"}`},
		}, []string{"worker:w ack 1s ."}},
		"an action": {[]line{
			{0, "action:a", entropy.ActionRequestedType, `{"action_id":"a","command":"notify"}`},
			{1, "action:a", entropy.ActionIssuedType, `{"command":"notify","attempt_id":"t1"}`},
			{2, "action:a", entropy.ActionAcceptedType, `{"command":"notify","executor":"x"}`},
			{3, "action:a", entropy.ActionStartedType, `{"command":"notify"}`},
			{4, "action:a", entropy.ActionRetryingType, `{"command":"notify","kind":"timeout"}`},
			{5, "action:a", entropy.ActionAcceptedType, `{"command":"notify","executor":"y"}`},
			{7, "action:a", entropy.ActionEvidenceType, `{"command":"notify"}`},
			{9, "action:a", entropy.ActionSucceededType, `{"command":"notify","duration_ms":1500}`},
		}, []string{"action:notify requested", "action:notify issued", "action:notify accepted", "action:notify started",
			"executor:x notify 2s =timeout .", "action:notify retrying", "action:notify accepted", "executor:y notify 1.5s =succeeded .", "action:notify succeeded ."}},
		"a dry run, and what is not watched": {[]line{
			{0, "action:a", entropy.ActionRequestedType, `{"command":"notify","dry_run":true}`},
			{0, "token:t", "token.created", `{}`}, {0, "job:5", entropy.JobSubmitted, `[1]`}, {0, "action:b", entropy.ActionRequestedType, ``},
		}, nil},
		"workers and schedules": {[]line{
			{0, "worker:w", entropy.WorkerRegistered, `{}`}, {9, "worker:w", entropy.WorkerWentLost, `{}`}, {9, "schedule:s", entropy.ScheduleFired, `{}`},
			{9, "schedule:s", entropy.SchedulePaused, `{}`},
		}, []string{"worker:w registered", "worker:w lost", "schedule:s fired recurs"}},
	} {
		if said := tell(t, new(Mapper), tt.lines); !reflect.DeepEqual(said, tt.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(said, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// proves that what is remembered of jobs that never end is bounded.
func TestForgets(t *testing.T) {
	m := &Mapper{Limit: 100}
	for i := range 10_000 {
		tell(t, m, []line{{i, fmt.Sprintf("job:%d", i), entropy.JobSubmitted, `{"spec":{"name":"n"},"state":"pending"}`}})
	}
	if n := len(m.jobs.now) + len(m.jobs.old); n > 200 {
		t.Errorf("%d jobs are remembered", n)
	}
	if said := tell(t, m, []line{{1, "job:9999", entropy.JobCanceled, ``}, {2, "job:1", entropy.JobCanceled, ``}}); len(said) != 1 {
		t.Errorf("of one that is remembered and one that is not: %q", said)
	}
}
