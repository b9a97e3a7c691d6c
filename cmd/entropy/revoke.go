package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// revokeService is what the revocation of a worker needs of a client.
type revokeService interface {
	RevokeWorker(ctx context.Context, id entropy.WorkerID) (entropy.RevokedWorker, error)
}

const revokeWorkerLong = `End the key of a worker whose machine has left the lab, or is in wrong hands. Its
next call is refused, what it holds open ends within a second, its leases run to
their end, and its jobs go elsewhere. Its name stays taken.

It still knows the key that the members share: run entropy members rotate-key next.`

func (a *app) revokeWorkerCommand() *cobra.Command {
	c := &cobra.Command{Use: "revoke NAME", Short: "Shut a worker out for good", Long: revokeWorkerLong, Args: argument(1, 1, "a worker's name")}
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := entropy.ValidateID("worker name", args[0]); err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		workers, ok := service.(revokeService)
		if !ok {
			return entropy.Errorf(entropy.CodeNotFound, "this control plane cannot shut workers out").WithHint("upgrade it")
		}
		w, err := workers.RevokeWorker(ctx, entropy.WorkerID(args[0]))
		if err != nil {
			return err
		}
		return a.one(w, func() error {
			return a.printf("%s on host %s is shut out; next: entropy members rotate-key\n", printable(string(w.WorkerID)), printable(dash(w.Hostname)))
		})
	})
}
