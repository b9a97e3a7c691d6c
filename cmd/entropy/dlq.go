package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const dlqLong = `Dead letters are actions that failed for good, and messages that could not be
understood. Nothing is done about them by itself: replay asks for the action again,
under a new ID and with the old one as its cause; drop forgets it.`

func (a *app) dlqCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "dlq", Short: "See, replay and drop dead letters", Long: dlqLong},
		a.dlqListCommand(), a.dlqShowCommand(), a.dlqReplayCommand(), a.dlqDropCommand())
}

func (a *app) dlqListCommand() *cobra.Command {
	var f entropy.DeadLetterFilter
	c := &cobra.Command{Use: "ls", Short: "List dead letters", Args: argument(0, 0, "")}
	s := c.Flags()
	s.BoolVar(&f.All, "all", false, "those too that were replayed or dropped")
	s.StringVar(&f.Command, "command", "", "only those of this `COMMAND`")
	s.IntVar(&f.Limit, "limit", 100, "at most this many, up to 1000")
	s.StringVar(&f.Cursor, "cursor", "", "go on after the page that ended with this `CURSOR`")
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		page, err := service.DeadLetters(ctx, f)
		if err != nil {
			return err
		}
		if page.Next != "" {
			a.notef("there are more: --cursor %s", printable(page.Next))
		}
		a.noteElsewhere(ctx, service, func(s *entropy.Status) (int64, string) {
			return s.DeadItems, "from outside, for the ledger: entropy ledger dead ls"
		})
		now := a.now()
		return list(a, page.Letters, func(all []*entropy.DeadLetter) *table {
			t := new(table)
			t.row("ID", "COMMAND", "ENTITY", "REASON", "STATE", "AGE", "MESSAGE")
			for _, d := range all {
				t.row(d.ID, dash(d.Command+d.Subject), dash(d.Target), d.Reason, string(d.State), age(&d.At, now), shorten(printable(dash(d.Message)), 80))
			}
			return t
		})
	})
}

// noteElsewhere says how many dead letters of another kind there are, and where.
func (a *app) noteElsewhere(ctx context.Context, service entropy.Service, look func(*entropy.Status) (n int64, where string)) {
	s, err := service.Status(ctx)
	if err != nil {
		return // it is by the way
	}
	if n, where := look(&s); n > 0 {
		a.notef("elsewhere: %d %s", n, where)
	}
}

func (a *app) dlqShowCommand() *cobra.Command {
	c := &cobra.Command{Use: "show ID", Short: "Show one dead letter, with its message", Args: argument(1, 1, "a dead letter's ID")}
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := entropy.ValidateID("dead letter", args[0]); err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		d, err := service.DeadLetter(ctx, args[0])
		if err != nil {
			return err
		}
		return a.one(d, func() error { return deadLetterTable(d).write(a.stdout) })
	})
}

func deadLetterTable(d *entropy.DeadLetter) *table {
	t := new(table)
	t.row("ID", d.ID)
	t.row("State", string(d.State))
	t.row("Reason", d.Reason)
	t.row("Message", dash(d.Message))
	t.row("At", stamp(&d.At))
	if d.Action != "" {
		t.row("Command", d.Command)
		t.row("Entity", dash(d.Target))
		t.row("Tenant", dash(d.Tenant))
		t.row("More", "entropy actions show "+string(d.Action))
	} else {
		t.row("Subject", d.Subject)
		t.row("Size", itoa(d.Size)+" bytes")
		t.row("Content", string(d.Raw))
	}
	if d.ClosedAt != nil {
		t.row("Closed", stamp(d.ClosedAt)+" by "+dash(d.Principal))
	}
	if d.Replay != "" {
		t.row("Replay", string(d.Replay))
	}
	return t
}

func (a *app) dlqReplayCommand() *cobra.Command {
	var result entropy.ActionResult
	return a.dlqVerbCommand("replay ID", "Ask for an action again, and print the ID of the new one",
		func(ctx context.Context, service entropy.Service, id string, op entropy.Operation) (err error) {
			result, err = service.ReplayDeadLetter(ctx, id, op)
			return err
		}, func() error {
			return a.one(result, func() error { return a.printf("%s\n", result.Action.ID) })
		})
}

func (a *app) dlqDropCommand() *cobra.Command {
	var d *entropy.DeadLetter
	return a.dlqVerbCommand("drop ID", "Forget a dead letter",
		func(ctx context.Context, service entropy.Service, id string, op entropy.Operation) (err error) {
			d, err = service.DropDeadLetter(ctx, id, op)
			return err
		}, func() error {
			return a.one(d, func() error { return a.printf("%s  %s\n", d.ID, d.State) })
		})
}

// dlqVerbCommand makes a command that does something about a dead letter, once, and
// then shows what came of it.
func (a *app) dlqVerbCommand(use, short string, do func(context.Context, entropy.Service, string, entropy.Operation) error, show func() error) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: use, Short: short, Args: argument(1, 1, "a dead letter's ID")}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := entropy.ValidateID("dead letter", args[0]); err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		op := entropy.Operation{ID: entropy.NewID(), Reason: reason}
		if err := (&patience{a: a, limit: sendPatience}).do(ctx, func() error { return do(ctx, service, args[0], op) }); err != nil {
			return err
		}
		return show()
	})
}
