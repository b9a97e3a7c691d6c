package discovery

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/entropy-fabric/entropy"
)

// OpenKey is known to everybody: a packet with it proves nothing. It is for a worker
// that belongs to no cluster and has no token, and for control planes that are
// told to trust their network; what keeps strangers out is then a person who
// compares a code.
var OpenKey = sha256.Sum256([]byte("entropy/discovery/open"))

var openID = IDOf(OpenKey[:])

// maxFound bounds the answers of a survey: anybody may write them.
const maxFound = 16

// Survey asks every control plane that trusts its network where it is: until one
// answers, and then for a while longer, so that others are heard too. It returns
// one answer for each authority.
func Survey(ctx context.Context, cfg AskConfig, longer time.Duration) ([]Found, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.links == nil {
		cfg.links = links
	}
	cfg.Secret = OpenKey[:]
	a, err := openAsker(cfg)
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeUnavailable, "look for a control plane: %v", err).WithHint("name it with --join")
	}
	defer a.close()
	var found []Found
	known := map[[32]byte]bool{}
	var over <-chan time.Time // once somebody has answered
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		a.ask()
		again := time.NewTimer(pause)
	hearing:
		for {
			select {
			case h := <-a.heard:
				if h.kind != Answer || known[h.Pin] || len(found) == maxFound {
					continue
				}
				known[h.Pin] = true
				if found = append(found, h.Found); over == nil {
					over = time.After(longer)
				}
			case <-again.C:
				break hearing
			case <-over:
				again.Stop()
				return found, nil
			case <-ctx.Done():
				again.Stop()
				return nil, entropy.Errorf(entropy.CodeUnavailable, "no control plane that takes workers without a token answers on the networks of this machine").
					WithHint("start it with --trust-lan on other than loopback; name it with --join HOST if multicast does not reach it; or give this worker a join token")
			}
		}
	}
}
