package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const explainLong = `Say in words why a job is where it is: what it waits for, whether anything in
the fabric could ever run it, and the command that would change that.`

func (a *app) explainCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain JOB… | -",
		Short: "Say why jobs are not running",
		Long:  explainLong,
		Args:  argument(1, -1, "a job ID"),
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		ids, err := a.readIDs(args)
		if err != nil || len(ids) == 0 {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		for _, id := range ids {
			x, err := service.Explain(ctx, id)
			if err != nil {
				return err
			}
			if err := a.one(x, func() error { return a.printf("%s", explained(&x)) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// explained draws an explanation: its state, then each cause with its cure.
func explained(x *entropy.Explanation) string {
	var b strings.Builder
	b.WriteString(string(x.JobID) + "  " + string(x.State))
	if x.Never {
		b.WriteString("; nothing that the fabric has could ever run it")
	}
	b.WriteByte('\n')
	if len(x.Causes) == 0 {
		b.WriteString("  " + printable(x.Summary) + "\n")
	}
	for _, c := range x.Causes {
		b.WriteString("  " + printable(c.Text) + "\n")
		if c.Fix != "" {
			b.WriteString("    try: " + printable(c.Fix) + "\n")
		}
	}
	return b.String()
}
