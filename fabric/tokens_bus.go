package fabric

import (
	"maps"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/bus"
)

// The keyring says who may be on the bus: whoever has a token of one of its roles.
// The user's password is the token's text.

var _ bus.Users = (*keyring)(nil)

// busRoles are the bus's own words for the roles.
var busRoles = map[entropy.Role]bus.Role{
	entropy.RoleExecutor: bus.RoleExecutor, entropy.RoleProducer: bus.RoleProducer, entropy.RoleSource: bus.RoleSource, entropy.RoleViewer: bus.RoleReader,
}

// text returns what is given out of a token's secret. A user of the bus shows the
// bare secret as its password, and proves the server by the authority's certificate.
func (k *keyring) text(t *entropy.Token, secret string) string {
	if t.Role.OnBus() {
		return secret
	}
	return k.ticket(secret)
}

// enlist takes over what a spec says of a user of the bus; the caller holds the lock.
// CodeConflict when somebody else has the name or the key.
func (k *keyring) enlist(t *entropy.Token, spec entropy.TokenSpec, now time.Time) error {
	if !spec.Role.OnBus() {
		return nil
	}
	t.Name, t.Commands, t.PublicKey = spec.Name, spec.Commands, spec.PublicKey
	if t.Name == "" {
		t.Name = t.ID
	}
	if t.Name == OwnExecutor {
		return entropy.Errorf(entropy.CodeConflict, "%s is the control plane's own name on the bus", t.Name).WithHint("choose another name")
	}
	for _, other := range k.tokens {
		if other.State(now) == entropy.TokenActive && (other.Name == t.Name || t.PublicKey != "" && other.PublicKey == t.PublicKey) {
			return entropy.Errorf(entropy.CodeConflict, "the token %s is for that name or key already", other.ID).
				WithHint("entropy token rotate gives it a new secret, entropy token revoke ends it")
		}
	}
	return nil
}

// User implements [bus.Users].
func (k *keyring) User(id string) (bus.Credential, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	for _, t := range k.tokens {
		if t.Role.OnBus() && t.State(now) == entropy.TokenActive && (t.Name == id || t.PublicKey != "" && t.PublicKey == id) {
			return credential(t, now), true
		}
	}
	return bus.Credential{}, false
}

// mayExecute reports whether an executor may report on actions of a command. Of those
// who have no token we know nothing: an external server let them in by its own
// settings, or they are in this process.
func (k *keyring) mayExecute(executor, command string) bool {
	c, known := k.User(executor)
	return !known || c.Role != bus.RoleExecutor || slices.Contains(c.Commands, command)
}

func credential(t *entropy.Token, now time.Time) bus.Credential {
	c := bus.Credential{Name: t.Name, Role: busRoles[t.Role], Commands: t.Commands, PasswordHash: t.Hash, PublicKey: t.PublicKey}
	if t.ExpiresAt != nil {
		c.ExpiresAt = *t.ExpiresAt
	}
	if t.Former != nil && now.Before(t.Former.Until) {
		c.FormerHash = t.Former.Hash
	}
	return c
}

// commands returns those that tokens let somebody execute, sorted.
func (k *keyring) commands() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[string]bool)
	for _, t := range k.tokens {
		for _, c := range t.Commands {
			all[c] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
