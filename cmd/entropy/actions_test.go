package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves: every command about actions and dead letters does what
// it says, with the exit codes that scripts rely on
func TestActionCommands(t *testing.T) {
	b, m := scheduleBench(t)
	b.service.status.DeadItems = 7
	envelope := filepath.Join(t.TempDir(), "envelope.json")
	if err := os.WriteFile(envelope, []byte(`{"event_type":"action.requested","idempotency_key":"k","future":1,"attrs":{"command":"from_file"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.service.events = []entropy.EventPage{{Events: []entropy.Event{{Type: entropy.ActionCanceledType,
		Attrs: []byte(`{"attempt":2,"principal":"admin:x","reason":"final","message":"enough"}`)}}}, {}}
	for _, c := range []struct {
		args string
		exit int
		want string // in what it says
	}{
		{"actions request restart_job --id a1 --arg job_id=abc --args {\"force\":true} --entity job:abc --tenant foo --priority high --ttl 90s --max-attempts 3", exitOK, "a1\n"},
		{"actions request restart_job --id a1 --arg job_id=other", exitConflict, "another content"},
		{"actions request -f " + envelope, exitOK, "act-"},
		{"actions request -f " + envelope, exitOK, "asked for before"},
		{"actions request", exitUsage, "command is missing"},
		{"actions request c --arg x", exitUsage, "KEY=VALUE"},
		{"actions request c --args [1]", exitUsage, "object"},
		{"actions request a.b", exitUsage, "letters, digits"},
		{"actions request deploy --id a2 --approval", exitOK, "a2"},
		{"actions ls", exitOK, "awaiting_approval"},
		{"actions ls --command restart_job -o json", exitOK, `"ttl_sec": 90`},
		{"actions ls --state odd", exitUsage, "not a state"},
		{"actions show a1", exitOK, `{"force":true,"job_id":"abc"}`},
		{"actions show nobody", exitNotFound, "no action"},
		{"actions approve a2", exitNotAllowed, "another credential"},
		{"actions reject a2 --reason no", exitOK, "failed (rejected)"},
		{"actions cancel a1", exitOK, "canceled"},
		{"actions cancel a2", exitConflict, "has ended"},
		{"actions watch a1", exitJobFailed, "canceled  attempt 2  by admin:x  final  enough"},
		{"actions request notify --id a3 --ttl 1s --wait", exitJobFailed, "expired"},
		{"actions request notify --id a4 --wait --wait-timeout 10ms", exitTimedOut, "is still requested"},
		{"dlq ls", exitOK, "nobody took it within 1s"},
		{"dlq ls", exitOK, "elsewhere: 7 from outside, for the ledger: entropy ledger dead ls"},
		{"dlq show a3", exitOK, "entropy actions show a3"},
		{"dlq replay a3 --reason again", exitOK, "act-"},
		{"dlq drop a3", exitConflict, "was replayed"},
		{"dlq show nobody", exitNotFound, "no dead letter"},
		{"dlq ls --all", exitOK, "replayed"},
		{"policy command deploy --mode ask --rate 0.5 --burst 2 --break-after 3", exitOK, "ask, 0.5 a second, 2 at once, rests 30s after 3 failures"},
		{"policy command deploy --rate 0", exitOK, "ask, rests"},
		{"policy command deploy --mode maybe", exitUsage, "allow, ask, dry_run or deny"},
		{"policy command deploy --reset", exitOK, "aging step"},
	} {
		code := b.run(strings.Fields(c.args)...)
		if out := b.stdout.String() + b.stderr.String(); code != c.exit || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d, %q; want %d, %q", c.args, code, out, c.exit, c.want)
		}
	}
	info, err := m.Action(context.Background(), "a1")
	if err != nil || info.Target != "job:abc" || info.Tenant != "foo" || info.Priority != 10 || info.Spec.TTL != 90 || info.Spec.Retry.Max != 3 || info.Tags["action"] != "restart_job" {
		t.Errorf("asked for %+v %v", info, err)
	}
	page, err := m.Actions(context.Background(), entropy.ActionFilter{Command: "from_file"})
	if err != nil || len(page.Actions) != 1 {
		t.Errorf("%+v %v", page, err)
	}
}
