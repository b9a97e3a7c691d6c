package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/entropytest"
)

// scheduleBench is a program before a fabric in memory.
func scheduleBench(t *testing.T) (*bench, *entropytest.Memory) {
	b, m := newBench(t), entropytest.NewMemory()
	b.service.Service = m
	return b, m
}

// proves J-10, H-12: every command about schedules does what it says, and the
// flags of a job mean what they mean to submit
func TestScheduleCommands(t *testing.T) {
	b, m := scheduleBench(t)
	for _, c := range []struct {
		args []string
		want string // in the output
	}{
		{[]string{"create", "nightly", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--catch-up", "all", "--catch-up-max", "4", "--overlap", "skip",
			"--mem", "1G", "--label", "team=x", "--array", "0-3", "--hold", "--", "echo", "--cron", "{}"}, "nightly  next "},
		{[]string{"create", "poll", "--cron", "*/10 * * * *", "--handler", "h", "--payload", "{}"}, "poll  next "},
		{[]string{"ls"}, "*/10 * * * *"},
		{[]string{"show", "nightly"}, "all, at most 4"},
		{[]string{"show", "nightly"}, "echo --cron '{}'"},
		{[]string{"show", "poll"}, "handler h"},
		{[]string{"next", "nightly", "-n", "3"}, " 02:30 CE"},
		{[]string{"next", "poll", "-n", "2", "-o", "json"}, `"local": "`},
		{[]string{"pause", "nightly", "--reason", "moving house"}, "paused (moving house), next -"},
		{[]string{"ls"}, "paused (moving house)"},
		{[]string{"resume", "nightly"}, "active, next "},
		{[]string{"fire", "poll"}, "-"},
		{[]string{"delete", "poll"}, "poll  deleted"},
	} {
		code := b.run(append([]string{"schedule"}, c.args...)...)
		if out := b.stdout.String(); code != exitOK || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d, %q %q; want %q", c.args, code, out, b.stderr.String(), c.want)
		}
	}
	all, err := m.Schedules(context.Background())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	s := all[0]
	if s.Zone != "Europe/Berlin" || s.CatchUp != entropy.CatchUpAll || s.CatchUpMax != 4 || s.Overlap != entropy.OverlapSkip || !s.Hold ||
		s.Array == nil || s.Array.Last != 3 || s.Job.Labels["team"] != "x" || len(s.Job.Resources) != 1 || len(s.Job.Command) != 3 {
		t.Errorf("%+v", s.ScheduleSpec)
	}
}

// proves J-15: what a schedule ships is stored before it is created
func TestScheduleShipsInputs(t *testing.T) {
	b, m := scheduleBench(t)
	file := filepath.Join(t.TempDir(), "data.txt")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := b.run("schedule", "create", "s", "--cron", "@daily", "--input", file, "--", "cat"); code != exitOK {
		t.Fatal(b.stderr.String())
	}
	all, err := m.Schedules(context.Background())
	if err != nil || len(all) != 1 || len(all[0].Job.Inputs) != 1 || len(b.service.blobs) != 1 {
		t.Errorf("%+v %v, %d blobs", all, err, len(b.service.blobs))
	}
}

// proves J-10 (bad input): what cannot be meant is refused before anything is sent,
// with the way to write it
func TestScheduleCommandsRefuse(t *testing.T) {
	for args, why := range map[string]string{
		"create": "name is missing", "create --cron @daily -- echo": "name is missing", "create s -- echo": "--cron is missing", "create s --cron @daily": "no command",
		"create s x --cron @daily -- echo": "one argument too many", "create s echo --cron @daily": "after --", "create s --cron @often -- echo": "there is no @often",
		"create s --cron @daily --id j -- echo": "a schedule makes many", "create s --cron @daily --not-before 1h -- echo": "a schedule makes many",
		"create s --cron @daily --zone Nowhere -- echo": "no time zone", "create s --cron @daily --catch-up some -- echo": "none, last or all",
		"create s --cron @daily --catch-up-max 3 -- echo": "needs catch_up all", "create s --cron @daily --catch-up all --catch-up-max -3 -- echo": "between 0 and 1000",
		"create s --cron @daily --overlap queue -- echo": "allow or skip", "create no/slash --cron @daily -- echo": "schedule name", "create s --cron @daily --array 3-1 -- echo": "ends before it begins",
		"create s --cron @daily --run-timeout -1s -- echo": "--run-timeout is -1s", "create s --cron @daily --label schedule=x -- echo": "set by the schedule",
		"show": "name is missing", "next s -n 0": "from 1 to 1000", "next s -n 1001": "from 1 to 1000", "pause": "name is missing", "fire no/slash": "schedule name", "explode s": "unknown command",
	} {
		b, _ := scheduleBench(t)
		code := b.run(append([]string{"schedule"}, strings.Fields(args)...)...)
		if err := b.stderr.String(); code != exitUsage || b.stdout.String() != "" || !strings.Contains(err, why) || b.dialed.Server != "" && strings.HasPrefix(args, "create") {
			t.Errorf("%s: exit %d, %q %q; want %q", args, code, b.stdout.String(), err, why)
		}
	}
	b, _ := scheduleBench(t)
	b.run("schedule", "create", "s", "--cron", "0 0 30 2 *", "--", "echo")
	if err := b.stderr.String(); !strings.Contains(err, "never fires") {
		t.Errorf("%q", err)
	}
	if code := b.run("schedule", "show", "s"); code != exitNotFound {
		t.Errorf("exit %d", code)
	}
}
