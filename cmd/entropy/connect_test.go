package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// proves SPEC §12, I-4: flags before environment before the files of a control
// plane on this host.
func TestWhereTheServerAndTheTokenComeFrom(t *testing.T) {
	b := newBench(t)
	named, flagged := madeToken(t), madeToken(t)
	state := filepath.Join(b.env["XDG_STATE_HOME"], "entropy")
	expect := func(server, token string, args ...string) {
		t.Helper()
		if code := b.run(append([]string{"status"}, args...)...); code != 0 {
			t.Fatalf("exit %d: %s", code, b.stderr.String())
		}
		if b.dialed.Server != server || b.dialed.Token != token {
			t.Errorf("%v: %s with %q, want %s with %q", args, b.dialed.Server, b.dialed.Token, server, token)
		}
	}
	delete(b.env, "ENTROPY_TOKEN")
	write(t, filepath.Join(state, "admin.token"), "of the file\n")
	expect("http://127.0.0.1:7600", "of the file")
	write(t, filepath.Join(state, "control.url"), "http://127.0.0.1:4711\n")
	expect("http://127.0.0.1:4711", "of the file")
	b.env["ENTROPY_TOKEN_FILE"] = write(t, filepath.Join(t.TempDir(), "t"), named)
	expect("http://127.0.0.1:4711", named)
	b.env["ENTROPY_SERVER"], b.env["ENTROPY_TOKEN"] = "http://lab1:7600", "of the environment"
	expect("http://lab1:7600", "of the environment")
	flag := write(t, filepath.Join(t.TempDir(), "t"), flagged)
	expect("http://lab2:7600", flagged, "--server", "http://lab2:7600", "--token-file", flag)
}

func madeToken(t *testing.T) string {
	t.Helper()
	token, _, err := identity.New(entropy.RoleAdmin)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// proves S-2: a token that was not copied whole is told apart from one that the
// control plane does not know, before anything is sent
func TestTokensThatWereNotCopiedWhole(t *testing.T) {
	b := newBench(t)
	whole := entropy.Ticket{ClusterID: "c", CAPin: strings.Repeat("ab", 32), Secret: madeToken(t)}.String()
	for says, text := range map[string]string{
		"cut short": whole[:100], "check sum": whole[:len(whole)-1], "begin with ent": "x" + whole, "another release": "ent2" + whole[4:], "CA's key": whole[:20] + whole[30:],
	} {
		file := write(t, filepath.Join(t.TempDir(), "t"), text)
		if code := b.run("status", "--token-file", file); code != 2 || !strings.Contains(b.stderr.String(), says) || !strings.Contains(b.stderr.String(), file) || b.dialed.Server != "" {
			t.Errorf("%s: exit %d: %s", says, code, b.stderr.String())
		}
	}
}

// proves S-2: the admin token of this host's control plane is not shown to
// another host that somebody was told to try.
func TestTheLocalTokenStaysHere(t *testing.T) {
	b := newBench(t)
	delete(b.env, "ENTROPY_TOKEN")
	write(t, filepath.Join(b.env["XDG_STATE_HOME"], "entropy", "admin.token"), "precious")
	if code := b.run("status", "--server", "http://198.51.100.7:7600"); code != 4 {
		t.Errorf("exit %d, want 4", code)
	}
	if b.dialed.Token != "" || !strings.Contains(b.stderr.String(), "--token-file") {
		t.Errorf("the token %q went out; stderr %q", b.dialed.Token, b.stderr.String())
	}
	if code := b.run("status", "--server", "http://localhost:7600"); code != 0 || b.dialed.Token != "precious" {
		t.Errorf("on this host: exit %d, token %q", code, b.dialed.Token)
	}
}

func TestTokenAndCAFilesThatAreNone(t *testing.T) {
	b := newBench(t)
	empty := write(t, filepath.Join(t.TempDir(), "empty"), " \n")
	for flag, file := range map[string]string{"--token-file": empty, "--ca-file": empty} {
		if code := b.run("status", flag, file); code != 2 {
			t.Errorf("%s of an empty file: exit %d, want 2", flag, code)
		}
		if code := b.run("status", flag, filepath.Join(t.TempDir(), "gone")); code != 2 {
			t.Errorf("%s of no file: exit %d, want 2", flag, code)
		}
	}
	delete(b.env, "ENTROPY_TOKEN")
	if code := b.run("status"); code != 4 || !strings.Contains(b.stderr.String(), "entropy up") {
		t.Errorf("without any token: exit %d, stderr %q", code, b.stderr.String())
	}
}
