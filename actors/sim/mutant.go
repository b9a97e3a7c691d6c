package sim

// Mutant takes one protection away, to show that the checker misses it.
type Mutant string

// The mutants. The zero Mutant takes nothing away.
const (
	NoFencing           Mutant = "no-fencing"           // a completion counts for whatever assignment is live
	ReplyBeforeCommit   Mutant = "reply-before-commit"  // the answer leaves before the journal has it
	StaleHeartbeat      Mutant = "stale-heartbeat"      // repeated and overtaken heartbeats are applied
	ClaimAgain          Mutant = "claim-again"          // a repeated claim is granted anew
	SpoolForgetsEarly   Mutant = "spool-forgets-early"  // an entry is deleted when it is sent
	ReportBeforeSync    Mutant = "report-before-sync"   // a result is reported before it is on disk
	BudgetOffByOne      Mutant = "budget-off-by-one"    // one failure more than allowed
	LateAfterAck        Mutant = "late-after-ack"       // a late result is accepted after a later ACK
	DuplicateCompletion Mutant = "duplicate-completion" // a repeated completion is decided again
	ListeningIgnored    Mutant = "listening-ignored"    // leases run on while nobody could hear
	RestartForgets      Mutant = "restart-forgets"      // a restart forgets who was heard just before it
	StartBeforeAck      Mutant = "start-before-ack"     // a claimed assignment is started without waiting for its ACK
	StartTwice          Mutant = "start-twice"          // the executor does not know what it has started
	NoRetryIgnored      Mutant = "no-retry-ignored"     // a no-retry job is tried again
	TornRecovery        Mutant = "torn-recovery"        // recovery drops the newest event and the newest entity
	RegisterTwice       Mutant = "register-twice"       // a registration that comes late or twice ends what its agent got since
	DoubleAssign        Mutant = "double-assign"        // the scheduler offers a job that is leased
)

// Mutants lists every mutant.
var Mutants = []Mutant{NoFencing, ReplyBeforeCommit, StaleHeartbeat, ClaimAgain, SpoolForgetsEarly, ReportBeforeSync,
	BudgetOffByOne, LateAfterAck, DuplicateCompletion, ListeningIgnored, RestartForgets, StartBeforeAck, StartTwice,
	NoRetryIgnored, TornRecovery, RegisterTwice, DoubleAssign}
