package entropy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// specCase is one spec: the least that is valid, with something set.
type specCase struct {
	name string
	set  func(*entropy.JobSpec)
	want string // part of the message; "" means valid
}

func specCases() []specCase {
	at := func(h int) *time.Time { x := time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC); return &x }
	sum := strings.Repeat("a1", 32)
	many := func(n int) map[string]string {
		m := make(map[string]string, n)
		for i := range n {
			m["k"+string(rune('a'+i%26))+string(rune('a'+i/26))] = "v"
		}
		return m
	}
	return append(workCases(), []specCase{
		{"a queue", func(s *entropy.JobSpec) { s.Queue = "my queue" }, "queue"},
		{"a tenant", func(s *entropy.JobSpec) { s.Tenant = "../x" }, "tenant"},
		{"priorities", func(s *entropy.JobSpec) { s.Priority = -100 }, ""},
		{"too low a priority", func(s *entropy.JobSpec) { s.Priority = -101 }, "priority -101"},
		{"too high a priority", func(s *entropy.JobSpec) { s.Priority = 101 }, "priority 101"},
		{"a label", func(s *entropy.JobSpec) { s.Labels = map[string]string{"a=b": ""} }, `labels: "a=b"`},
		{"many labels", func(s *entropy.JobSpec) { s.Labels = many(entropy.MaxLabels + 1) }, "labels has 65"},
		{"a long requirement", func(s *entropy.JobSpec) { s.Require = map[string]string{"a": strings.Repeat("v", 257)} }, `require: "a"`},
		{"disconnect", func(s *entropy.JobSpec) { s.Disconnect.Worker = "maybe" }, "disconnect.worker"},
		{"late result", func(s *entropy.JobSpec) { s.Disconnect.LateResult = "keep" }, "disconnect.late_result"},
		{"a relative cwd", func(s *entropy.JobSpec) { s.Cwd = "work" }, "cwd"},
		{"a cwd not UTF-8", func(s *entropy.JobSpec) { s.Cwd = "/\xff" }, "cwd"},
		{"an input", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "a/b", SHA256: sum, Size: 1, Mode: 0o755}} }, ""},
		{"an empty directory", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "a/b", Dir: true}} }, ""},
		{"a directory with content", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "a/b", SHA256: sum, Dir: true}} }, "empty directory"},
		{"an input outside", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "../b", SHA256: sum}} }, "../b"},
		{"an absolute input", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "/b", SHA256: sum}} }, "/b"},
		{"an input twice", func(s *entropy.JobSpec) {
			s.Inputs = []entropy.Input{{Path: "b", SHA256: sum}, {Path: "b", SHA256: sum}}
		}, "unique"},
		{"a short hash", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "b", SHA256: "ab"}} }, "sha256"},
		{"an upper-case hash", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "b", SHA256: strings.ToUpper(sum)}} }, "sha256"},
		{"a setuid input", func(s *entropy.JobSpec) { s.Inputs = []entropy.Input{{Path: "b", SHA256: sum, Mode: 0o4755}} }, "mode"},
		{"many inputs", func(s *entropy.JobSpec) { s.Inputs = make([]entropy.Input, entropy.MaxInputs+1) }, "inputs, at most"},
		{"a glob", func(s *entropy.JobSpec) { s.Artifacts = []string{"out/*.txt"} }, ""},
		{"a broken glob", func(s *entropy.JobSpec) { s.Artifacts = []string{"["} }, "glob"},
		{"a glob outside", func(s *entropy.JobSpec) { s.Artifacts = []string{"../*"} }, "glob"},
		{"many globs", func(s *entropy.JobSpec) { s.Artifacts = make([]string, entropy.MaxGlobs+1) }, "globs, at most"},
		{"a negative time", func(s *entropy.JobSpec) { s.RunTimeout = -1 }, "run_timeout"},
		{"a long time", func(s *entropy.JobSpec) { s.Retry.Backoff = entropy.Duration(11 * 365 * 24 * time.Hour) }, "retry.backoff"},
		{"a negative grace", func(s *entropy.JobSpec) { s.Grace = -1 }, "grace"},
		{"negative attempts", func(s *entropy.JobSpec) { s.Retry.MaxAttempts = -1 }, "max_attempts"},
		{"many losses", func(s *entropy.JobSpec) { s.Retry.MaxLosses = 10_001 }, "max_losses"},
		{"no retry", func(s *entropy.JobSpec) { s.Retry = entropy.RetryPolicy{NoRetry: true, MaxAttempts: 1} }, ""},
		{"no retry, twice", func(s *entropy.JobSpec) { s.Retry = entropy.RetryPolicy{NoRetry: true, MaxAttempts: 2} }, "no_retry"},
		{"a window", func(s *entropy.JobSpec) { s.NotBefore, s.NotAfter = at(1), at(2) }, ""},
		{"an empty window", func(s *entropy.JobSpec) { s.NotBefore, s.NotAfter = at(2), at(2) }, "not_after"},
	}...)
}

func workCases() []specCase {
	return []specCase{
		{"the least", func(s *entropy.JobSpec) {}, ""},
		{"a handler", func(s *entropy.JobSpec) { s.Command, s.Handler = nil, "sum" }, ""},
		{"neither", func(s *entropy.JobSpec) { s.Command = nil }, "there is no command"},
		{"both", func(s *entropy.JobSpec) { s.Handler = "sum" }, "exclude each other"},
		{"an empty argv[0]", func(s *entropy.JobSpec) { s.Command = []string{""} }, "command[0] is empty"},
		{"empty arguments", func(s *entropy.JobSpec) { s.Command = []string{"x", ""} }, ""},
		{"a NUL", func(s *entropy.JobSpec) { s.Command = []string{"x", "a\x00b"} }, "command[1]"},
		{"not UTF-8", func(s *entropy.JobSpec) { s.Command = []string{"x", "\xff"} }, "command[1]"},
		{"many arguments", func(s *entropy.JobSpec) { s.Command = make([]string, entropy.MaxArgs+1); s.Command[0] = "x" }, "arguments, at most"},
		{"long arguments", func(s *entropy.JobSpec) { s.Command = []string{"x", strings.Repeat("y", entropy.MaxCommandSize)} }, "--input"},
		{"a bad handler", func(s *entropy.JobSpec) { s.Command, s.Handler = nil, "a b" }, "handler"},
		{"a large payload", func(s *entropy.JobSpec) { s.Payload = make([]byte, entropy.MaxPayload+1) }, "payload has"},
		{"a long name", func(s *entropy.JobSpec) { s.Name = strings.Repeat("n", 257) }, "name must"},
		{"env without a name", func(s *entropy.JobSpec) { s.Env = map[string]string{"": "v"} }, `env ""`},
		{"env with =", func(s *entropy.JobSpec) { s.Env = map[string]string{"a=b": "v"} }, `env "a=b"`},
		{"env with NUL", func(s *entropy.JobSpec) { s.Env = map[string]string{"a": "\x00"} }, `env "a"`},
		{"env not UTF-8", func(s *entropy.JobSpec) { s.Env = map[string]string{"a": "\xfe"} }, `env "a"`},
	}
}

// proves the bad-input rule for specs: each problem is named
func TestValidate(t *testing.T) {
	for _, c := range specCases() {
		t.Run(c.name, func(t *testing.T) {
			s := entropy.JobSpec{Command: []string{"x"}}
			c.set(&s)
			err := s.Validate()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	s := entropy.JobSpec{Priority: 1000, Cwd: "here", RunTimeout: -1, Queue: "?"}
	err := s.Validate()
	for _, want := range []string{"there is no command", "priority", "cwd", "run_timeout", "queue"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the message has more than one line: %q", err)
	}
}

// proves J-5: the hash is that of what was asked, whatever the order of maps
func TestSpecHash(t *testing.T) {
	read := func(text string) string {
		var s entropy.JobSpec
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		return must(s.SpecHash())
	}
	a := read(`{"command":["x"],"env":{"A":"1","B":"2"},"run_timeout":"60s"}`)
	if b := read(`{"run_timeout":60, "env":{"B":"2","A":"1"}, "command":["x"]}`); a != b {
		t.Error("the same spec has two hashes")
	}
	if c := read(`{"command":["x"],"env":{"A":"1","B":"3"},"run_timeout":"60s"}`); a == c {
		t.Error("two specs have one hash")
	}
	s := entropy.JobSpec{Payload: json.RawMessage("{")}
	if _, err := s.SpecHash(); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("a broken payload: %v", err)
	}
}

func TestLocalPath(t *testing.T) {
	for p, ok := range map[string]bool{"a": true, "a/b.c": true, "..a": true, "": false, ".": false, "..": false, "../a": false, "a/../b": false,
		"/a": false, "a//b": false, "a/": false, "a\x00": false, "a\nb": false, "\xff": false, strings.Repeat("a", 4097): false} {
		if entropy.LocalPath(p) != ok {
			t.Errorf("%.20q: %t", p, !ok)
		}
	}
}
