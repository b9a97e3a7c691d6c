package fabric

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
)

// revoked reports whether a worker's key was revoked.
func (k *keyring) revoked(id entropy.WorkerID) bool {
	e := k.enrolled[id]
	return e != nil && e.Revoked
}

func errKeyRevoked(id entropy.WorkerID) *entropy.Error {
	return entropy.Errorf(entropy.CodeForbidden, "the key of worker %s was revoked", id).
		WithHint("to let the machine in again, run entropy worker reset-identity there, and join with a new token and another --name")
}

// RevokeWorker implements [api.Tokens]. One that was let in by an earlier release is
// enrolled and revoked at once. A worker in this process has no credential to end.
func (k *keyring) RevokeWorker(ctx context.Context, id entropy.WorkerID) (entropy.RevokedWorker, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	hash, host, err := k.keyOf(ctx, id)
	switch {
	case err != nil:
		return entropy.RevokedWorker{}, err
	case hash == "":
		return entropy.RevokedWorker{}, entropy.Errorf(entropy.CodeNotFound, "no worker named %s has joined", id).WithHint("entropy workers lists them")
	case k.keys.isLocal(id):
		return entropy.RevokedWorker{}, entropy.Errorf(entropy.CodeConflict, "worker %s runs in the control plane's own process", id).
			WithHint("stop it with the control plane; start that with entropy control, which has no worker")
	}
	now := k.now().UTC().Truncate(time.Millisecond)
	e := k.enrolled[id]
	if e == nil {
		made, err := entropy.NewEnrollment(entropy.Enrollment{ID: id, KeyHash: hash, Hostname: host, JoinedAt: now})
		if err == nil {
			err = k.record(ctx, made)
		}
		if err != nil {
			return entropy.RevokedWorker{}, err
		}
		e = k.enrolled[id]
	}
	if !e.Revoked {
		change, err := e.Revoke(entropy.PrincipalFrom(ctx).String(), now)
		if err == nil {
			err = k.record(ctx, change)
		}
		if err != nil {
			return entropy.RevokedWorker{}, err
		}
		k.logger.Warn("a worker's key was revoked", "worker", id, "by", entropy.PrincipalFrom(ctx))
	}
	return entropy.RevokedWorker{WorkerID: id, Hostname: e.Hostname, JoinedAt: e.JoinedAt}, nil
}
