package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/entropy-fabric/entropy"
)

// phi returns the mean system entropy per event of the hours that lie within a part
// of the story.
func phi(st *entropy.EntropyStatus, from, to time.Time) float64 {
	bits, n := 0.0, 0.0
	for _, h := range st.Hours {
		if !h.At.Before(from) && !h.At.Add(time.Hour).After(to) {
			bits += h.Phi * h.Events
			n += h.Events
		}
	}
	return bits / max(n, 1)
}

// check prints what came of it, and fails when anything is missing.
func (s *story) check(ctx context.Context) error {
	st, err := s.caughtUp(ctx)
	if err != nil {
		return err
	}
	old, err := s.lab.client.Job(ctx, serviceJob)
	if err != nil {
		return err
	}
	acts, err := s.lab.client.Actions(ctx, entropy.ActionFilter{})
	if err != nil {
		return err
	}
	before, during, after := phi(&st, s.normal, s.slowFrom), phi(&st, s.slowFrom, s.cured), phi(&st, s.cured, s.feed.at())

	var problems []error
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	row := func(what, value string, ok bool) {
		mark := "yes"
		if !ok {
			mark = "NO"
			problems = append(problems, fmt.Errorf("%s: %s", what, value))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", what, value, mark)
	}
	fmt.Fprintf(w, "\nwhat should be\twhat is\t\n")
	row("the deviation was found in the first two windows", fmt.Sprintf("%d of %d measurements", s.windows, window), s.windows <= 2)
	row("it says why in numbers", strings.Join(s.deviation.Why[:min(1, len(s.deviation.Why))], ""), len(s.deviation.Why) > 0 && strings.ContainsAny(s.deviation.Why[0], "0123456789"))
	row("one rule asked for one action", fmt.Sprintf("%d action(s), by %s", len(acts.Actions), s.action.Principal), len(acts.Actions) == 1 && s.action.Principal == "producer:rules")
	row("its cause is the deviation", s.action.CausationID, s.action.CausationID == s.deviation.ID && s.action.CorrelationID == s.deviation.CorrelationID)
	row("the executor restarted the service", fmt.Sprintf("%s is %s, %s runs", serviceJob, old.State, s.result), old.State == entropy.Canceled && s.starts() == 2)
	row("the deviation ended", fmt.Sprintf("after %d windows", s.healing), s.healing <= 8)
	row("Φ, bits per event: up, and back down", fmt.Sprintf("%.2f → %.2f → %.2f", before, during, after), during > before+1 && after < during-1 && after < before+0.5)
	if s.config.verdict {
		row("the verdict on the action", s.wish.Verdict, s.wish.Verdict == "better")
	}
	told := []string{"entropy.deviation", "entropy.suggested", "action.requested", "action.issued", "action.accepted", "action.started", "action.succeeded", "entropy.recovered"}
	next := 0
	for _, typ := range s.story {
		if next < len(told) && typ == told[next] {
			next++
		}
	}
	row("the ledger tells it in order", fmt.Sprintf("%d of %d", next, len(told)), next == len(told) && slices.Contains(s.story, told[0]))
	return errors.Join(errors.Join(problems...), w.Flush())
}
