package fabric

import (
	"context"
	"log/slog"
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
	// maxTokens bounds the tokens that are good for something.
	maxTokens = 10_000
	// maxEnrolled bounds the workers that were ever let in: past it somebody plays
	// with a join token.
	maxEnrolled = 100_000
	// refusalEvery is how often a token's misuse is journaled at most, so that
	// whoever holds it cannot fill the disk.
	refusalEvery = time.Minute
)

// keyring is the control plane's tokens and the keys of those it let in: the
// journal's records, and the authenticator that follows them. It implements
// [api.Tokens].
type keyring struct {
	journal *journal.Journal
	auth    *identity.Authenticator
	joined  entropy.Joined // what every worker is told, but its name
	pin     string         // of tickets; "": the control plane proves nothing
	keys    *sharedKeys
	files   []string         // hold the first tokens, for whoever may read them
	sealer  *identity.Sealer // of what the journal may hold, and nobody else may read
	now     func() time.Time
	logger  *slog.Logger
	shutOut func(name string)                            // ends the connections of a user of the bus; nil: there is no bus
	letIn   func(ctx context.Context, commands []string) // makes the queues of a new executor's commands

	mu       sync.Mutex // held while a change is journaled: tokens change seldom
	tokens   map[string]*entropy.Token
	enrolled map[entropy.WorkerID]*entropy.Enrollment
	refused  map[string]time.Time // by token id: when its misuse was journaled last
	beacons  map[discovery.KeyID]beacon
}

var _ api.Tokens = (*keyring)(nil)

// beacon is the key by which the holder of a join token looks for the control plane.
type beacon struct {
	token string // its id
	hash  string // of the secret that the key is derived from
	key   []byte
}

// load reads what the journal has and tells the authenticator.
func (k *keyring) load(ctx context.Context) error {
	k.tokens, k.enrolled, k.refused = map[string]*entropy.Token{}, map[entropy.WorkerID]*entropy.Enrollment{}, map[string]time.Time{}
	k.beacons = map[discovery.KeyID]beacon{}
	tokens, err := k.journal.Tokens(ctx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		k.follow(t)
	}
	err = k.journal.Documents(ctx, entropy.KindEnrollment, func(d entropy.Document) error {
		e := d.(*entropy.Enrollment)
		k.admit(e)
		return nil
	})
	if err != nil {
		return err
	}
	workers, err := k.journal.Workers(ctx)
	for _, w := range workers {
		if e := k.enrolled[w.ID]; e == nil || !e.Revoked {
			k.auth.SetWorkerKey(w.ID, w.KeyHash)
		}
	}
	return err
}

// admit makes e what is known of its worker, and lets the worker's key in or shuts
// it out.
func (k *keyring) admit(e *entropy.Enrollment) {
	k.enrolled[e.ID] = e
	if e.Revoked {
		k.auth.RevokeWorkerKey(e.ID, e.KeyHash)
		return
	}
	k.auth.SetWorkerKey(e.ID, e.KeyHash)
}

// follow makes t what is known of its token.
func (k *keyring) follow(t *entropy.Token) {
	old := k.tokens[t.ID]
	k.tokens[t.ID] = t
	k.auth.Add(*t)
	if t.Beacon == "" || old != nil && old.Beacon == t.Beacon {
		return
	}
	k.unseal(t.ID, t.Hash, t.Beacon)
	if t.Former != nil {
		k.unseal(t.ID, t.Former.Hash, t.Former.Beacon)
	}
}

// unseal notes the key of a token's secret, by the secret's hash.
func (k *keyring) unseal(token, hash, sealed string) {
	if sealed == "" {
		return
	}
	key, err := k.sealer.Open(token, sealed)
	if err != nil { // the token is as good as ever, with an address
		k.logger.Warn("workers with a token will not find this control plane without its address", "token", token, "error", err)
		return
	}
	k.beacons[discovery.IDOf(key)] = beacon{token: token, hash: hash, key: key}
}

// learn notes the key of a token whose text was seen.
func (k *keyring) learn(text string, c identity.Credential) {
	if key, err := identity.BeaconKey(text); err == nil && c.Role == entropy.RoleJoin {
		k.beacons[discovery.IDOf(key)] = beacon{token: c.ID, hash: c.Hash, key: key}
	}
}

// discoveryKey returns the key of a join token that may still be used, else nil.
func (k *keyring) discoveryKey(id discovery.KeyID) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, ok := k.beacons[id]
	if !ok {
		return nil
	}
	if t := k.tokens[b.token]; t == nil || t.Role != entropy.RoleJoin || !t.Live(b.hash, k.now()) || t.State(k.now()) != entropy.TokenActive {
		return nil
	}
	return b.key
}

// make makes a token of a role. What discovery needs of its secret is sealed: the
// token goes into an event, and events may be published.
func (k *keyring) make(role entropy.Role) (secret string, t entropy.Token, err error) {
	if secret, t, err = identity.New(role); err != nil {
		return "", t, err
	}
	t.Beacon, err = k.seal(t.ID, role, secret)
	return secret, t, err
}

// seal returns what the journal has of a secret's key in discovery; "" of a role
// that has none.
func (k *keyring) seal(id string, role entropy.Role, secret string) (string, error) {
	if role != entropy.RoleJoin {
		return "", nil
	}
	key, err := identity.BeaconKey(secret)
	if err != nil {
		return "", err
	}
	return k.sealer.Seal(id, key), nil
}

// ticket returns the text of a token that goes out.
func (k *keyring) ticket(secret string) string {
	return entropy.Ticket{ClusterID: k.joined.ClusterID, CAPin: k.pin, Secret: secret}.String()
}

// add journals a token and makes it good.
func (k *keyring) add(ctx context.Context, t entropy.Token) error {
	change, err := entropy.NewToken(t)
	if err != nil {
		return err
	}
	return k.record(ctx, change)
}

// record appends changes of tokens and enrollments and then follows them. It goes
// on when the caller goes away: half a join must not be in memory only.
func (k *keyring) record(ctx context.Context, changes ...entropy.Change) error {
	if _, err := k.journal.Append(context.WithoutCancel(ctx), changes...); err != nil {
		return err
	}
	for _, c := range changes {
		switch s := c.State.(type) {
		case *entropy.Token:
			k.follow(s)
		case *entropy.Enrollment:
			k.admit(s)
		}
	}
	return nil
}

// Create implements [api.Tokens].
func (k *keyring) Create(ctx context.Context, spec entropy.TokenSpec) (entropy.CreatedToken, error) {
	t, err := k.create(ctx, spec)
	if err == nil && k.letIn != nil {
		k.letIn(ctx, t.Commands)
	}
	return t, err
}

func (k *keyring) create(ctx context.Context, spec entropy.TokenSpec) (entropy.CreatedToken, error) {
	if err := spec.Validate(); err != nil {
		return entropy.CreatedToken{}, err
	}
	secret, t, err := k.make(spec.Role)
	if err != nil {
		return entropy.CreatedToken{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now().UTC().Truncate(time.Millisecond)
	if k.active("", now) >= maxTokens {
		return entropy.CreatedToken{}, entropy.Errorf(entropy.CodeOverloaded, "there are %d tokens already", maxTokens).
			WithHint("entropy token ls shows them; revoke those that nobody needs")
	}
	if err := k.enlist(&t, spec, now); err != nil {
		return entropy.CreatedToken{}, err
	}
	t.CreatedAt, t.CreatedBy, t.Note, t.MaxUses = now, entropy.PrincipalFrom(ctx).String(), spec.Note, spec.Uses
	if spec.TTL > 0 {
		expires := now.Add(spec.TTL.D())
		t.ExpiresAt = &expires
	}
	if err := k.add(ctx, t); err != nil {
		return entropy.CreatedToken{}, err
	}
	return entropy.CreatedToken{TokenInfo: t.Info(now), Token: k.text(&t, secret)}, nil
}

// active counts the tokens of a role, or of any, that are good for something.
func (k *keyring) active(role entropy.Role, now time.Time) (n int) {
	for _, t := range k.tokens {
		if (role == "" || t.Role == role) && t.State(now) == entropy.TokenActive {
			n++
		}
	}
	return n
}

// List implements [api.Tokens].
func (k *keyring) List(context.Context) ([]entropy.TokenInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]entropy.TokenInfo, 0, len(k.tokens))
	for _, t := range k.tokens {
		list = append(list, t.Info(k.now()))
	}
	slices.SortFunc(list, func(a, b entropy.TokenInfo) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return list, nil
}

// Revoke implements [api.Tokens]. The last admin token stays: without one nobody
// could make another but by a restart.
func (k *keyring) Revoke(ctx context.Context, id string) (entropy.TokenInfo, error) {
	info, err := k.revoke(ctx, id)
	if err == nil && info.Role.OnBus() && k.shutOut != nil {
		k.shutOut(info.Name) // without the lock: the bus asks who a user is
	}
	return info, err
}

func (k *keyring) revoke(ctx context.Context, id string) (entropy.TokenInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, now := k.tokens[id], k.now()
	switch {
	case t == nil:
		return entropy.TokenInfo{}, entropy.Errorf(entropy.CodeNotFound, "there is no token %s", id).WithHint("entropy token ls shows them")
	case t.Revoked:
		return t.Info(now), nil
	case t.Role == entropy.RoleAdmin && t.State(now) == entropy.TokenActive && k.active(entropy.RoleAdmin, now) == 1:
		return entropy.TokenInfo{}, entropy.Errorf(entropy.CodeConflict, "%s is the only admin token that is good", id).
			WithHint("make another first: entropy token create --role admin")
	}
	change, err := t.Change(entropy.TokenRevoked, entropy.TokenUse{Principal: entropy.PrincipalFrom(ctx).String()}, now)
	if err != nil {
		return entropy.TokenInfo{}, err
	}
	if err := k.record(ctx, change); err != nil {
		return entropy.TokenInfo{}, err
	}
	return k.tokens[id].Info(now), nil
}

// Join implements [api.Tokens].
func (k *keyring) Join(ctx context.Context, who api.Joining) (entropy.Joined, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	answer := k.joined
	answer.WorkerID, answer.ClusterKey = who.Worker, k.keys.current().Shared()
	known, host, err := k.keyOf(ctx, who.Worker)
	switch {
	case err != nil:
		return entropy.Joined{}, err
	case known == who.KeyHash && k.revoked(who.Worker):
		return entropy.Joined{}, k.refuse(ctx, who, errKeyRevoked(who.Worker))
	case known == who.KeyHash:
		k.keys.heard(who.Worker, who.Keyring)
		return answer, nil // again: the first answer was lost, or it asks what it has forgotten
	case known != "":
		return entropy.Joined{}, k.refuse(ctx, who, entropy.Errorf(entropy.CodeConflict, "a worker named %s has joined already, with another key (host %s)", who.Worker, host).
			WithHint("give this worker another --name, or copy worker.key from the old data directory if it is the same machine"))
	}
	t, now := k.tokens[who.Token], k.now()
	if t == nil {
		return entropy.Joined{}, entropy.Errorf(entropy.CodeUnauthorized, "a join token is required").WithHint("get one from an admin: entropy token create --role join")
	}
	if state := t.State(now); state != entropy.TokenActive {
		return entropy.Joined{}, k.refuse(ctx, who, entropy.Errorf(entropy.CodeForbidden, "the join token is %s: %d of %d workers have joined with it", state, t.Uses, t.MaxUses).
			WithHint("get another from an admin: entropy token create --role join"))
	}
	if len(k.enrolled) >= maxEnrolled {
		return entropy.Joined{}, k.refuse(ctx, who, entropy.Errorf(entropy.CodeForbidden, "%d workers have joined this cluster, as many as it takes", maxEnrolled).
			WithHint("revoke the join tokens that are no longer needed (entropy token ls), and find out who uses them"))
	}
	used, err := t.Change(entropy.TokenUsed, entropy.TokenUse{Worker: who.Worker, KeyHash: who.KeyHash}, now)
	if err != nil {
		return entropy.Joined{}, err
	}
	enrolled, err := entropy.NewEnrollment(entropy.Enrollment{ID: who.Worker, KeyHash: who.KeyHash, Token: t.ID, Hostname: who.Hostname,
		JoinedAt: now.UTC().Truncate(time.Millisecond)})
	if err != nil {
		return entropy.Joined{}, err
	}
	if err := k.record(ctx, used, enrolled); err != nil {
		return entropy.Joined{}, err
	}
	k.logger.Info("a worker joined", "worker", who.Worker, "token", t.ID, "host", who.Hostname)
	return answer, nil
}

// keyOf returns the hash of the key that a worker's name belongs to, and its
// host; "" when the name is free.
func (k *keyring) keyOf(ctx context.Context, id entropy.WorkerID) (hash, host string, err error) {
	if e := k.enrolled[id]; e != nil {
		return e.KeyHash, e.Hostname, nil
	}
	w, err := k.journal.Worker(ctx, id) // registered by an earlier release, or in the control plane's process
	if entropy.ErrorCode(err) == entropy.CodeNotFound {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	return w.KeyHash, w.Hostname, nil
}

// refuse journals, for the audit, that a token was tried for what it does not
// allow, and returns why.
func (k *keyring) refuse(ctx context.Context, who api.Joining, why *entropy.Error) error {
	t, now := k.tokens[who.Token], k.now()
	last, before := k.refused[who.Token]
	if t == nil || before && now.Sub(last) < refusalEvery && !now.Before(last) {
		return why
	}
	k.logger.Warn("a join was refused", "worker", who.Worker, "host", who.Hostname, "token", who.Token, "reason", why.Message)
	change, err := t.Change(entropy.TokenRefused, entropy.TokenUse{Worker: who.Worker, KeyHash: who.KeyHash, Reason: why.Message}, now)
	if err == nil {
		err = k.record(ctx, change)
	}
	if err != nil {
		k.logger.Warn("the refusal is not journaled", "error", err)
		return why
	}
	k.refused[who.Token] = now
	return why
}
