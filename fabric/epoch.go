package fabric

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// SupersededFile in a control plane's data directory says which epoch has
// superseded it. While it names a higher one than the journal's, the control
// plane does not start.
const SupersededFile = "superseded"

// EpochFile in a worker's data directory holds the highest epoch it has seen.
const EpochFile = "epoch"

// checkSuperseded refuses to serve a history that another has superseded.
func (c *Control) checkSuperseded() error {
	path := filepath.Join(c.cfg.DataDir, SupersededFile)
	theirs, err := readEpoch(path)
	if err != nil {
		return err
	}
	if ours := c.journal.Epoch(); theirs > ours {
		return entropy.Errorf(entropy.CodeConflict, "this control plane, of epoch %d, was superseded by one of epoch %d; it does not serve", ours, theirs).
			WithHint("use the newer control plane; to serve this history all the same, and lose what the newer one has recorded, remove %s", path)
	}
	return nil
}

// SupersededBy returns the epoch by which the control plane of a data directory was
// superseded, as far as it knows; 0: by none.
func SupersededBy(dir string) (uint64, error) { return readEpoch(filepath.Join(dir, SupersededFile)) }

// superseded is called when somebody has seen a higher epoch: what is recorded
// here from now on would be lost, so nothing is. The journal is kept as it is.
func (c *Control) superseded(epoch uint64) {
	path := filepath.Join(c.cfg.DataDir, SupersededFile)
	err := writeEpoch(path, epoch)
	c.cfg.Logger.Error("another control plane of this cluster has taken over; this one stops", "epoch", c.journal.Epoch(), "newer", epoch, "error", err)
	c.overtaken <- epoch
}

func readEpoch(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the epoch: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, entropy.Errorf(entropy.CodeInvalid, "%s holds no epoch", path).WithHint("it is written by the fabric; remove it if it was damaged")
	}
	return n, nil
}

// writeEpoch replaces the file durably: a crash leaves the old or the new one.
func writeEpoch(path string, epoch uint64) error {
	return identity.WriteSecretFile(path, strconv.FormatUint(epoch, 10))
}
