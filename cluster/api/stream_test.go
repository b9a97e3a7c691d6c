package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/entropytest"
)

// stream is a client of server-sent events.
type stream struct {
	io.Closer
	t  *testing.T
	in *bufio.Reader
}

// message is one server-sent event.
type message struct{ id, event, data, comment string }

func openStream(t *testing.T, w *world, path, last string) *stream {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+w.admin)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := testClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("stream: %d %s %s", resp.StatusCode, resp.Header, b)
	}
	return &stream{resp.Body, t, bufio.NewReader(resp.Body)}
}

// next reads one message.
func (s *stream) next() message {
	s.t.Helper()
	m, err := s.read()
	if err != nil {
		s.t.Fatalf("stream: %v", err)
	}
	return m
}

func (s *stream) read() (m message, err error) {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return m, err
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "":
			if line == "\n" {
				return m, nil
			}
			m.comment = value
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data = value
		}
	}
}

// event reads the next message that carries an event.
func (s *stream) event() (m message, e entropy.Event) {
	s.t.Helper()
	for m.data == "" {
		m = s.next()
	}
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		s.t.Fatalf("%q: %v", m.data, err)
	}
	return m, e
}

// drain reads to the end and returns the last data.
func (s *stream) drain() (last string) {
	for {
		m, err := s.read()
		if err != nil {
			return last
		}
		if m.data != "" {
			last = m.data
		}
	}
}

func submitOne(t testing.TB, m *entropytest.Memory, id entropy.JobID) {
	t.Helper()
	res, err := m.Submit(context.Background(), []entropy.Submission{{ID: id, Spec: entropy.JobSpec{Command: []string{"true"}}}})
	if err != nil || res[0].Error != nil {
		t.Fatal(err, res)
	}
}

// awaitOpen returns once the server has the request: one more of the same kind
// was answered, or this one was. It needs a server with room for both.
func awaitOpen(t *testing.T, w *world, path string, early <-chan int) {
	t.Helper()
	short := strings.Replace(path, "60s", "20ms", 1)
	for range 5 {
		select {
		case code := <-early:
			t.Fatalf("%s was answered early: %d", path, code)
		default:
			w.do(request{method: "GET", path: short, token: w.admin})
		}
	}
}

// proves O-1, H-4: the event stream goes on where the client was
func TestEventStreamResumes(t *testing.T) {
	w, m := memoryWorld(t)
	submitOne(t, m, "a")
	submitOne(t, m, "b")
	s := openStream(t, w, "/v1/events", "")
	first, e := s.event()
	if first.event != entropy.JobSubmitted || e.EntityID != "job:a" || first.id != "1:1" {
		t.Fatalf("first: %+v", first)
	}
	s.Close()
	s = openStream(t, w, "/events?latest=true", first.id) // Last-Event-ID wins
	defer s.Close()
	second, e := s.event()
	if e.EntityID != "job:b" || second.id != "1:2" {
		t.Fatalf("second: %+v", second)
	}
	submitOne(t, m, "c")
	if third, e := s.event(); e.EntityID != "job:c" || third.id != "1:3" {
		t.Fatalf("third: %+v", third)
	}
	w.want(request{method: "GET", path: "/v1/events", token: w.admin, header: map[string]string{"Accept": "text/event-stream", "Last-Event-ID": "9:1"}}, 409, "conflict")
	w.want(request{method: "GET", path: "/v1/events", token: w.admin, header: map[string]string{"Accept": "text/event-stream", "Last-Event-ID": "x"}}, 400, "EPOCH:SEQ")
}

// proves O-1: an idle stream lives, and a filter moves the client's position on
func TestEventStreamKeepAlive(t *testing.T) {
	m := entropytest.NewMemory()
	w := newWorld(t, m, m, func(c *api.Config) { c.KeepAlive = 10 * time.Millisecond })
	submitOne(t, m, "a")
	s := openStream(t, w, "/v1/events?type=worker.", "")
	defer s.Close()
	for range 3 {
		if got := s.next(); got.comment != "keep-alive" || got.id != "1:1" || got.data != "" {
			t.Fatalf("idle: %+v", got)
		}
	}
}

// proves O-1: the JSON form of the feed
func TestEventPage(t *testing.T) {
	w, m := memoryWorld(t)
	submitOne(t, m, "a")
	w.want(request{method: "GET", path: "/events?after=0:0&limit=5", token: w.admin}, 200, `"next":"1:1"`, `"event_type":"job.submitted"`)
	w.want(request{method: "GET", path: "/v1/events?after=1:1", token: w.admin}, 200, `"events":[]`, `"next":"1:1"`)
	w.want(request{method: "GET", path: "/v1/events?after=1:1&latest=1", token: w.admin}, 400, "exclude")
	w.want(request{method: "GET", path: "/v1/events?after=1:77", token: w.admin}, 409)
}

// proves I-3: shutdown releases who waits, and lets who works finish
func TestShutdownReleasesLongPolls(t *testing.T) {
	m := entropytest.NewMemory()
	entered := make(chan struct{}, 2)
	release := make(chan struct{})
	slow := &slowService{Memory: m, entered: entered, release: release}
	w := newWorld(t, slow, slow, nil)
	submitOne(t, m, "a")
	status := make(chan int, 2)
	go func() {
		resp, _ := w.do(request{method: "GET", path: "/v1/jobs/a/wait?timeout=60s", token: w.admin})
		status <- resp.StatusCode
	}()
	<-entered
	working := make(chan int, 1)
	go func() {
		resp, _ := w.do(request{method: "POST", path: "/v1/jobs/a/cancel", token: w.admin})
		working <- resp.StatusCode
	}()
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- w.stop() }()
	if code := <-status; code != 503 {
		t.Errorf("the long poll got %d, want 503", code)
	}
	close(release)
	if code := <-working; code != 200 {
		t.Errorf("the cancel got %d, want 200", code)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n := len(working); n != 0 {
		t.Errorf("%d answers too many", n)
	}
}

// slowService tells when Wait and Cancel are entered; Cancel goes on at release.
type slowService struct {
	*entropytest.Memory
	entered chan struct{}
	release chan struct{}
}

func (s *slowService) Wait(ctx context.Context, ids []entropy.JobID, limit time.Duration) ([]*entropy.Job, error) {
	s.entered <- struct{}{}
	return s.Memory.Wait(ctx, ids, limit)
}

func (s *slowService) Cancel(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	s.entered <- struct{}{}
	<-s.release
	return s.Memory.Cancel(ctx, id, op)
}

// proves SPEC §12: logs are followed as text until the attempt has ended
func TestFollowLogs(t *testing.T) {
	w, m := memoryWorld(t)
	node := entropy.AsWorker(m, entropytest.Principal("w1"))
	submitOne(t, m, "a")
	a := startJob(t, node)
	logLine(t, node, a, 0, "one\n")
	req, err := http.NewRequest("GET", w.url+"/v1/jobs/a/logs?follow=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.admin)
	resp, err := testClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "one\n" {
		t.Fatalf("%q %v", first, err)
	}
	logLine(t, node, a, 4, "<script>\x1b[31m\n")
	if _, err := node.Complete(t.Context(), entropy.CompleteRequest{Incarnation: 1, Items: []entropy.Completion{{JobID: a.JobID, AssignmentID: a.AssignmentID, Outcome: entropy.OutcomeSucceeded}}}); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != "<script>\x1b[31m\n" {
		t.Fatalf("%q %v", rest, err)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "text/plain; charset=utf-8" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("content type %q", ct)
	}
}

func startJob(t testing.TB, node entropy.WorkerService) entropy.Assignment {
	t.Helper()
	reg, err := node.Register(context.Background(), entropy.Registration{Nonce: entropy.NewID(), KeyHash: entropytest.KeyHash("w1"), BootID: "b", SpoolID: "s", Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	got, err := node.Claim(context.Background(), entropy.ClaimRequest{Incarnation: reg.Incarnation, ClaimSeq: 1, Want: 1})
	if err != nil || len(got.Assignments) != 1 {
		t.Fatal(got, err)
	}
	a := got.Assignments[0]
	if _, err := node.Ack(context.Background(), entropy.AckRequest{Incarnation: reg.Incarnation, Items: []entropy.Held{{JobID: a.JobID, AssignmentID: a.AssignmentID}}}); err != nil {
		t.Fatal(err)
	}
	return a
}

func logLine(t testing.TB, node entropy.WorkerService, a entropy.Assignment, offset int64, line string) {
	t.Helper()
	if _, err := node.AppendLog(context.Background(), entropy.LogUpload{JobID: a.JobID, AssignmentID: a.AssignmentID, Stream: "stdout", Offset: offset}, []byte(line)); err != nil {
		t.Fatal(err)
	}
}
