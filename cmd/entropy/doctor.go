package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
	"github.com/entropy-fabric/entropy/persistence"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

// finding is what the doctor says of one thing.
type finding struct {
	Subject string `json:"subject"`
	Level   string `json:"level"` // ok, warn, fail
	Finding string `json:"finding"`
	Advice  string `json:"advice,omitempty"` // the next command; "" when all is well
}

// The levels of a finding. Warn may wait; with fail something does not work now.
const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "fail"
)

// The room below which the doctor speaks up. A batch of the journal takes a
// mebibyte at most; what fills a disk are artifacts and checkpoints.
const (
	roomWarn = 2 << 30
	roomFail = 128 << 20
)

const doctorLong = `Look at this host's data directory and at the control plane, and say in a line each
what is well, what should be looked at, and what does not work, with the command
that comes next.

On a control plane's own host it looks at the data directory, its journal, the room
on its disk, and whether another control plane has taken over. Of the control plane,
wherever it is: that it answers and knows the credential, that its disk is not full,
that its clock is settled (until it is, no schedule, delay or deadline acts), that
workers are there, versions and this machine's clock. It changes nothing.
entropy net check looks further into the network, entropy verify into the journal.

Exit code 1: something failed.`

func (a *app) doctorCommand() *cobra.Command {
	var data string
	c := &cobra.Command{Use: "doctor", Short: "Say what is well, what is not, and what to do about it", Long: doctorLong, Args: argument(0, 0, "")}
	c.Flags().StringVar(&data, "data", a.dataDir(), "data `DIR` of a control plane on this host (default: as for entropy control)")
	hideDefault(c.Flags(), "data")
	return a.command(c, func(ctx context.Context, _ []string) error {
		v := buildVersion()
		all := []finding{{"program", levelOK, fmt.Sprintf("entropy %s (%s, %s)", v.Version, v.Go, v.Platform), ""}}
		all = append(all, examineData(ctx, data)...)
		all = append(all, a.examineServer(ctx)...)
		if err := list(a, all, findingsTable); err != nil {
			return err
		}
		for _, f := range all {
			if f.Level == levelFail {
				return outcome{code: exitError}
			}
		}
		return nil
	})
}

func findingsTable(all []finding) *table {
	t := new(table)
	t.row("", "SUBJECT", "FINDING")
	for _, f := range all {
		t.row(f.Level, f.Subject, printable(f.Finding))
		if f.Advice != "" {
			t.row("", "", "-> "+printable(f.Advice))
		}
	}
	return t
}

// failure is the finding of an error, with its hint for advice.
func failure(subject string, err error) finding {
	message, hint := describe(err)
	return finding{subject, levelFail, message, firstOf(hint, "entropy --help")}
}

// examineData looks at the data directory of a control plane on this host.
func examineData(ctx context.Context, dir string) []finding {
	const subject = "data directory"
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []finding{{subject, levelOK, "none at " + dir + ": no control plane has run here", ""}}
	case err != nil:
		return []finding{{subject, levelFail, err.Error(), "run as the user of the control plane, or name another --data"}}
	case !fi.IsDir():
		return []finding{{subject, levelFail, dir + " is not a directory", "name another --data"}}
	}
	own := finding{subject, levelOK, dir, ""}
	if fi.Mode().Perm()&0o077 != 0 {
		own = finding{subject, levelWarn, dir + " is open to other users (" + fi.Mode().Perm().String() + "): tokens and keys are in it", "chmod 700 " + dir}
	}
	return append([]finding{own, examineRoom(dir)}, examineJournal(ctx, dir)...)
}

func examineRoom(dir string) finding {
	free, total, err := persistence.Space(dir)
	if err != nil {
		return failure("disk", err)
	}
	return roomFinding(dir, free, total)
}

func roomFinding(dir string, free, total uint64) finding {
	text := fmt.Sprintf("%s of %s are free", size(int64(free)), size(int64(total)))
	advice := "free space on the file system of " + dir + "; du -xsh " + filepath.Join(dir, "*") + " says what takes it"
	switch {
	case free < roomFail:
		return finding{"disk", levelFail, text + ": the journal is read-only, or about to be", advice}
	case free < roomWarn:
		return finding{"disk", levelWarn, text, advice}
	}
	return finding{"disk", levelOK, text, ""}
}

// examineJournal opens the journal for reading, beside a control plane that runs.
func examineJournal(ctx context.Context, dir string) []finding {
	path := filepath.Join(dir, fabric.JournalFile)
	r, err := journal.OpenReader(ctx, path)
	switch {
	case entropy.ErrorCode(err) == entropy.CodeNotFound:
		return []finding{{"journal", levelOK, "none yet in " + dir, ""}}
	case err != nil:
		return []finding{failure("journal", err)}
	}
	defer r.Close() //nolint:errcheck // it was only read
	page, err := r.Events(ctx, entropy.EventFilter{Latest: true})
	if err != nil {
		return []finding{failure("journal", err)}
	}
	out := []finding{{"journal", levelOK, fmt.Sprintf("readable, at %s; entropy verify --journal-only reads all of it", page.Next), ""}}
	if epoch, err := fabric.SupersededBy(dir); err != nil {
		out = append(out, failure("epoch", err))
	} else if epoch > page.Next.Epoch {
		out = append(out, finding{"epoch", levelFail, fmt.Sprintf("this history, of epoch %d, was superseded by one of epoch %d: its control plane does not start", page.Next.Epoch, epoch),
			"use the newer control plane: set ENTROPY_SERVER to it"})
	}
	return out
}

// examineServer asks the control plane. What it cannot answer fails once.
func (a *app) examineServer(ctx context.Context) []finding {
	const subject = "control plane"
	service, err := a.connect()
	if err != nil {
		return []finding{failure(subject, err)}
	}
	status, err := service.Status(ctx)
	if err != nil {
		return []finding{failure(subject, err)}
	}
	out := []finding{{subject, levelOK, fmt.Sprintf("answers; version %s, at %s, up for %s", dash(status.Version), entropy.Position{Epoch: status.Epoch, Seq: status.Seq}, age(&status.StartedAt, a.now())), ""}}
	out = append(out, examineStatus(&status)...)
	workers, err := service.Workers(ctx)
	if err != nil {
		return append(out, failure("workers", err))
	}
	out = append(out, examineWorkers(workers), versionFinding(status.Version, workers))
	out = append(out, examineAnalyzer(ctx, service)...)
	asked := a.now()
	if known, err := membersOf(ctx, service); err == nil {
		out = append(out, warnings(checkClock(known.Now, asked, a.now().Sub(asked)))...)
	}
	return out
}

// examineStatus says what the control plane says of itself.
func examineStatus(s *entropy.Status) []finding {
	disk, clock := finding{"its journal", levelOK, "takes what comes", ""}, finding{"its clock", levelOK, "settled", ""}
	if s.ReadOnly {
		disk = finding{disk.Subject, levelFail, "read-only: the disk of the control plane is full, and nothing is accepted until it has room again",
			"free space on its host; it goes on by itself"}
	}
	if s.ClockUnsettled {
		clock = finding{clock.Subject, levelFail, "unsettled: no schedule, delay or deadline acts",
			"on its host: timedatectl status; once the clock is right and has been stable for 60 s, all goes on by itself"}
		for _, alarm := range s.Alarms {
			if strings.Contains(alarm, "clock") {
				clock.Finding = "unsettled: " + alarm
			}
		}
	}
	return []finding{disk, clock}
}

func examineWorkers(workers []entropy.WorkerInfo) finding {
	n := map[string]int{}
	for i := range workers {
		w := &workers[i]
		n[string(w.State)]++
		if w.Schedulable() {
			n["ready"]++
		}
	}
	text := counts(n)
	switch {
	case n["ready"] == 0:
		return finding{"workers", levelWarn, "none takes work (" + text + ")", "entropy worker starts one; entropy workers says which are drained or in quarantine"}
	case n[string(entropy.WorkerLost)] > 0:
		return finding{"workers", levelWarn, text, "entropy workers names the lost ones; entropy net check says what keeps them away"}
	}
	return finding{"workers", levelOK, text, ""}
}

// versionFinding compares this program with the control plane and its workers.
func versionFinding(theirs string, workers []entropy.WorkerInfo) finding {
	other := warnings(checkVersions(theirs, workers))
	switch {
	case theirs != programVersion():
		return finding{"versions", levelWarn, fmt.Sprintf("this program is %s, the control plane %s", programVersion(), dash(theirs)), "install the newer of the two in both places"}
	case len(other) > 0:
		return finding{"versions", levelWarn, fmt.Sprintf("%d workers run another version than the control plane", len(other)), "entropy net check names them"}
	}
	return finding{"versions", levelOK, "all alike", ""}
}

// warnings are the findings of network checks.
func warnings(checks []check) (out []finding) {
	for _, c := range checks {
		level := levelOK
		if !c.OK {
			level = levelWarn
		}
		out = append(out, finding{c.Subject, level, c.Finding, c.Advice})
	}
	return out
}
