package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// counted is a control plane that has counted actions.
type counted struct {
	*fakeService
	all   []entropy.ActionStats
	asked entropy.ActionStatsFilter
	steps entropy.StepFilter
}

func (c *counted) ActionStats(_ context.Context, f entropy.ActionStatsFilter) ([]entropy.ActionStats, error) {
	c.asked = f
	return c.all, nil
}

func (c *counted) Steps(_ context.Context, f entropy.StepFilter) ([]entropy.StepCounts, error) {
	c.steps = f
	return []entropy.StepCounts{{Entity: "order:7", Step: "pack", N: 9, Timed: 8, Histogram: []entropy.BucketCount{{Bucket: 3, N: 8}}, Entropy: 1.234, Variance: 0.04, Windows: 2, Median: 1.5, Scale: 0.25},
		{Entity: "job:*", Step: "job.started", N: 4, Histogram: []entropy.BucketCount{}}}, nil
}

func (c *counted) Transitions(_ context.Context, f entropy.StepFilter) ([]entropy.TransitionCount, error) {
	c.steps = f
	return []entropy.TransitionCount{{Entity: "order:7", From: "pick", To: "pack", N: 5}}, nil
}

// proves E-2, E-6: what is counted of steps is shown with its uncertainty.
func TestLedgerSteps(t *testing.T) {
	b := newBench(t)
	c := &counted{fakeService: b.service}
	b.app.dial = func(entropy.ClientConfig) (entropy.Service, error) { return c, nil }
	if code := b.run("ledger", "steps", "--entity", "order:7", "--from", "2026-01-31T16:00:00Z", "--least", "5"); code != 0 {
		t.Fatal(code, b.stderr.String())
	}
	out := strings.Join(strings.Fields(b.stdout.String()), " ")
	if !strings.Contains(out, "order:7 pack 9 8 1.23 ± 0.20 2 1.50 ± 0.25") || !strings.Contains(out, "job:* job.started 4 0 - 0 -") {
		t.Error(out)
	}
	if c.steps.Entity != "order:7" || c.steps.Least != 5 || c.steps.From.Hour() != 16 {
		t.Errorf("%+v", c.steps)
	}
	if b.run("ledger", "transitions", "--step", "pack"); !strings.Contains(strings.Join(strings.Fields(b.stdout.String()), " "), "order:7 pick pack 5") || c.steps.Step != "pack" {
		t.Errorf("%s %+v", b.stdout.String(), c.steps)
	}
	if b.run("ledger", "steps", "-o", "json"); !strings.Contains(b.stdout.String(), `"baseline_entropy": 1.5`) {
		t.Error(b.stdout.String())
	}
}

// proves A-8: the table and the JSON say how actions went; what is not known yet is a
// dash, and null.
func TestActionsStats(t *testing.T) {
	b := newBench(t)
	rate, mtta, mttr := 0.75, 0.0424, 3723.4
	c := &counted{fakeService: b.service, all: []entropy.ActionStats{
		{Command: "notify", Requested: 2, Open: 2, Errors: []entropy.ActionErrors{}},
		{Command: "restart_job", Tenant: "foo", Requested: 5, Succeeded: 3, Failed: 1, Open: 1, Retries: 2, Accepted: 4, Resolved: 1, SuccessRate: &rate, MTTA: &mtta, MTTR: &mttr,
			Errors: []entropy.ActionErrors{{Kind: "timeout", N: 2}, {Kind: "evil\x1b[31m", N: 1}}},
	}}
	b.app.dial = func(entropy.ClientConfig) (entropy.Service, error) { return c, nil }
	if code := b.run("actions", "stats", "--command", "x", "--tenant", "y", "--from", "2026-01-31T16:42:00Z", "--to", "2026-01-31T16:42:00Z"); code != 0 {
		t.Fatal(code, b.stderr.String())
	}
	at := time.Date(2026, 1, 31, 16, 42, 0, 0, time.UTC)
	if c.asked.Command != "x" || c.asked.Tenant != "y" || !c.asked.From.Equal(at) || !c.asked.To.Equal(at) {
		t.Errorf("%+v", c.asked)
	}
	out := strings.Join(strings.Fields(b.stdout.String()), " ")
	for _, want := range []string{"notify - 2 2 0 0 0 - 0 - - -", "restart_job foo 5 1 3 1 0 75.0% 2 42ms 1h2m3s timeout 2, evil"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("the terminal is told what to do")
	}
	b.run("actions", "stats", "-o", "json")
	if out := b.stdout.String(); !strings.Contains(out, `"mtta_sec": null`) || !strings.Contains(out, `"mttr_sec": 3723.4`) || !strings.Contains(out, `"errors": []`) {
		t.Error(out)
	}
	if code := b.run("actions", "stats", "--from", "yesterday"); code != exitUsage || !strings.Contains(b.stderr.String(), "2026-01-31T16:42:00Z") {
		t.Error(code, b.stderr.String())
	}
}
