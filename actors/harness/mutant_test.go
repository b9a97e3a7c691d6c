package harness

// mutant takes one protection away, in the journal, the network or the model
// workers, to show that the checker misses it.
type mutant string

// The mutants. The zero mutant takes nothing away.
const (
	ReplyBeforeCommit mutant = "reply-before-commit" // an append returns before it is durable
	ClaimAgain        mutant = "claim-again"         // a repeated claim does not say that it is one
	ClaimForgotten    mutant = "claim-forgotten"     // the journal does not remember claims
	StaleHeartbeat    mutant = "stale-heartbeat"     // repeated and overtaken heartbeats pass for new ones
	NoFencing         mutant = "no-fencing"          // a completion speaks for whatever assignment is live
	TornRecovery      mutant = "torn-recovery"       // a crash drops the newest durable event
	LivenessStale     mutant = "liveness-stale"      // what is saved of who was heard is old
	SpoolForgetsEarly mutant = "spool-forgets-early" // an entry is deleted when it is sent
	ReportBeforeSync  mutant = "report-before-sync"  // a result is reported before it is on disk
	StartBeforeAck    mutant = "start-before-ack"    // a claimed assignment starts without waiting for its ACK
	ContractIgnored   mutant = "contract-ignored"    // a job that must stop runs on when its lease cannot be trusted
)

var mutants = []mutant{ReplyBeforeCommit, ClaimAgain, ClaimForgotten, StaleHeartbeat, NoFencing, TornRecovery, LivenessStale,
	SpoolForgetsEarly, ReportBeforeSync, StartBeforeAck, ContractIgnored}
