package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// keyService is what rotate-key needs of a client.
type keyService interface {
	RotateKey(ctx context.Context) (entropy.KeyRotation, error)
	KeyRotation(ctx context.Context) (entropy.KeyRotation, error)
}

const rotateKeyLong = `Replace the key that encrypts gossip and authenticates the search for the control
plane. When a machine leaves the lab for good, first run entropy worker revoke, so that
it is not given the fresh key, and then this: what it knows is worth nothing afterwards.

The control plane makes a fresh key. First every worker learns to accept it, then
all use it, then the old one is dropped; nobody is missed meanwhile. Each step is on
disk before it is made, and waits until every live worker has confirmed the one
before, up to a minute. A worker that is away gets the key when it comes back.

The command waits for the end. Interrupted, or with --no-wait, the rotation goes on
by itself; run again, the command finds it.`

func (a *app) rotateKeyCommand() *cobra.Command {
	var noWait bool
	c := &cobra.Command{
		Use:   "rotate-key",
		Short: "Replace the key that the members share",
		Long:  rotateKeyLong,
		Args:  argument(0, 0, ""),
	}
	c.Flags().BoolVar(&noWait, "no-wait", false, "begin the rotation, or show how far it is, and return")
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		keys, ok := service.(keyService)
		if !ok {
			return entropy.Errorf(entropy.CodeUnavailable, "this control plane cannot rotate its members' key").WithHint("upgrade it")
		}
		r, err := keys.RotateKey(ctx)
		for err == nil && !noWait && r.Stage != entropy.KeysSettled {
			if err = sleep(ctx, rotationLook); err == nil {
				r, err = keys.KeyRotation(ctx)
			}
		}
		if err != nil {
			return err
		}
		return a.one(r, func() error { return a.printRotation(r) })
	})
}

// rotationLook is how often rotate-key looks how far a rotation is.
const rotationLook = 250 * time.Millisecond

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a *app) printRotation(r entropy.KeyRotation) error {
	if r.Stage != entropy.KeysSettled {
		return a.printf("the fresh key is %s; waiting for %s\n", r.Stage, workerNames(r.Waiting))
	}
	if len(r.Behind) > 0 {
		a.notef("%s did not confirm in time; their gossip is refused until they have fetched the key, and leases alone tell when they are lost", workerNames(r.Behind))
	}
	return a.printf("the members' key is replaced\n")
}

// workerNames lists names for people: a few of them.
func workerNames(ids []entropy.WorkerID) string {
	const few = 10
	if len(ids) == 0 {
		return "nobody"
	}
	names := make([]string, 0, few)
	for _, id := range ids[:min(len(ids), few)] {
		names = append(names, printable(string(id)))
	}
	if more := len(ids) - few; more > 0 {
		names = append(names, "and "+itoa(more)+" more")
	}
	return strings.Join(names, ", ")
}
