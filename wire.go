package entropy

import (
	"encoding/json"
	"time"
)

// This file holds what is on the wire and is not already a type of [Service] or
// [WorkerService]: the bodies of the HTTP API, shared by its server and [Client].

// The headers of the HTTP API.
const (
	// HeaderAPI is on every answer of a control plane, with the value APIVersion,
	// so that a client can tell one from another program on the port.
	HeaderAPI = "Entropy-Api"
	// HeaderWorkerKey carries a worker's own key beside a join token at registration.
	HeaderWorkerKey = "Entropy-Worker-Key"
	// APIVersion is the version of the HTTP API that this release speaks.
	APIVersion = "v1"
)

const (
	// MaxBatch bounds the items of one batch call.
	MaxBatch = 1000
	// MaxWait bounds one long poll. A longer wait is made of several.
	MaxWait = 60 * time.Second
	// MaxLogPiece bounds the body of one log upload, in bytes.
	MaxLogPiece = 1 << 20
	// MaxRequest bounds the body of one submission or completion request, in
	// bytes; [Client] splits larger batches.
	MaxRequest = 8 << 20
)

// SubmitBatch is the body of a batch submission.
type SubmitBatch struct {
	Jobs []Submission `json:"jobs"`
}

// SubmitResults answers a [SubmitBatch], one result per submission, in order.
type SubmitResults struct {
	Results []SubmitResult `json:"results"`
}

// PriorityRequest is the body of a change of priority.
type PriorityRequest struct {
	Priority int    `json:"priority"`
	ID       string `json:"operation_id,omitempty"` // as Operation.ID
	Reason   string `json:"reason,omitempty"`
}

// WaitRequest is the body of a wait for several jobs.
type WaitRequest struct {
	IDs     []JobID  `json:"ids"`
	Timeout Duration `json:"timeout,omitzero"` // at most MaxWait; 0 means do not wait
}

// JobList is a list of jobs.
type JobList struct {
	Jobs []*Job `json:"jobs"`
}

// BlobList is a list of content hashes: those asked for, or those missing.
type BlobList struct {
	SHA256 []string `json:"sha256"`
}

// ArtifactList is the list of a job's artifacts.
type ArtifactList struct {
	Artifacts []Artifact `json:"artifacts"`
}

// WorkerList is the list of workers.
type WorkerList struct {
	Workers []WorkerInfo `json:"workers"`
}

// ItemResults answers a batch of ACKs or refusals, in order.
type ItemResults struct {
	Results []ItemResult `json:"results"`
}

// CompletionReplies answers a [CompleteRequest], in order.
type CompletionReplies struct {
	Results []CompletionReply `json:"results"`
}

// Stored answers an upload: how many bytes of the whole are now stored.
type Stored struct {
	Size int64 `json:"size"`
}

// Problem is the body of an error answer: application/problem+json (RFC 9457)
// with the code and the hint of an [Error].
type Problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    Code   `json:"code"`
	Hint    string `json:"hint"`
	Outcome string `json:"outcome,omitempty"` // "unknown": it may or may not have happened
}

// OutcomeUnknown is the value of Problem.Outcome for [CodeUnknown].
const OutcomeUnknown = "unknown"

var problemTitles = map[Code]string{
	CodeInvalid: "Invalid request", CodeUnauthorized: "Credential required", CodeForbidden: "Not allowed",
	CodeNotFound: "Not found", CodeConflict: "Conflict", CodeSuperseded: "Superseded", CodeTooLarge: "Too large",
	CodeOverloaded: "Overloaded", CodeInternal: "Internal error", CodeUnavailable: "Unavailable",
	CodeUnknown: "Outcome unknown", CodeDiskFull: "Disk full", CodeStale: "Stale session",
}

var codeStatus = map[Code]int{
	CodeInvalid: 400, CodeUnauthorized: 401, CodeForbidden: 403, CodeNotFound: 404, CodeConflict: 409,
	CodeSuperseded: 409, CodeTooLarge: 413, CodeOverloaded: 429, CodeInternal: 500, CodeUnavailable: 503,
	CodeUnknown: 503, CodeDiskFull: 507, CodeStale: 409,
}

// HTTPStatus returns the HTTP status of the code, and 500 for an unknown code.
func (c Code) HTTPStatus() int {
	if s, ok := codeStatus[c]; ok {
		return s
	}
	return 500
}

// Problem returns e as the body of an error answer.
func (e *Error) Problem() Problem {
	p := Problem{Type: "urn:entropy:error:" + string(e.Code), Title: problemTitles[e.Code], Status: e.Code.HTTPStatus(),
		Detail: e.Message, Code: e.Code, Hint: e.Hint}
	if e.Code == CodeUnknown {
		p.Outcome = OutcomeUnknown
	}
	return p
}

// Err returns the [Error] that p was made from.
func (p Problem) Err() *Error { return &Error{Code: p.Code, Message: p.Detail, Hint: p.Hint} }

// eventPageJSON is EventPage on the wire: the position as "epoch:seq".
type eventPageJSON struct {
	Events []Event `json:"events"`
	Next   string  `json:"next"`
}

// MarshalJSON writes {"events": […], "next": "epoch:seq"}.
func (p EventPage) MarshalJSON() ([]byte, error) {
	v := eventPageJSON{Events: p.Events, Next: p.Next.String()}
	if v.Events == nil {
		v.Events = []Event{}
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *EventPage) UnmarshalJSON(b []byte) error {
	var v eventPageJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	next, err := ParsePosition(v.Next)
	*p = EventPage{Events: v.Events, Next: next}
	return err
}

// jobPageJSON is JobPage on the wire: next is null on the last page.
type jobPageJSON struct {
	Jobs []*Job  `json:"jobs"`
	Next *string `json:"next"`
}

// MarshalJSON writes {"jobs": […], "next": cursor or null}.
func (p JobPage) MarshalJSON() ([]byte, error) {
	v := jobPageJSON{Jobs: p.Jobs, Next: nullable(p.Next)}
	if v.Jobs == nil {
		v.Jobs = []*Job{}
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *JobPage) UnmarshalJSON(b []byte) error {
	var v jobPageJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*p = JobPage{Jobs: v.Jobs, Next: value(v.Next)}
	return nil
}
