package entropy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// fakeServer is a control plane as far as a test needs one.
func fakeServer(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(entropy.HeaderAPI, entropy.APIVersion)
		w.Header().Set("Content-Type", "application/json")
		handle(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func newClient(t *testing.T, conf entropy.ClientConfig) *entropy.Client {
	t.Helper()
	c, err := entropy.NewClient(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// wantError fails unless err has the code, and its text every one of the texts.
func wantError(t *testing.T, err error, code entropy.Code, texts ...string) {
	t.Helper()
	if entropy.ErrorCode(err) != code {
		t.Errorf("error %v has code %q, want %q", err, entropy.ErrorCode(err), code)
		return
	}
	if entropy.AsError(err).Hint == "" {
		t.Errorf("error %v has no hint", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q lacks %q", err, text)
		}
	}
}

// proves “Bad input, everywhere”: the server's address
func TestClientServerAddress(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:7600": "http://127.0.0.1:7600", "localhost:7600": "http://localhost:7600", "[::1]:7600": "http://[::1]:7600",
		"lab1:7600": "https://lab1:7600", "10.0.0.1:7600": "https://10.0.0.1:7600", "http://lab1:7600": "http://lab1:7600", "https://lab1/fabric": "https://lab1/fabric",
	} {
		if got := newClient(t, entropy.ClientConfig{Server: in}).Server(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, bad := range []string{"", "ftp://lab1", "http://", "http://u:p@lab1", "http://lab1?x=1", "http://lab1#x", "http://[::1", "http://a b/"} {
		_, err := entropy.NewClient(entropy.ClientConfig{Server: bad})
		wantError(t, err, entropy.CodeInvalid)
	}
	_, err := entropy.NewClient(entropy.ClientConfig{Server: "lab1:7600", Token: "a\r\nX-Evil: 1"})
	wantError(t, err, entropy.CodeInvalid, "token")
	_, err = entropy.NewClient(entropy.ClientConfig{Server: "lab1:7600", CAPin: "beef"})
	wantError(t, err, entropy.CodeInvalid, "pin")
	newClient(t, entropy.ClientConfig{Server: "lab1:7600", Token: " token-from-a-file\n"})
}

// proves I-3: nothing arrived is unavailable, for reads and writes alike
func TestClientUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, entropy.ClientConfig{Server: addr})
	_, err = c.Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "cannot reach the control plane", "connection refused", "entropy up")
	_, err = c.Submit(t.Context(), []entropy.Submission{{Spec: entropy.JobSpec{Command: []string{"true"}}}})
	wantError(t, err, entropy.CodeUnavailable, "connection refused")
	err = c.PutBlob(t.Context(), "x", 1, strings.NewReader("y"))
	wantError(t, err, entropy.CodeUnavailable, "connection refused")
}

// proves J-5, P-1: an answer that is lost leaves the outcome of a write unknown
func TestClientLostAnswer(t *testing.T) {
	srv := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	c := newClient(t, entropy.ClientConfig{Server: srv.URL})
	_, err := c.Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable)
	_, err = c.Cancel(t.Context(), "j1", entropy.Operation{ID: "op"})
	wantError(t, err, entropy.CodeUnknown, "may or may not have happened", "same identifiers")
	_, err = c.Claim(t.Context(), entropy.ClaimRequest{})
	wantError(t, err, entropy.CodeUnknown)
	_, err = c.StageArtifact(t.Context(), entropy.ArtifactUpload{AssignmentID: "a", SHA256: "x"}, strings.NewReader("x"))
	wantError(t, err, entropy.CodeUnknown)
}

// proves J-5: an answer that breaks off in its middle is no answer
func TestClientBrokenAnswer(t *testing.T) {
	body := `{"id":"j1"`
	srv := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "500")
		io.WriteString(w, body)
	})
	c := newClient(t, entropy.ClientConfig{Server: srv.URL})
	_, err := c.Cancel(t.Context(), "j1", entropy.Operation{})
	wantError(t, err, entropy.CodeUnknown)
	_, err = c.Job(t.Context(), "j1")
	wantError(t, err, entropy.CodeUnavailable)

	other := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"id":17}`) })
	c = newClient(t, entropy.ClientConfig{Server: other.URL})
	_, err = c.Job(t.Context(), "j1")
	wantError(t, err, entropy.CodeUnknown, "not understood", "compatible")
	_, err = c.Submit(t.Context(), make([]entropy.Submission, 2))
	wantError(t, err, entropy.CodeUnknown, "2 items with 0 results")
}

// proves I-3: canceling and running out of time can be told apart, and keep their cause
func TestClientContext(t *testing.T) {
	entered := make(chan struct{}, 1)
	srv := fakeServer(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-r.Context().Done()
	})
	c := newClient(t, entropy.ClientConfig{Server: srv.URL, RequestTimeout: 50 * time.Millisecond})
	_, err := c.Status(t.Context())
	wantError(t, err, entropy.CodeUnavailable, "did not answer in time")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not wrap its cause", err)
	}
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := c.Claim(ctx, entropy.ClaimRequest{Wait: entropy.Duration(time.Minute)})
		failed <- err
	}()
	<-entered
	cancel()
	err = <-failed
	wantError(t, err, entropy.CodeUnknown, "canceled")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap its cause", err)
	}
}

// batchServer answers every batch endpoint, one result per item, and measures.
type batchServer struct {
	t                 *testing.T
	requests, largest atomic.Int64
}

func (s *batchServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	s.largest.Store(max(s.largest.Load(), int64(len(b))))
	var body struct {
		Jobs   []entropy.Submission
		IDs    []entropy.JobID
		SHA256 []string
		Items  []entropy.Completion
	}
	if err := json.Unmarshal(b, &body); err != nil {
		s.t.Error(err)
	}
	if n := len(body.Jobs) + len(body.IDs) + len(body.SHA256) + len(body.Items); n == 0 || n > entropy.MaxBatch {
		s.t.Errorf("%s with %d items", r.URL.Path, n)
	}
	var submitted entropy.SubmitResults
	for _, sub := range body.Jobs {
		submitted.Results = append(submitted.Results, entropy.SubmitResult{ID: sub.ID, Created: true})
	}
	var ended entropy.JobList
	for _, id := range body.IDs {
		ended.Jobs = append(ended.Jobs, &entropy.Job{ID: id, State: entropy.Succeeded})
	}
	var completed entropy.CompletionReplies
	for _, c := range body.Items {
		completed.Results = append(completed.Results, entropy.CompletionReply{AssignmentID: c.AssignmentID})
	}
	var out any = submitted
	switch r.URL.Path {
	case "/v1/wait":
		out = ended
	case "/v1/blobs/missing":
		out = entropy.BlobList{SHA256: body.SHA256[:1]}
	case "/v1/worker/complete":
		out = completed
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		s.t.Error(err)
	}
}

// proves I-2: batches over MaxBatch are split, in order, and by size too
func TestClientSplitsBatches(t *testing.T) {
	batches := &batchServer{t: t}
	srv := fakeServer(t, batches.ServeHTTP)
	requests, largest := &batches.requests, &batches.largest
	c := newClient(t, entropy.ClientConfig{Server: srv.URL})
	const n = 2*entropy.MaxBatch + 1
	subs, ids, sums := make([]entropy.Submission, n), make([]entropy.JobID, n), make([]string, n)
	items := make([]entropy.Completion, 300)
	for i := range n {
		ids[i] = entropy.JobID(fmt.Sprint("j", i))
		sums[i] = fmt.Sprint("s", i)
		subs[i].ID = ids[i]
	}
	results, err := c.Submit(t.Context(), subs)
	if err != nil || len(results) != n || results[n-1].ID != ids[n-1] || requests.Swap(0) != 3 {
		t.Errorf("submit: %d results, %v", len(results), err)
	}
	done, err := c.Wait(t.Context(), ids, time.Minute)
	if err != nil || len(done) != n || done[n-1].ID != ids[n-1] || requests.Swap(0) != 3 {
		t.Errorf("wait: %d jobs, %v", len(done), err)
	}
	missing, err := c.HasBlobs(t.Context(), sums)
	if err != nil || len(missing) != 3 || missing[2] != sums[n-1] {
		t.Errorf("missing: %v %v", missing, err)
	}
	for i := range items {
		items[i] = entropy.Completion{AssignmentID: entropy.AssignmentID(fmt.Sprint("a", i)), Result: json.RawMessage(`"` + strings.Repeat("x", 60<<10) + `"`)}
	}
	replies, err := c.Complete(t.Context(), entropy.CompleteRequest{Items: items})
	if err != nil || len(replies) != len(items) || replies[299].AssignmentID != "a299" || largest.Load() > entropy.MaxRequest {
		t.Errorf("complete: %d replies, %v, largest %d", len(replies), err, largest.Load())
	}
	requests.Store(0)
	if results, err := c.Submit(t.Context(), nil); err != nil || len(results) != 0 || requests.Load() != 0 {
		t.Errorf("nothing to submit: %v %v", results, err)
	}
}

// proves J-5: every submission leaves with an identity
func TestClientMakesIDs(t *testing.T) {
	srv := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		var body entropy.SubmitBatch
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if body.Jobs[0].ID == "" || body.Jobs[1].ID != "mine" || body.Jobs[2].ID != "" || body.Jobs[2].IdempotencyKey != "k" {
			t.Errorf("%+v", body.Jobs)
		}
		io.WriteString(w, `{"results":[{},{},{}]}`)
	})
	subs := []entropy.Submission{{}, {ID: "mine"}, {IdempotencyKey: "k"}}
	if _, err := newClient(t, entropy.ClientConfig{Server: srv.URL}).Submit(t.Context(), subs); err != nil {
		t.Fatal(err)
	}
	if subs[0].ID != "" {
		t.Error("the caller's slice was changed")
	}
}

// proves S-2, C-1: which credential goes where
func TestClientCredentials(t *testing.T) {
	var seen []string
	refuse := false
	srv := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization")+" "+r.Header.Get(entropy.HeaderWorkerKey))
		if refuse && r.Header.Get("Authorization") == "Bearer join" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(401)
			io.WriteString(w, `{"code":"unauthorized","detail":"no","status":401}`)
			return
		}
		io.WriteString(w, `{}`)
	})
	c := newClient(t, entropy.ClientConfig{Server: srv.URL, Token: "join", WorkerKey: "key"})
	call := func(want ...string) {
		t.Helper()
		seen = nil
		_, err := c.Register(t.Context(), entropy.Registration{})
		_, err2 := c.Claim(t.Context(), entropy.ClaimRequest{})
		_, err3 := c.Status(t.Context())
		if err := errors.Join(err, err2, err3); err != nil {
			t.Error(err)
		}
		if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("seen:\n%s", got)
		}
	}
	call("/v1/worker/register Bearer join key", "/v1/worker/claim Bearer key ", "/v1/status Bearer join ")
	refuse = true // the join token has expired: a known worker needs none
	seen = nil
	if _, err := c.Register(t.Context(), entropy.Registration{}); err != nil || len(seen) != 2 || seen[1] != "/v1/worker/register Bearer key " {
		t.Errorf("%v %q", err, seen)
	}
	c = newClient(t, entropy.ClientConfig{Server: srv.URL, WorkerKey: "key"})
	call("/v1/worker/register Bearer key ", "/v1/worker/claim Bearer key ", "/v1/status Bearer key ")
}

// proves “Bad input, everywhere”: no ID can turn a call into another
func TestClientBadNames(t *testing.T) {
	srv := fakeServer(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) })
	c := newClient(t, entropy.ClientConfig{Server: srv.URL})
	for _, id := range []entropy.JobID{"", ".", ".."} {
		_, err := c.Job(t.Context(), id)
		wantError(t, err, entropy.CodeInvalid)
		_, err = c.Cancel(t.Context(), id, entropy.Operation{})
		wantError(t, err, entropy.CodeInvalid)
	}
	for _, name := range []string{"", "..", "a/../b", "a//b", "./a", "a/"} {
		_, _, err := c.OpenArtifact(t.Context(), "j", name)
		wantError(t, err, entropy.CodeInvalid)
	}
	wantError(t, c.PutBlob(t.Context(), "..", 1, strings.NewReader("x")), entropy.CodeInvalid)
}

// proves W-7: when an upload is answered early, the caller has its reader back
func TestClientUploadGivesReaderBack(t *testing.T) {
	srv := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"size":3}`) })
	c := newClient(t, entropy.ClientConfig{Server: srv.URL})
	for range 50 {
		b := bytes.Repeat([]byte("x"), 1<<20)
		if n, err := c.AppendLog(t.Context(), entropy.LogUpload{JobID: "j", AssignmentID: "a", Stream: "stdout"}, b); err != nil && entropy.ErrorCode(err) != entropy.CodeUnknown || err == nil && n != 3 {
			t.Fatalf("%d %v", n, err)
		}
		clear(b) // the race detector sees a reader that goes on
	}
}

// proves I-2: a log longer than a piece goes in pieces, and stops at a gap
func TestClientAppendLogPieces(t *testing.T) {
	var stored []byte
	lose := false
	srv := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Query().Get("offset") == fmt.Sprint(len(stored)) && !lose {
			stored = append(stored, b...)
		}
		fmt.Fprintf(w, `{"size":%d}`, len(stored))
	})
	c := newClient(t, entropy.ClientConfig{Server: srv.URL})
	text := bytes.Repeat([]byte("0123456789"), 250_000)
	n, err := c.AppendLog(t.Context(), entropy.LogUpload{AssignmentID: "a", Stream: "stdout"}, text)
	if err != nil || n != int64(len(text)) || !bytes.Equal(stored, text) {
		t.Fatalf("%d %v", n, err)
	}
	lose, stored = true, nil
	if n, err := c.AppendLog(t.Context(), entropy.LogUpload{AssignmentID: "a", Stream: "stdout"}, text); err != nil || n != 0 {
		t.Fatalf("%d %v", n, err)
	}
}

// proves “memory flat, nothing hangs”: a transfer that stands still is ended
func TestClientStall(t *testing.T) {
	release := make(chan struct{})
	srv := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "some")
		http.NewResponseController(w).Flush()
		<-release
	})
	defer close(release)
	c := newClient(t, entropy.ClientConfig{Server: srv.URL, StallTimeout: 50 * time.Millisecond})
	r, err := c.OpenBlob(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = io.ReadAll(r)
	wantError(t, err, entropy.CodeUnavailable, "no progress")
}
