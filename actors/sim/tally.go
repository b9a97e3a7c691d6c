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
	StaleRefused       Hard = "stale completion refused"
	LateAccepted       Hard = "late result accepted"
	LateFailure        Hard = "late failure counted"
	Reattached         Hard = "reattachment"
	SuccessorRevoked   Hard = "successor without ACK revoked"
	ClaimReplayed      Hard = "claim replayed"
	CrashBeforeReply   Hard = "crash between commit and reply"
	CrashBeforeCommit  Hard = "crash before commit"
	ExpiredAlive       Hard = "lease expired while the worker lived"
	SpoolReplayed      Hard = "spool replay after restart"
	FirstAnswerAgain   Hard = "repeated completion given the first answer"
	StaleBeatDropped   Hard = "stale heartbeat dropped"
	OldRegistration    Hard = "delayed registration refused"
	HostRebooted       Hard = "job lost by reboot"
	PoisonGuard        Hard = "poison guard spared a job"
	LossesSpent        Hard = "losses spent"
	FailuresSpent      Hard = "failures spent"
	CanceledRunning    Hard = "running job canceled"
	CanceledByLease    Hard = "canceled by the end of the lease"
	StoppedByContract  Hard = "stopped by contract"
	RefusedByAll       Hard = "refused by every worker"
	NoRetryWaited      Hard = "no-retry job waited for its worker"
	ControlPaused      Hard = "control plane paused"
	LabPowerCut        Hard = "power cut of the whole lab"
	ConflictingSubmit  Hard = "other job under a known ID refused"
	ResultLostUnsynced Hard = "result lost before it was on disk"
)

// HardStates lists every hard state.
var HardStates = []Hard{StaleRefused, LateAccepted, LateFailure, Reattached, SuccessorRevoked, ClaimReplayed, CrashBeforeReply,
	CrashBeforeCommit, ExpiredAlive, SpoolReplayed, FirstAnswerAgain, StaleBeatDropped, OldRegistration, HostRebooted, PoisonGuard,
	LossesSpent, FailuresSpent, CanceledRunning, CanceledByLease, StoppedByContract, RefusedByAll, NoRetryWaited, ControlPaused,
	LabPowerCut, ConflictingSubmit, ResultLostUnsynced}

// Tally counts how often each hard state was reached.
type Tally map[Hard]int

// Add adds the counts of o to t.
func (t Tally) Add(o Tally) {
	for k, n := range o {
		t[k] += n
	}
}

// Missing lists the hard states that were not reached.
func (t Tally) Missing() []Hard {
	var m []Hard
	for _, k := range HardStates {
		if t[k] == 0 {
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
