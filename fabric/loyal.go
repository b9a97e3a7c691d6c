package fabric

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// loyal is a worker's way to its control plane. Before the first registration it
// joins: the control plane proves itself, only then the token and the worker's key
// are sent, and what comes back is remembered on disk. From then on it talks to
// that cluster and to no other.
type loyal struct {
	*entropy.Client
	dir    string                                         // the worker's data directory
	secure bool                                           // over TLS
	told   func(entropy.Registration, entropy.Registered) // of every registration
	missed func(error)                                    // of a call that may have reached nobody
	logger *slog.Logger

	rekeyed func(identity.Keyring) error // of every keyring that is not the one it had
	stale   chan struct{}                // has room for one: the control plane has another keyring

	mu     sync.Mutex
	member identity.Membership // zero before it has joined
	ring   identity.Keyring    // zero before it has joined
	whole  bool                // all that is to be remembered is on disk
}

var _ entropy.WorkerService = (*loyal)(nil)

// dialLoyal returns the way to the control plane that a worker remembers, or, for
// one that has not joined, that its token names.
func dialLoyal(cfg WorkerConfig, key string) (*loyal, error) {
	l := &loyal{dir: cfg.DataDir, logger: cfg.Logger, told: func(entropy.Registration, entropy.Registered) {}, missed: func(error) {},
		rekeyed: func(identity.Keyring) error { return nil }, stale: make(chan struct{}, 1)}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	member, err := identity.LoadMembership(cfg.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	token := ""
	if cfg.TokenFile != "" {
		if token, err = identity.ReadSecretFile(cfg.TokenFile); err == nil {
			err = checkJoinToken(cfg.TokenFile, token)
		}
		if err != nil && member.ClusterID == "" {
			return nil, err
		}
		if err != nil { // it needs none, and this one would only be refused
			l.logger.Warn("the token is of no use to this worker, which goes on without", "error", err)
			token = ""
		}
	}
	l.Client, err = entropy.NewClient(entropy.ClientConfig{Server: cfg.Server, Token: token, WorkerKey: key, RootCAs: cfg.RootCAs,
		CAPin: member.CAPin, ClusterID: member.ClusterID})
	if err != nil {
		return nil, err
	}
	l.member, l.secure = member, strings.HasPrefix(l.Server(), "https:")
	if l.secure && member.ClusterID == "" && token == "" && cfg.RootCAs == nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "this worker belongs to no cluster and has no token: it cannot know whether the control plane at %s is the right one", l.Server()).
			WithHint("copy the control plane's worker.token here and name it with --token-file; or start both with --trust-lan")
	}
	l.ring, err = identity.LoadKeyring(filepath.Join(cfg.DataDir, identity.ClusterKeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l.whole = err == nil && member.ClusterID != "" && (member.CAPin != "" || !l.secure)
	return l, nil
}

// checkJoinToken says why the text in a file is no join token.
func checkJoinToken(file, text string) error {
	c, err := identity.Parse(text)
	if err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "%s: %s", file, entropy.AsError(err).Message).WithHint("%s", entropy.AsError(err).Hint)
	}
	if c.Role != entropy.RoleJoin {
		return entropy.Errorf(entropy.CodeInvalid, "%s holds a token of role %s; a worker joins with one of role join", file, c.Role).
			WithHint("copy the control plane's worker.token, or make one: entropy token create --role join")
	}
	return nil
}

// Register implements [entropy.WorkerService]: it joins at first, and refuses the
// answer of another cluster.
func (l *loyal) Register(ctx context.Context, r entropy.Registration) (entropy.Registered, error) {
	if err := l.join(ctx); err != nil {
		l.missed(err)
		return entropy.Registered{}, err
	}
	r.Keyring = l.keyring()
	reply, err := l.Client.Register(ctx, r)
	if err == nil {
		err = l.check(reply.ClusterID)
	}
	if err != nil {
		l.missed(err)
		return entropy.Registered{}, err
	}
	l.told(r, reply)
	l.compare(reply.Keyring)
	return reply, nil
}

// Heartbeat implements [entropy.WorkerService].
func (l *loyal) Heartbeat(ctx context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	h.Keyring = l.keyring()
	reply, err := l.Client.Heartbeat(ctx, h)
	l.missed(err)
	l.compare(reply.Keyring)
	return reply, err
}

// keyring returns the version of the keyring that the worker holds.
func (l *loyal) keyring() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ring.Version
}

// compare has the keyring fetched when the control plane has another.
func (l *loyal) compare(version uint64) {
	if version == 0 || version == l.keyring() {
		return
	}
	select {
	case l.stale <- struct{}{}:
	default:
	}
}

// follow fetches the cluster's keyring whenever it has changed, until ctx ends.
// What fails is tried again when the next heartbeat has been answered.
func (l *loyal) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.stale:
		}
		if err := l.rekey(ctx); err != nil && ctx.Err() == nil {
			l.logger.Warn("the cluster's new keys are not here yet", "error", err)
		}
	}
}

// rekey takes over the control plane's keyring: it is on disk before it is used,
// and in use before that is confirmed.
func (l *loyal) rekey(ctx context.Context) error {
	host, _ := os.Hostname() // for people only
	joined, err := l.Client.Join(ctx, entropy.JoinRequest{Hostname: host, Keyring: l.keyring()})
	if err != nil {
		return err
	}
	l.mu.Lock()
	next, ring, err := l.accept(joined)
	if err == nil {
		err = identity.SaveMembership(l.dir, next, ring)
	}
	if err == nil {
		l.ring = ring
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.rekeyed(ring); err != nil {
		return err
	}
	l.logger.Info("the cluster's keys have changed", "keyring", ring.Version, "stage", ring.Stage())
	_, err = l.Client.Join(ctx, entropy.JoinRequest{Hostname: host, Keyring: ring.Version})
	return err
}

// host returns the host of the control plane's address.
func (l *loyal) host() string {
	u, err := url.Parse(l.Server())
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// join asks to be let in, unless the worker remembers all it needs.
func (l *loyal) join(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole {
		return nil
	}
	host, _ := os.Hostname() // for people only
	joined, err := l.Client.Join(ctx, entropy.JoinRequest{Hostname: host})
	if err != nil {
		return err
	}
	next, ring, err := l.accept(joined)
	if err != nil {
		return err
	}
	if err := identity.SaveMembership(l.dir, next, ring); err != nil {
		return err
	}
	l.logger.Info("joined a cluster", "cluster", next.ClusterID, "ca_pin", next.CAPin)
	l.member, l.ring, l.whole = next, ring, true
	return nil
}

// accept judges what a control plane says when it lets the worker in.
func (l *loyal) accept(j entropy.Joined) (identity.Membership, identity.Keyring, error) {
	fail := func(err error) (identity.Membership, identity.Keyring, error) {
		return identity.Membership{}, identity.Keyring{}, err
	}
	if err := l.sameCluster(j.ClusterID); err != nil {
		return fail(err)
	}
	next := identity.Membership{ClusterID: j.ClusterID}
	if j.CA != "" {
		cert, err := identity.ParseCertificate("the authority of the control plane", j.CA)
		if err != nil {
			return fail(err)
		}
		next.CAPin = identity.PinOf(cert)
	}
	if old := l.member.CAPin; old != "" && next.CAPin != old {
		return fail(entropy.Errorf(entropy.CodeForbidden, "the control plane at %s names another authority than the one this worker knows", l.Server()).
			WithHint("check the address; if the control plane was made anew, run entropy worker reset-identity and join with a new token"))
	}
	ring, err := identity.ParseKeyring(j.ClusterKey)
	if err != nil {
		return fail(err)
	}
	return next, ring, nil
}

func (l *loyal) check(clusterID string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sameCluster(clusterID)
}

func (l *loyal) sameCluster(clusterID string) error {
	if old := l.member.ClusterID; old != "" && clusterID != old {
		return entropy.Errorf(entropy.CodeForbidden, "the control plane at %s is of cluster %s; this worker belongs to %s", l.Server(), clusterID, old).
			WithHint("check --server; to move the worker for good, run entropy worker reset-identity and join with a token of the other cluster")
	}
	return nil
}

// ReadRoots reads the certificates of authorities from a PEM file, for
// [WorkerConfig] and [entropy.ClientConfig]; nil, the system's, for no file.
func ReadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "the CA file cannot be read: %v", err).WithHint("name a readable PEM file with --ca-file or ENTROPY_CA_FILE")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, entropy.Errorf(entropy.CodeInvalid, "%s holds no certificate", file).WithHint("it should be PEM, beginning with -----BEGIN CERTIFICATE-----")
	}
	return pool, nil
}
