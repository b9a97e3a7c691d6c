package fabric

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/discovery"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

const (
	// keyGrace is how long a step of a rotation waits for live workers that have not
	// confirmed the one before. A worker learns of a step by its next heartbeat.
	keyGrace = time.Minute
	// keyLook is how often a rotation looks whether it may go on.
	keyLook = 200 * time.Millisecond
)

// sharedKeys is the control plane's hand on the keyring that all members share. A
// rotation is driven by what is on disk: the journal says that one was asked for,
// and the keyring's file how far it is, so that a restart goes on where it was.
// It implements [api.Keys].
type sharedKeys struct {
	path    string
	journal *journal.Journal
	logger  *slog.Logger
	now     func() time.Time
	grace   time.Duration
	// alive returns the workers that live; use is told of every new keyring, after
	// it is on disk. Both are set before run.
	alive func(context.Context) ([]entropy.WorkerInfo, error)
	use   func(identity.Keyring)

	mu     sync.Mutex
	ring   identity.Keyring
	record *entropy.KeyringRecord
	since  time.Time                   // when the stage began, or this process
	held   map[entropy.WorkerID]uint64 // the version that a worker said it holds
	local  map[entropy.WorkerID]bool   // workers in this process: they hold no keys
	behind map[entropy.WorkerID]bool   // workers that this rotation went on without
	asks   map[discovery.KeyID][]byte  // keys of members that look for the control plane
}

var _ api.Keys = (*sharedKeys)(nil)

// openKeys loads the keyring and what the journal says of it.
func (c *Control) openKeys(ctx context.Context, path string) (*sharedKeys, error) {
	ring, err := identity.LoadOrCreateKeyring(path)
	if err != nil {
		return nil, err
	}
	k := &sharedKeys{path: path, journal: c.journal, logger: c.cfg.Logger, now: time.Now, grace: keyGrace, record: new(entropy.KeyringRecord),
		held: map[entropy.WorkerID]uint64{}, local: map[entropy.WorkerID]bool{}, behind: map[entropy.WorkerID]bool{}}
	err = c.journal.Documents(ctx, entropy.KindKeyring, func(d entropy.Document) error {
		k.record = d.(*entropy.KeyringRecord)
		return nil
	})
	if err != nil {
		return nil, err
	}
	k.use = func(r identity.Keyring) {
		if c.members == nil {
			return
		}
		if err := c.members.SetKeys(r.Derive(gossipKey)); err != nil {
			k.logger.Error("gossip goes on with the keys it had", "error", err)
		}
	}
	k.alive = func(ctx context.Context) ([]entropy.WorkerInfo, error) { return c.system.Workers(ctx) }
	k.take(ring)
	return k, nil
}

// take makes a keyring the current one.
func (k *sharedKeys) take(ring identity.Keyring) {
	k.ring, k.since = ring, k.now()
	k.asks = map[discovery.KeyID][]byte{}
	for _, key := range slices.Concat(ring.Derive(discoveryKey), ring.DeriveRetired(discoveryKey)) {
		k.asks[discovery.IDOf(key)] = key
	}
}

// current returns the keyring.
func (k *sharedKeys) current() identity.Keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring
}

// discoveryKey returns the key of a member that looks for the control plane, also
// of one that was away while it was rotated; nil for a stranger's.
func (k *sharedKeys) discoveryKey(id discovery.KeyID) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asks[id]
}

// heard notes which keyring a worker holds, and returns the version that it should.
func (k *sharedKeys) heard(worker entropy.WorkerID, version uint64) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[worker] = version
	return k.ring.Version
}

// exempt says that a worker shares this process, and with it the keys.
func (k *sharedKeys) exempt(worker entropy.WorkerID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.local[worker] = true
}

// isLocal reports whether a worker shares this process.
func (k *sharedKeys) isLocal(worker entropy.WorkerID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.local[worker]
}

// Rotate implements [api.Keys]. While a rotation is under way it starts no other.
func (k *sharedKeys) Rotate(ctx context.Context) (entropy.KeyRotation, error) {
	k.mu.Lock()
	if !k.record.Rotating {
		change, err := k.record.Start(k.ring.Version, entropy.PrincipalFrom(ctx).String(), k.now())
		if err == nil {
			err = k.append(ctx, change)
		}
		if err != nil {
			k.mu.Unlock()
			return entropy.KeyRotation{}, err
		}
		k.behind = map[entropy.WorkerID]bool{}
		k.logger.Info("a rotation of the cluster's keys begins", "by", k.record.StartedBy, "keyring", k.ring.Version)
	}
	k.mu.Unlock()
	k.advance(ctx)
	return k.Rotation(ctx)
}

// Rotation implements [api.Keys].
func (k *sharedKeys) Rotation(ctx context.Context) (entropy.KeyRotation, error) {
	workers, err := k.alive(ctx)
	if err != nil {
		return entropy.KeyRotation{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r := entropy.KeyRotation{Stage: k.ring.Stage(), Version: k.ring.Version, Waiting: []entropy.WorkerID{}, Behind: []entropy.WorkerID{}}
	if k.record.Version > 0 {
		r.StartedBy, r.StartedAt = k.record.StartedBy, &k.record.StartedAt
	}
	if k.record.Rotating {
		until := k.since.Add(k.grace).UTC()
		r.Until, r.Waiting = &until, k.waiting(workers)
		r.Behind = slices.AppendSeq(r.Behind, maps.Keys(k.behind))
	} else {
		r.Behind = append(r.Behind, k.record.Behind...)
	}
	slices.Sort(r.Behind)
	return r, nil
}

// waiting returns the live workers that do not hold the current keyring, sorted.
func (k *sharedKeys) waiting(workers []entropy.WorkerInfo) []entropy.WorkerID {
	list := []entropy.WorkerID{}
	for i := range workers {
		id := workers[i].ID
		if workers[i].State == entropy.WorkerAlive && !k.local[id] && k.held[id] != k.ring.Version {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// run drives rotations until ctx ends.
func (k *sharedKeys) run(ctx context.Context) {
	tick := time.NewTicker(keyLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.advance(ctx)
		}
	}
}

// advance makes the next step of a rotation that is under way, if every live worker
// has taken the last one or its time is up.
func (k *sharedKeys) advance(ctx context.Context) {
	if !k.rotating() {
		return
	}
	workers, err := k.alive(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.record.Rotating {
		return // another call has finished it meanwhile
	}
	if k.ring.Version == k.record.From+3 { // a crash came between the last step and its record
		k.finish(ctx)
		return
	}
	if k.ring.Version > k.record.From {
		waiting := k.waiting(workers)
		late := k.now().Sub(k.since) >= k.grace
		if !late && (err != nil || len(waiting) > 0) {
			return
		}
		for _, id := range waiting {
			k.behind[id] = true
			k.logger.Warn("a rotation of the cluster's keys goes on without a worker", "worker", id, "stage", k.ring.Stage())
		}
	}
	k.step(ctx)
}

func (k *sharedKeys) rotating() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.record.Rotating
}

// step makes one step: first on disk, then in use. What cannot be written is tried
// again.
func (k *sharedKeys) step(ctx context.Context) {
	next := k.ring.Next()
	if err := identity.SaveKeyring(k.path, next); err != nil {
		k.logger.Error("the rotation of the cluster's keys waits", "error", err)
		return
	}
	k.take(next)
	k.use(next)
	k.logger.Info("a step of the rotation of the cluster's keys", "stage", next.Stage(), "keyring", next.Version)
	if next.Stage() == entropy.KeysSettled {
		k.finish(ctx)
	}
}

// finish records the end of the rotation.
func (k *sharedKeys) finish(ctx context.Context) {
	change, err := k.record.Finish(k.ring.Version, slices.Sorted(maps.Keys(k.behind)), k.now())
	if err == nil {
		err = k.append(ctx, change)
	}
	if err != nil {
		k.logger.Error("the end of the rotation of the cluster's keys is not recorded yet", "error", err)
	}
}

// append journals a change of the record and follows it.
func (k *sharedKeys) append(ctx context.Context, change entropy.Change) error {
	if _, err := k.journal.Append(context.WithoutCancel(ctx), change); err != nil {
		return err
	}
	k.record = change.State.(*entropy.KeyringRecord)
	return nil
}

// keyedWorkers is the worker protocol that also says which keyring is to be held,
// and hears which one is.
type keyedWorkers struct {
	entropy.WorkerService
	keys *sharedKeys
}

// Register implements [entropy.WorkerService].
func (w keyedWorkers) Register(ctx context.Context, r entropy.Registration) (entropy.Registered, error) {
	reply, err := w.WorkerService.Register(ctx, r)
	if err == nil {
		reply.Keyring = w.keys.heard(reply.WorkerID, r.Keyring)
	}
	return reply, err
}

// Heartbeat implements [entropy.WorkerService].
func (w keyedWorkers) Heartbeat(ctx context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	reply, err := w.WorkerService.Heartbeat(ctx, h)
	if err == nil {
		reply.Keyring = w.keys.heard(entropy.WorkerID(entropy.PrincipalFrom(ctx).Name), h.Keyring)
	}
	return reply, err
}
