package main

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const ledgerLong = `Look at the ledger: the events that came from outside, in the one envelope, in the
order in which they came; and at the dead letters, what was not understood.`

func (a *app) ledgerCommand() *cobra.Command {
	dead := a.group(&cobra.Command{Use: "dead", Short: "Look at what was not understood, and try it again"},
		a.deadListCommand(), a.deadShowCommand(), a.deadReplayCommand(), a.deadDropCommand())
	return a.group(&cobra.Command{Use: "ledger", Short: "Look at events from outside", Long: ledgerLong}, a.ledgerEventsCommand(), a.ledgerStepsCommand(), a.ledgerTransitionsCommand(), dead)
}

func (a *app) ledgerEventsCommand() *cobra.Command {
	var f entropy.LedgerFilter
	var from, to string
	c := &cobra.Command{Use: "events", Short: "List events of the ledger", Args: argument(0, 0, ""),
		Example: "  entropy ledger events --entity order:7\n  entropy ledger events --type order.packed --from 2026-01-31T00:00:00Z -o jsonl"}
	c.Flags().Uint64Var(&f.After, "after", 0, "those behind this `ROW`")
	c.Flags().StringVar(&f.Entity, "entity", "", "of this entity, as `KIND:ID`")
	c.Flags().StringSliceVar(&f.Types, "type", nil, "of this `TYPE`, or, with a dot at the end, of those that begin so; may be repeated")
	c.Flags().StringVar(&from, "from", "", "not older than this `TIME`, RFC 3339, by the event's own time")
	c.Flags().StringVar(&to, "to", "", "older than this `TIME`")
	c.Flags().IntVar(&f.Limit, "limit", 100, "at most `N`, up to 1000")
	return a.command(c, func(ctx context.Context, _ []string) error {
		if err := cmp.Or(readTime(from, &f.From), readTime(to, &f.To)); err != nil {
			return err
		}
		in, err := a.ingestService()
		if err != nil {
			return err
		}
		page, err := in.Ledger(ctx, f)
		if err != nil {
			return err
		}
		return list(a, page.Entries, entryTable)
	})
}

func entryTable(entries []entropy.LedgerEntry) *table {
	t := new(table)
	t.row("ROW", "TIME", "TYPE", "ENTITY", "ORIGIN", "ATTRS")
	for i := range entries {
		var e entropy.Event
		if json.Unmarshal(entries[i].Event, &e) != nil {
			e.Type = "?" // -o json shows it as it is
		}
		t.row(strconv.FormatUint(entries[i].Row, 10), e.TS.Format(time.RFC3339), e.Type, e.EntityID, entries[i].Origin, head(string(e.Attrs), 60))
	}
	return t
}

// head returns at most n bytes of s, with an ellipsis when there was more.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func (a *app) deadListCommand() *cobra.Command {
	var after int64
	limit := 100
	c := &cobra.Command{Use: "ls", Short: "List dead letters, oldest first", Args: argument(0, 0, "")}
	c.Flags().Int64Var(&after, "after", 0, "those behind this `ID`")
	c.Flags().IntVar(&limit, "limit", limit, "at most `N`, up to 1000")
	return a.command(c, func(ctx context.Context, _ []string) error {
		in, err := a.ingestService()
		if err != nil {
			return err
		}
		letters, err := in.DeadItems(ctx, after, limit)
		if err != nil {
			return err
		}
		if service, err := a.connect(); err == nil {
			a.noteElsewhere(ctx, service, func(s *entropy.Status) (int64, string) { return s.DeadLetters, "of actions: entropy dlq ls" })
		}
		return list(a, letters, func(all []entropy.DeadItem) *table {
			t := new(table)
			t.row("ID", "RECEIVED", "TIMES", "ORIGIN", "REASON", "RAW")
			for _, d := range all {
				t.row(strconv.FormatInt(d.ID, 10), d.ReceivedAt.Format(time.RFC3339), strconv.FormatInt(d.Times, 10), d.Origin, head(d.Reason, 80), head(d.Raw, 60))
			}
			return t
		})
	})
}

// letterID reads the number of a dead letter.
func letterID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 {
		return 0, usagef("%q is not the number of a dead letter", s).WithHint("entropy ledger dead ls lists them")
	}
	return id, nil
}

func (a *app) deadShowCommand() *cobra.Command {
	c := &cobra.Command{Use: "show ID", Short: "Print a dead letter as it came", Args: argument(1, 1, "ID")}
	return a.command(c, func(ctx context.Context, args []string) error {
		id, err := letterID(args[0])
		if err != nil {
			return err
		}
		in, err := a.ingestService()
		if err != nil {
			return err
		}
		letters, err := in.DeadItems(ctx, id-1, 1)
		if err == nil && (len(letters) == 0 || letters[0].ID != id) {
			err = entropy.Errorf(entropy.CodeNotFound, "there is no dead letter %d", id).WithHint("entropy ledger dead ls lists them")
		}
		if err != nil {
			return err
		}
		return a.one(letters[0], func() error { return a.printf("%s\n", printableLines(letters[0].Raw)) })
	})
}

func (a *app) deadReplayCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{Use: "replay ID… | --all", Short: "Normalize dead letters again, by the rules of now", Args: argument(0, 1000, "ID")}
	c.Flags().BoolVar(&all, "all", false, "every one of them")
	return a.command(c, func(ctx context.Context, args []string) error {
		if all == (len(args) > 0) {
			return usagef("say which: IDs, or --all")
		}
		in, err := a.ingestService()
		if err != nil {
			return err
		}
		total := new(imported)
		replay := func(id int64) error {
			r, err := in.ReplayDeadItem(ctx, id)
			if err == nil {
				total.add([]entropy.IngestResult{r})
			}
			return err
		}
		if err := eachLetter(ctx, in, args, all, replay); err != nil {
			return err
		}
		return a.one(total, func() error { return a.printf("%s\n", total) })
	})
}

// eachLetter calls f with the IDs of args, or of every dead letter.
func eachLetter(ctx context.Context, in entropy.IngestService, args []string, all bool, f func(id int64) error) error {
	for _, s := range args {
		id, err := letterID(s)
		if err != nil {
			return err
		}
		if err := f(id); err != nil {
			return err
		}
	}
	for after := int64(0); all; {
		letters, err := in.DeadItems(ctx, after, entropy.MaxIngest)
		if err != nil || len(letters) == 0 {
			return err
		}
		for _, d := range letters {
			if err := f(d.ID); err != nil {
				return err
			}
			after = d.ID
		}
	}
	return nil
}

func (a *app) deadDropCommand() *cobra.Command {
	c := &cobra.Command{Use: "drop ID…", Short: "Forget dead letters", Args: argument(1, 1000, "ID")}
	return a.command(c, func(ctx context.Context, args []string) error {
		in, err := a.ingestService()
		if err != nil {
			return err
		}
		return eachLetter(ctx, in, args, false, func(id int64) error { return in.DropDeadItem(ctx, id) })
	})
}
