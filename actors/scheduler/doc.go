// Package scheduler chooses which queued job goes to which worker. The choice is
// pure ([Queue]); the [Actor] around it keeps the index of queued jobs, the
// claims that wait, and offers the chosen jobs their lease.
//
// The index is rebuilt from the journal at start and fed by the journal's tap. It
// may hold an entry that is no longer pending: the job's actor then refuses the
// offer and the entry is gone.
package scheduler
