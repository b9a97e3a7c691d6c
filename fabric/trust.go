package fabric

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// openIdentity opens, and at the first start makes, what the control plane proves
// itself by and whom it knows: the authority, the cluster's key, the tokens. Then
// it wraps the listener in TLS, if other hosts are served.
func (c *Control) openIdentity(ctx context.Context) error {
	dir, clusterID := c.cfg.DataDir, c.journal.ClusterID()
	authority, err := identity.OpenAuthority(dir, clusterID, time.Now())
	if err != nil {
		return err
	}
	if c.keys, err = c.openKeys(ctx, filepath.Join(dir, identity.ClusterKeyFile)); err != nil {
		return err
	}
	sealer, err := identity.OpenSealer(filepath.Join(dir, identity.SealKeyFile))
	if err != nil {
		return err
	}
	c.auth = identity.NewAuthenticator(identity.Config{ClusterID: clusterID, CAPin: authority.Pin()})
	c.tokens = &keyring{journal: c.journal, auth: c.auth, now: time.Now, logger: c.cfg.Logger, keys: c.keys, sealer: sealer,
		joined: entropy.Joined{ClusterID: clusterID}}
	if c.secure || api.Loopback(c.listener.Addr()) {
		c.tokens.pin, c.tokens.joined.CA = authority.Pin(), authority.PEM()
	}
	if err := c.tokens.load(ctx); err != nil {
		return err
	}
	for _, first := range []struct {
		role entropy.Role
		file string
	}{{entropy.RoleAdmin, AdminTokenFile}, {entropy.RoleJoin, WorkerTokenFile}} {
		c.tokens.files = append(c.tokens.files, filepath.Join(dir, first.file))
		if err := c.tokens.first(ctx, first.role, filepath.Join(dir, first.file)); err != nil {
			return err
		}
	}
	if c.secure {
		host, _, _ := net.SplitHostPort(c.cfg.Listen) // CheckListen has split it already
		c.serverTLS = identity.NewServerCertificate(authority, func() []string { return identity.Hosts(host) }, nil).Config()
		c.listener = tls.NewListener(c.listener, c.serverTLS)
	}
	return nil
}

// first makes the token of a role if there is none that is good. The secret is on
// disk before the token is journaled: a crash between the two leaves a file that
// is written anew, never a token whose secret nobody has. A file that is there is
// brought up to date with how the control plane proves itself now.
func (k *keyring) first(ctx context.Context, role entropy.Role, path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now().UTC().Truncate(time.Millisecond)
	if k.active(role, now) > 0 {
		return k.renewFile(path)
	}
	secret, tok, err := k.make(role)
	if err != nil {
		return err
	}
	if err := identity.WriteSecretFile(path, k.ticket(secret)); err != nil {
		return err
	}
	tok.CreatedAt, tok.Note = now, "made at the start, in "+filepath.Base(path)
	if err := k.add(ctx, tok); err != nil {
		return fmt.Errorf("record the first %s token: %w", role, err)
	}
	return nil
}

// renewFile writes a token file anew when what it says beside its secret is no
// longer so: it was made by an earlier release, or --insecure came or went. A file
// that is gone, or holds no token of ours, is left alone.
func (k *keyring) renewFile(path string) error {
	text, err := identity.ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil { // the token itself is as good as ever
		k.logger.Warn("the token file is not as it should be", "file", path, "error", err)
		return nil
	}
	c, err := identity.Parse(text)
	if err != nil || k.tokens[c.ID] == nil || k.tokens[c.ID].Hash != c.Hash {
		k.logger.Warn("the file holds no token of this control plane, or one whose secret was replaced", "file", path)
		return nil
	}
	k.learn(text, c) // one of an earlier release has it nowhere else
	secret := text
	if entropy.IsTicket(text) {
		t, err := entropy.ParseTicket(text)
		if err != nil {
			return err
		}
		secret = t.Secret
	}
	if want := k.ticket(secret); want != text {
		return identity.WriteSecretFile(path, want)
	}
	return nil
}

// ClusterID returns the cluster's random name.
func (c *Control) ClusterID() string { return c.journal.ClusterID() }

// Keyring returns the secrets that all members of the cluster share.
func (c *Control) Keyring() identity.Keyring { return c.keys.current() }

// Secure reports whether the API is served over TLS.
func (c *Control) Secure() bool { return c.secure }

// warnInsecure says once what was chosen.
func (c *Control) warnInsecure(logger *slog.Logger) {
	if !c.secure && !api.Loopback(c.listener.Addr()) {
		logger.Warn("serving plain HTTP to other hosts: tokens, keys and output travel readable", "listen", c.listener.Addr().String())
	}
}
