package harness

import (
	"fmt"
	"slices"
	"strings"
)

// hard is a hard state that a run of many histories must have reached, or it has
// shown little.
type hard string

// The hard states.
const (
	StaleRefused       hard = "stale completion refused"
	LateAccepted       hard = "late result accepted"
	LateFailure        hard = "late failure counted"
	Reattached         hard = "reattachment"
	SuccessorRevoked   hard = "successor without ACK revoked"
	ClaimReplayed      hard = "claim replayed"
	CrashBeforeReply   hard = "crash between commit and reply"
	CrashBeforeCommit  hard = "crash before commit"
	ExpiredAlive       hard = "lease expired while the worker lived"
	SpoolReplayed      hard = "spool replay after restart"
	FirstAnswerAgain   hard = "repeated completion given the first answer"
	StaleBeatDropped   hard = "stale heartbeat dropped"
	HostRebooted       hard = "job lost by reboot"
	HostSlept          hard = "worker machine suspended"
	PoisonGuard        hard = "poison guard spared a job"
	LossesSpent        hard = "losses spent"
	FailuresSpent      hard = "failures spent"
	CanceledRunning    hard = "running job canceled"
	CanceledByLease    hard = "canceled by the end of the lease"
	StoppedByContract  hard = "stopped by contract"
	RefusedByAll       hard = "refused by every worker"
	NoRetryWaited      hard = "no-retry job waited for its worker"
	NoAck              hard = "released for want of an ACK"
	ControlPaused      hard = "control plane suspended"
	LabPowerCut        hard = "power cut of the whole lab"
	ConflictingSubmit  hard = "other job under a known ID refused"
	ResultLostUnsynced hard = "result lost before it was on disk"
	GroupCommit        hard = "several appends in one commit"
	CommitConflict     hard = "append refused by the journal"
	SlowCommit         hard = "slow commit"
	DiskFull           hard = "disk full"
	OutcomeUnknown     hard = "commit of unknown outcome"
	ActorCrashed       hard = "job's actor crashed"
	Retried            hard = "ended job retried"
	Drained            hard = "worker drained or resumed"
	ForgeryRefused     hard = "completion of another's assignment refused"
	Reuploaded         hard = "artifact uploaded again"
	Preempted          hard = "job made room"
	Unblocked          hard = "job started after those it waited for"
	DependencyFailed   hard = "job failed with one it waited for"
	HeldBack           hard = "job held and released"
	PolicyChanged      hard = "policy changed"
	ClockStepped       hard = "wall clock set back and right again"
)

// hardStates lists every hard state.
var hardStates = []hard{StaleRefused, LateAccepted, LateFailure, Reattached, SuccessorRevoked, ClaimReplayed, CrashBeforeReply,
	CrashBeforeCommit, ExpiredAlive, SpoolReplayed, FirstAnswerAgain, StaleBeatDropped, HostRebooted, HostSlept, PoisonGuard, LossesSpent,
	FailuresSpent, CanceledRunning, CanceledByLease, StoppedByContract, RefusedByAll, NoRetryWaited, NoAck, ControlPaused, LabPowerCut,
	ConflictingSubmit, ResultLostUnsynced, GroupCommit, CommitConflict, SlowCommit, DiskFull, OutcomeUnknown, ActorCrashed, Retried,
	Drained, ForgeryRefused, Reuploaded, Preempted, Unblocked, DependencyFailed, HeldBack, PolicyChanged, ClockStepped}

// tally counts how often each hard state was reached.
type tally map[hard]int

func (t tally) add(o tally) {
	for k, n := range o {
		t[k] += n
	}
}

// missing lists the hard states that were not reached.
func (t tally) missing() (none []hard) {
	for _, k := range hardStates {
		if t[k] == 0 {
			none = append(none, k)
		}
	}
	return none
}

// String lists the counts, one a line, the rarest first.
func (t tally) String() string {
	all := slices.Clone(hardStates)
	slices.SortStableFunc(all, func(a, b hard) int { return t[a] - t[b] })
	var b strings.Builder
	for _, k := range all {
		fmt.Fprintf(&b, "%9d  %s\n", t[k], k)
	}
	return b.String()
}
