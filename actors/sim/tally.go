package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Hard is a hard state that a run of many histories must have reached, or it has
// shown little.
type Hard string

// The hard states.
const (
	StaleRefused         Hard = "stale completion refused"
	LateAccepted         Hard = "late result accepted"
	LateFailure          Hard = "late failure counted once"
	Reattached           Hard = "reattachment"
	SuccessorRevoked     Hard = "successor without ACK revoked"
	ClaimReplayed        Hard = "claim replayed"
	CrashBeforeReply     Hard = "crash between commit and reply"
	CrashBeforeCommit    Hard = "crash before commit"
	CommitUnknown        Hard = "commit of unknown outcome"
	CommitUnknownWritten Hard = "commit failed after it was written"
	DiskFull             Hard = "disk full"
	ShortTrust           Hard = "heartbeat that renewed less, the disk being full"
	ExpiredAlive         Hard = "lease expired while the worker lived"
	SpoolReplayed        Hard = "spool replay after restart"
	SpoolDiskBad         Hard = "spool could not be written"
	FirstAnswerAgain     Hard = "repeated completion given the first answer"
	StaleBeatDropped     Hard = "stale heartbeat dropped"
	OldRegistration      Hard = "delayed registration refused"
	HostRebooted         Hard = "job lost by reboot"
	LostByGossip         Hard = "job lost early by gossip"
	PoisonGuard          Hard = "poison guard spared a job"
	LossesSpent          Hard = "losses spent"
	FailuresSpent        Hard = "failures spent"
	RetriesFull          Hard = "limit of retries reached"
	CanceledRunning      Hard = "running job canceled"
	CanceledByLease      Hard = "canceled by the end of the lease"
	StoppedByContract    Hard = "stopped by contract"
	Preempted            Hard = "preemption requested"
	PreemptedGone        Hard = "preempted job made room"
	PreemptBeaten        Hard = "preemption beaten by exit"
	RefusedByAll         Hard = "refused by every worker"
	ProbationFailed      Hard = "quarantined worker resumed by the operator"
	DependencyFailed     Hard = "failed by its dependency"
	QueuePaused          Hard = "queue paused"
	NoRetryWaited        Hard = "no-retry job waited for its worker"
	ControlPaused        Hard = "control plane paused"
	LabPowerCut          Hard = "whole-lab crash"
	ClockStepped         Hard = "clock step"
	WorkerSuspended      Hard = "suspended worker"
	SuspendedPastTrust   Hard = "suspended past the trust in its lease"
	ConflictingSubmit    Hard = "other job under a known ID refused"
	OperationRepeated    Hard = "repeated operation done once"
	Forged               Hard = "message forged by another worker"
	ForgeryRefused       Hard = "forged completion refused"
	ResultLostUnsynced   Hard = "result lost before it was on disk"
)

// HardStates lists every hard state.
var HardStates = []Hard{StaleRefused, LateAccepted, LateFailure, Reattached, SuccessorRevoked, ClaimReplayed, CrashBeforeReply,
	CrashBeforeCommit, CommitUnknown, CommitUnknownWritten, DiskFull, ShortTrust, ExpiredAlive, SpoolReplayed, SpoolDiskBad, FirstAnswerAgain,
	StaleBeatDropped, OldRegistration, HostRebooted, LostByGossip, PoisonGuard, LossesSpent, FailuresSpent, RetriesFull,
	CanceledRunning, CanceledByLease, StoppedByContract, Preempted, PreemptedGone, PreemptBeaten, RefusedByAll, ProbationFailed,
	DependencyFailed, QueuePaused, NoRetryWaited, ControlPaused, LabPowerCut, ClockStepped, WorkerSuspended, SuspendedPastTrust,
	ConflictingSubmit, OperationRepeated, Forged, ForgeryRefused, ResultLostUnsynced}

// Tally counts how often each hard state was reached.
type Tally map[Hard]int

// Add adds the counts of o to t.
func (t Tally) Add(o Tally) {
	for k, n := range o {
		t[k] += n
	}
}

// Rare lists the hard states that were reached fewer than least times.
func (t Tally) Rare(least int) []Hard {
	var m []Hard
	for _, k := range HardStates {
		if t[k] < least {
			m = append(m, k)
		}
	}
	return m
}

// String lists the counts, one a line, the rarest first.
func (t Tally) String() string {
	all := slices.Clone(HardStates)
	slices.SortStableFunc(all, func(a, b Hard) int { return t[a] - t[b] })
	var b strings.Builder
	for _, k := range all {
		fmt.Fprintf(&b, "%9d  %s\n", t[k], k)
	}
	return b.String()
}
