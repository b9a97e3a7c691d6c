package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entropy-fabric/entropy"
)

// The files that a worker keeps in its data directory, and a control plane too
// where it says so.
const (
	// ClusterKeyFile holds the [Keyring] that all members of the cluster share, 0600:
	// at the control plane since its first start, at a worker since it joined.
	ClusterKeyFile = "cluster.key"
	// MembershipFile holds a worker's [Membership].
	MembershipFile = "cluster.json"
	// WorkerKeyFile holds a worker's own credential, 0600.
	WorkerKeyFile = "worker.key"
	// ServerFile holds the address at which a worker last reached its control plane.
	ServerFile = "server.url"
)

// Membership is what a worker remembers of the cluster that it belongs to. It
// talks to no other until it is made to forget by [Forget].
type Membership struct {
	ClusterID string `json:"cluster_id"`
	CAPin     string `json:"ca_pin"` // "" when the control plane serves plain HTTP to other hosts
}

// LoadMembership returns what the worker with this data directory remembers; the
// error is fs.ErrNotExist when it has not joined yet.
func LoadMembership(dir string) (Membership, error) {
	path := filepath.Join(dir, MembershipFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return Membership{}, fmt.Errorf("read membership: %w", err)
	}
	var m Membership
	if err := json.Unmarshal(b, &m); err != nil || m.ClusterID == "" {
		return Membership{}, entropy.Errorf(entropy.CodeInvalid, "%s is damaged: this worker no longer knows its cluster", path).
			WithHint("restore it, or run entropy worker reset-identity and join again with a token")
	}
	return m, nil
}

// SaveMembership makes the worker remember, durably: first the keys, then the rest,
// so that a membership on disk is whole. An empty keyring is left out.
func SaveMembership(dir string, m Membership, k Keyring) error {
	if len(k.Keys) > 0 {
		if err := SaveKeyring(filepath.Join(dir, ClusterKeyFile), k); err != nil {
			return err
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode membership: %w", err)
	}
	return writeFile(filepath.Join(dir, MembershipFile), string(b)+"\n", 0o600)
}

// Forget removes what makes a data directory this worker of this cluster: its
// membership, the cluster's key, its own key, and where the control plane was. Its
// spool and the files of its
// jobs stay. It returns the names of the files that were there.
func Forget(dir string) (removed []string, err error) {
	for _, name := range []string{MembershipFile, ClusterKeyFile, WorkerKeyFile, ServerFile} { // the memory first: a rest of it must not bind
		switch err := os.Remove(filepath.Join(dir, name)); {
		case err == nil:
			removed = append(removed, name)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, fmt.Errorf("forget identity: %w", err)
		}
	}
	if len(removed) == 0 {
		return nil, nil
	}
	return removed, syncDir(dir)
}
