package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
	"github.com/entropy-fabric/entropy/persistence"
	"github.com/entropy-fabric/entropy/persistence/artifact"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

// storeDir is the artifact store's directory below the data directory.
const storeDir = "store"

// verification is what verify found.
type verification struct {
	Journal journal.Report `json:"journal"`
	Content *contentReport `json:"content"` // nil: not looked at
}

// contentReport is what verify found in the artifact store.
type contentReport struct {
	Checked int      `json:"checked"` // contents read and hashed
	Damaged []string `json:"damaged"` // hashes whose content has changed or cannot be read
	Missing []string `json:"missing"` // artifacts of jobs that succeeded, as JOB/NAME, whose content is not stored
}

func (v *verification) problems() int {
	n := int(v.Journal.ProblemCount)
	if v.Content != nil {
		n += len(v.Content.Damaged) + len(v.Content.Missing)
	}
	return n
}

const verifyLong = `Verify a control plane's data directory: that the journal is whole, gapless and
sealed; that replaying it gives the tables beside it, byte for byte; that every
stored content has the SHA-256 it is stored under; and that the content of every
artifact of every job that succeeded is there. It changes nothing.

The control plane must be stopped, except with --journal-only. Exit code 1: at
least one problem was found.`

func (a *app) verifyCommand() *cobra.Command {
	var data string
	var journalOnly, jobs bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Verify a control plane's data directory",
		Long:  verifyLong,
		Args:  argument(0, 0, ""),
	}
	c.Flags().StringVar(&data, "data", a.dataDir(), "data `DIR` of the control plane (default: as for entropy control)")
	hideDefault(c.Flags(), "data")
	c.Flags().BoolVar(&journalOnly, "journal-only", false, "do not read the artifact store; works beside a running control plane")
	c.Flags().BoolVar(&jobs, "jobs", false, "show each job's life in numbers, counted from its events (of the first 10,000)")
	return a.command(c, func(ctx context.Context, _ []string) error {
		v, err := verify(ctx, data, journalOnly)
		if err != nil {
			return err
		}
		if err := a.one(v, func() error { return a.drawVerification(v, jobs) }); err != nil {
			return err
		}
		if n := v.problems(); n > 0 {
			return outcome{exitError, fmt.Sprintf("%d problems were found in %s", n, data)}
		}
		return nil
	})
}

func verify(ctx context.Context, data string, journalOnly bool) (*verification, error) {
	file := filepath.Join(data, fabric.JournalFile)
	reader, err := journal.OpenReader(ctx, file) // first: it makes no directory where there is none
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var dir *persistence.Dir
	if !journalOnly {
		if dir, err = persistence.OpenDir(data); err != nil {
			return nil, err
		}
		defer dir.Close()
	}
	v := new(verification)
	if v.Journal, err = reader.Verify(ctx, nil); err != nil || journalOnly {
		return v, err
	}
	v.Content, err = verifyContent(ctx, reader, filepath.Join(data, storeDir))
	return v, err
}

// verifyContent reads the whole artifact store, and looks for the artifacts of
// every job that succeeded.
func verifyContent(ctx context.Context, reader *journal.Reader, dir string) (*contentReport, error) {
	store, err := artifact.Open(artifact.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	c := &contentReport{Damaged: []string{}, Missing: []string{}}
	checked, damaged, err := store.Verify(ctx)
	if err != nil {
		return nil, err
	}
	c.Checked, c.Damaged = checked, append(c.Damaged, damaged...)
	filter := entropy.JobFilter{States: []entropy.State{entropy.Succeeded}, Limit: entropy.MaxBatch}
	for {
		page, err := reader.Jobs(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, j := range page.Jobs {
			for _, f := range j.Artifacts {
				if !store.Has(f.SHA256) {
					c.Missing = append(c.Missing, string(j.ID)+"/"+f.Name)
				}
			}
		}
		if page.Next == "" {
			return c, nil
		}
		filter.Cursor = page.Next
	}
}

// findingTable writes what the events say of each job.
func findingTable(findings []journal.JobFinding) *table {
	t := new(table)
	t.row("JOB", "STATE", "ASSIGNED", "STARTED", "LOST", "FAILED", "RELEASED", "REATTACHED", "LATE", "EVIDENCE", "SUCCEEDED", "ENDS")
	for i := range findings {
		f := &findings[i]
		t.row(string(f.ID), string(f.State), itoa(f.Assigned), itoa(f.Started), itoa(f.Lost), itoa(f.Failed), itoa(f.Released),
			itoa(f.Reattached), itoa(f.Late), itoa(f.Evidence), itoa(f.Succeeded), itoa(f.Terminal))
	}
	return t
}

func (a *app) drawVerification(v *verification, jobs bool) error {
	r := &v.Journal
	if jobs {
		if err := findingTable(r.Findings).write(a.stdout); err != nil {
			return err
		}
	}
	states := make(map[entropy.State]int64, len(r.States))
	for s, n := range r.States {
		states[s] = int64(n)
	}
	t := new(table)
	t.row("Journal", fmt.Sprintf("%d events in %d batches, %d jobs (%s), %d workers", r.Events, r.Batches, r.Jobs, jobCounts(states), r.Workers))
	if v.Content != nil {
		t.row("Content", fmt.Sprintf("%d files read", v.Content.Checked))
	}
	for _, p := range r.Problems {
		t.row("PROBLEM", "journal: "+p.String())
	}
	if v.Content != nil {
		for _, sum := range v.Content.Damaged {
			t.row("PROBLEM", "content "+sum+" is damaged")
		}
		for _, name := range v.Content.Missing {
			t.row("PROBLEM", "artifact "+name+" is not stored")
		}
	}
	if v.problems() == 0 {
		t.row("Verified", "no problem found")
	}
	return t.write(a.stdout)
}
