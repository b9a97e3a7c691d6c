package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// noon is when the tests take place.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// fakeService is a control plane in memory that answers what a test put in.
type fakeService struct {
	entropy.Service // a method that no test expects panics

	mu      sync.Mutex
	errs    []error // returned one by one, before any other answer; nil entries pass
	calls   []string
	jobs    map[entropy.JobID]*entropy.Job
	order   []*entropy.Job
	next    string
	filter  entropy.JobFilter
	subs    []entropy.Submission
	blobs   map[string][]byte
	pieces  map[string][]entropy.LogChunk
	files   map[string][]byte
	workers []entropy.WorkerInfo
	events  []entropy.EventPage
	asked   []entropy.EventFilter
	status  entropy.Status
	policy  entropy.Policy

	explanation entropy.Explanation
	ops         []entropy.Operation
	bulks       []entropy.BulkRequest
	pages       []entropy.BulkReply
	onWait      func(ids []entropy.JobID)
}

func (f *fakeService) call(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	if len(f.errs) == 0 {
		return nil
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return err
}

func (f *fakeService) Submit(_ context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	f.subs = append(f.subs, subs...)
	if err := f.call("submit"); err != nil {
		return nil, err
	}
	out := make([]entropy.SubmitResult, len(subs))
	for i, s := range subs {
		out[i] = entropy.SubmitResult{ID: s.ID, Created: true}
		if s.ID == "" {
			out[i].ID = entropy.JobID("by-key-" + s.IdempotencyKey)
		}
	}
	return out, nil
}

func (f *fakeService) Job(_ context.Context, id entropy.JobID) (*entropy.Job, error) {
	if err := f.call("job"); err != nil {
		return nil, err
	}
	if j := f.jobs[id]; j != nil {
		return j, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "there is no job %s", id)
}

func (f *fakeService) Jobs(_ context.Context, filter entropy.JobFilter) (entropy.JobPage, error) {
	f.filter = filter
	return entropy.JobPage{Jobs: f.order, Next: f.next}, f.call("jobs")
}

func (f *fakeService) Cancel(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	f.ops = append(f.ops, op)
	if err := f.call("cancel " + string(id)); err != nil {
		return nil, err
	}
	return f.jobs[id], nil
}

func (f *fakeService) Retry(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	f.ops = append(f.ops, op)
	return &entropy.Job{ID: id + "-again"}, f.call("retry " + string(id))
}

// Wait answers at once with what has ended, or after max with what has by then.
func (f *fakeService) Wait(ctx context.Context, ids []entropy.JobID, max time.Duration) ([]*entropy.Job, error) {
	if err := f.call("wait"); err != nil {
		return nil, err
	}
	if f.onWait != nil {
		f.onWait(ids)
	}
	ended := f.ended(ids)
	if len(ended) == len(ids) {
		return ended, nil
	}
	select {
	case <-time.After(max):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return f.ended(ids), nil
}

func (f *fakeService) ended(ids []entropy.JobID) (out []*entropy.Job) {
	for _, id := range ids {
		if j := f.jobs[id]; j != nil && j.State.Terminal() {
			out = append(out, j)
		}
	}
	return out
}

func (f *fakeService) HasBlobs(_ context.Context, sums []string) (missing []string, err error) {
	for _, s := range sums {
		if _, ok := f.blobs[s]; !ok {
			missing = append(missing, s)
		}
	}
	return missing, f.call("has")
}

func (f *fakeService) PutBlob(_ context.Context, sum string, size int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum || int64(len(b)) != size {
		return entropy.Errorf(entropy.CodeInvalid, "the content differs")
	}
	f.blobs[sum] = b
	return f.call("put")
}

func (f *fakeService) Log(_ context.Context, q entropy.LogQuery) (entropy.LogChunk, error) {
	if err := f.call("log " + q.Stream); err != nil {
		return entropy.LogChunk{}, err
	}
	chunks := f.pieces[q.Stream]
	if len(chunks) == 0 {
		return entropy.LogChunk{}, errors.New("the log is asked for too often")
	}
	f.pieces[q.Stream] = chunks[1:]
	return chunks[0], nil
}

func (f *fakeService) OpenArtifact(_ context.Context, id entropy.JobID, name string) (io.ReadCloser, entropy.Artifact, error) {
	return io.NopCloser(bytes.NewReader(f.files[name])), entropy.Artifact{Name: name}, f.call("open " + name)
}

func (f *fakeService) Workers(context.Context) ([]entropy.WorkerInfo, error) {
	return f.workers, f.call("workers")
}

func (f *fakeService) SetWorker(_ context.Context, id entropy.WorkerID, mode entropy.WorkerMode, op entropy.Operation) (entropy.WorkerInfo, error) {
	f.ops = append(f.ops, op)
	if err := f.call("set " + string(id) + " " + string(mode)); err != nil {
		return entropy.WorkerInfo{}, err
	}
	return entropy.WorkerInfo{Worker: entropy.Worker{ID: id, State: entropy.WorkerAlive, Draining: mode == entropy.WorkerDrain}}, nil
}

func (f *fakeService) Policy(context.Context) (entropy.Policy, error) {
	return f.policy, f.call("policy")
}

func (f *fakeService) SetPolicy(_ context.Context, p entropy.Policy, op entropy.Operation) (entropy.Policy, error) {
	f.ops = append(f.ops, op)
	if err := f.call("set policy"); err != nil {
		return entropy.Policy{}, err
	}
	p.Version++
	f.policy = p
	return p, nil
}

func (f *fakeService) Explain(_ context.Context, id entropy.JobID) (entropy.Explanation, error) {
	x := f.explanation
	x.JobID = id
	return x, f.call("explain " + string(id))
}

func (f *fakeService) Events(_ context.Context, filter entropy.EventFilter) (entropy.EventPage, error) {
	f.asked = append(f.asked, filter)
	if filter.Limit < 0 || filter.Limit > 10_000 {
		return entropy.EventPage{}, entropy.Errorf(entropy.CodeInvalid, "limit %d", filter.Limit)
	}
	if err := f.call("events"); err != nil {
		return entropy.EventPage{}, err
	}
	if len(f.events) == 0 {
		return entropy.EventPage{Next: filter.After}, nil
	}
	page := f.events[0]
	f.events = f.events[1:]
	return page, nil
}

func (f *fakeService) Status(context.Context) (entropy.Status, error) {
	return f.status, f.call("status")
}

// bench is one program under test with its surroundings.
type bench struct {
	app            *app
	service        *fakeService
	stdout, stderr bytes.Buffer
	env            map[string]string
	dialed         entropy.ClientConfig
}

// newBench returns a program that talks to a fake control plane.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		service: &fakeService{jobs: map[entropy.JobID]*entropy.Job{}, blobs: map[string][]byte{}, pieces: map[string][]entropy.LogChunk{}, files: map[string][]byte{}},
		env:     map[string]string{"ENTROPY_TOKEN": "secret", "XDG_STATE_HOME": t.TempDir()},
	}
	b.app = &app{
		stdin: strings.NewReader(""), stdout: &b.stdout, stderr: &b.stderr,
		env: func(k string) string { return b.env[k] },
		now: func() time.Time { return noon },
		dial: func(c entropy.ClientConfig) (entropy.Service, error) {
			b.dialed = c
			return b.service, nil
		},
	}
	return b
}

// run runs one command line and returns its exit code.
func (b *bench) run(args ...string) int {
	b.app.started = false
	b.stdout.Reset()
	b.stderr.Reset()
	return b.app.run(context.Background(), args)
}

// golden compares got with a file of testdata, or rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test -rewrite if that is meant\n--- got\n%s--- want\n%s", name, got, want)
	}
}
