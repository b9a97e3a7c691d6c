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

	mu     sync.Mutex
	member identity.Membership // zero before it has joined
	whole  bool                // all that is to be remembered is on disk
}

var _ entropy.WorkerService = (*loyal)(nil)

// dialLoyal returns the way to the control plane that a worker remembers, or, for
// one that has not joined, that its token names.
func dialLoyal(cfg WorkerConfig, key string) (*loyal, error) {
	l := &loyal{dir: cfg.DataDir, logger: cfg.Logger, told: func(entropy.Registration, entropy.Registered) {}, missed: func(error) {}}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	member, err := identity.LoadMembership(cfg.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	token := ""
	if cfg.TokenFile != "" {
		if token, err = identity.ReadSecretFile(cfg.TokenFile); err != nil {
			return nil, err
		}
	}
	l.Client, err = entropy.NewClient(entropy.ClientConfig{Server: cfg.Server, Token: token, WorkerKey: key, RootCAs: cfg.RootCAs,
		CAPin: member.CAPin, ClusterID: member.ClusterID})
	if err != nil {
		return nil, err
	}
	l.member, l.secure = member, strings.HasPrefix(l.Server(), "https:")
	_, err = identity.LoadClusterKey(filepath.Join(cfg.DataDir, identity.ClusterKeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l.whole = err == nil && member.ClusterID != "" && (member.CAPin != "" || !l.secure)
	return l, nil
}

// Register implements [entropy.WorkerService]: it joins at first, and refuses the
// answer of another cluster.
func (l *loyal) Register(ctx context.Context, r entropy.Registration) (entropy.Registered, error) {
	if err := l.join(ctx); err != nil {
		l.missed(err)
		return entropy.Registered{}, err
	}
	reply, err := l.Client.Register(ctx, r)
	if err == nil {
		err = l.check(reply.ClusterID)
	}
	if err != nil {
		l.missed(err)
		return entropy.Registered{}, err
	}
	l.told(r, reply)
	return reply, nil
}

// Heartbeat implements [entropy.WorkerService].
func (l *loyal) Heartbeat(ctx context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	reply, err := l.Client.Heartbeat(ctx, h)
	l.missed(err)
	return reply, err
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
	next, key, err := l.accept(joined)
	if err != nil {
		return err
	}
	if err := identity.SaveMembership(l.dir, next, key); err != nil {
		return err
	}
	l.logger.Info("joined a cluster", "cluster", next.ClusterID, "ca_pin", next.CAPin)
	l.member, l.whole = next, true
	return nil
}

// accept judges what a control plane says when it lets the worker in.
func (l *loyal) accept(j entropy.Joined) (identity.Membership, []byte, error) {
	fail := func(err error) (identity.Membership, []byte, error) { return identity.Membership{}, nil, err }
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
	key, err := identity.ParseClusterKey(j.ClusterKey)
	if err != nil {
		return fail(err)
	}
	return next, key, nil
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
