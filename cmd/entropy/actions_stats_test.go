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
}

func (c *counted) ActionStats(_ context.Context, f entropy.ActionStatsFilter) ([]entropy.ActionStats, error) {
	c.asked = f
	return c.all, nil
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
