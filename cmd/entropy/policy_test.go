package main

import (
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves J-8, J-10 (settings): every setting of the policy has a command, which
// leaves the others as they are
func TestPolicyCommands(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		args string
		want string // in the output
	}{
		{"policy set --gate 4@50 --gate 1@90 --preempt-priority 80", "4 slots for priority 50 and more"},
		{"policy set --max-retrying 7 --aging-step 30s --reserve-after 2m", "2m0s"},
		{"queue pause gpu --reason moving", "paused (moving)"},
		{"queue set gpu --max-running 3", "paused (moving), runs at most 3"},
		{"queue ls", "no limit"},
		{"tenant set lab --weight 2.5", "weight 2.5"},
		{"policy show", "for priority 80 and more"},
		{"queue resume gpu", "gpu  runs at most 3"},
		{"queue set gpu --max-running 0", "gpu  no limit"},
		{"policy set --gate none --preempt-priority off", "off"},
	} {
		code := b.run(strings.Fields(c.args)...)
		out, errs := b.stdout.String(), b.stderr.String()
		if code != exitOK || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d, %q %q; want %q", c.args, code, out, errs, c.want)
		}
	}
	p := b.service.policy
	if p.MaxRetrying != 7 || len(p.Gates) != 0 || p.PreemptPriority != nil || len(p.Queues) != 0 || p.Weight("lab") != 2.5 || p.Version != 8 {
		t.Errorf("left with %+v", p)
	}
}

// proves J-8 (bad input): what cannot be meant is refused with the way to write it
func TestPolicyCommandsRefuse(t *testing.T) {
	for _, args := range []string{
		"policy set", "policy set --gate four", "policy set --gate 4@", "policy set --gate none --gate 4@5", "policy set --preempt-priority high",
		"queue pause", "queue set gpu", "queue pause no/slash", "tenant set", "explain", "policy show gpu",
	} {
		b := newBench(t)
		if code := b.run(strings.Fields(args)...); code != exitUsage || b.stdout.String() != "" || b.stderr.String() == "" {
			t.Errorf("%s: exit %d, %q %q", args, code, b.stdout.String(), b.stderr.String())
		}
	}
}

// proves I-4: two who change the policy at once both succeed
func TestPolicyChangeIsMadeAnew(t *testing.T) {
	b := newBench(t)
	b.service.errs = []error{nil, entropy.Errorf(entropy.CodeConflict, "it was changed meanwhile")}
	if code := b.run("queue", "pause", "gpu"); code != exitOK || !b.service.policy.Queues["gpu"].Paused {
		t.Errorf("exit %d, %s, %+v", code, b.stderr.String(), b.service.policy)
	}
}

// proves J-9, O-3: an explanation names each cause with its cure, and says when
// nothing could ever run the job
func TestExplainCommand(t *testing.T) {
	b := newBench(t)
	b.service.explanation = entropy.Explanation{State: entropy.Pending, Never: true, Summary: "s", Causes: []entropy.Hurdle{
		{Code: "label", Text: "no worker has gpu=h100", Fix: "entropy worker --label gpu=h100"}, {Code: "x", Text: "\x1b[31mred"}}}
	code := b.run("explain", "j1")
	out := b.stdout.String()
	want := "j1  pending; nothing that the fabric has could ever run it\n  no worker has gpu=h100\n    try: entropy worker --label gpu=h100\n"
	if code != exitOK || !strings.HasPrefix(out, want) || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d, %q", code, out)
	}
	b.run("explain", "j1", "-o", "jsonl")
	out = b.stdout.String()
	if !strings.Contains(out, `"never":true`) || strings.Count(out, "\n") != 1 {
		t.Errorf("%q", out)
	}
}
