package entropy

import "slices"

// Verb is what a [BulkRequest] does to each job.
type Verb string

// The verbs.
const (
	VerbCancel     Verb = "cancel"
	VerbRetry      Verb = "retry"
	VerbHold       Verb = "hold"
	VerbRelease    Verb = "release"
	VerbPrioritize Verb = "prioritize"
)

// Verbs lists every verb.
var Verbs = []Verb{VerbCancel, VerbRetry, VerbHold, VerbRelease, VerbPrioritize}

// BulkRequest asks for one verb on many jobs.
type BulkRequest struct {
	Verb Verb `json:"verb"`
	// Filter selects the jobs; at least one of its criteria is set. Limit is how
	// many jobs one call acts on, Cursor is Next of the call before. Without States
	// it selects those that the verb is about: jobs that have failed or were canceled
	// for retry, else jobs that have not ended.
	Filter JobFilter `json:"filter,omitzero"`
	// IDs names jobs and arrays in place of a filter, at most MaxBatch.
	IDs []JobID `json:"ids,omitempty"`
	// DryRun counts the jobs that the request selects, and changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// Priority is what prioritize sets.
	Priority int `json:"priority,omitempty"`
	// Dependents makes retry of IDs also make new jobs of those that failed because
	// one of them did, waiting for the new jobs in place of the old.
	Dependents bool `json:"dependents,omitempty"`
	// Operation makes repeating the request harmless: each job has its own part in it.
	Operation Operation `json:"operation,omitzero"`
}

// BulkReply is the outcome of a [BulkRequest].
type BulkReply struct {
	Matched int64      `json:"matched"` // jobs acted on by this call; of a dry run, all that are selected
	Items   []BulkItem `json:"items"`   // one per job; none of a dry run
	Next    string     `json:"next,omitempty"`
}

// BulkItem is the outcome for one job.
type BulkItem struct {
	ID    JobID  `json:"id"`
	New   JobID  `json:"new,omitempty"` // of retry: the job made from it
	State State  `json:"state,omitempty"`
	Error *Error `json:"error,omitempty"` // it was not done
}

// Validate reports what is wrong with r, as an [Error].
func (r *BulkRequest) Validate() error {
	f := &r.Filter
	filtered := len(f.States) > 0 || f.Queue != "" || f.Tenant != "" || f.Name != "" || f.Array != "" || len(f.Labels) > 0
	switch {
	case !slices.Contains(Verbs, r.Verb):
		return Errorf(CodeInvalid, "there is no verb %.40q", string(r.Verb)).WithHint("it is one of %v", Verbs)
	case filtered && len(r.IDs) > 0:
		return Errorf(CodeInvalid, "the jobs are selected by ids or by a filter, not both")
	case !filtered && len(r.IDs) == 0:
		return Errorf(CodeInvalid, "the request selects every job").WithHint("name a queue, state, label, name, tenant or array; every state, if all are meant")
	case len(r.IDs) > MaxBatch || f.Limit > MaxBatch:
		return Errorf(CodeTooLarge, "one call acts on at most %d jobs", MaxBatch)
	case f.Limit < 0:
		return Errorf(CodeInvalid, "limit is negative")
	case r.Dependents && (r.Verb != VerbRetry || len(r.IDs) == 0):
		return Errorf(CodeInvalid, "dependents is for retry of ids")
	case r.Verb == VerbPrioritize && (r.Priority < MinPriority || r.Priority > MaxPriority):
		return Errorf(CodeInvalid, "priority %d is not in %d to %d", r.Priority, MinPriority, MaxPriority)
	case r.Operation.ID != "":
		return ValidateID("operation_id", r.Operation.ID)
	}
	return nil
}

// Selected returns the filter with the states that the verb is about, if none are named.
func (r *BulkRequest) Selected() JobFilter {
	f := r.Filter
	switch {
	case len(f.States) > 0:
	case r.Verb == VerbRetry:
		f.States = []State{Failed, Canceled}
	default:
		f.States = []State{Scheduled, Pending, Assigned, Running, Lost, Retrying}
	}
	if f.Limit == 0 {
		f.Limit = MaxBatch
	}
	return f
}

// Selects reports whether the filter selects j.
func (f *JobFilter) Selects(j *Job) bool {
	for k, v := range f.Labels {
		if got, ok := j.Spec.Labels[k]; !ok || got != v {
			return false
		}
	}
	switch {
	case f.Array != "" && (j.Spec.Array == nil || j.Spec.Array.Of != f.Array):
		return false
	case f.Queue != "" && f.Queue != j.QueueName(), f.Tenant != "" && f.Tenant != j.TenantName(), f.Name != "" && f.Name != j.Spec.Name:
		return false
	}
	return len(f.States) == 0 || slices.Contains(f.States, j.State)
}
