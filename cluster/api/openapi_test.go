package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/entropytest"
)

var update = flag.Bool("update", false, "write openapi.yaml anew")

// operation is what the document says about a route beyond the route table.
type operation struct {
	summary string
	query   []string // name: type: description; a "*" after the name means repeatable, "!" required
	header  []string // likewise
	body    any      // a value of the request's type; "bytes" for a file
	status  int
	reply   any // a value of the answer's type; a string is a media type
}

var (
	file = "application/octet-stream"

	waitFor   = "wait: duration: how long to wait for something new, at most 60s"
	placement = []string{"job!: string: the job of the assignment", "offset: integer: where in the whole these bytes begin"}
	feed      = operation{"Journaled events after a position, oldest first; as server-sent events with Accept text/event-stream",
		[]string{"after: string: EPOCH:SEQ; from the beginning when absent", "latest: boolean: begin after the newest event", "entity: string: only this entity, as in job:ID",
			"type: string: an event type, or a prefix that ends in a dot", "limit: integer: 0 to 10000", waitFor},
		[]string{"Last-Event-ID: string: continue a stream after this position"}, nil, 200, entropy.EventPage{}}
)

// operations documents every route of the table.
// stepQuery selects steps that were counted.
var stepQuery = []string{"entity: string: of this entity", "step: string: of this step", "from: string: a whole hour, by the events' own time, inclusive", "to: string: a whole hour, exclusive",
	"least: integer: timed events that make an hour a part of the baseline; 20", "limit: integer: 1 to 10000"}

var operations = map[string]operation{
	"POST /v1/jobs": {summary: "Submit one job (201 new, 200 known) or a batch of up to 1000 (200, one result per job)", body: oneOf{entropy.Submission{}, entropy.SubmitBatch{}},
		status: 200, reply: oneOf{entropy.SubmitResult{}, entropy.SubmitResults{}}},
	"GET /v1/jobs": {summary: "List jobs, newest first, without their attempts", query: []string{"state*: string: states, also separated by commas", "queue: string: only this queue", "name: string: only this name",
		"tenant: string: only this tenant", "array: string: only the members of this array",
		"label*: string: key=value", "limit: integer: 0 to 1000; 0 means 100", "cursor: string: next of the page before"}, status: 200, reply: entropy.JobPage{}},
	"GET /v1/jobs/{id}":             {summary: "One job", status: 200, reply: entropy.Job{}},
	"POST /v1/jobs/{id}/cancel":     {summary: "Ask that a job end", body: entropy.Operation{}, status: 200, reply: entropy.Job{}},
	"POST /v1/jobs/{id}/retry":      {summary: "Submit a new job with the spec of one that has ended", body: entropy.Operation{}, status: 200, reply: entropy.Job{}},
	"POST /v1/jobs/{id}/hold":       {summary: "Keep a job from being assigned", body: entropy.Operation{}, status: 200, reply: entropy.Job{}},
	"POST /v1/jobs/{id}/release":    {summary: "End a hold", body: entropy.Operation{}, status: 200, reply: entropy.Job{}},
	"POST /v1/jobs/{id}/prioritize": {summary: "Give a job another priority", body: entropy.PriorityRequest{}, status: 200, reply: entropy.Job{}},
	"POST /v1/bulk":                 {summary: "Carry out one verb on every job that a filter selects, a page at a time", body: entropy.BulkRequest{}, status: 200, reply: entropy.BulkReply{}},
	"GET /v1/jobs/{id}/wait":        {summary: "The job once it has ended, or as it is when the timeout has passed", query: []string{"timeout: duration: at most 60s"}, status: 200, reply: entropy.Job{}},
	"GET /v1/jobs/{id}/logs": {summary: "A piece of a job's output, or with follow=1 the stream as text until the attempt has ended", query: []string{"stream: string: stdout or stderr", "attempt: integer: 0 means the newest that started",
		"offset: integer: negative means before the end", "limit: integer: bytes; 0 means 1 MiB", waitFor, "follow: boolean: stream as text/plain"}, status: 200, reply: entropy.LogChunk{}},
	"GET /v1/jobs/{id}/artifacts":           {summary: "The artifacts of a job", status: 200, reply: entropy.ArtifactList{}},
	"GET /v1/jobs/{id}/artifacts/{name...}": {summary: "One artifact, whole or in ranges; its ETag is its SHA-256", header: []string{"Range: string: byte ranges"}, status: 200, reply: file},
	"POST /v1/wait":                         {summary: "Those of the jobs that have ended, once all have or the timeout has passed", body: entropy.WaitRequest{}, status: 200, reply: entropy.JobList{}},
	"HEAD /v1/blobs/{sha256}":               {summary: "Whether an input is stored", status: 200},
	"PUT /v1/blobs/{sha256}":                {summary: "Store an input by its content; needs Content-Length", body: file, status: 204},
	"POST /v1/blobs/missing":                {summary: "Those of the hashes that are not stored", body: entropy.BlobList{}, status: 200, reply: entropy.BlobList{}},
	"GET /v1/members":                       {summary: "List the nodes that are known by gossip", status: 200, reply: entropy.MemberList{}},
	"GET /v1/members/rotate-key":            {summary: "How far a rotation of the members' keys is", status: 200, reply: entropy.KeyRotation{}},
	"POST /v1/members/rotate-key":           {summary: "Begin a rotation of the members' keys, or find one under way", status: 200, reply: entropy.KeyRotation{}},
	"GET /v1/workers":                       {summary: "Every known worker", status: 200, reply: entropy.WorkerList{}},
	"POST /v1/workers/{name}/{mode}":        {summary: "Drain, resume or quarantine a worker", body: entropy.Operation{}, status: 200, reply: entropy.WorkerInfo{}},
	"POST /v1/workers/{name}/revoke":        {summary: "End a worker's own key; the calls it holds open end with it", status: 200, reply: entropy.RevokedWorker{}},
	"GET /v1/events":                        feed,
	"GET /events":                           feed,
	"GET /v1/policy":                        {summary: "How the fabric chooses among its jobs", status: 200, reply: entropy.Policy{}},
	"PUT /v1/policy":                        {summary: "Replace the policy; its version is that of the one it was made from", body: entropy.PolicyChange{}, status: 200, reply: entropy.Policy{}},
	"GET /v1/jobs/{id}/explain":             {summary: "Why a job is where it is, and what would change that", status: 200, reply: entropy.Explanation{}},
	"POST /v1/schedules":                    {summary: "Submit a job again and again, at the times of a cron expression", body: entropy.ScheduleRequest{}, status: 200, reply: entropy.ScheduleInfo{}},
	"GET /v1/schedules":                     {summary: "Every schedule", status: 200, reply: entropy.ScheduleList{}},
	"GET /v1/schedules/{name}":              {summary: "One schedule and when it fires next", query: []string{"next: integer: how many times ahead, 0 to 1000"}, status: 200, reply: entropy.ScheduleInfo{}},
	"POST /v1/schedules/{name}/{mode}":      {summary: "Pause, resume or delete a schedule", body: entropy.Operation{}, status: 200, reply: entropy.ScheduleInfo{}},
	"POST /v1/schedules/{name}/fire":        {summary: "Submit a schedule's job now, beside its times", body: entropy.Operation{}, status: 200, reply: entropy.SubmitResult{}},
	"POST /v1/actions": {summary: "Ask for an action: the body is its envelope, of which what is not known is kept; with wait, answer when it has ended", query: []string{"wait: duration: how long to wait for its end, at most 60s"},
		body: entropy.Event{}, status: 200, reply: entropy.ActionResult{}},
	"GET /v1/actions": {summary: "List actions, newest first, without their envelopes", query: []string{"state*: string: states, also separated by commas", "command: string: only this command",
		"tenant: string: only this tenant", "entity_id: string: only those that act on this entity", "limit: integer: 0 to 1000; 0 means 100", "cursor: string: next of the page before"}, status: 200, reply: entropy.ActionPage{}},
	"GET /v1/actions/{id}": {summary: "One action; with wait, when it has ended; as server-sent events with Accept text/event-stream, its events", query: []string{"wait: duration: how long to wait for its end, at most 60s"},
		header: []string{"Last-Event-ID: string: continue a stream after this position"}, status: 200, reply: entropy.ActionInfo{}},
	"POST /v1/actions/{id}/{verb}": {summary: "Approve, reject or cancel an action", body: entropy.Operation{}, status: 200, reply: entropy.ActionInfo{}},
	"GET /v1/dlq":                  {summary: "List dead letters: actions that failed, and messages that could not be understood", query: []string{"all: boolean: those too that were replayed or dropped", "command: string: only this command", "limit: integer: 0 to 1000; 0 means 100", "cursor: string: next of the page before"}, status: 200, reply: entropy.DeadLetterPage{}},
	"GET /v1/dlq/{id}":             {summary: "One dead letter, with its message", status: 200, reply: entropy.DeadLetter{}},
	"POST /v1/dlq/{id}/replay":     {summary: "Ask for it again, as a new action", body: entropy.Operation{}, status: 200, reply: entropy.ActionResult{}},
	"POST /v1/dlq/{id}/drop":       {summary: "Forget a dead letter", body: entropy.Operation{}, status: 200, reply: entropy.DeadLetter{}},
	"POST /v1/tokens":              {summary: "Make a token; its text is in this answer only", body: entropy.TokenSpec{}, status: 201, reply: entropy.CreatedToken{}},
	"GET /v1/tokens":               {summary: "Every token, oldest first, without its secret", status: 200, reply: entropy.TokenList{}},
	"POST /v1/tokens/{id}/revoke":  {summary: "End a token; the streams it holds open end with it", status: 200, reply: entropy.TokenInfo{}},
	"GET /v1/status":               {summary: "The control plane at a glance", status: 200, reply: entropy.Status{}},
	"GET /metrics":                 {summary: "Metrics in the Prometheus text format", status: 200, reply: "text/plain"},
	"GET /healthz":                 {summary: "The process lives", status: 200, reply: map[string]string{}},
	"GET /readyz":                  {summary: "The control plane serves; 503 says why not", status: 200, reply: map[string]string{}},
	"GET /v1/openapi.yaml":         {summary: "This document", status: 200, reply: "application/yaml"},
	"POST /v1/ingest":              {summary: "Take events from outside, each normalized by the configured rules; an answer for each", body: entropy.IngestRequest{}, status: 200, reply: entropy.IngestReply{}},
	"GET /v1/ledger": {summary: "Events of the ledger in the order they came", query: []string{"after: integer: those behind this row", "entity: string: of this entity",
		"type: string: an event type, or a prefix that ends in a dot; may be repeated", "from: string: by the event's own time, inclusive", "to: string: exclusive", "limit: integer: 1 to 1000"}, status: 200, reply: entropy.LedgerPage{}},
	"GET /v1/entropy": {summary: "How the analyzer is, and the system entropy now and over time", query: []string{"digest: boolean: with a hash of all that was learned"}, status: 200, reply: entropy.EntropyStatus{}},
	"GET /v1/entropy/deviations": {summary: "What is not as it normally is, the most surprising first", query: []string{"entity: string: of this entity, or KIND: for all of a kind", "step: string: of this step", "channel: string: of this channel",
		"since: string: known at or after this time", "open: boolean: those that have not ended only", "bounded: boolean: those whose false ones are bounded, and those that have not ended, only", "recent: boolean: the newest first", "limit: integer: 1 to 1000"}, status: 200, reply: entropy.DeviationList{}},
	"GET /v1/entropy/series/{entity}/{step}": {summary: "One step of an entity: its newest window beside what is normal; KIND:* is a whole kind", status: 200, reply: entropy.EntropySeries{}},
	"GET /v1/entropy/graph/{kind}": {summary: "Which step of a kind of entities follows which, the most frequent", query: []string{"nodes: integer: 2 to 1100; 100 when absent", "edges: integer: 1 to 10000; 400 when absent"},
		status: 200, reply: entropy.EntropyGraph{}},
	"GET /v1/entropy/due": {summary: "When what runs rarely by itself is due, and what became of the last due times", query: []string{"entity: string: of this entity"}, status: 200, reply: entropy.EntropyDueList{}},
	"GET /v1/entropy/effect": {summary: "The system entropy before and after a moment, of what was touched and of everything else", query: []string{"at!: string: the moment", "kind*: string: kinds of entities that were touched; none: all",
		"before: duration: at most 720h; 1h when absent", "after: duration: at most 720h; 1h when absent"}, status: 200, reply: entropy.EntropyEffect{}},
	"GET /v1/entropy/predictions/{case}":  {summary: "What is expected next of a case that is under way, and when", status: 200, reply: entropy.EntropyPrediction{}},
	"GET /v1/entropy/rules":               {summary: "How the rules stand: their counts, their state for each entity, the guard against storms, harm, and what their actions were worth", status: 200, reply: entropy.RuleReport{}},
	"POST /v1/entropy/rules/{name}/reset": {summary: "Trust a rule again whose actions made it worse", status: 204},
	"GET /v1/entropy/suggestions": {summary: "What rules suggested or asked for, the newest first", query: []string{"state: string: open, requested, dismissed, expired or refused", "rule: string: of this rule", "entity: string: of this entity",
		"limit: integer: 0 to 1000; 0 means 100"}, status: 200, reply: entropy.SuggestionList{}},
	"POST /v1/entropy/suggestions/{id}/accept":  {summary: "Ask for the action of a suggestion", status: 200, reply: entropy.Suggestion{}},
	"POST /v1/entropy/suggestions/{id}/dismiss": {summary: "Say that a suggestion is not wanted", status: 200, reply: entropy.Suggestion{}},
	"GET /v1/ledger/actions": {summary: "How actions went, by command and tenant", query: []string{"command: string: of this command", "tenant: string: of this tenant",
		"from: string: by when they were requested, inclusive", "to: string: exclusive", "limit: integer: 1 to 10000"}, status: 200, reply: entropy.ActionStatsList{}},
	"GET /v1/ledger/steps":       {summary: "What is known of steps: counts, latencies by bucket, entropy and its baseline", query: stepQuery, status: 200, reply: entropy.StepCountsList{}},
	"GET /v1/ledger/transitions": {summary: "Which step came how often after which, in its case", query: stepQuery, status: 200, reply: entropy.TransitionCountList{}},
	"GET /v1/ingest/dead": {summary: "What came from outside and was not understood", query: []string{"after: integer: those behind this one", "limit: integer: 1 to 1000"},
		status: 200, reply: entropy.DeadItemList{}},
	"POST /v1/ingest/dead/{id}/replay": {summary: "Normalize a dead letter again, by the rules of now", status: 200, reply: entropy.IngestResult{}},
	"DELETE /v1/ingest/dead/{id}":      {summary: "Forget a dead letter", status: 204},
	"POST /v1/tokens/{id}/rotate":      {summary: "Give a token a new secret, whose text is in this answer only; the old one stays good for a while", body: entropy.TokenRotation{}, status: 200, reply: entropy.CreatedToken{}},
	"GET /v1/pairings":                 {summary: "The workers that wait to be let in without a token", status: 200, reply: entropy.PairingList{}},
	"POST /v1/pairings/confirm":        {summary: "Let in the worker whose screen shows a code", body: entropy.PairConfirm{}, status: 200, reply: entropy.Pairing{}},

	"POST /v1/pairing":             {summary: "Ask to be let in without a token", body: entropy.PairRequest{}, status: 201, reply: entropy.PairOffer{}},
	"POST /v1/pairing/{id}/reveal": {summary: "Show what the commitment of a pairing was of", body: entropy.PairReveal{}, status: 204},
	"GET /v1/pairing/{id}":         {summary: "Whether a pairing was confirmed", status: 200, reply: entropy.PairState{}},
	"POST /v1/worker/join": {summary: "Let a worker in and tell it what it keeps for good", header: []string{"Entropy-Worker-Key: string: the worker's own key, beside a join token"},
		body: entropy.JoinRequest{}, status: 200, reply: entropy.Joined{}},
	"POST /v1/worker/register": {summary: "Introduce a worker's agent", header: []string{"Entropy-Worker-Key: string: the worker's own key, beside a join token"},
		body: entropy.Registration{}, status: 200, reply: entropy.Registered{}},
	"POST /v1/worker/claim":      {summary: "Ask for work; a repeated claim_seq returns the original set", body: entropy.ClaimRequest{}, status: 200, reply: entropy.ClaimReply{}},
	"POST /v1/worker/ack":        {summary: "Accept assignments; only then may they start", body: entropy.AckRequest{}, status: 200, reply: entropy.ItemResults{}},
	"POST /v1/worker/refuse":     {summary: "Give assignments back", body: entropy.RefuseRequest{}, status: 200, reply: entropy.ItemResults{}},
	"POST /v1/worker/heartbeat":  {summary: "Renew leases", body: entropy.Heartbeat{}, status: 200, reply: entropy.HeartbeatReply{}},
	"POST /v1/worker/directives": {summary: "Wait for the directives to change", body: entropy.DirectivesRequest{}, status: 200, reply: entropy.Directives{}},
	"POST /v1/worker/complete":   {summary: "Report ended assignments", body: entropy.CompleteRequest{}, status: 200, reply: entropy.CompletionReplies{}},
	"POST /v1/worker/leave":      {summary: "Announce a planned stop", body: entropy.LeaveRequest{}, status: 204},
	"PUT /v1/worker/artifacts/{assignment}/{sha256}": {summary: "Append to a staged artifact", query: append([]string{"size!: integer: of the whole artifact"}, placement...),
		body: file, status: 200, reply: entropy.Stored{}},
	"PUT /v1/worker/logs/{assignment}/{stream}": {summary: "Store a piece of output, at most 1 MiB", query: placement, body: file, status: 200, reply: entropy.Stored{}},
	"GET /v1/worker/blobs/{sha256}":             {summary: "The content of a job's input", status: 200, reply: file},
	"POST /v1/worker/checkpoint/offer":          {summary: "Ask whether a checkpoint would be taken, or record why it is not saved", body: entropy.CheckpointOffer{}, status: 204},
	"POST /v1/worker/checkpoint/commit":         {summary: "Make a checkpoint the newest of its job, or learn which parts are missing", body: entropy.CheckpointCommit{}, status: 200, reply: entropy.CheckpointReply{}},
	"PUT /v1/worker/checkpoints/{assignment}/{sha256}": {summary: "Store one part of a job's checkpoints; needs Content-Length", query: placement[:1],
		body: file, status: 204},
	"GET /v1/worker/checkpoints/{assignment}/{sha256}": {summary: "One part of the checkpoints of the assignment's job", query: placement[:1], status: 200, reply: file},
}

// oneOf is a body that may have several types.
type oneOf []any

// proves I-3: the document has every route, its parameters and the fields of the
// Go types, because it is made from them
func TestOpenAPI(t *testing.T) {
	m := entropytest.NewMemory()
	w := newWorld(t, m, m, nil)
	want := newDocument(t).write(w)
	if *update {
		if err := os.WriteFile("openapi.yaml", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	_, got := w.want(request{method: "GET", path: "/v1/openapi.yaml"}, 200)
	if got != string(want) {
		t.Error("openapi.yaml is not fresh: run go test ./cluster/api -run TestOpenAPI -update")
	}
}

// document writes the OpenAPI document.
type document struct {
	t       *testing.T
	b       bytes.Buffer
	docs    map[string]string // of Type and Type.Field, from the source
	schemas map[string]reflect.Type
}

func newDocument(t *testing.T) *document {
	return &document{t: t, docs: sourceDocs(t), schemas: map[string]reflect.Type{}}
}

func (d *document) line(indent int, format string, args ...any) {
	fmt.Fprintf(&d.b, strings.Repeat("  ", indent)+format+"\n", args...)
}

func (d *document) write(w *world) []byte {
	d.line(0, "# Made by TestOpenAPI -update from the route table and the Go types. Do not edit.")
	d.line(0, "openapi: 3.1.0")
	d.line(0, "info:")
	d.line(1, "title: Entropy")
	d.line(1, "version: v1")
	d.line(1, "description: >-")
	d.line(2, "Every error is application/problem+json with a code and a hint. Times are RFC 3339 in UTC.")
	d.line(2, "Durations are text as in 1m30s. Unknown fields and parameters are errors.")
	d.line(0, "security:")
	d.line(1, "- bearer: []")
	d.line(0, "paths:")
	byPath := map[string]map[string]bool{}
	for _, rt := range w.server.Routes() {
		if byPath[rt.Pattern] == nil {
			byPath[rt.Pattern] = map[string]bool{}
		}
		byPath[rt.Pattern][rt.Method] = rt.Public
		if _, ok := operations[rt.Method+" "+rt.Pattern]; !ok {
			d.t.Errorf("%s %s is not documented", rt.Method, rt.Pattern)
		}
	}
	for key := range operations {
		method, pattern, _ := strings.Cut(key, " ")
		if _, ok := byPath[pattern][method]; !ok {
			d.t.Errorf("%s is documented and does not exist", key)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		d.line(1, "%s:", strings.Replace(path, "...}", "}", 1))
		for _, method := range slices.Sorted(maps.Keys(byPath[path])) {
			d.operation(method, path, byPath[path][method], operations[method+" "+path])
		}
	}
	d.components()
	return d.b.Bytes()
}

func (d *document) operation(method, path string, public bool, op operation) {
	d.line(2, "%s:", strings.ToLower(method))
	d.line(3, "summary: %s", quote(op.summary))
	if public {
		d.line(3, "security: []")
	}
	var params []string
	for _, part := range strings.Split(path, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		params = append(params, "path "+strings.TrimSuffix(name, "...")+"!: string: ")
	}
	for _, q := range op.query {
		params = append(params, "query "+q)
	}
	for _, h := range op.header {
		params = append(params, "header "+h)
	}
	if len(params) > 0 {
		d.line(3, "parameters:")
	}
	for _, p := range params {
		d.parameter(p)
	}
	if op.body != nil {
		d.line(3, "requestBody:")
		d.content(4, op.body)
	}
	d.line(3, "responses:")
	d.line(4, "%q:", strconv.Itoa(op.status))
	d.line(5, "description: success")
	if op.reply != nil {
		d.content(5, op.reply)
	}
	if path == "/v1/jobs" && method == "POST" {
		d.line(4, `"201":`)
		d.line(5, "description: one new job")
		d.content(5, entropy.SubmitResult{})
	}
	d.line(4, "default:")
	d.line(5, "$ref: '#/components/responses/Problem'")
}

func (d *document) parameter(p string) {
	in, rest, _ := strings.Cut(p, " ")
	name, rest, _ := strings.Cut(rest, ": ")
	kind, text, _ := strings.Cut(rest, ": ")
	d.line(4, "- name: %s", strings.TrimRight(name, "*!"))
	d.line(4, "  in: %s", in)
	if strings.HasSuffix(name, "!") {
		d.line(4, "  required: true")
	}
	if text != "" {
		d.line(4, "  description: %s", quote(text))
	}
	if kind == "duration" {
		kind = "string"
	}
	if strings.HasSuffix(name, "*") {
		d.line(4, "  schema: {type: array, items: {type: %s}}", kind)
		return
	}
	d.line(4, "  schema: {type: %s}", kind)
}

func (d *document) content(indent int, v any) {
	d.line(indent, "content:")
	if media, ok := v.(string); ok {
		d.line(indent+1, "%s: {}", media)
		return
	}
	d.line(indent+1, "application/json:")
	d.line(indent+2, "schema: %s", d.schema(v))
}

func (d *document) schema(v any) string {
	all, ok := v.(oneOf)
	if !ok {
		return d.typ(reflect.TypeOf(v))
	}
	var parts []string
	for _, one := range all {
		parts = append(parts, d.typ(reflect.TypeOf(one)))
	}
	return "{oneOf: [" + strings.Join(parts, ", ") + "]}"
}

// typ returns the schema of a Go type, by reference when it is a struct.
func (d *document) typ(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "{type: string, format: date-time}"
	case reflect.TypeFor[entropy.Duration]():
		return "{type: string, examples: [1m30s]}"
	case reflect.TypeFor[entropy.Position]():
		return "{type: string, examples: ['1:42']}"
	case reflect.TypeFor[json.RawMessage]():
		return "{}"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.typ(t.Elem())
	case reflect.Struct:
		d.schemas[t.Name()] = t
		return "{$ref: '#/components/schemas/" + t.Name() + "'}"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "{type: string, contentEncoding: base64}"
		}
		return "{type: array, items: " + d.typ(t.Elem()) + "}"
	case reflect.Map:
		return "{type: object, additionalProperties: " + d.typ(t.Elem()) + "}"
	case reflect.String:
		return "{type: string}"
	case reflect.Bool:
		return "{type: boolean}"
	case reflect.Float64:
		return "{type: number}"
	}
	return "{type: integer}"
}

func (d *document) components() {
	d.line(0, "components:")
	d.line(1, "securitySchemes:")
	d.line(2, "bearer: {type: http, scheme: bearer}")
	d.line(1, "responses:")
	d.line(2, "Problem:")
	d.line(3, "description: an error, with what to do next")
	d.line(3, "content:")
	d.line(4, "application/problem+json:")
	d.line(5, "schema: %s", d.typ(reflect.TypeFor[entropy.Problem]()))
	d.line(1, "schemas:")
	bodies := map[string]string{}
	for len(bodies) < len(d.schemas) { // writing one may find others
		for name, t := range maps.Clone(d.schemas) {
			if bodies[name] == "" {
				bodies[name] = d.object(name, t)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		d.b.WriteString(bodies[name])
	}
}

// object returns the schema of a struct as it is on the wire: its JSON is read
// back, so that types with a form of their own are described as they are written.
func (d *document) object(name string, t reflect.Type) string {
	var out document
	out.t, out.docs, out.schemas = d.t, d.docs, d.schemas
	out.line(2, "%s:", name)
	out.line(3, "type: object")
	if text := d.docs[name]; text != "" {
		out.line(3, "description: %s", quote(text))
	}
	fields := jsonFields(t)
	v := reflect.New(t)
	empty := d.onWire(v.Interface())
	(&filler{n: 3}).fill(v.Interface())
	wire := d.onWire(v.Interface())
	out.line(3, "properties:")
	for _, key := range slices.Sorted(maps.Keys(wire)) {
		text := ""
		schema := wireType(wire[key])
		if f, ok := fields[key]; ok {
			schema, text = out.typ(f.Type), d.docs[name+"."+f.Name]
		} else if spec, ok := jsonFields(reflect.TypeFor[entropy.JobSpec]())[key]; ok && name == "Job" {
			schema = out.typ(spec.Type)
		}
		if key == "spec" && name == "Job" {
			schema = out.typ(reflect.TypeFor[entropy.JobSpec]())
		}
		if zero, present := empty[key]; present && zero == nil {
			schema = "{anyOf: [" + schema + ", {type: 'null'}]}"
		}
		if text == "" {
			out.line(4, "%s: %s", key, schema)
			continue
		}
		out.line(4, "%s:", key)
		out.line(5, "allOf: [%s]", schema)
		out.line(5, "description: %s", quote(text))
	}
	return out.b.String()
}

// onWire returns a value as it is written.
func (d *document) onWire(v any) map[string]any {
	b, err := json.Marshal(v)
	if err != nil {
		d.t.Fatal(err)
	}
	wire := map[string]any{}
	if err := json.Unmarshal(b, &wire); err != nil {
		d.t.Fatal(err)
	}
	return wire
}

// wireType describes a value that has no field of its own.
func wireType(v any) string {
	switch v.(type) {
	case string, nil:
		return "{type: string}"
	case float64:
		return "{type: number}"
	case bool:
		return "{type: boolean}"
	case []any:
		return "{type: array}"
	}
	return "{type: object}"
}

// jsonFields returns the fields of a struct by their names in JSON.
func jsonFields(t reflect.Type) map[string]reflect.StructField {
	m := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous && name != "-" {
			m[name] = f
			if name == "" {
				m[strings.ToLower(f.Name)] = f
			}
		}
	}
	return m
}

// quote writes text for YAML.
func quote(s string) string {
	return "'" + strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "'", "''") + "'"
}

// sourceDocs reads the comments of the root package's types and fields.
func sourceDocs(t *testing.T) map[string]string {
	docs := map[string]string{}
	files, err := filepath.Glob("../../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.TYPE {
				for _, spec := range gen.Specs {
					typeDocs(docs, gen, spec.(*ast.TypeSpec))
				}
			}
		}
	}
	return docs
}

func typeDocs(docs map[string]string, gen *ast.GenDecl, spec *ast.TypeSpec) {
	st, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	docs[spec.Name.Name] = strings.NewReplacer("[", "", "]", "").Replace(gen.Doc.Text())
	for _, f := range st.Fields.List {
		for _, name := range f.Names {
			docs[spec.Name.Name+"."+name.Name] = f.Doc.Text() + f.Comment.Text()
		}
	}
}
