package sim

// Mutant takes one protection away, to show that the checker misses it.
type Mutant string

// The mutants. The zero Mutant takes nothing away.
const (
	NoFencing           Mutant = "no-fencing"            // a completion counts for whatever assignment is live
	ReplyBeforeCommit   Mutant = "reply-before-commit"   // the answer leaves before the journal has it
	ApplyBeforeCommit   Mutant = "apply-before-commit"   // the live state changes before the journal has it
	RetryUnknown        Mutant = "retry-unknown"         // a batch whose outcome is unknown is written again
	SeqReused           Mutant = "seq-reused"            // a restart numbers on from where it last looked
	ProjectionLags      Mutant = "projection-lags"       // a record is not written with its events
	TornRecovery        Mutant = "torn-recovery"         // recovery drops the newest event and the newest entity
	OtherBody           Mutant = "other-body"            // a known ID is accepted with another body
	StaleHeartbeat      Mutant = "stale-heartbeat"       // repeated and overtaken heartbeats are applied
	ClaimAgain          Mutant = "claim-again"           // a repeated claim is granted anew
	SpoolForgetsEarly   Mutant = "spool-forgets-early"   // an entry is deleted when it is sent
	SpoolStuck          Mutant = "spool-stuck"           // an entry whose answer was lost is not sent again
	ReportBeforeSync    Mutant = "report-before-sync"    // a result is reported before it is on disk
	BudgetOffByOne      Mutant = "budget-off-by-one"     // one failure more than allowed
	PreemptionCounted   Mutant = "preemption-counted"    // making room spends the budget of losses
	LateAfterAck        Mutant = "late-after-ack"        // a late result is accepted after a later ACK
	DuplicateCompletion Mutant = "duplicate-completion"  // a repeated completion is decided again
	ListeningIgnored    Mutant = "listening-ignored"     // leases run on while nobody could hear
	RestartForgets      Mutant = "restart-forgets"       // a restart forgets who was heard just before it
	StartBeforeAck      Mutant = "start-before-ack"      // a claimed assignment is started without waiting for its ACK
	StartTwice          Mutant = "start-twice"           // the executor does not know what it has started
	NoRetryIgnored      Mutant = "no-retry-ignored"      // a no-retry job is tried again
	RegisterTwice       Mutant = "register-twice"        // a registration that comes late or twice ends what its agent got since
	DoubleAssign        Mutant = "double-assign"         // the scheduler offers a job that is leased
	DeductionForgotten  Mutant = "deduction-forgotten"   // on a full disk a heartbeat renews what no restart could account for
	Overcommit          Mutant = "overcommit"            // the scheduler forgets what a worker holds
	AgingInverted       Mutant = "aging-inverted"        // the less urgent goes first
	HeldAssigned        Mutant = "held-assigned"         // a held job is assigned
	DrainIgnored        Mutant = "drain-ignored"         // a drained worker gets work
	DependencyOnFailure Mutant = "dependency-on-failure" // a failed job releases those that wait for its success
	KeyFreedByLoss      Mutant = "key-freed-by-loss"     // a silent worker's concurrency keys are free
	GossipFreesKey      Mutant = "gossip-frees-key"      // a rumor ends the lease of a job that must not run twice
	StopOutlives        Mutant = "stop-outlives"         // a `stop` job runs on when its lease may have ended
	MonotonicTrust      Mutant = "monotonic-trust"       // trust is measured by a clock that stands still in suspend
	IdentityFromBody    Mutant = "identity-from-body"    // whose assignment it is decides who is taken to have sent it
	OperationForgotten  Mutant = "operation-forgotten"   // the repeat of an operation is done again
	WallTimers          Mutant = "wall-timers"           // waits are measured by the wall clock
	UnsettledIgnored    Mutant = "unsettled-ignored"     // a clock that was just set is believed
	WakeForgotten       Mutant = "wake-forgotten"        // a restart forgets what waits for a time
	RefusalForgotten    Mutant = "refusal-forgotten"     // a worker that refused a job is offered it again
	RetryStorm          Mutant = "retry-storm"           // the limit of retries is ignored
	QueueDropped        Mutant = "queue-dropped"         // a failed append drops the commands behind it
)

// Mutants lists every mutant.
var Mutants = []Mutant{NoFencing, ReplyBeforeCommit, ApplyBeforeCommit, RetryUnknown, SeqReused, ProjectionLags, TornRecovery, OtherBody,
	StaleHeartbeat, ClaimAgain, SpoolForgetsEarly, SpoolStuck, ReportBeforeSync, BudgetOffByOne, PreemptionCounted, LateAfterAck,
	DuplicateCompletion, ListeningIgnored, RestartForgets, StartBeforeAck, StartTwice, NoRetryIgnored, RegisterTwice, DoubleAssign,
	DeductionForgotten, Overcommit, AgingInverted, HeldAssigned, DrainIgnored, DependencyOnFailure, KeyFreedByLoss, GossipFreesKey, StopOutlives,
	MonotonicTrust, IdentityFromBody, OperationForgotten, WallTimers, UnsettledIgnored, WakeForgotten, RefusalForgotten, RetryStorm,
	QueueDropped}
