package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
)

// proves I-4, H-12, H-3: what is wrong is found, at its level, and comes with what
// to do; the exit code says whether something failed.
func TestDoctor(t *testing.T) {
	well := entropy.Status{Version: programVersion(), Epoch: 1, Seq: 7, StartedAt: noon}
	ready := entropy.WorkerInfo{Worker: entropy.Worker{ID: "w1", State: entropy.WorkerAlive, AgentVersion: programVersion()}}
	for name, c := range map[string]struct {
		change func(s *entropy.Status, f *fakeService)
		code   int
		want   []string // level, subject, finding and advice of one line
	}{
		"well": {func(*entropy.Status, *fakeService) {}, 0, []string{"ok", "its clock", "settled"}},
		"clock set": {func(s *entropy.Status, _ *fakeService) {
			s.ClockUnsettled = true
			s.Alarms = []string{"the wall clock was set forward by 2h0m0s"}
		}, 1, []string{"fail", "its clock", "unsettled: the wall clock was set forward by 2h0m0s", "timedatectl"}},
		"disk full": {func(s *entropy.Status, _ *fakeService) { s.ReadOnly = true }, 1, []string{"fail", "its journal", "read-only", "free space"}},
		"no worker": {func(_ *entropy.Status, f *fakeService) { f.workers = nil }, 0, []string{"warn", "workers", "none takes work", "entropy worker"}},
		"lost worker": {func(_ *entropy.Status, f *fakeService) {
			f.workers = append(f.workers, entropy.WorkerInfo{Worker: entropy.Worker{ID: "w2", State: entropy.WorkerLost}})
		}, 0, []string{"warn", "workers", "1 lost", "entropy net check"}},
		"other version": {func(s *entropy.Status, _ *fakeService) { s.Version = "v9" }, 0, []string{"warn", "versions", "the control plane v9", "install"}},
		"unreachable": {func(_ *entropy.Status, f *fakeService) {
			f.errs = []error{entropy.Errorf(entropy.CodeUnavailable, "no answer").WithHint("entropy up starts one")}
		}, 1, []string{"fail", "control plane", "no answer", "entropy up starts one"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.service.workers = []entropy.WorkerInfo{ready}
			b.service.status = well
			c.change(&b.service.status, b.service)
			if code := b.run("doctor", "-o", "json", "--data", t.TempDir()); code != c.code {
				t.Errorf("exit %d, want %d: %s", code, c.code, b.stdout.String())
			}
			var all []finding
			if err := json.Unmarshal(b.stdout.Bytes(), &all); err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				if f.Level == c.want[0] && f.Subject == c.want[1] && strings.Contains(f.Finding, c.want[2]) && (len(c.want) < 4 || strings.Contains(f.Advice, c.want[3])) {
					return
				}
			}
			t.Errorf("no line says %q: %s", c.want, b.stdout.String())
		})
	}
}

// proves I-4, H-8: so it is with the data directory of a control plane.
func TestDoctorLooksAtTheData(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open, broken := filepath.Join(dir, "open"), filepath.Join(dir, "broken")
	for _, d := range []string{open, broken} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(broken, fabric.JournalFile), []byte(strings.Repeat("no journal ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, level, finding string
		got                  []finding
	}{
		{"none", levelOK, "no control plane has run here", examineData(t.Context(), filepath.Join(dir, "none"))},
		{"a file", levelFail, "not a directory", examineData(t.Context(), file)},
		{"open to others", levelWarn, "open to other users", examineData(t.Context(), open)},
		{"no journal yet", levelOK, "none yet", examineData(t.Context(), open)},
		{"a broken journal", levelFail, "", examineJournal(t.Context(), broken)},
		{"much room", levelOK, "100.0 GiB of", []finding{roomFinding(dir, 100<<30, 1<<40)}},
		{"little room", levelWarn, "1.0 GiB of", []finding{roomFinding(dir, 1<<30, 1<<40)}},
		{"no room", levelFail, "read-only", []finding{roomFinding(dir, 1<<20, 1<<40)}},
	} {
		found := false
		for _, f := range c.got {
			found = found || f.Level == c.level && strings.Contains(f.Finding, c.finding) && (f.Advice != "") == (f.Level != levelOK)
		}
		if !found {
			t.Errorf("%s: %+v", c.name, c.got)
		}
	}
}
