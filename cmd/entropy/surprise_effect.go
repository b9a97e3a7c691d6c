package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const effectLong = `Compare the system entropy before and after an action, or any moment: of the kind of
entities that it was about, and of all others, which say what would have happened anyway.
Below zero, it became less surprising.`

func (a *app) surpriseEffectCommand() *cobra.Command {
	var q entropy.EffectQuery
	var at string
	c := &cobra.Command{Use: "effect [ACTION]", Short: "Compare the system entropy before and after an action", Long: effectLong, Args: argument(0, 1, "an action's ID"),
		Example: "  entropy surprise effect 0198c0de-0000-7000-8000-000000000002\n  entropy surprise effect --at 2026-01-31T16:42:00Z --kind supplier --before 6h --after 6h"}
	c.Flags().StringVar(&at, "at", "", "the moment, in place of an action: a `TIME`, RFC 3339, or how long ago")
	c.Flags().StringSliceVar(&q.Kinds, "kind", nil, "`KINDS` of entities that were touched (default: that of the action's entity; else all)")
	c.Flags().DurationVar(&q.Before, "before", time.Hour, "how much before it")
	c.Flags().DurationVar(&q.After, "after", time.Hour, "how much after it")
	return a.command(c, func(ctx context.Context, args []string) error {
		if (len(args) == 0) == (at == "") {
			return usagef("an action or a moment is compared around").WithHint("name an action, or give --at TIME")
		}
		var err error
		if q.At, err = pastTime(at, a.now()); err != nil {
			return usagef("--at %q is not a time", at).WithHint("write RFC 3339 as in 2026-11-20T16:42:00Z, or how long ago as in 24h")
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			if err := momentOf(ctx, service, args[0], &q); err != nil {
				return err
			}
		}
		analyzer, ok := service.(entropy.EntropyService)
		if !ok {
			return entropy.Errorf(entropy.CodeNotFound, "this control plane runs no analyzer")
		}
		x, err := analyzer.EntropyEffect(ctx, q)
		if err != nil {
			return err
		}
		return a.one(x, func() error {
			t := new(table)
			t.row("", "BEFORE", "AFTER", "EVENTS BEFORE", "EVENTS AFTER")
			t.row("touched", decimal(x.Before, 2), decimal(x.After, 2), decimal(x.EventsBefore, 0), decimal(x.EventsAfter, 0))
			t.row("others", decimal(x.ControlBefore, 2), decimal(x.ControlAfter, 2), decimal(x.ControlEventsBefore, 0), decimal(x.ControlEventsAfter, 0))
			if err := t.write(a.stdout); err != nil {
				return err
			}
			return a.printf("change %+.2f bits per event around %s\n", x.Change, stamp(&q.At))
		})
	})
}

// momentOf fills in when an action was carried out and what kind of entity it touched.
func momentOf(ctx context.Context, service entropy.Service, id string, q *entropy.EffectQuery) error {
	action, err := actionIDOf(id)
	if err != nil {
		return err
	}
	info, err := service.Action(ctx, action)
	if err != nil {
		return err
	}
	if info.FinishedAt == nil {
		return entropy.Errorf(entropy.CodeConflict, "action %s has not ended", id).WithHint("entropy actions watch %s waits for it", id)
	}
	q.At = *info.FinishedAt
	if kind, _ := entropy.SplitEntity(info.Target); kind != "" && len(q.Kinds) == 0 {
		q.Kinds = []string{kind}
		if kind == entropy.KindJob { // what is learned of a job is learned of those of its name
			q.Kinds = []string{"jobs", "queue", entropy.KindWorker}
		}
	}
	return nil
}

// examineAnalyzer says how the analyzer is; nothing where there is none.
func examineAnalyzer(ctx context.Context, service entropy.Service) (out []finding) {
	const subject = "analyzer"
	s, ok := service.(entropy.EntropyService)
	if !ok {
		return nil
	}
	st, err := s.Entropy(ctx, false)
	switch {
	case entropy.ErrorCode(err) == entropy.CodeNotFound: // it was told to run without
		return nil
	case err != nil:
		return []finding{failure(subject, err)}
	case st.State == entropy.EntropyRebuilding:
		out = append(out, finding{subject, levelOK, fmt.Sprintf("reads the past: row %d of %d of the ledger", st.Row, st.LastRow), ""})
	default:
		out = append(out, finding{subject, levelOK, fmt.Sprintf("%d events of %d series, %d deviations open", st.Health.Events, st.Health.Series, st.Health.Open), ""})
	}
	if st.Problem != "" {
		out = append(out, finding{subject, levelWarn, "what it finds cannot be kept now: " + st.Problem, "it goes on by itself; is there room on the disk of the control plane?"})
	}
	if n := st.Health.Evicted; n > 0 {
		out = append(out, finding{subject, levelWarn, fmt.Sprintf("there are more series than there is room for: %d were forgotten", n), "give it more with --analyzer-memory, or leave out what makes entities without bound"})
	}
	for _, x := range st.Sources {
		if x.Silent {
			out = append(out, finding{"source " + x.System, levelWarn, "source " + x.System + " is silent since " + stamp(&x.Heard) + ", longer than it ever is", "look after what sends its events; nothing of it is called late meanwhile"})
		}
	}
	return out
}
