package fabric

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// What strangers may ask of a control plane that trusts its network. The pace also
// bounds guessing: to be let in as another worker, somebody in the middle needs a
// pairing whose check, of 2^25, is that on the worker's screen.
const (
	maxPairings        = 16               // that wait at once
	maxPairingsOfOne   = 4                // that wait at once, of one address
	pairingBurst       = 8                // that may begin at once
	pairingEvery       = 10 * time.Second // and then one in this time
	pairingLasts       = 10 * time.Minute // for a person to compare the code
	pairingRevealsSoon = 30 * time.Second // for the worker to reveal
)

// pairings lets workers in that have no token. It implements [api.Pairings].
type pairings struct {
	tokens *keyring // enrolls
	now    func() time.Time
	logger *slog.Logger

	mu   sync.Mutex
	open map[string]*pairing // by ID
	full time.Time           // when as many may begin at once as ever
}

// pairing is one worker that waits.
type pairing struct {
	id         string
	commitment string
	facts      identity.Pairing // the worker's nonce is empty until it is revealed
	hostname   string
	address    string
	started    time.Time
	confirmed  bool
	proof      string
}

var _ api.Pairings = (*pairings)(nil)

func newPairings(tokens *keyring, logger *slog.Logger) *pairings {
	return &pairings{tokens: tokens, now: time.Now, logger: logger, open: map[string]*pairing{}}
}

func (p *pairing) expires() time.Time {
	if p.facts.WorkerNonce == "" {
		return p.started.Add(pairingRevealsSoon)
	}
	return p.started.Add(pairingLasts)
}

// info returns the pairing as an admin sees it.
func (p *pairing) info() entropy.Pairing {
	return entropy.Pairing{Worker: p.facts.Worker, Hostname: p.hostname, Address: p.address, Check: p.facts.Check(),
		StartedAt: p.started, ExpiresAt: p.expires(), Confirmed: p.confirmed}
}

// expire forgets what is over.
func (p *pairings) expire(now time.Time) {
	for id, x := range p.open {
		if !now.Before(x.expires()) {
			delete(p.open, id)
		}
	}
}

// Start implements [api.Pairings].
func (p *pairings) Start(ctx context.Context, r entropy.PairRequest, address string) (entropy.PairOffer, error) {
	if err := checkPairRequest(r); err != nil {
		return entropy.PairOffer{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now().UTC().Truncate(time.Millisecond)
	p.expire(now)
	for id, x := range p.open {
		if x.address == address && x.facts.Worker == r.Worker && x.facts.KeyHash == r.KeyHash {
			delete(p.open, id) // it has begun anew
		}
	}
	if err := p.admit(address, now); err != nil {
		return entropy.PairOffer{}, err
	}
	if err := p.tokens.free(ctx, r.Worker, r.KeyHash); err != nil { // a guess at names counts as a pairing
		return entropy.PairOffer{}, err
	}
	x := &pairing{id: entropy.NewID(), commitment: r.Commitment, hostname: r.Hostname, address: address, started: now,
		facts: identity.Pairing{ClusterID: p.tokens.joined.ClusterID, CAPin: p.tokens.pin, Worker: r.Worker, KeyHash: r.KeyHash, ControlNonce: identity.NewNonce()}}
	p.open[x.id] = x
	p.logger.Info("a worker without a token asks to be let in; entropy worker pair shows it", "worker", r.Worker, "host", r.Hostname, "address", address)
	return entropy.PairOffer{ID: x.id, Nonce: x.facts.ControlNonce}, nil
}

// admit counts one more pairing, or says why it cannot begin.
func (p *pairings) admit(address string, now time.Time) error {
	ofOne := 0
	for _, x := range p.open {
		if x.address == address {
			ofOne++
		}
	}
	full := p.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(pairingEvery)
	if ofOne >= maxPairingsOfOne || len(p.open) >= maxPairings || full.Sub(now) > pairingBurst*pairingEvery {
		return entropy.Errorf(entropy.CodeOverloaded, "too many workers ask to be let in without a token").
			WithHint("confirm those that wait (entropy worker pair), or give this one a join token: tokens are not held up")
	}
	p.full = full
	return nil
}

// checkPairRequest refuses what no worker sends. What it says is shown to an admin.
func checkPairRequest(r entropy.PairRequest) error {
	if err := entropy.ValidateID("worker name", string(r.Worker)); err != nil {
		return err
	}
	if len(r.Hostname) > api.MaxHostname || strings.ContainsFunc(r.Hostname, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return entropy.Errorf(entropy.CodeInvalid, "that is no host's name").WithHint("it has up to %d bytes, all printable", api.MaxHostname)
	}
	if !identity.IsDigest(r.KeyHash) || !identity.IsDigest(r.Commitment) {
		return entropy.Errorf(entropy.CodeInvalid, "key_hash or commitment is no SHA-256 in hex").WithHint("use this release's entropy worker --trust-lan")
	}
	return nil
}

// free says why a worker's name cannot be paired with a key: another has it. The
// stranger who asks is told no more.
func (k *keyring) free(ctx context.Context, id entropy.WorkerID, keyHash string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := k.mine(ctx, id, keyHash)
	return err
}

// mine reports whether a worker's name belongs to a key already; that another has
// it is an error.
func (k *keyring) mine(ctx context.Context, id entropy.WorkerID, keyHash string) (bool, error) {
	known, _, err := k.keyOf(ctx, id)
	if err == nil && known != "" && known != keyHash {
		err = entropy.Errorf(entropy.CodeConflict, "a worker named %s has joined already, with another key", id).
			WithHint("give this worker another --name")
	}
	if err == nil && k.revoked(id) {
		err = errKeyRevoked(id)
	}
	return known != "", err
}

var errPairingGone = entropy.Errorf(entropy.CodeNotFound, "there is no such pairing: it took too long, or the control plane was started anew").WithHint("begin again")

// Reveal implements [api.Pairings].
func (p *pairings) Reveal(_ context.Context, id, nonce string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(p.now())
	x := p.open[id]
	switch {
	case x == nil:
		return errPairingGone
	case x.facts.WorkerNonce == nonce:
		return nil // again
	case x.facts.WorkerNonce != "" || !identity.Opens(x.commitment, nonce):
		delete(p.open, id)
		return entropy.Errorf(entropy.CodeInvalid, "the nonce is not what was committed to").WithHint("begin again")
	}
	x.facts.WorkerNonce = nonce
	return nil
}

// State implements [api.Pairings].
func (p *pairings) State(_ context.Context, id string) (entropy.PairState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(p.now())
	x := p.open[id]
	if x == nil {
		return entropy.PairState{}, errPairingGone
	}
	return entropy.PairState{Confirmed: x.confirmed, Proof: x.proof}, nil
}

// List implements [api.Pairings].
func (p *pairings) List(context.Context) ([]entropy.Pairing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(p.now())
	list := []entropy.Pairing{}
	for _, x := range p.open {
		if x.facts.WorkerNonce != "" {
			list = append(list, x.info())
		}
	}
	slices.SortFunc(list, func(a, b entropy.Pairing) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.Worker, b.Worker))
	})
	return list, nil
}

// Confirm implements [api.Pairings].
func (p *pairings) Confirm(ctx context.Context, code string) (entropy.Pairing, error) {
	check, secret, err := identity.ParseCode(code)
	if err != nil {
		return entropy.Pairing{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(p.now())
	x, err := p.find(check)
	if err != nil {
		return entropy.Pairing{}, err
	}
	if err := p.tokens.enroll(ctx, x.facts.Worker, x.facts.KeyHash, x.hostname); err != nil {
		return entropy.Pairing{}, err
	}
	x.confirmed, x.proof = true, x.facts.Proof(secret)
	p.logger.Info("a worker was paired", "worker", x.facts.Worker, "host", x.hostname, "address", x.address, "by", entropy.PrincipalFrom(ctx))
	return x.info(), nil
}

// find returns the one pairing with a check.
func (p *pairings) find(check string) (*pairing, error) {
	var found []*pairing
	for _, x := range p.open {
		if x.facts.WorkerNonce != "" && x.facts.Check() == check {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, entropy.Errorf(entropy.CodeNotFound, "no worker waits with a code that begins with %s", check).
			WithHint("entropy worker pair lists those that wait. If a worker shows this code at this moment, somebody stands between it and this control plane: do not pair, use a join token")
	}
	for _, x := range found {
		delete(p.open, x.id)
	}
	return nil, entropy.Errorf(entropy.CodeConflict, "%d workers wait with a code that begins with %s: somebody has copied it, and none is let in", len(found), check).
		WithHint("use a join token: entropy token create --role join")
}

// enroll records that a person let a worker in. The same key may be let in again.
func (k *keyring) enroll(ctx context.Context, id entropy.WorkerID, keyHash, hostname string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if mine, err := k.mine(ctx, id, keyHash); err != nil || mine {
		return err
	}
	if len(k.enrolled) >= maxEnrolled {
		return entropy.Errorf(entropy.CodeForbidden, "%d workers have joined this cluster, as many as it takes", maxEnrolled)
	}
	change, err := entropy.NewEnrollment(entropy.Enrollment{ID: id, KeyHash: keyHash, PairedBy: entropy.PrincipalFrom(ctx).String(), Hostname: hostname,
		JoinedAt: k.now().UTC().Truncate(time.Millisecond)})
	if err != nil {
		return err
	}
	return k.record(ctx, change)
}
