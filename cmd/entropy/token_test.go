package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// worker runs a worker as a process until the test ends; ended gives its exit code.
func worker(t *testing.T, args ...string) (stderr func() string, ended chan int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stderr")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(binary(t), append([]string{"worker"}, args...)...)
	cmd.Stderr, cmd.Env = out, append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan int, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait() // the code says it all
		ended <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); <-done })
	return func() string { b, _ := os.ReadFile(file); return string(b) }, ended
}

// proves C-1, S-2, S-3 by hand, as a person would: a control plane over TLS, a
// token for one worker, a job on it; the next worker is told why it may not join,
// and so is one whose token is revoked; the identity is shown and forgotten
func TestJoinAsAPersonDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	data, mine := t.TempDir(), t.TempDir()
	r := startRole(t, "control", "--data", data, "--listen", "127.0.0.1:0", "--tls")
	if !strings.HasPrefix(r.url, "https://") {
		t.Fatalf("it listens at %q: %s", r.url, r.stderr.String())
	}
	b := r.client(t, data)
	token := strings.TrimSpace(b.ok(t, "token", "create", "--role", "join", "--uses", "1", "--ttl", "1h", "--note", "for lab-1"))
	ticket, err := entropy.ParseTicket(token)
	if err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	file := write(t, filepath.Join(t.TempDir(), "join.token"), token+"\n")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	stderr, _ := worker(t, "--data", mine, "--name", "lab-1", "--slots", "1", "--server", r.url, "--token-file", file)
	poll(t, "the worker does not join", func() bool { return b.run("workers") == 0 && strings.Contains(b.stdout.String(), "lab-1") })
	b.ok(t, "submit", "--wait", "--wait-timeout", "30s", "--", "true")

	var tokens []entropy.TokenInfo
	if err := json.Unmarshal([]byte(b.ok(t, "token", "ls", "-o", "json")), &tokens); err != nil || len(tokens) != 3 {
		t.Fatalf("%+v %v", tokens, err)
	}
	id := tokens[2].ID
	if out := b.ok(t, "token", "ls"); !strings.Contains(out, "1 of 1") || !strings.Contains(out, "exhausted") || strings.Contains(out, ticket.Secret) {
		t.Errorf("token ls: %s", out)
	}
	refused := func(says string) {
		t.Helper()
		stderr, ended := worker(t, "--data", t.TempDir(), "--name", "lab-2", "--slots", "1", "--server", r.url, "--token-file", file)
		if code := <-ended; code != 4 || !strings.Contains(stderr(), says) || !strings.Contains(stderr(), "next: ") {
			t.Errorf("exit %d, want 4: %s", code, stderr())
		}
	}
	refused("the join token is exhausted")
	if out := b.ok(t, "token", "revoke", id); !strings.Contains(out, "revoked") {
		t.Errorf("token revoke: %s", out)
	}
	refused("has been revoked")

	if out := b.ok(t, "ca", "show", "--data", data); !strings.Contains(out, ticket.CAPin) || !strings.Contains(out, ticket.ClusterID) {
		t.Errorf("ca show: %s", out)
	}
	if out := b.ok(t, "worker", "reset-identity", "--data", mine); !strings.Contains(out, "cluster.json, cluster.key, worker.key") {
		t.Errorf("reset-identity: %s%s", out, stderr())
	}
	if out := b.ok(t, "worker", "reset-identity", "--data", mine); !strings.Contains(out, "nothing was changed") {
		t.Errorf("reset-identity again: %s", out)
	}
}

// proves S-2, bad input: what the commands on tokens refuse, before anything is sent
func TestTokenCommandsRefuse(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		code int
		args []string
	}{
		{2, []string{"token", "create"}}, {2, []string{"token", "create", "--role", "worker"}}, {2, []string{"token", "create", "--role", "join", "--uses", "0"}},
		{2, []string{"token", "create", "--role", "admin", "--uses", "1"}}, {2, []string{"token", "create", "--role", "join", "--ttl", "-1s"}},
		{2, []string{"token", "revoke"}}, {2, []string{"token", "revoke", "ent1.a b"}}, {3, []string{"ca", "show", "--data", t.TempDir()}},
		{3, []string{"worker", "reset-identity", "--data", filepath.Join(t.TempDir(), "gone")}},
	} {
		if code := b.run(c.args...); code != c.code || !strings.Contains(b.stderr.String(), "next: ") {
			t.Errorf("%v: exit %d, want %d: %s", c.args, code, c.code, b.stderr.String())
		}
	}
	if b.dialed.Server != "" {
		t.Error("a server was asked")
	}
}

// proves SPEC §12: a token without a pin is checked against the authority of the
// control plane on this host, and only there
func TestTheLocalAuthority(t *testing.T) {
	b := newBench(t)
	own := filepath.Join(b.env["XDG_STATE_HOME"], "entropy", "ca.pem")
	write(t, own, "no certificate")
	if code := b.run("status", "--server", "https://127.0.0.1:7600"); code != 2 {
		t.Errorf("a damaged ca.pem of this host: exit %d, want 2", code)
	}
	if code := b.run("status", "--server", "https://198.51.100.7:7600"); code != 0 || b.dialed.RootCAs != nil {
		t.Errorf("for another host: exit %d, %v", code, b.dialed.RootCAs)
	}
	b.env["ENTROPY_TOKEN"] = entropy.Ticket{ClusterID: "c", CAPin: strings.Repeat("ab", 32), Secret: "s"}.String()
	if code := b.run("status", "--server", "https://127.0.0.1:7600"); code != 0 || b.dialed.RootCAs != nil {
		t.Errorf("with a pinned token: exit %d, %v", code, b.dialed.RootCAs)
	}
}
