package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// recorder implements both interfaces: it remembers what it was called with and
// answers with values in which every field is set.
type recorder struct {
	got  []any
	fill func(v any)
}

func (r *recorder) call(out any, args ...any) {
	r.got = args
	if out != nil {
		r.fill(out)
	}
}

func (r *recorder) Submit(_ context.Context, s []entropy.Submission) (out []entropy.SubmitResult, err error) {
	r.got = []any{s}
	for range s {
		var res entropy.SubmitResult
		r.fill(&res)
		out = append(out, res)
	}
	return out, nil
}

func (r *recorder) Job(_ context.Context, id entropy.JobID) (*entropy.Job, error) {
	r.got = []any{id}
	return r.job(), nil
}

// job returns a job with every field of its public form set.
func (r *recorder) job() *entropy.Job {
	j := new(entropy.Job)
	r.fill(j)
	j.SpecHash, j.Lease, j.LossOn, j.LastAcked, j.PreemptRequested = "", nil, nil, "", false // not in the API's form
	return j
}

func (r *recorder) Jobs(_ context.Context, f entropy.JobFilter) (entropy.JobPage, error) {
	r.got = []any{f}
	return entropy.JobPage{Jobs: []*entropy.Job{r.job(), r.job()}, Next: "c"}, nil
}

func (r *recorder) Cancel(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	r.got = []any{id, op}
	return r.job(), nil
}

func (r *recorder) Retry(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	r.got = []any{id, op}
	return r.job(), nil
}

func (r *recorder) Wait(_ context.Context, ids []entropy.JobID, limit time.Duration) (out []*entropy.Job, err error) {
	r.got = []any{ids}
	for _, id := range ids {
		j := r.job()
		j.ID = id
		out = append(out, j)
	}
	return out, nil
}

func (r *recorder) Events(_ context.Context, f entropy.EventFilter) (out entropy.EventPage, err error) {
	r.call(&out, f)
	return out, nil
}

func (r *recorder) Log(_ context.Context, q entropy.LogQuery) (out entropy.LogChunk, err error) {
	r.call(&out, q)
	return out, nil
}

const (
	content  = "content"
	otherSum = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
)

func (r *recorder) OpenArtifact(_ context.Context, id entropy.JobID, name string) (io.ReadCloser, entropy.Artifact, error) {
	r.got = []any{id, name}
	return io.NopCloser(strings.NewReader(content)), entropy.Artifact{Name: name, SHA256: otherSum, Size: int64(len(content))}, nil
}

func (r *recorder) PutBlob(_ context.Context, sum string, size int64, in io.Reader) error {
	b, err := io.ReadAll(in)
	r.got = []any{sum, size, string(b)}
	return err
}

func (r *recorder) HasBlobs(_ context.Context, sums []string) ([]string, error) {
	r.got = []any{sums}
	return sums[:1], nil
}

func (r *recorder) Workers(context.Context) (out []entropy.WorkerInfo, err error) {
	r.call(&out)
	return out, nil
}

func (r *recorder) SetWorker(_ context.Context, id entropy.WorkerID, mode entropy.WorkerMode, op entropy.Operation) (out entropy.WorkerInfo, err error) {
	r.call(&out, id, mode, op)
	return out, nil
}

func (r *recorder) Policy(context.Context) (out entropy.Policy, err error) {
	r.call(&out)
	return out, nil
}

func (r *recorder) SetPolicy(_ context.Context, p entropy.Policy, op entropy.Operation) (out entropy.Policy, err error) {
	r.call(&out, p, op)
	return out, nil
}

func (r *recorder) Explain(_ context.Context, id entropy.JobID) (out entropy.Explanation, err error) {
	r.call(&out, id)
	return out, nil
}

func (r *recorder) Status(context.Context) (out entropy.Status, err error) {
	r.call(&out)
	return out, nil
}

func (r *recorder) Register(_ context.Context, q entropy.Registration) (out entropy.Registered, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) Claim(_ context.Context, q entropy.ClaimRequest) (out entropy.ClaimReply, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) Ack(_ context.Context, q entropy.AckRequest) (out []entropy.ItemResult, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) Refuse(_ context.Context, q entropy.RefuseRequest) (out []entropy.ItemResult, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) Heartbeat(_ context.Context, q entropy.Heartbeat) (out entropy.HeartbeatReply, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) Directives(_ context.Context, q entropy.DirectivesRequest) (out entropy.Directives, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) Complete(_ context.Context, q entropy.CompleteRequest) (out []entropy.CompletionReply, err error) {
	r.call(&out, q)
	return out, nil
}

func (r *recorder) StageArtifact(_ context.Context, u entropy.ArtifactUpload, in io.Reader) (int64, error) {
	b, err := io.ReadAll(in)
	r.got = []any{u, string(b)}
	return 77, err
}

func (r *recorder) AppendLog(_ context.Context, u entropy.LogUpload, p []byte) (int64, error) {
	r.got = []any{u, string(p)}
	return 78, nil
}

func (r *recorder) OpenBlob(_ context.Context, sum string) (io.ReadCloser, error) {
	r.got = []any{sum}
	return io.NopCloser(strings.NewReader(content)), nil
}

func (r *recorder) Leave(_ context.Context, q entropy.LeaveRequest) error {
	r.got = []any{q}
	return nil
}

// filler sets every exported field, each to a value of its own; lists and maps
// get two elements.
type filler struct{ n int }

func (f *filler) fill(v any) { f.set(reflect.ValueOf(v).Elem()) }

func (f *filler) set(v reflect.Value) {
	f.n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, f.n%60, 5_000_000, time.UTC)))
		return
	case json.RawMessage:
		v.SetBytes(fmt.Appendf(nil, `{"n":%d}`, f.n))
		return
	case entropy.State:
		v.SetString(string(entropy.Running))
		return
	case entropy.ActionState:
		v.SetString(string(entropy.ActionSucceeded))
		return
	case *entropy.ActionSpec: // the only type that holds itself
		v.Set(reflect.ValueOf(&entropy.ActionSpec{Command: "other"}))
		return
	case entropy.Position:
		v.Set(reflect.ValueOf(entropy.Position{Epoch: 3, Seq: uint64(f.n)}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.set(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.set(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.set(v.Index(0))
		f.set(v.Index(1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.set(key)
			f.set(value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("v%d", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Uint64, reflect.Uint32, reflect.Uint8:
		v.SetUint(uint64(f.n % 200))
	case reflect.Float64:
		v.SetFloat(float64(f.n) / 2)
	default:
		panic("cannot fill " + v.Type().String())
	}
}

// filled returns a value with every field set.
func filled[T any]() (v T) {
	(&filler{n: 100}).fill(&v)
	return v
}

// trip is a client of each kind before a server over a recorder.
type trip struct {
	t   *testing.T
	w   *world
	rec *recorder
}

func newTrip(t *testing.T) *trip {
	rec := &recorder{fill: func(v any) { (&filler{n: 10}).fill(v) }}
	w := newWorld(t, rec, rec, nil)
	w.knowWorker("w1")
	return &trip{t, w, rec}
}

// check fails unless the service was asked with args, and its answer arrived.
func (c *trip) check(name string, err error, got, want any, args ...any) {
	c.t.Helper()
	if err != nil {
		c.t.Errorf("%s: %v", name, err)
		return
	}
	if len(c.rec.got)+len(args) > 0 && !reflect.DeepEqual(c.rec.got, args) {
		c.t.Errorf("%s: the service was asked\n %+v, want\n %+v", name, c.rec.got, args)
	}
	if !reflect.DeepEqual(got, want) {
		c.t.Errorf("%s: the client got\n %+v, want\n %+v", name, got, want)
	}
}

// answer returns what the recorder answers for a type.
func (c *trip) answer(v any) any {
	c.rec.fill(v)
	return reflect.ValueOf(v).Elem().Interface()
}

// proves I-2, I-3: every method of Service carries every field there and back
func TestServiceCarriesEveryField(t *testing.T) {
	c := newTrip(t)
	rec, check, answer, ctx := c.rec, c.check, c.answer, t.Context()
	var s entropy.Service = c.w.adminClient()

	op := entropy.Operation{ID: "op-1", Reason: "why"}
	subs := filled[[]entropy.Submission]()
	submitted, err := s.Submit(ctx, subs)
	one := answer(new(entropy.SubmitResult)).(entropy.SubmitResult)
	check("Submit", err, submitted, []entropy.SubmitResult{one, one}, subs)
	job, err := s.Job(ctx, "j1")
	check("Job", err, job, rec.job(), entropy.JobID("j1"))
	f := filled[entropy.JobFilter]()
	page, err := s.Jobs(ctx, f)
	check("Jobs", err, page, entropy.JobPage{Jobs: []*entropy.Job{rec.job(), rec.job()}, Next: "c"}, f)
	job, err = s.Cancel(ctx, "j1", op)
	check("Cancel", err, job, rec.job(), entropy.JobID("j1"), op)
	job, err = s.Retry(ctx, "j1", op)
	check("Retry", err, job, rec.job(), entropy.JobID("j1"), op)
	job, err = s.Hold(ctx, "j1", op)
	check("Hold", err, job, rec.job(), "hold", entropy.JobID("j1"), op)
	job, err = s.Release(ctx, "j1", op)
	check("Release", err, job, rec.job(), "release", entropy.JobID("j1"), op)
	job, err = s.Prioritize(ctx, "j1", -3, op)
	check("Prioritize", err, job, rec.job(), entropy.JobID("j1"), -3, op)
	br := entropy.BulkRequest{Verb: entropy.VerbPrioritize, Priority: 4, DryRun: true, Filter: filled[entropy.JobFilter](), Operation: op}
	bulk, err := s.Bulk(ctx, br)
	check("Bulk", err, bulk, answer(new(entropy.BulkReply)), br)
	ended := rec.job()
	ended.ID = "j1"
	done, err := s.Wait(ctx, []entropy.JobID{"j1"}, time.Minute)
	check("Wait", err, done, []*entropy.Job{ended}, []entropy.JobID{"j1"})
	ef := entropy.EventFilter{After: entropy.Position{Epoch: 2, Seq: 9}, Entity: "job:j1", Type: "job.", Limit: 7, Wait: time.Second}
	events, err := s.Events(ctx, ef)
	check("Events", err, events, answer(new(entropy.EventPage)), ef)
	lq := entropy.LogQuery{JobID: "j1", Stream: "stderr", Attempt: 2, Offset: -9, Limit: 8, Wait: time.Second}
	chunk, err := s.Log(ctx, lq)
	check("Log", err, chunk, answer(new(entropy.LogChunk)), lq)
	body, art, err := s.OpenArtifact(ctx, "j1", "a b/c?#%.txt")
	check("OpenArtifact", err, art, entropy.Artifact{Name: "a b/c?#%.txt", SHA256: otherSum, Size: 7}, entropy.JobID("j1"), "a b/c?#%.txt")
	wantContent(t, body)
	err = s.PutBlob(ctx, otherSum, 7, strings.NewReader(content))
	check("PutBlob", err, nil, nil, otherSum, int64(7), content)
	missing, err := s.HasBlobs(ctx, []string{otherSum, sha(nil)})
	check("HasBlobs", err, missing, []string{otherSum}, []string{otherSum, sha(nil)})
	workers, err := s.Workers(ctx)
	check("Workers", err, workers, answer(new([]entropy.WorkerInfo)))
	info, err := s.SetWorker(ctx, "w2", entropy.WorkerQuarantine, op)
	check("SetWorker", err, info, answer(new(entropy.WorkerInfo)), entropy.WorkerID("w2"), entropy.WorkerQuarantine, op)
	policy, err := s.Policy(ctx)
	check("Policy", err, policy, answer(new(entropy.Policy)))
	policy, err = s.SetPolicy(ctx, filled[entropy.Policy](), op)
	check("SetPolicy", err, policy, answer(new(entropy.Policy)), filled[entropy.Policy](), op)
	x, err := s.Explain(ctx, "j1")
	check("Explain", err, x, answer(new(entropy.Explanation)), entropy.JobID("j1"))
	status, err := s.Status(ctx)
	check("Status", err, status, answer(new(entropy.Status)))
}

// proves W-3: every method of WorkerService carries every field there and back
func TestWorkerServiceCarriesEveryField(t *testing.T) {
	c := newTrip(t)
	check, answer, ctx := c.check, c.answer, t.Context()
	var ws entropy.WorkerService = c.w.client(entropy.ClientConfig{WorkerKey: c.w.key("w1")})

	reg := filled[entropy.Registration]()
	reg.KeyHash = c.w.fabric().KeyHash("w1")
	registered, err := ws.Register(ctx, reg)
	check("Register", err, registered, answer(new(entropy.Registered)), reg)
	claim := entropy.ClaimRequest{Incarnation: 3, ClaimSeq: 4, Want: 5, Wait: entropy.Duration(6 * time.Second)}
	claimed, err := ws.Claim(ctx, claim)
	check("Claim", err, claimed, answer(new(entropy.ClaimReply)), claim)
	ack := filled[entropy.AckRequest]()
	items, err := ws.Ack(ctx, ack)
	check("Ack", err, items, answer(new([]entropy.ItemResult)), ack)
	refusals := filled[entropy.RefuseRequest]()
	items, err = ws.Refuse(ctx, refusals)
	check("Refuse", err, items, answer(new([]entropy.ItemResult)), refusals)
	beat := filled[entropy.Heartbeat]()
	beat.Seq = 1<<64 - 1
	reply, err := ws.Heartbeat(ctx, beat)
	check("Heartbeat", err, reply, answer(new(entropy.HeartbeatReply)), beat)
	dq := entropy.DirectivesRequest{Incarnation: 3, Known: 9, Wait: entropy.Duration(time.Second)}
	directives, err := ws.Directives(ctx, dq)
	check("Directives", err, directives, answer(new(entropy.Directives)), dq)
	completions := filled[entropy.CompleteRequest]()
	replies, err := ws.Complete(ctx, completions)
	check("Complete", err, replies, answer(new([]entropy.CompletionReply)), completions)
	up := entropy.ArtifactUpload{JobID: "j1", AssignmentID: "a1", SHA256: otherSum, Size: 100, Offset: 50}
	size, err := ws.StageArtifact(ctx, up, bytes.NewReader([]byte(content)))
	check("StageArtifact", err, size, int64(77), up, content)
	size, err = ws.StageArtifact(ctx, up, struct{ io.Reader }{strings.NewReader(content)}) // of unknown length
	check("StageArtifact", err, size, int64(77), up, content)
	lu := entropy.LogUpload{JobID: "j1", AssignmentID: "a1", Stream: "stderr", Offset: 12}
	size, err = ws.AppendLog(ctx, lu, []byte(content))
	check("AppendLog", err, size, int64(78), lu, content)
	blob, err := ws.OpenBlob(ctx, otherSum)
	check("OpenBlob", err, nil, nil, otherSum)
	wantContent(t, blob)
	err = ws.Leave(ctx, entropy.LeaveRequest{Incarnation: 3, Final: true})
	check("Leave", err, nil, nil, entropy.LeaveRequest{Incarnation: 3, Final: true})
}

func wantContent(t *testing.T, r io.ReadCloser) {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil || string(b) != content {
		t.Errorf("content %q %v", b, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
