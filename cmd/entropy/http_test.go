package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/entropytest"
)

// network is a fabric in memory behind the real API, and a worker of it that the
// test plays.
type network struct {
	*bench
	memory *entropytest.Memory
	worker entropy.WorkerService
	inc    uint64
	claims uint64
}

// newNetwork serves a fabric on the loopback and returns the program pointed at
// it, with an admin token.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{bench: newBench(t), memory: entropytest.NewMemory()}
	secret, token, err := identity.New(entropy.RoleAdmin)
	if err != nil {
		t.Fatal(err)
	}
	auth := identity.NewAuthenticator(identity.Config{})
	auth.Set([]entropy.Token{token})
	server, err := api.New(api.Config{Service: n.memory, Worker: n.memory, Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server.Handler())
	t.Cleanup(listener.Close)
	n.env["ENTROPY_SERVER"], n.env["ENTROPY_TOKEN"] = listener.URL, secret
	n.app.now = time.Now
	n.app.dial = func(c entropy.ClientConfig) (entropy.Service, error) { return entropy.NewClient(c) }

	n.worker = n.memory.Fabric().Worker("lab-1")
	reg, err := n.worker.Register(context.Background(), entropy.Registration{Nonce: "n", KeyHash: entropytest.KeyHash("lab-1"), BootID: "b", SpoolID: "s", Hostname: "host", Version: "v", Slots: 8})
	if err != nil {
		t.Fatal(err)
	}
	n.inc = reg.Incarnation
	return n
}

// ok runs a command line that must succeed and returns what it printed.
func (b *bench) ok(t *testing.T, args ...string) string {
	t.Helper()
	if code := b.run(args...); code != 0 {
		t.Fatalf("entropy %s: exit %d: %s", strings.Join(args, " "), code, b.stderr.String())
	}
	return b.stdout.String()
}

// take claims and ACKs one job as the worker.
func (n *network) take(t *testing.T) entropy.Assignment {
	t.Helper()
	n.claims++
	reply, err := n.worker.Claim(context.Background(), entropy.ClaimRequest{Incarnation: n.inc, ClaimSeq: n.claims, Want: 1, Wait: entropy.Duration(10 * time.Second)})
	if err != nil || len(reply.Assignments) != 1 {
		t.Fatalf("claim: %v, %v", reply, err)
	}
	a := reply.Assignments[0]
	if _, err := n.worker.Ack(context.Background(), entropy.AckRequest{Incarnation: n.inc, Items: []entropy.Held{{JobID: a.JobID, AssignmentID: a.AssignmentID}}}); err != nil {
		t.Fatal(err)
	}
	return a
}

// finish reports that an assignment wrote some output, left an artifact and ended.
func (n *network) finish(t *testing.T, a entropy.Assignment, exit int, output, artifact string) {
	t.Helper()
	ctx := context.Background()
	sum := sha256.Sum256([]byte(artifact))
	file := entropy.Artifact{Name: "out/result", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(artifact))}
	if _, err := n.worker.StageArtifact(ctx, entropy.ArtifactUpload{JobID: a.JobID, AssignmentID: a.AssignmentID, SHA256: file.SHA256, Size: file.Size}, strings.NewReader(artifact)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.worker.AppendLog(ctx, entropy.LogUpload{JobID: a.JobID, AssignmentID: a.AssignmentID, Stream: "stdout"}, []byte(output)); err != nil {
		t.Fatal(err)
	}
	c := entropy.Completion{JobID: a.JobID, AssignmentID: a.AssignmentID, SpoolID: "s", CompletionSeq: n.claims, Outcome: entropy.OutcomeSucceeded, ExitCode: &exit, Artifacts: []entropy.Artifact{file}, StartedAt: noon, FinishedAt: noon}
	if exit != 0 {
		c.Outcome, c.Reason, c.Artifacts = entropy.OutcomeFailed, entropy.ReasonExit, nil
	}
	replies, err := n.worker.Complete(ctx, entropy.CompleteRequest{Incarnation: n.inc, Items: []entropy.Completion{c}})
	if err != nil || replies[0].Verdict != entropy.VerdictAccepted {
		t.Fatalf("complete: %+v, %v", replies, err)
	}
}

// proves SPEC §12 over real HTTP: a person's way from submit to the artifact.
func TestAJobFromSubmitToArtifactOverHTTP(t *testing.T) {
	n := newNetwork(t)
	id := strings.TrimSpace(n.ok(t, "submit", "--name", "x", "--artifact", "out/*", "--", "echo", "hi"))
	if again := strings.TrimSpace(n.ok(t, "submit", "--id", id, "--name", "x", "--artifact", "out/*", "--", "echo", "hi")); again != id {
		t.Errorf("submitted again, it is %s and not %s", again, id)
	}
	if code := n.run("submit", "--id", id, "--", "echo", "ho"); code != 5 {
		t.Errorf("the ID with another command: exit %d, want 5", code)
	}
	if out := n.ok(t, "jobs", "--state", "pending"); !strings.Contains(out, id) {
		t.Errorf("jobs does not list it: %s", out)
	}
	if code := n.run("wait", "--timeout", "20ms", id); code != 8 {
		t.Errorf("wait for a queued job: exit %d, want 8", code)
	}
	n.finish(t, n.take(t), 0, "hi\n", "content")
	if out := n.ok(t, "wait", id); out != id+"  succeeded\n" {
		t.Errorf("wait printed %q", out)
	}
	if out := n.ok(t, "logs", "-f", id); out != "hi\n" {
		t.Errorf("logs printed %q", out)
	}
	dir := t.TempDir()
	n.ok(t, "artifacts", "get", id, "-O", dir)
	if b, err := os.ReadFile(filepath.Join(dir, "out", "result")); err != nil || string(b) != "content" {
		t.Errorf("the artifact holds %q, %v", b, err)
	}
	if out := n.ok(t, "job", id); !strings.Contains(out, "lab-1") || !strings.Contains(out, "out/result") {
		t.Errorf("job printed %s", out)
	}
	if out := n.ok(t, "events", "--entity", "job:"+id); strings.Count(out, "\n") != 4 || !strings.Contains(out, "job.succeeded") {
		t.Errorf("events printed %s", out)
	}
	retried := strings.TrimSpace(n.ok(t, "retry", id))
	if out := n.ok(t, "cancel", retried); out != retried+"  canceled\n" {
		t.Errorf("cancel printed %q", out)
	}
	if code := n.run("wait", id, retried); code != 7 {
		t.Errorf("wait for a canceled job: exit %d, want 7", code)
	}
	if out := n.ok(t, "workers"); !strings.Contains(out, "lab-1") {
		t.Errorf("workers printed %s", out)
	}
	if out := n.ok(t, "worker", "drain", "lab-1"); !strings.Contains(out, "draining") {
		t.Errorf("drain printed %s", out)
	}
	n.ok(t, "status")
}

// proves J-15 over real HTTP: an input arrives as it was, and is not sent twice.
func TestInputsOverHTTP(t *testing.T) {
	n := newNetwork(t)
	in := write(t, filepath.Join(t.TempDir(), "data.txt"), "some data")
	n.ok(t, "submit", "--input", in, "--", "cat", "data.txt")
	a := n.take(t)
	r, err := n.worker.OpenBlob(context.Background(), a.Spec.Inputs[0].SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, 64)
	if k, _ := r.Read(b); string(b[:k]) != "some data" || a.Spec.Inputs[0].Path != "data.txt" {
		t.Errorf("the worker got %q as %s", b[:k], a.Spec.Inputs[0].Path)
	}
}

// proves "bad input": a token with one byte off, nobody there, somebody else
// there; each a clear error with the next step, and its exit code.
func TestWrongCredentialAndWrongPort(t *testing.T) {
	n := newNetwork(t)
	right := n.env["ENTROPY_TOKEN"]
	for _, wrong := range []string{right[:len(right)-1], right[1:], right + "x", strings.Replace(right, right[8:9], string(right[8]^1), 1)} {
		n.env["ENTROPY_TOKEN"] = wrong
		if code := n.run("jobs"); code != 4 || !strings.Contains(n.stderr.String(), "next: ") {
			t.Errorf("a token with one byte off: exit %d, stderr %q", code, n.stderr.String())
		}
	}
	n.env["ENTROPY_TOKEN"] = right
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for _, server := range []string{"http://" + closed.Addr().String(), other.URL} {
		if code := n.run("jobs", "--server", server); code != 6 || !strings.Contains(n.stderr.String(), "next: ") {
			t.Errorf("%s: exit %d, stderr %q", server, code, n.stderr.String())
		}
	}
	if code := n.run("jobs", "--server", "ftp://x:1"); code != 2 {
		t.Errorf("a server that is no URL: exit %d, want 2", code)
	}
}
