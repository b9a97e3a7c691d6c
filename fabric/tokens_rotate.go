package fabric

import (
	"cmp"
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// Rotate implements [api.Tokens]. At most two secrets of a token are good at once: a
// second rotation waits until the first one's overlap is over.
func (k *keyring) Rotate(ctx context.Context, id string, r entropy.TokenRotation) (entropy.CreatedToken, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, now := k.tokens[id], k.now().UTC().Truncate(time.Millisecond)
	if err := rotatable(t, id, now); err != nil {
		return entropy.CreatedToken{}, err
	}
	secret, err := identity.NewSecret(t.Role, t.ID)
	if err != nil {
		return entropy.CreatedToken{}, err
	}
	sealed, err := k.seal(t.ID, t.Role, secret)
	if err != nil {
		return entropy.CreatedToken{}, err
	}
	until := now.Add(cmp.Or(r.Overlap.D(), entropy.DefaultOverlap))
	change, err := t.Rotate(identity.Hash(secret), sealed, until, entropy.PrincipalFrom(ctx).String(), now)
	if err != nil {
		return entropy.CreatedToken{}, err
	}
	if err := k.record(ctx, change); err != nil {
		return entropy.CreatedToken{}, err
	}
	k.rewrite(t, k.ticket(secret))
	return entropy.CreatedToken{TokenInfo: k.tokens[id].Info(now), Token: k.text(t, secret)}, nil
}

// rotatable says why a token cannot be given a new secret.
func rotatable(t *entropy.Token, id string, now time.Time) error {
	if t == nil {
		return entropy.Errorf(entropy.CodeNotFound, "there is no token %s", id).WithHint("entropy token ls shows them")
	}
	if state := t.State(now); state != entropy.TokenActive {
		return entropy.Errorf(entropy.CodeConflict, "the token %s is %s: a new secret would be good for nothing", id, state).
			WithHint("make another: entropy token create --role %s", t.Role)
	}
	if t.Former != nil && now.Before(t.Former.Until) {
		return entropy.Errorf(entropy.CodeConflict, "the token %s was rotated already; its old secret is good until %s", id, t.Former.Until.UTC().Format(time.RFC3339)).
			WithHint("wait until then; if nobody has the new secret, make another token with the old one (entropy token create --role %s) and revoke this one", t.Role)
	}
	return nil
}

// rewrite puts a rotated token's new text into the file of the data directory that
// holds the old one, if any does. Whoever rotated it has the text in any case.
func (k *keyring) rewrite(old *entropy.Token, text string) {
	for _, path := range k.files {
		held, err := identity.ReadSecretFile(path)
		if err != nil {
			continue // it is gone, or others may read it; it was said at the start
		}
		if c, err := identity.Parse(held); err != nil || c.ID != old.ID || c.Hash != old.Hash {
			continue
		}
		if err := identity.WriteSecretFile(path, text); err != nil {
			k.logger.Warn("the file still holds the old secret of a token that was rotated", "file", path, "error", err)
		}
	}
}
