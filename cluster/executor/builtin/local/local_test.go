package local_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/local"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

func handlers(t *testing.T, commands map[string]local.Command) executortest.Handlers {
	t.Helper()
	h := executortest.Handlers{}
	if err := local.Register(h, local.Config{Commands: commands}); err != nil {
		t.Fatal(err)
	}
	return h
}

// proves S-4: arguments fill placeholders, no shell sees them, the environment is
// clean, and secrets are not in what is reported.
func TestCommand(t *testing.T) {
	t.Setenv("LOCAL_SECRET", "hunter2-hunter2")
	t.Setenv("LOCAL_LEAK", "leaked")
	dir := t.TempDir()
	h := handlers(t, map[string]local.Command{"show": {
		Argv: []string{"/bin/sh", "-c", `printf '%s|' "$@"; pwd; env | sort`, "sh", "--name={name}", "{n}"},
		Args: map[string]string{"name": `[^"]{1,40}`, "n": `[0-9]+`}, Dir: dir,
		Env: map[string]builtin.Value{"TOKEN": {Secret: "env:LOCAL_SECRET"}, "MODE": {Text: "fast"}},
	}})
	res, err := h.Call(t.Context(), "show", `{"name":"a b; $(id) {n}","n":7}`)
	if err != nil {
		t.Fatal(err)
	}
	out := res["stdout"].(string)
	for _, want := range []string{"--name=a b; $(id) {n}|7|", dir + "\n", "TOKEN=[secret]\n", "MODE=fast\n", "ENTROPY_ACTION_ID=act-1\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %q", want, out)
		}
	}
	if strings.Contains(out, "hunter2") || strings.Contains(out, "LOCAL_LEAK") {
		t.Errorf("leaked: %q", out)
	}
}

// proves S-4: what the patterns do not allow is refused.
func TestNotAllowed(t *testing.T) {
	h := handlers(t, map[string]local.Command{"echo": {Argv: []string{"/bin/echo", "{name}"}, Args: map[string]string{"name": `[a-z]+|x`}}})
	for args, want := range map[string]string{
		`{"name":"a b"}`:            "not_allowed final",
		`{"name":"ok\nno"}`:         "not_allowed final",
		`{"name":"-n"}`:             "not_allowed final",
		`{"name":"abc"}`:            "",
		`{}`:                        "invalid final",
		`{"name":["a"]}`:            "invalid final",
		`{"name":"a","other":1}`:    "invalid final",
		`{"name":"a\u0000"}`:        "not_allowed final",
		`[1]`:                       "invalid final",
		`{"name":"` + long() + `"}`: "not_allowed final",
	} {
		_, err := h.Call(t.Context(), "echo", args)
		kind, final := "", false
		if err != nil {
			if kind, final = executortest.KindOf(err); final {
				kind += " final"
			}
		}
		if kind != want {
			t.Errorf("%.40s: %v (%s), want %s", args, err, kind, want)
		}
	}
	bad := local.Config{Commands: map[string]local.Command{
		"relative": {Argv: []string{"echo"}}, "unbound": {Argv: []string{"/bin/echo", "{x}"}}, "program": {Argv: []string{"/bin/{x}"}, Args: map[string]string{"x": ".*"}},
		"pattern": {Argv: []string{"/bin/echo"}, Args: map[string]string{"x": "("}}}}
	err := local.Register(executortest.Handlers{}, bad)
	for name := range bad.Commands {
		if err == nil || !strings.Contains(err.Error(), "command "+name) {
			t.Errorf("%s is allowed: %v", name, err)
		}
	}
}

func long() string { return strings.Repeat("a", 5000) }

// proves that exit codes and output are told, and long output keeps its end.
func TestExit(t *testing.T) {
	h := handlers(t, map[string]local.Command{
		"fail":  {Argv: []string{"/bin/sh", "-c", "echo one >&2; echo two >&2; exit {code}"}, Args: map[string]string{"code": `[0-9]+`}, Final: []int{64}},
		"talk":  {Argv: []string{"/bin/sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done"}, Output: 1 << 10},
		"none":  {Argv: []string{"/no/such/program"}},
		"child": {Argv: []string{"/bin/sh", "-c", "sleep 1000 & echo left"}},
	})
	_, err := h.Call(t.Context(), "fail", `{"code":3}`)
	if kind, final := executortest.KindOf(err); kind != "exit" || final || err.Error() != "exit status 3: two" {
		t.Errorf("got %v (%s)", err, kind)
	}
	_, err = h.Call(t.Context(), "fail", `{"code":64}`)
	if _, final := executortest.KindOf(err); !final {
		t.Errorf("got %v", err)
	}
	res, err := h.Call(t.Context(), "talk", `{}`)
	if err != nil || res["cut"] != true || !strings.HasSuffix(res["stdout"].(string), "line 4999\n") || len(res["stdout"].(string)) > 1<<10 {
		t.Errorf("%v, %.100v", err, res)
	}
	if _, err := h.Call(t.Context(), "none", `{}`); err == nil {
		t.Error("a program that is not there was run")
	}
	// What a command leaves behind ends with it.
	if res, err := h.Call(t.Context(), "child", `{}`); err != nil || res["stdout"] != "left\n" {
		t.Errorf("%v, %v", res, err)
	}
}

// proves S-4: the whole process group ends with the attempt, TERM ignored or not.
func TestEnds(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(pids, 0o600); err != nil {
		t.Fatal(err)
	}
	h := handlers(t, map[string]local.Command{"hang": {
		Argv:  []string{"/bin/sh", "-c", `trap "" TERM; sleep 1000 & echo $$ $! > ` + pids + `; wait; sleep 1000`},
		Grace: entropy.Duration(50 * time.Millisecond)}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := h.Call(ctx, "hang", `{}`)
		ended <- err
	}()
	b, err := os.ReadFile(pids) // waits until it is written
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("it succeeded")
	}
	var leader, child int
	fmt.Sscan(string(b), &leader, &child)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(5 * time.Second)
	for alive(leader) || alive(child) { // a signal that was sent is not a signal that has arrived
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("processes %d and %d live", leader, child)
		}
	}
}

// alive reports whether a process runs: one that is killed and not yet reaped by
// its new parent does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// proves A-7: a dry run says what would be run, or runs what is set for it.
func TestDryRun(t *testing.T) {
	h := handlers(t, map[string]local.Command{
		"a": {Argv: []string{"/bin/false", "{x}"}, Args: map[string]string{"x": ".*"}},
		"b": {Argv: []string{"/bin/false"}, DryRun: []string{"/bin/echo", "checked"}}})
	if res, err := h.Call(t.Context(), "a", `{"x":"1"}`, executortest.Dry); err != nil || fmt.Sprint(res["argv"]) != "[/bin/false 1]" {
		t.Errorf("%v, %v", res, err)
	}
	if res, err := h.Call(t.Context(), "b", `{}`, executortest.Dry); err != nil || res["stdout"] != "checked\n" {
		t.Errorf("%v, %v", res, err)
	}
}
