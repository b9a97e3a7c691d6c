package sim

// The promises that the checker holds a history to, by their numbers in the
// specification. INV-15 (actions) and INV-16 (analytics) concern what lies behind
// the outbox, which is not part of a history: they are checked where that is.
const (
	Durability        = "INV-1"  // what was acknowledged is in the journal
	Contiguity        = "INV-2"  // seq and versions have no gap, and read back
	Determinism       = "INV-3"  // the fold of the journal is the live state
	SubmitIdempotency = "INV-4"  // one job per ID; another body is a conflict
	LeaseExclusivity  = "INV-5"  // at most one live lease per job, attempts rise by one
	Fencing           = "INV-6"  // only the live assignment's word counts, or a late one's by J-4
	OneTerminal       = "INV-7"  // one terminal event, and no completion twice
	ClaimIdempotency  = "INV-8"  // one grant per claim; a repeat gets the same
	HeartbeatOrder    = "INV-9"  // a stale heartbeat changes nothing
	SpoolKept         = "INV-10" // a spool entry goes only when it was decided
	Budgets           = "INV-11" // failures and losses within their limits, each attempt counted once
	Capacity          = "INV-12" // nobody holds or runs more than the worker has
	StartAfterDurable = "INV-13" // nothing starts before its ACK is durable, or twice
	Authority         = "INV-14" // every event was caused by one who may
	Clocks            = "INV-17" // a step of the wall clock moves no wait that is a duration

	Advance  = "LIV-1" // after the healing everything that can go on goes on, within two leases and three heartbeats
	Spools   = "LIV-2" // and every spool is emptied as fast
	Baseline = "LIV-3" // and all of it comes to rest within the work that is left
	Answered = "LIV-4" // and every request is answered, after a restart as well

	Crash            = "CRASH" // nothing panics
	Operations       = "J-5"   // a repeated operation is done once
	NoRetryAbsolute  = "J-7"   // a no-retry job that was ACKed is never started again; retries keep to their limit
	Order            = "J-8"   // of jobs that ask for the same, the one that waits longer for its priority goes first
	DependenciesKept = "J-10"  // nothing starts before what it waits for has ended as it should
	ContractKept     = "J-11"  // a `stop` job never runs twice at once
	HeldStays        = "J-14"  // a held job is not assigned
	ListeningTime    = "L-3"   // a lease lasts its TTL of listening time
	IncarnationRises = "L-5"
	SpoolFirst       = "W-4" // nothing is reported before it is on the worker's disk
	DrainKept        = "W-8" // a drained or quarantined worker gets nothing
	KeyExclusive     = "H-9" // of a concurrency key at most one job runs
	ClockSettles     = "H-12"
)

// Invariants lists them all.
var Invariants = []string{Durability, Contiguity, Determinism, SubmitIdempotency, LeaseExclusivity, Fencing, OneTerminal,
	ClaimIdempotency, HeartbeatOrder, SpoolKept, Budgets, Capacity, StartAfterDurable, Authority, Clocks, Advance, Spools,
	Baseline, Answered, Crash, Operations, NoRetryAbsolute, Order, DependenciesKept, ContractKept, HeldStays, ListeningTime,
	IncarnationRises, SpoolFirst, DrainKept, KeyExclusive, ClockSettles}
