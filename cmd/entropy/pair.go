package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
)

// pairService is what the command on pairings needs of a client.
type pairService interface {
	Pairings(ctx context.Context) ([]entropy.Pairing, error)
	ConfirmPairing(ctx context.Context, code string) (entropy.Pairing, error)
}

const pairLong = `Let a worker in that has no token, or list those that wait.

Where the control plane and a worker are both started with --trust-lan, the worker
shows a code. Type the whole of it here. The list shows how each code begins: it is
made on either side from the cluster's authority, the worker's key and a random
number of each, so that somebody who stands between the two has another one. What
remains of the code only the worker's screen has, and by it the worker knows that
you talked to the right control plane.

A code lasts ten minutes. Whoever floods the control plane with requests can hold
pairing up, and nothing else: join tokens always work.`

func (a *app) pairCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "pair [CODE]",
		Short:   "Let a worker without a token in, by the code on its screen",
		Long:    pairLong,
		Example: "  entropy worker pair\n  entropy worker pair K7QX2-9MFTB3",
		Args:    argument(0, 1, ""),
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		pairs, ok := service.(pairService)
		if !ok {
			return entropy.Errorf(entropy.CodeNotFound, "this control plane pairs no workers").WithHint("upgrade it")
		}
		if len(args) == 0 {
			waiting, err := pairs.Pairings(ctx)
			if err != nil {
				return err
			}
			now := a.now()
			return list(a, waiting, func(ps []entropy.Pairing) *table { return pairTable(ps, now) })
		}
		p, err := pairs.ConfirmPairing(ctx, args[0])
		if err != nil {
			return err
		}
		return a.one(p, func() error {
			return a.printf("%s on host %s is let in\n", printable(string(p.Worker)), printable(dash(p.Hostname)))
		})
	})
}

func pairTable(pairings []entropy.Pairing, now time.Time) *table {
	t := new(table)
	t.row("CODE BEGINS", "NAME", "HOST", "ADDRESS", "WAITS FOR", "CONFIRMED")
	for i := range pairings {
		p := &pairings[i]
		confirmed := "no"
		if p.Confirmed {
			confirmed = "yes"
		}
		t.row(printable(p.Check), printable(string(p.Worker)), printable(dash(p.Hostname)), printable(p.Address), age(&p.StartedAt, now), confirmed)
	}
	return t
}

// showCode tells the person at the worker what to do.
func (a *app) showCode(c fabric.PairingCode) {
	a.printf("This worker has no token. To let it into cluster %s at %s, run where you manage it:\n\n  entropy worker pair %s\n\nIf it is refused there, use a join token: somebody may stand in between.\n",
		printable(c.ClusterID), c.Server, c.Code)
}
